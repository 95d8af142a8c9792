//! The Extensions API on the wire: requests and answers as JSON over HTTP.

use ::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request};
use bytes::Bytes;
use engine::port::Call;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Extensions, Fatal, Reason, Refusal};
use crate::contract::lambda::telemetry::{NoSubscription, Schema, Subscription};

/// Largest body of a request, in bytes (ours: a list of events, or an error with its stack).
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Longest name of an extension, in bytes (that of a file).
const NAME_BYTES_MAX: usize = 255;

const PREFIX: &str = "/2020-01-01/extension/";
const NAME: &str = "lambda-extension-name";
const IDENTIFIER: &str = "lambda-extension-identifier";
const FEATURES: &str = "lambda-extension-accept-feature";
const ERROR_TYPE: &str = "lambda-extension-function-error-type";
const EVENT: &str = "lambda-extension-event-identifier";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    configuration_keys: Vec<String>,
}

/// What an extension is told of an invocation.
pub(super) fn invoke_event(call: &Call, arn: &str) -> String {
    let mut event = json!({
        "eventType": "INVOKE",
        "deadlineMs": call.deadline_ms,
        "requestId": call.id.as_str(),
        "invokedFunctionArn": arn,
    });
    if let Some(trace) = &call.trace {
        event["tracing"] = json!({ "type": "X-Amzn-Trace-Id", "value": trace });
    }
    event.to_string()
}

/// What an extension is told of the end.
pub(super) fn shutdown_event(reason: Reason, deadline_ms: u64) -> String {
    json!({
        "eventType": "SHUTDOWN",
        "deadlineMs": deadline_ms,
        "shutdownReason": reason.word(),
    })
    .to_string()
}

/// Reads who a request says that it is from.
pub(super) fn identifier(headers: &HeaderMap) -> Result<&str, Refusal> {
    let shown = headers.get(IDENTIFIER).map(HeaderValue::as_bytes);
    let refusal = match shown {
        None | Some([]) => Refusal::new(
            "Extension.MissingExtensionIdentifier",
            "Missing Lambda-Extension-Identifier header",
        ),
        Some(id) if is_uuid(id) => {
            return Ok(std::str::from_utf8(id).unwrap_or_default());
        }
        Some(_) => Refusal::new(
            "Extension.InvalidExtensionIdentifier",
            "Invalid Lambda-Extension-Identifier",
        ),
    };
    Err(refusal)
}

