//! The Lambda API: finds the operation, hands it to its verb, and says in the service's own
//! form what is not served.

mod absent;
mod alias;
pub(super) mod code;
mod configuration;
mod error;
mod function;
mod invoke;
mod layer;
mod list;
mod operations;
mod policy;
mod read;
mod settings;
#[rustfmt::skip]
mod shapes;
mod target;
mod url;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::shape::{self, Given, Request, Source, Unread, read};
use super::{Aws, Caller, text};
use crate::body::{Uncollected, collect};
use crate::{Body, full};
use absent::{missing_config, missing_mapping};
use error::{Refusal, kind};
use operations::{Name, Operation};
use shapes::*;

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
        self.filled(Some(body))
    }

    fn filled<T: Request>(&self, body: Option<Bytes>) -> Result<T, Refusal> {
        let source = Source::Rest {
            labels: &self.labels,
            query: self.query,
            headers: self.headers,
            body,
        };
        read(source).map_err(|error| match error {
            Unread::Misfit(misfit) => Refusal::new(kind::SERIALIZATION, misfit.to_string()),
            Unread::Broken(message) => Refusal::validation(message),
        })
    }

    /// The operation's answer.
    fn answer(&self, answer: &dyn Given) -> Result<Response<Body>, Refusal> {
        let mut response = Response::new(full(shape::json(answer)));
        *response.status_mut() = self.operation.status();
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
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
        answered.unwrap_or_else(|refusal| refusal.to(&ask).response())
    }

    async fn operate(&self, ask: &Ask<'_>, body: Body) -> Result<Response<Body>, Refusal> {
        match ask.operation.is {
            Name::Invoke => self.invoke(ask, body).await,
            Name::InvokeAsync => self.invoke_async(ask, body).await,
            Name::InvokeWithResponseStream => self.invoke_with_response_stream(ask, body).await,
            Name::GetFunction => ask.answer(&self.get_function(ask, ask.read()?)?),
            Name::GetFunctionConfiguration => {
                ask.answer(&self.get_function_configuration(ask, ask.read()?)?)
            }
            Name::CreateFunction => ask.answer(
                &self
                    .create_function(ask, ask.read_body(body).await?)
                    .await?,
            ),
            Name::UpdateFunctionCode => ask.answer(
                &self
                    .update_function_code(ask, ask.read_body(body).await?)
                    .await?,
            ),
            Name::UpdateFunctionConfiguration => {
                let request = ask.read_body(body).await?;
                ask.answer(&self.update_function_configuration(ask, request).await?)
            }
            Name::PublishVersion => ask.answer(
                &self
                    .publish_version(ask, ask.read_body(body).await?)
                    .await?,
            ),
            Name::DeleteFunction => self.delete_function(ask, ask.read()?).await,
            Name::PutFunctionConcurrency => ask.answer(
                &self
                    .put_concurrency(ask, ask.read_body(body).await?)
                    .await?,
            ),
            Name::DeleteFunctionConcurrency => self.delete_concurrency(ask, ask.read()?).await,
            Name::CreateAlias => {
                ask.answer(&self.create_alias(ask, ask.read_body(body).await?).await?)
            }
            Name::UpdateAlias => {
                ask.answer(&self.update_alias(ask, ask.read_body(body).await?).await?)
            }
            Name::DeleteAlias => self.delete_alias(ask, ask.read()?).await,
            Name::PublishLayerVersion => ask.answer(
                &self
                    .publish_layer_version(ask, ask.read_body(body).await?)
                    .await?,
            ),
            Name::GetLayerVersion => ask.answer(&self.get_layer_version(ask, ask.read()?)?),
            Name::GetLayerVersionByArn => {
                ask.answer(&self.get_layer_version_by_arn(ask, ask.read()?)?)
            }
            Name::ListLayers => ask.answer(&self.list_layers(ask, ask.read()?)?),
            Name::ListLayerVersions => ask.answer(&self.list_layer_versions(ask, ask.read()?)?),
            Name::DeleteLayerVersion => self.delete_layer_version(ask, ask.read()?).await,
            Name::AddLayerVersionPermission => ask.answer(
                &self
                    .add_layer_permission(ask, ask.read_body(body).await?)
                    .await?,
            ),
            Name::RemoveLayerVersionPermission => {
                self.remove_layer_permission(ask, ask.read()?).await
            }
            Name::GetLayerVersionPolicy => ask.answer(&self.get_layer_policy(ask, ask.read()?)?),
            Name::AddPermission => {
                ask.answer(&self.add_permission(ask, ask.read_body(body).await?).await?)
            }
            Name::RemovePermission => self.remove_permission(ask, ask.read()?).await,
            Name::GetPolicy => ask.answer(&self.get_policy(ask, ask.read()?)?),
            Name::TagResource => self.tag_resource(ask, ask.read_body(body).await?).await,
            Name::UntagResource => self.untag_resource(ask, ask.read()?).await,
            Name::ListTags => ask.answer(&self.list_tags(ask, ask.read()?)?),
            Name::PutFunctionEventInvokeConfig => ask.answer(
                &self
                    .put_event_invoke_config(ask, ask.read_body(body).await?)
                    .await?,
            ),
            Name::UpdateFunctionEventInvokeConfig => {
                let request = ask.read_body(body).await?;
                ask.answer(&self.update_event_invoke_config(ask, request).await?)
            }
            Name::DeleteFunctionEventInvokeConfig => {
                self.delete_event_invoke_config(ask, ask.read()?).await
            }
            Name::GetFunctionEventInvokeConfig => {
                ask.answer(&self.get_event_invoke_config(ask, ask.read()?)?)
            }
            Name::ListFunctionEventInvokeConfigs => {
                ask.answer(&self.list_event_invoke_configs(ask, ask.read()?)?)
            }
            Name::GetFunctionRecursionConfig => ask.answer(&self.get_recursion(ask, ask.read()?)?),
            Name::PutFunctionRecursionConfig => {
                ask.answer(&self.put_recursion(ask, ask.read_body(body).await?).await?)
            }
            Name::GetRuntimeManagementConfig => {
                ask.answer(&self.get_runtime_management(ask, ask.read()?)?)
            }
            Name::PutRuntimeManagementConfig => ask.answer(
                &self
                    .put_runtime_management(ask, ask.read_body(body).await?)
                    .await?,
            ),
            Name::GetProvisionedConcurrencyConfig => {
                ask.answer(&self.get_provisioned(ask, ask.read()?)?)
            }
            Name::DeleteProvisionedConcurrencyConfig => self.delete_provisioned(ask, ask.read()?),
            Name::ListProvisionedConcurrencyConfigs => {
                ask.answer(&self.list_provisioned(ask, ask.read()?)?)
            }
            Name::ListCodeSigningConfigs => ask.answer(&ListCodeSigningConfigsResponse {
                next_marker: None,
                code_signing_configs: Some(Vec::new()),
            }),
            Name::ListEventSourceMappings => ask.answer(&ListEventSourceMappingsResponse {
                next_marker: None,
                event_source_mappings: Some(Vec::new()),
            }),
            Name::ListFunctions => ask.answer(&self.list_functions(ask, ask.read()?)?),
            Name::ListVersionsByFunction => ask.answer(&self.list_versions(ask, ask.read()?)?),
            Name::ListAliases => ask.answer(&self.list_aliases(ask, ask.read()?)?),
            Name::GetAlias => ask.answer(&self.get_alias(ask, ask.read()?)?),
            Name::CreateFunctionUrlConfig => {
                ask.answer(&self.create_url(ask, ask.read_body(body).await?).await?)
            }
            Name::UpdateFunctionUrlConfig => {
                ask.answer(&self.update_url(ask, ask.read_body(body).await?).await?)
            }
            Name::DeleteFunctionUrlConfig => self.delete_url(ask, ask.read()?).await,
            Name::GetFunctionUrlConfig => ask.answer(&self.get_url(ask, ask.read()?)?),
            Name::ListFunctionUrlConfigs => ask.answer(&self.list_urls(ask, ask.read()?)?),
            Name::GetFunctionConcurrency => ask.answer(&self.get_concurrency(ask, ask.read()?)?),
            Name::GetFunctionCodeSigningConfig => {
                ask.answer(&self.get_code_signing(ask, ask.read()?)?)
            }
            Name::PutFunctionCodeSigningConfig => {
                ask.answer(&self.put_code_signing(ask, ask.read_body(body).await?)?)
            }
            Name::DeleteFunctionCodeSigningConfig => self.delete_code_signing(ask, ask.read()?),
            Name::GetCodeSigningConfig => {
                let request: GetCodeSigningConfigRequest = ask.read()?;
                Err(missing_config(&request.code_signing_config_arn))
            }
            Name::UpdateCodeSigningConfig => {
                let request: UpdateCodeSigningConfigRequest = ask.read_body(body).await?;
                Err(missing_config(&request.code_signing_config_arn))
            }
            Name::DeleteCodeSigningConfig => {
                let request: DeleteCodeSigningConfigRequest = ask.read()?;
                Err(missing_config(&request.code_signing_config_arn))
            }
            Name::ListFunctionsByCodeSigningConfig => {
                let request: ListFunctionsByCodeSigningConfigRequest = ask.read()?;
                Err(missing_config(&request.code_signing_config_arn))
            }
            Name::GetEventSourceMapping => {
                let GetEventSourceMappingRequest { .. } = ask.read()?;
                Err(missing_mapping())
            }
            Name::UpdateEventSourceMapping => {
                let UpdateEventSourceMappingRequest { .. } = ask.read_body(body).await?;
                Err(missing_mapping())
            }
            Name::DeleteEventSourceMapping => {
                let DeleteEventSourceMappingRequest { .. } = ask.read()?;
                Err(missing_mapping())
            }
            Name::GetAccountSettings => ask.answer(&self.get_account_settings(ask)),
            _ => Err(Refusal::unserved(ask.operation.name)),
        }
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
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

#[cfg(test)]
mod tests;
