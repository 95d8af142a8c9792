//! The rows, and the checksums that each carries over everything in it.

use bytes::Bytes;
use rusqlite::Row;

use crate::checksum::Crc;
use crate::{Error, Record};

/// SQLite's integers are signed; what we keep never reaches their sign.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

fn verify(what: impl FnOnce() -> String, kept: i64, actual: u32) -> Result<(), Error> {
    if kept == i64::from(actual) {
        return Ok(());
    }
    let detail = format!("its checksum is {actual:08x} and should be {kept:08x}");
    Err(Error::Damaged {
        what: what(),
        detail,
    })
}

/// The checksum of a record.
pub(super) fn record_crc(collection: &str, record: &Record) -> u32 {
    let name = Crc::new()
        .text(collection)
        .text(&record.key)
        .number(record.revision);
    name.bytes(&record.value).finish()
}

/// Reads `key, revision, value, crc`.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<(Record, i64)> {
    let value: Vec<u8> = row.get("value")?;
    let revision = unsigned(row, "revision")?;
    let record = Record {
        key: row.get("key")?,
        value: Bytes::from(value),
        revision,
    };
    Ok((record, row.get("crc")?))
}

/// The record, if it is the one that was stored.
pub(super) fn whole_record(collection: &str, record: Record, crc: i64) -> Result<Record, Error> {
    let actual = record_crc(collection, &record);
    verify(
        || format!("record '{}' of {collection}", record.key),
        crc,
        actual,
    )?;
    Ok(record)
}

/// A row of `messages`.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) sequence: u64,
    pub(super) due_ms: u64,
    pub(super) enqueued_at_ms: u64,
    pub(super) attempt: u32,
    pub(super) epoch: u64,
    pub(super) held: bool,
}

impl Message {
    /// The checksum of the row.
    pub(super) fn crc(&self, queue: &str) -> u32 {
        Crc::new()
            .text(queue)
            .text(&self.id)
            .number(self.sequence)
            .number(self.due_ms)
            .number(self.enqueued_at_ms)
            .number(self.attempt.into())
            .number(self.epoch)
            .number(self.held.into())
            .finish()
    }

    /// Reads all columns but the queue's name, which the reader knows.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<(Self, i64)> {
        let message = Self {
            id: row.get("id")?,
            sequence: unsigned(row, "sequence")?,
            due_ms: unsigned(row, "due_ms")?,
            enqueued_at_ms: unsigned(row, "enqueued_at_ms")?,
            attempt: u32::try_from(row.get::<_, i64>("attempt")?).unwrap_or(u32::MAX),
            epoch: unsigned(row, "epoch")?,
            held: row.get("held")?,
        };
        Ok((message, row.get("crc")?))
    }

    /// Fails where the row is not the one that was stored.
    pub(super) fn verify(&self, queue: &str, crc: i64) -> Result<(), Error> {
        verify(
            || format!("message '{}' of queue {queue}", self.id),
            crc,
            self.crc(queue),
        )
    }

    /// Fails where the body is not the one that was stored.
    pub(super) fn verify_body(&self, queue: &str, body: &[u8], crc: i64) -> Result<(), Error> {
        let actual = body_crc(self.sequence, body);
        verify(
            || format!("body of message '{}' of queue {queue}", self.id),
            crc,
            actual,
        )
    }
}

/// The checksum of a row of `bodies`.
pub(super) fn body_crc(sequence: u64, body: &[u8]) -> u32 {
    Crc::new().number(sequence).bytes(body).finish()
}
