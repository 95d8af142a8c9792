//! An answer on its way: what a function writes, handed on part by part to whoever asked for it.
//! A few parts wait at most, so that who reads slowly slows the function down. What the bytes
//! mean is the doors' to know.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use model::limit::STREAMED_BYTES_MAX;
use model::{End, Execution, VersionId};
use store::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Error;
use crate::port::{StartError, StartFault};

/// Parts that wait to be read (ours: enough that writer and reader need not take turns, little
/// enough that many slow readers take no memory to speak of).
const PARTS_MAX: usize = 4;

/// Where an instance puts a streamed answer; a cheap handle.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
}

struct Shared {
    parts: mpsc::Sender<Part>,
    clock: Arc<dyn Clock>,
    /// When the first byte came, on the monotonic clock.
    first_at: OnceLock<Duration>,
    bytes: AtomicU64,
}

#[derive(Debug)]
enum Part {
    Begin(String),
    Data(Bytes),
    Whole,
}

/// Why a part was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// Nobody reads any more. The function may go on all the same.
    #[error("nobody reads the answer any more")]
    Gone,
    /// The answer is larger than streamed answers may be.
    #[error("the answer has more than {STREAMED_BYTES_MAX} bytes")]
    TooLarge,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("bytes", &self.shared.bytes)
            .finish_non_exhaustive()
    }
}

impl Sink {
    /// Says that the answer is streamed, and what it is. To be called once, before any part.
    pub async fn begin(&self, content_type: String) -> Result<(), Unsent> {
        self.put(Part::Begin(content_type)).await
    }

    /// Hands on the next bytes, once there is room for them.
    pub async fn send(&self, bytes: Bytes) -> Result<(), Unsent> {
        if bytes.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        shared.first_at.get_or_init(|| shared.clock.monotonic());
        let before = (shared.bytes).fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if before + bytes.len() as u64 > STREAMED_BYTES_MAX {
            return Err(Unsent::TooLarge);
        }
        self.put(Part::Data(bytes)).await
    }

    /// Says that the answer is whole, though the function may still have something to do.
    pub async fn finish(&self) {
        // Whoever is gone need not know.
        let _ = self.put(Part::Whole).await;
    }

    async fn put(&self, part: Part) -> Result<(), Unsent> {
        let sent = self.shared.parts.send(part).await;
        sent.map_err(|_| Unsent::Gone)
    }

    /// When the first byte came, if any did, on the monotonic clock.
    pub(crate) fn first_at(&self) -> Option<Duration> {
        self.shared.first_at.get().copied()
    }
}

/// What comes of an invocation whose answer is read while it is written, in this order.
#[derive(Debug)]
pub enum Piece {
    /// The answer begins.
    Begin {
        /// What the function says that it is; none where the function answers at once and does
        /// not stream, which is JSON.
        content_type: Option<String>,
    },
    /// Some bytes of the answer, never none.
    Data(Bytes),
    /// The answer is whole; the function may go on, and how it ends does not change the answer.
    Whole,
    /// The invocation has ended. Only where it replied is what came before the whole answer; the
    /// outcome's payload is then empty, else the error.
    End(Result<Execution, Error>),
}

/// An invocation whose answer is read while it is written. Dropping it does not end the
/// invocation: it goes on, and what it writes is lost.
#[derive(Debug)]
pub struct Streamed {
    parts: mpsc::Receiver<Part>,
    running: JoinHandle<Result<Execution, Error>>,
    /// What it runs, where that is known.
    pub(crate) version: Option<VersionId>,
    begun: bool,
    /// Set once the invocation has ended; parts may still wait.
    ended: Option<Result<Execution, Error>>,
    over: bool,
}

/// A sink and what reads from it.
pub fn open(clock: Arc<dyn Clock>) -> (Sink, Reader) {
    let (sender, parts) = mpsc::channel(PARTS_MAX);
    let shared = Arc::new(Shared {
        parts: sender,
        clock,
        first_at: OnceLock::new(),
        bytes: AtomicU64::new(0),
    });
    (Sink { shared }, Reader(parts))
}

/// The other end of a sink, before it is known what writes to it.
#[derive(Debug)]
pub struct Reader(mpsc::Receiver<Part>);

impl Reader {
    /// Reads the answer of this invocation, which goes on whether it is read or not: a deadline
    /// holds whatever its reader does.
    pub fn of(self, running: JoinHandle<Result<Execution, Error>>) -> Streamed {
        Streamed {
            parts: self.0,
            running,
            version: None,
            begun: false,
            ended: None,
            over: false,
        }
    }
}

impl Streamed {
    /// The version that runs.
    pub fn version(&self) -> Option<VersionId> {
        self.version
    }

    /// The next piece; none after the end.
    pub async fn next(&mut self) -> Option<Piece> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next piece, for who polls.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if self.over {
            return Poll::Ready(None);
        }
        if self.ended.is_none() {
            if let Poll::Ready(Some(part)) = self.parts.poll_recv(cx) {
                return Poll::Ready(Some(self.piece(part)));
            }
            let ended = ready!(Pin::new(&mut self.running).poll(cx));
            self.ended = Some(ended.unwrap_or_else(|error| Err(lost(&error))));
            // Whoever still holds the sink has nothing to say any more.
            self.parts.close();
        }
        if let Some(part) = ready!(self.parts.poll_recv(cx)) {
            return Poll::Ready(Some(self.piece(part)));
        }
        let ended = self.ended.take();
        Poll::Ready(ended.map(|ended| self.end(ended)))
    }

    fn piece(&mut self, part: Part) -> Piece {
        self.begun = true;
        match part {
            Part::Begin(content_type) => Piece::Begin {
                content_type: Some(content_type),
            },
            Part::Data(bytes) => Piece::Data(bytes),
            Part::Whole => Piece::Whole,
        }
    }

    /// The last pieces. An answer that was not streamed is read as if it had been.
    fn end(&mut self, mut ended: Result<Execution, Error>) -> Piece {
        if let Ok(execution) = &mut ended
            && execution.outcome.end == End::Replied
        {
            if !self.begun {
                self.begun = true;
                self.ended = Some(ended);
                return Piece::Begin { content_type: None };
            }
            let payload = std::mem::take(&mut execution.outcome.payload);
            if !payload.is_empty() {
                self.ended = Some(ended);
                return Piece::Data(payload);
            }
        }
        self.over = true;
        Piece::End(ended)
    }
}

/// The task that ran it is gone, as when the process stops.
fn lost(error: &tokio::task::JoinError) -> Error {
    StartError {
        fault: StartFault::Ours,
        reason: format!("the invocation was given up: {error}"),
    }
    .into()
}
