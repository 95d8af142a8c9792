//! Operations on one function: its configuration, alias, URL, settings, and its end.

use http::{Response, StatusCode};
use model::{AliasName, Qualifier, limit};
use serde_json::json;

use super::super::Aws;
use super::error::{Kind, Refusal};
use super::{Ask, configuration, empty, json};
use crate::Body;

impl Aws {
    pub(super) fn get_function_configuration(
        &self,
        ask: &Ask<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let target = ask.target()?;
        let function = self.found(ask, &target)?;
        json(StatusCode::OK, &configuration::whole(&function, &target))
    }

    pub(super) fn get_function(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let target = ask.target()?;
        let function = self.found(ask, &target)?;
        let mut answer = json!({
            "Configuration": configuration::whole(&function, &target),
            "Code": { "RepositoryType": "S3" },
        });
        if let Some(reserved) = function.reserved_concurrency {
            answer["Concurrency"] = json!({ "ReservedConcurrentExecutions": reserved });
        }
        json(StatusCode::OK, &answer)
    }

    pub(super) async fn delete_function(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let target = ask.target()?;
        if target.qualifier != Qualifier::Absent {
            return Err(Refusal::unserved("DeleteFunction of one version"));
        }
        let removed = self.engine.remove(&ask.principal(), &target.function).await;
        removed.map_err(|error| Refusal::of(&error, &target))?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) fn get_alias(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let target = ask.whole()?;
        let function = self.found(ask, &target)?;
        let name = ask.labels.get(1).map(String::as_str).unwrap_or_default();
        let alias: Option<AliasName> = name.parse().ok();
        let found = function
            .aliases
            .iter()
            .find(|known| Some(&known.name) == alias.as_ref());
        let Some(alias) = found else {
            let arn = model::arn::function(&function.id);
            let message = format!("Cannot find alias arn: {arn}:{name}");
            return Err(Refusal::new(Kind::ResourceNotFound, message));
        };
        json(StatusCode::OK, &configuration::alias(&function, alias))
    }

    pub(super) fn get_function_url(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let target = ask.whole()?;
        let function = self.found(ask, &target)?;
        let Some(url) = &function.url else {
            let message = "The resource you requested does not exist.";
            return Err(Refusal::new(Kind::ResourceNotFound, message));
        };
        json(
            StatusCode::OK,
            &configuration::url(&function, url, &self.settings),
        )
    }

    pub(super) fn get_concurrency(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let function = self.found(ask, &ask.whole()?)?;
        let answer = match function.reserved_concurrency {
            Some(reserved) => json!({ "ReservedConcurrentExecutions": reserved }),
            None => json!({}),
        };
        json(StatusCode::OK, &answer)
    }

    /// No function has one: deployments are not signed here.
    pub(super) fn get_code_signing(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let function = self.found(ask, &ask.whole()?)?;
        json(
            StatusCode::OK,
            &json!({ "FunctionName": function.id.name.as_str() }),
        )
    }

    pub(super) fn get_account_settings(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let functions = self
            .engine
            .list(&ask.caller.account, Some(&ask.caller.region));
        let used: u64 = functions
            .iter()
            .map(|function| function.config.code.size_bytes)
            .sum();
        let concurrency = self.settings.account_concurrency;
        let reserved = functions
            .iter()
            .filter_map(|function| function.reserved_concurrency);
        let reserved = reserved.fold(0_u32, u32::saturating_add);
        let answer = json!({
            "AccountLimit": {
                "TotalCodeSize": TOTAL_CODE_BYTES,
                "CodeSizeUnzipped": limit::UNPACKED_BYTES_MAX,
                "CodeSizeZipped": ZIPPED_BYTES_MAX,
                "ConcurrentExecutions": concurrency,
                "UnreservedConcurrentExecutions": concurrency.saturating_sub(reserved),
            },
            "AccountUsage": { "TotalCodeSize": used, "FunctionCount": functions.len() },
        });
        json(StatusCode::OK, &answer)
    }
}

/// Code of all functions of an account, in bytes: 75 GiB (AWS quota).
const TOTAL_CODE_BYTES: u64 = 75 * 1024 * 1024 * 1024;
/// A zip archive sent directly, in bytes (AWS quota).
const ZIPPED_BYTES_MAX: u64 = 52_428_800;
