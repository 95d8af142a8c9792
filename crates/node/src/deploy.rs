//! A project built here, to be deployed elsewhere: its functions as a server takes them, and
//! their code as archives. It speaks with no server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::wire::{Deployment, Info, Url};
use futures_util::future::BoxFuture;
use model::{Code, Network};
use process::interpreter::{Finder, Language, Surroundings};
use serde::Serialize;
use stacks::{FunctionPlan, Package, Progress};
use store::{Clock, SystemClock, Trees};
use tokio::sync::{Semaphore, watch};

use crate::sandboxes::runtimes_folder;

/// What is to be built.
#[derive(Debug, Clone)]
pub struct Options {
    /// The project.
    pub folder: PathBuf,
    /// Environment variables by function, in the JSON form of SAM.
    pub env_vars: Option<PathBuf>,
    /// The user's folder for builds and fetched tools.
    pub cache: PathBuf,
}

/// Why something was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The project cannot be read or built.
    #[error(transparent)]
    Project(#[from] stacks::Error),
    /// The server has an account or a region that is none.
    #[error("deploy there: {0}")]
    Place(#[from] model::InvalidName),
    /// Code cannot be kept for a moment.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An archive cannot be written.
    #[error("write an archive of the code: {0}")]
    Archive(std::io::Error),
    /// A setting cannot be written down.
    #[error("describe the function: {0}")]
    Form(serde_json::Error),
}

/// A function, ready to be deployed.
#[derive(Debug)]
pub struct Ready {
    /// Its name.
    pub name: String,
    /// As a server takes it.
    pub deployment: Deployment,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// A project that is being built. What it has built is removed when it is dropped.
#[derive(Debug)]
pub struct Project {
    functions: Vec<FunctionPlan>,
    /// What its author should know.
    pub warnings: Vec<String>,
    host: stacks::Host,
    /// Open for as long as there is something in it.
    trees: Arc<Trees>,
    folder: Scratch,
}

#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // A cache folder may be removed at any time, by anybody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Tells of the lines of a build.
struct Told<'a>(&'a (dyn Fn(&str) + Send + Sync));

impl Progress for Told<'_> {
    fn phase(&self, text: &str) {
        (self.0)(text);
    }

    fn line(&self, text: &str) {
        (self.0)(text);
    }
}

impl Project {
    /// Reads a project for the account and region of a server.
    pub async fn read(options: &Options, place: &Info) -> Result<Self, Error> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut wanted = stacks::Options::new(place.account.parse()?, place.region.parse()?);
        wanted.env_vars.clone_from(&options.env_vars);
        let finder = Finder::new(
            Surroundings::of_this_process(),
            false,
            runtimes_folder(&options.cache),
            Arc::new(|_: &str| {}),
        );
        let (finder, folder) = (Arc::new(finder), options.folder.clone());
        let interpreter = Arc::clone(&finder);
        let read = blocking(move || {
            wanted.has =
                Arc::new(move |runtime| Language::of(runtime).is_none_or(|it| finder.has(it)));
            stacks::read(&folder, &wanted)
        });
        let project = read.await?;
        let name = format!("{:032x}", u128::from_le_bytes(clock.random_id()));
        let folder = Scratch(options.cache.join("deploy").join(name));
        let trees = Arc::new(Trees::open(&folder.0.join("code"))?);
        let host = stacks::Host {
            cache: options.cache.join("build"),
            interpreter: Arc::new(move |runtime| {
                Some(interpreter.find_here(Language::of(runtime)?)?.executable)
            }),
            clock,
            turns: stacks::Turns::default(),
            // One function is built after the other.
            places: Arc::new(Semaphore::new(1)),
        };
        Ok(Self {
            functions: project.functions,
            warnings: project.warnings,
            host,
            trees,
            folder,
        })
    }

    /// How many functions it has.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The names of its functions, in the order in which they are built.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().map(|plan| plan.name.as_str())
    }

    /// Builds one of them.
    pub fn build<'a>(
        &'a self,
        place: usize,
        tell: &'a (dyn Fn(&str) + Send + Sync),
    ) -> BoxFuture<'a, Result<Option<Ready>, Error>> {
        Box::pin(self.build_one(place, tell))
    }

    async fn build_one(
        &self,
        place: usize,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Option<Ready>, Error> {
        let Some(plan) = self.functions.get(place) else {
            return Ok(None);
        };
        // A deployment is not given up: who ends it ends the process.
        let (_given_up, never) = watch::channel(false);
        let built = stacks::build(plan, &self.host, &Told(tell), &never).await?;
        let code = self.keep(built.code).await?;
        let mut layers = Vec::new();
        for layer in built.layers {
            layers.push(self.keep(layer).await?);
        }
        // What functions may reach is for the server to say.
        let network = Network::PlatformOnly;
        let config = plan.config(&built.handler, code, layers, network, false);
        let deployment = Deployment {
            runtime: config.runtime.to_string(),
            handler: config.handler,
            description: config.description,
            memory_mb: config.memory_mb,
            timeout_s: config.timeout.as_secs(),
            tmp_mb: config.tmp_mb,
            environment: config.environment,
            code: config.code.digest.to_string(),
            layers: (config.layers.iter())
                .map(|layer| layer.digest.to_string())
                .collect(),
            log_format: word(&config.log_format)?,
            log_level: word(&config.log_level)?,
            url: plan.url.as_ref().map(|url| Url {
                cors: url.cors.clone().map(Into::into),
                invoke_mode: Some(url.invoke_mode.as_str().to_owned()),
                auth: Some(url.auth.as_str().to_owned()),
            }),
            reserved_concurrency: plan.reserved_concurrency,
        };
        Ok(Some(Ready {
            name: plan.name.to_string(),
            deployment,
            warnings: built.warnings,
        }))
    }

    /// A file that holds some built code as an archive.
    pub async fn archive(&self, digest: &str) -> Result<PathBuf, Error> {
        let tree = self.trees.path(digest)?;
        let file = self.folder.0.join(format!("{digest}.tar"));
        let target = file.clone();
        blocking(move || write(&tree, &target))
            .await
            .map_err(Error::Archive)?;
        Ok(file)
    }

    async fn keep(&self, package: Package) -> Result<Code, Error> {
        let trees = Arc::clone(&self.trees);
        let tree = blocking(move || {
            let ignores: Vec<_> = package
                .sources
                .iter()
                .map(|source| |path: &Path, folder: bool| source.ignore.is_ignored(path, folder))
                .collect();
            let sources: Vec<store::trees::Source<'_>> = package
                .sources
                .iter()
                .zip(&ignores)
                .map(|(source, ignore)| store::trees::Source {
                    folder: &source.folder,
                    ignore,
                })
                .collect();
            trees.put_merged(&sources)
        });
        let tree = tree.await?;
        Ok(Code::folder(tree.digest.parse()?, tree.size_bytes))
    }
}

fn write(tree: &Path, file: &Path) -> std::io::Result<()> {
    let file = std::io::BufWriter::new(std::fs::File::create(file)?);
    api::archive::pack(tree, file)
}

/// A value of the model's that is one word.
fn word(value: &impl Serialize) -> Result<String, Error> {
    match serde_json::to_value(value).map_err(Error::Form)? {
        serde_json::Value::String(word) => Ok(word),
        other => Ok(other.to_string()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
