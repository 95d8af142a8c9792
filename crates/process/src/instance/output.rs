//! What a function prints: read from its pipe, cut into events and handed to the log, within
//! bounds of size and rate that no function can get past.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::port::{LogEvent, LogSink};
use model::InvocationId;
use model::limit::{LOG_EVENT_BYTES_MAX, LOG_TAIL_BYTES};
use parking_lot::Mutex;
use store::Clock;
use tokio::net::unix::pipe::Receiver;

use crate::contract::lambda::telemetry::{Source, Telemetry};

/// Stands for a line end inside one record; launchers write it, no UTF-8 text holds it.
const RECORD_NEWLINE: u8 = 0xff;
/// Stands before a record, which begins a line whatever was printed before it.
const RECORD_START: u8 = 0xfe;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// What a function may write at once before events are dropped, in bytes (ours: ten thousand
/// long lines).
const BURST_BYTES: u64 = 8 * 1024 * 1024;
/// What a function may write each second for longer, in bytes (ours).
const RATE_BYTES_PER_SECOND: u64 = 4 * 1024 * 1024;
/// What a line costs besides its bytes: a million empty lines are work, too.
const LINE_COST_BYTES: usize = 64;
/// What is read at the end of an invocation, at most, in bytes: more than a pipe can hold, so
/// that all that was written before the answer is there.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// Pause before reading while an invocation runs, and after each read of a flood, which slows
/// that down to some 16 MB a second.
const PUMP_PAUSE: Duration = Duration::from_millis(1);

/// A function's output pipe and what it becomes.
#[derive(Debug)]
pub(crate) struct Output {
    pipe: Receiver,
    lines: Mutex<Lines>,
    clock: Arc<dyn Clock>,
}

/// When the pipe is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    /// Only while the event loop knows that something is there.
    Known,
    /// Whatever the event loop knows, which may be behind.
    Any,
}

/// What reading led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// Bytes came and were kept.
    Kept(usize),
    /// Bytes came and were dropped.
    Dropped(usize),
    /// Nothing is there now.
    Nothing,
    /// Every writer is gone.
    End,
}

impl Output {
    /// Takes the pipe's end, which must not block. The first that is said belongs to the
    /// initialisation, whose last bytes [`Output::end`] answers if it fails.
    pub(crate) fn new(
        pipe: OwnedFd,
        log: Arc<dyn LogSink>,
        tap: Tap,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let mut lines = Lines::new(log, clock.monotonic());
        lines.tap = Some(tap);
        let lines = Mutex::new(lines);
        Ok(Self {
            pipe: Receiver::from_owned_fd(pipe)?,
            lines,
            clock,
        })
    }

    /// From here on, what is read belongs to this invocation.
    pub(crate) fn begin(&self, id: &InvocationId, tail: bool) {
        let mut lines = self.lines.lock();
        lines.current = Some(id.clone());
        lines.tail = tail.then(Vec::new);
    }

    /// Writes a line of the platform's own.
    pub(crate) fn platform(&self, text: String) {
        let at_ms = self.clock.now_ms();
        self.lines.lock().event(at_ms, true, text);
    }

    /// Writes a record that came by another way than the pipe.
    pub(crate) fn record(&self, at_ms: u64, mut text: String) {
        let mut lines = self.lines.lock();
        if lines.spend(text.len() + LINE_COST_BYTES, self.clock.monotonic()) {
            text.truncate(text.floor_char_boundary(LOG_EVENT_BYTES_MAX));
            lines.event(at_ms, false, text);
        } else {
            lines.drop_bytes(text.as_bytes());
        }
    }

    /// Reads until every writer is gone. The invocation that is running reads what it wrote by
    /// itself when it ends, so this one takes its time then.
    pub(crate) async fn pump(&self) {
        loop {
            if self.pipe.readable().await.is_err() {
                return;
            }
            if self.lines.lock().current.is_some() {
                self.clock.sleep(PUMP_PAUSE).await;
            }
            loop {
                match self.read(Readiness::Known) {
                    Read::Kept(_) => tokio::task::yield_now().await,
                    Read::Dropped(bytes) if bytes < READ_BYTES => {}
                    Read::Dropped(_) => self.clock.sleep(PUMP_PAUSE).await,
                    Read::Nothing => break,
                    Read::End => return,
                }
            }
        }
    }

    /// Reads all that was written so far, and takes what has no line end for a line.
    pub(crate) fn drain(&self) {
        let mut left = DRAIN_BYTES_MAX;
        while let Read::Kept(bytes) | Read::Dropped(bytes) = self.read(Readiness::Any) {
            left = left.saturating_sub(bytes);
            if left == 0 {
                break;
            }
        }
        let at_ms = self.clock.now_ms();
        self.lines.lock().flush(at_ms);
    }

