//! The Lambda API: finds the operation, hands it to its verb, and says in the service's own
//! form what is not served.

mod configuration;
mod error;
mod invoke;
mod list;
mod operations;
mod read;
#[rustfmt::skip]
mod shapes;
mod target;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::shape::{Request, Source, Unread, read};
use super::{Aws, Caller, text};
use crate::body::{Uncollected, collect};
use crate::{Body, full};
use error::{Refusal, kind};
use operations::{Name, Operation};

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

/// Largest body of an operation that takes code in it, in bytes (recorded from the service).
const CODE_BYTES_MAX: usize = 70_167_211;
/// Largest body of a change of configuration, in bytes (recorded from the service).
const CONFIGURATION_BYTES_MAX: usize = 5_120;
/// Largest body of any other, in bytes (ours).
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// One request for an operation.
#[derive(Debug)]
struct Ask<'a> {
    caller: &'a Caller,
    operation: &'static Operation,
    headers: &'a HeaderMap,
    query: &'a str,
    /// Segments of the path that the caller chose, by their names, their escapes resolved.
    labels: Vec<(&'static str, String)>,
}

impl Ask<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What the operation takes, where it takes nothing from the body.
    fn read<T: Request>(&self) -> Result<T, Refusal> {
        self.filled(None)
    }

    /// What the operation takes, its body included.
    #[allow(dead_code, reason = "operations that change something are to come")]
    async fn read_body<T: Request>(&self, body: Body) -> Result<T, Refusal> {
        let bytes_max = match self.operation.is {
            Name::CreateFunction | Name::UpdateFunctionCode | Name::PublishLayerVersion => {
                CODE_BYTES_MAX
            }
            Name::UpdateFunctionConfiguration => CONFIGURATION_BYTES_MAX,
            _ => BODY_BYTES_MAX,
        };
        let body = collect(body, bytes_max)
            .await
            .map_err(|error| match error {
                Uncollected::TooLarge { .. } => {
                    let name = self.operation.name;
                    let message = format!(
                        "Request must be smaller than {bytes_max} bytes for the {name} operation"
                    );
                    Refusal::new(kind::ENTITY_TOO_LARGE, message)
                }
                Uncollected::NoRoom => Refusal::throttled("ConcurrentInvocationLimitExceeded"),
                Uncollected::Broken(_) => Refusal::new(kind::SERIALIZATION, error.to_string()),
            })?;
        self.filled(Some(&body))
    }

    fn filled<T: Request>(&self, body: Option<&[u8]>) -> Result<T, Refusal> {
        let source = Source {
            labels: &self.labels,
            query: self.query,
            headers: self.headers,
            body,
        };
        read(&source).map_err(|error| match error {
            Unread::Misfit(misfit) => Refusal::new(kind::SERIALIZATION, misfit.to_string()),
            Unread::Broken(message) => Refusal::validation(message),
            Unread::Ours => Refusal::ours(&error),
        })
    }

    /// The operation's answer.
    fn answer(&self, answer: &impl Serialize) -> Result<Response<Body>, Refusal> {
        json(self.operation.status(), answer)
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
        let labels = labels.into_iter();
        let ask = Ask {
            caller,
            operation,
            headers: &request.headers,
            query,
            labels: labels
                .map(|(name, label)| (name, text::segment(label)))
                .collect(),
        };
        let answered = self.operate(&ask, body).await;
        answered.unwrap_or_else(|refusal| refusal.response())
    }

    async fn operate(&self, ask: &Ask<'_>, body: Body) -> Result<Response<Body>, Refusal> {
        match ask.operation.is {
            Name::Invoke => self.invoke(ask, body).await,
            Name::GetFunction => ask.answer(&self.get_function(ask, ask.read()?)?),
            Name::GetFunctionConfiguration => {
                ask.answer(&self.get_function_configuration(ask, ask.read()?)?)
            }
            Name::DeleteFunction => self.delete_function(ask, ask.read()?).await,
            Name::ListFunctions => ask.answer(&self.list_functions(ask, ask.read()?)?),
            Name::ListVersionsByFunction => ask.answer(&self.list_versions(ask, ask.read()?)?),
            Name::ListAliases => ask.answer(&self.list_aliases(ask, ask.read()?)?),
            Name::GetAlias => ask.answer(&self.get_alias(ask, ask.read()?)?),
            Name::GetFunctionUrlConfig => ask.answer(&self.get_function_url(ask, ask.read()?)?),
            Name::ListFunctionUrlConfigs => ask.answer(&self.list_function_urls(ask, ask.read()?)?),
            Name::GetFunctionConcurrency => ask.answer(&self.get_concurrency(ask, ask.read()?)?),
            Name::GetFunctionCodeSigningConfig => {
                ask.answer(&self.get_code_signing(ask, ask.read()?)?)
            }
            Name::GetAccountSettings => ask.answer(&self.get_account_settings(ask)),
            _ => Err(Refusal::unserved(ask.operation.name)),
        }
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

/// A number as the model's integers hold it: no larger one is met here.
fn integer(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// The same of its longs.
fn long(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(kind::INVALID_PARAMETER_VALUE, message)
}
