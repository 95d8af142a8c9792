//! Runs the body of a test in a process of its own, for what cannot be undone.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::WaitOptions;

use super::ids;
use super::syscall;

/// Panics with what the body's error or panic says.
pub(super) fn run(body: impl FnOnce() -> io::Result<()>) {
    let (hear, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let Some(child) = syscall::fork().unwrap() else {
        drop(hear);
        let said = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => syscall::exit(0),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref().map(|text: &&str| (*text).to_owned()))
                .unwrap_or_default(),
        };
        let _ = fs::File::from(tell).write_all(said.as_bytes());
        syscall::exit(1)
    };
    drop(tell);
    let said = everything(hear);
    let ended = rustix::process::waitpid(Some(child), WaitOptions::empty()).unwrap();
    let status = ended.map(|(_, status)| status);
    assert!(
        status.and_then(|status| status.exit_status()) == Some(0),
        "{said} ({status:?})"
    );
}

fn everything(from: OwnedFd) -> String {
    let mut text = String::new();
    fs::File::from(from).read_to_string(&mut text).unwrap();
    text
}

/// Becomes an ordinary user, if we are root.
pub(super) fn nobody() -> io::Result<()> {
    const NOBODY: u32 = 65534;
    if rustix::process::getuid().is_root() {
        let (user, group) = (
            rustix::thread::Uid::from_raw(NOBODY),
            rustix::thread::Gid::from_raw(NOBODY),
        );
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(group, group, group)?;
        rustix::thread::set_thread_res_uid(user, user, user)?;
        // A change of user takes our own files under /proc away from us.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?;
    }
    Ok(())
}

/// Enters new namespaces, with one of users for whoever is not root.
pub(super) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    let (user, group) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if user == 0 {
        // SAFETY: a forked process has one thread, and keeps its descriptors.
        return Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?);
    }
    // SAFETY: as above.
    unsafe { rustix::thread::unshare_unsafe(flags | rustix::thread::UnshareFlags::NEWUSER) }?;
    ids::write_maps("/proc/self", user, (user, group))
}
