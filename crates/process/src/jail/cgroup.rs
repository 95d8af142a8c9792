//! Control groups: one for each jail, below the helper's own, in whichever version the host
//! delegates. Where it delegates none, resource limits are all there is, and the host's facts
//! say so.

mod v1;
mod v2;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::message::JailId;
use crate::host::CgroupKind;
use crate::spawner::Limits;

/// Begins the name of every group or folder that is ours; a process id follows.
pub(super) const PREFIX: &str = "dayfly-";

/// Where the jails' groups are made.
#[derive(Debug)]
pub(super) enum Cgroups {
    V1(v1::Tree),
    V2(v2::Tree),
    /// None is delegated to us.
    None,
}

impl Cgroups {
    /// Finds what is delegated to us, ends and removes what dead helpers left there, and makes
    /// a base of our own.
    pub(super) fn open() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts_of(&mounts);
        if let Some(tree) = v2::Tree::open(&own, &mounts) {
            return Self::V2(tree);
        }
        v1::Tree::open(&own, &mounts).map_or(Self::None, Self::V1)
    }

    pub(super) fn kind(&self) -> CgroupKind {
        match self {
            Self::V1(_) => CgroupKind::V1,
            Self::V2(_) => CgroupKind::V2,
            Self::None => CgroupKind::None,
        }
    }

    /// The controllers that hold limits here.
    pub(super) fn controllers(&self) -> Vec<String> {
        match self {
            Self::V1(tree) => tree.controllers(),
            Self::V2(tree) => tree.controllers(),
            Self::None => Vec::new(),
        }
    }

    pub(super) fn limits_memory(&self) -> bool {
        self.controllers().iter().any(|name| name == "memory")
    }

    pub(super) fn limits_processes(&self) -> bool {
        self.controllers().iter().any(|name| name == "pids")
    }

    pub(super) fn create(&self, id: JailId) -> io::Result<()> {
        match self {
            Self::V1(tree) => tree.create(id),
            Self::V2(tree) => tree.create(id),
            Self::None => Ok(()),
        }
    }

    /// The group to clone a process into, where the kernel can do that.
    pub(super) fn birthplace(&self, id: JailId) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::V2(tree) => tree.birthplace(id).map(Some),
            Self::V1(_) | Self::None => Ok(None),
        }
    }

    /// Files to which a process writes `0` to move itself in, where it cannot be born inside.
    /// A move can take milliseconds; so it is the jail that does it, and not the helper.
    pub(super) fn doors(&self, id: JailId) -> io::Result<Vec<OwnedFd>> {
        match self {
            Self::V1(tree) => tree.doors(id),
            Self::V2(_) | Self::None => Ok(Vec::new()),
        }
    }

    pub(super) fn limit(&self, id: JailId, limits: &Limits) -> io::Result<()> {
        match self {
            Self::V1(tree) => tree.limit(id, limits),
            Self::V2(tree) => tree.limit(id, limits),
            Self::None => Ok(()),
        }
    }

    /// Stops or continues every process; false where there is no freezer.
    pub(super) fn freeze(&self, id: JailId, frozen: bool) -> bool {
        match self {
            Self::V1(tree) => tree.freeze(id, frozen),
            Self::V2(tree) => tree.freeze(id, frozen),
            Self::None => false,
        }
    }

    /// Whether the kernel has killed a process of the group for want of memory.
    pub(super) fn out_of_memory(&self, id: JailId) -> bool {
        let text = match self {
            Self::V1(tree) => tree.memory_file(id, "memory.oom_control"),
            Self::V2(tree) => tree.file(id, "memory.events"),
            Self::None => None,
        };
        text.and_then(|path| fs::read_to_string(path).ok())
            .is_some_and(|text| oom_kills(&text) > 0)
    }

    /// Open files that tell memory used now, and the most ever used.
    pub(super) fn memory(&self, id: JailId) -> (Option<OwnedFd>, Option<OwnedFd>) {
        let (now, peak) = match self {
            Self::V1(tree) => (
                tree.memory_file(id, "memory.usage_in_bytes"),
                tree.memory_file(id, "memory.max_usage_in_bytes"),
            ),
            Self::V2(tree) => (
                tree.file(id, "memory.current"),
                tree.file(id, "memory.peak"),
            ),
            Self::None => (None, None),
        };
        let open = |path: Option<PathBuf>| {
            rustix::fs::open(path?, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
        };
        (open(now), open(peak))
    }

    /// Removes a jail's group; false while processes are still dying in it.
    pub(super) fn remove(&self, id: JailId) -> bool {
        match self {
            Self::V1(tree) => tree.remove(id),
            Self::V2(tree) => tree.remove(id),
            Self::None => true,
        }
    }

    /// Removes our own base, once every jail's group is gone.
    pub(super) fn close(&self) {
        match self {
            Self::V1(tree) => tree.close(),
            Self::V2(tree) => tree.close(),
            Self::None => {}
        }
    }
}

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// Which of its groups is at the mount point.
    root: PathBuf,
    point: PathBuf,
    v2: bool,
    /// What it controls (version 1), in the kernel's order.
    options: Vec<String>,
}

