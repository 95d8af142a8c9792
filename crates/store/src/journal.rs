//! A journal of small records, such as the meter's: kept like a log, bounded, never waited for.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::logs::{Limits, Line};
use crate::{Clock, Error, LogWriter, Logs};

/// The one stream.
const STREAM: &str = "records";

/// Half a million metering records, more or less.
const LIMITS: Limits = Limits {
    segment_bytes: 4 << 20,
    stream_bytes: 256 << 20,
};

/// An append-only journal. Dropping it writes what was handed over.
#[derive(Debug)]
pub struct Journal {
    logs: Logs,
    writer: LogWriter,
    clock: Arc<dyn Clock>,
}

impl Journal {
    /// Opens the folder, made where it is not there. One process at a time can have it open.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let logs = Logs::open_with(folder, Arc::clone(&clock), LIMITS)?;
        Ok(Self {
            writer: logs.writer(STREAM),
            logs,
            clock,
        })
    }

    /// Hands a record over to be written: text, such as a line of JSON. Never blocks; what there
    /// is no room for is dropped.
    pub fn append(&self, record: Bytes) {
        let text = String::from_utf8(record.into())
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        let at_ms = self.clock.now_ms();
        self.writer.append(vec![Line {
            at_ms,
            platform: false,
            invocation: None,
            text,
        }]);
    }

    /// The newest records, oldest of them first, `limit` at most.
    pub async fn tail(&self, limit: usize) -> Result<Vec<Bytes>, Error> {
        let entries = self.logs.tail(STREAM, limit).await?;
        // What the platform wrote tells of dropped records and is none itself.
        let records = entries.into_iter().filter(|entry| !entry.line.platform);
        Ok(records
            .map(|entry| Bytes::copy_from_slice(entry.line.text.as_bytes()))
            .collect())
    }
}
