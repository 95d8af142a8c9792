//! Logs of functions: append-only segments that are never synced one by one. What does not fit
//! is dropped and counted; nobody waits for a log.

mod queue;
mod record;
mod segment;
mod writer;

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{broadcast, oneshot};

use self::queue::{Queue, Stream, Streams};
use self::writer::Writer;
use crate::disk::{self, Lock};
use crate::{Clock, Error};

/// Lines that a follower may lag behind before it loses some.
const FOLLOWER_LINES_MAX: usize = 4096;

/// One line of a log; its text may itself hold line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When it was written, where its writer says so, in the same unit.
    pub stamp_ms: Option<u64>,
    /// Whether the platform wrote it, and not the function.
    pub platform: bool,
    /// The invocation it belongs to, where there is one; at most 255 bytes.
    pub invocation: Option<Arc<str>>,
    /// What of several that write to the stream it comes from, where that is told; at most 255
    /// bytes.
    pub source: Option<Arc<str>>,
    /// Text without its last line end. What is longer than 1 MiB is cut.
    pub text: String,
}

/// A line that was kept, as a scan passes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Where it stands in its stream; grows from line to line.
    pub position: u64,
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When it was written, where its writer said so, in the same unit.
    pub stamp_ms: Option<u64>,
    /// Whether the platform wrote it.
    pub platform: bool,
    /// The invocation it belongs to, where there is one.
    pub invocation: Option<Cow<'a, str>>,
    /// What it comes from, where that is told.
    pub source: Option<Cow<'a, str>>,
    /// Its text.
    pub text: Cow<'a, str>,
}

/// A line that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands in its stream; grows from line to line.
    pub position: u64,
    /// The line.
    pub line: Arc<Line>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes at which a segment is full and the next one begins.
    pub segment_bytes: u64,
    /// Bytes of one stream; beyond them its oldest segments go.
    pub stream_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 4 << 20,
            stream_bytes: 64 << 20,
        }
    }
}

/// The logs of all functions, one stream each. Dropping it writes what was handed over.
#[derive(Debug)]
pub struct Logs {
    folder: PathBuf,
    streams: Streams,
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
    /// Given up last, when the writer has ended.
    _lock: Lock,
}

/// Appends to one stream. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogWriter {
    stream: Arc<Stream>,
    queue: Arc<Queue>,
}

impl LogWriter {
    /// Hands lines over to be written. Never blocks: what there is no room for is dropped and
    /// counted, and a later record of the stream states the count.
    pub fn append(&self, lines: impl IntoIterator<Item = Line>) {
        self.queue.append(&self.stream, lines);
    }

    /// Has all of the lines written, or none where there is no room for them. When this resolves
    /// to `Ok` they are in their file, which a crash of the process does not undo.
    pub async fn put(&self, lines: Vec<Line>) -> Result<(), NotPut> {
        let failed = self.stream.failed();
        if !self.queue.put(&self.stream, lines) {
            return Err(NotPut::NoRoom);
        }
        let (answer, answered) = oneshot::channel();
        self.queue.flush(answer);
        answered.await.unwrap_or_default();
        if self.stream.failed() == failed {
            Ok(())
        } else {
            Err(NotPut::Failed)
        }
    }
}

/// Why lines were not put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPut {
    /// More waits than may wait, or the stream is just being removed.
    #[error("put lines into a log: there is no room for them now")]
    NoRoom,
    /// The disk failed; the log itself says so of some of the lines.
    #[error("put lines into a log: they could not be written")]
    Failed,
}

/// Reads one stream as it is on disk. Its calls wait for the disk.
#[derive(Debug, Clone)]
pub struct LogReader {
    folder: PathBuf,
}

impl LogReader {
    /// Passes lines to `visit`, oldest first, until it breaks; those that came before `since_ms`
    /// are left out. No more than a segment is in memory at a time.
    pub fn scan(
        &self,
        since_ms: u64,
        visit: &mut dyn FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        segment::scan(&self.folder, since_ms, visit)
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> Result<u64, Error> {
        Ok(segment::size(&self.folder)?.0)
    }

    /// Position that the next line will have.
    pub fn end(&self) -> Result<u64, Error> {
        Ok(segment::size(&self.folder)?.1)
    }
}

impl Logs {
    /// Opens the folder, made where it is not there. One process at a time can have it open.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::open_with(folder, clock, Limits::default())
    }

