//! Operations that make functions and change them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::Error;
use engine::verb::{Creation, Expected, FunctionView, Publication, Update};
use http::Response;
use http::StatusCode;
use model::{Code, FunctionConfig, FunctionRef, LogLevel, Network, Qualifier, VersionId, limit};
use serde::Serialize;

use super::error::{Refusal, kind};
use super::shapes::choice::{self, PackageType};
use super::shapes::*;
use super::{Ask, configuration, empty, integer, invalid};
use crate::Body;
use crate::aws::Aws;
use crate::aws::shape::Blob;

/// A zip archive sent directly, in bytes (AWS quota, as its error message states it).
const ZIPPED_BYTES_MAX: usize = 52_428_800;

/// Where code may be.
pub(super) struct Source {
    pub(super) zip_file: Option<Blob>,
    pub(super) s3_bucket: Option<String>,
    pub(super) image_uri: Option<String>,
}

impl Aws {
    pub(super) async fn create_function(
        &self,
        ask: &Ask<'_>,
        request: CreateFunctionRequest,
    ) -> Result<FunctionConfiguration, Refusal> {
        let target = ask.whole(&request.function_name)?;
        if self.engine.find(&target).is_ok() {
            return Err(already_there(&target));
        }
        if request.package_type == Some(PackageType::Image) || request.code.image_uri.is_some() {
            return Err(invalid(
                "container images are not run here; send the code as a zip archive",
            ));
        }
        let (Some(runtime), Some(handler)) = (&request.runtime, &request.handler) else {
            return Err(invalid(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
            ));
        };
        let runtime = runtime_of(runtime)?;
        let settings = Settings::of_creation(&request, self.layers(ask, request.layers.as_ref())?)?;
        let code = self
            .code(Source {
                zip_file: request.code.zip_file,
                s3_bucket: request.code.s3_bucket,
                image_uri: None,
            })
            .await?;
        let mut config = FunctionConfig {
            runtime,
            handler: handler.clone(),
            description: String::new(),
            memory_mb: limit::MEMORY_MB_DEFAULT,
            timeout: limit::TIMEOUT_DEFAULT,
            tmp_mb: limit::TMP_MB_DEFAULT,
            environment: BTreeMap::new(),
            code,
            layers: Vec::new(),
            log_format: model::LogFormat::default(),
            log_level: LogLevel::default(),
            network: self.network(),
            inspect: false,
            declared: model::Declared::default(),
        };
        settings.apply(&mut config);
        let publish = request.publish == Some(true);
        let creation = Creation {
            config,
            tags: request.tags.unwrap_or_default(),
            publish: publish.then(Publication::default),
        };
        let created = self
            .engine
            .create(&ask.principal(), &target.function, creation)
            .await
            .map_err(|error| changing(&error, &target))?;
        let shown = configuration::of_version(&created.view, publish);
        Ok(configuration::pending(shown))
    }

