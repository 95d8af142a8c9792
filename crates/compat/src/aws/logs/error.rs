//! The one table of the service's errors, and how each is written.

use engine::Error;
use engine::log_group::{GROUP, STREAM, Unfit};
use http::{HeaderValue, Response};
use model::Fault;
use model::log::RETENTION_DAYS;
use serde_json::json;

use super::shapes::operation::Name;
use super::{Ask, JSON};
use crate::Body;
use crate::aws::shape::Kind;
use crate::aws::sts;
use crate::aws::unserved::{ERROR_TYPE, answer};

/// The errors of the service, and those that no operation names.
pub(super) mod kind {
    pub(crate) use crate::aws::logs::shapes::kind::*;
    use crate::aws::shape::Kind;

    pub(crate) const SERIALIZATION: Kind =
        Kind::new("SerializationException", 400, "Message", false);
    pub(crate) const UNKNOWN_OPERATION: Kind =
        Kind::new("UnknownOperationException", 400, "message", false);
    pub(crate) const UNSERVED: Kind = Kind::new("UnknownOperationException", 501, "message", false);
}

/// A refusal as it goes out.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(kind::INVALID_PARAMETER, message)
    }

    pub(super) fn no_group() -> Self {
        let message = "The specified log group does not exist.";
        Self::new(kind::RESOURCE_NOT_FOUND, message)
    }

    pub(super) fn no_token() -> Self {
        Self::invalid("The specified nextToken is invalid.")
    }

    /// No operation has this name.
    pub(super) fn unknown(asked: &str) -> Self {
        let asked: String = asked.chars().take(200).collect();
        let message = format!("no operation of Logs is called '{asked}'");
        Self::new(kind::UNKNOWN_OPERATION, message)
    }

    /// An operation of the service that is not served here.
    pub(super) fn unserved(operation: &str) -> Self {
        let message = format!("the operation {operation} of Logs is not served here yet");
        Self::new(kind::UNSERVED, message)
    }

    /// What an error of the engine means to the service's clients.
    pub(super) fn of(error: &Error, ask: &Ask<'_>) -> Self {
        match error {
            Error::NotThere { thing, .. } if *thing == STREAM => Self::new(
                kind::RESOURCE_NOT_FOUND,
                "The specified log stream does not exist.",
            ),
            Error::NotThere { .. } => Self::no_group(),
            Error::AlreadyThere { thing, .. } => Self::new(
                kind::RESOURCE_ALREADY_EXISTS,
                format!("The specified {} already exists", noun(thing)),
            ),
            Error::InUse { .. } => Self::new(
                kind::VALIDATION,
                "The log group cannot be deleted because deletion protection is enabled.",
            ),
            Error::NotAllowed { name, .. } => {
                let (who, operation) = (sts::arn(&ask.caller.identity), ask.operation.name);
                let message = format!(
                    "User: {who} is not authorized to perform: logs:{operation} on resource: {name}"
                );
                Self::new(kind::ACCESS_DENIED, message)
            }
            Error::TooMany { what: "tags", .. } => match ask.operation.is {
                Name::TagResource => {
                    Self::new(kind::TOO_MANY_TAGS, "The resource has too many tags.")
                }
                _ => Self::invalid("The log group has too many tags."),
            },
            Error::TooMany { .. } => Self::new(kind::LIMIT_EXCEEDED, "Resource limit exceeded."),
            Error::UnfitLog(unfit) => Self::invalid(unfit_message(*unfit)),
            _ => match error.fault() {
                Fault::Caller | Fault::Function => Self::invalid(error.to_string()),
                Fault::Busy => Self::new(kind::THROTTLING, "Rate exceeded"),
                Fault::Ours => {
                    if !error.is_told() {
                        tracing::error!(%error, "a call of CloudWatch Logs failed");
                    }
                    let message = "the platform failed; its own log says why";
                    Self::new(kind::SERVICE_UNAVAILABLE, message)
                }
            },
        }
    }

    /// The refusal as a response.
    pub(super) fn response(self) -> Response<Body> {
        let Kind { name, key, .. } = self.kind;
        let body = json!({ "__type": name, key: self.message });
        let mut response = answer(self.kind.status(), JSON, body.to_string());
        let name = HeaderValue::from_static(name);
        response.headers_mut().insert(ERROR_TYPE, name);
        response
    }
}

fn noun(thing: &str) -> &str {
    if thing == GROUP { "log group" } else { thing }
}

fn unfit_message(unfit: Unfit) -> String {
    match unfit {
        Unfit::Disorder => {
            "Log events in a single PutLogEvents request must be in chronological order.".to_owned()
        }
        Unfit::Span => "The batch of log events in a single PutLogEvents request cannot span more \
                        than 24 hours."
            .to_owned(),
        Unfit::Size { given, max } => {
            format!("Upload too large: {given} bytes exceeds limit of {max}")
        }
        Unfit::Retention(days) => format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy \
             constraint: Member must satisfy enum value set: {RETENTION_DAYS:?}"
        ),
    }
}