    /// The same with limits of one's own.
    pub fn open_with(folder: &Path, clock: Arc<dyn Clock>, limits: Limits) -> Result<Self, Error> {
        disk::private_folder(folder)?;
        let lock = Lock::take(folder, ".lock")?;
        let queue = Arc::new(Queue::default());
        let writer = Writer::new(folder.to_owned(), clock, limits, Arc::clone(&queue));
        let writer = std::thread::Builder::new()
            .name("logs".into())
            .spawn(move || writer.run())
            .map_err(|error| disk::failed("start the writer of", folder, &error))?;
        let (folder, streams) = (folder.to_owned(), Streams::default());
        Ok(Self {
            folder,
            streams,
            queue,
            writer: Some(writer),
            _lock: lock,
        })
    }

    /// The handle that appends to a stream.
    pub fn writer(&self, stream: &str) -> LogWriter {
        LogWriter {
            stream: self.streams.get(stream),
            queue: Arc::clone(&self.queue),
        }
    }

    /// The same, for a stream of which this many bytes are kept, whatever is kept of others. To be
    /// asked for before anything is written to it.
    pub fn writer_keeping(&self, stream: &str, bytes: u64) -> LogWriter {
        let writer = self.writer(stream);
        writer.stream.keep(bytes);
        writer
    }

    /// Lines not older than `since_ms` that follow the position `after`, oldest first, `limit`
    /// at most. Sees whatever was appended before the call.
    pub async fn read(
        &self,
        stream: &str,
        since_ms: u64,
        limit: usize,
        after: Option<u64>,
    ) -> Result<Vec<Entry>, Error> {
        self.flush().await;
        let folder = self.folder.join(segment::folder_name(stream));
        blocking(move || segment::read(&folder, since_ms, limit, after)).await
    }

    /// The newest lines, oldest of them first, `limit` at most. Sees whatever was appended
    /// before the call.
    pub async fn tail(&self, stream: &str, limit: usize) -> Result<Vec<Entry>, Error> {
        self.flush().await;
        let folder = self.folder.join(segment::folder_name(stream));
        blocking(move || segment::tail(&folder, limit)).await
    }

    /// What reads a stream where it does not keep the runtime's threads from going on. Whoever wants
    /// to see what was appended just now waits for [`Logs::flush`] first.
    pub fn reader(&self, stream: &str) -> LogReader {
        LogReader {
            folder: self.folder.join(segment::folder_name(stream)),
        }
    }

    /// Removes lines that came before `before_ms`, as far as whole segments hold no others. Whoever
    /// writes to the stream goes on.
    pub async fn expire(&self, stream: &str, before_ms: u64) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.queue
            .expire(self.streams.get(stream), before_ms, answer);
        answered.await.unwrap_or(Ok(()))
    }

    /// Removes a stream. Whoever still holds it writes nothing more.
    pub async fn remove(&self, stream: &str) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let stream = self.streams.take(segment::folder_name(stream));
        self.queue.remove(stream, answer);
        answered.await.unwrap_or(Ok(()))
    }

    /// Lines as they are written from now on. One who lags loses the oldest and is told how many.
    pub fn follow(&self, stream: &str) -> broadcast::Receiver<Entry> {
        self.streams.get(stream).follow(FOLLOWER_LINES_MAX)
    }

    /// Removes the streams that are not in `keep`, those of earlier processes too. Whoever
    /// still holds one writes nothing more. Answers how many were removed.
    pub async fn remove_unreferenced(&self, keep: &HashSet<String>) -> Result<u64, Error> {
        let keep: HashSet<String> = keep.iter().map(|name| segment::folder_name(name)).collect();
        let folder = self.folder.clone();
        let found = blocking(move || disk::names(&folder)).await?;
        let mut removed = 0;
        for name in found.into_iter().filter_map(|name| name.into_string().ok()) {
            // No stream's folder begins with a dot; the lock does.
            if name.starts_with('.') || keep.contains(&name) {
                continue;
            }
            let (answer, answered) = oneshot::channel();
            self.queue.remove(self.streams.take(name), answer);
            // No answer means that the writer has ended; then nothing is removed any more.
            answered.await.unwrap_or(Ok(()))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Resolves when everything appended before the call is in its file and told to those who
    /// follow.
    pub async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        self.queue.flush(answer);
        // An error means that the writer has ended, and with it everything was written.
        answered.await.unwrap_or_default();
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the logs has panicked");
        }
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let lost = |error: tokio::task::JoinError| Error::Broken {
        doing: "read a log".into(),
        cause: error.to_string().into(),
    };
    tokio::task::spawn_blocking(read).await.map_err(lost)?
}
