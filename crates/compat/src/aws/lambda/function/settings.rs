//! What a request says of a function's settings.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Code, FunctionConfig, LogLevel};

use crate::aws::lambda::shapes::choice;
use crate::aws::lambda::shapes::*;
use crate::aws::shape::{self, Given};

/// Under which it is kept that an environment was given which has no variables.
pub(in crate::aws::lambda) const ENVIRONMENT: &str = "Environment";

/// What a request says of a function's settings; what it does not say stays.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    description: Option<String>,
    memory_mb: Option<u32>,
    timeout: Option<Duration>,
    tmp_mb: Option<u32>,
    environment: Option<BTreeMap<String, String>>,
    layers: Option<Vec<Code>>,
    log_format: Option<model::LogFormat>,
    log_level: Option<LogLevel>,
    role: Option<String>,
    architecture: Option<model::Architecture>,
    log_group: Option<String>,
    system_log_level: Option<LogLevel>,
    /// Members that nothing here reads; an empty text is one that goes.
    kept: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn of_creation(request: &CreateFunctionRequest, layers: Option<Vec<Code>>) -> Self {
        let mut settings = Self {
            description: request.description.clone(),
            memory_mb: number(request.memory_size),
            timeout: seconds(request.timeout),
            tmp_mb: number(request.ephemeral_storage.as_ref().map(|tmp| tmp.size)),
            environment: variables(request.environment.as_ref()),
            layers,
            role: Some(request.role.clone()),
            architecture: architecture(request.architectures.as_ref()),
            ..Self::default()
        };
        settings.keep_environment();
        settings.log(request.logging_config.as_ref());
        settings.keep("VpcConfig", request.vpc_config.as_ref().map(vpc));
        settings.keep("DeadLetterConfig", request.dead_letter_config.as_ref());
        settings.keep("KMSKeyArn", request.kms_key_arn.as_ref());
        settings.keep(
            "TracingConfig",
            request.tracing_config.as_ref().map(tracing),
        );
        settings.keep("FileSystemConfigs", request.file_system_configs.as_ref());
        settings.keep("SnapStart", request.snap_start.as_ref().map(snap_start));
        settings
    }

    pub(super) fn of_update(
        request: &UpdateFunctionConfigurationRequest,
        layers: Option<Vec<Code>>,
    ) -> Self {
        let mut settings = Self {
            description: request.description.clone(),
            memory_mb: number(request.memory_size),
            timeout: seconds(request.timeout),
            tmp_mb: number(request.ephemeral_storage.as_ref().map(|tmp| tmp.size)),
            environment: variables(request.environment.as_ref()),
            layers,
            role: request.role.clone(),
            ..Self::default()
        };
        settings.keep_environment();
        settings.log(request.logging_config.as_ref());
        settings.keep("VpcConfig", request.vpc_config.as_ref().map(vpc));
        settings.keep("DeadLetterConfig", request.dead_letter_config.as_ref());
        settings.keep("KMSKeyArn", request.kms_key_arn.as_ref());
        settings.keep(
            "TracingConfig",
            request.tracing_config.as_ref().map(tracing),
        );
        settings.keep("FileSystemConfigs", request.file_system_configs.as_ref());
        settings.keep("SnapStart", request.snap_start.as_ref().map(snap_start));
        settings
    }

    fn log(&mut self, logging: Option<&LoggingConfig>) {
        let Some(logging) = logging else { return };
        self.log_format = logging.log_format.as_ref().map(|format| match format {
            choice::LogFormat::Json => model::LogFormat::Json,
            _ => model::LogFormat::Text,
        });
        self.log_level = logging
            .application_log_level
            .as_ref()
            .and_then(|level| log_level(level.as_str()));
        self.system_log_level = logging
            .system_log_level
            .as_ref()
            .and_then(|level| log_level(level.as_str()));
        self.log_group.clone_from(&logging.log_group);
    }

    /// That there is an environment without variables, which is told as it was given.
    fn keep_environment(&mut self) {
        if let Some(variables) = &self.environment {
            let text = if variables.is_empty() { "{}" } else { "" };
            self.kept.insert(ENVIRONMENT.to_owned(), text.to_owned());
        }
    }

    /// A member that is told again as it was given. An empty one goes.
    fn keep(&mut self, name: &str, value: Option<impl Given>) {
        let Some(value) = value else { return };
        let text = shape::json(&value);
        let empty = matches!(text.as_str(), "\"\"" | "{}" | "[]" | r#"{"TargetArn":""}"#);
        let text = if empty { String::new() } else { text };
        self.kept.insert(name.to_owned(), text);
    }

    pub(super) fn apply(&self, config: &mut FunctionConfig) {
        fn set<T: Clone>(to: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                to.clone_from(value);
            }
        }
        set(&mut config.description, self.description.as_ref());
        set(&mut config.memory_mb, self.memory_mb.as_ref());
        set(&mut config.timeout, self.timeout.as_ref());
        set(&mut config.tmp_mb, self.tmp_mb.as_ref());
        set(&mut config.environment, self.environment.as_ref());
        set(&mut config.layers, self.layers.as_ref());
        set(&mut config.log_format, self.log_format.as_ref());
        set(&mut config.log_level, self.log_level.as_ref());
        let declared = &mut config.declared;
        let set_or_keep = |to: &mut Option<String>, value: &Option<String>| {
            if value.is_some() {
                to.clone_from(value);
            }
        };
        set_or_keep(&mut declared.role, &self.role);
        set_or_keep(&mut declared.log_group, &self.log_group);
        declared.architecture = self.architecture.or(declared.architecture);
        declared.system_log_level = self.system_log_level.or(declared.system_log_level);
        for (name, text) in &self.kept {
            if text.is_empty() {
                declared.kept.remove(name);
            } else {
                declared.kept.insert(name.clone(), text.clone());
            }
        }
    }
}

