//! Starts the programs in a claimed jail: mounts what it was given, closes the root to writing,
//! gives up every right, forks and executes.

use std::ffi::{CString, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::context::Context as _;
use super::inside::Inside;
use super::landlock;
use super::message::Claim;
use super::plan::Program;
use super::seccomp;
use super::syscall::{self, NO_DEVICES, NO_SUID, READ_ONLY};
use super::tree;
use crate::spawner::{Companion, Limits};

/// Bytes of `/tmp` for each file it may hold: what a small file takes of it.
const TMP_BYTES_PER_FILE: u64 = 4096;

/// Most bytes of `/dev/shm`; less where `/tmp` is smaller.
const SHM_BYTES_MAX: u64 = 64 << 20;

/// Where a mount is while its entries are laid around others.
const ASIDE: &str = "/.aside";

/// Entries that are laid around others, at most; each takes a mount.
const ENTRIES_MAX: usize = 1000;

/// A program's ends of what its launcher and the daemon talk through.
#[derive(Debug)]
pub(super) struct Control {
    /// The launcher answers here, and hears where the daemon hangs up.
    pub(super) socket: OwnedFd,
    /// What it is asked. Not the socket: who waits at one is woken each time that something of
    /// its own was taken out at the other end.
    pub(super) requests: OwnedFd,
}

impl Control {
    pub(super) fn raw(&self) -> [RawFd; 2] {
        [self.socket.as_raw_fd(), self.requests.as_raw_fd()]
    }
}

/// Where the control socket is in the program, and where requests come.
const CONTROL: i32 = 3;
const REQUESTS: i32 = 4;

/// Above every number that the program's own descriptors get.
const HIGH: i32 = 16;

/// A jail that is filled, with nothing running in it yet.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) program: Program,
    pub(super) dialers: Vec<OwnedFd>,
}

/// How a folder comes to be at a folder of the root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Laid {
    /// Over it, where that is empty.
    Over,
    /// Into it, entry by entry: whoever was given the right to execute what is in that folder has
    /// none to what covers it (Landlock passes over the places of mounts).
    Around,
}

/// Puts what was given into the jail.
pub(super) fn furnish(claim: &Claim<'_>, trees: Vec<OwnedFd>, laid: Laid) -> io::Result<Program> {
    let program = Program::unseal(claim.program)?;
    if trees.len() != claim.targets.len() {
        return Err(io::Error::other("mounts and targets differ in number"));
    }
    for (tree, target) in trees.iter().zip(&claim.targets) {
        place(tree, target, laid).context(target.display())?;
    }
    for (link, target) in &program.links {
        make_parent(link)?;
        symlink(target, link).context(link.display())?;
    }
    for (path, bytes) in &program.files {
        write_file(path, bytes).context(path.display())?;
    }
    Ok(program)
}

/// Fills the jail as claimed. Afterwards the calling process has no capability left.
pub(super) fn fill(claim: &Claim<'_>, trees: Vec<OwnedFd>, laid: Laid) -> io::Result<Filled> {
    let program = furnish(claim, trees, laid)?;
    size_tmp(&claim.limits)?;
    let dialers = (0..claim.dialers)
        .map(|_| dialer())
        .collect::<io::Result<Vec<_>>>()?;
    let root = rustix::mount::open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    syscall::restrict_mount(root.as_fd(), READ_ONLY | NO_SUID | NO_DEVICES, false)
        .context("close the root to writing")?;
    drop(root);
    drop_rights().context("give up rights")?;
    Ok(Filled { program, dialers })
}

/// Starts the program that a jail is for.
pub(super) fn start(program: &Program, claim: &Claim<'_>, inside: &Inside<'_>) -> io::Result<Pid> {
    let control = claim.control.then_some(&inside.control);
    spawn(&program.argv, &program.env, || {
        become_program(&program.cwd, &inside.output, control, claim, inside)
    })
}

