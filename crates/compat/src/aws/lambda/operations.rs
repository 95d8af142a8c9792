//! The 91 operations of the Lambda API: which request names which. Written from the public
//! service model (2015-03-31, as of botocore 1.44).

use http::Method;

/// One operation of the API.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    method: Method,
    /// Path with `{Label}` for a segment that a caller chooses.
    path: &'static str,
    /// A query parameter that tells it from another operation at the same path.
    query: &'static str,
}

/// The operation that a request asks for, with the segments that the caller chose, still
/// escaped.
pub(super) fn find<'p>(
    method: &Method,
    path: &'p str,
    query: &str,
) -> Option<(&'static Operation, Vec<&'p str>)> {
    // Older clients end collections with a slash.
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut found = None;
    for operation in OPERATIONS
        .iter()
        .filter(|operation| operation.method == *method)
    {
        let Some(labels) = labels(operation.path, path) else {
            continue;
        };
        if operation.query.is_empty() {
            found = found.or(Some((operation, labels)));
        } else if query.split('&').any(|pair| pair == operation.query) {
            return Some((operation, labels));
        }
    }
    found
}

/// The chosen segments of a path, where it has the pattern.
fn labels<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut labels = Vec::new();
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        let segment = segments.next()?;
        if wanted.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            labels.push(segment);
        } else if segment != wanted {
            return None;
        }
    }
    segments.next().is_none().then_some(labels)
}

const fn op(
    method: Method,
    path: &'static str,
    query: &'static str,
    name: &'static str,
) -> Operation {
    Operation {
        name,
        method,
        path,
        query,
    }
}

