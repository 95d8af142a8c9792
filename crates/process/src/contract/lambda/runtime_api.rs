//! The Runtime API: how a function that brings its own client takes invocations and answers
//! them, over HTTP at a listener inside its own network namespace.

mod lines;
mod serve;
mod stream;

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use bytes::Bytes;
use engine::port::{Call, Sink};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use model::limit::RESPONSE_BYTES_MAX;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::extensions::Extensions;
use super::wire::{Loaded, Lost, Reply};
use super::words;
use crate::jail::Peers;
pub(crate) use lines::Waiting;
use lines::{Line, Waits};

/// Largest error a function may report, in bytes (ours: a stack trace and then some).
const ERROR_BYTES_MAX: usize = 256 * 1024;
/// One function's Runtime API.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    /// Who is answered, where others than the client can come.
    peers: Option<Peers>,
    state: Mutex<State>,
    /// An invocation waits to be taken.
    arrived: Notify,
    /// Who else is answered here.
    extensions: OnceLock<Arc<Extensions>>,
    /// Held by the one body that is kept while it is read: each can be as large as an answer.
    keeping: tokio::sync::Mutex<()>,
    /// Its connections, where they may go on with another process of the platform. Locked after
    /// the state.
    lines: Mutex<Option<Vec<Arc<Line>>>>,
}

/// Where the function's client is in its protocol.
#[derive(Debug)]
enum State {
    /// It has not asked for an invocation yet; who waits for it to.
    Starting(Option<oneshot::Sender<Init>>),
    /// It may ask for the next one, or has done.
    Ready,
    /// An invocation waits for it to ask.
    Waiting(Box<Job>),
    /// It works on one.
    Busy {
        /// Its id.
        id: String,
        /// Takes the answer.
        reply: oneshot::Sender<Reply>,
        /// Where the answer goes while it comes, if somebody reads it so and none has come yet.
        sink: Option<Sink>,
        /// What has come of the answer.
        answer: Answer,
    },
    /// It has answered this one and may ask for the next.
    Answered(String),
    /// Its process is gone.
    Closed,
    /// It goes on with another process of the platform.
    Left,
}

/// What has come of the answer that the client works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Nothing,
    /// Part of it was passed on, and more comes.
    Part,
    /// Part of it, and no more comes.
    BrokenOff,
}

/// How initialisation ended: the type of the error besides the error itself.
#[derive(Debug)]
pub(crate) struct Init {
    /// Loaded or failed.
    pub(crate) loaded: Loaded,
    /// The error's type, where the client named one.
    pub(crate) error_type: Option<String>,
}

/// An invocation on its way to the client.
#[derive(Debug)]
struct Job {
    head: HeaderMap,
    id: String,
    payload: Bytes,
    reply: oneshot::Sender<Reply>,
    sink: Option<Sink>,
}

/// A refusal in the Runtime API's own form.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    status: StatusCode,
    error_type: &'static str,
}

const INVALID_ID: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    error_type: "InvalidRequestID",
};
const INVALID_TRANSITION: Refusal = Refusal {
    status: StatusCode::FORBIDDEN,
    error_type: "InvalidStateTransition",
};
const TOO_LARGE: Refusal = Refusal {
    status: StatusCode::PAYLOAD_TOO_LARGE,
    error_type: "RequestEntityTooLarge",
};

impl RuntimeApi {
    /// A Runtime API whose client has not started yet, and what tells how it started.
    pub(crate) fn new(peers: Option<Peers>) -> (Arc<Self>, oneshot::Receiver<Init>) {
        let (started, starts) = oneshot::channel();
        let api = Self::in_state(peers, State::Starting(Some(started)));
        (Arc::new(api), starts)
    }

    /// One for a function that takes its invocations by another way; extensions come here only.
    pub(crate) fn without_client(peers: Option<Peers>) -> Arc<Self> {
        Arc::new(Self::in_state(peers, State::Closed))
    }

