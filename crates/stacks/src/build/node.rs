//! Node packages: dependencies by the project's own package manager, and its own build script.
//! Nothing is ever written into the user's folder.

mod local;
mod manifest;

use std::fs;
use std::path::{Path, PathBuf};

use model::Runtime;

pub(super) use manifest::{Manager, Manifest};

use super::cache::Key;
use super::tool::{self, Tool};
use super::{Build, Package, Source};
use crate::error::Error;
use crate::ignore::Ignore;
use crate::project::FunctionPlan;

/// Folders that build scripts write to, in the order in which a handler is looked for in them.
const OUTPUT_FOLDERS: &[&str] = &["dist", "build", "out", "lib"];
const EXTENSIONS: &[&str] = &["js", "mjs", "cjs"];

/// Which dependencies are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those that the function needs when it runs.
    Production,
    /// Also those that its build needs.
    All,
}

/// Where a function's dependencies are.
pub(super) enum Modules {
    /// It has none.
    None,
    /// In the project's own node_modules.
    Own,
    /// In a folder of the cache.
    Installed(PathBuf),
}

impl Build<'_> {
    pub(super) async fn node(&mut self, plan: &FunctionPlan) -> Result<(Package, String), Error> {
        let source = plan.source.as_path();
        let manifest = Manifest::read(source)?;
        if manifest.build_script() {
            return self.scripted(plan, &manifest).await;
        }
        let package = match self.modules(source, &manifest, plan.runtime).await? {
            Modules::None | Modules::Own => Package::of(Source::of(source)?),
            Modules::Installed(folder) => Package {
                sources: vec![
                    Source::built(folder),
                    Source::of(source)?.without("/node_modules/"),
                ],
            },
        };
        Ok((package, plan.handler.clone()))
    }

    /// The dependencies of a layer; none if it has none.
    pub(super) async fn node_dependencies(
        &mut self,
        source: &Path,
        runtime: Runtime,
    ) -> Result<Option<PathBuf>, Error> {
        let manifest = Manifest::read(source)?;
        if !manifest.has_dependencies() {
            return Ok(None);
        }
        self.install_production(source, &manifest, runtime)
            .await
            .map(Some)
    }

    /// The dependencies that a function needs when it runs.
    pub(super) async fn modules(
        &mut self,
        source: &Path,
        manifest: &Manifest,
        runtime: Runtime,
    ) -> Result<Modules, Error> {
        if !manifest.has_dependencies() {
            return Ok(Modules::None);
        }
        let own = manifest.own_modules();
        if own.is_current() && !own.has_development() {
            return Ok(Modules::Own);
        }
        match self.install_production(source, manifest, runtime).await {
            Ok(folder) => Ok(Modules::Installed(folder)),
            // Better what is there than nothing, where the registry cannot be reached.
            Err(error) if own.is_complete() => {
                self.go_on()?;
                self.warnings.push(format!(
                    "{}: node_modules is used as it is, as installing afresh failed: {error}",
                    source.display()
                ));
                Ok(Modules::Own)
            }
            Err(error) => Err(error),
        }
    }

    async fn install_production(
        &mut self,
        source: &Path,
        manifest: &Manifest,
        runtime: Runtime,
    ) -> Result<PathBuf, Error> {
        let key = Key::new("node").add(&runtime.to_string());
        let key = self.lock_key(manifest, key).await?.finish();
        if let Some(ready) = self.cache.ready("node", &key) {
            return Ok(ready);
        }
        let stage = self.cache.stage("node", &key)?;
        manifest.copy_for_install(source, stage.path())?;
        self.copy_locals(source, manifest, stage.path()).await?;
        self.install(stage.path(), manifest.manager(), runtime, Which::Production)
            .await?;
        // What was needed to install is not needed to run.
        let result = self.cache.stage("node", &key)?;
        let (made, goal) = (
            stage.path().join("node_modules"),
            result.path().join("node_modules"),
        );
        if made.is_dir() {
            fs::rename(&made, &goal).map_err(Error::io("move into place", &goal))?;
        }
        result.keep()
    }

    /// All that decides what is installed, packages of this machine included.
    pub(super) async fn lock_key(&self, manifest: &Manifest, key: Key) -> Result<Key, Error> {
        let mut key = manifest.lock_key(key)?;
        for local in manifest.locals() {
            key = if local.path.is_dir() {
                self.digest(key, &local::package_of(&local)?).await?
            } else {
                key.file(&local.path)?
            };
        }
        Ok(key)
    }

    async fn copy_locals(
        &self,
        source: &Path,
        manifest: &Manifest,
        target: &Path,
    ) -> Result<(), Error> {
        let locals = manifest.locals();
        if locals.is_empty() {
            return Ok(());
        }
        let (source, target) = (source.to_owned(), target.to_owned());
        self.off_thread(move || local::copy(&source, &locals, &target))
            .await
    }

    async fn install(
        &self,
        folder: &Path,
        manager: Manager,
        runtime: Runtime,
        which: Which,
    ) -> Result<(), Error> {
        let production = which == Which::Production;
        let (program, install) = (manager.program(), manager.how_to_get());
        let interpreter = self.interpreter(runtime).await?;
        let path = tool::find_beside(interpreter.as_deref(), program)
            .ok_or_else(|| self.missing(program, install))?;
        let args = manager.arguments(folder, production);
        self.progress.phase(&format!(
            "{program} {}",
            args.first().copied().unwrap_or_default()
        ));
        let mut run = Tool::new(&path, folder)
            .args(args)
            .env("CI", "1")
            .env("npm_config_fund", "false")
            .env("npm_config_audit", "false")
            .env("npm_config_update_notifier", "false")
            .env("npm_config_progress", "false")
            .env("YARN_NODE_LINKER", "node-modules")
            .env("YARN_ENABLE_TELEMETRY", "0")
            .env("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0")
            .advice("mend package.json or its lock file, or the connection to the registry");
        // Addons are built for the Node that is found first.
        if let Some(beside) = interpreter.as_deref().and_then(Path::parent) {
            run = run.path_first(beside);
        }
        self.run(run).await.map(drop)
    }

    /// A project with a build script of its own: run in a copy, which keeps its installed
    /// dependencies from build to build.
    pub(super) async fn scripted(
        &mut self,
        plan: &FunctionPlan,
        manifest: &Manifest,
    ) -> Result<(Package, String), Error> {
        let source = plan.source.as_path();
        let own = Package::of(Source::of(source)?.without("node_modules/"));
        let key = Key::new("node-built").add(&plan.runtime.to_string());
        let key = self.digest(key, &own).await?;
        let key = self.lock_key(manifest, key).await?.finish();
        let built = match self.cache.ready("node-built", &key) {
            Some(ready) => ready,
            None => self.run_script(plan, manifest, &own, &key).await?,
        };
        let mut sources = match self.modules(source, manifest, plan.runtime).await? {
            Modules::None => Vec::new(),
            Modules::Own => {
                vec![Source {
                    folder: source.to_owned(),
                    ignore: Ignore::all_but("node_modules"),
                }]
            }
            Modules::Installed(folder) => vec![Source::built(folder)],
        };
        let handler = self.built_handler(&plan.handler, &built)?;
        sources.push(Source::built(built));
        Ok((Package { sources }, handler))
    }

    async fn run_script(
        &mut self,
        plan: &FunctionPlan,
        manifest: &Manifest,
        own: &Package,
        key: &str,
    ) -> Result<PathBuf, Error> {
        let workshop = self.workshop("node", &plan.source).await?;
        let work = workshop.folder.as_path();
        // Another function of the same source may have been built in the meantime.
        if let Some(ready) = self.cache.ready("node-built", key) {
            return Ok(ready);
        }
        clear_but_modules(work)?;
        self.copy(own, work).await?;
        self.copy_locals(&plan.source, manifest, work).await?;
        self.install_all(plan, manifest, work).await?;
        self.script(work, manifest.manager(), plan.runtime).await?;
        let stage = self.cache.stage("node-built", key)?;
        let result = Source::built(work.to_owned()).without("/node_modules/");
        let result = Package::of(result.without(&format!("/{}/", local::FOLDER)));
        self.copy(&result, stage.path()).await?;
        stage.keep()
    }

    /// Installs what the build needs, unless it is there from the last time.
    async fn install_all(
        &mut self,
        plan: &FunctionPlan,
        manifest: &Manifest,
        work: &Path,
    ) -> Result<(), Error> {
        let key = Key::new("modules").add(&plan.runtime.to_string());
        let key = self.lock_key(manifest, key).await?.finish();
        let modules = work.join("node_modules");
        let marker = modules.join(".dayfly-key");
        let current = fs::read_to_string(&marker).is_ok_and(|text| text == key);
        if current || !manifest.has_any_dependencies() {
            return Ok(());
        }
        // Should the installation be broken off, what is there is of no known kind.
        remove(&marker)?;
        let installed = self
            .install(work, manifest.manager(), plan.runtime, Which::All)
            .await;
        if let Err(error) = installed {
            self.go_on()?;
            let present = plan.source.join("node_modules");
            if !present.is_dir() {
                return Err(error);
            }
            let source = plan.source.display();
            self.warnings
                .push(format!("{source}: node_modules is used as it is: {error}"));
            remove(&modules)?;
            self.copy(&Package::of(Source::built(present)), &modules)
                .await?;
        }
        if modules.is_dir() {
            fs::write(&marker, &key).map_err(Error::io("write", &marker))?;
        }
        Ok(())
    }

    async fn script(&self, work: &Path, manager: Manager, runtime: Runtime) -> Result<(), Error> {
        let interpreter = self.interpreter(runtime).await?;
        let program = manager.program();
        let path = tool::find_beside(interpreter.as_deref(), program)
            .ok_or_else(|| self.missing(program, manager.how_to_get()))?;
        self.progress.phase(&format!("{program} run build"));
        let mut run = Tool::new(&path, work)
            .args(["run", "build"])
            .env("npm_config_update_notifier", "false")
            .advice("mend the script `build` in package.json; it runs in a copy of the project");
        if let Some(beside) = interpreter.as_deref().and_then(Path::parent) {
            run = run.path_first(beside);
        }
        self.run(run).await.map(drop)
    }

    /// The handler, where it is after the build: as named, or in the folder that was written to.
    fn built_handler(&self, handler: &str, built: &Path) -> Result<String, Error> {
        let (file, export) = handler.rsplit_once('.').unwrap_or((handler, "handler"));
        let exists = |stem: &str| {
            EXTENSIONS
                .iter()
                .any(|extension| built.join(format!("{stem}.{extension}")).is_file())
        };
        let stripped = file.strip_prefix("src/").unwrap_or(file);
        let within = OUTPUT_FOLDERS
            .iter()
            .flat_map(|folder| [format!("{folder}/{file}"), format!("{folder}/{stripped}")]);
        // A built file beats a source of the same name only where the source is TypeScript.
        match std::iter::once(file.to_owned()).chain(within).find(|stem| exists(stem)) {
            Some(stem) => Ok(format!("{stem}.{export}")),
            None => Err(self.problem(format!(
                "the build script ran, but made no {file}.js, .mjs or .cjs, nor one in {}; name the \
                 handler in a template.yaml",
                OUTPUT_FOLDERS.join(", ")
            ))),
        }
    }
}

/// The packages of this machine that a project needs; none where its package.json says nothing
/// that can be read.
pub(crate) fn local_packages(source: &Path) -> Vec<PathBuf> {
    let manifest = Manifest::read(source).ok();
    let locals = manifest.map(|manifest| manifest.locals());
    let locals = locals.into_iter().flatten();
    locals.map(|local| local.path).collect()
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Empties a folder, but for the dependencies in it.
fn clear_but_modules(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        if entry.file_name() != "node_modules" {
            remove(&entry.path())?;
        }
    }
    Ok(())
}
