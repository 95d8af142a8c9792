//! Operations on layers.

use std::sync::Arc;

use engine::Error;
use engine::verb::{LayerPublication, LayerView, Statement};
use http::{Response, StatusCode};
use model::{LayerId, LayerVersionId};

use super::error::{Refusal, kind};
use super::function::Source;
use super::list::Page;
use super::policy::{self, Conditions, Who, Written};
use super::shapes::choice::{Architecture, Runtime};
use super::shapes::*;
use super::{Ask, configuration, empty, invalid, long};
use crate::Body;
use crate::aws::Aws;

/// What tells of the policy of a layer's version.
const POLICY_API: &str = "GetLayerPolicy";

/// Layers, or versions of one, shown at once where the caller does not say.
const PAGE: usize = 50;

impl Aws {
    pub(super) async fn publish_layer_version(
        &self,
        ask: &Ask<'_>,
        request: PublishLayerVersionRequest,
    ) -> Result<PublishLayerVersionResponse, Refusal> {
        let layer = self.layer_id(ask, &request.layer_name)?;
        let code = self
            .code(Source {
                zip_file: request.content.zip_file,
                s3_bucket: request.content.s3_bucket,
                image_uri: None,
            })
            .await?;
        // Lists that are given and empty are told as such.
        let no_runtimes = request.compatible_runtimes.as_ref().map(|_| Vec::new());
        let no_architectures = request
            .compatible_architectures
            .as_ref()
            .map(|_| Vec::new());
        let texts = |choices: Option<Vec<Runtime>>| {
            let choices = choices.unwrap_or_default();
            choices.iter().map(|it| it.as_str().to_owned()).collect()
        };
        let architectures = request.compatible_architectures.unwrap_or_default();
        let publication = LayerPublication {
            layer,
            code,
            description: request.description.unwrap_or_default(),
            license: request.license_info,
            runtimes: texts(request.compatible_runtimes),
            architectures: architectures
                .iter()
                .map(|it| it.as_str().to_owned())
                .collect(),
        };
        let published = self
            .engine
            .publish_layer(&ask.principal(), publication)
            .await;
        let view = published.map_err(|error| refusal(&error))?;
        let shown = self.show_layer(&view);
        Ok(PublishLayerVersionResponse {
            content: shown.content,
            layer_arn: shown.layer_arn,
            layer_version_arn: shown.layer_version_arn,
            description: shown.description,
            created_date: shown.created_date,
            version: shown.version,
            compatible_architectures: shown.compatible_architectures.or(no_architectures),
            compatible_runtimes: shown.compatible_runtimes.or(no_runtimes),
            license_info: shown.license_info,
        })
    }

    pub(super) fn get_layer_version(
        &self,
        ask: &Ask<'_>,
        request: GetLayerVersionRequest,
    ) -> Result<GetLayerVersionResponse, Refusal> {
        let id = self.numbered(ask, &request.layer_name, request.version_number)?;
        Ok(self.show_layer(&*self.layer(ask, &id)?))
    }

    pub(super) fn get_layer_version_by_arn(
        &self,
        ask: &Ask<'_>,
        request: GetLayerVersionByArnRequest,
    ) -> Result<GetLayerVersionResponse, Refusal> {
        let id = self.layer_version_id(ask, &request.arn)?;
        Ok(self.show_layer(&*self.layer(ask, &id)?))
    }

    pub(super) fn list_layers(
        &self,
        ask: &Ask<'_>,
        request: ListLayersRequest,
    ) -> Result<ListLayersResponse, Refusal> {
        let page = Page::of(request.max_items, request.marker.as_deref(), PAGE)?;
        let caller = ask.caller;
        let layers = self.engine.layers(&caller.account, &caller.region);
        let fits = fitting(request.compatible_runtime, request.compatible_architecture);
        let shown = layers.into_iter().filter_map(|newest| {
            let versions = self
                .engine
                .layer_versions(&ask.principal(), &newest.id.layer);
            let newest = versions.ok()?.into_iter().find(|version| fits(version))?;
            Some(LayersListItem {
                layer_name: Some(newest.id.layer.name.to_string()),
                layer_arn: Some(model::arn::layer(&newest.id.layer)),
                latest_matching_version: Some(item(&newest)),
            })
        });
        let (layers, next_marker) = page.cut(shown.collect());
        Ok(ListLayersResponse {
            next_marker,
            layers,
        })
    }

