//! Functions, aliases and URLs in the forms of the service. What a function does not have is
//! absent, never empty.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::verb::FunctionView;
use jiff::Timestamp;
use model::{AliasName, FunctionRef, Qualifier, VersionId};
use sha2::{Digest as _, Sha256};

use super::function::settings::ENVIRONMENT;
use super::shapes::choice::*;
use super::shapes::*;
use super::{integer, long};
use crate::aws::shape::{self, Taken};

/// The configuration as single functions show it. `target` is how the caller named it.
pub(super) fn whole(function: &FunctionView, target: &FunctionRef) -> FunctionConfiguration {
    FunctionConfiguration {
        state: Some(State::Active),
        last_update_status: Some(LastUpdateStatus::Successful),
        ..listed(function, target)
    }
}

/// The same of what was just changed: with the version in its ARN where one was published.
pub(super) fn of_version(function: &FunctionView, published: bool) -> FunctionConfiguration {
    let qualifier = if published {
        Qualifier::Version(function.version)
    } else {
        Qualifier::Absent
    };
    let target = FunctionRef {
        function: function.id.clone(),
        qualifier,
    };
    whole(function, &target)
}

/// What creating a function answers. By the time that this is read it can be invoked.
pub(super) fn pending(shown: FunctionConfiguration) -> FunctionConfiguration {
    FunctionConfiguration {
        state: Some(State::Pending),
        state_reason: Some(CREATING.to_owned()),
        state_reason_code: Some(StateReasonCode::Creating),
        last_update_status: None,
        revision_id: shown.revision_id.as_deref().map(earlier_revision),
        ..shown
    }
}

/// What updating a function answers.
pub(super) fn in_progress(shown: FunctionConfiguration) -> FunctionConfiguration {
    FunctionConfiguration {
        last_update_status: Some(LastUpdateStatus::InProgress),
        last_update_status_reason: Some(CREATING.to_owned()),
        last_update_status_reason_code: Some(LastUpdateStatusReasonCode::Other(
            "Creating".to_owned(),
        )),
        revision_id: shown.revision_id.as_deref().map(earlier_revision),
        ..shown
    }
}

const CREATING: &str = "The function is being created.";

/// The configuration as lists show it: without its state.
pub(super) fn listed(function: &FunctionView, target: &FunctionRef) -> FunctionConfiguration {
    let config = &function.config;
    let kept = &config.declared.kept;
    let given = !config.environment.is_empty() || kept.contains_key(ENVIRONMENT);
    let environment = given.then(|| EnvironmentResponse {
        variables: Some(config.environment.clone()),
        error: None,
    });
    let layers = config.layers.iter().filter_map(|layer| {
        Some(Layer {
            arn: Some(model::arn::layer_version(layer.layer.as_ref()?)),
            code_size: Some(long(code_size(layer))),
            signing_profile_version_arn: None,
            signing_job_arn: None,
        })
    });
    let layers: Vec<Layer> = layers.collect();
    let tracing: Option<TracingConfig> = read(kept, "TracingConfig");
    let snap_start: Option<SnapStart> = read(kept, "SnapStart");
    FunctionConfiguration {
        function_name: Some(function.id.name.to_string()),
        function_arn: Some(model::arn::reference(target)),
        runtime: Some(config.runtime.to_string().into()),
        role: Some(config.declared.role_arn(&function.id)),
        handler: Some(config.handler.clone()).filter(|handler| !handler.is_empty()),
        code_size: Some(long(code_size(&config.code))),
        description: Some(config.description.clone()),
        timeout: Some(integer(config.timeout.as_secs())),
        memory_size: Some(integer(config.memory_mb)),
        last_modified: Some(last_modified(function.changed_ms)),
        code_sha256: Some(code_sha256(&config.code)),
        version: Some(function.version.to_string()),
        environment,
        layers: (!layers.is_empty()).then_some(layers),
        tracing_config: Some(TracingConfigResponse {
            mode: Some(
                tracing
                    .and_then(|it| it.mode)
                    .unwrap_or(TracingMode::PassThrough),
            ),
        }),
        vpc_config: read::<VpcConfig>(kept, "VpcConfig").map(|vpc| VpcConfigResponse {
            subnet_ids: vpc.subnet_ids,
            security_group_ids: vpc.security_group_ids,
            vpc_id: None,
            ipv6_allowed_for_dual_stack: vpc.ipv6_allowed_for_dual_stack,
        }),
        dead_letter_config: read(kept, "DeadLetterConfig"),
        kms_key_arn: read(kept, "KMSKeyArn"),
        file_system_configs: read(kept, "FileSystemConfigs"),
        revision_id: Some(revision_id(&model::arn::function(&function.id), function)),
        package_type: Some(PackageType::Zip),
        architectures: Some(vec![architecture(config)]),
        ephemeral_storage: Some(EphemeralStorage {
            size: integer(config.tmp_mb),
        }),
        snap_start: Some(SnapStartResponse {
            apply_on: Some(
                snap_start
                    .and_then(|it| it.apply_on)
                    .unwrap_or(SnapStartApplyOn::None),
            ),
            optimization_status: Some(SnapStartOptimizationStatus::Off),
        }),
        runtime_version_config: Some(RuntimeVersionConfig {
            runtime_version_arn: Some(runtime_version_arn(function)),
            error: None,
        }),
        logging_config: Some(logging(function)),
        ..FunctionConfiguration::default()
    }
}

