//! The few system calls that no safe wrapper offers, each made safe as far as it can be.
//! Nothing here decides anything.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use rustix::process::Pid;

/// What a mount may no longer do, in the kernel's `MOUNT_ATTR_*` bits.
pub(super) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub(super) const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
pub(super) const NO_DEVICES: u64 = libc::MOUNT_ATTR_NODEV;

/// Namespaces of a jail. Its control group namespace is the host's: nothing of it is mounted.
pub(super) const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS) as u64;

/// `CLONE_INTO_CGROUP`, which does not fit the type that the C library gives it.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Stack of a child between its start and the program; far more than that needs.
const SPAWN_STACK_BYTES: usize = 256 * 1024;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// A child process as its parent sees it.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
}

/// Forks into new namespaces; `None` in the child. Only for a process with one thread.
pub(super) fn clone(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: namespaces | libc::CLONE_PIDFD as u64,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is of the size given and lives through the call, `pidfd` is written before
    // the parent goes on. Without CLONE_VM the child has its own copy of everything, and with
    // one thread no lock of the C library can be held by a thread that the child lacks.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            ptr::from_mut(&mut args),
            size_of::<CloneArgs>(),
        )
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    // SAFETY: the kernel has just made this descriptor for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(Child { pid, pidfd }))
}

/// Forks; `None` in the child. Only for a process with one thread.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: with one thread the child may do whatever the parent could.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(Pid::from_raw(pid))
    }
}

/// Takes rights away from a mount, and makes it private; `recursive` means all mounts under it
/// too.
pub(super) fn restrict_mount(
    mount: BorrowedFd<'_>,
    attributes: u64,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr {
        set: attributes,
        clear: 0,
        propagation: libc::MS_PRIVATE,
        userns: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string and `attr` is of the size given; both outlive the
    // call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(&attr),
            size_of::<MountAttr>(),
        )
    };
    check(done)
}

/// Closes every descriptor that is not listed.
pub(super) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|&fd| u32::try_from(fd).ok())
        .collect();
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX, 0)
}

/// Marks every descriptor from `first` on to be closed when another program is started.
pub(super) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(
        u32::try_from(first).unwrap_or(0),
        u32::MAX,
        libc::CLOSE_RANGE_CLOEXEC,
    )
}

fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: the caller names descriptors that nobody uses any more, or only marks them.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })
}

/// Puts `from` at the number `to`, closing what was there, to be kept over an exec.
pub(super) fn put(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    let done = if from.as_raw_fd() == to {
        // SAFETY: changes a flag of a descriptor that is borrowed, so open.
        unsafe { libc::fcntl(to, libc::F_SETFD, 0) }
    } else {
        // SAFETY: callers only name numbers that no owned descriptor of theirs has.
        unsafe { libc::dup2(from.as_raw_fd(), to) }
    };
    check(done.into())
}

/// Takes over a descriptor by its number.
///
/// # Safety
/// The descriptor is open and owned by nobody else.
pub(super) unsafe fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A descriptor that becomes readable when a child has changed state. SIGCHLD stays blocked.
pub(super) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: an all-zero set is a valid place for `sigemptyset` to fill; every pointer is to a
    // local that outlives its call.
    let fd = unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives every signal its default effect. What is ignored would stay so in another program.
pub(super) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: sets a default disposition; failing for the numbers that have no other does
        // no harm.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Has writing past the size a file may have fail, as on a full disk, instead of ending the
/// program. Kept over an exec.
pub(super) fn survive_file_size() {
    // SAFETY: sets a disposition that runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Blocks no signal.
fn unblock_signals() {
    // SAFETY: an all-zero set is a valid place for `sigemptyset` to fill; every pointer is to a
    // local that outlives its call.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// Starts a child that runs `body`, which is to become another program and returns only with
/// why it could not. Resolves once it has; meanwhile the child uses our memory, which saves
/// copying it.
pub(super) fn spawn<F: FnOnce() -> io::Error>(body: F) -> io::Result<Pid> {
    struct Shared<F> {
        body: Option<F>,
        failed: Option<io::Error>,
    }
    extern "C" fn run<F: FnOnce() -> io::Error>(shared: *mut libc::c_void) -> libc::c_int {
        // SAFETY: points to the `Shared` of `spawn`, which does not run until this child has
        // ended or become another program.
        let shared = unsafe { &mut *shared.cast::<Shared<F>>() };
        unblock_signals();
        let body = shared.body.take();
        let failed = body.and_then(|body| catch_unwind(AssertUnwindSafe(body)).ok());
        shared.failed =
            Some(failed.unwrap_or_else(|| io::Error::other("the program's process panicked")));
        exit(127)
    }
    let mut shared = Shared {
        body: Some(body),
        failed: None,
    };
    let mut stack = vec![0_u128; SPAWN_STACK_BYTES / size_of::<u128>()];
    // SAFETY: the child gets a stack of its own, aligned as it must be; we are stopped for as
    // long as it uses our memory, and it leaves by `exec` or `_exit` only.
    let pid = unsafe {
        libc::clone(
            run::<F>,
            stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut shared).cast(),
        )
    };
    let error = io::Error::last_os_error();
    let Some(pid) = (pid > 0).then_some(pid).and_then(Pid::from_raw) else {
        return Err(error);
    };
    match shared.failed {
        None => Ok(pid),
        Some(error) => {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            Err(error)
        }
    }
}

/// Sends a signal to every process of this pid namespace except its first.
pub(super) fn signal_all(signal: i32) {
    // SAFETY: takes plain numbers; only ever called by the first process of a jail, where -1
    // means the jail.
    unsafe { libc::kill(-1, signal) };
}

/// Becomes another program; returns only when that failed.
pub(super) fn exec(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: every pointer is to a C string that outlives the call, and both lists end in null.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process at once, running nothing on the way out.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Which version of Landlock the kernel offers; none if it has none, or it is switched off.
pub(crate) fn landlock_version() -> Option<u32> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call takes no structure, and only answers.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    u32::try_from(version).ok().filter(|&version| version > 0)
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
