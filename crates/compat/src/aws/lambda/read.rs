//! Operations on one function: its configuration, alias, URL, settings, and its end.

use super::error::{Refusal, kind};
use super::shapes::*;
use super::{Ask, configuration, empty, integer, long};
use crate::Body;
use crate::aws::Aws;
use http::{Response, StatusCode};
use model::{AliasName, Qualifier, limit};

impl Aws {
    pub(super) fn get_function_configuration(
        &self,
        ask: &Ask<'_>,
        request: GetFunctionConfigurationRequest,
    ) -> Result<FunctionConfiguration, Refusal> {
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        let function = self.found(ask, &target)?;
        Ok(configuration::whole(&function, &target))
    }

    pub(super) fn get_function(
        &self,
        ask: &Ask<'_>,
        request: GetFunctionRequest,
    ) -> Result<GetFunctionResponse, Refusal> {
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        let function = self.found(ask, &target)?;
        let code = FunctionCodeLocation {
            repository_type: Some("S3".to_owned()),
            ..FunctionCodeLocation::default()
        };
        let concurrency = function.reserved_concurrency.map(|reserved| Concurrency {
            reserved_concurrent_executions: Some(integer(reserved)),
        });
        Ok(GetFunctionResponse {
            configuration: Some(configuration::whole(&function, &target)),
            code: Some(code),
            concurrency,
            ..GetFunctionResponse::default()
        })
    }

    pub(super) async fn delete_function(
        &self,
        ask: &Ask<'_>,
        request: DeleteFunctionRequest,
    ) -> Result<Response<Body>, Refusal> {
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        if target.qualifier != Qualifier::Absent {
            return Err(Refusal::unserved("DeleteFunction of one version"));
        }
        let removed = self.engine.remove(&ask.principal(), &target.function).await;
        removed.map_err(|error| Refusal::of(&error, &target))?;
        // The model says 200, and the service has long answered this.
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) fn get_alias(
        &self,
        ask: &Ask<'_>,
        request: GetAliasRequest,
    ) -> Result<AliasConfiguration, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let function = self.found(ask, &target)?;
        let alias: Option<AliasName> = request.name.parse().ok();
        let found = function
            .aliases
            .iter()
            .find(|known| Some(&known.name) == alias.as_ref());
        let Some(alias) = found else {
            let arn = model::arn::function(&function.id);
            let message = format!("Cannot find alias arn: {arn}:{}", request.name);
            return Err(Refusal::new(kind::RESOURCE_NOT_FOUND, message));
        };
        Ok(configuration::alias(&function, alias))
    }

    pub(super) fn get_function_url(
        &self,
        ask: &Ask<'_>,
        request: GetFunctionUrlConfigRequest,
    ) -> Result<FunctionUrlConfig, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let function = self.found(ask, &target)?;
        let Some(url) = &function.url else {
            let message = "The resource you requested does not exist.";
            return Err(Refusal::new(kind::RESOURCE_NOT_FOUND, message));
        };
        Ok(configuration::url(&function, url, &self.settings))
    }

    pub(super) fn get_concurrency(
        &self,
        ask: &Ask<'_>,
        request: GetFunctionConcurrencyRequest,
    ) -> Result<GetFunctionConcurrencyResponse, Refusal> {
        let function = self.found(ask, &ask.whole(&request.function_name)?)?;
        Ok(GetFunctionConcurrencyResponse {
            reserved_concurrent_executions: function.reserved_concurrency.map(integer),
        })
    }

    /// No function has one: deployments are not signed here.
    pub(super) fn get_code_signing(
        &self,
        ask: &Ask<'_>,
        request: GetFunctionCodeSigningConfigRequest,
    ) -> Result<GetFunctionCodeSigningConfigResponse, Refusal> {
        let function = self.found(ask, &ask.whole(&request.function_name)?)?;
        Ok(GetFunctionCodeSigningConfigResponse {
            function_name: Some(function.id.name.to_string()),
            ..GetFunctionCodeSigningConfigResponse::default()
        })
    }

    pub(super) fn get_account_settings(&self, ask: &Ask<'_>) -> GetAccountSettingsResponse {
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
        GetAccountSettingsResponse {
            account_limit: Some(AccountLimit {
                total_code_size: Some(TOTAL_CODE_BYTES),
                code_size_unzipped: Some(long(limit::UNPACKED_BYTES_MAX)),
                code_size_zipped: Some(ZIPPED_BYTES_MAX),
                concurrent_executions: Some(integer(concurrency)),
                unreserved_concurrent_executions: Some(integer(
                    concurrency.saturating_sub(reserved),
                )),
            }),
            account_usage: Some(AccountUsage {
                total_code_size: Some(long(used)),
                function_count: Some(long(functions.len())),
            }),
        }
    }
}

/// Code of all functions of an account, in bytes: 75 GiB (AWS quota).
const TOTAL_CODE_BYTES: i64 = 75 * 1024 * 1024 * 1024;
/// A zip archive sent directly, in bytes (AWS quota).
const ZIPPED_BYTES_MAX: i64 = 52_428_800;
