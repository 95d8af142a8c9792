//! A transaction as plain data: what is to change, and what must hold for it to change.

use bytes::Bytes;

/// What must be true of a record for an operation on it to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Anything.
    #[default]
    Any,
    /// There is no record under the key.
    Absent,
    /// There is one.
    Present,
    /// There is one and this is its revision.
    Revision(u64),
}

impl Expect {
    /// Whether it holds of a record with this revision, or of none.
    pub(crate) fn holds(self, found: Option<u64>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Revision(revision) => found == Some(revision),
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a record.
    Put {
        /// Which collection.
        collection: &'static str,
        /// Key within it.
        key: String,
        /// JSON text.
        value: Bytes,
        /// What must hold of the record before.
        expect: Expect,
    },
    /// Removes a record.
    Delete {
        /// Which collection.
        collection: &'static str,
        /// Key within it.
        key: String,
        /// What must hold of the record before.
        expect: Expect,
    },
    /// Adds a message. One with an id that the queue already holds changes nothing.
    Enqueue {
        /// Which queue.
        queue: String,
        /// Unique within it.
        id: String,
        /// What to deliver.
        body: Bytes,
        /// When it is first due, in milliseconds since the Unix epoch.
        due_ms: u64,
        /// When it counts as enqueued, in milliseconds since the Unix epoch.
        enqueued_at_ms: u64,
    },
    /// Removes a leased message for good. A stale epoch refuses the whole transaction.
    Settle {
        /// Which queue.
        queue: String,
        /// The message.
        id: String,
        /// The lease's epoch.
        epoch: u64,
    },
    /// Returns a leased message to its queue. A stale epoch refuses the whole transaction.
    Release {
        /// Which queue.
        queue: String,
        /// The message.
        id: String,
        /// The lease's epoch.
        epoch: u64,
        /// When it is next due, in milliseconds since the Unix epoch.
        due_ms: u64,
        /// The body from now on, where it changes.
        body: Option<Bytes>,
    },
    /// Keeps a leased message for longer. A stale epoch refuses the whole transaction.
    Extend {
        /// Which queue.
        queue: String,
        /// The message.
        id: String,
        /// The lease's epoch.
        epoch: u64,
        /// When the lease now ends, in milliseconds since the Unix epoch.
        until_ms: u64,
    },
}

/// Operations that apply together or not at all, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The operations.
    pub ops: Vec<Op>,
}

impl Transaction {
    /// A transaction of one operation.
    pub fn of(op: Op) -> Self {
        Self { ops: vec![op] }
    }

    /// The transaction with one more operation.
    #[must_use]
    pub fn and(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }
}
