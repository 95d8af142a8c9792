//! Deployments from a client: code first, by the digest of what it holds, then the function.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::verb::{Deployment, UrlSettings};
use http_body_util::BodyExt as _;
use model::{Code, Digest, FunctionConfig, FunctionRef, Network, Principal};
use serde::de::DeserializeOwned;
use store::Trees;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use crate::archive::{ARCHIVE_BYTES_MAX, unpack};
use crate::body::collect;
use crate::error::Refusal;
use crate::{Api, Body, wire};

/// Archives that are taken in at once (ours): each may fill a quarter of a gigabyte of disk twice.
const UPLOADS_MAX: usize = 4;
/// Largest description of a deployment, in bytes (ours: an environment of 4 KiB, escaped, and
/// all else that a function is).
const DEPLOYMENT_BYTES_MAX: usize = 256 * 1024;

/// Where code from clients is taken in.
#[derive(Debug, Clone)]
pub struct Intake {
    trees: Arc<Trees>,
    /// Holds archives while they are unpacked.
    scratch: PathBuf,
    network: Network,
    uploads: Arc<Semaphore>,
}

impl Intake {
    /// Code goes to these trees by way of a folder that is emptied now. `network` is what deployed
    /// functions may reach.
    pub fn new(trees: Arc<Trees>, scratch: PathBuf, network: Network) -> std::io::Result<Self> {
        match fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&scratch)?,
        }
        Ok(Self {
            trees,
            scratch,
            network,
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
        })
    }
}

/// A folder that is removed with what is in it.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "left for the next start to remove");
        }
    }
}

impl Api {
    /// What is known of stored code.
    pub(crate) async fn code(&self, digest: &str) -> Result<wire::StoredCode, Refusal> {
        let trees = Arc::clone(&self.intake()?.trees);
        let digest: Digest = digest.parse().map_err(|error| invalid(&error))?;
        let known = tokio::task::spawn_blocking(move || {
            let size_bytes = trees.size_bytes(digest.as_str()).ok()?;
            let digest = digest.to_string();
            Some(wire::StoredCode { digest, size_bytes })
        });
        let known = known.await.map_err(|error| Refusal::ours(&error))?;
        known.ok_or_else(|| Refusal::missing("no code is stored under that digest"))
    }

    /// Takes code in. It must be what its digest says.
    pub(crate) async fn put_code(
        &self,
        digest: &str,
        body: Body,
    ) -> Result<wire::StoredCode, Refusal> {
        let intake = self.intake()?.clone();
        let digest: Digest = digest.parse().map_err(|error| invalid(&error))?;
        let Ok(_upload) = intake.uploads.try_acquire() else {
            return Err(Refusal::busy("too many archives are on their way"));
        };
        let name = format!("{:032x}", u128::from_le_bytes(self.clock.random_id()));
        let scratch = Scratch(intake.scratch.join(name));
        let file = scratch.0.join("archive");
        fs::create_dir(&scratch.0).map_err(|error| Refusal::ours(&error))?;
        receive(body, &file).await?;
        let trees = intake.trees;
        let stored = tokio::task::spawn_blocking(move || {
            // Moved here, so that it is removed when the work is done, whoever still waits.
            let scratch = scratch;
            store(&trees, &digest, &file, &scratch.0.join("code"))
        });
        stored.await.map_err(|error| Refusal::ours(&error))?
    }

    /// Makes a function what a client says.
    pub(crate) async fn deploy(
        &self,
        target: FunctionRef,
        body: Body,
    ) -> Result<wire::Deployed, Refusal> {
        let text = collect(body, DEPLOYMENT_BYTES_MAX).await?;
        let wanted: wire::Deployment =
            serde_json::from_slice(&text).map_err(|error| invalid(&error))?;
        if target.qualifier != model::Qualifier::Absent {
            return Err(Refusal::invalid("a version or alias cannot be deployed to"));
        }
        let deployment = self.deployment(wanted).await?;
        let who = Principal::Account(self.settings.account.clone());
        let deployed = self.engine.deploy(&who, &target.function, deployment);
        let mut deployed = deployed.await?;
        // It is deployed whatever a trial finds, or fails of.
        if let Ok(Some(flaw)) = self.engine.trial(&who, &target.function).await {
            deployed.warnings.push(format!("it cannot start: {flaw}"));
        }
        Ok(wire::Deployed {
            function: self.function(&target).await?,
            changed: deployed.changed,
            warnings: deployed.warnings,
        })
    }

