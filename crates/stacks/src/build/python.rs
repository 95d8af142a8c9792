//! Python dependencies: what requirements.txt or pyproject.toml names, installed into a folder.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use model::Runtime;

use super::Build;
use super::cache::Key;
use super::tool::{self, Tool};
use crate::environment::read_bounded;
use crate::error::Error;

/// Requirement files that refer to each other (ours).
const FILES_MAX: usize = 50;
/// Bytes of dependencies up to which they are compiled ahead: twice this stays within Lambda's
/// limit for a package.
const COMPILED_BYTES_MAX: u64 = model::limit::UNPACKED_BYTES_MAX / 2;

/// Where a project names what it needs.
enum Needs {
    /// In a file of pip's own form.
    File(PathBuf),
    /// In pyproject.toml, one requirement an entry.
    Listed(Vec<String>),
}

impl Build<'_> {
    /// The folder of a project's installed dependencies; none if it has none.
    pub(super) async fn python_dependencies(
        &mut self,
        source: &Path,
        runtime: Runtime,
    ) -> Result<Option<PathBuf>, Error> {
        let Some(needs) = self.needs(source)? else {
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
        match needs {
            Needs::File(file) => {
                for file in self.files(file)? {
                    key = key.file(&file)?;
                }
            }
            Needs::Listed(listed) => {
                for requirement in listed {
                    key = key.add(requirement);
                }
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
        stage.keep()
    }

    fn needs(&mut self, source: &Path) -> Result<Option<Needs>, Error> {
        let file = source.join("requirements.txt");
        if file.is_file() {
            let text = read_bounded(&file)?;
            return Ok(requirements(&text)
                .next()
                .is_some()
                .then_some(Needs::File(file)));
        }
        let file = source.join("pyproject.toml");
        if !file.is_file() {
            return Ok(None);
        }
        let text = read_bounded(&file)?;
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| Error::Syntax {
                file: file.clone(),
                line: crate::project::line_of(&text, error.span()),
                problem: error.message().to_owned(),
            })?;
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
        Ok((!listed.is_empty()).then_some(Needs::Listed(listed)))
    }

    /// A requirement file and those that it refers to.
    fn files(&self, first: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut seen = BTreeSet::new();
        let mut files = Vec::new();
        let mut waiting = vec![first.to_owned()];
        while let Some(file) = waiting.pop() {
            if !seen.insert(file.clone()) {
                continue;
            }
            if files.len() >= FILES_MAX {
                return Err(self.problem(format!(
                    "more than {FILES_MAX} requirement files refer to each other"
                )));
            }
            let parent = file.parent().unwrap_or(Path::new("."));
            if file.is_file() {
                let text = read_bounded(&file)?;
                waiting.extend(
                    requirements(&text)
                        .filter_map(referred)
                        .map(|other| parent.join(other)),
                );
            }
            files.push(file);
        }
        Ok(files)
    }

    async fn pip_install(
        &self,
        source: &Path,
        interpreter: &Path,
        needs: &Needs,
        why: &str,
        target: &Path,
    ) -> Result<(), Error> {
        let mut wanted: Vec<OsString> = Vec::new();
        match needs {
            Needs::File(file) => wanted.extend(["-r".into(), file.into()]),
            Needs::Listed(listed) => wanted.extend(listed.iter().map(OsString::from)),
        }
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
        let package = super::Package::of(super::Source::built(folder.to_owned()));
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
                warnings: Vec::new(),
                host: self.host,
            };
            let _ = quiet.run(tool).await;
        }
    }
}

/// The lines of a requirement file that say something.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The file that a line includes, if it includes one.
fn referred(line: &str) -> Option<&str> {
    let options = ["-r", "--requirement", "-c", "--constraint"];
    let rest = options
        .iter()
        .find_map(|option| line.strip_prefix(option))?;
    let rest = rest.trim_start_matches(['=', ' ', '\t']);
    let file = rest.split(" #").next().unwrap_or(rest).trim();
    (!file.is_empty() && !file.contains("://")).then_some(file)
}
