//! Bodies that a door has not read to their end when it answers: a client that writes its body after
//! its head would find the connection closed, whatever it asks next.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use store::Clock;

use super::pace::PacedBody;
use crate::BodyError;

/// Most that is read of what nobody wanted, in bytes (ours): twice the largest package that the
/// vendor's clients can send. They send all of it before they look for the answer that it is too large.
const BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Longest that each piece of it may take (ours).
const PIECE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest that all of it may take (ours).
const TIMEOUT: Duration = Duration::from_secs(20);

/// A request's body, which comes back if it is dropped before its end.
#[derive(Debug)]
pub(super) struct Lent {
    body: Option<PacedBody>,
    back: Unread,
}

/// Where a body comes back to.
#[derive(Debug, Clone)]
pub(super) struct Unread {
    body: Arc<Mutex<Option<PacedBody>>>,
    waits: bool,
}

impl Unread {
    /// The place for a body whose client waits to be told before it sends it, or does not.
    pub(super) fn new(waits: bool) -> Self {
        Self {
            body: Arc::default(),
            waits,
        }
    }

    /// Lends a body to who answers.
    pub(super) fn lend(&self, body: PacedBody) -> Lent {
        Lent {
            body: Some(body),
            back: self.clone(),
        }
    }

    /// Reads what was left of the body; whether the connection can be asked again.
    pub(super) async fn read(&self, clock: &dyn Clock) -> bool {
        let Some(mut body) = self.body.lock().take() else {
            return true;
        };
        // What is not sent need not be read; what follows on the connection cannot be told from it.
        if (self.waits && !body.is_begun()) || body.size_hint().lower() > BYTES_MAX {
            return false;
        }
        body.let_go();
        let rest = async {
            let mut came = 0;
            loop {
                let frame = tokio::select! {
                    frame = body.frame() => frame,
                    () = clock.sleep(PIECE_TIMEOUT) => return false,
                };
                match frame {
                    Some(Ok(frame)) => {
                        came += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                        if came > BYTES_MAX {
                            return false;
                        }
                    }
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
        };
        tokio::select! {
            whole = rest => whole,
            () = clock.sleep(TIMEOUT) => false,
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.body.as_mut() {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        if unread.is_some() {
            *self.back.body.lock() = unread;
        }
    }
}
