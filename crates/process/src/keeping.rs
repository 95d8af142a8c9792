//! Instances from one process of the platform to the next: what is noted of each, and how one that
//! was left goes on.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use engine::port::{Left, Resume, StartOrder};
use model::{FunctionConfig, FunctionId, InstanceId, Network, VersionId, id::hex};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::contract::lambda::runtime_api::Waiting;
use crate::spawner::{Jail, Kept};

/// What one process tells the next of an instance. Its form may change with
/// `jail::message::KEEPING_VERSION` only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    instance: InstanceId,
    function: FunctionId,
    /// None is `$LATEST`.
    version: Option<u64>,
    /// Digest of the settings that it was started with.
    settings: String,
    /// When it was ready, in milliseconds since the Unix epoch.
    born_ms: u64,
    /// Where it finds the platform.
    endpoint_port: u16,
    /// Whether a launcher of ours runs in it.
    pub(crate) launcher: bool,
    /// Of each connection that comes with it, whether its client waits for an invocation on it.
    waits: Vec<bool>,
}

impl Note {
    /// Of an instance that is being started, before its settings are looked at.
    pub(crate) fn of(order: &StartOrder, endpoint_port: u16, launcher: bool) -> Self {
        Self {
            instance: order.instance.clone(),
            function: order.function.clone(),
            version: match order.version {
                VersionId::Latest => None,
                VersionId::Number(number) => Some(number),
            },
            settings: String::new(),
            born_ms: 0,
            endpoint_port,
            launcher,
            waits: Vec::new(),
        }
    }

    /// Born now, with these settings.
    pub(crate) fn born(self, now_ms: u64, config: &FunctionConfig) -> Self {
        Self {
            settings: digest(config),
            born_ms: now_ms,
            ..self
        }
    }

    /// The note that goes with these connections.
    pub(crate) fn with(&self, connections: &[Waiting]) -> Self {
        Self {
            waits: connections.iter().map(|(_, waits)| *waits).collect(),
            ..self.clone()
        }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        // Nothing in it can fail to be written; an empty note keeps nothing.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn version(&self) -> VersionId {
        self.version.map_or(VersionId::Latest, VersionId::Number)
    }
}

/// What settings are told apart by.
fn digest(config: &FunctionConfig) -> String {
    hex(&Sha256::digest(
        serde_json::to_vec(config).unwrap_or_default(),
    ))
}

/// The instances that earlier processes have left and that nobody has taken up yet; those left over
/// end when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Leftovers(Mutex<HashMap<InstanceId, Leftover>>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) jail: Jail,
    pub(crate) connections: Vec<Waiting>,
    pub(crate) note: Note,
}

impl Leftovers {
    /// Those whose notes can be read.
    pub(crate) fn new(kept: Vec<Kept>) -> Self {
        let read = |kept: Kept| {
            let note: Note = serde_json::from_slice(&kept.note).ok()?;
            let connections: Vec<(OwnedFd, bool)> = kept
                .connections
                .into_iter()
                .zip(note.waits.iter().copied())
                .collect();
            let leftover = Leftover {
                jail: kept.jail,
                connections,
                note,
            };
            Some((leftover.note.instance.clone(), leftover))
        };
        Self(Mutex::new(kept.into_iter().filter_map(read).collect()))
    }

    pub(crate) fn all(&self) -> Vec<Left> {
        let all = self.0.lock();
        let left = |leftover: &Leftover| Left {
            instance: leftover.note.instance.clone(),
            function: leftover.note.function.clone(),
            version: leftover.note.version(),
            born_ms: leftover.note.born_ms,
        };
        all.values().map(left).collect()
    }

    /// The one that is to be resumed, if it is what is wanted now: these settings, this way to the
    /// platform, the outside within reach or not.
    pub(crate) fn take(
        &self,
        resume: &Resume,
        endpoint_port: u16,
        outside: bool,
    ) -> Option<Leftover> {
        let leftover = self.0.lock().remove(&resume.instance)?;
        let wanted = outside && resume.config.network == Network::Outside;
        let same = leftover.note.settings == digest(&resume.config)
            && leftover.note.endpoint_port == endpoint_port
            && leftover.jail.doors.egress.is_some() == wanted;
        same.then_some(leftover)
    }

    /// Ends those that were not taken.
    pub(crate) fn end(&self) {
        let rest = std::mem::take(&mut *self.0.lock());
        drop(rest);
    }
}
