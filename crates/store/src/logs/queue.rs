//! What waits to be written: bounded in bytes, in all and for each stream, so that one noisy
//! function cannot silence the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{broadcast, oneshot};

use super::{Entry, Limits, Line, segment};
use crate::Error;

/// Bytes of all streams that may wait.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// Bytes of one stream that may wait.
const STREAM_WAITING_BYTES_MAX: usize = 8 << 20;

/// Bytes at which the writer is woken at once.
const URGENT_BYTES: usize = 2 << 20;

/// How long lines gather otherwise: few wake-ups a second, and nobody notices the delay.
const GATHER: Duration = Duration::from_millis(20);

/// What a line takes besides its text.
const LINE_BYTES: usize = size_of::<Line>();

/// One stream, as appenders, followers and the writer share it.
#[derive(Debug)]
pub(super) struct Stream {
    /// The name of its folder, as [`segment::folder_name`] makes it.
    pub(super) folder: String,
    /// Bytes of it that wait. Changed only under the queue's lock.
    waiting: AtomicUsize,
    /// Bytes of it that are kept, where that is not what is kept of all; else zero.
    kept_bytes: AtomicU64,
    /// Whether its files are gone: whoever still holds it writes nothing more. Changed only
    /// under the queue's lock.
    removed: AtomicBool,
    /// Lines that could not be written, ever.
    failed: AtomicU64,
    /// Lines dropped that no record of the stream tells of yet.
    dropped: AtomicU64,
    /// There while somebody follows.
    followers: Mutex<Option<broadcast::Sender<Entry>>>,
}

impl Stream {
    fn new(folder: String) -> Self {
        let followers = Mutex::default();
        Self {
            folder,
            waiting: AtomicUsize::new(0),
            kept_bytes: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            followers,
        }
    }

    pub(super) fn keep(&self, bytes: u64) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// What is kept of it, where `limits` are those of all.
    pub(super) fn limits(&self, mut limits: Limits) -> Limits {
        let own = self.kept_bytes.load(Ordering::Relaxed);
        if own > 0 {
            limits.stream_bytes = own;
        }
        limits
    }

    pub(super) fn follow(&self, capacity: usize) -> broadcast::Receiver<Entry> {
        let mut followers = self.followers.lock();
        let sender = followers.get_or_insert_with(|| broadcast::channel(capacity).0);
        sender.subscribe()
    }

    /// Where to send what is written, while somebody follows.
    pub(super) fn followers(&self) -> Option<broadcast::Sender<Entry>> {
        let mut followers = self.followers.lock();
        followers.take_if(|sender| sender.receiver_count() == 0);
        followers.clone()
    }

    /// Counts lines that are lost. Answers whether they are the first since the last record.
    pub(super) fn drop_lines(&self, count: usize) -> bool {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed) == 0
    }

    /// Counts lines that could not be written.
    pub(super) fn fail_lines(&self, count: u64) {
        self.failed.fetch_add(count, Ordering::Relaxed);
    }

    /// Lines that could not be written, ever.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Lines lost since this was last asked.
    pub(super) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

/// All streams that somebody holds, by name.
#[derive(Debug, Default)]
pub(super) struct Streams {
    held: Mutex<HashMap<String, Arc<Stream>>>,
}

impl Streams {
    /// The stream of this name.
    pub(super) fn get(&self, name: &str) -> Arc<Stream> {
        let mut held = self.held.lock();
        if let Some(stream) = held.get(name) {
            return Arc::clone(stream);
        }
        // Before the table grows, it forgets what nobody else holds or follows.
        if held.len() == held.capacity() {
            held.retain(|_, stream| Arc::strong_count(stream) > 1 || stream.followers().is_some());
        }
        let stream = Arc::new(Stream::new(segment::folder_name(name)));
        held.insert(name.to_owned(), Arc::clone(&stream));
        stream
    }

    /// The stream of this folder, held no longer.
    pub(super) fn take(&self, folder: String) -> Arc<Stream> {
        let mut held = self.held.lock();
        let name = held.iter().find(|(_, stream)| stream.folder == folder);
        let name = name.map(|(name, _)| name.clone());
        let stream = name.and_then(|name| held.remove(&name));
        stream.unwrap_or_else(|| Arc::new(Stream::new(folder)))
    }
}

/// The queue between everybody who appends and the one thread that writes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Work>,
    /// Signalled when there is something to do.
    work: Condvar,
}

/// Where it is told that a stream is removed, or old lines of it are, or why not.
pub(super) type Removed = oneshot::Sender<Result<(), Error>>;

