//! A stream on disk: files named by the position of their first record. Positions count bytes,
//! so that reading on from one needs no search.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Entry, Limits, Line, Seen, record};
use crate::{Error, disk};

/// Lines come from several instances, and so are only nearly in the order of their times.
const DISORDER_MS: u64 = 60_000;

/// A buffer larger than this is given back once it is written.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// One file of a stream.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// Position of its first record.
    base: u64,
    /// Bytes of whole records in it.
    bytes: u64,
}

/// The end of a stream, where it grows.
#[derive(Debug)]
pub(super) struct End {
    folder: PathBuf,
    limits: Limits,
    segments: VecDeque<Segment>,
    /// Open while it was used lately.
    file: Option<File>,
    /// Records not yet in the file.
    buffer: Vec<u8>,
    /// How many they are.
    buffered: usize,
}

impl End {
    /// Finds the end of a stream. What a crash left of a last record is cut off.
    pub(super) fn find(folder: PathBuf, limits: Limits) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut segments: VecDeque<Segment> = list(&folder)?.into();
        if let Some(last) = segments.back_mut() {
            let path = segment_path(&folder, last.base);
            let whole = whole_bytes(&fs::read(&path)?);
            if whole < last.bytes {
                OpenOptions::new().write(true).open(&path)?.set_len(whole)?;
                last.bytes = whole;
            }
        }
        let (file, buffer) = (None, Vec::new());
        Ok(Self {
            folder,
            limits,
            segments,
            file,
            buffer,
            buffered: 0,
        })
    }

    /// Adds a line to what is to be written. Answers its position.
    pub(super) fn append(&mut self, line: &Line) -> u64 {
        let position = self.position();
        record::encode(line, &mut self.buffer);
        self.buffered += 1;
        position
    }

    /// Whether enough is buffered to write it at once.
    pub(super) fn is_full(&self) -> bool {
        let last = self.segments.back().map_or(0, |last| last.bytes);
        last + self.buffer.len() as u64 >= self.limits.segment_bytes
    }

    /// Writes what is buffered, and begins a new segment where the last is full. A failure
    /// answers how many lines are lost, and the stream goes on after them.
    pub(super) fn flush(&mut self) -> Result<(), (usize, io::Error)> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.write();
        let (next, lost) = (self.position(), self.buffered);
        self.buffered = 0;
        let bytes = self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        match written {
            Ok(()) => {
                if let Some(last) = self.segments.back_mut() {
                    last.bytes += bytes;
                }
                if self.is_full() {
                    self.begin(next);
                }
                Ok(())
            }
            Err(error) => {
                // A part of a record may stand at the end: whatever follows goes elsewhere.
                self.begin(next);
                Err((lost, error))
            }
        }
    }

    /// Lets go of the file, and of the buffer: nothing is in it between rounds.
    pub(super) fn close(&mut self) {
        self.file = None;
        self.buffer.shrink_to_fit();
    }

    /// Removes the oldest segments in which no line is from `before_ms` or later. Nothing may be
    /// buffered.
    pub(super) fn expire(&mut self, before_ms: u64) -> io::Result<()> {
        while let Some(oldest) = self.segments.front().copied() {
            let path = segment_path(&self.folder, oldest.base);
            let newest_ms = match fs::read(&path) {
                Ok(bytes) => newest_ms(&bytes),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            let is_empty_end = self.segments.len() == 1 && oldest.bytes == 0;
            if is_empty_end || newest_ms.is_some_and(|newest_ms| newest_ms >= before_ms) {
                break;
            }
            if self.segments.len() == 1 {
                // An empty file, which keeps the position over a restart.
                let base = self.position();
                self.file = Some(open(&segment_path(&self.folder, base))?);
                self.segments.push_back(Segment { base, bytes: 0 });
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => self.segments.pop_front(),
            };
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.segments
            .back()
            .map_or(0, |last| last.base + last.bytes)
            + self.buffer.len() as u64
    }

    fn write(&mut self) -> io::Result<()> {
        if self.segments.is_empty() {
            self.segments.push_back(Segment { base: 0, bytes: 0 });
        }
        let base = self.segments.back().map_or(0, |last| last.base);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&segment_path(&self.folder, base))?),
        };
        file.write_all(&self.buffer)
    }

    /// Begins a segment at this position, and removes the oldest beyond the bound.
    fn begin(&mut self, base: u64) {
        self.file = None;
        self.segments.push_back(Segment { base, bytes: 0 });
        let mut bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let room = self
            .limits
            .stream_bytes
            .saturating_sub(self.limits.segment_bytes);
        while bytes > room && self.segments.len() > 1 {
            let Some(oldest) = self.segments.pop_front() else {
                break;
            };
            bytes -= oldest.bytes;
            let path = segment_path(&self.folder, oldest.base);
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "old log segment is not removed");
            }
        }
    }
}

