//! Tags, how accepted events are tried, and settings that the service has and nothing here reads.

use std::collections::BTreeMap;

use engine::Error;
use engine::verb::Retries;
use http::{Response, StatusCode};
use model::{FunctionRef, Qualifier, VersionId};

use super::error::{Refusal, is_miss, kind};
use super::list::Page;
use super::shapes::choice::{RecursiveLoop, UpdateRuntimeOn};
use super::shapes::*;
use super::{Ask, configuration, empty, integer, invalid};
use crate::Body;
use crate::aws::Aws;
use crate::aws::shape::Timestamp;

/// Entries of lists shown at once where the caller does not say.
const PAGE: usize = 50;

/// Under which the function's answer to recursion is kept.
const RECURSION: &str = "recursion";

impl Aws {
    pub(super) async fn tag_resource(
        &self,
        ask: &Ask<'_>,
        request: TagResourceRequest,
    ) -> Result<Response<Body>, Refusal> {
        if request.tags.is_empty() {
            return Err(invalid(
                "An error occurred and the request cannot be processed.",
            ));
        }
        self.retag(ask, &request.resource, request.tags, Vec::new())
            .await
    }

    pub(super) async fn untag_resource(
        &self,
        ask: &Ask<'_>,
        request: UntagResourceRequest,
    ) -> Result<Response<Body>, Refusal> {
        self.retag(ask, &request.resource, BTreeMap::new(), request.tag_keys)
            .await
    }