    pub(super) async fn update_function_code(
        &self,
        ask: &Ask<'_>,
        request: UpdateFunctionCodeRequest,
    ) -> Result<FunctionConfiguration, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let before = self.found(ask, &target)?;
        let expected = expected(&before, request.revision_id.as_deref())?;
        let code = self
            .code(Source {
                zip_file: request.zip_file,
                s3_bucket: request.s3_bucket,
                image_uri: request.image_uri,
            })
            .await?;
        let architecture = architecture(request.architectures.as_ref());
        let update = Update {
            expected,
            edit: Box::new(move |config| {
                config.code.clone_from(&code);
                if architecture.is_some() {
                    config.declared.architecture = architecture;
                }
            }),
            publish: (request.publish == Some(true)).then(Publication::default),
            dry_run: request.dry_run == Some(true),
        };
        self.change(ask, &target, update).await
    }

    pub(super) async fn update_function_configuration(
        &self,
        ask: &Ask<'_>,
        request: UpdateFunctionConfigurationRequest,
    ) -> Result<FunctionConfiguration, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let before = self.found(ask, &target)?;
        let expected = expected(&before, request.revision_id.as_deref())?;
        let runtime = request.runtime.as_ref().map(runtime_of).transpose()?;
        let handler = request.handler.clone();
        let settings = Settings::of_update(&request, self.layers(ask, request.layers.as_ref())?)?;
        let update = Update {
            expected,
            edit: Box::new(move |config| {
                config.runtime = runtime.unwrap_or(config.runtime);
                if let Some(handler) = &handler {
                    config.handler.clone_from(handler);
                }
                settings.apply(config);
            }),
            publish: None,
            dry_run: false,
        };
        self.change(ask, &target, update).await
    }

    async fn change(
        &self,
        ask: &Ask<'_>,
        target: &FunctionRef,
        update: Update,
    ) -> Result<FunctionConfiguration, Refusal> {
        let (publish, dry_run) = (update.publish.is_some(), update.dry_run);
        let changed = self
            .engine
            .update(&ask.principal(), &target.function, update)
            .await
            .map_err(|error| changing(&error, target))?;
        let shown = configuration::of_version(&changed.view, publish);
        Ok(if dry_run {
            shown
        } else {
            configuration::in_progress(shown)
        })
    }

    pub(super) async fn publish_version(
        &self,
        ask: &Ask<'_>,
        request: PublishVersionRequest,
    ) -> Result<FunctionConfiguration, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let before = self.found(ask, &target)?;
        let mut expected = expected(&before, request.revision_id.as_deref())?;
        if let Some(wanted) = &request.code_sha256 {
            let actual = configuration::code_sha256(&before.config.code);
            if actual != *wanted {
                return Err(invalid(format!(
                    "CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({actual}). Please try again with the CodeSHA256 in $LATEST."
                )));
            }
            expected = Expected::Revision(before.revision);
        }
        let publication = Publication {
            description: request.description.filter(|text| !text.is_empty()),
        };
        let published = self
            .engine
            .publish(&ask.principal(), &target.function, expected, publication)
            .await
            .map_err(|error| changing(&error, &target))?;
        Ok(configuration::of_version(&published, true))
    }

    pub(super) async fn delete_function(
        &self,
        ask: &Ask<'_>,
        request: DeleteFunctionRequest,
    ) -> Result<Response<Body>, Refusal> {
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        let who = ask.principal();
        let removed = match &target.qualifier {
            Qualifier::Absent => self.engine.remove(&who, &target.function).await,
            Qualifier::Version(VersionId::Latest) => {
                return Err(invalid(
                    "$LATEST version cannot be deleted without deleting the function.",
                ));
            }
            Qualifier::Version(VersionId::Number(number)) => {
                let removed = self.engine.remove_version(&who, &target.function, *number);
                removed.await
            }
            Qualifier::Alias(_) => {
                return Err(invalid(
                    "Deletion of aliases is not currently supported by DeleteFunction; use DeleteAlias.",
                ));
            }
        };
        match removed {
            Ok(()) => {}
            Err(Error::InUse { name, by, .. }) => {
                let message =
                    format!("Unable to delete version {name} because {by} references it.");
                return Err(Refusal::new(kind::RESOURCE_CONFLICT, message));
            }
            Err(error) => return Err(Refusal::of(&error, &target)),
        }
        // The model says 200, and the service has long answered this.
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) async fn put_concurrency(
        &self,
        ask: &Ask<'_>,
        request: PutFunctionConcurrencyRequest,
    ) -> Result<Concurrency, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let given = request.reserved_concurrent_executions;
        let reserved = u32::try_from(given).unwrap_or_default();
        let who = ask.principal();
        let reserving = self.engine.reserve(&who, &target.function, Some(reserved));
        reserving.await.map_err(|error| match error {
            Error::ReservationTooLarge { .. } => invalid(format!(
                "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [{}].",
                limit::UNRESERVED_CONCURRENCY_MIN
            )),
            other => Refusal::of(&other, &target),
        })?;
        Ok(Concurrency {
            reserved_concurrent_executions: Some(integer(reserved)),
        })
    }

    pub(super) async fn delete_concurrency(
        &self,
        ask: &Ask<'_>,
        request: DeleteFunctionConcurrencyRequest,
    ) -> Result<Response<Body>, Refusal> {
        let target = ask.whole(&request.function_name)?;
        let who = ask.principal();
        let reserving = self.engine.reserve(&who, &target.function, None);
        reserving
            .await
            .map_err(|error| Refusal::of(&error, &target))?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// The code that a request brings, stored.
    pub(super) async fn code(&self, source: Source) -> Result<Code, Refusal> {
        if source.image_uri.is_some() {
            return Err(invalid(
                "container images are not run here; send the code as a zip archive",
            ));
        }
        if let Some(bucket) = source.s3_bucket {
            return Err(invalid(format!(
                "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: the service S3 is not served here yet, and so there is no bucket {bucket}; send the code as ZipFile"
            )));
        }
        let Some(Blob(zip)) = source.zip_file else {
            return Err(invalid("Please provide a source for function code."));
        };
        self.unpack(zip).await
    }

    pub(super) async fn unpack(&self, zip: Bytes) -> Result<Code, Refusal> {
        if zip.is_empty() {
            return Err(invalid("Uploaded file must be a non-empty zip"));
        }
        if zip.len() > ZIPPED_BYTES_MAX {
            return Err(invalid(format!(
                "Zipped size must be smaller than {ZIPPED_BYTES_MAX} bytes"
            )));
        }
        use store::trees::BadArchive;
        self.engine.unpack(zip).await.map_err(|error| match error {
            Error::BadArchive(BadArchive::Empty) => {
                invalid("Uploaded file must be a non-empty zip")
            }
            Error::BadArchive(BadArchive::TooLarge { max }) => {
                invalid(format!("Unzipped size must be smaller than {max} bytes"))
            }
            Error::BadArchive(problem) => invalid(format!(
                "Could not unzip uploaded file. Please check your file, then try to upload again. ({problem})"
            )),
            other => Refusal::ours(&other),
        })
    }

    /// The layers that a request names, of the caller's own or shared with it.
    fn layers(
        &self,
        ask: &Ask<'_>,
        named: Option<&Vec<String>>,
    ) -> Result<Option<Vec<Code>>, Refusal> {
        let Some(named) = named else { return Ok(None) };
        if named.len() > limit::LAYERS_MAX {
            return Err(invalid(format!(
                "Cannot reference more than {} layers.",
                limit::LAYERS_MAX
            )));
        }
        let mut layers: Vec<Code> = Vec::new();
        for arn in named {
            let id = self.layer_version_id(ask, arn)?;
            let known = layers.iter().filter_map(|layer| layer.layer.as_ref());
            if known
                .map(|layer| &layer.layer)
                .any(|layer| *layer == id.layer)
            {
                return Err(invalid(format!(
                    "Two different versions of the same layer are not allowed to be referenced in the same function. {arn} and another are."
                )));
            }
            let found = self.engine.layer(&ask.principal(), &id);
            let view = found.map_err(|error| match error {
                Error::NotThere { .. } => invalid(format!("Layer version {arn} does not exist.")),
                other => super::layer::refusal(&other),
            })?;
            layers.push(Code {
                layer: Some(id),
                ..view.code.clone()
            });
        }
        Ok(Some(layers))
    }
}

