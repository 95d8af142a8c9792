//! Sources into packages. What a build makes goes into a cache outside the source tree, under a
//! digest of all that it was made from, so that an unchanged project builds nothing.

mod cache;
mod links;
mod make;
mod node;
mod package;
mod python;
mod rust;
mod sdk;
mod tool;
mod turns;
mod typescript;

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use model::Runtime;
use store::Clock;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

pub(crate) use links::linked_folders;
pub(crate) use node::local_packages;
pub use package::{Package, PackageFile, Source};
pub(crate) use python::local_requirements;
pub use turns::{Turn, Turns};

use crate::error::Error;
use crate::ignore::Ignore;
use crate::project::{BuildKind, FunctionPlan, LayerBuild, LayerPlan};
use cache::{Cache, Key, Workshop};

/// Finds the interpreter of a runtime, or the one that stands in for it. May block.
pub type Interpreter = Arc<dyn Fn(Runtime) -> Option<PathBuf> + Send + Sync>;

/// Says when a build is to be given up: true from then on. One whose sender is gone never is.
pub type GivenUp = watch::Receiver<bool>;

/// Pause between two looks at a folder that another process builds in (ours).
const WORKSHOP_PAUSE: Duration = Duration::from_millis(50);

/// What a build needs of the machine it runs on.
#[derive(Clone)]
pub struct Host {
    /// Folder for what builds make and fetch, shared by all projects of a user; made if missing.
    pub cache: PathBuf,
    /// Finds interpreters. Only asked where something is to be installed.
    pub interpreter: Interpreter,
    /// For the time limit of tools.
    pub clock: Arc<dyn Clock>,
    /// Shared by builds that go on at the same time.
    pub turns: Turns,
    /// How many tools and searches of these go on at once. A tool that takes long gives its place
    /// to others.
    pub places: Arc<Semaphore>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// Told what a build does while it does it. Called from several threads; must not block long.
pub trait Progress: Send + Sync {
    /// A new phase has begun, such as `pip install`. Not called where nothing is to be done.
    fn phase(&self, text: &str);
    /// A tool wrote a line.
    fn line(&self, text: &str);
}

/// Progress that nobody wants to see.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _text: &str) {}
    fn line(&self, _text: &str) {}
}

/// What a build leads to.
#[derive(Debug, Clone)]
pub struct Built {
    /// Where the runtime enters the code: the plan's, or what became of it.
    pub handler: String,
    /// The runtime that it was built for.
    pub runtime: Runtime,
    /// What goes to /var/task.
    pub code: Package,
    /// What goes to /opt, in this order.
    pub layers: Vec<Package>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Builds a function and its layers. Once it is given up it ends as soon as nothing of it goes on,
/// with [`Error::GivenUp`]; dropped, it kills its tools, and what it does with files may go on for a
/// moment.
///
/// Boxed, so that it is compiled here, once.
pub fn build<'a>(
    plan: &'a FunctionPlan,
    host: &'a Host,
    progress: &'a dyn Progress,
    given_up: &'a GivenUp,
) -> Pin<Box<dyn Future<Output = Result<Built, Error>> + Send + 'a>> {
    Box::pin(build_all(plan, host, progress, given_up))
}

async fn build_all(
    plan: &FunctionPlan,
    host: &Host,
    progress: &dyn Progress,
    given_up: &GivenUp,
) -> Result<Built, Error> {
    let mut build = Build {
        function: plan.name.to_string(),
        host,
        cache: Cache::new(&host.cache),
        progress,
        given_up,
        warnings: Vec::new(),
    };
    let mut layers = Vec::new();
    for layer in &plan.layers {
        let turn = build.turn(&layer.source, "").await?;
        let layer = build.layer(layer).await?;
        layers.push(build.with_links(layer).await?);
        drop(turn);
    }
    let turn = match &plan.build {
        BuildKind::Inline { .. } => None,
        // Each rule makes something else.
        BuildKind::Make { target } => Some(build.turn(&plan.source, target).await?),
        _ => Some(build.turn(&plan.source, "").await?),
    };
    let (code, handler) = build.code(plan).await?;
    let code = build.with_links(code).await?;
    let code = build.with_sdk(plan.runtime, code, &layers).await?;
    drop(turn);
    build.go_on()?;
    Ok(Built {
        handler,
        runtime: plan.runtime,
        code,
        layers,
        warnings: build.warnings,
    })
}

/// One build under way.
struct Build<'a> {
    function: String,
    host: &'a Host,
    cache: Cache,
    progress: &'a dyn Progress,
    given_up: &'a GivenUp,
    warnings: Vec<String>,
}

