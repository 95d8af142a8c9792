//! TypeScript: the project's own build script, or else one bundle by esbuild, which is the
//! project's own where it has one and is fetched once where it has none.

use std::fs;
use std::path::{Path, PathBuf};

use model::Runtime;
use serde_json::Value;

use super::cache::{Key, Stage};
use super::node::{Manifest, Modules};
use super::tool::{self, Tool};
use super::{Build, Package, Source};
use crate::error::Error;
use crate::project::FunctionPlan;

/// The release that is fetched where the project names none.
const ESBUILD_VERSION: &str = "0.28.2";
const EXTENSIONS: &[&str] = &["ts", "mts", "cts", "tsx"];
/// Gives ES modules the `require` that bundled CommonJS dependencies ask for.
const BANNER: &str = "import{createRequire as dayflyRequire}from\"node:module\";globalThis.require??=dayflyRequire(import.meta.url);";

impl Build<'_> {
    pub(super) async fn typescript(
        &mut self,
        plan: &FunctionPlan,
        entry: Option<&str>,
    ) -> Result<(Package, String), Error> {
        let source = plan.source.as_path();
        let manifest = Manifest::read(source)?;
        if manifest.build_script() {
            return self.scripted(plan, &manifest).await;
        }
        let (file, export) = plan
            .handler
            .rsplit_once('.')
            .unwrap_or((&plan.handler, "handler"));
        let entry = self.entry(source, file, entry)?;
        let modules = self.modules(source, &manifest, plan.runtime).await?;
        let own = Package::of(Source::of(source)?.without("node_modules/"));
        let key = Key::new("esbuild")
            .add(ESBUILD_VERSION)
            .add(&plan.runtime.to_string())
            .add(file);
        let key = self.digest(key.add(&entry), &own).await?;
        let key = self.lock_key(&manifest, key).await?.finish();
        let built = self
            .bundled(plan, &manifest, &modules, (&entry, file), &key)
            .await?;
        let mut own = Source::of(source)?;
        if !matches!(modules, Modules::Own) {
            own = own.without("/node_modules/");
        }
        let mut sources = match modules {
            Modules::Installed(folder) => vec![Source::built(folder)],
            Modules::None | Modules::Own => Vec::new(),
        };
        // The runtime must find the bundle and not its source.
        for pattern in [
            "/package.json",
            "/package-lock.json",
            "/tsconfig.json",
            "*.ts",
            "*.mts",
            "*.cts",
            "*.tsx",
        ] {
            own = own.without(pattern);
        }
        sources.extend([own, Source::built(built)]);
        Ok((Package { sources }, format!("{file}.{export}")))
    }

    /// The source file of a handler, relative to the folder.
    fn entry(&self, source: &Path, file: &str, named: Option<&str>) -> Result<String, Error> {
        let stripped = ["dist/", "build/", "out/", "lib/"]
            .iter()
            .find_map(|folder| file.strip_prefix(folder));
        let stems = std::iter::once(file).chain(stripped);
        let stems = stems.flat_map(|stem| [stem.to_owned(), format!("src/{stem}")]);
        let files = stems.flat_map(|stem| {
            EXTENSIONS
                .iter()
                .map(move |extension| format!("{stem}.{extension}"))
        });
        let mut candidates = named.map(str::to_owned).into_iter().chain(files);
        candidates
            .find(|candidate| source.join(candidate).is_file())
            .ok_or_else(|| {
                self.problem(format!(
                    "there is no {file}.ts, as the handler has it, in {}",
                    source.display()
                ))
            })
    }

    /// The bundle, made anew if a file that went into it has changed. Those outside of the
    /// source are known by the last bundle's own word.
    async fn bundled(
        &mut self,
        plan: &FunctionPlan,
        manifest: &Manifest,
        modules: &Modules,
        (entry, file): (&str, &str),
        own: &str,
    ) -> Result<PathBuf, Error> {
        let source = plan.source.as_path();
        let workshop = self.workshop("esbuild", &source.join(entry)).await?;
        let (meta, known) = (
            workshop.folder.join("metafile"),
            workshop.folder.join("outside"),
        );
        let key = outside_key(own, source, &fs::read_to_string(&known).unwrap_or_default())?;
        if let Some(ready) = self.cache.ready("esbuild", &key) {
            return Ok(ready);
        }
        let stage = self
            .bundle(plan, manifest, modules, (entry, file), &meta)
            .await?;
        let outside = outside(&meta, source, &self.host.cache).join("\n");
        fs::write(&known, &outside).map_err(Error::io("write", &known))?;
        stage.keep_as(&outside_key(own, source, &outside)?)
    }

    async fn bundle(
        &mut self,
        plan: &FunctionPlan,
        manifest: &Manifest,
        modules: &Modules,
        (entry, file): (&str, &str),
        meta: &Path,
    ) -> Result<Stage, Error> {
        let source = plan.source.as_path();
        let esbuild = self.esbuild(source, manifest, plan.runtime).await?;
        let stage = self.cache.stage("esbuild", "unknown")?;
        let module = entry.ends_with(".mts") || (manifest.is_module() && !entry.ends_with(".cts"));
        let (format, extension) = if module {
            ("esm", "mjs")
        } else {
            ("cjs", "cjs")
        };
        let target = match plan.runtime {
            Runtime::Node { major } => format!("node{major}"),
            _ => "node20".to_owned(),
        };
        let outfile = stage.path().join(format!("{file}.{extension}"));
        let mut run = Tool::new(&esbuild, source)
            .args([entry, "--bundle", "--platform=node", "--sourcemap", "--log-level=warning", "--color=false"])
            .args(["--loader:.node=copy".to_owned(), format!("--format={format}"), format!("--target={target}")])
            .args([format!("--outfile={}", outfile.display()), format!("--metafile={}", meta.display())])
            .advice("mend the source file that it names; what cannot be bundled needs a `build` script of yours");
        if module {
            run = run.args([format!("--banner:js={BANNER}")]);
        }
        // The runtime brings the SDK; a project that wants its own names it.
        for package in ["aws-sdk", "@aws-sdk/*", "@smithy/*"] {
            if !manifest.names_package(package) {
                run = run.args([format!("--external:{package}")]);
            }
        }
        if let Modules::Installed(folder) = modules {
            run = run.env("NODE_PATH", folder.join("node_modules"));
        }
        self.progress.phase("esbuild");
        self.run(run).await?;
        Ok(stage)
    }

    async fn esbuild(
        &mut self,
        source: &Path,
        manifest: &Manifest,
        runtime: Runtime,
    ) -> Result<PathBuf, Error> {
        let bin = Path::new("node_modules").join(".bin").join("esbuild");
        let own = source.join(&bin);
        if tool::is_program(&own) {
            return Ok(own);
        }
        let version = manifest.version_of("esbuild").unwrap_or(ESBUILD_VERSION);
        let key = Key::new("tool").add("esbuild").add(version).finish();
        if let Some(ready) = self.cache.ready("tool", &key) {
            return Ok(ready.join(bin));
        }
        let interpreter = self.interpreter(runtime).await?;
        let npm = tool::find_beside(interpreter.as_deref(), "npm").ok_or_else(|| {
            self.missing(
                "npm",
                "install Node.js, which brings it, or give the project a node_modules with esbuild",
            )
        })?;
        let stage = self.cache.stage("tool", &key)?;
        self.progress.phase(&format!("fetch esbuild {version}"));
        let run = Tool::new(&npm, stage.path())
            .args([
                "install",
                "--no-save",
                "--no-package-lock",
                "--no-audit",
                "--no-fund",
                "--prefix",
                ".",
            ])
            .args([format!("esbuild@{version}")])
            .advice(
                "esbuild is fetched once; connect to the registry, or install it in the project",
            );
        self.run(run).await?;
        Ok(stage.keep()?.join(bin))
    }
}

