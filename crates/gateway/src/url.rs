//! Function URLs: a request becomes a payload 2.0 event, the answer becomes the response.

mod cors;
mod event;
mod reply;
mod stream;
mod text;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use engine::verb::{FunctionView, Invoke, UrlView};
use engine::{Engine, Error, ThrottleReason};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use model::{End, Execution, Fault, InvocationId, InvokeMode, Principal, Region, Timings};
use model::{UrlAuth, limit};
use store::Clock;

use crate::listen::Peer;
use crate::{Body, BodyError};
use text::push_number;

/// The door of all function URLs.
#[derive(Debug, Clone)]
pub struct FunctionUrls {
    engine: Engine,
    clock: Arc<dyn Clock>,
}

/// The URL id in the host name `ID.lambda-url.REGION.ANY`, where it is one.
pub fn id_of_host(host: &str) -> Option<&str> {
    parts_of_host(host).map(|(id, _)| id)
}

/// The URL id and the region in such a name.
fn parts_of_host(host: &str) -> Option<(&str, &str)> {
    let (id, rest) = host.split_once('.')?;
    let after = rest.strip_prefix("lambda-url.")?;
    let valid = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let region = after.split('.').next().unwrap_or_default();
    (valid && !after.is_empty()).then_some((id, region))
}

/// Whether a request's host says that a URL is in another region than it is.
fn is_elsewhere(view: &UrlView, host: &str) -> bool {
    let named = parts_of_host(host).filter(|(id, _)| *id == view.url.url_id.as_str());
    named.is_some_and(|(_, region)| region != view.function.id.region.as_str())
}

/// Who signed a request, put into its extensions by whoever has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// The region that the signature is for.
    pub region: String,
    /// What the function is told of the sender.
    pub sender: Sender,
}

/// Who signed a request, as its function is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The access key.
    pub access_key: String,
    /// The account.
    pub account: String,
    /// The id of a user, a role's session or an account.
    pub id: String,
    /// The same as an ARN.
    pub arn: String,
}

impl FunctionUrls {
    /// The door over an engine.
    pub fn new(engine: Engine, clock: Arc<dyn Clock>) -> Self {
        Self { engine, clock }
    }

    /// Whether a request at the URL that has this id needs a sender: none that a browser makes by
    /// itself, to see whether it may.
    pub fn is_for_signed(&self, url_id: &str, request: &Parts) -> bool {
        let found = self.engine.find_url(url_id);
        let Some(view) = found.filter(|view| view.url.auth == UrlAuth::Signed) else {
            return false;
        };
        let ruled =
            view.url.cors.is_some() && cors::is_preflight(&request.method, &request.headers);
        let host = crate::guard::host_of(request).unwrap_or_default();
        !ruled && !is_elsewhere(&view, &host)
    }

    /// What a sender is told who may not use a URL.
    pub fn forbidden() -> Response<Body> {
        Refused::Denied.response()
    }

    /// Answers a request for the function whose URL has this id.
    pub async fn handle(&self, url_id: &str, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        self.answer(url_id, parts, body).await
    }

    async fn answer(&self, url_id: &str, request: Parts, body: Body) -> Response<Body> {
        let host = crate::guard::host_of(&request).unwrap_or_default();
        let found = self.engine.find_url(url_id);
        let Some(view) = found.filter(|view| !is_elsewhere(view, &host)) else {
            return unknown();
        };
        let rules = view.url.cors.as_ref();
        if let Some(rules) = rules
            && cors::is_preflight(&request.method, &request.headers)
        {
            let mut response = Response::new(crate::full(Bytes::new()));
            *response.headers_mut() = cors::preflight(rules, &request.headers);
            return response;
        }
        let ids = Ids::new(self.clock.as_ref(), request.headers.get(event::TRACE_ID));
        let mut response = match self.run(&view, &request, host, body, &ids).await {
            Ok(response) => response,
            Err(refused) => refused.response(),
        };
        let headers = response.headers_mut();
        if let Some(rules) = rules {
            cors::mark(rules, &request.headers, headers);
        }
        set(headers, REQUEST_ID, ids.invocation.as_str());
        set(headers, event::TRACE_ID, &ids.trace);
        response
    }