    async fn retag(
        &self,
        ask: &Ask<'_>,
        resource: &str,
        add: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<Response<Body>, Refusal> {
        let target = tagged(ask, resource)?;
        check_tags(&add)?;
        let who = ask.principal();
        let tagged = self.engine.tag(&who, &target.function, add, remove).await;
        tagged.map_err(|error| match error {
            Error::TooMany { .. } => too_many_tags(),
            other => Refusal::of(&other, &target),
        })?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) fn list_tags(
        &self,
        ask: &Ask<'_>,
        request: ListTagsRequest,
    ) -> Result<ListTagsResponse, Refusal> {
        let target = tagged(ask, &request.resource)?;
        let view = self.found(ask, &target)?;
        Ok(ListTagsResponse {
            tags: Some(BTreeMap::clone(&view.tags)),
        })
    }

    pub(super) async fn put_event_invoke_config(
        &self,
        ask: &Ask<'_>,
        request: PutFunctionEventInvokeConfigRequest,
    ) -> Result<FunctionEventInvokeConfig, Refusal> {
        let target = event_target(ask, &request.function_name, request.qualifier.as_deref())?;
        let given = Retries {
            retries_max: small(request.maximum_retry_attempts),
            age_max_s: whole(request.maximum_event_age_in_seconds),
            changed_ms: 0,
        };
        self.found_or(ask, &target, no_function)?;
        let nothing = given.retries_max.is_none() && given.age_max_s.is_none();
        if nothing && request.destination_config.is_none() {
            return Err(invalid(
                "You must specify at least one of error handling or destination setting.",
            ));
        }
        no_destinations(request.destination_config.as_ref())?;
        self.set_retries(ask, &target, move |_| Ok(Some(given)))
            .await
    }

    pub(super) async fn update_event_invoke_config(
        &self,
        ask: &Ask<'_>,
        request: UpdateFunctionEventInvokeConfigRequest,
    ) -> Result<FunctionEventInvokeConfig, Refusal> {
        no_destinations(request.destination_config.as_ref())?;
        let target = event_target(ask, &request.function_name, request.qualifier.as_deref())?;
        let retries_max = small(request.maximum_retry_attempts);
        let age_max_s = whole(request.maximum_event_age_in_seconds);
        self.set_retries(ask, &target, move |before| {
            let before = before.ok_or_else(none_decided)?;
            Ok(Some(Retries {
                retries_max: retries_max.or(before.retries_max),
                age_max_s: age_max_s.or(before.age_max_s),
                changed_ms: 0,
            }))
        })
        .await
    }

    async fn set_retries(
        &self,
        ask: &Ask<'_>,
        target: &FunctionRef,
        edit: impl FnOnce(Option<Retries>) -> Result<Option<Retries>, Error> + Send + 'static,
    ) -> Result<FunctionEventInvokeConfig, Refusal> {
        let who = ask.principal();
        let set = self.engine.set_retries(&who, target, edit);
        let set = set.await.map_err(|error| retries_refusal(&error, target))?;
        Ok(shown(target, set.unwrap_or_default()))
    }

    pub(super) async fn delete_event_invoke_config(
        &self,
        ask: &Ask<'_>,
        request: DeleteFunctionEventInvokeConfigRequest,
    ) -> Result<Response<Body>, Refusal> {
        let target = event_target(ask, &request.function_name, request.qualifier.as_deref())?;
        let who = ask.principal();
        let set = self.engine.set_retries(&who, &target, |before| {
            before.ok_or_else(none_decided).map(|_| None)
        });
        set.await
            .map_err(|error| retries_refusal(&error, &target))?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) fn get_event_invoke_config(
        &self,
        ask: &Ask<'_>,
        request: GetFunctionEventInvokeConfigRequest,
    ) -> Result<FunctionEventInvokeConfig, Refusal> {
        let target = event_target(ask, &request.function_name, request.qualifier.as_deref())?;
        self.found_or(ask, &target, || retries_refusal(&none_decided(), &target))?;
        let decided = self.engine.retries(&target);
        let decided = decided.map_err(|error| Refusal::of(&error, &target))?;
        let decided = decided.ok_or_else(|| retries_refusal(&none_decided(), &target))?;
        Ok(shown(&target, decided))
    }

    pub(super) fn list_event_invoke_configs(
        &self,
        ask: &Ask<'_>,
        request: ListFunctionEventInvokeConfigsRequest,
    ) -> Result<ListFunctionEventInvokeConfigsResponse, Refusal> {
        let page = Page::of(request.max_items, request.marker.as_deref(), PAGE)?;
        let target = ask.whole(&request.function_name)?;
        self.found_or(ask, &target, no_function)?;
        let all = self.engine.all_retries(&target.function);
        let all = all.map_err(|error| Refusal::of(&error, &target))?;
        let configs = all.into_iter().map(|(qualifier, decided)| {
            let target = FunctionRef {
                qualifier,
                ..target.clone()
            };
            shown(&target, decided)
        });
        let (function_event_invoke_configs, next_marker) = page.cut(configs.collect());
        Ok(ListFunctionEventInvokeConfigsResponse {
            function_event_invoke_configs,
            next_marker,
        })
    }

    pub(super) fn get_recursion(
        &self,
        ask: &Ask<'_>,
        request: GetFunctionRecursionConfigRequest,
    ) -> Result<GetFunctionRecursionConfigResponse, Refusal> {
        let target = ask.whole(&request.function_name)?;
        self.found(ask, &target)?;
        let kept = self.engine.kept(&target.function, RECURSION);
        let kept = kept.map_err(|error| Refusal::of(&error, &target))?;
        Ok(GetFunctionRecursionConfigResponse {
            recursive_loop: Some(kept.map_or(RecursiveLoop::Terminate, RecursiveLoop::from)),
        })
    }

    pub(super) async fn put_recursion(
        &self,
        ask: &Ask<'_>,
        request: PutFunctionRecursionConfigRequest,
    ) -> Result<PutFunctionRecursionConfigResponse, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let text = request.recursive_loop.as_str().to_owned();
        let who = ask.principal();
        let keeping = self
            .engine
            .keep(&who, &target.function, RECURSION, Some(text));
        keeping
            .await
            .map_err(|error| Refusal::of(&error, &target))?;
        Ok(PutFunctionRecursionConfigResponse {
            recursive_loop: Some(request.recursive_loop),
        })
    }

