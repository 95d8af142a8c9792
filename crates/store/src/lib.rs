//! What survives a crash: records, queues, blobs, trees and logs, and one transaction over
//! records and queues. It owns the clock and does not know what a function is.

mod bound;
mod checksum;
pub mod clock;
mod disk;
pub mod error;
pub mod logs;
pub mod memory;
pub mod sqlite;
pub mod transaction;
pub mod trees;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use clock::{Clock, SystemClock};
pub use error::Error;
pub use logs::{LogReader, LogWriter, Logs};
pub use memory::Memory;
pub use sqlite::Sqlite;
pub use transaction::{Expect, Op, Transaction};
pub use trees::{Tree, Trees};

/// A stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key within its collection.
    pub key: String,
    /// JSON text.
    pub value: Bytes,
    /// Grows with every change of this record; never reused while the record exists.
    pub revision: u64,
}

/// A message that a queue has lent out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The message's id, unique within its queue.
    pub id: String,
    /// What was enqueued or last rescheduled; empty where that is damaged.
    pub body: Bytes,
    /// What is wrong with the message, where its bytes are no longer those that were accepted.
    /// All that is left to do is to settle it; what is left of it is kept aside.
    pub damage: Option<String>,
    /// How often it has been leased, this time included.
    pub attempt: u32,
    /// Fences late results: only the holder of the newest epoch may settle the message.
    pub epoch: u64,
    /// When it was first enqueued, in milliseconds since the Unix epoch.
    pub enqueued_at_ms: u64,
}

/// Records and queues with one transaction over both. Implementations: SQLite on one machine,
/// memory for simulation; one conformance suite for all.
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// The record under a key.
    fn get<'a>(
        &'a self,
        collection: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, Error>>;

    /// Records whose keys begin with `prefix` and follow `after`, in byte order, `limit` at most.
    fn list<'a>(
        &'a self,
        collection: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, Error>>;

    /// Applies all operations or none. When this resolves to `Ok`, the change is on disk.
    /// Answers the revision that each operation gave its record (zero where it has none).
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Vec<u64>, Error>>;

    /// Lends out up to `count` messages that are due at `now_ms`, oldest due first. A message
    /// not settled by `now_ms + lease` is due again. The attempt count is written before this
    /// resolves, so that it survives the death of the process.
    fn lease<'a>(
        &'a self,
        queue: &'a str,
        now_ms: u64,
        lease: Duration,
        count: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, Error>>;

    /// Queues whose names begin with `prefix` and follow `after`, in byte order, `limit` at most,
    /// each with its depth. A queue that holds nothing is none.
    fn queues<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, u64)>, Error>>;

    /// How many messages a queue holds, leased ones included.
    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64, Error>>;

    /// When the queue's next message is due, in milliseconds since the Unix epoch.
    fn next_due<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<u64>, Error>>;
}
