//! The Lambda API: finds the operation, hands it to its verb, and says in the service's own
//! form what is not served.

mod configuration;
mod error;
mod invoke;
mod list;
mod operations;
mod read;
mod target;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::{Aws, Caller, text};
use crate::{Body, full};
use error::{Kind, Refusal};

/// Whether a path begins with a date, as all of the service's do.
pub(super) fn is_path(path: &str) -> bool {
    let mut segments = path.split('/');
    segments.next();
    let Some(date) = segments.next().map(str::as_bytes) else {
        return false;
    };
    date.len() == 10
        && date.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// One request for an operation.
#[derive(Debug)]
struct Ask<'a> {
    caller: &'a Caller,
    headers: &'a HeaderMap,
    query: &'a str,
    /// Segments of the path that the caller chose, in order, their escapes resolved.
    labels: Vec<String>,
}

impl Ask<'_> {
    fn parameter(&self, name: &str) -> Option<String> {
        text::parameter(self.query, name).filter(|value| !value.is_empty())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Aws {
    pub(super) async fn lambda(
        &self,
        caller: &Caller,
        request: &Parts,
        body: Body,
    ) -> Response<Body> {
        let path = request.uri.path();
        let query = request.uri.query().unwrap_or_default();
        let found = operations::find(&request.method, path, query);
        let Some((operation, labels)) = found else {
            return Refusal::unknown(&request.method, path).response();
        };
        let labels = labels.into_iter().map(text::segment).collect();
        let ask = Ask {
            caller,
            headers: &request.headers,
            query,
            labels,
        };
        let answered = match operation.name {
            "Invoke" => self.invoke(&ask, body).await,
            "GetFunction" => self.get_function(&ask),
            "GetFunctionConfiguration" => self.get_function_configuration(&ask),
            "DeleteFunction" => self.delete_function(&ask).await,
            "ListFunctions" => self.list_functions(&ask),
            "ListVersionsByFunction" => self.list_versions(&ask),
            "ListAliases" => self.list_aliases(&ask),
            "GetAlias" => self.get_alias(&ask),
            "GetFunctionUrlConfig" => self.get_function_url(&ask),
            "ListFunctionUrlConfigs" => self.list_function_urls(&ask),
            "GetFunctionConcurrency" => self.get_concurrency(&ask),
            "GetFunctionCodeSigningConfig" => self.get_code_signing(&ask),
            "GetAccountSettings" => self.get_account_settings(&ask),
            unserved => Err(Refusal::unserved(unserved)),
        };
        answered.unwrap_or_else(|refusal| refusal.response())
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Refusal> {
    let body = serde_json::to_vec(value).map_err(|error| Refusal::ours(&error))?;
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(bytes::Bytes::new()));
    *response.status_mut() = status;
    response
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Kind::InvalidParameterValue, message)
}