/// The name of a stream's folder: its own, as far as file systems allow.
pub(super) fn folder_name(stream: &str) -> String {
    let mut name = String::with_capacity(stream.len());
    for byte in stream.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    if (1..=200).contains(&name.len()) {
        return name;
    }
    let digest = Sha256::digest(stream.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lines after a position, oldest first.
pub(super) fn read(
    folder: &Path,
    since_ms: u64,
    limit: usize,
    after: Option<u64>,
) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let segments = list_or_none(folder)?;
    for (index, segment) in segments.iter().enumerate() {
        let next = segments.get(index + 1);
        let passed = after.is_some_and(|after| next.is_some_and(|next| next.base <= after));
        if passed || next.is_some_and(|next| is_older(folder, *next, since_ms)) {
            continue;
        }
        // The record at `after` itself is read and left out: it alone says where it ends.
        let from = after.map_or(segment.base, |after| after.max(segment.base));
        let lines = load(folder, *segment, from)?;
        let wanted = lines.into_iter().filter(|entry| {
            entry.line.at_ms >= since_ms && after.is_none_or(|after| entry.position > after)
        });
        entries.extend(wanted.take(limit - entries.len()));
        if entries.len() >= limit {
            break;
        }
    }
    Ok(entries)
}

/// The newest lines, oldest of them first.
pub(super) fn tail(folder: &Path, limit: usize) -> Result<Vec<Entry>, Error> {
    let mut newest: VecDeque<Entry> = VecDeque::new();
    for segment in list_or_none(folder)?.into_iter().rev() {
        let lines = load(folder, segment, segment.base)?;
        for entry in lines.into_iter().rev().take(limit - newest.len()) {
            newest.push_front(entry);
        }
        if newest.len() >= limit {
            break;
        }
    }
    Ok(newest.into())
}

/// Passes lines that came at `since_ms` or later to `visit`, oldest first, until it breaks.
pub(super) fn scan(
    folder: &Path,
    since_ms: u64,
    visit: &mut dyn FnMut(Seen<'_>) -> ControlFlow<()>,
) -> Result<(), Error> {
    let segments = list_or_none(folder)?;
    for (index, segment) in segments.iter().enumerate() {
        let next = segments.get(index + 1);
        if next.is_some_and(|next| is_older(folder, *next, since_ms)) {
            continue;
        }
        let bytes = load_bytes(folder, *segment, segment.base)?;
        let mut rest = bytes.as_slice();
        loop {
            // Most of a log is older than what is asked for: that is passed at a glance.
            while let Some((_, after)) = record::pass(rest).filter(|(at_ms, _)| *at_ms < since_ms) {
                rest = after;
            }
            let Some((content, after)) = record::next(rest) else {
                break;
            };
            let position = segment.base + (bytes.len() - rest.len()) as u64;
            if let Some(seen) = record::view(content, position)
                && visit(seen).is_break()
            {
                return Ok(());
            }
            rest = after;
        }
    }
    Ok(())
}

/// Bytes of a stream on disk, and the position at which it goes on.
pub(super) fn size(folder: &Path) -> Result<(u64, u64), Error> {
    let segments = list_or_none(folder)?;
    let bytes = segments.iter().map(|segment| segment.bytes).sum();
    let end = segments.last().map_or(0, |last| last.base + last.bytes);
    Ok((bytes, end))
}

/// When the newest of a segment's lines came.
fn newest_ms(bytes: &[u8]) -> Option<u64> {
    let (mut rest, mut newest) = (bytes, None);
    while let Some((content, after)) = record::next(rest) {
        newest = newest.max(record::at_ms(content));
        rest = after;
    }
    newest
}

/// Whether whatever comes before this segment is older than `since_ms`.
fn is_older(folder: &Path, segment: Segment, since_ms: u64) -> bool {
    let mut start = [0; record::HEAD_BYTES + 8];
    let read = File::open(segment_path(folder, segment.base))
        .and_then(|mut file| file.read_exact(&mut start));
    let at_ms = start.get(record::HEAD_BYTES..).and_then(record::at_ms);
    read.is_ok() && at_ms.is_some_and(|at_ms| at_ms.saturating_add(DISORDER_MS) < since_ms)
}

/// The whole records of a segment from a position on. A segment that has meanwhile been removed
/// has none.
fn load(folder: &Path, segment: Segment, from: u64) -> Result<Vec<Entry>, Error> {
    let bytes = load_bytes(folder, segment, from)?;
    let mut entries = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((content, after)) = record::next(rest) {
        let position = from + (bytes.len() - rest.len()) as u64;
        if let Some(line) = record::decode(content) {
            entries.push(Entry {
                position,
                line: Arc::new(line),
            });
        }
        rest = after;
    }
    Ok(entries)
}

fn load_bytes(folder: &Path, segment: Segment, from: u64) -> Result<Vec<u8>, Error> {
    let path = segment_path(folder, segment.base);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|mut file| {
        file.seek(SeekFrom::Start(from - segment.base))?;
        file.read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(disk::failed("read", &path, &error)),
    }
}

fn whole_bytes(bytes: &[u8]) -> u64 {
    let mut rest = bytes;
    while let Some((_, after)) = record::next(rest) {
        rest = after;
    }
    (bytes.len() - rest.len()) as u64
}

fn list_or_none(folder: &Path) -> Result<Vec<Segment>, Error> {
    match list(folder) {
        Ok(segments) => Ok(segments),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(disk::failed("read", folder, &error)),
    }
}

/// The segments in a folder, oldest first.
fn list(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let base = name
            .to_str()
            .and_then(|name| name.strip_suffix(".log")?.parse().ok());
        // One that is removed at this moment is none.
        if let (Some(base), Ok(metadata)) = (base, entry.metadata()) {
            segments.push(Segment {
                base,
                bytes: metadata.len(),
            });
        }
    }
    segments.sort_unstable_by_key(|segment| segment.base);
    Ok(segments)
}

fn segment_path(folder: &Path, base: u64) -> PathBuf {
    folder.join(format!("{base:020}.log"))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}
