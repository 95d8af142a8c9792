//! An answer that goes out while the function writes it: first its head, then each part as it
//! comes. What goes wrong after the head cuts the response short, for there is no other way to
//! tell.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use engine::Error;
use engine::stream::{Piece, Streamed};
use engine::verb::FunctionView;
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use model::{End, Execution};

use super::reply::{self, Malformed, Reply};
use super::{Refused, malformed, respond};
use crate::{Body, BodyError};

/// What a streamed answer is whose first bytes are its status and headers.
const INTEGRATION_TYPE: &str = "application/vnd.awslambda.http-integration-response";

/// Longest content type that is passed on, in bytes (ours: far beyond any that there is).
const CONTENT_TYPE_BYTES_MAX: usize = 1_000;

/// Why an answer has no head.
enum Headless {
    /// The invocation ended without one.
    Ended(Result<Execution, Error>),
    Malformed(Malformed),
    /// It was given up.
    Lost,
}

impl From<Malformed> for Headless {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Answers as soon as the head of the response is known. Until its first byte is there a failure
/// is one of the whole response.
pub(super) async fn answer(
    function: &FunctionView,
    mut streamed: Streamed,
) -> Result<Response<Body>, Refused> {
    match begin(&mut streamed).await {
        Ok((reply, is_whole)) => {
            let body = if is_whole {
                crate::full(reply.body)
            } else {
                let first = Some(reply.body).filter(|first| !first.is_empty());
                Rest {
                    first,
                    streamed,
                    failed: None,
                }
                .boxed()
            };
            let mut response = Response::new(body);
            *response.status_mut() = reply.status;
            *response.headers_mut() = reply.headers;
            Ok(response)
        }
        Err(Headless::Malformed(error)) => Ok(malformed(function, &error)),
        Err(Headless::Ended(Ok(execution))) => Ok(respond(function, &execution)),
        Err(Headless::Ended(Err(error))) => Err(Refused::of(&error)),
        Err(Headless::Lost) => Err(Refused::Fault),
    }
}

/// Reads up to the first byte of the body, or of the whole answer where that has no head of its
/// own; also whether it is whole with that.
async fn begin(streamed: &mut Streamed) -> Result<(Reply, bool), Headless> {
    let content_type = match streamed.next().await {
        Some(Piece::Begin { content_type }) => content_type,
        Some(Piece::End(ended)) => return Err(Headless::Ended(ended)),
        _ => return Err(Headless::Lost),
    };
    let mut came = more(streamed).await?;
    if content_type.as_deref() != Some(INTEGRATION_TYPE) {
        let content_type = match content_type {
            Some(content_type) => HeaderValue::try_from(content_type)
                .ok()
                .filter(|value| value.len() <= CONTENT_TYPE_BYTES_MAX)
                .unwrap_or(reply::STREAM_TYPE),
            // What does not stream answers in JSON.
            None => reply::JSON_TYPE,
        };
        let is_whole = came.is_none();
        let reply = Reply::ok(content_type, came.unwrap_or_default());
        return Ok((reply, is_whole));
    }
    let mut head = BytesMut::new();
    loop {
        let part = came.ok_or(Malformed::Prelude)?;
        let before = head.len();
        head.extend_from_slice(&part);
        if let Some(end) = reply::head_end(&head, before)? {
            return Ok((reply::read_streamed(head.freeze(), end)?, false));
        }
        came = more(streamed).await?;
    }
}

/// The next bytes; none where the answer is whole.
async fn more(streamed: &mut Streamed) -> Result<Option<Bytes>, Headless> {
    loop {
        match streamed.next().await {
            Some(Piece::Begin { .. }) => {}
            Some(Piece::Data(bytes)) => return Ok(Some(bytes)),
            Some(Piece::Whole) | None => return Ok(None),
            Some(Piece::End(ended)) if replied(&ended) => return Ok(None),
            Some(Piece::End(ended)) => return Err(Headless::Ended(ended)),
        }
    }
}

fn replied(ended: &Result<Execution, Error>) -> bool {
    matches!(ended, Ok(execution) if execution.outcome.end == End::Replied)
}

/// The body after its head. Where it is dropped before its end the function goes on.
#[derive(Debug)]
struct Rest {
    first: Option<Bytes>,
    streamed: Streamed,
    /// Why it is cut short, once everything before that was handed on.
    failed: Option<BodyError>,
}

/// Why a response was cut short.
#[derive(Debug, thiserror::Error)]
#[error("the function ended half-way: {0}")]
struct CutShort(&'static str);

impl http_body::Body for Rest {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let error = match ready!(self.streamed.poll_next(cx)) {
                Some(Piece::Begin { .. }) => continue,
                Some(Piece::Data(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Piece::Whole) | None => return Poll::Ready(None),
                Some(Piece::End(ended)) if replied(&ended) => return Poll::Ready(None),
                Some(Piece::End(Ok(execution))) => CutShort(execution.outcome.end.as_str()).into(),
                Some(Piece::End(Err(error))) => error.into(),
            };
            // The server drops what it has not written yet as soon as it sees the error: it writes
            // while nothing more comes.
            self.failed = Some(error);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
    }
}
