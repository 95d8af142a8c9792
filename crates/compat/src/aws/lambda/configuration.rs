//! Functions, aliases and URLs in the forms of the service. What a function does not have is
//! absent, never empty.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::verb::FunctionView;
use jiff::Timestamp;
use model::{Cors, FunctionRef, LogFormat, UrlConfig, VersionId};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::aws::Settings;

/// `FunctionConfiguration`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Configuration<'a> {
    function_name: &'a str,
    function_arn: String,
    runtime: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    handler: &'a str,
    code_size: u64,
    description: &'a str,
    timeout: u64,
    memory_size: u32,
    last_modified: String,
    code_sha256: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<Environment<'a>>,
    tracing_config: TracingConfig,
    revision_id: String,
    #[serde(flatten)]
    state: Option<State>,
    package_type: &'static str,
    architectures: [&'static str; 1],
    ephemeral_storage: EphemeralStorage,
    snap_start: SnapStart,
    logging_config: LoggingConfig,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Environment<'a> {
    variables: &'a BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct TracingConfig {
    mode: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    state: &'static str,
    last_update_status: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct EphemeralStorage {
    size: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SnapStart {
    apply_on: &'static str,
    optimization_status: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LoggingConfig {
    log_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_log_level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_log_level: Option<&'static str>,
    log_group: String,
}

/// The configuration as single functions show it. `target` is how the caller named it.
pub(super) fn whole<'a>(function: &'a FunctionView, target: &FunctionRef) -> Configuration<'a> {
    // A deployment is visible only once it is complete, so there is no state in between.
    let state = State {
        state: "Active",
        last_update_status: "Successful",
    };
    Configuration {
        state: Some(state),
        ..listed(function, target)
    }
}

/// The configuration as lists show it: without its state.
pub(super) fn listed<'a>(function: &'a FunctionView, target: &FunctionRef) -> Configuration<'a> {
    let config = &function.config;
    let environment = (!config.environment.is_empty()).then_some(Environment {
        variables: &config.environment,
    });
    Configuration {
        function_name: function.id.name.as_str(),
        function_arn: model::arn::reference(target),
        runtime: config.runtime.to_string(),
        handler: &config.handler,
        code_size: config.code.size_bytes,
        description: &config.description,
        timeout: config.timeout.as_secs(),
        memory_size: config.memory_mb,
        last_modified: last_modified(function.changed_ms),
        code_sha256: base64_of_hex(config.code.digest.as_str()),
        version: function.version.to_string(),
        environment,
        tracing_config: TracingConfig {
            mode: "PassThrough",
        },
        revision_id: revision_id(&model::arn::function(&function.id), function),
        state: None,
        package_type: "Zip",
        architectures: [architecture()],
        ephemeral_storage: EphemeralStorage {
            size: config.tmp_mb,
        },
        snap_start: SnapStart {
            apply_on: "None",
            optimization_status: "Off",
        },
        logging_config: logging(function),
    }
}

fn logging(function: &FunctionView) -> LoggingConfig {
    let json = function.config.log_format == LogFormat::Json;
    LoggingConfig {
        log_format: if json { "JSON" } else { "Text" },
        application_log_level: json.then(|| function.config.log_level.as_str()),
        system_log_level: json.then_some("INFO"),
        log_group: format!("/aws/lambda/{}", function.id.name),
    }
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x86_64"
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

/// `AliasConfiguration`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Alias {
    alias_arn: String,
    name: String,
    function_version: String,
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing_config: Option<RoutingConfig>,
    revision_id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RoutingConfig {
    additional_version_weights: BTreeMap<String, f64>,
}

pub(super) fn alias(function: &FunctionView, alias: &engine::verb::Alias) -> Alias {
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
    Alias {
        revision_id: revision_id(&alias_arn, function),
        alias_arn,
        name: name.to_string(),
        function_version: first,
        description: "",
        routing_config: (!others.is_empty()).then_some(RoutingConfig {
            additional_version_weights: others,
        }),
    }
}

/// `FunctionUrlConfig`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Url {
    function_url: String,
    function_arn: String,
    auth_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cors: Option<UrlCors>,
    creation_time: String,
    last_modified_time: String,
    invoke_mode: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UrlCors {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_credentials: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow_headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow_methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow_origins: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    expose_headers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u32>,
}

impl From<&Cors> for UrlCors {
    fn from(cors: &Cors) -> Self {
        Self {
            allow_credentials: cors.allow_credentials,
            allow_headers: cors.allow_headers.clone(),
            allow_methods: cors.allow_methods.clone(),
            allow_origins: cors.allow_origins.clone(),
            expose_headers: cors.expose_headers.clone(),
            max_age: cors.max_age_s,
        }
    }
}

pub(super) fn url(function: &FunctionView, url: &UrlConfig, settings: &Settings) -> Url {
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
    Url {
        function_url,
        function_arn: model::arn::function(&function.id),
        auth_type: "NONE",
        cors: url.cors.as_ref().map(UrlCors::from),
        creation_time: changed.clone(),
        last_modified_time: changed,
        invoke_mode: "BUFFERED",
    }
}