/// Everything that waits.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Lines in the order they came. A stream without lines has dropped some.
    pub(super) batches: Vec<(Arc<Stream>, Vec<Line>)>,
    /// Who waits for the lines to be in their files.
    pub(super) flushes: Vec<oneshot::Sender<()>>,
    /// Streams to remove, before anything is written: one of the same name may have begun anew.
    pub(super) removals: Vec<(Arc<Stream>, Removed)>,
    /// Streams of which what is older than this time goes, after all is written.
    pub(super) expiries: Vec<(Arc<Stream>, u64, Removed)>,
    /// No more will come.
    pub(super) closed: bool,
    bytes: usize,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.batches.is_empty() && !self.is_urgent()
    }

    /// Where lines of the stream go that come now: with those of it that came just before.
    fn batch(&mut self, stream: &Arc<Stream>) -> &mut Vec<Line> {
        let last = self.batches.last();
        if !last.is_some_and(|(last, _)| Arc::ptr_eq(last, stream)) {
            self.batches.push((Arc::clone(stream), Vec::new()));
        }
        let end = self.batches.len() - 1;
        &mut self.batches[end].1
    }

    fn is_urgent(&self) -> bool {
        let asked = !self.flushes.is_empty() || !self.removals.is_empty();
        asked || !self.expiries.is_empty() || self.closed || self.bytes >= URGENT_BYTES
    }
}

impl Queue {
    /// Takes as many of the lines as there is room for. They are asked for under the lock.
    pub(super) fn append(&self, stream: &Arc<Stream>, lines: impl IntoIterator<Item = Line>) {
        let mut work = self.waiting.lock();
        if work.closed || stream.removed.load(Ordering::Relaxed) {
            return;
        }
        let (was_empty, was_urgent) = (work.is_empty(), work.is_urgent());
        let mut waiting = stream.waiting.load(Ordering::Relaxed);
        let mut lost = 0;
        for line in lines {
            let bytes = bytes_of(&line);
            if lost > 0 || bytes > room(&work, waiting) {
                lost += 1;
                continue;
            }
            work.bytes += bytes;
            waiting += bytes;
            work.batch(stream).push(line);
        }
        stream.waiting.store(waiting, Ordering::Relaxed);
        if lost > 0 && stream.drop_lines(lost) {
            // Whatever is in it: that it is there has the writer tell of them.
            work.batch(stream);
        }
        let wake = (was_empty && !work.is_empty()) || (!was_urgent && work.is_urgent());
        drop(work);
        if wake {
            self.work.notify_one();
        }
    }

    /// Takes all of the lines, or none where there is no room for them.
    pub(super) fn put(&self, stream: &Arc<Stream>, lines: Vec<Line>) -> bool {
        let mut taken = false;
        self.add(|work| {
            let waiting = stream.waiting.load(Ordering::Relaxed);
            let bytes = lines.iter().map(bytes_of).sum::<usize>();
            let fits = bytes <= room(work, waiting);
            taken = !work.closed && !stream.removed.load(Ordering::Relaxed) && fits;
            if taken && !lines.is_empty() {
                work.bytes += bytes;
                stream.waiting.store(waiting + bytes, Ordering::Relaxed);
                work.batch(stream).extend(lines);
            }
        });
        taken
    }

    /// Removes what is older than this time, of what is written.
    pub(super) fn expire(&self, stream: Arc<Stream>, before_ms: u64, answer: Removed) {
        self.add(|work| work.expiries.push((stream, before_ms, answer)));
    }

    /// Answers once everything that waits now is in its file.
    pub(super) fn flush(&self, answer: oneshot::Sender<()>) {
        self.add(|work| work.flushes.push(answer));
    }

    /// Removes the stream's files. Nothing of what waits, or comes later, is written.
    pub(super) fn remove(&self, stream: Arc<Stream>, answer: Removed) {
        self.add(|work| {
            stream.removed.store(true, Ordering::Relaxed);
            work.bytes -= stream.waiting.swap(0, Ordering::Relaxed);
            work.batches
                .retain(|(other, _)| !Arc::ptr_eq(other, &stream));
            work.removals.push((stream, answer));
        });
    }

    /// Ends the writer once it has written what waits.
    pub(super) fn close(&self) {
        self.add(|work| work.closed = true);
    }

    fn add(&self, change: impl FnOnce(&mut Work)) {
        let mut work = self.waiting.lock();
        if work.closed {
            return;
        }
        change(&mut work);
        drop(work);
        self.work.notify_one();
    }

    /// Waits for something to do, and a little longer for more of it.
    pub(super) fn take(&self) -> Work {
        let mut work = self.waiting.lock();
        self.work.wait_while(&mut work, |work| work.is_empty());
        self.work
            .wait_while_for(&mut work, |work| !work.is_urgent(), GATHER);
        let closed = work.closed;
        let taken = std::mem::take(&mut *work);
        work.closed = closed;
        for (stream, _) in &taken.batches {
            stream.waiting.store(0, Ordering::Relaxed);
        }
        taken
    }
}

/// Bytes that there is room for in a stream of which so many wait.
fn room(work: &Work, waiting: usize) -> usize {
    let room = WAITING_BYTES_MAX.saturating_sub(work.bytes);
    room.min(STREAM_WAITING_BYTES_MAX.saturating_sub(waiting))
}

/// What a line takes.
fn bytes_of(line: &Line) -> usize {
    line.text.len() + LINE_BYTES
}