    async fn run(
        &self,
        view: &UrlView,
        request: &Parts,
        host: String,
        body: Body,
        ids: &Ids,
    ) -> Result<Response<Body>, Refused> {
        let (function, url_id) = (&view.function, view.url.url_id.as_str());
        let sender = match view.url.auth {
            UrlAuth::Nobody => None,
            UrlAuth::Signed => request.extensions.get::<Caller>(),
        };
        let principal = match view.url.auth {
            UrlAuth::Nobody => Principal::Public,
            UrlAuth::Signed => match sender {
                Some(caller) if caller.region != function.id.region.as_str() => {
                    return Err(Refused::Elsewhere(function.id.region.clone()));
                }
                Some(caller) => caller.principal.clone(),
                None => return Err(Refused::Denied),
            },
        };
        let body = collect(body).await?;
        let domain = match id_of_host(&host) {
            Some(_) => host,
            None => format!("{url_id}.lambda-url.{}.on.aws", function.id.region),
        };
        let peer = request.extensions.get::<Peer>();
        let around = event::Surroundings {
            url_id,
            domain: &domain,
            request_id: ids.invocation.as_str(),
            trace_root: ids.trace_root(),
            source: peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.remote.ip()),
            port: peer.map_or(80, |peer| peer.local.port()),
            secure: peer.is_some_and(|peer| peer.secure),
            now_ms: self.clock.now_ms(),
            sender: sender.map(|caller| &caller.sender),
            owner: function.id.account.as_str(),
        };
        let payload = event::write(request, &body, &around).map_err(|_| Refused::Fault)?;
        // The event says it all; the function may run for long.
        drop(body);
        if payload.len() > limit::REQUEST_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let refused = |error: Error| match error {
            Error::Denied { .. } if view.url.auth == UrlAuth::Nobody => Refused::Closed,
            other => Refused::of(&other),
        };
        let call = Invoke {
            url: Some(view.url.auth),
            principal,
            target: view.target.clone(),
            id: Some(ids.invocation.clone()),
            payload: payload.into(),
            trace: Some(ids.trace.clone()),
            client_context: None,
            tail: false,
        };
        if view.url.invoke_mode == InvokeMode::ResponseStream {
            let streamed = self.engine.stream(call);
            return stream::answer(function, streamed.map_err(refused)?).await;
        }
        let execution = self.engine.invoke(call).await.map_err(refused)?;
        Ok(respond(function, &execution))
    }
}

/// Collects a body that may become an event. Of one that says that it is too large nothing is read.
async fn collect(mut body: Body) -> Result<Bytes, Refused> {
    if body.size_hint().lower() > limit::REQUEST_BYTES_MAX as u64 {
        return Err(Refused::TooLarge);
    }
    let mut whole = BytesMut::new();
    let mut only = Bytes::new();
    let mut size = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| Refused::of_body(&error))?.into_data() else {
            continue;
        };
        size += data.len();
        if size > limit::REQUEST_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        if size == data.len() {
            // Most bodies come in one piece, which need not be copied.
            only = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut only));
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() {
        only
    } else {
        whole.freeze()
    })
}

fn respond(function: &FunctionView, execution: &Execution) -> Response<Body> {
    let mut response = if execution.outcome.end == End::Replied {
        match reply::read(&execution.outcome.payload) {
            Ok(reply) => {
                let mut response = Response::new(crate::full(reply.body));
                *response.status_mut() = reply.status;
                *response.headers_mut() = reply.headers;
                response
            }
            Err(error) => malformed(function, &error),
        }
    } else {
        let mut response = internal_error();
        set(
            response.headers_mut(),
            DAYFLY_ERROR,
            execution.outcome.end.as_str(),
        );
        response
    };
    let timing = server_timing(&execution.timings, execution.start.as_str());
    if let Ok(value) = HeaderValue::try_from(timing) {
        response.headers_mut().append(SERVER_TIMING, value);
    }
    response
}

/// What becomes of an answer that is no response.
fn malformed(function: &FunctionView, error: &reply::Malformed) -> Response<Body> {
    tracing::warn!(function = %function.id.name, "answered malformed: {error}");
    let mut response = internal_error();
    set(response.headers_mut(), DAYFLY_ERROR, &error.to_string());
    response
}