#[rustfmt::skip]
const OPERATIONS: &[Operation] = &[
    op(Method::POST, "/2014-11-13/functions/{FunctionName}/invoke-async", "", "InvokeAsync"),
    op(Method::GET, "/2015-03-31/event-source-mappings", "", "ListEventSourceMappings"),
    op(Method::POST, "/2015-03-31/event-source-mappings", "", "CreateEventSourceMapping"),
    op(Method::DELETE, "/2015-03-31/event-source-mappings/{UUID}", "", "DeleteEventSourceMapping"),
    op(Method::GET, "/2015-03-31/event-source-mappings/{UUID}", "", "GetEventSourceMapping"),
    op(Method::PUT, "/2015-03-31/event-source-mappings/{UUID}", "", "UpdateEventSourceMapping"),
    op(Method::GET, "/2015-03-31/functions", "", "ListFunctions"),
    op(Method::POST, "/2015-03-31/functions", "", "CreateFunction"),
    op(Method::DELETE, "/2015-03-31/functions/{FunctionName}", "", "DeleteFunction"),
    op(Method::GET, "/2015-03-31/functions/{FunctionName}", "", "GetFunction"),
    op(Method::GET, "/2015-03-31/functions/{FunctionName}/aliases", "", "ListAliases"),
    op(Method::POST, "/2015-03-31/functions/{FunctionName}/aliases", "", "CreateAlias"),
    op(Method::DELETE, "/2015-03-31/functions/{FunctionName}/aliases/{Name}", "", "DeleteAlias"),
    op(Method::GET, "/2015-03-31/functions/{FunctionName}/aliases/{Name}", "", "GetAlias"),
    op(Method::PUT, "/2015-03-31/functions/{FunctionName}/aliases/{Name}", "", "UpdateAlias"),
    op(Method::PUT, "/2015-03-31/functions/{FunctionName}/code", "", "UpdateFunctionCode"),
    op(Method::GET, "/2015-03-31/functions/{FunctionName}/configuration", "", "GetFunctionConfiguration"),
    op(Method::PUT, "/2015-03-31/functions/{FunctionName}/configuration", "", "UpdateFunctionConfiguration"),
    op(Method::POST, "/2015-03-31/functions/{FunctionName}/invocations", "", "Invoke"),
    op(Method::GET, "/2015-03-31/functions/{FunctionName}/policy", "", "GetPolicy"),
    op(Method::POST, "/2015-03-31/functions/{FunctionName}/policy", "", "AddPermission"),
    op(Method::DELETE, "/2015-03-31/functions/{FunctionName}/policy/{StatementId}", "", "RemovePermission"),
    op(Method::GET, "/2015-03-31/functions/{FunctionName}/versions", "", "ListVersionsByFunction"),
    op(Method::POST, "/2015-03-31/functions/{FunctionName}/versions", "", "PublishVersion"),
    op(Method::GET, "/2016-08-19/account-settings", "", "GetAccountSettings"),
    op(Method::DELETE, "/2017-03-31/tags/{Resource}", "", "UntagResource"),
    op(Method::GET, "/2017-03-31/tags/{Resource}", "", "ListTags"),
    op(Method::POST, "/2017-03-31/tags/{Resource}", "", "TagResource"),
    op(Method::DELETE, "/2017-10-31/functions/{FunctionName}/concurrency", "", "DeleteFunctionConcurrency"),
    op(Method::PUT, "/2017-10-31/functions/{FunctionName}/concurrency", "", "PutFunctionConcurrency"),
    op(Method::GET, "/2018-10-31/layers", "", "ListLayers"),
    op(Method::GET, "/2018-10-31/layers/{LayerName}/versions", "", "ListLayerVersions"),
    op(Method::POST, "/2018-10-31/layers/{LayerName}/versions", "", "PublishLayerVersion"),
    op(Method::DELETE, "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}", "", "DeleteLayerVersion"),
    op(Method::GET, "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}", "", "GetLayerVersion"),
    op(Method::GET, "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy", "", "GetLayerVersionPolicy"),
    op(Method::POST, "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy", "", "AddLayerVersionPermission"),
    op(Method::DELETE, "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy/{StatementId}", "", "RemoveLayerVersionPermission"),
    op(Method::GET, "/2018-10-31/layers", "find=LayerVersion", "GetLayerVersionByArn"),
    op(Method::DELETE, "/2019-09-25/functions/{FunctionName}/event-invoke-config", "", "DeleteFunctionEventInvokeConfig"),
    op(Method::GET, "/2019-09-25/functions/{FunctionName}/event-invoke-config", "", "GetFunctionEventInvokeConfig"),
    op(Method::POST, "/2019-09-25/functions/{FunctionName}/event-invoke-config", "", "UpdateFunctionEventInvokeConfig"),
    op(Method::PUT, "/2019-09-25/functions/{FunctionName}/event-invoke-config", "", "PutFunctionEventInvokeConfig"),
    op(Method::GET, "/2019-09-25/functions/{FunctionName}/event-invoke-config/list", "", "ListFunctionEventInvokeConfigs"),
    op(Method::GET, "/2019-09-30/functions/{FunctionName}/concurrency", "", "GetFunctionConcurrency"),
    op(Method::DELETE, "/2019-09-30/functions/{FunctionName}/provisioned-concurrency", "", "DeleteProvisionedConcurrencyConfig"),
    op(Method::GET, "/2019-09-30/functions/{FunctionName}/provisioned-concurrency", "", "GetProvisionedConcurrencyConfig"),
    op(Method::PUT, "/2019-09-30/functions/{FunctionName}/provisioned-concurrency", "", "PutProvisionedConcurrencyConfig"),
    op(Method::GET, "/2019-09-30/functions/{FunctionName}/provisioned-concurrency", "List=ALL", "ListProvisionedConcurrencyConfigs"),
    op(Method::GET, "/2020-04-22/code-signing-configs", "", "ListCodeSigningConfigs"),
    op(Method::POST, "/2020-04-22/code-signing-configs", "", "CreateCodeSigningConfig"),
    op(Method::DELETE, "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}", "", "DeleteCodeSigningConfig"),
    op(Method::GET, "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}", "", "GetCodeSigningConfig"),
    op(Method::PUT, "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}", "", "UpdateCodeSigningConfig"),
    op(Method::GET, "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}/functions", "", "ListFunctionsByCodeSigningConfig"),
    op(Method::DELETE, "/2020-06-30/functions/{FunctionName}/code-signing-config", "", "DeleteFunctionCodeSigningConfig"),
    op(Method::GET, "/2020-06-30/functions/{FunctionName}/code-signing-config", "", "GetFunctionCodeSigningConfig"),
    op(Method::PUT, "/2020-06-30/functions/{FunctionName}/code-signing-config", "", "PutFunctionCodeSigningConfig"),
    op(Method::GET, "/2021-07-20/functions/{FunctionName}/runtime-management-config", "", "GetRuntimeManagementConfig"),
    op(Method::PUT, "/2021-07-20/functions/{FunctionName}/runtime-management-config", "", "PutRuntimeManagementConfig"),
    op(Method::DELETE, "/2021-10-31/functions/{FunctionName}/url", "", "DeleteFunctionUrlConfig"),
    op(Method::GET, "/2021-10-31/functions/{FunctionName}/url", "", "GetFunctionUrlConfig"),
    op(Method::POST, "/2021-10-31/functions/{FunctionName}/url", "", "CreateFunctionUrlConfig"),
    op(Method::PUT, "/2021-10-31/functions/{FunctionName}/url", "", "UpdateFunctionUrlConfig"),
    op(Method::GET, "/2021-10-31/functions/{FunctionName}/urls", "", "ListFunctionUrlConfigs"),
    op(Method::POST, "/2021-11-15/functions/{FunctionName}/response-streaming-invocations", "", "InvokeWithResponseStream"),
    op(Method::GET, "/2024-08-31/functions/{FunctionName}/recursion-config", "", "GetFunctionRecursionConfig"),
    op(Method::PUT, "/2024-08-31/functions/{FunctionName}/recursion-config", "", "PutFunctionRecursionConfig"),
    op(Method::GET, "/2025-11-30/capacity-providers", "", "ListCapacityProviders"),
    op(Method::POST, "/2025-11-30/capacity-providers", "", "CreateCapacityProvider"),
    op(Method::DELETE, "/2025-11-30/capacity-providers/{CapacityProviderName}", "", "DeleteCapacityProvider"),
    op(Method::GET, "/2025-11-30/capacity-providers/{CapacityProviderName}", "", "GetCapacityProvider"),
    op(Method::PUT, "/2025-11-30/capacity-providers/{CapacityProviderName}", "", "UpdateCapacityProvider"),
    op(Method::GET, "/2025-11-30/capacity-providers/{CapacityProviderName}/function-versions", "", "ListFunctionVersionsByCapacityProvider"),
    op(Method::GET, "/2025-11-30/functions/{FunctionName}/function-scaling-config", "", "GetFunctionScalingConfig"),
    op(Method::PUT, "/2025-11-30/functions/{FunctionName}/function-scaling-config", "", "PutFunctionScalingConfig"),
    op(Method::POST, "/2025-12-01/durable-execution-callbacks/{CallbackId}/fail", "", "SendDurableExecutionCallbackFailure"),
    op(Method::POST, "/2025-12-01/durable-execution-callbacks/{CallbackId}/heartbeat", "", "SendDurableExecutionCallbackHeartbeat"),
    op(Method::POST, "/2025-12-01/durable-execution-callbacks/{CallbackId}/succeed", "", "SendDurableExecutionCallbackSuccess"),
    op(Method::DELETE, "/2025-12-01/durable-executions/{DurableExecutionArn}", "", "DeleteDurableExecution"),
    op(Method::GET, "/2025-12-01/durable-executions/{DurableExecutionArn}", "", "GetDurableExecution"),
    op(Method::POST, "/2025-12-01/durable-executions/{DurableExecutionArn}/checkpoint", "", "CheckpointDurableExecution"),
    op(Method::GET, "/2025-12-01/durable-executions/{DurableExecutionArn}/history", "", "GetDurableExecutionHistory"),
    op(Method::POST, "/2025-12-01/durable-executions/{DurableExecutionArn}/pause", "", "PauseDurableExecution"),
    op(Method::POST, "/2025-12-01/durable-executions/{DurableExecutionArn}/resume", "", "ResumeDurableExecution"),
    op(Method::GET, "/2025-12-01/durable-executions/{DurableExecutionArn}/state", "", "GetDurableExecutionState"),
    op(Method::POST, "/2025-12-01/durable-executions/{DurableExecutionArn}/stop", "", "StopDurableExecution"),
    op(Method::GET, "/2025-12-01/functions/{FunctionName}/durable-executions", "", "ListDurableExecutionsByFunction"),
    op(Method::DELETE, "/2026-07-09/resource-policy/{ResourceArn}", "", "DeleteResourcePolicy"),
    op(Method::GET, "/2026-07-09/resource-policy/{ResourceArn}", "", "GetResourcePolicy"),
    op(Method::PUT, "/2026-07-09/resource-policy/{ResourceArn}", "", "PutResourcePolicy"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, query: &str, expected: &str) {
        let found = find(&method, path, query)
            .map(|(operation, labels)| format!("{} {}", operation.name, labels.join(" ")));
        assert_eq!(
            found.unwrap_or_default().trim_end(),
            expected,
            "{method} {path}?{query}"
        );
    }

    #[test]
    fn every_operation_is_found_by_its_own_request() {
        assert_eq!(OPERATIONS.len(), 91);
        for operation in OPERATIONS {
            let found = find(&operation.method, operation.path, operation.query);
            assert_eq!(found.map(|(found, _)| found.name), Some(operation.name));
        }
    }

    #[test]
    fn requests_name_operations() {
        check(
            Method::POST,
            "/2015-03-31/functions/a%3A1/invocations",
            "",
            "Invoke a%3A1",
        );
        check(
            Method::GET,
            "/2015-03-31/functions/",
            "MaxItems=1",
            "ListFunctions",
        );
        check(
            Method::GET,
            "/2018-10-31/layers",
            "find=LayerVersion&Arn=x",
            "GetLayerVersionByArn",
        );
        check(Method::GET, "/2018-10-31/layers", "", "ListLayers");
        check(Method::GET, "/2015-03-31/functions//policy", "", "");
        check(Method::PATCH, "/2015-03-31/functions/a", "", "");
        check(Method::GET, "/", "", "");
    }
}
