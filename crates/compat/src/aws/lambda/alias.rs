//! Operations on aliases.

use std::collections::BTreeMap;

use engine::Error;
use engine::verb::{AliasChange, Expected};
use http::{Response, StatusCode};
use model::{AliasName, FunctionRef, Qualifier, VersionId};

use super::error::{Refusal, kind};
use super::shapes::*;
use super::{Ask, configuration, empty, function, invalid};
use crate::Body;
use crate::aws::Aws;
use crate::aws::shape::Kind;

impl Aws {
    pub(super) async fn create_alias(
        &self,
        ask: &Ask<'_>,
        request: CreateAliasRequest,
    ) -> Result<AliasConfiguration, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let name = alias_name(&request.name)?;
        let others = request.routing_config;
        let main = version(&request.function_version)?;
        let change = AliasChange {
            expected: Expected::Absent,
            routes: Some(routes(main, weights(others)?)?),
            description: request.description,
        };
        // One that is not there is told with the version that was asked for.
        if let Err(error @ Error::NotFound { .. }) = self.engine.find(&target) {
            let qualifier = Qualifier::Version(main);
            return Err(Refusal::of(
                &error,
                &FunctionRef {
                    qualifier,
                    ..target
                },
            ));
        }
        self.change_alias(ask, &target, &name, change).await
    }

    pub(super) async fn update_alias(
        &self,
        ask: &Ask<'_>,
        request: UpdateAliasRequest,
    ) -> Result<AliasConfiguration, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let name = alias_name(&request.name)?;
        let view = self.found(ask, &target)?;
        let before = view.aliases.iter().find(|alias| alias.name == name);
        let before = before.ok_or_else(|| missing(&view, &request.name))?;
        let expected = match &request.revision_id {
            None => Expected::Present,
            Some(given) if *given == configuration::alias_revision(&view, before) => {
                Expected::Revision(before.revision)
            }
            Some(_) => return Err(function::stale()),
        };
        let main = before.routes.first().map(|(version, _)| *version);
        let main = match &request.function_version {
            Some(given) => version(given)?,
            None => main.unwrap_or(VersionId::Latest),
        };
        let others = match request.routing_config {
            Some(given) => weights(Some(given))?,
            None => before.routes.iter().skip(1).copied().collect(),
        };
        let change = AliasChange {
            expected,
            routes: Some(routes(main, others)?),
            description: request.description,
        };
        self.change_alias(ask, &target, &name, change).await
    }

    async fn change_alias(
        &self,
        ask: &Ask<'_>,
        target: &FunctionRef,
        name: &AliasName,
        change: AliasChange,
    ) -> Result<AliasConfiguration, Refusal> {
        let arn = format!("{}:{name}", model::arn::function(&target.function));
        let changed = self
            .engine
            .set_alias(&ask.principal(), &target.function, name, change)
            .await;
        let alias = changed.map_err(|error| match error {
            Error::AlreadyThere { .. } => {
                let message = format!("Alias already exists: {arn}");
                Refusal::new(kind::RESOURCE_CONFLICT, message)
            }
            Error::NotThere { .. } => Refusal::new(
                kind::RESOURCE_NOT_FOUND,
                format!("Cannot find alias arn: {arn}"),
            ),
            Error::Stale { .. } => function::stale(),
            Error::VersionNotFound { function, version } => {
                let qualifier = Qualifier::Version(version);
                let target = FunctionRef {
                    function,
                    qualifier,
                };
                let arn = model::arn::reference(&target);
                Refusal::new(
                    kind::RESOURCE_NOT_FOUND,
                    format!("Function not found: {arn}"),
                )
            }
            Error::InvalidRoutes { problem, .. } => invalid(problem),
            other => Refusal::of(&other, target),
        })?;
        let view = self.found(ask, target)?;
        Ok(configuration::alias(&view, &alias))
    }

    pub(super) async fn delete_alias(
        &self,
        ask: &Ask<'_>,
        request: DeleteAliasRequest,
    ) -> Result<Response<Body>, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let name = alias_name(&request.name)?;
        let who = ask.principal();
        let removed = self.engine.remove_alias(&who, &target.function, &name);
        removed
            .await
            .map_err(|error| Refusal::of(&error, &target))?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) fn get_alias(
        &self,
        ask: &Ask<'_>,
        request: GetAliasRequest,
    ) -> Result<AliasConfiguration, Refusal> {
        let view = self.found(ask, &ask.whole(&request.function_name)?)?;
        let mut aliases = view.aliases.iter();
        let alias = aliases.find(|alias| alias.name.as_str() == request.name);
        let alias = alias.ok_or_else(|| missing(&view, &request.name))?;
        Ok(configuration::alias(&view, alias))
    }
}

fn missing(view: &engine::verb::FunctionView, name: &str) -> Refusal {
    let arn = model::arn::function(&view.id);
    let message = format!("Cannot find alias arn: {arn}:{name}");
    Refusal::new(kind::RESOURCE_NOT_FOUND, message)
}

fn alias_name(text: &str) -> Result<AliasName, Refusal> {
    text.parse().map_err(|error| invalid(format!("{error}")))
}

fn version(text: &str) -> Result<VersionId, Refusal> {
    text.parse().map_err(|error| invalid(format!("{error}")))
}

/// What other versions get of the invocations.
fn weights(given: Option<AliasRoutingConfiguration>) -> Result<Vec<(VersionId, f64)>, Refusal> {
    let given: BTreeMap<String, f64> = given
        .and_then(|given| given.additional_version_weights)
        .unwrap_or_default();
    if given.len() > 1 {
        return Err(invalid(
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ));
    }
    given
        .iter()
        .map(|(text, weight)| Ok((version(text)?, *weight)))
        .collect()
}

/// The main version gets what the others leave.
fn routes(
    main: VersionId,
    others: Vec<(VersionId, f64)>,
) -> Result<Vec<(VersionId, f64)>, Refusal> {
    if others.iter().any(|(other, _)| *other == main) {
        return Err(invalid(format!(
            "Invalid function version {main}. Function version {main} is already included in routing configuration."
        )));
    }
    if main == VersionId::Latest && !others.is_empty() {
        let message = "$LATEST is not supported for an alias pointing to more than 1 version";
        return Err(Refusal::new(UNTYPED, message));
    }
    let rest: f64 = others.iter().map(|(_, weight)| weight).sum();
    Ok(std::iter::once((main, 1.0 - rest)).chain(others).collect())
}

/// A value that is not valid, where the service leaves out whose fault that is.
const UNTYPED: Kind = Kind::new("InvalidParameterValueException", 400, "message", false);