/// `queue;dur=0.012, start;dur=0.000;desc="warm", ...`: durations in milliseconds.
fn server_timing(timings: &Timings, start: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(96);
    for (name, part) in [
        ("queue;dur=", timings.queue),
        (", start;dur=", timings.start),
        (", init;dur=", timings.init),
        (", handler;dur=", timings.handler),
    ] {
        text.extend_from_slice(name.as_bytes());
        let micros = u64::try_from(part.as_micros()).unwrap_or(u64::MAX);
        push_number(&mut text, micros / 1000, 1);
        text.push(b'.');
        push_number(&mut text, micros % 1000, 3);
        if name == ", start;dur=" {
            text.extend_from_slice(b";desc=\"");
            text.extend_from_slice(start.as_bytes());
            text.push(b'"');
        }
    }
    text
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Says in words what a bare 502 does not.
const DAYFLY_ERROR: HeaderName = HeaderName::from_static("x-dayfly-error");

/// Ids that are chosen as a request arrives.
#[derive(Debug)]
struct Ids {
    invocation: InvocationId,
    /// `Root=...;Parent=...;Sampled=...`.
    trace: String,
}

impl Ids {
    fn new(clock: &dyn Clock, sent: Option<&HeaderValue>) -> Self {
        let mut random = [0; 36];
        clock.random(&mut random);
        let (mut id, mut trace) = ([0; 16], [0; 20]);
        id.copy_from_slice(&random[..16]);
        trace.copy_from_slice(&random[16..]);
        let sent = sent.and_then(|value| value.to_str().ok());
        Self {
            invocation: InvocationId::from_random(id),
            trace: model::trace::carry(sent, clock.now_ms(), || trace),
        }
    }

    fn trace_root(&self) -> &str {
        model::trace::root(&self.trace)
    }
}

/// Why a request got no answer from its function.
#[derive(Debug)]
enum Refused {
    TooLarge,
    Broken,
    NoRoom,
    Throttled {
        reason: &'static str,
    },
    Stopping,
    Missing,
    Denied,
    /// What is signed for another region than the URL's.
    Elsewhere(Region),
    /// What the policy of a URL that asks for no signature does not let in.
    Closed,
    Function(String),
    Fault,
}

impl Refused {
    fn of(error: &Error) -> Self {
        match error {
            Error::PayloadTooLarge { .. } => Self::TooLarge,
            Error::Throttled { reason } => Self::Throttled {
                reason: reason_code(*reason),
            },
            Error::Stopping => Self::Stopping,
            Error::Denied { .. } => Self::Denied,
            _ => match error.fault() {
                Fault::Busy => Self::Throttled {
                    reason: "ConcurrentInvocationLimitExceeded",
                },
                Fault::Caller => Self::Missing,
                Fault::Function => Self::Function(error.to_string()),
                Fault::Ours if error.is_told() => Self::Fault,
                Fault::Ours => {
                    tracing::error!(%error, "a function URL's request failed");
                    Self::Fault
                }
            },
        }
    }

    /// What becomes of a request whose body ended early. The listener says by a busy resource
    /// that others take all the room.
    fn of_body(error: &BodyError) -> Self {
        match error.downcast_ref::<std::io::Error>() {
            Some(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Self::NoRoom,
            _ => Self::Broken,
        }
    }

    fn response(&self) -> Response<Body> {
        match self {
            Self::TooLarge => {
                let text = format!(
                    "{{\"Message\":\"the request is larger than {} bytes\"}}",
                    limit::REQUEST_BYTES_MAX
                );
                error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "RequestTooLargeException",
                    text,
                )
            }
            Self::Broken => {
                let text = r#"{"Message":"the request's body ended early or came too slowly"}"#;
                error(
                    StatusCode::BAD_REQUEST,
                    "InvalidRequestContentException",
                    text,
                )
            }
            Self::Throttled { reason } => {
                let text =
                    format!(r#"{{"Reason":"{reason}","Type":"User","message":"Rate Exceeded."}}"#);
                let mut response = error(
                    StatusCode::TOO_MANY_REQUESTS,
                    "TooManyRequestsException",
                    text,
                );
                set(response.headers_mut(), header::RETRY_AFTER, "1");
                response
            }
            Self::NoRoom => unavailable("too many request bodies are on their way; try again"),
            Self::Stopping => unavailable("the platform is stopping; try again"),
            Self::Missing => unknown(),
            Self::Denied => {
                let text = r#"{"Message":"Forbidden"}"#;
                error(StatusCode::FORBIDDEN, "AccessDeniedException", text)
            }
            Self::Elsewhere(region) => {
                let mut response = Self::Denied.response();
                let message = format!("the signature must be for the URL's region, {region}");
                set(response.headers_mut(), DAYFLY_ERROR, &message);
                response
            }
            Self::Closed => {
                let mut response = Self::Denied.response();
                set(response.headers_mut(), DAYFLY_ERROR, CLOSED);
                response
            }
            Self::Function(message) => {
                let mut response = internal_error();
                set(response.headers_mut(), DAYFLY_ERROR, message);
                response
            }
            Self::Fault => internal_error(),
        }
    }
}

const CLOSED: &str = "no policy lets everybody in here: add one with aws lambda add-permission \
    --action lambda:InvokeFunctionUrl --principal '*' --function-url-auth-type NONE";

/// The vendor's word for a limit.
fn reason_code(reason: ThrottleReason) -> &'static str {
    match reason {
        ThrottleReason::ReservedConcurrency => "ReservedFunctionConcurrentInvocationLimitExceeded",
        ThrottleReason::AccountConcurrency | ThrottleReason::NodeMemory => {
            "ConcurrentInvocationLimitExceeded"
        }
        ThrottleReason::FailingStarts | ThrottleReason::WaitingEvents => {
            "FunctionInvocationRateLimitExceeded"
        }
    }
}

fn unavailable(message: &str) -> Response<Body> {
    let mut response = error(
        StatusCode::SERVICE_UNAVAILABLE,
        "ServiceUnavailableException",
        format!("{{\"Message\":\"{message}\"}}"),
    );
    set(response.headers_mut(), header::RETRY_AFTER, "1");
    response
}

fn unknown() -> Response<Body> {
    let text = r#"{"Message":"no function answers at this URL"}"#;
    error(StatusCode::NOT_FOUND, "ResourceNotFoundException", text)
}

/// What the vendor's front end answers whenever a function fails.
fn internal_error() -> Response<Body> {
    let mut response = Response::new(crate::full("Internal Server Error"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    set(
        response.headers_mut(),
        header::CONTENT_TYPE,
        "application/json",
    );
    response
}

fn error(status: StatusCode, kind: &str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(crate::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, "application/json");
    set(headers, ERROR_TYPE, kind);
    response
}

/// Sets a header whose value is text of ours; what no header may hold is left out.
fn set(headers: &mut http::HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
