//! The meter: one record of each invocation, written in batches off the reply path. There is
//! room for so many; more are dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::MeterRecord;
use parking_lot::Mutex;
use store::logs::Line;
use store::{Clock, LogWriter};
use tokio::sync::Notify;

/// Records that wait to be written, at most: a second's worth at a rate no node reaches.
const ROOM: usize = 65_536;
/// Bytes of records that are kept: half a million of them, more or less (ours).
pub(crate) const KEPT_BYTES: u64 = 256 << 20;
/// How long records are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(200);

/// Records that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    waiting: Mutex<Vec<MeterRecord>>,
    /// Notified when the first record comes to wait.
    wake: Notify,
    dropped: AtomicU64,
}

impl Meter {
    /// Keeps a record, if there is room.
    pub(crate) fn push(&self, record: MeterRecord) {
        let mut waiting = self.waiting.lock();
        let count = waiting.len();
        if count < ROOM {
            waiting.push(record);
        }
        drop(waiting);
        match count {
            0 => self.wake.notify_one(),
            ROOM.. => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
    }

    /// Records that there was no room for.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits.
    pub(crate) fn flush(&self, writer: &LogWriter) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let lines = waiting.iter().filter_map(line).collect::<Vec<_>>();
        if !lines.is_empty() {
            writer.append(lines);
        }
    }
}

/// Writes records as they come until it is dropped.
pub(crate) async fn run(meter: Arc<Meter>, writer: LogWriter, clock: Arc<dyn Clock>) {
    loop {
        meter.wake.notified().await;
        clock.sleep(GATHER).await;
        meter.flush(&writer);
    }
}

/// Room for the text of most records, in bytes.
const RECORD_BYTES: usize = 384;

fn line(record: &MeterRecord) -> Option<Line> {
    let mut text = Vec::with_capacity(RECORD_BYTES);
    serde_json::to_writer(&mut text, record).ok()?;
    Some(Line {
        at_ms: record.at_ms,
        stamp_ms: None,
        platform: true,
        invocation: Some(record.invocation.clone().into()),
        source: None,
        text: String::from_utf8(text).ok()?,
    })
}