/// What a request says of a function's settings; what it does not say stays.
#[derive(Debug, Clone, Default)]
struct Settings {
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
    fn of_creation(
        request: &CreateFunctionRequest,
        layers: Option<Vec<Code>>,
    ) -> Result<Self, Refusal> {
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
        settings.log(request.logging_config.as_ref());
        settings.keep("VpcConfig", request.vpc_config.as_ref().map(vpc))?;
        settings.keep("DeadLetterConfig", request.dead_letter_config.as_ref())?;
        settings.keep("KMSKeyArn", request.kms_key_arn.as_ref())?;
        settings.keep(
            "TracingConfig",
            request.tracing_config.as_ref().map(tracing),
        )?;
        settings.keep("FileSystemConfigs", request.file_system_configs.as_ref())?;
        settings.keep("SnapStart", request.snap_start.as_ref().map(snap_start))?;
        Ok(settings)
    }

    fn of_update(
        request: &UpdateFunctionConfigurationRequest,
        layers: Option<Vec<Code>>,
    ) -> Result<Self, Refusal> {
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
        settings.log(request.logging_config.as_ref());
        settings.keep("VpcConfig", request.vpc_config.as_ref().map(vpc))?;
        settings.keep("DeadLetterConfig", request.dead_letter_config.as_ref())?;
        settings.keep("KMSKeyArn", request.kms_key_arn.as_ref())?;
        settings.keep(
            "TracingConfig",
            request.tracing_config.as_ref().map(tracing),
        )?;
        settings.keep("FileSystemConfigs", request.file_system_configs.as_ref())?;
        settings.keep("SnapStart", request.snap_start.as_ref().map(snap_start))?;
        Ok(settings)
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

    /// A member that is told again as it was given. An empty one goes.
    fn keep(&mut self, name: &str, value: Option<impl Serialize>) -> Result<(), Refusal> {
        let Some(value) = value else { return Ok(()) };
        let text = serde_json::to_string(&value).map_err(|error| Refusal::ours(&error))?;
        let empty = matches!(text.as_str(), "\"\"" | "{}" | "[]" | r#"{"TargetArn":""}"#);
        let text = if empty { String::new() } else { text };
        self.kept.insert(name.to_owned(), text);
        Ok(())
    }

    fn apply(&self, config: &mut FunctionConfig) {
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

fn architecture(given: Option<&Vec<choice::Architecture>>) -> Option<model::Architecture> {
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

fn runtime_of(runtime: &choice::Runtime) -> Result<model::Runtime, Refusal> {
    runtime.as_str().parse().map_err(|_| {
        let known = model::Runtime::ALL.map(|runtime| runtime.to_string());
        invalid(format!(
            "The runtime parameter of {} is not supported for creating or updating AWS Lambda functions here. Supported are {}.",
            runtime.as_str(),
            known.join(", ")
        ))
    })
}

fn already_there(target: &FunctionRef) -> Refusal {
    let message = format!("Function already exist: {}", target.function.name);
    Refusal::new(kind::RESOURCE_CONFLICT, message)
}

/// What an update expects of a function: that it is what the caller last saw, where that is said.
pub(super) fn expected(
    view: &Arc<FunctionView>,
    revision_id: Option<&str>,
) -> Result<Expected, Refusal> {
    match revision_id {
        None => Ok(Expected::Present),
        Some(given) if configuration::is_revision(view, given) => {
            Ok(Expected::Revision(view.revision))
        }
        Some(_) => Err(stale()),
    }
}

pub(super) fn stale() -> Refusal {
    let message = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id";
    Refusal::new(kind::PRECONDITION_FAILED, message)
}

/// What an error of a change means.
fn changing(error: &Error, target: &FunctionRef) -> Refusal {
    match error {
        Error::AlreadyThere { .. } => already_there(target),
        Error::Stale { .. } => stale(),
        Error::Conflict { .. } => {
            let arn = model::arn::reference(target);
            let message = format!(
                "The operation cannot be performed at this time. An update is in progress for resource: {arn}"
            );
            Refusal::new(kind::RESOURCE_CONFLICT, message)
        }
        Error::Invalid(model::ValidationError::EnvironmentSize { given }) => invalid(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: {given}"
        )),
        Error::Invalid(model::ValidationError::EnvironmentName { name, problem })
            if model::function::is_reserved_variable(name) =>
        {
            let _ = problem;
            invalid(format!(
                "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: {name}"
            ))
        }
        Error::Invalid(model::ValidationError::CodeSize { .. }) => invalid(format!(
            "Unzipped size must be smaller than {} bytes",
            limit::UNPACKED_BYTES_MAX
        )),
        other => Refusal::of(other, target),
    }
}

impl Aws {
    /// What functions made here may reach.
    fn network(&self) -> Network {
        self.settings.network
    }
}