    /// Ends the invocation with lines of the platform's own; its last bytes of log, where they
    /// were asked for.
    pub(crate) fn end(&self, last: impl IntoIterator<Item = String>) -> Option<Bytes> {
        let at_ms = self.clock.now_ms();
        let mut lines = self.lines.lock();
        for text in last {
            lines.event(at_ms, true, text);
        }
        lines.current = None;
        let tail = lines.tail.take()?;
        let start = tail.len().saturating_sub(LOG_TAIL_BYTES);
        Some(Bytes::copy_from_slice(
            tail.get(start..).unwrap_or_default(),
        ))
    }

    /// Reads once.
    fn read(&self, readiness: Readiness) -> Read {
        // Not zeroed: every invocation reads, and most find nothing.
        let buffer = &mut [MaybeUninit::uninit(); READ_BYTES];
        // Held over the read, so that what one reader has taken is in the log before another
        // finds the pipe empty.
        let mut lines = self.lines.lock();
        let take = move || Ok(rustix::io::read(&self.pipe, buffer)?.0);
        let taken = match readiness {
            Readiness::Known => self.pipe.try_io(take),
            Readiness::Any => take(),
        };
        let read = match taken {
            Ok([]) => return Read::End,
            Ok(read) => &*read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Read::Dropped(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Nothing,
            Err(_) => return Read::End,
        };
        let count = read.len();
        if lines.spend(cost(read), self.clock.monotonic()) {
            lines.feed(read, self.clock.now_ms());
            Read::Kept(count)
        } else {
            lines.drop_bytes(read);
            Read::Dropped(count)
        }
    }
}

/// What keeping these bytes costs.
fn cost(bytes: &[u8]) -> usize {
    bytes.len() + LINE_COST_BYTES * count_lines(bytes)
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Who else gets the lines, as whose.
pub(crate) type Tap = (Source, Arc<Telemetry>);

/// Bytes on their way to becoming events.
#[derive(Debug)]
struct Lines {
    log: Arc<dyn LogSink>,
    tap: Option<Tap>,
    /// The line that has not ended yet.
    partial: Vec<u8>,
    /// Whether the rest of the line is not wanted.
    skipping: bool,
    /// The invocation that is running.
    current: Option<InvocationId>,
    /// Its last lines.
    tail: Option<Vec<u8>>,
    /// Bytes that may be written now.
    budget: u64,
    /// When the budget was last raised.
    raised: Duration,
    /// Bytes and lines that were dropped and not yet spoken of.
    dropped: (u64, u64),
}

impl Lines {
    fn new(log: Arc<dyn LogSink>, now: Duration) -> Self {
        Self {
            log,
            tap: None,
            partial: Vec::new(),
            skipping: false,
            current: None,
            tail: Some(Vec::new()),
            budget: BURST_BYTES,
            raised: now,
            dropped: (0, 0),
        }
    }

    /// Whether this much may be written now.
    fn spend(&mut self, cost: usize, now: Duration) -> bool {
        let cost = cost as u64;
        if self.budget < cost || self.dropped.0 > 0 {
            let elapsed = now.saturating_sub(self.raised).as_micros();
            let earned = elapsed.saturating_mul(u128::from(RATE_BYTES_PER_SECOND)) / 1_000_000;
            if earned > 0 {
                let earned = u64::try_from(earned).unwrap_or(u64::MAX);
                self.budget = self.budget.saturating_add(earned).min(BURST_BYTES);
                self.raised = now;
            }
        }
        // Once some was dropped, a second's worth must be free again: log in long runs with a
        // gap says more than every hundredth line.
        let needed = if self.dropped.0 > 0 {
            RATE_BYTES_PER_SECOND
        } else {
            cost
        };
        if self.budget < needed {
            return false;
        }
        self.budget -= cost;
        true
    }

    fn drop_bytes(&mut self, bytes: &[u8]) {
        self.partial.clear();
        self.skipping = bytes.last() != Some(&b'\n');
        self.dropped.0 += bytes.len() as u64;
        self.dropped.1 += count_lines(bytes) as u64;
    }

    fn feed(&mut self, bytes: &[u8], at_ms: u64) {
        self.confess(at_ms);
        let mut rest = bytes;
        let is_end = |byte: &u8| matches!(*byte, b'\n' | RECORD_START);
        while let Some(end) = rest.iter().position(is_end) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            let nothing_open = line.is_empty() && self.partial.is_empty() && !self.skipping;
            if after.first() == Some(&RECORD_START) && nothing_open {
                continue;
            }
            if self.partial.is_empty() && !self.skipping {
                self.line(line, at_ms);
            } else {
                self.keep(line);
                self.flush_line(at_ms);
            }
        }
        self.keep(rest);
    }

    /// Keeps the beginning of a line, as far as one event goes.
    fn keep(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        let room = LOG_EVENT_BYTES_MAX.saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn flush_line(&mut self, at_ms: u64) {
        let line = std::mem::take(&mut self.partial);
        if !std::mem::take(&mut self.skipping) {
            self.line(&line, at_ms);
        }
    }

    fn flush(&mut self, at_ms: u64) {
        if !self.partial.is_empty() {
            self.flush_line(at_ms);
        }
        self.confess(at_ms);
    }

    /// Says what was dropped.
    fn confess(&mut self, at_ms: u64) {
        let (bytes, lines) = std::mem::take(&mut self.dropped);
        if bytes > 0 {
            let text = format!(
                "{bytes} bytes of log ({lines} lines) were dropped here: the function writes more than {} MiB a second",
                RATE_BYTES_PER_SECOND / 1024 / 1024
            );
            self.event(at_ms, true, text);
        }
    }

    fn line(&mut self, line: &[u8], at_ms: u64) {
        let line = line.get(..LOG_EVENT_BYTES_MAX).unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = if line.contains(&RECORD_NEWLINE) {
            let newline = |byte: &u8| {
                if *byte == RECORD_NEWLINE {
                    b'\n'
                } else {
                    *byte
                }
            };
            let restored: Vec<u8> = line.iter().map(newline).collect();
            String::from_utf8_lossy(&restored).into_owned()
        } else {
            String::from_utf8_lossy(line).into_owned()
        };
        self.event(at_ms, false, text);
    }

    fn event(&mut self, at_ms: u64, platform: bool, text: String) {
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(text.as_bytes());
            tail.push(b'\n');
            if tail.len() > 4 * LOG_TAIL_BYTES {
                tail.drain(..tail.len() - LOG_TAIL_BYTES);
            }
        }
        if let Some((source, telemetry)) = self.tap.as_ref().filter(|_| !platform) {
            telemetry.line(*source, at_ms, &text);
        }
        let invocation = self.current.clone();
        self.log.write(LogEvent {
            at_ms,
            platform,
            invocation,
            text,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<LogEvent>>);

    impl LogSink for Kept {
        fn write(&self, event: LogEvent) {
            self.0.lock().push(event);
        }
    }

    fn check(chunks: &[&[u8]], expected: &[&str]) {
        let kept = Arc::new(Kept::default());
        let mut lines = Lines::new(Arc::clone(&kept) as Arc<dyn LogSink>, Duration::ZERO);
        for chunk in chunks {
            lines.feed(chunk, 0);
        }
        lines.flush(0);
        let texts: Vec<_> = kept
            .0
            .lock()
            .iter()
            .map(|event| event.text.clone())
            .collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn lines_become_events_however_they_arrive() {
        check(&[b"one\ntwo\n"], &["one", "two"]);
        check(&[b"o", b"ne\ntw", b"o"], &["one", "two"]);
        check(&[b"\n\n"], &["", ""]);
        check(&[b"first\xffsecond\n"], &["first\nsecond"]);
        check(&[b"\xfeone\n\xfetwo\n"], &["one", "two"]);
        check(&[b"open", b" end\xferecord\n"], &["open end", "record"]);
        check(&[b"bad \xc3( byte\n"], &["bad \u{fffd}( byte"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let chunk = vec![b'x'; 300 * 1024];
        let kept = "x".repeat(LOG_EVENT_BYTES_MAX);
        check(&[&chunk, &chunk, b"\nnext\n"], &[&kept, "next"]);
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let kept = Arc::new(Kept::default());
        let mut lines = Lines::new(Arc::clone(&kept) as Arc<dyn LogSink>, Duration::ZERO);
        let chunk = [b"line\n".repeat(2048), b"cut".to_vec()].concat();
        let mut flooded = 0;
        while flooded < 64 * 1024 * 1024 {
            flooded += chunk.len();
            if lines.spend(cost(&chunk), Duration::ZERO) {
                lines.feed(&chunk, 0);
            } else {
                lines.drop_bytes(&chunk);
            }
        }
        assert!(lines.partial.len() < chunk.len());
        assert!(kept.0.lock().len() < 2_000_000);
        let later = Duration::from_secs(2);
        assert!(lines.spend(5, later));
        lines.feed(b" off\nlast\n", 0);
        let events = kept.0.lock();
        let last: Vec<_> = events.iter().rev().take(2).collect();
        assert_eq!(last[0].text, "last");
        assert!(
            last[1].platform && last[1].text.contains("were dropped"),
            "{last:?}"
        );
    }
}
