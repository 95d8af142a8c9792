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

/// Most that is read of what nobody wanted, in bytes (ours): more costs more than a connection.
const BYTES_MAX: u64 = 64 * 1024;
/// Longest that this may take (ours).
const TIMEOUT: Duration = Duration::from_secs(1);

/// A request's body, which comes back if it is dropped before its end.
#[derive(Debug)]
pub(super) struct Lent {
    body: Option<PacedBody>,
    back: Unread,
}

/// Where a body comes back to.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Option<PacedBody>>>);

impl Unread {
    /// Lends a body to who answers.
    pub(super) fn lend(&self, body: PacedBody) -> Lent {
        Lent {
            body: Some(body),
            back: self.clone(),
        }
    }

    /// Reads what was left of the body; whether the connection can be asked again.
    pub(super) async fn read(&self, clock: &dyn Clock) -> bool {
        let Some(mut body) = self.0.lock().take() else {
            return true;
        };
        if body.size_hint().lower() > BYTES_MAX {
            return false;
        }
        let rest = async {
            let mut came = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else {
                    return false;
                };
                came += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                if came > BYTES_MAX {
                    return false;
                }
            }
            true
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
            *self.back.0.lock() = unread;
        }
    }
}
