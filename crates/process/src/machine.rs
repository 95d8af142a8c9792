//! For which processors a package has programs and libraries, where its author built it for
//! another than this host's. Reads the heads of files.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use engine::port::{CannotRun, Warning};
use model::Architecture;

/// Files that are looked at, at most (ours: far more than 250 MB of package has).
const FILES_MAX: usize = 200_000;
/// As much of a file as names its processor.
const HEAD_BYTES: usize = 20;

/// What native files there are in some folders.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// One for this host.
    own: Option<PathBuf>,
    /// The first for another, by its path in its folder.
    other: Option<PathBuf>,
}

/// Looks at a package that its author declares to be for `declared`. Blocks.
pub(crate) fn look(
    declared: Architecture,
    folders: &[&Path],
) -> Result<Option<Warning>, CannotRun> {
    if declared == Architecture::HOST {
        return Ok(None);
    }
    let (declared, host) = (declared.as_str(), Architecture::HOST.as_str());
    let found = search(folders);
    match (found.own, found.other) {
        (None, Some(file)) => Err(CannotRun {
            reason: format!(
                "the function is declared for {declared}, and this host is {host}: {} in its package \
                 cannot run here; build the package for {host}, or run it on a host that is \
                 {declared}",
                file.display()
            ),
        }),
        (Some(_), Some(file)) => Ok(Some(format!(
            "the function is declared for {declared} and runs on {host}, for which its package has \
             binaries, too; what needs {} does not run here",
            file.display()
        ))),
        (_, None) => Ok(Some(format!(
            "the function is declared for {declared} and runs on {host}, which this host is: \
             nothing in its package is built for one of them alone"
        ))),
    }
}

fn search(folders: &[&Path]) -> Found {
    let mut found = Found::default();
    let mut looked = 0;
    for top in folders {
        let mut left = vec![top.to_path_buf()];
        while let Some(folder) = left.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                looked += 1;
                if looked > FILES_MAX || found.own.is_some() && found.other.is_some() {
                    return found;
                }
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => left.push(path),
                    Ok(kind) if kind.is_file() && may_be_native(&path) => {
                        let place = match is_for_host(&path) {
                            Some(true) => &mut found.own,
                            Some(false) => &mut found.other,
                            None => continue,
                        };
                        let inside = path.strip_prefix(top).unwrap_or(&path);
                        place.get_or_insert_with(|| inside.to_owned());
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

/// Whether a look into the file is worth it: packages have thousands of others.
fn may_be_native(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let library = name.ends_with(".so") || name.contains(".so.") || name.ends_with(".node");
    library || std::fs::metadata(path).is_ok_and(|seen| seen.permissions().mode() & 0o111 != 0)
}

/// Whether a native file is for this host's processor; none where it is no native file.
fn is_for_host(path: &Path) -> Option<bool> {
    let mut head = [0; HEAD_BYTES];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    for_host(&head)
}

fn for_host(head: &[u8; HEAD_BYTES]) -> Option<bool> {
    /// Numbers of processors in the head of a program.
    const X86: u16 = 62;
    const ARM: u16 = 183;
    /// 64 bits, least byte first.
    const CLASS_AND_ORDER: [u8; 2] = [2, 1];
    let (magic, rest) = head.split_first_chunk::<4>()?;
    if magic != b"\x7fELF" {
        return None;
    }
    let machine = head
        .get(18..)?
        .first_chunk()
        .copied()
        .map(u16::from_le_bytes)?;
    let host = match Architecture::HOST {
        Architecture::X86 => X86,
        Architecture::Arm => ARM,
    };
    Some(rest.starts_with(&CLASS_AND_ORDER) && machine == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Architecture = match Architecture::HOST {
        Architecture::X86 => Architecture::Arm,
        Architecture::Arm => Architecture::X86,
    };

    fn check(files: &[(&str, bool)], declared: Architecture, expected: &str) {
        let mut id = [0; 8];
        store::Clock::random(&store::SystemClock::new(), &mut id);
        let folder = std::env::temp_dir().join(format!("dayfly-machine-{}", model::id::hex(&id)));
        let own = std::fs::read("/proc/self/exe").unwrap();
        let own = own.get(..64).unwrap();
        for (name, native) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut head = own.to_vec();
            if !native {
                head[18] ^= 0xff;
            }
            std::fs::write(&path, head).unwrap();
        }
        let _ = std::fs::create_dir_all(&folder);
        std::fs::write(folder.join("app.so"), "no program").unwrap();
        let seen = match look(declared, &[&folder]) {
            Ok(None) => "fine".to_owned(),
            Ok(Some(warning)) => format!("warned: {warning}"),
            Err(refused) => format!("refused: {refused}"),
        };
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(seen.contains(expected), "{seen}");
    }

    #[test]
    fn only_what_cannot_run_is_refused_by_name() {
        check(&[("x.so", false)], Architecture::HOST, "fine");
        check(&[], OTHER, "warned: the function is declared for");
        check(
            &[("lib/x.so.1", false)],
            OTHER,
            "lib/x.so.1 in its package cannot run here",
        );
        check(
            &[("a/x.node", true)],
            OTHER,
            "nothing in its package is built for one",
        );
        let both = [("a/x.node", false), ("b/x.node", true)];
        check(&both, OTHER, "what needs a/x.node does not run here");
        // What nobody can execute or load is not looked at.
        check(&[("data.bin", false)], OTHER, "nothing in its package");
    }

    proptest::proptest! {
        #[test]
        fn noise_never_breaks_the_reader(head: [u8; HEAD_BYTES]) {
            let _ = for_host(&head);
        }
    }
}