/// Starts a program in a jail that is not complete, with none of the rights that its first process
/// still has.
pub(super) fn start_ahead(
    program: &Program,
    claim: &Claim<'_>,
    inside: &Inside<'_>,
) -> io::Result<Pid> {
    let control = claim.control.then_some(&inside.control);
    spawn(&program.argv, &program.env, || {
        drop_rights().context("give up rights")?;
        become_program(&program.cwd, &inside.output, control, claim, inside)
    })
}

/// Limits a program that was started before its limits were known.
pub(super) fn limit_booted(pid: Pid, claim: &Claim<'_>) -> io::Result<()> {
    if claim.limit_data {
        let bytes = claim.limits.memory_bytes.saturating_add(DATA_ROOM);
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        rustix::process::prlimit(Some(pid), Resource::Data, limit).context("limit memory")?;
    }
    Ok(())
}

/// Starts a program beside it.
pub(super) fn start_companion(
    companion: &Companion,
    output: &OwnedFd,
    claim: &Claim<'_>,
    inside: &Inside<'_>,
) -> io::Result<Pid> {
    spawn(&companion.argv, &companion.env, || {
        become_program(&companion.cwd, output, None, claim, inside)
    })
}

/// What companions print into, and the end that it comes out of, which does not block.
pub(super) fn companions_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (end, output) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&end, true)?;
    Ok((output, end))
}

/// Attaches a mount at its target, which is made if it is not there. What was placed below the
/// target before stays: an interpreter may be in `/opt`, and layers come after it.
fn place(tree: &OwnedFd, target: &Path, laid: Laid) -> io::Result<()> {
    let folder = FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode) == FileType::Directory;
    if !target.exists() {
        make_empty(target, folder)?;
    }
    let top = laid == Laid::Around && target.parent() == Some(Path::new("/"));
    if folder && (top || fs::read_dir(target)?.next().is_some()) {
        return lay_around(tree, target);
    }
    attach(tree, target)
}

fn make_empty(path: &Path, folder: bool) -> io::Result<()> {
    make_parent(path)?;
    if folder {
        fs::create_dir(path)
    } else {
        fs::write(path, "")
    }
}

fn attach(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, "", CWD, target, flags)?)
}

/// Attaches what is in a mount entry by entry, around what is there already.
fn lay_around(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let aside = Path::new(ASIDE);
    fs::create_dir(aside)?;
    attach(tree, aside)?;
    let mut left = ENTRIES_MAX;
    let laid = lay_entries(aside, target, fs::metadata("/")?.dev(), &mut left);
    rustix::mount::unmount(aside, UnmountFlags::DETACH)?;
    fs::remove_dir(aside)?;
    laid
}

fn lay_entries(from: &Path, target: &Path, root: u64, left: &mut usize) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        *left = left
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("too many entries beside the interpreter"))?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        let kind = entry.file_type()?;
        match fs::symlink_metadata(&to) {
            Err(_) if kind.is_symlink() => symlink(fs::read_link(&from)?, &to)?,
            Err(_) => {
                make_empty(&to, kind.is_dir())?;
                attach(&tree::clone(&from)?, &to)?;
            }
            // A folder of our own root was made on the way to something; any other is a mount.
            Ok(there) if kind.is_dir() && there.is_dir() && there.dev() == root => {
                lay_entries(&from, &to, root, left)?;
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_parent(path)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o555)
        .open(path)?;
    file.write_all(bytes)
}

fn size_tmp(limits: &Limits) -> io::Result<()> {
    let shm_bytes = limits.tmp_bytes.min(SHM_BYTES_MAX);
    for (place, bytes, exec) in [
        ("/tmp", limits.tmp_bytes, limits.tmp_exec),
        ("/dev/shm", shm_bytes, false),
    ] {
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
        flags.set(MountFlags::NOEXEC, !exec);
        // Zero would mean no limit.
        let bytes = bytes.max(TMP_BYTES_PER_FILE);
        let files = (bytes / TMP_BYTES_PER_FILE).max(16);
        let options = CString::new(format!("size={bytes},nr_inodes={files}"))?;
        rustix::mount::mount_remount(place, flags, &*options).context(place)?;
    }
    Ok(())
}

