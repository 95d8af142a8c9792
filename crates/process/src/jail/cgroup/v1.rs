//! Control groups, version 1: a hierarchy for each controller.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::{Mount, folder_of, make_base, remove_group, sweep, write};
use crate::jail::message::JailId;
use crate::spawner::Limits;

/// Controllers that we use, each of them optional.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "freezer"];

#[derive(Debug)]
pub(in crate::jail) struct Tree {
    bases: Vec<Base>,
}

#[derive(Debug)]
struct Base {
    /// Several where they are mounted together.
    controllers: Vec<&'static str>,
    folder: PathBuf,
    /// Held for as long as we live; tells others that the base is not a dead one's.
    _lock: OwnedFd,
}

impl Tree {
    /// A tree with at least memory and processes limited, or none.
    pub(super) fn open(own: &str, mounts: &[Mount]) -> Option<Self> {
        // The freezer first: what is frozen does not die, and keeps its other groups.
        if let Some(parent) = parent_of("freezer", own, mounts) {
            sweep(&parent);
        }
        let mut bases: Vec<Base> = Vec::new();
        for controller in CONTROLLERS {
            let Some(parent) = parent_of(controller, own, mounts) else {
                continue;
            };
            let shared = bases
                .iter_mut()
                .find(|base| base.folder.parent() == Some(&parent));
            if let Some(base) = shared {
                base.controllers.push(controller);
                continue;
            }
            sweep(&parent);
            if let Ok((folder, lock)) = make_base(&parent) {
                bases.push(Base {
                    controllers: vec![controller],
                    folder,
                    _lock: lock,
                });
            }
        }
        let tree = Self { bases };
        if tree.base("memory").is_none() && tree.base("pids").is_none() {
            tree.close();
            return None;
        }
        Some(tree)
    }

    pub(super) fn controllers(&self) -> Vec<String> {
        let all = self.bases.iter().flat_map(|base| &base.controllers);
        all.map(|&name| name.to_owned()).collect()
    }

    fn base(&self, controller: &str) -> Option<&Base> {
        self.bases
            .iter()
            .find(|base| base.controllers.contains(&controller))
    }

    fn group(&self, controller: &str, id: JailId) -> Option<PathBuf> {
        Some(self.base(controller)?.folder.join(id.to_string()))
    }

    fn groups(&self, id: JailId) -> impl Iterator<Item = PathBuf> {
        self.bases
            .iter()
            .map(move |base| base.folder.join(id.to_string()))
    }

    pub(super) fn create(&self, id: JailId) -> io::Result<()> {
        self.groups(id).try_for_each(fs::create_dir)
    }

    pub(super) fn doors(&self, id: JailId) -> io::Result<Vec<OwnedFd>> {
        self.groups(id)
            .map(|group| {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                Ok(rustix::fs::open(
                    group.join("cgroup.procs"),
                    flags,
                    Mode::empty(),
                )?)
            })
            .collect()
    }

    pub(super) fn limit(&self, id: JailId, limits: &Limits) -> io::Result<()> {
        if let Some(group) = self.group("memory", id) {
            let bytes = limits.memory_bytes.to_string();
            write(&group, "memory.limit_in_bytes", &bytes)?;
            // Only there where the kernel accounts for swap; without it there is none to use
            // up beyond the limit on most hosts that lack it.
            if group.join("memory.memsw.limit_in_bytes").exists() {
                write(&group, "memory.memsw.limit_in_bytes", &bytes)?;
            }
            // What preparing took is not the program's.
            let _ = write(&group, "memory.max_usage_in_bytes", "0");
        }
        if let Some(group) = self.group("pids", id) {
            write(
                &group,
                "pids.max",
                (u64::from(limits.processes) + 1).to_string(),
            )?;
        }
        if let Some(group) = self.group("cpu", id) {
            let shares = u64::from(limits.cpu_weight_millis) * 1024 / 1000;
            write(&group, "cpu.shares", shares.max(2).to_string())?;
        }
        Ok(())
    }

    pub(super) fn freeze(&self, id: JailId, frozen: bool) -> bool {
        let state = if frozen { "FROZEN" } else { "THAWED" };
        self.group("freezer", id)
            .is_some_and(|group| write(&group, "freezer.state", state).is_ok())
    }

    pub(super) fn memory_file(&self, id: JailId, file: &str) -> Option<PathBuf> {
        Some(self.group("memory", id)?.join(file))
    }

    pub(super) fn remove(&self, id: JailId) -> bool {
        self.groups(id).filter(|group| !remove_group(group)).count() == 0
    }

    pub(super) fn close(&self) {
        for base in &self.bases {
            remove_group(&base.folder);
        }
    }
}

/// The folder of our own group under a controller.
fn parent_of(controller: &str, own: &str, mounts: &[Mount]) -> Option<PathBuf> {
    let group = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(group)
    })?;
    let mount = mounts
        .iter()
        .find(|mount| !mount.v2 && mount.options.iter().any(|option| option == controller))?;
    Some(folder_of(mount, group))
}
