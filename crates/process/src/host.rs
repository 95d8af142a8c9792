//! What this host offers to jails: the facts that the spawner works with, and the findings that
//! `dayfly doctor` prints.

mod client;
mod findings;

use std::path::Path;

use serde::{Deserialize, Serialize};

/// What is in force on this host; found out when the spawner starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// What keeps functions apart.
    pub isolation: Isolation,
    /// Why it is not a jail, where it is not.
    pub reason: Option<String>,
    /// Whether the spawner has rights over the host, so that every jail has a user of its own
    /// there.
    pub privileged: bool,
    /// Which control groups hold the limits.
    pub cgroups: CgroupKind,
    /// Their controllers: of `memory`, `pids`, `cpu`, `freezer`.
    pub controllers: Vec<String>,
    /// Whether a jail has a `/proc`.
    pub proc_mounted: bool,
    /// Whether functions can reach the outside.
    pub outside_network: bool,
    /// Why not, where they cannot.
    pub no_outside_network: Option<String>,
    /// Whether several layers can be laid over each other.
    pub overlay: bool,
}

/// What keeps functions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Namespaces, a root of its own, no rights, filters.
    Jail,
    /// Filters and resource limits only: no isolation to rely on.
    Lite,
}

/// Which version of control groups is delegated to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupKind {
    /// Version 2.
    V2,
    /// Version 1.
    V1,
    /// None: memory and processes are limited by resource limits only.
    None,
}

/// One fact about the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it, where there is something to do.
    pub advice: Option<String>,
}

/// How a fact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Good,
    /// Works, with less.
    Degraded,
    /// Missing: something will not work.
    Missing,
}

/// Looks at the host by making a jail on it. `program` is the one that can be the spawner
/// helper; `data` is the folder, or one to be made, that state would be kept in.
pub async fn examine(program: &Path, data: &Path) -> Vec<Finding> {
    let (program, data) = (program.to_owned(), data.to_owned());
    let looked = tokio::task::spawn_blocking(move || findings::all(&program, &data));
    looked.await.unwrap_or_default()
}