    fn in_state(peers: Option<Peers>, state: State) -> Self {
        Self {
            peers,
            state: Mutex::new(state),
            arrived: Notify::new(),
            extensions: OnceLock::new(),
            keeping: tokio::sync::Mutex::default(),
            lines: Mutex::default(),
        }
    }

    /// One whose client waits for an invocation, on a connection of an earlier process.
    pub(crate) fn going() -> Arc<Self> {
        let api = Self::in_state(None, State::Ready);
        api.remember_lines();
        Arc::new(api)
    }

    /// Answers extensions, too. To be called once, before it serves.
    pub(crate) fn extend(&self, extensions: Arc<Extensions>) {
        let _ = self.extensions.set(extensions);
    }

    /// Hands an invocation over and waits for its end.
    pub(crate) async fn exchange(&self, call: &Call, arn: &str) -> Result<Reply, Lost> {
        let (reply, replied) = oneshot::channel();
        let job = Job {
            head: head(call, arn),
            id: call.id.as_str().to_owned(),
            payload: call.payload.clone(),
            reply,
            sink: call.sink.clone(),
        };
        {
            let mut state = self.state.lock();
            if matches!(*state, State::Closed | State::Left) {
                return Err(Lost::Closed);
            }
            *state = State::Waiting(Box::new(job));
        }
        self.arrived.notify_one();
        replied.await.map_err(|_| Lost::Closed)
    }

