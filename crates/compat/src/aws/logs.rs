//! CloudWatch Logs: finds the operation, and says in the service's own form what is not served.

#[rustfmt::skip]
mod shapes;

use http::request::Parts;
use http::{HeaderValue, Response};
use serde_json::json;

use super::shape::{Kind, Operation, Request, Source, Unread, read};
use super::unserved::{ERROR_TYPE, answer};
use super::{Aws, Caller};
use crate::Body;
use crate::body::{Uncollected, collect};
use shapes::kind;
use shapes::operation::{Name, OPERATIONS};

/// Largest body, in bytes: a batch of log events, of a mebibyte by the service's count, as JSON may
/// escape it (ours).
const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;

const SERIALIZATION: Kind = Kind::new("SerializationException", 400, "Message", false);
const UNKNOWN_OPERATION: Kind = Kind::new("UnknownOperationException", 400, "message", false);
const UNSERVED: Kind = Kind::new("UnknownOperationException", 501, "message", false);

/// A refusal as it goes out.
#[derive(Debug)]
struct Refusal {
    kind: Kind,
    message: String,
}

impl Refusal {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// The refusal as a response.
    fn response(self) -> Response<Body> {
        let Kind { name, key, .. } = self.kind;
        let body = json!({ "__type": name, key: self.message });
        let mut response = answer(self.kind.status(), JSON, body.to_string());
        let name = HeaderValue::from_static(name);
        response.headers_mut().insert(ERROR_TYPE, name);
        response
    }
}

const JSON: &str = "application/x-amz-json-1.1";

impl Aws {
    /// Answers a request for CloudWatch Logs.
    pub(super) async fn logs(&self, _: &Caller, request: &Parts, _: Body) -> Response<Body> {
        let refusal = match find(request) {
            Ok(operation) => {
                let name = operation.name;
                let message = format!("the operation {name} of Logs is not served here yet");
                Refusal::new(UNSERVED, message)
            }
            Err(refusal) => refusal,
        };
        refusal.response()
    }
}

/// The operation that the request's target names.
fn find(request: &Parts) -> Result<&'static Operation<Name>, Refusal> {
    let target = request.headers.get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok());
    let asked = target.unwrap_or_default();
    let name = asked.strip_prefix("Logs_20140328.");
    let found = OPERATIONS.iter().find(|known| Some(known.name) == name);
    found.ok_or_else(|| {
        let asked: String = asked.chars().take(200).collect();
        let message = format!("no operation of Logs is called '{asked}'");
        Refusal::new(UNKNOWN_OPERATION, message)
    })
}

/// What an operation takes.
#[allow(dead_code, reason = "operations are to come")]
async fn read_body<T: Request>(body: Body) -> Result<T, Refusal> {
    let body = collect(body, BODY_BYTES_MAX)
        .await
        .map_err(|error| match error {
            Uncollected::NoRoom => Refusal::new(kind::THROTTLING, "Rate exceeded"),
            Uncollected::TooLarge { .. } | Uncollected::Broken(_) => {
                Refusal::new(SERIALIZATION, error.to_string())
            }
        })?;
    read(Source::Json(body)).map_err(|error| match error {
        Unread::Misfit(misfit) => Refusal::new(SERIALIZATION, misfit.to_string()),
        Unread::Broken(message) => Refusal::new(kind::INVALID_PARAMETER, message),
    })
}

#[cfg(test)]
mod tests {
    use super::shapes::*;
    use super::*;

    #[track_caller]
    fn check<T: Request>(body: &str, expected: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let read = runtime.block_on(read_body::<T>(crate::full(body.to_owned())));
        let told = match read {
            Ok(_) => "fine".to_owned(),
            Err(refusal) => format!("{}: {}", refusal.kind.name, refusal.message),
        };
        assert_eq!(told, expected, "{body}");
    }

    #[test]
    fn requests_have_rules() {
        check::<CreateLogGroupRequest>(r#"{"logGroupName": "/aws/lambda/hello"}"#, "fine");
        check::<CreateLogGroupRequest>(
            r#"{"logGroupName": "a b"}"#,
            "InvalidParameterException: 1 validation error detected: Value 'a b' at \
             'logGroupName' failed to satisfy constraint: Member must satisfy regular expression \
             pattern: [\\.\\-_/#A-Za-z0-9]+",
        );
        check::<PutLogEventsRequest>(
            r#"{"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": 1}]}"#,
            "InvalidParameterException: 1 validation error detected: Value null at \
             'logEvents.1.member.message' failed to satisfy constraint: Member must not be null",
        );
        check::<GetLogEventsRequest>(
            r#"{"logStreamName": "s", "startTime": "now"}"#,
            "SerializationException: STRING_VALUE can not be converted to a Long",
        );
    }
}
