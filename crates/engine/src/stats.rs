//! Counters of what the engine did and gauges of what it holds, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use model::{End, InstanceId, MeterRecord, StartKind, VersionId};

use crate::error::ThrottleReason;

/// What an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstanceState {
    /// Its sandbox, interpreter and function are being initialised.
    Starting,
    /// It waits for a request.
    Idle,
    /// Requests are in flight.
    Busy,
    /// It finishes what it has and is then stopped, or is being stopped.
    Draining,
}

impl InstanceState {
    /// Every state, in the order of an instance's life.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Idle, Self::Busy, Self::Draining];

    /// The word that metrics and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
        }
    }
}

/// An instance as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceView {
    /// Which.
    pub id: InstanceId,
    /// The version it runs.
    pub version: VersionId,
    /// What it is doing.
    pub state: InstanceState,
    /// Whether it is frozen, using no CPU.
    pub frozen: bool,
    /// Requests in flight.
    pub in_flight: u32,
    /// Its memory setting, in MB.
    pub memory_mb: u32,
    /// Private memory it uses now, in bytes, where the host can tell.
    pub memory_bytes: Option<u64>,
}

/// Counters since the engine was opened, and gauges of this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Invocations that ran, by how they ended.
    pub invocations: Vec<(End, u64)>,
    /// Invocations that ran, by where their instance came from.
    pub starts: Vec<(StartKind, u64)>,
    /// Invocations that were refused, by limit.
    pub throttled: Vec<(ThrottleReason, u64)>,
    /// Live instances, by state.
    pub instances: Vec<(InstanceState, u64)>,
    /// Idle instances that are frozen.
    pub frozen: u64,
    /// Invocations admitted and not ended.
    pub in_flight: u64,
    /// Memory settings of live instances together, in MB.
    pub memory_mb: u64,
    /// What they may be at most, in MB.
    pub memory_mb_max: u64,
    /// Functions that are deployed.
    pub functions: u64,
    /// Initialisations that failed or took too long.
    pub failed_starts: u64,
    /// Events accepted by `submit`.
    pub events_accepted: u64,
    /// Accepted events that ended in success.
    pub events_succeeded: u64,
    /// Accepted events that were given up and kept as dead letters.
    pub events_dead: u64,
    /// Handler time of all invocations together, in microseconds.
    pub handler_us: u64,
    /// Billed time of all invocations together, in milliseconds.
    pub billed_ms: u64,
    /// Meter records that there was no room for.
    pub meter_dropped: u64,
}

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    ends: [AtomicU64; ENDS.len()],
    starts: [AtomicU64; STARTS.len()],
    throttled: [AtomicU64; ThrottleReason::ALL.len()],
    failed_starts: AtomicU64,
    pub(crate) events_accepted: AtomicU64,
    pub(crate) events_succeeded: AtomicU64,
    pub(crate) events_dead: AtomicU64,
    handler_us: AtomicU64,
    billed_ms: AtomicU64,
}

/// Every end, as they are counted.
const ENDS: [End; 7] = [
    End::Replied,
    End::Failed,
    End::TimedOut,
    End::Crashed,
    End::OutOfMemory,
    End::ResponseTooLarge,
    End::Fault,
];

/// Every kind of start, as they are counted.
const STARTS: [StartKind; 4] = [
    StartKind::Warm,
    StartKind::Parked,
    StartKind::Template,
    StartKind::Plain,
];

impl Counters {
    pub(crate) fn ran(&self, record: &MeterRecord) {
        count(&self.ends, &ENDS, record.end);
        count(&self.starts, &STARTS, record.start);
        self.handler_us
            .fetch_add(record.duration_us, Ordering::Relaxed);
        self.billed_ms
            .fetch_add(record.billed_ms, Ordering::Relaxed);
    }

    pub(crate) fn throttled(&self, reason: ThrottleReason) {
        count(&self.throttled, &ThrottleReason::ALL, reason);
    }

    pub(crate) fn start_failed(&self) {
        self.failed_starts.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters as they stand; the gauges are the caller's to fill in.
    pub(crate) fn read(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            invocations: read(&self.ends, &ENDS),
            starts: read(&self.starts, &STARTS),
            throttled: read(&self.throttled, &ThrottleReason::ALL),
            failed_starts: get(&self.failed_starts),
            events_accepted: get(&self.events_accepted),
            events_succeeded: get(&self.events_succeeded),
            events_dead: get(&self.events_dead),
            handler_us: get(&self.handler_us),
            billed_ms: get(&self.billed_ms),
            ..Stats::default()
        }
    }
}

fn count<T: PartialEq>(counters: &[AtomicU64], kinds: &[T], kind: T) {
    for (counter, known) in counters.iter().zip(kinds) {
        if *known == kind {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn read<T: Copy>(counters: &[AtomicU64], kinds: &[T]) -> Vec<(T, u64)> {
    let value = |(kind, counter): (&T, &AtomicU64)| (*kind, counter.load(Ordering::Relaxed));
    kinds.iter().zip(counters).map(value).collect()
}
