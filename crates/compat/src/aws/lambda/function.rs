//! Operations that make functions and change them.

pub(super) mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use engine::Error;
use engine::verb::{Creation, Expected, FunctionView, Publication, Update};
use http::Response;
use http::StatusCode;
use model::{Code, FunctionConfig, FunctionRef, LogLevel, Network, Qualifier, VersionId, limit};

use super::absent::no_code_signing_config;
use super::error::{Refusal, kind};
use super::settings::check_tags;
use super::shapes::choice::{self, PackageType};
use super::shapes::*;
use super::target::UNQUALIFIED;
use super::{Ask, configuration, empty, integer, invalid};
use crate::Body;
use crate::aws::Aws;
use crate::aws::shape::Blob;
use settings::{Settings, architecture};

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
        let target = ask.unqualified(&request.function_name)?;
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
        let tags = request.tags.clone().unwrap_or_default();
        check_tags(&tags)?;
        if let Some(arn) = &request.code_signing_config_arn {
            return Err(no_code_signing_config(arn));
        }
        check_levels(request.logging_config.as_ref(), model::LogFormat::Text)?;
        let settings = Settings::of_creation(&request, self.layers(ask, request.layers.as_ref())?);
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
            tags,
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
        let target = ask.unqualified(&request.function_name)?;
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
        let target = ask.unqualified(&request.function_name)?;
        let before = self.found(ask, &target)?;
        let expected = expected(&before, request.revision_id.as_deref())?;
        let runtime = request.runtime.as_ref().map(runtime_of).transpose()?;
        let handler = request.handler.clone();
        check_levels(request.logging_config.as_ref(), before.config.log_format)?;
        let settings = Settings::of_update(&request, self.layers(ask, request.layers.as_ref())?);
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
        let target = ask.unqualified(&request.function_name)?;
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
        let target = ask.target(&request.function_name, None)?;
        if target.qualifier != Qualifier::Absent {
            return Err(invalid(UNQUALIFIED));
        }
        let given = request.reserved_concurrent_executions;
        let reserved = u32::try_from(given).unwrap_or_default();
        let who = ask.principal();
        let reserving = self.engine.reserve(&who, &target.function, Some(reserved));
        reserving.await.map_err(|error| match error {
            Error::ReservationTooLarge { .. } => invalid(format!(
                "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [{}].",
                limit::UNRESERVED_CONCURRENCY_MIN
            )),
            // The service names one that is not there so.
            other => {
                let qualifier = Qualifier::Version(VersionId::Latest);
                let latest = FunctionRef { qualifier, ..target.clone() };
                Refusal::of(&other, &latest)
            }
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
        let target = ask.unqualified(&request.function_name)?;
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
            let region = &ask.caller.region;
            if arn
                .split(':')
                .nth(3)
                .is_some_and(|it| it != region.as_str())
            {
                return Err(invalid(format!(
                    "Layers are not in the same region as the function. Layers are expected to be in region {region}."
                )));
            }
            let id = self.layer_version_id(ask, arn)?;
            let mut known = layers.iter().filter_map(|layer| layer.layer.as_ref());
            if let Some(other) = known.find(|layer| layer.layer == id.layer) {
                let other = model::arn::layer_version(other);
                return Err(invalid(format!(
                    "Two different versions of the same layer are not allowed to be referenced in the same function. {other} and {arn} are versions of the same layer."
                )));
            }
            let found = self.engine.layer(&ask.principal(), &id);
            let view = found.map_err(|error| match error {
                Error::NotThere { .. } => invalid(format!("Layer version {arn} does not exist.")),
                other => super::layer::refusal_of_version(&other, &id),
            })?;
            layers.push(Code {
                layer: Some(id),
                ..view.code.clone()
            });
        }
        Ok(Some(layers))
    }
}

/// Refuses levels for a log of plain lines, which has none. `before` is its form where the request
/// does not say.
fn check_levels(logging: Option<&LoggingConfig>, before: model::LogFormat) -> Result<(), Refusal> {
    let Some(logging) = logging else {
        return Ok(());
    };
    let json = match &logging.log_format {
        Some(format) => *format == choice::LogFormat::Json,
        None => before == model::LogFormat::Json,
    };
    let levels = logging.application_log_level.is_some() || logging.system_log_level.is_some();
    if levels && !json {
        return Err(invalid(
            "ApplicationLogLevel and SystemLogLevel are not supported when LogFormat is set to Text. Remove ApplicationLogLevel or SystemLogLevel from your request or change the LogFormat to JSON and try again.",
        ));
    }
    Ok(())
}

fn runtime_of(runtime: &choice::Runtime) -> Result<model::Runtime, Refusal> {
    runtime.as_str().parse().map_err(|_| {
        if matches!(runtime, choice::Runtime::Other(_)) {
            return Refusal::runtime(runtime.as_str());
        }
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
        Error::Invalid(model::ValidationError::Memory { .. }) => {
            beyond("MemorySize", limit::MEMORY_MB_MAX)
        }
        Error::Invalid(model::ValidationError::Timeout { .. }) => {
            beyond("Timeout", limit::TIMEOUT_MAX.as_secs())
        }
        Error::TooMany { what: "tags", .. } => super::settings::too_many_tags(),
        other => Refusal::of(other, target),
    }
}

/// A value within what the service model has, and beyond what the account may have.
fn beyond(member: &str, max: impl std::fmt::Display) -> Refusal {
    invalid(format!(
        "'{member}' value failed to satisfy constraint: Member must have value less than or equal to {max}"
    ))
}

impl Aws {
    /// What functions made here may reach.
    fn network(&self) -> Network {
        self.settings.network
    }
}