    pub(super) fn get_runtime_management(
        &self,
        ask: &Ask<'_>,
        request: GetRuntimeManagementConfigRequest,
    ) -> Result<GetRuntimeManagementConfigResponse, Refusal> {
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        self.found(ask, &target)?;
        let kept = self
            .engine
            .kept(&target.function, &runtime_management(&target));
        let kept = kept.map_err(|error| Refusal::of(&error, &target))?;
        Ok(GetRuntimeManagementConfigResponse {
            update_runtime_on: Some(kept.map_or(UpdateRuntimeOn::Auto, UpdateRuntimeOn::from)),
            function_arn: Some(arn_with_version(&target)),
            runtime_version_arn: None,
        })
    }

    pub(super) async fn put_runtime_management(
        &self,
        ask: &Ask<'_>,
        request: PutRuntimeManagementConfigRequest,
    ) -> Result<PutRuntimeManagementConfigResponse, Refusal> {
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        let view = self.found(ask, &target)?;
        if request.update_runtime_on == UpdateRuntimeOn::Manual {
            let Some(wanted) = &request.runtime_version_arn else {
                return Err(invalid(
                    "RuntimeVersionArn is required when UpdateRuntimeOn is Manual.",
                ));
            };
            if *wanted != configuration::runtime_version_arn(&view) {
                return Err(invalid(format!(
                    "Runtime Version {wanted} is not here; a runtime has one version, which is that of its interpreter."
                )));
            }
        }
        let (who, name) = (ask.principal(), runtime_management(&target));
        let text = request.update_runtime_on.as_str().to_owned();
        let keeping = self.engine.keep(&who, &target.function, name, Some(text));
        keeping
            .await
            .map_err(|error| Refusal::of(&error, &target))?;
        Ok(PutRuntimeManagementConfigResponse {
            update_runtime_on: Some(request.update_runtime_on),
            function_arn: Some(arn_with_version(&target)),
            runtime_version_arn: request.runtime_version_arn,
        })
    }

    /// No version has any: instances are started as they are needed.
    pub(super) fn get_provisioned(
        &self,
        ask: &Ask<'_>,
        request: GetProvisionedConcurrencyConfigRequest,
    ) -> Result<ListProvisionedConcurrencyConfigsResponse, Refusal> {
        let target = ask.target(&request.function_name, Some(&request.qualifier))?;
        if target.qualifier == Qualifier::Version(VersionId::Latest) {
            return Err(invalid(
                "The function resource provided must be an alias or a published version.",
            ));
        }
        self.found_or_alias(ask, &target)?;
        Err(Refusal::new(
            kind::PROVISIONED_CONCURRENCY_CONFIG_NOT_FOUND,
            "No Provisioned Concurrency Config found for this function",
        ))
    }

    pub(super) fn delete_provisioned(
        &self,
        ask: &Ask<'_>,
        request: DeleteProvisionedConcurrencyConfigRequest,
    ) -> Result<Response<Body>, Refusal> {
        let target = ask.target(&request.function_name, Some(&request.qualifier))?;
        if target.qualifier == Qualifier::Version(VersionId::Latest) {
            return Err(invalid(
                "The function resource provided must be an alias or a published version.",
            ));
        }
        self.found_or_alias(ask, &target)?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) fn list_provisioned(
        &self,
        ask: &Ask<'_>,
        request: ListProvisionedConcurrencyConfigsRequest,
    ) -> Result<ListProvisionedConcurrencyConfigsResponse, Refusal> {
        self.found(ask, &ask.whole(&request.function_name)?)?;
        Ok(ListProvisionedConcurrencyConfigsResponse {
            provisioned_concurrency_configs: Some(Vec::new()),
            next_marker: None,
        })
    }
}

