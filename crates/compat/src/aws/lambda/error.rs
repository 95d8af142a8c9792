//! The one table of the service's errors: status, name, and how each writes its members.

use engine::{Error, ThrottleReason};
use http::{HeaderValue, Method, Response, header};
use model::{Fault, FunctionRef};
use serde_json::json;

use super::Ask;
use super::operations::Name;
use super::shapes::choice::Runtime;
use crate::aws::shape::Kind;
use crate::aws::sts;
use crate::aws::unserved::ERROR_TYPE;
use crate::{Body, full};

/// The errors of the service, and those that no operation names.
pub(super) mod kind {
    pub(crate) use crate::aws::lambda::shapes::kind::*;
    use crate::aws::shape::Kind;

    pub(crate) const ACCESS_DENIED: Kind =
        Kind::new("AccessDeniedException", 403, "Message", false);
    pub(crate) const ENTITY_TOO_LARGE: Kind =
        Kind::new("RequestEntityTooLargeException", 413, "message", true);
    pub(crate) const SERIALIZATION: Kind =
        Kind::new("SerializationException", 400, "Message", false);
    pub(crate) const UNKNOWN_OPERATION: Kind =
        Kind::new("UnknownOperationException", 404, "Message", false);
    /// No status that clients take for a missing resource, or for one worth a retry.
    pub(crate) const UNSERVED: Kind = Kind::new("UnknownOperationException", 501, "Message", false);
    pub(crate) const VALIDATION: Kind = Kind::new("ValidationException", 400, "message", false);
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
    /// What the caller may not do this with, as an ARN.
    resource: Option<String>,
}

impl Refusal {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            reason: None,
            retry_after_s: None,
            resource: None,
        }
    }

    /// No operation has this method and path.
    pub(super) fn unknown(method: &Method, path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        Self::new(
            kind::UNKNOWN_OPERATION,
            format!("no operation of Lambda is at {method} {path}"),
        )
    }

    /// An operation of the service that is not served here.
    pub(super) fn unserved(operation: &str) -> Self {
        Self::new(
            kind::UNSERVED,
            format!("the operation {operation} is not served here yet"),
        )
    }

    /// The platform failed; what failed is logged and not told.
    pub(super) fn ours(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a call of the Lambda API failed");
        Self::failed()
    }

    fn failed() -> Self {
        Self::new(kind::SERVICE, "the platform failed; its own log says why")
    }

    /// A request that breaks rules of the service model, as the message tells.
    pub(super) fn validation(message: String) -> Self {
        Self::new(kind::VALIDATION, message)
    }

    /// A member that breaks a rule which the service model does not have.
    pub(super) fn constraint(value: &str, member: &str, rule: &str) -> Self {
        let value: String = value.chars().take(200).collect();
        let message = format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy \
             constraint: {rule}"
        );
        Self::new(kind::VALIDATION, message)
    }

    /// A runtime that the service does not know, which it tells in words of its own.
    pub(super) fn runtime(name: &str) -> Self {
        let name: String = name.chars().take(200).collect();
        let known = Runtime::VALUES.join(", ");
        let message = format!(
            "Value {name} at 'runtime' failed to satisfy constraint: Member must satisfy enum \
             value set: [{known}] or be a valid ARN"
        );
        Self::new(kind::INVALID_PARAMETER_VALUE, message)
    }

    /// A payload that is larger than payloads of its kind may be.
    pub(super) fn too_large(size: u64, invocation: &str, max: usize) -> Self {
        let message = format!(
            "{size} byte payload is too large for the {invocation} invocation type (limit {max} bytes)"
        );
        Self::new(kind::REQUEST_TOO_LARGE, message)
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
                Self::new(kind::RESOURCE_NOT_FOUND, message)
            }
            missed if is_miss(missed) => Self::not_found(&model::arn::reference(target)),
            Error::Denied { .. } => Self::denied(model::arn::reference(target)),
            Error::Invalid(problem) => {
                Self::new(kind::INVALID_PARAMETER_VALUE, problem.to_string())
            }
            Error::PayloadTooLarge { given, max } => {
                Self::too_large(*given as u64, "RequestResponse", *max)
            }
            Error::Throttled { reason } => Self::throttled(reason_code(*reason)),
            Error::Conflict { .. } => Self::new(kind::RESOURCE_CONFLICT, error.to_string()),
            _ => match error.fault() {
                Fault::Caller => Self::new(kind::INVALID_PARAMETER_VALUE, error.to_string()),
                Fault::Function => Self::new(kind::INVALID_RUNTIME, error.to_string()),
                Fault::Busy => Self::throttled("ConcurrentInvocationLimitExceeded"),
                Fault::Ours if error.is_told() => Self::failed(),
                Fault::Ours => Self::ours(error),
            },
        }
    }

    /// Nothing has this ARN.
    pub(super) fn not_found(arn: &str) -> Self {
        let message = format!("Function not found: {arn}");
        Self::new(kind::RESOURCE_NOT_FOUND, message)
    }

    /// A caller who may not do this with what has this ARN.
    pub(super) fn denied(resource: String) -> Self {
        Self {
            resource: Some(resource),
            ..Self::new(kind::ACCESS_DENIED, "")
        }
    }

    /// With who was refused what, as far as that is to be told.
    #[must_use]
    pub(super) fn to(self, ask: &Ask<'_>) -> Self {
        let Some(resource) = &self.resource else {
            return self;
        };
        let who = sts::arn(&ask.caller.identity);
        let action = match ask.operation.is {
            Name::Invoke | Name::InvokeAsync | Name::InvokeWithResponseStream => "InvokeFunction",
            Name::GetLayerVersionByArn => "GetLayerVersion",
            _ => ask.operation.name,
        };
        let message = format!(
            "User: {who} is not authorized to perform: lambda:{action} on resource: {resource} \
             because no resource-based policy allows the lambda:{action} action"
        );
        Self { message, ..self }
    }

    /// A call for which there is no room now; `reason` is the service's word for it.
    pub(super) fn throttled(reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            retry_after_s: Some(1),
            ..Self::new(kind::TOO_MANY_REQUESTS, "Rate Exceeded.")
        }
    }

    /// The refusal as a response.
    pub(super) fn response(self) -> Response<Body> {
        let kind = self.kind;
        let mut body = json!({ kind.key: self.message });
        if kind.typed {
            body["Type"] = "User".into();
        }
        if let Some(reason) = self.reason {
            body["Reason"] = reason.into();
        }
        let mut response = Response::new(full(body.to_string()));
        *response.status_mut() = kind.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(ERROR_TYPE, HeaderValue::from_static(kind.name));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Whether a function, a version or an alias is not there, nor a function of that name in another
/// region, which would be worth telling.
pub(super) fn is_miss(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound {
            region_that_has_it: None,
            ..
        } | Error::VersionNotFound { .. }
            | Error::AliasNotFound { .. }
    )
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
