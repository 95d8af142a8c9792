//! The engine's views in the forms that go over the wire.

use engine::InstanceView;
use engine::verb::FunctionView;
use http::Uri;
use model::{FunctionId, UrlConfig};

use crate::{Settings, wire};

pub(crate) fn function(
    function: &FunctionView,
    instances: &[InstanceView],
    settings: &Settings,
) -> wire::Function {
    let config = &function.config;
    let (url, host_url) = match &function.url {
        Some(url) => (
            port_url(url, settings),
            Some(url.by_name(&function.id.region, &settings.endpoint)),
        ),
        None => (None, None),
    };
    let aliases = function.aliases.iter().map(|alias| {
        let targets = alias.routes.iter().map(|(version, weight)| wire::Target {
            version: version.to_string(),
            weight: *weight,
        });
        (alias.name.to_string(), targets.collect())
    });
    wire::Function {
        name: function.id.name.to_string(),
        arn: model::arn::function(&function.id),
        version: function.version.to_string(),
        runtime: config.runtime.to_string(),
        handler: config.handler.clone(),
        description: config.description.clone(),
        memory_mb: config.memory_mb,
        timeout_s: config.timeout.as_secs(),
        tmp_mb: config.tmp_mb,
        environment: config.environment.clone(),
        code_bytes: config.code.size_bytes,
        code_digest: config.code.digest.to_string(),
        changed_ms: function.changed_ms,
        url: url.or_else(|| host_url.clone()),
        host_url,
        reserved_concurrency: function.reserved_concurrency,
        versions: function.versions.iter().map(ToString::to_string).collect(),
        aliases: aliases.collect(),
        instances: instances
            .iter()
            .map(|one| instance(&function.id, one))
            .collect(),
    }
}

pub(crate) fn instance(function: &FunctionId, instance: &InstanceView) -> wire::Instance {
    wire::Instance {
        id: instance.id.to_string(),
        function: function.name.to_string(),
        version: instance.version.to_string(),
        state: instance.state.as_str().to_owned(),
        frozen: instance.frozen,
        in_flight: instance.in_flight,
        memory_mb: instance.memory_mb,
        memory_bytes: instance.memory_bytes,
    }
}

/// At the URL's own port, on the host that the endpoint is on.
fn port_url(url: &UrlConfig, settings: &Settings) -> Option<String> {
    let uri: Uri = settings.endpoint.parse().ok()?;
    Some(format!(
        "http://{}:{}/",
        uri.host()?,
        settings.port_of(url)?
    ))
}