/// The function that an ARN names, for what can only be had by ARN.
fn tagged(ask: &Ask<'_>, resource: &str) -> Result<FunctionRef, Refusal> {
    if !resource.starts_with("arn:") || !resource.contains(":function:") {
        return Err(invalid(format!(
            "Tags are kept of functions here; {resource} is the ARN of none."
        )));
    }
    let target = ask.target(resource, None)?;
    if target.qualifier != Qualifier::Absent {
        return Err(invalid(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        ));
    }
    Ok(target)
}

fn event_target(
    ask: &Ask<'_>,
    name: &str,
    qualifier: Option<&str>,
) -> Result<FunctionRef, Refusal> {
    ask.target(name, qualifier)
}

fn no_destinations(given: Option<&DestinationConfig>) -> Result<(), Refusal> {
    let some = given.is_some_and(|given| {
        let success = given
            .on_success
            .as_ref()
            .and_then(|it| it.destination.as_ref());
        let failure = given
            .on_failure
            .as_ref()
            .and_then(|it| it.destination.as_ref());
        success.or(failure).is_some()
    });
    if some {
        Err(invalid(
            "Destinations are not served here yet; retries and ages are. Leave DestinationConfig out.",
        ))
    } else {
        Ok(())
    }
}

fn small(given: Option<i32>) -> Option<u8> {
    given.and_then(|given| u8::try_from(given).ok())
}

fn whole(given: Option<i32>) -> Option<u32> {
    given.and_then(|given| u32::try_from(given).ok())
}

fn none_decided() -> Error {
    Error::NotThere {
        thing: "event invoke config",
        name: String::new(),
    }
}

/// What is told of a function, version or alias that is to have a config and is not there.
fn no_function() -> Refusal {
    Refusal::new(kind::RESOURCE_NOT_FOUND, "The function doesn't exist.")
}

/// Refuses tags that are the service's own to give.
pub(super) fn check_tags(add: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if add.keys().any(|key| key.starts_with("aws:")) {
        return Err(invalid(
            "System tags (aws:*) cannot be added, changed or removed.",
        ));
    }
    Ok(())
}

pub(super) fn too_many_tags() -> Refusal {
    invalid("Number of tags exceeds resource tag limit.")
}

fn retries_refusal(error: &Error, target: &FunctionRef) -> Refusal {
    match error {
        missed if matches!(missed, Error::NotThere { .. }) || is_miss(missed) => {
            let arn = arn_with_version(target);
            let message = format!("The function {arn} doesn't have an EventInvokeConfig");
            Refusal::new(kind::RESOURCE_NOT_FOUND, message)
        }
        other => Refusal::of(other, target),
    }
}

fn shown(target: &FunctionRef, decided: Retries) -> FunctionEventInvokeConfig {
    FunctionEventInvokeConfig {
        last_modified: Some(Timestamp {
            ms: i64::try_from(decided.changed_ms).unwrap_or(i64::MAX),
        }),
        function_arn: Some(arn_with_version(target)),
        maximum_retry_attempts: decided.retries_max.map(integer),
        maximum_event_age_in_seconds: decided.age_max_s.map(integer),
        destination_config: Some(DestinationConfig {
            on_success: Some(OnSuccess { destination: None }),
            on_failure: Some(OnFailure { destination: None }),
        }),
    }
}

/// The ARN with `$LATEST` where the caller named no version.
fn arn_with_version(target: &FunctionRef) -> String {
    match target.qualifier {
        Qualifier::Absent => {
            let latest = FunctionRef {
                qualifier: Qualifier::Version(VersionId::Latest),
                ..target.clone()
            };
            model::arn::reference(&latest)
        }
        _ => model::arn::reference(target),
    }
}

fn runtime_management(target: &FunctionRef) -> String {
    let qualifier = match &target.qualifier {
        Qualifier::Absent => "$LATEST".to_owned(),
        Qualifier::Version(version) => version.to_string(),
        Qualifier::Alias(alias) => alias.to_string(),
    };
    format!("runtime management {qualifier}")
}
