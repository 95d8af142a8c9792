//! InvokeWithResponseStream: the answer as events, each part as the function writes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::stream::{Piece, Streamed};
use engine::verb::Invoke;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use model::{End, Execution, VersionId};

use super::event_stream::message;
use super::{Ask, Aws, Refusal, TRACE_ID, When};
use crate::aws::lambda::empty;
use crate::aws::lambda::shapes::choice::{LogType, ResponseStreamingInvocationType};
use crate::aws::lambda::shapes::{
    InvokeWithResponseStreamCompleteEvent, InvokeWithResponseStreamRequest,
    InvokeWithResponseStreamResponse,
};
use crate::aws::shape;
use crate::{Body, BodyError};

impl Aws {
    pub(in crate::aws::lambda) async fn invoke_with_response_stream(
        &self,
        ask: &Ask<'_>,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let request: InvokeWithResponseStreamRequest = ask.read()?;
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        let dry = request.invocation_type == Some(ResponseStreamingInvocationType::DryRun);
        let tail = request.log_type == Some(LogType::Tail);
        let client_context = super::client_context(request.client_context.as_deref())?;
        let payload = super::payload(body, When::Now).await?;
        let trace = self.trace(ask);
        let mut response = if dry {
            self.try_only(ask, &target)?
        } else {
            let call = Invoke {
                principal: ask.principal(),
                url: None,
                target: target.clone(),
                id: Some(ask.caller.request_id.clone()),
                payload,
                trace: Some(trace.clone()),
                client_context,
                tail,
            };
            let mut streamed = self
                .engine
                .stream(call)
                .map_err(|error| Refusal::of(&error, &target))?;
            let version = streamed.version();
            // What has no place to run is refused as by Invoke, while that can be told.
            let first = match streamed.next().await {
                Some(Piece::End(Err(error))) => return Err(Refusal::of(&error, &target)),
                Some(Piece::End(Ok(execution))) if execution.outcome.end == End::Fault => {
                    let reason = String::from_utf8_lossy(&execution.outcome.payload);
                    return Err(Refusal::ours(&reason));
                }
                first => first,
            };
            answer(version, first, streamed)
        };
        if let Ok(trace) = HeaderValue::from_str(&trace) {
            response.headers_mut().insert(TRACE_ID, trace);
        }
        Ok(response)
    }
}

fn answer(version: Option<VersionId>, first: Option<Piece>, streamed: Streamed) -> Response<Body> {
    let events = Events {
        first,
        streamed,
        sent: false,
        whole: false,
        over: false,
    };
    let mut response = empty(StatusCode::OK);
    *response.body_mut() = events.boxed();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/vnd.amazon.eventstream");
    headers.insert(header::CONTENT_TYPE, kind);
    let head = InvokeWithResponseStreamResponse {
        executed_version: version.map(|version| version.to_string()),
        ..InvokeWithResponseStreamResponse::default()
    };
    head.set(headers);
    response
}

/// The events of one invocation. Where this is dropped before its end the function goes on.
#[derive(Debug)]
struct Events {
    /// What was read before it was known that there are events.
    first: Option<Piece>,
    streamed: Streamed,
    /// Whether some of the answer was sent.
    sent: bool,
    /// Whether all of it was.
    whole: bool,
    over: bool,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while !self.over {
            let piece = match self.first.take() {
                Some(first) => Some(first),
                None => ready!(self.streamed.poll_next(cx)),
            };
            match piece {
                Some(Piece::Begin { .. }) => {}
                Some(Piece::Whole) => self.whole = true,
                Some(Piece::Data(bytes)) => {
                    self.sent = true;
                    let event = event("PayloadChunk", "application/octet-stream", &bytes);
                    return Poll::Ready(Some(Ok(Frame::data(event))));
                }
                Some(Piece::End(Ok(execution))) => {
                    self.over = true;
                    let event = complete(&execution, self.sent, self.whole);
                    return Poll::Ready(Some(Ok(Frame::data(event))));
                }
                Some(Piece::End(Err(error))) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => self.over = true,
            }
        }
        Poll::Ready(None)
    }
}

fn event(name: &str, content_type: &str, payload: &[u8]) -> Bytes {
    let headers = [
        (":event-type", name),
        (":content-type", content_type),
        (":message-type", "event"),
    ];
    message(&headers, payload)
}

/// The last event. An answer that was whole is not spoilt by what its function did after it.
fn complete(execution: &Execution, sent: bool, whole: bool) -> Bytes {
    let outcome = &execution.outcome;
    let error_code = error_code(outcome.end, sent).filter(|_| !whole);
    let details = String::from_utf8_lossy(&outcome.payload);
    let complete = InvokeWithResponseStreamCompleteEvent {
        error_code: error_code.map(str::to_owned),
        error_details: error_code.map(|_| details.into_owned()),
        log_result: execution
            .log_tail
            .as_ref()
            .map(|tail| STANDARD.encode(tail)),
    };
    let json = shape::json(&complete);
    event("InvokeComplete", "application/json", json.as_bytes())
}

/// What fails before anything was sent has the word that Invoke has for it; an answer that breaks
/// off has one that says why.
fn error_code(end: End, sent: bool) -> Option<&'static str> {
    match end {
        End::Replied => None,
        End::Crashed | End::OutOfMemory if sent => Some("Runtime.TruncatedResponse"),
        End::TimedOut if sent => Some("Sandbox.Timedout"),
        End::ResponseTooLarge => Some("Function.ResponseSizeTooLarge"),
        _ => Some("Unhandled"),
    }
}

#[cfg(test)]
mod tests;
