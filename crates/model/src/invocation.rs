//! One execution of a function and how it ended.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::VersionId;

/// How an invocation that reached an instance ended. A function's failure is an outcome and
/// never an error of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The function answered.
    Replied,
    /// The function reported an error of its own, in its handler or its initialisation.
    Failed,
    /// The function did not answer in time and was ended.
    TimedOut,
    /// The function's process ended before it answered.
    Crashed,
    /// The function was ended because it used more memory than it has.
    OutOfMemory,
    /// The function's answer was larger than answers may be.
    ResponseTooLarge,
    /// The platform failed.
    Fault,
}

impl End {
    /// The word that logs, metrics and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replied => "replied",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::OutOfMemory => "out_of_memory",
            Self::ResponseTooLarge => "response_too_large",
            Self::Fault => "fault",
        }
    }
}

/// An end and what there is to show for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The answer, or the error in the form that the function's vendor gives it, byte for byte.
    pub payload: Bytes,
}

/// Where an instance came from when an invocation was placed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartKind {
    /// It had served before.
    Warm,
    /// It was initialised ahead of demand and had never served.
    Parked,
    /// It was forked from the function's template.
    Template,
    /// Nothing of the function was in memory.
    Plain,
}

impl StartKind {
    /// Whether the invocation waited for an instance to start.
    pub fn is_cold(self) -> bool {
        matches!(self, Self::Template | Self::Plain)
    }

    /// The word that logs, metrics and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Parked => "parked",
            Self::Template => "template",
            Self::Plain => "plain",
        }
    }
}

/// Where an invocation's time went. The parts do not overlap, but for the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// From arrival to having a place to run.
    pub queue: Duration,
    /// The sandbox; zero when warm.
    pub start: Duration,
    /// The interpreter and the function's own initialisation; zero when warm.
    pub init: Duration,
    /// The handler, from request handed over to outcome known.
    pub handler: Duration,
    /// The part of `handler` up to the first byte of an answer that was streamed.
    pub first_byte: Option<Duration>,
}

/// An invocation that ran, as the caller and the meter see it.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The version that ran.
    pub version: VersionId,
    /// How it ended.
    pub outcome: Outcome,
    /// Where its instance came from.
    pub start: StartKind,
    /// Where its time went.
    pub timings: Timings,
    /// What is billed for it.
    pub billed: Duration,
    /// Most memory its instance has used so far, in MB, rounded up.
    pub memory_used_mb: u32,
    /// The last bytes of its log, where the call asked for them.
    pub log_tail: Option<Bytes>,
}
