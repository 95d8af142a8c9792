//! Connections of a function's own client that can go on with another process of the platform: on
//! each that waits for the next invocation the same question is asked again there.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use store::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{RuntimeApi, State};

/// What a client has asked that waits; all that it says besides does not matter here.
const NEXT: &[u8] =
    b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: 127.0.0.1:9001\r\n\r\n";

/// How often it is looked whether a client that has answered waits for more.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often at most.
const LOOKS: usize = 100;

/// One connection.
#[derive(Debug)]
pub(super) struct Line {
    /// It is not closed by who serves it.
    stream: OwnedFd,
    /// Whether it waits for the next invocation. Changed under the lock of the API's state.
    waits: AtomicBool,
}

/// A connection as it is handed on, and whether it waits for the next invocation.
pub(crate) type Waiting = (OwnedFd, bool);

/// Says that a connection waits, for as long as it does.
pub(super) struct Waits<'a>(Option<&'a Line>);

impl<'a> Waits<'a> {
    /// Under the lock of the API's state.
    pub(super) fn begin(line: Option<&'a Line>) -> Self {
        if let Some(line) = line {
            line.waits.store(true, Ordering::Release);
        }
        Self(line)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(line) = self.0 {
            line.waits.store(false, Ordering::Release);
        }
    }
}

impl RuntimeApi {
    /// Remembers a connection, where it may be handed on.
    pub(super) fn line(&self, stream: &TcpStream) -> Option<Arc<Line>> {
        let mut lines = self.lines.lock();
        let lines = lines.as_mut()?;
        let line = Arc::new(Line {
            stream: stream.as_fd().try_clone_to_owned().ok()?,
            waits: AtomicBool::new(false),
        });
        lines.push(Arc::clone(&line));
        Some(line)
    }

    pub(super) fn forget(&self, line: Option<&Arc<Line>>) {
        if let (Some(lines), Some(line)) = (self.lines.lock().as_mut(), line) {
            lines.retain(|known| !Arc::ptr_eq(known, line));
        }
    }

    /// Has connections remembered from now on.
    pub(crate) fn remember_lines(&self) {
        self.lines.lock().get_or_insert_default();
    }

    /// Hands its connections on, once the client waits for the next invocation: nothing is answered
    /// here any more. None where it does not come to wait.
    pub(crate) async fn leave(&self, clock: &dyn Clock) -> Option<Vec<Waiting>> {
        for _ in 0..LOOKS {
            if let Some(lines) = self.try_leave() {
                return Some(lines);
            }
            clock.sleep(LOOK_EVERY).await;
        }
        None
    }

    fn try_leave(&self) -> Option<Vec<Waiting>> {
        let mut state = self.state.lock();
        let lines = self.lines.lock();
        let lines = lines.as_ref()?;
        let waits = |line: &Arc<Line>| line.waits.load(Ordering::Acquire);
        if !matches!(*state, State::Ready) || !lines.iter().any(waits) {
            return None;
        }
        let hand_on = |line: &Arc<Line>| Some((line.stream.try_clone().ok()?, waits(line)));
        let handed: Option<Vec<_>> = lines.iter().map(hand_on).collect();
        if handed.is_some() {
            *state = State::Left;
        }
        handed
    }
}

/// A connection that begins with what was said on it before.
#[derive(Debug)]
pub(super) struct Resumed {
    said: &'static [u8],
    stream: TcpStream,
}

impl Resumed {
    /// One that was just made.
    pub(super) fn fresh(stream: TcpStream) -> Self {
        Self { said: &[], stream }
    }

    /// One that another process of the platform has left.
    pub(super) fn of((stream, waits): Waiting) -> io::Result<Self> {
        let stream = std::net::TcpStream::from(stream);
        stream.set_nonblocking(true)?;
        Ok(Self {
            said: if waits { NEXT } else { &[] },
            stream: TcpStream::from_std(stream)?,
        })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsyncRead for Resumed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.said.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let (now, later) = self.said.split_at(self.said.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.said = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Resumed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