/// The files of a bundle that are not of its source, relative to it, in their order.
fn outside(meta: &Path, source: &Path, cache: &Path) -> Vec<String> {
    let text = fs::read_to_string(meta).unwrap_or_default();
    let meta: Value = serde_json::from_str(&text).unwrap_or_default();
    let cache = cache.canonicalize().unwrap_or_else(|_| cache.to_owned());
    let inputs = meta.get("inputs").and_then(Value::as_object);
    let names = inputs.into_iter().flatten().map(|(name, _)| name);
    let mut names: Vec<String> = names
        .filter(|name| name.starts_with("../") || name.starts_with('/'))
        // What was installed is known by its lock file.
        .filter(|name| {
            let path = source.join(name).canonicalize();
            path.is_ok_and(|path| path.is_file() && !path.starts_with(&cache))
        })
        .cloned()
        .collect();
    names.sort();
    names
}

fn outside_key(own: &str, source: &Path, outside: &str) -> Result<String, Error> {
    let mut key = Key::new("esbuild-outside").add(own);
    for name in outside.lines() {
        key = key.add(name).file(&source.join(name))?;
    }
    // esbuild obeys those of the folders above, too.
    for folder in source.ancestors().skip(1) {
        key = key.file(&folder.join("tsconfig.json"))?;
    }
    Ok(key.finish())
}
