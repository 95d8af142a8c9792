//! Python dependencies: what requirements.txt or pyproject.toml names, installed into a folder.

mod lock;
mod requirements;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use model::Runtime;

use super::cache::{Key, Stage};
use super::tool::{self, Tool};
use super::{Build, Package, Source};
use crate::environment::read_toml;
use crate::error::Error;
use requirements::{Local, Requirements};

/// Bytes of dependencies up to which they are compiled ahead: twice this stays within Lambda's
/// limit for a package.
const COMPILED_BYTES_MAX: u64 = model::limit::UNPACKED_BYTES_MAX / 2;

/// Where a project names what it needs.
enum Needs {
    /// In a file of pip's own form, with what it comes to.
    File(PathBuf, Requirements),
    /// In pyproject.toml, one requirement an entry.
    Listed(Vec<String>),
    /// In a lock file, in the form of a requirement file's lines.
    Locked(Vec<String>),
}

impl Needs {
    fn lines(&self) -> &[String] {
        match self {
            Self::File(_, requirements) => &requirements.lines,
            Self::Listed(lines) | Self::Locked(lines) => lines,
        }
    }
}

impl Build<'_> {
    /// The folder of a project's installed dependencies; none if it has none.
    pub(super) async fn python_dependencies(
        &mut self,
        source: &Path,
        runtime: Runtime,
    ) -> Result<Option<PathBuf>, Error> {
        let Some(needs) = self.needs(source, runtime).await? else {
            return Ok(None);
        };
        self.installed(source, runtime, &needs, "").await.map(Some)
    }

    /// A folder with what Python's runtimes on Lambda bring, of which nothing need be said in the
    /// project.
    pub(super) async fn install_brought(
        &self,
        runtime: Runtime,
        wanted: Vec<String>,
    ) -> Result<PathBuf, Error> {
        let why = " boto3, which Lambda's runtime brings";
        let cache = self.host.cache.as_path();
        self.installed(cache, runtime, &Needs::Listed(wanted), why)
            .await
    }

    async fn installed(
        &self,
        source: &Path,
        runtime: Runtime,
        needs: &Needs,
        why: &str,
    ) -> Result<PathBuf, Error> {
        let interpreter = self.interpreter(runtime).await?.ok_or_else(|| {
            self.missing(
                &runtime.to_string(),
                "install it, for example with `uv python install` or your distribution's packages",
            )
        })?;
        // A link such as `python3` leads elsewhere after an upgrade, and binaries fit one version.
        let exact = interpreter
            .canonicalize()
            .unwrap_or_else(|_| interpreter.clone());
        let mut key = Key::new("python")
            .add(&runtime.to_string())
            .add(&exact.to_string_lossy());
        if let Needs::File(_, requirements) = needs {
            for file in &requirements.files {
                key = key.file(file)?;
            }
        }
        for line in needs.lines() {
            key = key.add(line);
            if let Some(local) = Local::of(line, source) {
                key = if local.path.is_dir() {
                    self.digest(key, &source_of(&local)?).await?
                } else {
                    key.file(&local.path)?
                };
            }
        }
        let key = key.finish();
        if let Some(ready) = self.cache.ready("python", &key) {
            return Ok(ready);
        }
        let stage = self.cache.stage("python", &key)?;
        self.pip_install(source, &interpreter, needs, why, stage.path())
            .await?;
        self.compile(&interpreter, stage.path()).await;
        self.go_on()?;
        stage.keep()
    }

    async fn needs(&mut self, source: &Path, runtime: Runtime) -> Result<Option<Needs>, Error> {
        let file = source.join("requirements.txt");
        if file.is_file() {
            let requirements = Requirements::read(&file)?.ok_or_else(|| {
                self.problem("too many requirement files refer to each other; join some")
            })?;
            let needs = (!requirements.lines.is_empty()).then_some(requirements);
            return Ok(needs.map(|requirements| Needs::File(file, requirements)));
        }
        if let Some(lines) = self.locked(source, runtime).await? {
            return Ok((!lines.is_empty()).then_some(Needs::Locked(lines)));
        }
        let file = source.join("pyproject.toml");
        if !file.is_file() {
            return Ok(None);
        }
        let table = read_toml(&file)?;
        let listed = table
            .get("project")
            .and_then(|project| project.get("dependencies"));
        let listed: Vec<String> = listed
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect();
        let poetry = table
            .get("tool")
            .and_then(|tool| tool.get("poetry")?.get("dependencies")?.as_table());
        if listed.is_empty()
            && poetry.is_some_and(|named| named.keys().any(|name| name != "python"))
        {
            return Err(self.problem(
                "the dependencies under [tool.poetry] in pyproject.toml are in a form that pip does \
                 not read; write them with `poetry export -o requirements.txt`, or list them under [project]",
            ));
        }
        let dynamic = table
            .get("project")
            .and_then(|project| project.get("dynamic")?.as_array());
        let mut dynamic = dynamic
            .into_iter()
            .flatten()
            .filter_map(toml::Value::as_str);
        if dynamic.any(|name| name == "dependencies") {
            self.warnings.push(format!(
                "{}: its dependencies are dynamic and known to its build backend only, so that none \
                 is installed; list them under [project] or in a requirements.txt",
                file.display()
            ));
        }
        Ok((!listed.is_empty()).then_some(Needs::Listed(listed)))
    }

    /// What pip is told. Folders beside the project are built in a copy: pip would leave its own
    /// files in them.
    async fn wanted(
        &self,
        source: &Path,
        needs: &Needs,
        work: &Stage,
    ) -> Result<Vec<OsString>, Error> {
        let mut lines = needs.lines().to_vec();
        let mut copied = 0;
        for line in &mut lines {
            let Some(local) = Local::of(line, source).filter(|local| local.path.is_dir()) else {
                continue;
            };
            let name = local.path.file_name().unwrap_or_default();
            let copy = work.path().join(copied.to_string()).join(name);
            self.copy(&source_of(&local)?, &copy).await?;
            *line = local.line(&copy);
            copied += 1;
        }
        match needs {
            Needs::File(file, _) if copied == 0 => return Ok(vec!["-r".into(), file.into()]),
            Needs::Listed(_) if copied == 0 => {
                return Ok(lines.into_iter().map(Into::into).collect());
            }
            _ => {}
        }
        let file = work.path().join("requirements.txt");
        fs::write(&file, lines.join("\n")).map_err(Error::io("write", &file))?;
        Ok(vec!["-r".into(), file.into()])
    }

    async fn pip_install(
        &self,
        source: &Path,
        interpreter: &Path,
        needs: &Needs,
        why: &str,
        target: &Path,
    ) -> Result<(), Error> {
        let work = self.cache.stage("python-work", "work")?;
        let wanted = self.wanted(source, needs, &work).await?;
        let advice = "mend the requirements, or the connection to the package index; wheels for this \
                      Python and platform spare a compiler";
        let tool = if self.has_pip(interpreter).await {
            self.progress.phase(&format!("pip install{why}"));
            Tool::new(interpreter, source)
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--no-input",
                    "--disable-pip-version-check",
                ])
                .args([
                    "--progress-bar",
                    "off",
                    "--no-warn-script-location",
                    "--no-compile",
                    "--target",
                ])
        } else if let Some(uv) = tool::find("uv") {
            self.progress.phase(&format!("uv pip install{why}"));
            Tool::new(&uv, source)
                .args(["pip", "install", "--python"])
                .args([interpreter])
                .args(["--target"])
        } else {
            return Err(self.missing(
                &format!("pip for {}", interpreter.display()),
                &format!(
                    "install it with `{} -m ensurepip` or the package python3-pip, or install uv",
                    interpreter.display()
                ),
            ));
        };
        // What the project does not ask for must not hold up a deployment without a network.
        let tool = match why {
            "" => tool,
            _ => tool.env("PIP_RETRIES", "1").env("UV_HTTP_RETRIES", "1"),
        };
        let tool = tool
            .args([target])
            .args(wanted)
            .env("PIP_USER", "0")
            .env("PIP_ROOT_USER_ACTION", "ignore")
            .advice(advice);
        self.run(tool).await.map(drop)
    }

    async fn has_pip(&self, interpreter: &Path) -> bool {
        let mut probe = tokio::process::Command::new(interpreter);
        probe.args(["-m", "pip", "--version"]).kill_on_drop(true);
        probe
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        probe.status().await.is_ok_and(|status| status.success())
    }

    /// Compiles the installed modules, as code is read-only where it runs and would be compiled
    /// at every start. By hash and unchecked, as packages keep no times. A module that does not
    /// compile, such as one for another Python, is none that is used.
    async fn compile(&self, interpreter: &Path, folder: &Path) {
        let package = Package::of(Source::built(folder.to_owned()));
        let size = package.files().map(|files| {
            files
                .iter()
                .filter_map(|file| file.from.metadata().ok())
                .map(|status| status.len())
                .sum::<u64>()
        });
        if size.is_ok_and(|bytes| bytes <= COMPILED_BYTES_MAX) {
            self.progress.phase("compile modules");
            // Paths inside compiled modules are those that the function will see.
            let tool = Tool::new(interpreter, folder).args([
                "-m",
                "compileall",
                "-q",
                "-d",
                "/var/task",
                "--invalidation-mode",
                "unchecked-hash",
                ".",
            ]);
            let quiet = Build {
                progress: &super::Silent,
                function: self.function.clone(),
                cache: self.cache.clone(),
                given_up: self.given_up,
                warnings: Vec::new(),
                host: self.host,
            };
            let _ = quiet.run(tool).await;
        }
    }
}

/// A folder that is required, without what earlier builds of it have left there.
fn source_of(local: &Local) -> Result<Package, Error> {
    let leftovers = ["*.egg-info/", "/build/lib/", "/build/bdist.*/"];
    let source = Source::of(&local.path)?;
    let source = leftovers
        .iter()
        .fold(source, |source, name| source.without(name));
    Ok(Package::of(source))
}

/// The folders beside a project that its requirements name.
pub(crate) fn local_requirements(source: &Path) -> Vec<PathBuf> {
    let file = source.join("requirements.txt");
    let read = Requirements::read(&file).ok().flatten().unwrap_or_default();
    let locals = read.lines.iter().filter_map(|line| Local::of(line, source));
    locals.map(|local| local.path).collect()
}
