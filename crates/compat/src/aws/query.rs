//! The query protocol of the older services: forms that name an action, and answers in XML.

use std::collections::BTreeMap;

use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::Value;

use super::shape::{Given, Kind, Request, Source, Unread, json, read};
use super::unserved::{answer, query_error};
use super::{Caller, text};
use crate::Body;
use crate::body::{Uncollected, collect};

/// Largest form, in bytes (ours; no service documents a limit).
const FORM_BYTES_MAX: usize = 256 * 1024;

/// One request for an action of a service.
#[derive(Debug)]
pub(super) struct Query {
    form: BTreeMap<String, String>,
}

/// An error as it goes out.
#[derive(Debug)]
pub(super) struct QueryError {
    kind: Kind,
    message: String,
}

impl QueryError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// The error as a response.
    pub(super) fn response(&self, request_id: &str) -> Response<Body> {
        query_error(
            self.kind.status(),
            self.kind.name,
            &self.message,
            request_id,
        )
    }
}

/// Errors that every service of the protocol has.
pub(super) const VALIDATION: Kind = Kind::new("ValidationError", 400, "Message", false);
const MALFORMED_INPUT: Kind = Kind::new("MalformedInput", 400, "Message", false);
const MISSING_ACTION: Kind = Kind::new("MissingAction", 400, "Message", false);
const THROTTLING: Kind = Kind::new("Throttling", 400, "Message", false);

impl Query {
    /// Reads the form, which older clients put into the query of the URL.
    pub(super) async fn of(request: &Parts, body: Body) -> Result<Self, QueryError> {
        let body = collect(body, FORM_BYTES_MAX).await.map_err(|error| {
            let kind = match error {
                Uncollected::NoRoom => THROTTLING,
                Uncollected::TooLarge { .. } | Uncollected::Broken(_) => MALFORMED_INPUT,
            };
            QueryError::new(kind, error.to_string())
        })?;
        let mut form = text::form(request.uri.query().unwrap_or_default());
        form.extend(text::form(&String::from_utf8_lossy(&body)));
        Ok(Self { form })
    }

    /// What is to be done.
    pub(super) fn action(&self) -> Result<&str, QueryError> {
        let action = self.form.get("Action").map(String::as_str);
        action.ok_or_else(|| QueryError::new(MISSING_ACTION, "Action is missing"))
    }

    /// What the action takes.
    pub(super) fn read<T: Request>(&self) -> Result<T, QueryError> {
        read(Source::Form(&self.form)).map_err(|error| match error {
            Unread::Misfit(_) => QueryError::new(MALFORMED_INPUT, error.to_string()),
            Unread::Broken(message) => QueryError::new(VALIDATION, message),
        })
    }
}

/// The answer of an action of the service that has this namespace.
pub(super) fn answered(
    action: &str,
    namespace: &str,
    caller: &Caller,
    result: &dyn Given,
) -> Response<Body> {
    // What is given is JSON, which has the same members.
    let result = serde_json::from_str(&json(result)).unwrap_or_default();
    let mut body = format!("<{action}Response xmlns=\"{namespace}\"><{action}Result>");
    write(&result, &mut body);
    body.push_str(&format!(
        "</{action}Result><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata>\
         </{action}Response>\n",
        caller.request_id
    ));
    answer(StatusCode::OK, "text/xml", body)
}

/// Members as elements of their names, items as elements `member`.
fn write(value: &Value, to: &mut String) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                element(name, value, to);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| element("member", item, to)),
        Value::String(text) => to.push_str(&text::xml(text)),
        other => to.push_str(&other.to_string()),
    }
}

fn element(name: &str, value: &Value, to: &mut String) {
    to.push_str(&format!("<{name}>"));
    write(value, to);
    to.push_str(&format!("</{name}>"));
}
