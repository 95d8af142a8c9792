//! Control groups, version 2: one hierarchy, whose inner groups hold no processes.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{Mount, folder_of, make_base, remove_group, sweep, write};
use crate::jail::message::JailId;
use crate::spawner::Limits;

/// Where we and the daemon move, so that our group may have groups with limits in it.
const OWN_LEAF: &str = "dayfly-daemon";

/// Controllers without which a tree is of no use, then the ones that are welcome.
const NEEDED: [&str; 2] = ["memory", "pids"];
const WELCOME: [&str; 1] = ["cpu"];

#[derive(Debug)]
pub(in crate::jail) struct Tree {
    base: PathBuf,
    controllers: Vec<String>,
    /// Held for as long as we live; tells others that the base is not a dead one's.
    _lock: OwnedFd,
}

impl Tree {
    /// A base in our own group, or in the nearest one above it that lets us.
    pub(super) fn open(own: &str, mounts: &[Mount]) -> Option<Self> {
        let mount = mounts.iter().find(|mount| mount.v2)?;
        let group = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let mut own = folder_of(mount, group);
        // A helper that a daemon starts anew is born where the first one has moved it.
        if own.ends_with(OWN_LEAF) {
            own.pop();
        }
        let above = own
            .ancestors()
            .take_while(|folder| folder.starts_with(&mount.point));
        above
            .into_iter()
            .find_map(|folder| Self::open_in(folder, folder == own))
    }

    fn open_in(parent: &Path, own: bool) -> Option<Self> {
        if !(enable(parent) || own && make_room(parent)) {
            return None;
        }
        sweep(parent);
        let (base, lock) = make_base(parent).ok()?;
        if !enable(&base) {
            remove_group(&base);
            return None;
        }
        let controllers = words(&base.join("cgroup.subtree_control"));
        Some(Self {
            base,
            controllers,
            _lock: lock,
        })
    }

    pub(super) fn controllers(&self) -> Vec<String> {
        let mut all = self.controllers.clone();
        all.push("freezer".to_owned());
        all
    }

    fn group(&self, id: JailId) -> PathBuf {
        self.base.join(id.to_string())
    }

    pub(super) fn file(&self, id: JailId, file: &str) -> Option<PathBuf> {
        Some(self.group(id).join(file))
    }

    pub(super) fn create(&self, id: JailId) -> io::Result<()> {
        fs::create_dir(self.group(id))
    }

    pub(super) fn birthplace(&self, id: JailId) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(self.group(id), flags, Mode::empty())?)
    }

    pub(super) fn limit(&self, id: JailId, limits: &Limits) -> io::Result<()> {
        let group = self.group(id);
        write(&group, "memory.max", limits.memory_bytes.to_string())?;
        // Out of memory, a program is ended whole rather than one process at random. Neither
        // file is on every kernel.
        let _ = write(&group, "memory.oom.group", "1");
        let _ = write(&group, "memory.swap.max", "0");
        write(
            &group,
            "pids.max",
            (u64::from(limits.processes) + 1).to_string(),
        )?;
        if self.controllers.iter().any(|name| name == "cpu") {
            let weight = (limits.cpu_weight_millis / 10).clamp(1, 10_000);
            write(&group, "cpu.weight", weight.to_string())?;
        }
        Ok(())
    }

    pub(super) fn freeze(&self, id: JailId, frozen: bool) -> bool {
        write(
            &self.group(id),
            "cgroup.freeze",
            if frozen { "1" } else { "0" },
        )
        .is_ok()
    }

    pub(super) fn remove(&self, id: JailId) -> bool {
        remove_group(&self.group(id))
    }

    pub(super) fn close(&self) {
        remove_group(&self.base);
    }
}

/// Lets the groups in `folder` have limits; true if the needed ones now can.
fn enable(folder: &Path) -> bool {
    let control = folder.join("cgroup.subtree_control");
    let (there, mut on) = (words(&folder.join("cgroup.controllers")), words(&control));
    if !has_needed(&there) {
        return false;
    }
    let has = |list: &[String], name: &str| list.iter().any(|word| word == name);
    for name in NEEDED.iter().chain(&WELCOME) {
        if !has(&on, name) && has(&there, name) {
            // One by one: one that is refused must not take the others with it.
            let _ = write(folder, "cgroup.subtree_control", format!("+{name}"));
        }
    }
    on = words(&control);
    has_needed(&on)
}

fn has_needed(controllers: &[String]) -> bool {
    let has = |name: &&str| controllers.iter().any(|word| word == name);
    NEEDED.iter().all(has)
}

/// Moves us and the daemon out of our own group into a leaf of it, for only a group without
/// processes may limit others. Undone if somebody else is left in it.
fn make_room(own: &Path) -> bool {
    if !has_needed(&words(&own.join("cgroup.controllers"))) {
        return false;
    }
    let leaf = own.join(OWN_LEAF);
    let existed = leaf.is_dir();
    if !existed && fs::create_dir(&leaf).is_err() {
        return false;
    }
    let parent = rustix::process::getppid().map_or(0, rustix::process::Pid::as_raw_pid);
    let ours = [std::process::id().to_string(), parent.to_string()];
    for process in &ours {
        let _ = write(&leaf, "cgroup.procs", process);
    }
    if enable(own) {
        return true;
    }
    for process in &ours {
        let _ = write(own, "cgroup.procs", process);
    }
    if !existed {
        remove_group(&leaf);
    }
    false
}

fn words(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_is_made_where_there_is_nothing_to_limit_with() {
        let group = std::env::temp_dir().join(format!("dayfly-v2-{}", std::process::id()));
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cgroup.controllers"), "cpu pids\n").unwrap();
        assert!(!make_room(&group));
        let files: Vec<_> = fs::read_dir(&group)
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        fs::remove_dir_all(&group).unwrap();
        assert_eq!(files, ["cgroup.controllers"]);
    }
}
