//! The one table from what went wrong to what a client of the control API is told.

use engine::Error;
use http::{HeaderValue, Method, Response, StatusCode, header};
use model::Fault;

use crate::Body;
use crate::wire::{ErrorBody, ErrorDetail};

/// A refusal as it goes out.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Seconds after which to try again.
    retry_after_s: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after_s: None,
        }
    }

    /// The request itself makes no sense.
    pub(crate) fn invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// The caller is not let in.
    pub(crate) fn denied(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self::new(status, code, message)
    }

    /// The event is larger than events may be.
    pub(crate) fn too_large(max: usize) -> Self {
        let message = format!("the event is larger than {max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// What was named is not there.
    pub(crate) fn missing(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// There is no room for it now.
    pub(crate) fn busy(message: &str) -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
        }
    }

    /// Nothing is served there.
    pub(crate) fn unknown_path(path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_path",
            format!("nothing is served at {path}"),
        )
    }

    /// Nothing is served there by that method.
    pub(crate) fn method(method: &Method) -> Self {
        let message = format!("{method} is not possible here");
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
        )
    }

    /// The platform failed; what failed is logged and not told.
    pub(crate) fn ours(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a control call failed");
        Self::failed()
    }

    fn failed() -> Self {
        let message = "the platform failed; its own log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The refusal as a response.
    pub(crate) fn response(self) -> Response<Body> {
        let error = ErrorDetail {
            code: self.code.to_owned(),
            message: self.message,
        };
        let body = serde_json::to_string(&ErrorBody { error }).unwrap_or_default();
        let mut response = crate::text("application/json", body);
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (status, code) = match &error {
            Error::NotFound { .. }
            | Error::NotThere { .. }
            | Error::VersionNotFound { .. }
            | Error::AliasNotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Error::Denied { .. } | Error::NotAllowed { .. } => (StatusCode::FORBIDDEN, "denied"),
            Error::PayloadTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Error::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
            Error::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            _ => match error.fault() {
                Fault::Caller => (StatusCode::BAD_REQUEST, "invalid"),
                Fault::Function => (StatusCode::UNPROCESSABLE_ENTITY, "cannot_run"),
                Fault::Busy => (StatusCode::TOO_MANY_REQUESTS, "throttled"),
                Fault::Ours if error.is_told() => return Self::failed(),
                Fault::Ours => return Self::ours(&error),
            },
        };
        let retry_after_s = error.retry_after().map(|after| after.as_secs().max(1));
        Self {
            retry_after_s,
            ..Self::new(status, code, error.to_string())
        }
    }
}
