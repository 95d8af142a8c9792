//! Cuts off clients that send or read too slowly, and bodies that are too large.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use store::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Limits;
use super::bodies::Share;
use crate::BodyError;

/// Why a body was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Cut {
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the body came too slowly")]
    TooSlow,
    #[error("too many request bodies are on their way")]
    NoRoom,
}

/// An alarm that is set only while something is waited for. The lock is never contended: it
/// only makes the pending sleep shareable between threads, as boxed bodies must be.
struct Alarm {
    clock: Arc<dyn Clock>,
    sleep: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Alarm {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            sleep: Mutex::new(None),
        }
    }

    fn clear(&mut self) {
        if let Ok(sleep) = self.sleep.get_mut() {
            *sleep = None;
        }
    }

    /// Ready once `after` has passed since the first poll after a [`Alarm::clear`].
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        after: impl FnOnce(&dyn Clock) -> Duration,
    ) -> Poll<()> {
        let Ok(sleep) = self.sleep.get_mut() else {
            return Poll::Ready(());
        };
        let clock = &self.clock;
        sleep
            .get_or_insert_with(|| clock.sleep(after(clock.as_ref())))
            .as_mut()
            .poll(cx)
    }
}

/// A request's body that must come at a least rate and within a size.
pub(super) struct PacedBody {
    inner: Incoming,
    share: Share,
    alarm: Alarm,
    began: Duration,
    received: u64,
    /// Whether anybody has read of it.
    begun: bool,
    bytes_max: u64,
    grace: Duration,
    rate_min: u64,
}

impl PacedBody {
    pub(super) fn new(
        inner: Incoming,
        share: Share,
        limits: &Limits,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            inner,
            share,
            began: clock.monotonic(),
            alarm: Alarm::new(clock),
            received: 0,
            begun: false,
            bytes_max: limits.body_bytes_max,
            grace: limits.body_grace,
            rate_min: limits.body_rate_min.max(1),
        }
    }

    /// What comes of it from now on is not kept.
    pub(super) fn let_go(&mut self) {
        self.share.let_go();
    }

    /// Whether anybody has read of it, or tried to: a client that waits for that sends it from then
    /// on.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }
}

impl fmt::Debug for PacedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacedBody")
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let announced = this.inner.size_hint().lower();
        if this.received.saturating_add(announced) > this.bytes_max {
            return Poll::Ready(Some(Err(Cut::TooLarge(this.bytes_max).into())));
        }
        this.begun = true;
        if let Poll::Ready(next) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.alarm.clear();
            let Some(frame) = next else {
                return Poll::Ready(None);
            };
            let frame = frame?;
            let came = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            this.received += came;
            if this.received > this.bytes_max {
                return Poll::Ready(Some(Err(Cut::TooLarge(this.bytes_max).into())));
            }
            if !this.share.grow(came) {
                // A kind that every door can tell, whatever it knows of this server.
                let busy = io::Error::new(io::ErrorKind::ResourceBusy, Cut::NoRoom);
                return Poll::Ready(Some(Err(busy.into())));
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        let earned = Duration::from_millis(this.received.saturating_mul(1000) / this.rate_min);
        let deadline = this.began + this.grace + earned;
        ready!(
            this.alarm
                .poll(cx, |clock| deadline.saturating_sub(clock.monotonic()))
        );
        Poll::Ready(Some(Err(Cut::TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A connection whose writes fail once its client has read nothing for too long.
pub(super) struct PacedStream<T> {
    inner: T,
    alarm: Alarm,
    write_timeout: Duration,
}

impl<T> PacedStream<T> {
    pub(super) fn new(inner: T, write_timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            alarm: Alarm::new(clock),
            write_timeout,
        }
    }

    fn paced<R>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.alarm.clear();
            return written;
        }
        let timeout = self.write_timeout;
        ready!(self.alarm.poll(cx, |_| timeout));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client reads too slowly",
        )))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for PacedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for PacedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.paced(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.paced(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.paced(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.paced(cx, shut)
    }
}
