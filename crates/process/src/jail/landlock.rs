//! The second wall around files, behind the mounts: whatever a mount lets through by mistake, the
//! program still writes only where it may, executes nothing that it wrote, and reaches no process
//! or abstract socket that is not its own. On kernels that cannot do all of it, as much as they
//! can.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ::landlock::{
    ABI, Access as _, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, make_bitflags,
};

/// The newest rules that are asked for; kernels leave out what they do not know.
const RULES: ABI = ABI::V6;

/// Devices that may be opened for writing, where they are there.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Top-level folders of a jail in which no program is ever started.
const WITHOUT_PROGRAMS: [&str; 4] = ["dev", "etc", "proc", "tmp"];

/// How much of the rules is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// All.
    Full,
    /// What this kernel knows of them.
    Partial,
    /// None: the kernel was built without, or forbids it.
    Absent,
}

/// What a program may do with files; everything else about them is refused.
#[derive(Debug, Default)]
pub(super) struct Grants {
    /// Folders and files to read.
    pub(super) read: Vec<PathBuf>,
    /// Folders and files to execute; reading them is granted apart.
    pub(super) execute: Vec<PathBuf>,
    /// Folders to read and change, but not to put devices into.
    pub(super) write: Vec<PathBuf>,
}

/// Restricts the calling thread and all that it starts, in a jail that is complete. `tmp_exec`
/// tells whether what is written to `/tmp` may be executed.
pub(crate) fn restrict(tmp_exec: bool) -> io::Result<Report> {
    let mut grants = Grants {
        read: vec!["/".into()],
        execute: Vec::new(),
        write: vec!["/tmp".into(), "/dev/shm".into()],
    };
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        let excluded = WITHOUT_PROGRAMS
            .iter()
            .any(|name| entry.file_name() == *name && !(tmp_exec && *name == "tmp"));
        if !excluded && entry.file_type()?.is_dir() {
            grants.execute.push(entry.path());
        }
    }
    restrict_to(&grants)
}

/// Restricts the calling thread and all that it starts. What is granted and not there is passed
/// over.
pub(super) fn restrict_to(grants: &Grants) -> io::Result<Report> {
    apply(grants).map_err(io::Error::other)
}

fn apply(grants: &Grants) -> Result<Report, RulesetError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let change = make_bitflags!(AccessFs::{
        WriteFile | Truncate | MakeReg | MakeDir | MakeSym | MakeFifo | MakeSock | RemoveFile
            | RemoveDir | Refer
    });
    let device = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | IoctlDev});
    let devices = DEVICES.map(|name| Path::new("/dev").join(name));
    let rules = (rules(&grants.read, read))
        .chain(rules(&grants.execute, AccessFs::Execute.into()))
        .chain(rules(&grants.write, read | change))
        .chain(rules(&devices, device));
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .scope(Scope::from_all(RULES))?
        .create()?
        .add_rules(rules)?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Report::Full,
        RulesetStatus::PartiallyEnforced => Report::Partial,
        RulesetStatus::NotEnforced => Report::Absent,
    })
}

fn rules(
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<PathFd>, RulesetError>> {
    paths.iter().filter_map(move |path| {
        let opened = PathFd::new(path).ok()?;
        // A file takes only the rights that a file can have.
        let access = if path.is_dir() {
            access
        } else {
            access & AccessFs::from_file(RULES)
        };
        Some(Ok(PathBeneath::new(opened, access)))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;
    use crate::jail::forked;

    /// In a folder with a `code`, a `scratch` and a `secret`, of which the first may be read and
    /// executed, the second changed, and the third not touched.
    fn in_walls(body: fn(&Path) -> io::Result<()>) {
        let folder = std::env::temp_dir().join(format!(
            "dayfly-walls-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        for name in ["code", "scratch", "secret"] {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("file"), "#!/bin/sh\nexit 0\n").unwrap();
        }
        let program = folder.join("code/file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        forked::run(|| {
            let system = ["/usr", "/bin", "/lib", "/lib64", "/etc", "/proc", "/absent"];
            let mut read: Vec<PathBuf> = system.map(PathBuf::from).to_vec();
            read.push(folder.join("code"));
            let report = restrict_to(&Grants {
                execute: read.clone(),
                read,
                write: vec![folder.join("scratch")],
            })?;
            // Nothing to see where the kernel has no such walls.
            if report == Report::Absent {
                return Ok(());
            }
            body(&folder)
        });
        fs::remove_dir_all(&folder).unwrap();
    }

    fn denied<T>(result: io::Result<T>) {
        let kind = result.map(drop).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn only_what_is_granted_is_read() {
        in_walls(|folder| {
            fs::read(folder.join("code/file"))?;
            fs::read_dir(folder.join("code"))?;
            denied(fs::read(folder.join("secret/file")));
            denied(fs::read_dir(folder));
            symlink(folder.join("secret/file"), folder.join("scratch/link"))?;
            denied(fs::read(folder.join("scratch/link")));
            Ok(())
        });
    }

    #[test]
    fn only_scratch_is_written() {
        in_walls(|folder| {
            let scratch = folder.join("scratch");
            fs::write(scratch.join("new"), "x")?;
            fs::create_dir(scratch.join("deep"))?;
            fs::rename(scratch.join("new"), scratch.join("deep/new"))?;
            fs::write("/dev/null", "x")?;
            denied(fs::write(folder.join("code/new"), "x"));
            denied(fs::write(folder.join("code/file"), "x"));
            denied(
                fs::OpenOptions::new()
                    .write(true)
                    .open(folder.join("code/file")),
            );
            denied(fs::remove_file(folder.join("code/file")));
            denied(fs::create_dir(folder.join("new")));
            Ok(())
        });
    }

    #[test]
    fn what_was_written_is_not_executed() {
        in_walls(|folder| {
            assert!(Command::new(folder.join("code/file")).status()?.success());
            let copy = folder.join("scratch/file");
            fs::write(&copy, "#!/bin/sh\nexit 0\n")?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
            denied(Command::new(copy).status());
            Ok(())
        });
    }

    #[test]
    fn processes_and_abstract_sockets_of_others_are_out_of_reach() {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::{SocketAddr, UnixStream};
        let name = format!("dayfly-walls-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        forked::run(|| {
            if restrict_to(&Grants::default())? != Report::Full {
                return Ok(());
            }
            denied(UnixStream::connect_addr(&address));
            let parent = rustix::process::getppid().unwrap();
            denied(rustix::process::test_kill_process(parent).map_err(io::Error::from));
            let own = rustix::process::getpid();
            Ok(rustix::process::test_kill_process(own)?)
        });
    }
}