/// The control group mounts in the text of `/proc/self/mountinfo`.
fn mounts_of(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut place = place.split(' ').skip(3);
            let (root, point) = (place.next()?, place.next()?);
            let mut kind = kind.split(' ');
            let (name, _, options) = (kind.next()?, kind.next()?, kind.next()?);
            let v2 = name == "cgroup2";
            (v2 || name == "cgroup").then(|| Mount {
                root: root.into(),
                point: point.into(),
                v2,
                options: options.split(',').map(str::to_owned).collect(),
            })
        })
        .collect()
}

/// The folder of a group, by its path as `/proc/self/cgroup` has it.
fn folder_of(mount: &Mount, group: &str) -> PathBuf {
    let group = Path::new(group);
    let below = group
        .strip_prefix(&mount.root)
        .or_else(|_| group.strip_prefix("/"));
    let folder = mount.point.join(below.unwrap_or(Path::new("")));
    // A container may see its group's name but have only that group mounted.
    if folder.is_dir() {
        folder
    } else {
        mount.point.clone()
    }
}

/// Makes our base in a folder and locks it, so that no other helper takes it for a dead one's.
pub(super) fn make_base(parent: &Path) -> io::Result<(PathBuf, OwnedFd)> {
    let base = parent.join(format!("{PREFIX}{}", std::process::id()));
    for _ in 0..3 {
        match fs::create_dir(&base) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let Some(lock) = lock(&base) else { continue };
        // Somebody who swept may have removed it before it was locked.
        if base.is_dir() {
            return Ok((base, lock));
        }
    }
    Err(io::Error::other("another helper holds our folder"))
}

pub(super) fn lock(folder: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).ok()?;
    rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(folder)
}

/// Ends and removes the groups that dead helpers left in this one. What cannot be removed now
/// is left to the next helper.
fn sweep(parent: &Path) {
    for stale in subgroups(parent) {
        let ours = stale
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| {
                name.strip_prefix(PREFIX)
                    .and_then(|id| id.parse::<u32>().ok())
            });
        if ours.is_none() {
            continue;
        }
        let Some(_lock) = lock(&stale) else { continue };
        let jails = subgroups(&stale);
        for jail in &jails {
            kill(jail);
        }
        for group in jails.iter().chain([&stale]) {
            // Dead processes leave their group within a few milliseconds.
            for _ in 0..100 {
                match fs::remove_dir(group) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => pause(),
                    _ => break,
                }
            }
        }
    }
}

fn subgroups(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|e| e.path())
        .collect()
}

fn kill(group: &Path) {
    if fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for process in processes.lines() {
        let process = process
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(process) = process {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
    let _ = write(group, "freezer.state", "THAWED");
}

/// Waits two milliseconds for the kernel, at start only, when there is no descriptor to wait on.
fn pause() {
    let time = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000,
    };
    let _ = rustix::event::poll(&mut [], Some(&time));
}

/// Writes a value to a file that exists.
fn write(group: &Path, file: &str, value: impl AsRef<[u8]>) -> io::Result<()> {
    use super::context::Context as _;
    let path = group.join(file);
    let written = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_ref()));
    written.context(path.display())
}

fn remove_group(group: &Path) -> bool {
    match fs::remove_dir(group) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The count in a line `oom_kill N`.
fn oom_kills(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 /a /sys/fs/cgroup/unified rw,relatime shared:3 - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn mounts_are_found_in_mountinfo() {
        let mounts = mounts_of(HYBRID);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].options, ["rw", "memory"]);
        assert_eq!(
            (mounts[1].v2, mounts[1].root.as_path()),
            (true, Path::new("/a"))
        );
    }

    #[test]
    fn a_kill_for_memory_is_counted_in_both_versions() {
        assert_eq!(
            oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            2
        );
        assert_eq!(
            oom_kills("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n"),
            1
        );
        assert_eq!(oom_kills(""), 0);
    }
}
