//! The one thread that writes logs: takes what has gathered, a stream at a time, and hands it
//! to those who follow.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::queue::{Queue, Stream, Work};
use super::segment::End;
use super::{Entry, Limits, Line};
use crate::{Clock, Error, disk};

/// Files open at a time; there may be ten thousand streams.
const OPEN_MAX: usize = 128;

/// The state of the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    limits: Limits,
    queue: Arc<Queue>,
    /// Where each stream ends, by its folder's name, and when it was last used.
    ends: HashMap<String, (End, u64)>,
    /// Names of the streams whose files are open.
    open: Vec<String>,
    /// Counts rounds, for telling which files were used least lately.
    round: u64,
    /// Whether the last write failed; one line in our own log tells of many failures.
    failing: bool,
}

impl Writer {
    /// A writer for this folder, fed by this queue.
    pub(super) fn new(
        folder: PathBuf,
        clock: Arc<dyn Clock>,
        limits: Limits,
        queue: Arc<Queue>,
    ) -> Self {
        let (ends, open) = (HashMap::new(), Vec::new());
        Self {
            folder,
            clock,
            limits,
            queue,
            ends,
            open,
            round: 0,
            failing: false,
        }
    }

    /// Works until the queue is closed.
    pub(super) fn run(mut self) {
        loop {
            let work = self.queue.take();
            let closed = work.closed;
            self.work(work);
            if closed {
                return;
            }
        }
    }

    fn work(&mut self, work: Work) {
        self.round += 1;
        for (stream, answer) in work.removals {
            drop(answer.send(self.remove(&stream)));
        }
        let mut touched: Vec<Arc<Stream>> = Vec::new();
        for (stream, lines) in work.batches {
            self.append(&stream, lines);
            touched.push(stream);
        }
        touched.sort_unstable_by_key(Arc::as_ptr);
        touched.dedup_by_key(|stream| Arc::as_ptr(stream));
        for stream in &touched {
            let dropped = stream.take_dropped();
            if dropped > 0 {
                let notice = self.notice(dropped);
                self.append(stream, vec![notice]);
            }
            self.flush(stream);
        }
        self.close_unused();
        for answer in work.flushes {
            // Whoever has gone away does not want to know.
            answer.send(()).unwrap_or_default();
        }
    }

    fn notice(&self, dropped: u64) -> Line {
        Line {
            at_ms: self.clock.now_ms(),
            platform: true,
            invocation: None,
            text: format!(
                "{dropped} log lines were dropped: they came faster than they could be kept"
            ),
        }
    }

    fn append(&mut self, stream: &Stream, lines: Vec<Line>) {
        let followers = stream.followers();
        let mut lines = lines.into_iter();
        while lines.len() > 0 {
            let Some(end) = self.end(stream) else {
                stream.drop_lines(lines.len());
                return;
            };
            let mut is_full = false;
            // Looked up again only where a segment is full: that flushes, which may fail.
            while !is_full && let Some(line) = lines.next() {
                let position = end.append(&line);
                is_full = end.is_full();
                if let Some(followers) = &followers {
                    let line = Arc::new(line);
                    // That the last of them has just gone is no failure.
                    followers.send(Entry { position, line }).unwrap_or_default();
                }
            }
            if is_full {
                self.flush(stream);
            }
        }
    }

    fn end(&mut self, stream: &Stream) -> Option<&mut End> {
        let name = stream.folder.as_str();
        if !self.ends.contains_key(name) {
            match End::find(self.folder.join(name), stream.limits(self.limits)) {
                Ok(end) => drop(self.ends.insert(name.to_owned(), (end, self.round))),
                Err(error) => {
                    self.failed(&error);
                    return None;
                }
            }
        }
        let (end, used) = self.ends.get_mut(name)?;
        *used = self.round;
        Some(end)
    }

    fn flush(&mut self, stream: &Stream) {
        let name = stream.folder.as_str();
        let Some(end) = self.end(stream) else { return };
        match end.flush() {
            Ok(()) => {
                self.failing = false;
                if !self.open.iter().any(|open| open == name) {
                    self.open.push(name.to_owned());
                }
            }
            Err((lost, error)) => {
                stream.drop_lines(lost);
                self.failed(&error);
            }
        }
        if self.open.len() > 2 * OPEN_MAX {
            self.close_unused();
        }
    }

    fn failed(&mut self, error: &std::io::Error) {
        if !self.failing {
            tracing::warn!(folder = %self.folder.display(), %error, "logs are not kept");
        }
        self.failing = true;
    }

    /// Closes the files used least lately.
    fn close_unused(&mut self) {
        if self.open.len() <= OPEN_MAX {
            return;
        }
        let ends = &mut self.ends;
        self.open
            .sort_unstable_by_key(|name| ends.get(name).map_or(0, |(_, used)| *used));
        for name in self.open.drain(..self.open.len() - OPEN_MAX) {
            if let Some((end, _)) = ends.get_mut(&name) {
                end.close();
            }
        }
    }

    fn remove(&mut self, stream: &Stream) -> Result<(), Error> {
        self.ends.remove(&stream.folder);
        self.open.retain(|open| *open != stream.folder);
        let path = self.folder.join(&stream.folder);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(disk::failed("remove", &path, &error))
            }
            _ => Ok(()),
        }
    }
}