/// A member that was kept as it was given.
fn read<T: Taken + Default>(kept: &BTreeMap<String, String>, name: &str) -> Option<T> {
    let value = serde_json::from_str(kept.get(name)?).ok()?;
    Some(shape::taken(value))
}

/// Bytes of an archive as it was sent, or of the folder that there is instead.
pub(super) fn code_size(code: &model::Code) -> u64 {
    let archive = code.archive.as_ref();
    archive.map_or(code.size_bytes, |archive| archive.size_bytes)
}

/// SHA-256 of an archive as it was sent, or of the folder that there is instead.
pub(super) fn code_sha256(code: &model::Code) -> String {
    let archive = code.archive.as_ref();
    let digest = archive.map_or(&code.digest, |archive| &archive.sha256);
    base64_of_hex(digest.as_str())
}

/// One for each runtime: which interpreter it is here, the function's log says.
pub(super) fn runtime_version_arn(function: &FunctionView) -> String {
    let digest = Sha256::digest(function.config.runtime.to_string());
    format!(
        "arn:aws:lambda:{}::runtime:{}",
        function.id.region,
        model::id::hex(&digest)
    )
}

/// The name of a function's log group.
pub(super) fn log_group(function: &FunctionView) -> String {
    let own = function.config.declared.log_group.clone();
    own.unwrap_or_else(|| format!("/aws/lambda/{}", function.id.name))
}

fn logging(function: &FunctionView) -> LoggingConfig {
    let config = &function.config;
    let json = config.log_format == model::LogFormat::Json;
    let level = config.log_level.as_str().to_owned();
    let system = config.declared.system_log_level;
    let system = system.map_or(SystemLogLevel::Info, |level| {
        level.as_str().to_owned().into()
    });
    LoggingConfig {
        log_format: Some(if json {
            LogFormat::Json
        } else {
            LogFormat::Text
        }),
        application_log_level: json.then(|| level.into()),
        system_log_level: json.then_some(system),
        log_group: Some(log_group(function)),
    }
}

fn architecture(config: &model::FunctionConfig) -> Architecture {
    let architecture = config.declared.architecture;
    match architecture.unwrap_or(model::Architecture::HOST) {
        model::Architecture::Arm => Architecture::Arm64,
        model::Architecture::X86 => Architecture::X86_64,
    }
}

/// `2026-01-31T12:00:00.000+0000`.
pub(super) fn last_modified(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S%.3f+0000")
        .to_string()
}

/// The revision while a change was still being made: another one, as the service has it.
fn earlier_revision(revision_id: &str) -> String {
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::digest(format!("before {revision_id}"))[..16]);
    model::id::uuid_text(id)
}

/// Whether this is the function's revision, as it is read or as its last change answered it.
pub(super) fn is_revision(function: &FunctionView, given: &str) -> bool {
    let own = revision_id(&model::arn::function(&function.id), function);
    given == own || given == earlier_revision(&own)
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
    AliasConfiguration {
        revision_id: Some(alias_revision(function, alias)),
        alias_arn: Some(alias_arn(function, name)),
        name: Some(name.to_string()),
        function_version: Some(first),
        description: Some(alias.description.clone()),
        routing_config: (!others.is_empty()).then_some(AliasRoutingConfiguration {
            additional_version_weights: Some(others),
        }),
    }
}

pub(super) fn alias_arn(function: &FunctionView, name: &AliasName) -> String {
    format!("{}:{name}", model::arn::function(&function.id))
}

pub(super) fn alias_revision(function: &FunctionView, alias: &engine::verb::Alias) -> String {
    counted_revision(&alias_arn(function, &alias.name), alias.revision)
}

/// The id of a revision that is counted here.
pub(super) fn counted_revision(name: &str, revision: u64) -> String {
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::digest(format!("{name} {revision}"))[..16]);
    model::id::uuid_text(id)
}

/// `2026-01-31T12:00:00.000Z`, as function URLs have it.
pub(super) fn iso_time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", time.unwrap_or_default())
}