    /// Its process is gone: whoever waits for an answer learns that none will come.
    pub(crate) fn close(&self) {
        *self.state.lock() = State::Closed;
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        line: Option<&Line>,
    ) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let Some(path) = parts.uri.path().strip_prefix("/2018-06-01/") else {
            let answered = match self.extensions.get() {
                Some(extensions) => extensions.answer(&parts, body).await,
                None => None,
            };
            return answered.unwrap_or_else(not_found);
        };
        match (&parts.method, path) {
            (&Method::GET, "runtime/invocation/next") => self.next(line).await,
            (&Method::GET, "ping") => text(StatusCode::OK, "pong"),
            (&Method::POST, "runtime/init/error") => self.init_error(&parts.headers, body).await,
            (&Method::POST, path) => {
                let ends = path
                    .strip_prefix("runtime/invocation/")
                    .and_then(|rest| rest.split_once('/'));
                match ends {
                    Some((id, "response")) => self.response(id, &parts.headers, body).await,
                    Some((id, "error")) => self.error(id, body).await,
                    _ => not_found(),
                }
            }
            _ => not_found(),
        }
    }

    async fn next(&self, line: Option<&Line>) -> Response<Full<Bytes>> {
        loop {
            let arrived = self.arrived.notified();
            let waits = {
                let mut state = self.state.lock();
                match std::mem::replace(&mut *state, State::Ready) {
                    State::Waiting(job) => {
                        let Job {
                            head,
                            id,
                            payload,
                            reply,
                            sink,
                        } = *job;
                        *state = State::Busy {
                            id,
                            reply,
                            sink,
                            answer: Answer::Nothing,
                        };
                        let mut response = Response::new(Full::new(payload));
                        *response.headers_mut() = head;
                        return response;
                    }
                    State::Starting(started) => {
                        if let Some(started) = started {
                            let init = Init {
                                loaded: Loaded::Ready,
                                error_type: None,
                            };
                            // Nobody waits any more where initialisation ran out of time.
                            let _ = started.send(init);
                        }
                    }
                    State::Busy {
                        reply,
                        answer: Answer::BrokenOff,
                        ..
                    } => {
                        // Only now it is known that the process has not ended with its answer.
                        let payload = words::truncated();
                        let last = false;
                        let _ = reply.send(Reply::Failed { payload, last });
                    }
                    busy @ State::Busy { .. } => {
                        *state = busy;
                        return refuse(INVALID_TRANSITION, &not_allowed("Ready", "Ready"));
                    }
                    State::Closed => {
                        *state = State::Closed;
                        return not_found();
                    }
                    left @ State::Left => *state = left,
                    State::Ready | State::Answered(_) => {}
                }
                Waits::begin(line)
            };
            arrived.await;
            drop(waits);
        }
    }

    async fn response(
        &self,
        id: &str,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Response<Full<Bytes>> {
        if let Some(refusal) = self.refusal(id, "InvocationResponse") {
            return refused_unread(body, refusal).await;
        }
        if let Some(sink) = self.begin_stream(id, headers) {
            return self.stream(id, headers, body, sink).await;
        }
        let _one_at_a_time = self.keeping.lock().await;
        match collect(body, RESPONSE_BYTES_MAX).await {
            Ok(Collected {
                bytes: Some(bytes),
                trailers,
            }) => {
                let failed = trailers.and_then(|trailers| streamed_error(&trailers));
                let reply = match failed {
                    Some(payload) => Reply::Failed {
                        payload,
                        last: false,
                    },
                    None => Reply::Answer(bytes),
                };
                self.finish(id, reply, "InvocationResponse")
            }
            Ok(Collected { bytes: None, .. }) => {
                self.finish(id, Reply::TooLarge, "InvocationResponse");
                refuse(
                    TOO_LARGE,
                    &format!("Exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."),
                )
            }
            Err(_) => not_found(),
        }
    }

    async fn error(&self, id: &str, body: Incoming) -> Response<Full<Bytes>> {
        if let Some(refusal) = self.refusal(id, "InvocationErrorResponse") {
            return refused_unread(body, refusal).await;
        }
        let _one_at_a_time = self.keeping.lock().await;
        match collect(body, ERROR_BYTES_MAX).await {
            Ok(Collected { bytes, .. }) => {
                let payload = bytes.unwrap_or_default();
                self.finish(
                    id,
                    Reply::Failed {
                        payload,
                        last: false,
                    },
                    "InvocationErrorResponse",
                )
            }
            Err(_) => not_found(),
        }
    }

    async fn init_error(&self, headers: &HeaderMap, body: Incoming) -> Response<Full<Bytes>> {
        let error_type = headers.get("lambda-runtime-function-error-type");
        let error_type = error_type
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let _one_at_a_time = self.keeping.lock().await;
        let Ok(Collected { bytes, .. }) = collect(body, ERROR_BYTES_MAX).await else {
            return not_found();
        };
        let State::Starting(started) = &mut *self.state.lock() else {
            return refuse(INVALID_TRANSITION, &not_allowed("Ready", "InitError"));
        };
        if let Some(started) = started.take() {
            let loaded = Loaded::Failed(bytes.unwrap_or_default());
            let _ = started.send(Init { loaded, error_type });
        }
        accepted()
    }

    /// Why this invocation may not be answered now, if it may not.
    fn refusal(&self, id: &str, to: &str) -> Option<Response<Full<Bytes>>> {
        refusal_in(&self.state.lock(), id, to)
    }

    /// Ends the invocation, if it is this one that may be answered now.
    fn finish(&self, id: &str, reply: Reply, to: &str) -> Response<Full<Bytes>> {
        let mut state = self.state.lock();
        if let Some(refusal) = refusal_in(&state, id, to) {
            return refusal;
        }
        let answered = State::Answered(id.to_owned());
        if let State::Busy { reply: waiter, .. } = std::mem::replace(&mut *state, answered) {
            // Nobody waits any more where the invocation was given up.
            let _ = waiter.send(reply);
        }
        accepted()
    }
}

fn refusal_in(state: &State, id: &str, to: &str) -> Option<Response<Full<Bytes>>> {
    match state {
        State::Busy {
            id: current,
            answer: Answer::Nothing,
            ..
        } if current == id => None,
        State::Busy { id: current, .. } if current == id => {
            Some(refuse(INVALID_TRANSITION, &not_allowed(to, to)))
        }
        State::Answered(answered) if answered == id => {
            Some(refuse(INVALID_TRANSITION, &not_allowed(to, to)))
        }
        _ => Some(refuse(INVALID_ID, "Invalid request ID")),
    }
}