    async fn deployment(&self, wanted: wire::Deployment) -> Result<Deployment, Refusal> {
        let code = self.stored(&wanted.code).await?;
        let mut layers = Vec::new();
        for layer in &wanted.layers {
            layers.push(self.stored(layer).await?);
        }
        let config = FunctionConfig {
            runtime: wanted.runtime.parse().map_err(|error| invalid(&error))?,
            handler: wanted.handler,
            description: wanted.description,
            memory_mb: wanted.memory_mb,
            timeout: std::time::Duration::from_secs(wanted.timeout_s),
            tmp_mb: wanted.tmp_mb,
            environment: wanted.environment,
            code,
            layers,
            log_format: word(wanted.log_format)?,
            log_level: word(wanted.log_level)?,
            network: self.intake()?.network,
            inspect: false,
            declared: model::Declared::default(),
        };
        Ok(Deployment {
            config,
            url: wanted.url.map(url_settings).transpose()?,
            reserved_concurrency: wanted.reserved_concurrency,
            publish: false,
        })
    }

    async fn stored(&self, digest: &str) -> Result<Code, Refusal> {
        let known = self.code(digest).await?;
        let digest = known.digest.parse().map_err(|error| invalid(&error))?;
        Ok(Code::folder(digest, known.size_bytes))
    }

    fn intake(&self) -> Result<&Intake, Refusal> {
        let none = || Refusal::missing("no code is taken in here");
        self.intake.as_ref().ok_or_else(none)
    }
}

fn invalid(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::invalid(&format!("the deployment is not understood: {error}"))
}

/// A word of the model's, such as `Json` or `INFO`.
fn url_settings(url: wire::Url) -> Result<UrlSettings, Refusal> {
    Ok(UrlSettings {
        cors: url.cors.map(model::Cors::from),
        invoke_mode: url.invoke_mode.map_or(Ok(Default::default()), word)?,
        auth: url.auth.map_or(Ok(Default::default()), word)?,
    })
}

fn word<T: DeserializeOwned>(word: String) -> Result<T, Refusal> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(|error| invalid(&error))
}

async fn receive(mut body: Body, path: &Path) -> Result<(), Refusal> {
    let ours = |error: std::io::Error| Refusal::ours(&error);
    let mut file = tokio::fs::File::create(path).await.map_err(ours)?;
    let mut size = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::invalid(&format!("the body ended: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size += data.len() as u64;
        if size > ARCHIVE_BYTES_MAX {
            let max = usize::try_from(ARCHIVE_BYTES_MAX).unwrap_or(usize::MAX);
            return Err(Refusal::too_large(max));
        }
        file.write_all(&data).await.map_err(ours)?;
    }
    file.flush().await.map_err(ours)
}

fn store(
    trees: &Trees,
    digest: &Digest,
    archive: &Path,
    folder: &Path,
) -> Result<wire::StoredCode, Refusal> {
    let open = || {
        fs::create_dir(folder)?;
        fs::File::open(archive)
    };
    let file = open().map_err(|error| Refusal::ours(&error))?;
    let file = std::io::BufReader::new(file);
    let odd = |error: &dyn std::fmt::Display| {
        Refusal::invalid(&format!("the archive cannot be unpacked: {error}"))
    };
    unpack(file, folder).map_err(|error| odd(&error))?;
    let tree = trees.put(folder).map_err(|error| match error {
        store::Error::Unstorable { .. } => odd(&error),
        error => Refusal::ours(&error),
    })?;
    if tree.digest != digest.as_str() {
        let found = &tree.digest;
        return Err(Refusal::invalid(&format!(
            "the archive holds code with digest {found}, not {digest}"
        )));
    }
    Ok(wire::StoredCode {
        digest: tree.digest,
        size_bytes: tree.size_bytes,
    })
}

impl From<wire::Cors> for model::Cors {
    fn from(cors: wire::Cors) -> Self {
        Self {
            allow_credentials: cors.allow_credentials,
            allow_headers: cors.allow_headers,
            allow_methods: cors.allow_methods,
            allow_origins: cors.allow_origins,
            expose_headers: cors.expose_headers,
            max_age_s: cors.max_age_s,
        }
    }
}

impl From<model::Cors> for wire::Cors {
    fn from(cors: model::Cors) -> Self {
        Self {
            allow_credentials: cors.allow_credentials,
            allow_headers: cors.allow_headers,
            allow_methods: cors.allow_methods,
            allow_origins: cors.allow_origins,
            expose_headers: cors.expose_headers,
            max_age_s: cors.max_age_s,
        }
    }
}
