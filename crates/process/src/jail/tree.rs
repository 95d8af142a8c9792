//! Opens what of the host a jail is to see, as mounts that belong nowhere yet: the jail attaches
//! them. Follows no link that a tenant could have made, as all sources are the platform's own.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::context::Context as _;
use super::plan::Tree;
use super::syscall::{self, NO_DEVICES, NO_SUID, READ_ONLY};

/// Opens one tree, read-only, without devices or set-user-id programs.
pub(super) fn open(tree: &Tree) -> io::Result<OwnedFd> {
    let mount = match tree.sources.as_slice() {
        [] => return Err(io::Error::other("nothing to show")).context(tree.target.display()),
        [source] => clone(source).context(source.display())?,
        sources => {
            overlay(sources).context(format!("lay {} folders over each other", sources.len()))?
        }
    };
    syscall::restrict_mount(mount.as_fd(), READ_ONLY | NO_SUID | NO_DEVICES, true)
        .context(tree.target.display())?;
    Ok(mount)
}

/// A copy of what is mounted at and under `source`.
pub(super) fn clone(source: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(rustix::mount::open_tree(CWD, source, flags)?)
}

fn overlay(sources: &[PathBuf]) -> io::Result<OwnedFd> {
    let folders = sources
        .iter()
        .map(|source| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(source, flags, Mode::empty()).context(source.display())
        })
        .collect::<io::Result<Vec<_>>>()?;
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "lowerdir", lower(&folders))?;
    rustix::mount::fsconfig_create(&context)?;
    Ok(rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?)
}

/// The option's value, the topmost folder first. By number, for the kernel takes 255 bytes, which
/// two paths may fill.
fn lower(folders: &[OwnedFd]) -> String {
    let name = |folder: &OwnedFd| format!("/proc/self/fd/{}", folder.as_raw_fd());
    let names: Vec<_> = folders.iter().rev().map(name).collect();
    names.join(":")
}
