//! Bodies in and out: an event collected within its limit, and a body that is still being made.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use crate::error::Refusal;
use crate::{Body, BodyError};

/// What is read of a body that is too large, in bytes, before the connection is closed on it:
/// most clients send everything before they look for an answer.
const DISCARD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Collects a body of `bytes_max` at most; a larger one is read but not kept.
pub(crate) async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > DISCARD_BYTES_MAX {
        return Err(Refusal::too_large(bytes_max));
    }
    let mut whole = BytesMut::new();
    let mut size = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::invalid(&format!("the body ended: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size += data.len() as u64;
        if size <= bytes_max as u64 {
            whole.extend_from_slice(&data);
        } else if size > DISCARD_BYTES_MAX {
            break;
        }
    }
    if size > bytes_max as u64 {
        Err(Refusal::too_large(bytes_max))
    } else {
        Ok(whole.freeze())
    }
}

/// A body whose pieces another task makes. That task ends once the body is dropped.
#[derive(Debug)]
pub(crate) struct Piped(pub(crate) mpsc::Receiver<Bytes>);

impl http_body::Body for Piped {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0
            .poll_recv(cx)
            .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}
