//! Carries what instances write into the log of their function.

use std::sync::Arc;

use model::{FunctionId, limit};
use store::logs::Line;
use store::{LogWriter, Logs};

use crate::Engine;
use crate::port::{LogEvent, LogSink};

/// The log of one function, as one of its instances sees it.
#[derive(Debug)]
pub(crate) struct FunctionLog {
    writer: LogWriter,
    /// The instance's stream in the function's log group.
    stream: Arc<str>,
}

impl FunctionLog {
    pub(crate) fn new(logs: &Logs, function: &FunctionId, stream: Arc<str>) -> Self {
        Self {
            writer: logs.writer(&Engine::log_key(function)),
            stream,
        }
    }
}

impl LogSink for FunctionLog {
    fn write(&self, event: LogEvent) {
        self.writer.append(vec![Line {
            at_ms: event.at_ms,
            stamp_ms: None,
            platform: event.platform,
            invocation: event.invocation.map(|id| id.as_str().into()),
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
