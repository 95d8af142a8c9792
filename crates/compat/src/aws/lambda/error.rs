//! The one table of the service's errors: status, name, and how each writes its members.

use engine::{Error, ThrottleReason};
use http::{HeaderValue, Method, Response, StatusCode, header};
use model::{Fault, FunctionRef};
use serde_json::json;

use super::super::unserved::ERROR_TYPE;
use crate::{Body, full};

/// An error of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    AccessDenied,
    InvalidParameterValue,
    InvalidRequestContent,
    InvalidRuntime,
    RequestTooLarge,
    ResourceConflict,
    ResourceNotFound,
    Service,
    TooManyRequests,
    UnknownOperation,
    Unserved,
    Validation,
}

/// How an error is written.
struct Form {
    status: StatusCode,
    name: &'static str,
    /// `Message` or `message`: the service is not of one mind.
    key: &'static str,
    /// Whether it carries `Type`.
    typed: bool,
}

impl Kind {
    fn form(self) -> Form {
        let (status, name, key, typed) = match self {
            Self::AccessDenied => (
                StatusCode::FORBIDDEN,
                "AccessDeniedException",
                "Message",
                false,
            ),
            Self::InvalidParameterValue => (
                StatusCode::BAD_REQUEST,
                "InvalidParameterValueException",
                "message",
                true,
            ),
            Self::InvalidRequestContent => (
                StatusCode::BAD_REQUEST,
                "InvalidRequestContentException",
                "message",
                true,
            ),
            Self::InvalidRuntime => (
                StatusCode::BAD_GATEWAY,
                "InvalidRuntimeException",
                "Message",
                true,
            ),
            Self::RequestTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestTooLargeException",
                "message",
                true,
            ),
            Self::ResourceConflict => (
                StatusCode::CONFLICT,
                "ResourceConflictException",
                "message",
                true,
            ),
            Self::ResourceNotFound => (
                StatusCode::NOT_FOUND,
                "ResourceNotFoundException",
                "Message",
                true,
            ),
            Self::Service => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "ServiceException",
                "Message",
                true,
            ),
            Self::TooManyRequests => (
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequestsException",
                "message",
                true,
            ),
            Self::UnknownOperation => (
                StatusCode::NOT_FOUND,
                "UnknownOperationException",
                "Message",
                false,
            ),
            // No status that clients take for a missing resource, or for one worth a retry.
            Self::Unserved => (
                StatusCode::NOT_IMPLEMENTED,
                "UnknownOperationException",
                "Message",
                false,
            ),
            Self::Validation => (
                StatusCode::BAD_REQUEST,
                "ValidationException",
                "message",
                false,
            ),
        };
        Form {
            status,
            name,
            key,
            typed,
        }
    }
}

/// A refusal as it goes out.
#[derive(Debug)]
pub(super) struct Refusal {
    kind: Kind,
    message: String,
    /// Why it was throttled, in the service's word.
    reason: Option<&'static str>,
    /// Seconds after which to try again.
    retry_after_s: Option<u64>,
}

impl Refusal {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            reason: None,
            retry_after_s: None,
        }
    }

    /// No operation has this method and path.
    pub(super) fn unknown(method: &Method, path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        Self::new(
            Kind::UnknownOperation,
            format!("no operation of Lambda is at {method} {path}"),
        )
    }

    /// An operation of the service that is not served here.
    pub(super) fn unserved(operation: &str) -> Self {
        Self::new(
            Kind::Unserved,
            format!("the operation {operation} is not served here yet"),
        )
    }

    /// The platform failed; what failed is logged and not told.
    pub(super) fn ours(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a call of the Lambda API failed");
        Self::failed()
    }

    fn failed() -> Self {
        Self::new(Kind::Service, "the platform failed; its own log says why")
    }

    /// A member that breaks a rule of the service model.
    pub(super) fn constraint(value: &str, member: &str, rule: &str) -> Self {
        let value: String = value.chars().take(200).collect();
        let message = format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy \
             constraint: {rule}"
        );
        Self::new(Kind::Validation, message)
    }

    /// A payload that is larger than payloads of its kind may be.
    pub(super) fn too_large(size: u64, invocation: &str, max: usize) -> Self {
        let message = format!(
            "{size} byte payload is too large for the {invocation} invocation type (limit {max} bytes)"
        );
        Self::new(Kind::RequestTooLarge, message)
    }

    /// What an error of the engine means to the service's clients.
    pub(super) fn of(error: &Error, target: &FunctionRef) -> Self {
        match error {
            Error::NotFound {
                region_that_has_it: Some(region),
                ..
            } => {
                let arn = model::arn::reference(target);
                let message = format!("Function not found: {arn} ({region} has one of that name)");
                Self::new(Kind::ResourceNotFound, message)
            }
            Error::NotFound { .. }
            | Error::VersionNotFound { .. }
            | Error::AliasNotFound { .. } => {
                let arn = model::arn::reference(target);
                Self::new(Kind::ResourceNotFound, format!("Function not found: {arn}"))
            }
            Error::Denied { doing, .. } => Self::denied(doing, target),
            Error::PayloadTooLarge { given, max } => {
                Self::too_large(*given as u64, "RequestResponse", *max)
            }
            Error::Throttled { reason } => Self::throttled(reason_code(*reason)),
            Error::Conflict { .. } => Self::new(Kind::ResourceConflict, error.to_string()),
            _ => match error.fault() {
                Fault::Caller => Self::new(Kind::InvalidParameterValue, error.to_string()),
                Fault::Function => Self::new(Kind::InvalidRuntime, error.to_string()),
                Fault::Busy => Self::throttled("ConcurrentInvocationLimitExceeded"),
                Fault::Ours if error.is_told() => Self::failed(),
                Fault::Ours => Self::ours(error),
            },
        }
    }

    /// A caller who may not.
    pub(super) fn denied(doing: &str, target: &FunctionRef) -> Self {
        let arn = model::arn::reference(target);
        let message = format!("the caller is not authorized to {doing} on resource: {arn}");
        Self::new(Kind::AccessDenied, message)
    }

    /// A call for which there is no room now; `reason` is the service's word for it.
    pub(super) fn throttled(reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            retry_after_s: Some(1),
            ..Self::new(Kind::TooManyRequests, "Rate Exceeded.")
        }
    }

    /// The refusal as a response.
    pub(super) fn response(self) -> Response<Body> {
        let form = self.kind.form();
        let mut body = json!({ form.key: self.message });
        if form.typed {
            body["Type"] = "User".into();
        }
        if let Some(reason) = self.reason {
            body["Reason"] = reason.into();
        }
        let mut response = Response::new(full(body.to_string()));
        *response.status_mut() = form.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(ERROR_TYPE, HeaderValue::from_static(form.name));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The service's word for a limit.
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
