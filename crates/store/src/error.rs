//! What can go wrong when something is kept or found.

use std::path::PathBuf;
use std::sync::Arc;

use crate::trees::BadArchive;

/// A failure of the store. After [`Error::Broken`] and [`Error::Gone`] nothing is acknowledged any
/// more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// An operation's expectation did not hold; nothing was changed.
    #[error("commit: operation {op} expected another state of '{key}'")]
    Conflict {
        /// Index of the operation in its transaction.
        op: usize,
        /// The record's or message's key.
        key: String,
    },
    /// The data folder was written by a newer version of the program.
    #[error(
        "open {path}: it was written by a newer version (schema {found}, this program knows {known}); \
         run that version, or point --data at another folder"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Schema version in the file.
        found: u32,
        /// Newest schema version that this program knows.
        known: u32,
    },
    /// Another process uses the data folder.
    #[error(
        "open {path}: another process is using it; stop that one, or point --data at another folder"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The disk is full; nothing was changed. Logged by the store, now and then for as long as it
    /// is so.
    #[error("write {path}: the disk is full; free some space and try again")]
    Full {
        /// The file or folder.
        path: PathBuf,
    },
    /// The data folder is no longer there; nothing is acknowledged any more.
    #[error("keep {path}: it was removed or moved while it was in use")]
    Gone {
        /// The folder.
        path: PathBuf,
    },
    /// Stored bytes are not what was stored.
    #[error("read {what}: it is damaged ({detail})")]
    Damaged {
        /// What was read.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Nothing is stored under this digest.
    #[error("read {digest}: no such content is stored")]
    Missing {
        /// The digest.
        digest: String,
    },
    /// A file to be stored is not one that can be.
    #[error("store {path}: {problem}")]
    Unstorable {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// An archive cannot be unpacked; nothing of it was kept.
    #[error("unpack the archive: {0}")]
    BadArchive(#[from] BadArchive),
    /// A write or sync failed, or an earlier one did: whether it reached the disk is unknown.
    #[error("{doing}: {cause}")]
    Broken {
        /// What was being done, with its path.
        doing: String,
        /// The system's answer.
        cause: Arc<str>,
    },
}