impl Build<'_> {
    async fn code(&mut self, plan: &FunctionPlan) -> Result<(Package, String), Error> {
        let source = plan.source.as_path();
        let package = match &plan.build {
            BuildKind::Copy => Package::of(Source::of(source)?),
            BuildKind::Inline { file, text } => Package::of(self.inline(file, text)?),
            BuildKind::Python => self.python(source, plan.runtime).await?,
            BuildKind::Node => return self.node(plan).await,
            BuildKind::TypeScript { entry } => {
                return self.typescript(plan, entry.as_deref()).await;
            }
            BuildKind::Rust { binary } => self.rust(source, binary.as_deref()).await?,
            BuildKind::Make { target } => self.make(source, target).await?,
        };
        Ok((package, plan.handler.clone()))
    }

    fn inline(&self, file: &str, text: &str) -> Result<Source, Error> {
        let key = Key::new("inline").add(file).add(text).finish();
        if let Some(ready) = self.cache.ready("inline", &key) {
            return Ok(Source::built(ready));
        }
        let stage = self.cache.stage("inline", &key)?;
        let path = stage.path().join(file);
        std::fs::write(&path, text).map_err(Error::io("write", &path))?;
        Ok(Source::built(stage.keep()?))
    }

    async fn python(&mut self, source: &Path, runtime: Runtime) -> Result<Package, Error> {
        let dependencies = self.python_dependencies(source, runtime).await?;
        let mut sources: Vec<Source> = dependencies.into_iter().map(Source::built).collect();
        sources.push(Source::of(source)?);
        Ok(Package { sources })
    }

    /// A layer with a build method: its dependencies and files below the folder that the
    /// runtime looks into.
    async fn layer(&mut self, layer: &LayerPlan) -> Result<Package, Error> {
        let (folder, dependencies) = match layer.build {
            LayerBuild::Copy => return Ok(Package::of(Source::of(&layer.source)?)),
            LayerBuild::Python(runtime) => (
                "python",
                self.python_dependencies(&layer.source, runtime).await?,
            ),
            LayerBuild::Node(runtime) => (
                "nodejs",
                self.node_dependencies(&layer.source, runtime).await?,
            ),
        };
        let own = Source {
            ignore: Ignore::of(&layer.source)?.and("node_modules/"),
            folder: layer.source.clone(),
        };
        let mut sources: Vec<Source> = dependencies.into_iter().map(Source::built).collect();
        sources.push(own);
        let package = Package { sources };
        let key = self
            .digest(Key::new("layer").add(folder), &package)
            .await?
            .finish();
        if let Some(ready) = self.cache.ready("layer", &key) {
            return Ok(Package::of(Source::built(ready)));
        }
        let stage = self.cache.stage("layer", &key)?;
        self.copy(&package, &stage.path().join(folder)).await?;
        Ok(Package::of(Source::built(stage.keep()?)))
    }

    /// The interpreter of a runtime. Finding it runs programs and reads folders.
    async fn interpreter(&self, runtime: Runtime) -> Result<Option<PathBuf>, Error> {
        let find = Arc::clone(&self.host.interpreter);
        self.off_thread(move || Ok(find(runtime))).await
    }

    /// A digest with all files of a package in it.
    async fn digest(&self, key: Key, package: &Package) -> Result<Key, Error> {
        let package = package.clone();
        self.off_thread(move || key.package(&package)).await
    }

    async fn copy(&self, package: &Package, target: &Path) -> Result<(), Error> {
        let (package, target) = (package.clone(), target.to_owned());
        self.off_thread(move || package.copy_to(&target)).await
    }

    /// A lasting folder of the cache, once nobody else builds in it.
    async fn workshop(&self, kind: &'static str, source: &Path) -> Result<Workshop, Error> {
        loop {
            let (cache, source) = (self.cache.clone(), source.to_owned());
            let entered = self.off_thread(move || cache.workshop(kind, &source));
            if let Some(workshop) = entered.await? {
                return Ok(workshop);
            }
            let pause = self.host.clock.sleep(WORKSHOP_PAUSE);
            self.unless_given_up(pause).await?;
        }
    }

    async fn turn(&self, source: &Path, what: &str) -> Result<Turn, Error> {
        let key = format!("{} {what}", source.display());
        self.unless_given_up(self.host.turns.take(&key)).await
    }

    async fn place(&self) -> Result<Option<SemaphorePermit<'_>>, Error> {
        // Never closed.
        let place = self.unless_given_up(self.host.places.acquire()).await?;
        Ok(place.ok())
    }

    /// Waits for something that may be left as it is.
    async fn unless_given_up<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.until_given_up() => Err(self.end()),
            done = waiting => Ok(done),
        }
    }

    async fn until_given_up(&self) {
        let mut given_up = self.given_up.clone();
        if given_up.wait_for(|given_up| *given_up).await.is_err() {
            std::future::pending().await
        }
    }

    fn go_on(&self) -> Result<(), Error> {
        if *self.given_up.borrow() {
            Err(self.end())
        } else {
            Ok(())
        }
    }

    fn end(&self) -> Error {
        Error::GivenUp {
            function: self.function.clone(),
        }
    }

    /// Does what reads or writes many files where it holds up no requests. What has begun is
    /// finished, so that nothing of a build that was given up writes into the next one's folders.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _place = self.place().await?;
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Everything stops.
                Err(_) => Err(self.end()),
            },
        }
    }

    /// An error that says what to do.
    fn problem(&self, problem: impl Into<String>) -> Error {
        Error::Build {
            function: self.function.clone(),
            problem: problem.into(),
        }
    }

    fn missing(&self, tool: &str, install: &str) -> Error {
        Error::MissingTool {
            function: self.function.clone(),
            tool: tool.to_owned(),
            install: install.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
