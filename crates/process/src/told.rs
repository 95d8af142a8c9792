//! What an instance's log tells of its network: so much, and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use engine::port::{LogEvent, LogSink};
use store::Clock;

/// Failures that an instance's log tells of; a function that only tries on fills no log.
const FAILURES_TOLD: u32 = 20;

/// Tells of failures until there were enough of them.
#[derive(Debug)]
pub(crate) struct Told {
    log: Arc<dyn LogSink>,
    clock: Arc<dyn Clock>,
    count: AtomicU32,
}

impl Told {
    pub(crate) fn new(log: Arc<dyn LogSink>, clock: Arc<dyn Clock>) -> Self {
        Self {
            log,
            clock,
            count: AtomicU32::new(0),
        }
    }

    /// Writes a line; whether there may be more.
    pub(crate) fn say(&self, line: &str) -> bool {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        if count < FAILURES_TOLD {
            self.log.write(LogEvent {
                at_ms: self.clock.now_ms(),
                platform: true,
                invocation: None,
                text: line.to_owned(),
            });
        }
        count + 1 < FAILURES_TOLD
    }
}
