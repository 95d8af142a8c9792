//! The one thread that writes logs: takes what has gathered, a stream at a time, and hands it
//! to those who follow.

use std::collections::{HashMap, hash_map};
use std::fs;
use std::io::{self, ErrorKind};
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
    /// What could not be written of each stream, by its folder's name, until a record tells of it.
    lost: HashMap<String, Lost>,
}

/// Lines that could not be written.
#[derive(Debug)]
struct Lost {
    lines: u64,
    why: String,
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
            lost: HashMap::new(),
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
            if let Err((lines, error)) = self.append(&stream, lines) {
                self.lose(&stream, lines as u64, &error);
            }
            touched.push(stream);
        }
        touched.sort_unstable_by_key(Arc::as_ptr);
        touched.dedup_by_key(|stream| Arc::as_ptr(stream));
        for stream in &touched {
            self.finish(stream);
        }
        for (stream, before_ms, answer) in work.expiries {
            drop(answer.send(self.expire(&stream, before_ms)));
        }
        self.close_unused();
        for answer in work.flushes {
            // Whoever has gone away does not want to know.
            answer.send(()).unwrap_or_default();
        }
    }

    /// Writes what is buffered of a stream, and what is missing in it.
    fn finish(&mut self, stream: &Stream) {
        let dropped = stream.take_dropped();
        let lost = self.lost.remove(&stream.folder);
        let mut notices = Vec::new();
        if dropped > 0 {
            let why = "dropped: they came faster than they could be kept";
            notices.push(self.notice(dropped, why));
        }
        if let Some(lost) = &lost {
            let why = format!("lost: they could not be written: {}", lost.why);
            notices.push(self.notice(lost.lines, &why));
        }
        let told = notices.len();
        let untold = dropped + lost.map_or(0, |lost| lost.lines);
        let written = self
            .append(stream, notices)
            .and_then(|()| self.flush(stream));
        if let Err((lines, error)) = written {
            // What tells of lines is none that is missed.
            let lines = untold + lines.saturating_sub(told) as u64;
            self.lose(stream, lines, &error);
        }
    }

    fn notice(&self, lines: u64, what: &str) -> Line {
        let noun = if lines == 1 { "line was" } else { "lines were" };
        Line {
            at_ms: self.clock.now_ms(),
            stamp_ms: None,
            platform: true,
            invocation: None,
            source: None,
            text: format!("{lines} log {noun} {what}"),
        }
    }

    /// Buffers lines, and writes them where a segment is full. An error answers how many are lost
    /// because their stream cannot be found.
    fn append(&mut self, stream: &Stream, lines: Vec<Line>) -> Result<(), (usize, io::Error)> {
        let followers = stream.followers();
        let mut lines = lines.into_iter();
        while lines.len() > 0 {
            let left = lines.len();
            let end = self.end(stream).map_err(|error| (left, error))?;
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
            if is_full && let Err((lines, error)) = self.flush(stream) {
                self.lose(stream, lines as u64, &error);
            }
        }
        Ok(())
    }

    fn end(&mut self, stream: &Stream) -> io::Result<&mut End> {
        let (end, used) = match self.ends.entry(stream.folder.clone()) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(free) => {
                let folder = self.folder.join(free.key());
                let end = End::find(folder, stream.limits(self.limits))?;
                free.insert((end, self.round))
            }
        };
        *used = self.round;
        Ok(end)
    }

    /// Writes what is buffered. An error answers how many lines are lost.
    fn flush(&mut self, stream: &Stream) -> Result<(), (usize, io::Error)> {
        let end = self.end(stream).map_err(|error| (0, error))?;
        end.flush()?;
        self.failing = false;
        let name = stream.folder.as_str();
        if !self.open.iter().any(|open| open == name) {
            self.open.push(name.to_owned());
        }
        if self.open.len() > 2 * OPEN_MAX {
            self.close_unused();
        }
        Ok(())
    }

    /// Counts lines that could not be written.
    fn lose(&mut self, stream: &Stream, lines: u64, error: &io::Error) {
        if !self.failing {
            tracing::warn!(folder = %self.folder.display(), %error, "logs are not kept");
        }
        self.failing = true;
        stream.fail_lines(lines);
        let why = if disk::is_full(error) {
            "the disk is full".to_owned()
        } else {
            error.to_string()
        };
        let before = self.lost.remove(&stream.folder);
        let lines = lines + before.map_or(0, |before| before.lines);
        if lines > 0 {
            let lost = Lost { lines, why };
            self.lost.insert(stream.folder.clone(), lost);
        }
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

    fn expire(&mut self, stream: &Stream, before_ms: u64) -> Result<(), Error> {
        let path = self.folder.join(&stream.folder);
        // Finding the end of one that is not there would make it.
        if !path.exists() {
            return Ok(());
        }
        let expired = self.end(stream).and_then(|end| end.expire(before_ms));
        expired.map_err(|error| disk::failed("remove old segments of", &path, &error))
    }

    fn remove(&mut self, stream: &Stream) -> Result<(), Error> {
        self.ends.remove(&stream.folder);
        self.lost.remove(&stream.folder);
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
