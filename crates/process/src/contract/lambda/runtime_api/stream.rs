//! Answers that a client streams to the Runtime API: each part is passed on as it comes, and
//! trailers tell of an error that came after the first.

use bytes::Bytes;
use engine::port::{Sink, Unsent};
use http::{HeaderMap, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use model::limit::STREAMED_BYTES_MAX;

use super::streamed_error;
use super::{Answer, Reply, RuntimeApi, State, TOO_LARGE, accepted, not_found, refuse};

/// Says that the body that follows is to be passed on as it comes.
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
/// What an answer is whose client does not say.
const CONTENT_TYPE: &str = "application/octet-stream";

impl RuntimeApi {
    /// Where this answer is to go, if the client streams it and somebody reads it so.
    pub(super) fn begin_stream(&self, id: &str, headers: &HeaderMap) -> Option<Sink> {
        let mode = headers.get(RESPONSE_MODE)?;
        if !mode.as_bytes().eq_ignore_ascii_case(b"streaming") {
            return None;
        }
        match &mut *self.state.lock() {
            State::Busy {
                id: current,
                sink,
                answer,
                ..
            } if current == id => {
                let sink = sink.take()?;
                *answer = Answer::Part;
                Some(sink)
            }
            _ => None,
        }
    }

    /// Passes the answer on. Who reads slowly slows the client down.
    pub(super) async fn stream(
        &self,
        id: &str,
        headers: &HeaderMap,
        mut body: Incoming,
        sink: Sink,
    ) -> Response<Full<Bytes>> {
        let kind = headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok());
        let _on_its_way = OnItsWay { api: self, id };
        // Whether anybody reads shows with the first part, and does not matter to the client.
        let _ = sink.begin(kind.unwrap_or(CONTENT_TYPE).to_owned()).await;
        let mut failed = None;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return not_found();
            };
            match frame.into_data() {
                Ok(part) => {
                    if sink.send(part).await != Err(Unsent::TooLarge) {
                        continue;
                    }
                    self.end_stream(id, Reply::StreamTooLarge);
                    let message = format!(
                        "Exceeded maximum allowed payload size ({STREAMED_BYTES_MAX} bytes)."
                    );
                    return refuse(TOO_LARGE, &message);
                }
                Err(other) => {
                    let trailers = other.into_trailers().ok();
                    failed = trailers.and_then(|trailers| streamed_error(&trailers));
                }
            }
        }
        self.end_stream(
            id,
            match failed {
                Some(payload) => Reply::Failed {
                    payload,
                    last: false,
                },
                None => Reply::Streamed,
            },
        );
        accepted()
    }

    /// The answer ends in the middle: with its process, or the client asks for more work. One that
    /// has ended is not meant.
    fn break_off(&self, id: &str) {
        if let State::Busy {
            id: current,
            answer,
            ..
        } = &mut *self.state.lock()
            && current == id
        {
            *answer = Answer::BrokenOff;
        }
    }

    fn end_stream(&self, id: &str, reply: Reply) {
        let mut state = self.state.lock();
        if !matches!(&*state, State::Busy { id: current, .. } if current == id) {
            return;
        }
        let answered = State::Answered(id.to_owned());
        if let State::Busy { reply: waiter, .. } = std::mem::replace(&mut *state, answered) {
            // Nobody waits any more where the invocation was given up.
            let _ = waiter.send(reply);
        }
    }
}

/// An answer on its way. However that ends, it comes no further: a client that hangs up takes the
/// work on its request with it.
struct OnItsWay<'a> {
    api: &'a RuntimeApi,
    id: &'a str,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.api.break_off(self.id);
    }
}

#[cfg(test)]
mod tests;
