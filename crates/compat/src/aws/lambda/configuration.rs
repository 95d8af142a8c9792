//! Functions, aliases and URLs in the forms of the service. What a function does not have is
//! absent, never empty.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::verb::FunctionView;
use jiff::Timestamp;
use model::{FunctionRef, UrlConfig, VersionId};
use sha2::{Digest as _, Sha256};

use super::shapes::choice::*;
use super::shapes::*;
use super::{integer, long};
use crate::aws::Settings;

/// The configuration as single functions show it. `target` is how the caller named it.
pub(super) fn whole(function: &FunctionView, target: &FunctionRef) -> FunctionConfiguration {
    // A deployment is visible only once it is complete, so there is no state in between.
    FunctionConfiguration {
        state: Some(State::Active),
        last_update_status: Some(LastUpdateStatus::Successful),
        ..listed(function, target)
    }
}

/// The configuration as lists show it: without its state.
pub(super) fn listed(function: &FunctionView, target: &FunctionRef) -> FunctionConfiguration {
    let config = &function.config;
    let environment = (!config.environment.is_empty()).then(|| EnvironmentResponse {
        variables: Some(config.environment.clone()),
        ..EnvironmentResponse::default()
    });
    FunctionConfiguration {
        function_name: Some(function.id.name.to_string()),
        function_arn: Some(model::arn::reference(target)),
        runtime: Some(config.runtime.to_string().into()),
        handler: Some(config.handler.clone()).filter(|handler| !handler.is_empty()),
        code_size: Some(long(config.code.size_bytes)),
        description: Some(config.description.clone()),
        timeout: Some(integer(config.timeout.as_secs())),
        memory_size: Some(integer(config.memory_mb)),
        last_modified: Some(last_modified(function.changed_ms)),
        code_sha256: Some(base64_of_hex(config.code.digest.as_str())),
        version: Some(function.version.to_string()),
        environment,
        tracing_config: Some(TracingConfigResponse {
            mode: Some(TracingMode::PassThrough),
        }),
        revision_id: Some(revision_id(&model::arn::function(&function.id), function)),
        package_type: Some(PackageType::Zip),
        architectures: Some(vec![architecture()]),
        ephemeral_storage: Some(EphemeralStorage {
            size: integer(config.tmp_mb),
        }),
        snap_start: Some(SnapStartResponse {
            apply_on: Some(SnapStartApplyOn::None),
            optimization_status: Some(SnapStartOptimizationStatus::Off),
        }),
        logging_config: Some(logging(function)),
        ..FunctionConfiguration::default()
    }
}

fn logging(function: &FunctionView) -> LoggingConfig {
    let json = function.config.log_format == model::LogFormat::Json;
    let level = function.config.log_level.as_str().to_owned();
    LoggingConfig {
        log_format: Some(if json {
            LogFormat::Json
        } else {
            LogFormat::Text
        }),
        application_log_level: json.then(|| level.into()),
        system_log_level: json.then_some(SystemLogLevel::Info),
        log_group: Some(format!("/aws/lambda/{}", function.id.name)),
    }
}

fn architecture() -> Architecture {
    if cfg!(target_arch = "aarch64") {
        Architecture::Arm64
    } else {
        Architecture::X86_64
    }
}

/// `2026-01-31T12:00:00.000+0000`.
fn last_modified(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S%.3f+0000")
        .to_string()
}

/// Revisions are numbers here and UUIDs there: the same one for as long as nothing changes.
fn revision_id(name: &str, function: &FunctionView) -> String {
    // A published version stays as it is, whatever becomes of `$LATEST`.
    let revision = match function.version {
        VersionId::Latest => function.revision,
        VersionId::Number(_) => 0,
    };
    let version = function.version;
    let text = format!("{name} {version} {revision} {}", function.changed_ms);
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::digest(text)[..16]);
    model::id::uuid_text(id)
}

fn base64_of_hex(digest: &str) -> String {
    let digits: Vec<u8> = digest
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit))
        .collect();
    STANDARD.encode(bytes)
}

pub(super) fn alias(function: &FunctionView, alias: &engine::verb::Alias) -> AliasConfiguration {
    let engine::verb::Alias { name, routes, .. } = alias;
    let first = routes
        .first()
        .map_or_else(String::new, |(version, _)| version.to_string());
    let others: BTreeMap<String, f64> = routes
        .iter()
        .skip(1)
        .map(|(version, weight)| (version.to_string(), *weight))
        .collect();
    let alias_arn = format!("{}:{name}", model::arn::function(&function.id));
    AliasConfiguration {
        revision_id: Some(revision_id(&alias_arn, function)),
        alias_arn: Some(alias_arn),
        name: Some(name.to_string()),
        function_version: Some(first),
        description: Some(String::new()),
        routing_config: (!others.is_empty()).then_some(AliasRoutingConfiguration {
            additional_version_weights: Some(others),
        }),
    }
}

fn cors(cors: &model::Cors) -> Cors {
    let list = |items: &Vec<String>| (!items.is_empty()).then(|| items.clone());
    Cors {
        allow_credentials: cors.allow_credentials.then_some(true),
        allow_headers: list(&cors.allow_headers),
        allow_methods: list(&cors.allow_methods),
        allow_origins: list(&cors.allow_origins),
        expose_headers: list(&cors.expose_headers),
        max_age: cors.max_age_s.map(integer),
    }
}

pub(super) fn url(
    function: &FunctionView,
    url: &UrlConfig,
    settings: &Settings,
) -> FunctionUrlConfig {
    let endpoint: http::Uri = settings.endpoint.parse().unwrap_or_default();
    let host = endpoint.host().unwrap_or("127.0.0.1");
    let function_url = match settings.port_of(url) {
        Some(port) => format!("http://{host}:{port}/"),
        None => format!(
            "http://{}.lambda-url.{}.localhost:{}/",
            url.url_id,
            function.id.region,
            endpoint.port_u16().unwrap_or(80)
        ),
    };
    let changed = last_modified(function.changed_ms);
    FunctionUrlConfig {
        function_url: Some(function_url),
        function_arn: Some(model::arn::function(&function.id)),
        auth_type: Some(FunctionUrlAuthType::None),
        cors: url.cors.as_ref().map(cors),
        creation_time: Some(changed.clone()),
        last_modified_time: Some(changed),
        invoke_mode: Some(match url.invoke_mode {
            model::InvokeMode::Buffered => InvokeMode::Buffered,
            model::InvokeMode::ResponseStream => InvokeMode::ResponseStream,
        }),
    }
}