fn tracing(config: &TracingConfig) -> TracingConfigResponse {
    TracingConfigResponse {
        mode: config.mode.clone(),
    }
}

fn snap_start(config: &SnapStart) -> SnapStartResponse {
    SnapStartResponse {
        apply_on: config.apply_on.clone(),
        optimization_status: None,
    }
}

/// What is kept of a VPC: nothing where it names none.
fn vpc(config: &VpcConfig) -> VpcConfigResponse {
    let some = |ids: &Option<Vec<String>>| ids.clone().filter(|ids| !ids.is_empty());
    VpcConfigResponse {
        subnet_ids: some(&config.subnet_ids),
        security_group_ids: some(&config.security_group_ids),
        vpc_id: None,
        ipv6_allowed_for_dual_stack: config.ipv6_allowed_for_dual_stack.filter(|it| *it),
    }
}

fn number(given: Option<i32>) -> Option<u32> {
    given.map(|given| u32::try_from(given).unwrap_or_default())
}

fn seconds(given: Option<i32>) -> Option<Duration> {
    number(given).map(|given| Duration::from_secs(given.into()))
}

fn variables(environment: Option<&Environment>) -> Option<BTreeMap<String, String>> {
    environment.map(|environment| environment.variables.clone().unwrap_or_default())
}

pub(super) fn architecture(
    given: Option<&Vec<choice::Architecture>>,
) -> Option<model::Architecture> {
    match given?.first()? {
        choice::Architecture::Arm64 => Some(model::Architecture::Arm),
        _ => Some(model::Architecture::X86),
    }
}

fn log_level(text: &str) -> Option<LogLevel> {
    use LogLevel::{Debug, Error, Fatal, Info, Trace, Warn};
    [Trace, Debug, Info, Warn, Error, Fatal]
        .into_iter()
        .find(|level| level.as_str() == text)
}