/// A TCP socket that belongs to the jail's network, whoever connects it.
pub(super) fn dialer() -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// Gives up every capability for good, and with it every right over the jail. The program
/// inherits this.
pub(super) fn drop_rights() -> io::Result<()> {
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Starts a program's process, in which `ready` comes first.
pub(super) fn spawn(
    argv: &[OsString],
    env: &[(OsString, OsString)],
    ready: impl FnOnce() -> io::Result<()>,
) -> io::Result<Pid> {
    let arguments = strings(argv.iter().cloned())?;
    let environment = strings(env.iter().map(|(name, value)| {
        let mut both = name.clone().into_vec();
        both.push(b'=');
        both.extend_from_slice(value.as_bytes());
        OsString::from_vec(both)
    }))?;
    let path = arguments
        .first()
        .ok_or_else(|| io::Error::other("no program named"))?;
    syscall::spawn(|| {
        let failed = ready().and_then(|()| {
            Err::<(), _>(syscall::exec(path, &arguments, &environment))
                .context(path.to_string_lossy())
        });
        failed
            .err()
            .unwrap_or_else(|| io::Error::other("the program did not start"))
    })
}

/// Everything that a program is to find done, in its own process.
fn become_program(
    cwd: &Path,
    output: &OwnedFd,
    control: Option<&Control>,
    claim: &Claim<'_>,
    inside: &Inside<'_>,
) -> io::Result<()> {
    rustix::process::setsid()?;
    descriptors(output, control)?;
    limit(claim)?;
    rustix::process::chdir(cwd).context(cwd.display())?;
    landlock::restrict(claim.limits.tmp_exec).context("wall files off")?;
    seccomp::install(inside.filter).context("filter system calls")
}

/// Standard input empty, output and error to the pipe, the control socket as 3, requests as 4, no
/// other.
pub(super) fn descriptors(output: &OwnedFd, control: Option<&Control>) -> io::Result<()> {
    // Above the numbers that are about to be filled, so that none is overwritten before it is
    // put in its place.
    let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, HIGH);
    let output = high(output)?;
    let control = control
        .map(|control| io::Result::Ok((high(&control.socket)?, high(&control.requests)?)))
        .transpose()?;
    let null = {
        // May have got one of the numbers below: closed before they are filled.
        let low = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        high(&low.context("/dev/null")?)?
    };
    syscall::close_on_exec_from(0)?;
    syscall::put(null.as_fd(), 0)?;
    syscall::put(output.as_fd(), 1)?;
    syscall::put(output.as_fd(), 2)?;
    if let Some((socket, requests)) = control {
        syscall::put(socket.as_fd(), CONTROL)?;
        syscall::put(requests.as_fd(), REQUESTS)?;
    }
    Ok(())
}

fn limit(claim: &Claim<'_>) -> io::Result<()> {
    set_limit(Resource::Core, 0)?;
    let limits = &claim.limits;
    set_limit(Resource::Nofile, limits.open_files.into()).context("limit open files")?;
    // Counted in the jail's own user namespace, so its first process counts too.
    set_limit(Resource::Nproc, u64::from(limits.processes) + 1).context("limit processes")?;
    if claim.limit_data {
        limit_data(limits.memory_bytes)?;
    }
    Ok(())
}

/// Keeps one process from taking the host's memory before anybody looks: the daemon holds the
/// limit itself. Not RLIMIT_AS, for runtimes reserve far more address space than they use; and
/// with room, for V8 reserves some hundred megabytes of what counts here, too.
pub(super) fn limit_data(memory_bytes: u64) -> io::Result<()> {
    set_limit(Resource::Data, memory_bytes.saturating_add(DATA_ROOM)).context("limit memory")
}

const DATA_ROOM: u64 = 1 << 30;

/// Sets a limit for good.
pub(super) fn set_limit(resource: Resource, value: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

fn strings(items: impl Iterator<Item = OsString>) -> io::Result<Vec<CString>> {
    items
        .map(|item| Ok(CString::new(item.into_vec())?))
        .collect()
}