    pub(super) fn list_layer_versions(
        &self,
        ask: &Ask<'_>,
        request: ListLayerVersionsRequest,
    ) -> Result<ListLayerVersionsResponse, Refusal> {
        let page = Page::of(request.max_items, request.marker.as_deref(), PAGE)?;
        let layer = self.layer_id(ask, &request.layer_name)?;
        let versions = self.engine.layer_versions(&ask.principal(), &layer);
        let versions = versions.map_err(|error| refusal(&error))?;
        let fits = fitting(request.compatible_runtime, request.compatible_architecture);
        let fitting = versions.iter().filter(|version| fits(version));
        let (layer_versions, next_marker) = page.cut(fitting.map(|it| item(it)).collect());
        Ok(ListLayerVersionsResponse {
            next_marker,
            layer_versions,
        })
    }

    pub(super) async fn delete_layer_version(
        &self,
        ask: &Ask<'_>,
        request: DeleteLayerVersionRequest,
    ) -> Result<Response<Body>, Refusal> {
        let id = self.numbered(ask, &request.layer_name, request.version_number)?;
        let removed = self.engine.remove_layer(&ask.principal(), &id).await;
        removed.map_err(|error| refusal(&error))?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) async fn add_layer_permission(
        &self,
        ask: &Ask<'_>,
        request: AddLayerVersionPermissionRequest,
    ) -> Result<AddLayerVersionPermissionResponse, Refusal> {
        let id = self.numbered(ask, &request.layer_name, request.version_number)?;
        let view = self.layer_with_policy(ask, &id)?;
        let arn = model::arn::layer_version(&id);
        let given = request.revision_id.as_deref();
        let expected = policy::expected(view.policy.as_ref(), &arn, given, POLICY_API)?;
        let mut condition = Conditions::default();
        let organization = request.organization_id.as_deref();
        condition.add("StringEquals", "aws:PrincipalOrgID", organization);
        let written = policy::text(&Written {
            sid: &request.statement_id,
            effect: "Allow",
            principal: Who(&request.principal),
            action: &request.action,
            resource: arn.clone(),
            condition,
        })?;
        let statement = Statement {
            id: request.statement_id.clone(),
            text: written.clone(),
        };
        let who = ask.principal();
        let added = self.engine.permit_layer(&who, &id, expected, statement);
        added.await.map_err(|error| {
            let about = policy::refusal(&error, &request.statement_id, POLICY_API);
            about.unwrap_or_else(|| refusal(&error))
        })?;
        let revision = self.layer(ask, &id)?.policy.as_ref().map(|it| it.revision);
        Ok(AddLayerVersionPermissionResponse {
            statement: Some(written),
            revision_id: revision.map(|now| configuration::counted_revision(&arn, now)),
        })
    }

    pub(super) async fn remove_layer_permission(
        &self,
        ask: &Ask<'_>,
        request: RemoveLayerVersionPermissionRequest,
    ) -> Result<Response<Body>, Refusal> {
        let id = self.numbered(ask, &request.layer_name, request.version_number)?;
        let view = self.layer_with_policy(ask, &id)?;
        let arn = model::arn::layer_version(&id);
        let given = request.revision_id.as_deref();
        let expected = policy::expected(view.policy.as_ref(), &arn, given, POLICY_API)?;
        let (who, statement) = (ask.principal(), &request.statement_id);
        let removed = self.engine.forbid_layer(&who, &id, expected, statement);
        removed.await.map_err(|error| {
            let about = policy::refusal(&error, statement, POLICY_API);
            about.unwrap_or_else(|| refusal(&error))
        })?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) fn get_layer_policy(
        &self,
        ask: &Ask<'_>,
        request: GetLayerVersionPolicyRequest,
    ) -> Result<GetLayerVersionPolicyResponse, Refusal> {
        let id = self.numbered(ask, &request.layer_name, request.version_number)?;
        let view = self.layer_with_policy(ask, &id)?;
        let policy = view.policy.as_ref();
        let policy = policy.ok_or_else(policy::none_associated)?;
        let arn = model::arn::layer_version(&id);
        Ok(GetLayerVersionPolicyResponse {
            policy: Some(policy::whole(policy)?),
            revision_id: Some(configuration::counted_revision(&arn, policy.revision)),
        })
    }

    fn layer(&self, ask: &Ask<'_>, id: &LayerVersionId) -> Result<Arc<LayerView>, Refusal> {
        let found = self.engine.layer(&ask.principal(), id);
        found.map_err(|error| refusal_of_version(&error, id))
    }

    /// The version of a layer that a request on its policy is about, for which the service has words
    /// of its own.
    fn layer_with_policy(
        &self,
        ask: &Ask<'_>,
        id: &LayerVersionId,
    ) -> Result<Arc<LayerView>, Refusal> {
        let found = self.engine.layer(&ask.principal(), id);
        found.map_err(|error| match error {
            Error::NotThere { .. } => {
                let arn = model::arn::layer_version(id);
                let message = format!("Layer version {arn} does not exist.");
                Refusal::new(kind::RESOURCE_NOT_FOUND, message)
            }
            other => refusal_of_version(&other, id),
        })
    }