fn is_uuid(text: &[u8]) -> bool {
    let dash = |index| matches!(index, 8 | 13 | 18 | 23);
    let fits = |(index, byte): (usize, &u8)| match byte {
        b'-' => dash(index),
        byte => !dash(index) && byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.iter().enumerate().all(fits)
}

impl Extensions {
    /// Answers a request, if it is one of this API.
    pub(crate) async fn answer(
        &self,
        head: &request::Parts,
        body: Incoming,
    ) -> Option<Response<Full<Bytes>>> {
        let headers = &head.headers;
        if let Some(schema) = Schema::at(head.uri.path()).filter(|_| head.method == Method::PUT) {
            return Some(self.answer_subscribe(schema, headers, body).await);
        }
        let path = head.uri.path().strip_prefix(PREFIX)?;
        Some(match (&head.method, path) {
            (&Method::POST, "register") => self.answer_register(headers, body).await,
            (&Method::GET, "event/next") => self.answer_next(headers).await,
            (&Method::POST, "init/error") => self.answer_error(headers, body, Fatal::Init).await,
            (&Method::POST, "exit/error") => self.answer_error(headers, body, Fatal::Exit).await,
            _ => return None,
        })
    }

    async fn answer_register(&self, headers: &HeaderMap, body: Incoming) -> Response<Full<Bytes>> {
        let body = read(body).await;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let name = text(NAME).unwrap_or_default();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let message = if name.is_empty() {
                "Empty extension name"
            } else {
                "Invalid extension name"
            };
            return Refusal::new("Extension.InvalidExtensionName", message).answer();
        }
        let asked = body.and_then(|body| {
            serde_json::from_slice::<Registration>(&body).map_err(|error| error.to_string())
        });
        let asked = match asked {
            Ok(asked) if asked.configuration_keys.is_empty() => asked,
            Ok(_) => {
                let message = "configurationKeys are deprecated; use environment variables instead";
                return Refusal::new("InvalidRequestFormat", message).answer();
            }
            Err(message) => return Refusal::new("InvalidRequestFormat", message).answer(),
        };
        let id = match self.register(name, &asked.events) {
            Ok(id) => id,
            Err(refusal) => return refusal.answer(),
        };
        let about = &self.about;
        let mut known = json!({
            "functionName": about.function,
            "functionVersion": about.version,
            "handler": about.handler,
        });
        let features = text(FEATURES).unwrap_or_default();
        if features
            .split(',')
            .any(|feature| feature.trim() == "accountId")
        {
            known["accountId"] = about.account.as_str().into();
        }
        let mut response = answer(StatusCode::OK, &known.to_string());
        put(&mut response, IDENTIFIER, &id);
        response
    }

    async fn answer_next(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let id = match identifier(headers) {
            Ok(id) => id,
            Err(refusal) => return refusal.answer(),
        };
        match self.next(id).await {
            Ok(event) => {
                let mut response = answer(StatusCode::OK, &event);
                let event = model::id::uuid_text(self.clock.random_id());
                put(&mut response, EVENT, &event);
                response
            }
            Err(refusal) => refusal.answer(),
        }
    }

    async fn answer_subscribe(
        &self,
        schema: Schema,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Response<Full<Bytes>> {
        let body = read(body).await;
        let name = match identifier(headers).and_then(|id| self.name_of(id)) {
            Ok(name) => name,
            Err(refusal) => return refusal.answer(),
        };
        let api = schema.name();
        let asked = body.map_err(|error| error.to_string()).and_then(|body| {
            Subscription::read(schema, &body).map_err(|invalid| invalid.to_string())
        });
        let asked = match asked {
            Ok(asked) => asked,
            Err(message) => {
                let body = json!({ "errorMessage": message, "errorType": "ValidationError" });
                return answer(StatusCode::BAD_REQUEST, &body.to_string());
            }
        };
        match self.telemetry.subscribe(&name, schema, asked) {
            Ok(()) => answer(StatusCode::OK, "\"OK\""),
            Err(NoSubscription::Closed) => {
                let error_type = match schema {
                    Schema::Telemetry => "Telemetry.SubscriptionClosed",
                    Schema::Logs => "Logs.SubscriptionClosed",
                };
                let message = format!("{api} API subscription is closed already");
                Refusal::new(error_type, message).answer()
            }
            // As the vendor's own emulator answers, so that nobody fails for want of it.
            Err(NoSubscription::Unsupported) => {
                let body = json!({
                    "errorMessage": format!("{api} API is not supported"),
                    "errorType": format!("{api}.NotSupported"),
                });
                answer(StatusCode::ACCEPTED, &body.to_string())
            }
        }
    }

    async fn answer_error(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        fatal: Fatal,
    ) -> Response<Full<Bytes>> {
        // What it says beside the type is nobody's; it may be anything, and of any size.
        let _ = read(body).await;
        let id = match identifier(headers) {
            Ok(id) => id,
            Err(refusal) => return refusal.answer(),
        };
        let error_type = headers.get(ERROR_TYPE).map(HeaderValue::as_bytes);
        let Some(error_type) = error_type.filter(|value| !value.is_empty()) else {
            let message = "Lambda-Extension-Function-Error-Type not found";
            return Refusal::new("Extension.MissingHeader", message).answer();
        };
        let error_type: String = String::from_utf8_lossy(error_type)
            .chars()
            .take(200)
            .collect();
        match self.report(id, fatal, &error_type) {
            Ok(()) => answer(StatusCode::ACCEPTED, "{\"status\":\"OK\"}\n"),
            Err(refusal) => refusal.answer(),
        }
    }
}

impl Refusal {
    fn answer(&self) -> Response<Full<Bytes>> {
        let message = Value::from(self.message.as_str());
        let error_type = self.error_type;
        let body = format!("{{\"errorMessage\":{message},\"errorType\":\"{error_type}\"}}\n");
        answer(StatusCode::FORBIDDEN, &body)
    }
}

/// An answer with JSON in it.
fn answer(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn put(response: &mut Response<Full<Bytes>>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The body of a request, or what is wrong with it.
async fn read(body: Incoming) -> Result<Bytes, String> {
    let whole = Limited::new(body, BODY_BYTES_MAX).collect().await;
    whole
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| error.to_string())
}
