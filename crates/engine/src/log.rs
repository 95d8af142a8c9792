//! Carries what instances write into the log of their function.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use model::{FunctionId, limit};
use store::LogWriter;
use store::logs::Line;

use crate::log_group::DISORDER_MS;
use crate::port::{LogEvent, LogSink};
use crate::{Engine, Shared};

/// The log of one function, as one of its instances sees it.
pub(crate) struct FunctionLog {
    writer: LogWriter,
    function: FunctionId,
    /// The instance's stream in the function's log group.
    stream: Arc<str>,
    /// The engine, which holds the instance that holds this.
    shared: Weak<Shared>,
    /// When some log group was last removed.
    removed_ms: Arc<AtomicU64>,
    /// The same when the function's own was last known to be there; nothing before the first line.
    seen_ms: AtomicU64,
}

impl fmt::Debug for FunctionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionLog")
            .field("function", &self.function)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl FunctionLog {
    pub(crate) fn new(shared: &Arc<Shared>, function: &FunctionId, stream: Arc<str>) -> Self {
        Self {
            writer: shared.logs.writer(&Engine::log_key(function)),
            function: function.clone(),
            stream,
            shared: Arc::downgrade(shared),
            removed_ms: shared.groups.removed_ms(),
            seen_ms: AtomicU64::new(0),
        }
    }

    /// Has the function's group made anew where it was removed: what is said from then on is in it.
    fn has_group(&self, at_ms: u64) {
        let removed_ms = self.removed_ms.load(Ordering::Acquire);
        if self.seen_ms.load(Ordering::Relaxed) == removed_ms || at_ms <= removed_ms {
            return;
        }
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        self.seen_ms.store(removed_ms, Ordering::Relaxed);
        // Other instances may have said something a little earlier that is not here yet.
        shared.begin_group(&self.function, at_ms.saturating_sub(DISORDER_MS));
    }
}

impl LogSink for FunctionLog {
    fn write(&self, event: LogEvent) {
        self.has_group(event.at_ms);
        self.writer.append([Line {
            at_ms: event.at_ms,
            stamp_ms: None,
            platform: event.platform,
            invocation: event.invocation.map(Arc::from),
            source: Some(Arc::clone(&self.stream)),
            text: cut(event.text),
        }]);
    }
}

/// Keeps nothing.
#[derive(Debug)]
pub(crate) struct Unkept;

impl LogSink for Unkept {
    fn write(&self, _: LogEvent) {}
}

/// The text, cut where it is longer than events of a log may be.
fn cut(mut text: String) -> String {
    if text.len() > limit::LOG_EVENT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(limit::LOG_EVENT_BYTES_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_events_are_cut_between_characters() {
        assert_eq!(cut("short".into()), "short");
        let long = cut("\u{e9}".repeat(limit::LOG_EVENT_BYTES_MAX));
        assert_eq!(long.len(), limit::LOG_EVENT_BYTES_MAX);
        let odd = cut(format!("x{}", "\u{e9}".repeat(limit::LOG_EVENT_BYTES_MAX)));
        assert_eq!(odd.len(), limit::LOG_EVENT_BYTES_MAX - 1);
    }
}
