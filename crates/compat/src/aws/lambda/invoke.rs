//! Invoke: now, accepted for later, or only tried.

mod event_stream;
mod stream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::verb::Invoke;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use model::principal::may_use;
use model::{End, Execution, FunctionRef, limit};
use serde::de::IgnoredAny;

use super::error::{Refusal, kind};
use super::shapes::choice::{InvocationType, LogType};
use super::shapes::{InvocationRequest, InvocationResponse, InvokeAsyncRequest};
use super::{Ask, empty};
use crate::aws::Aws;
use crate::body::{Uncollected, collect};
use crate::{Body, full};

/// When the function is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    Later,
    Never,
}

impl When {
    fn of(asked: Option<InvocationType>) -> Self {
        match asked {
            Some(InvocationType::Event) => Self::Later,
            Some(InvocationType::DryRun) => Self::Never,
            None | Some(InvocationType::RequestResponse | InvocationType::Other(_)) => Self::Now,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Now => "RequestResponse",
            Self::Later => "Event",
            Self::Never => "DryRun",
        }
    }

    fn bytes_max(self) -> usize {
        match self {
            Self::Now | Self::Never => limit::REQUEST_BYTES_MAX,
            Self::Later => limit::EVENT_BYTES_MAX,
        }
    }
}

/// Length of a client context as it is sent, in bytes (AWS quota).
const CLIENT_CONTEXT_BYTES_MAX: usize = 3_583;

impl Aws {
    pub(super) async fn invoke(
        &self,
        ask: &Ask<'_>,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let request: InvocationRequest = ask.read()?;
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        let when = When::of(request.invocation_type);
        let tail = request.log_type == Some(LogType::Tail);
        let client_context = client_context(request.client_context.as_deref())?;
        let payload = payload(body, when).await?;
        let trace = self.trace(ask);
        let call = Invoke {
            principal: ask.principal(),
            url: None,
            target: target.clone(),
            id: Some(ask.caller.request_id.clone()),
            payload,
            trace: Some(trace.clone()),
            client_context,
            tail: tail && when == When::Now,
        };
        let mut response = match when {
            When::Never => self.try_only(ask, &target)?,
            When::Later => {
                let accepted = self.engine.submit(call).await;
                accepted.map_err(|error| Refusal::of(&error, &target))?;
                empty(StatusCode::ACCEPTED)
            }
            When::Now => {
                let ran = self.engine.invoke(call).await;
                ran.map_err(|error| Refusal::of(&error, &target))
                    .and_then(answer)?
            }
        };
        let headers = response.headers_mut();
        headers.insert(REMAPPED_LENGTH, HeaderValue::from_static("0"));
        if let Ok(trace) = HeaderValue::from_str(&trace) {
            headers.insert(TRACE_ID, trace);
        }
        Ok(response)
    }

    /// The older way to have an event accepted, which has no more to choose than the function.
    pub(super) async fn invoke_async(
        &self,
        ask: &Ask<'_>,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let request: InvokeAsyncRequest = ask.read()?;
        let target = ask.target(&request.function_name, None)?;
        let call = Invoke {
            principal: ask.principal(),
            url: None,
            target: target.clone(),
            id: Some(ask.caller.request_id.clone()),
            payload: payload(body, When::Later).await?,
            trace: Some(self.trace(ask)),
            client_context: None,
            tail: false,
        };
        let accepted = self.engine.submit(call).await;
        accepted.map_err(|error| Refusal::of(&error, &target))?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    fn try_only(&self, ask: &Ask<'_>, target: &FunctionRef) -> Result<Response<Body>, Refusal> {
        if !may_use(&ask.principal(), &target.function.account) {
            return Err(Refusal::denied(model::arn::reference(target)));
        }
        self.engine
            .find(target)
            .map_err(|error| Refusal::of(&error, target))?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// The trace that was sent along, else one that begins here.
    fn trace(&self, ask: &Ask<'_>) -> String {
        model::trace::carry(ask.header(TRACE_ID.as_str()), self.clock.now_ms(), || {
            let mut random = [0; 20];
            self.clock.random(&mut random);
            random
        })
    }
}

const REMAPPED_LENGTH: HeaderName = HeaderName::from_static("x-amzn-remapped-content-length");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

fn client_context(encoded: Option<&str>) -> Result<Option<String>, Refusal> {
    let Some(encoded) = encoded else {
        return Ok(None);
    };
    let invalid = || {
        let message = "Client context must be a valid Base64-encoded JSON object.";
        Refusal::new(kind::INVALID_REQUEST_CONTENT, message)
    };
    if encoded.len() > CLIENT_CONTEXT_BYTES_MAX {
        return Err(invalid());
    }
    let decoded = STANDARD.decode(encoded).map_err(|_| invalid())?;
    let text = String::from_utf8(decoded).map_err(|_| invalid())?;
    serde_json::from_str::<IgnoredAny>(&text).map_err(|_| invalid())?;
    Ok(Some(text))
}

/// The event, known to be JSON. It is read once and no tree is made of it.
async fn payload(body: Body, when: When) -> Result<Bytes, Refusal> {
    let payload = collect(body, when.bytes_max())
        .await
        .map_err(|error| match error {
            Uncollected::TooLarge { size } => {
                Refusal::too_large(size, when.name(), when.bytes_max())
            }
            Uncollected::NoRoom => Refusal::throttled("ConcurrentInvocationLimitExceeded"),
            Uncollected::Broken(_) => not_json(&error),
        })?;
    if payload.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    let text = std::str::from_utf8(&payload).map_err(|error| not_json(&error))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| not_json(&error))?;
    Ok(payload)
}

fn not_json(error: &dyn std::fmt::Display) -> Refusal {
    let message = format!("Could not parse request body into json: {error}");
    Refusal::new(kind::INVALID_REQUEST_CONTENT, message)
}

fn answer(execution: Execution) -> Result<Response<Body>, Refusal> {
    let end = execution.outcome.end;
    if end == End::Fault {
        return Err(Refusal::ours(&String::from_utf8_lossy(
            &execution.outcome.payload,
        )));
    }
    let mut response = Response::new(full(execution.outcome.payload));
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let head = InvocationResponse {
        function_error: (end != End::Replied).then(|| "Unhandled".to_owned()),
        log_result: execution.log_tail.map(|tail| STANDARD.encode(tail)),
        executed_version: Some(execution.version.to_string()),
        ..InvocationResponse::default()
    };
    head.set(headers);
    Ok(response)
}