/// The words for a call out of turn.
fn not_allowed(from: &str, to: &str) -> String {
    format!(
        "State transition from {from} to {to} failed for runtime. \
         Error: State transition is not allowed"
    )
}

const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
const DEADLINE: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const FUNCTION_ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
const TRACE_ID: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");

/// The headers of an invocation.
fn head(call: &Call, arn: &str) -> HeaderMap {
    // What nearly every invocation has; one with a client's context asks for more.
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let deadline = call.deadline_ms.to_string();
    let fields = [
        (REQUEST_ID, Some(call.id.as_str())),
        // New clients send it back with the answer. An instance has one attempt at a time, so
        // that the request tells as much.
        (INVOCATION_ID, Some(call.id.as_str())),
        (DEADLINE, Some(deadline.as_str())),
        (FUNCTION_ARN, Some(arn)),
        (TRACE_ID, call.trace.as_deref()),
        (CLIENT_CONTEXT, call.client_context.as_deref()),
    ];
    for (name, value) in fields {
        // A value that no header may hold is left out: the function sees none.
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok())
        {
            headers.insert(name, value);
        }
    }
    headers
}

/// Refuses a request whose body nobody wants. It is read to its end all the same: an unread body
/// would cost the client its connection.
async fn refused_unread(body: Incoming, refusal: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    // A failure is the client's, which sees it before this answer.
    let _ = collect(body, 0).await;
    refusal
}

/// A body as far as it was wanted, read to its end in any case.
struct Collected {
    /// None where it was larger than allowed.
    bytes: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

async fn collect(mut body: Incoming, bytes_max: usize) -> Result<Collected, hyper::Error> {
    let said = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    // Nothing is kept of what says that it is too large.
    let bytes_max = if said > bytes_max { 0 } else { bytes_max };
    let mut first = Bytes::new();
    let mut joined: Vec<u8> = Vec::new();
    let mut size = 0_usize;
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                size = size.saturating_add(data.len());
                if size > bytes_max {
                    joined = Vec::new();
                } else if first.is_empty() {
                    first = data;
                } else {
                    if joined.is_empty() {
                        joined.extend_from_slice(&first);
                    }
                    joined.extend_from_slice(&data);
                }
            }
            Err(other) => trailers = other.into_trailers().ok(),
        }
    }
    let whole = if joined.is_empty() {
        first
    } else {
        joined.into()
    };
    Ok(Collected {
        bytes: (size <= bytes_max).then_some(whole),
        trailers,
    })
}

/// The error that ended a streamed answer half-way.
fn streamed_error(trailers: &HeaderMap) -> Option<Bytes> {
    let error_type = trailers.get("lambda-runtime-function-error-type")?;
    let body = trailers.get("lambda-runtime-function-error-body");
    let decoded = body.and_then(|body| base64::prelude::BASE64_STANDARD.decode(body).ok());
    Some(decoded.map_or_else(
        || {
            let error_type = String::from_utf8_lossy(error_type.as_bytes()).into_owned();
            let error_type = serde_json::Value::from(error_type);
            format!(r#"{{"errorType":{error_type},"errorMessage":""}}"#).into()
        },
        Bytes::from,
    ))
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn accepted() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"status\":\"OK\"}\n")));
    *response.status_mut() = StatusCode::ACCEPTED;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn refuse(refusal: Refusal, message: &str) -> Response<Full<Bytes>> {
    let message = serde_json::Value::from(message);
    let error_type = refusal.error_type;
    json(
        refusal.status,
        format!("{{\"errorMessage\":{message},\"errorType\":\"{error_type}\"}}\n"),
    )
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response
}

fn not_found() -> Response<Full<Bytes>> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

#[cfg(test)]
mod tests;