    /// The layer that a request names by its name or its ARN.
    fn layer_id(&self, ask: &Ask<'_>, text: &str) -> Result<LayerId, Refusal> {
        let parsed = model::arn::parse_layer(text, &ask.caller.account, &ask.caller.region);
        let (layer, _) = parsed.map_err(|error| invalid(error.to_string()))?;
        if layer.region != ask.caller.region {
            return Err(invalid(format!(
                "Layers from '{}' are not reachable in this region ('{}')",
                layer.region, ask.caller.region
            )));
        }
        Ok(layer)
    }

    fn numbered(&self, ask: &Ask<'_>, text: &str, number: i64) -> Result<LayerVersionId, Refusal> {
        let layer = self.layer_id(ask, text)?;
        match u64::try_from(number) {
            Ok(number) if number > 0 => Ok(LayerVersionId { layer, number }),
            _ => Err(invalid("Layer Version Cannot be less than 1")),
        }
    }

    /// The version of a layer that a whole ARN names.
    pub(super) fn layer_version_id(
        &self,
        ask: &Ask<'_>,
        arn: &str,
    ) -> Result<LayerVersionId, Refusal> {
        let layer = self.layer_id(ask, arn)?;
        let number = arn.rsplit(':').next().and_then(|text| text.parse().ok());
        match number.filter(|_| arn.starts_with("arn:") && arn.split(':').count() == 8) {
            Some(number) => Ok(LayerVersionId { layer, number }),
            None => Err(invalid(format!(
                "The ARN {arn} of a layer must end in the number of its version."
            ))),
        }
    }

    fn show_layer(&self, view: &LayerView) -> GetLayerVersionResponse {
        let item = item(view);
        GetLayerVersionResponse {
            content: Some(LayerVersionContentOutput {
                location: Some(self.location(&view.code)),
                code_sha256: Some(configuration::code_sha256(&view.code)),
                code_size: Some(long(configuration::code_size(&view.code))),
                signing_profile_version_arn: None,
                signing_job_arn: None,
                resolved_s3_object: None,
            }),
            layer_arn: Some(model::arn::layer(&view.id.layer)),
            layer_version_arn: item.layer_version_arn,
            description: item.description,
            created_date: item.created_date,
            version: item.version,
            compatible_architectures: item.compatible_architectures,
            compatible_runtimes: item.compatible_runtimes,
            license_info: item.license_info,
        }
    }
}

fn item(view: &LayerView) -> LayerVersionsListItem {
    let runtimes = view.runtimes.iter().map(|it| Runtime::from(it.clone()));
    let runtimes: Vec<Runtime> = runtimes.collect();
    let architectures = view.architectures.iter();
    let architectures: Vec<Architecture> = architectures
        .map(|it| Architecture::from(it.clone()))
        .collect();
    LayerVersionsListItem {
        layer_version_arn: Some(model::arn::layer_version(&view.id)),
        version: Some(long(view.id.number)),
        description: Some(view.description.clone()),
        created_date: Some(configuration::last_modified(view.created_ms)),
        compatible_architectures: (!architectures.is_empty()).then_some(architectures),
        compatible_runtimes: (!runtimes.is_empty()).then_some(runtimes),
        license_info: view.license.clone(),
    }
}

/// Whether a version says that it was made for these, where they are asked for.
fn fitting(
    runtime: Option<Runtime>,
    architecture: Option<Architecture>,
) -> impl Fn(&Arc<LayerView>) -> bool {
    move |view| {
        let runs = |wanted: &Runtime| view.runtimes.iter().any(|it| it == wanted.as_str());
        let fits = |wanted: &Architecture| {
            let given = &view.architectures;
            given.is_empty() || given.iter().any(|it| it == wanted.as_str())
        };
        runtime.as_ref().is_none_or(runs) && architecture.as_ref().is_none_or(fits)
    }
}

/// What an error about one version of a layer means.
pub(super) fn refusal_of_version(error: &Error, id: &LayerVersionId) -> Refusal {
    match error {
        Error::NotAllowed { .. } => Refusal::denied(model::arn::layer_version(id)),
        other => refusal(other),
    }
}

/// What an error about a layer means.
fn refusal(error: &Error) -> Refusal {
    match error {
        Error::NotThere { .. } => Refusal::new(
            kind::RESOURCE_NOT_FOUND,
            "The resource you requested does not exist.",
        ),
        Error::NotAllowed { name, .. } => Refusal::denied(name.clone()),
        Error::Invalid(model::ValidationError::CodeSize { .. }) => invalid(format!(
            "Unzipped size must be smaller than {} bytes",
            model::limit::UNPACKED_BYTES_MAX
        )),
        other => match other.fault() {
            model::Fault::Caller => invalid(other.to_string()),
            _ => Refusal::ours(other),
        },
    }
}
