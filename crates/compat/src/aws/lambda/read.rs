//! Operations that read one function: its configuration, code, URL and settings.

use std::collections::BTreeMap;

use super::error::Refusal;
use super::shapes::*;
use super::{Ask, configuration, integer, long};
use crate::aws::Aws;
use model::limit;

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
            location: Some(self.location(&function.config.code)),
            ..FunctionCodeLocation::default()
        };
        let concurrency = function.reserved_concurrency.map(|reserved| Concurrency {
            reserved_concurrent_executions: Some(integer(reserved)),
        });
        Ok(GetFunctionResponse {
            configuration: Some(configuration::whole(&function, &target)),
            code: Some(code),
            concurrency,
            tags: (!function.tags.is_empty()).then(|| BTreeMap::clone(&function.tags)),
            ..GetFunctionResponse::default()
        })
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
    pub(super) fn get_account_settings(&self, ask: &Ask<'_>) -> GetAccountSettingsResponse {
        let functions = self
            .engine
            .list(&ask.caller.account, Some(&ask.caller.region));
        let used: u64 = functions
            .iter()
            .map(|function| configuration::code_size(&function.config.code))
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
