//! Lock files of Python's project tools, turned into requirements: by the tool itself where it is
//! there, and by us where the file says it plainly.

use std::path::Path;

use model::Runtime;
use serde_json::Value;

use super::requirements::said;
use crate::build::Build;
use crate::build::cache::Key;
use crate::build::tool::{self, Tool};
use crate::environment::read_text;
use crate::error::Error;

/// Bytes of a lock file that are read (ours; the largest real ones have some megabytes).
const LOCK_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A tool that writes out what its lock file holds.
struct Exporter {
    lock: &'static str,
    tool: &'static str,
    arguments: &'static [&'static str],
    advice: &'static str,
}

const EXPORTERS: &[Exporter] = &[
    Exporter {
        lock: "uv.lock",
        tool: "uv",
        arguments: &[
            "export",
            "--frozen",
            "--no-dev",
            "--no-emit-project",
            "--no-hashes",
            "--quiet",
        ],
        advice: "install uv, or write a requirements.txt with `uv export --no-dev --no-emit-project`",
    },
    Exporter {
        lock: "poetry.lock",
        tool: "poetry",
        arguments: &["export", "--without-hashes", "--no-interaction"],
        advice: "install poetry and poetry-plugin-export, or write a requirements.txt with `poetry export`",
    },
    Exporter {
        lock: "pdm.lock",
        tool: "pdm",
        arguments: &[
            "export",
            "--prod",
            "--without-hashes",
            "--format",
            "requirements",
        ],
        advice: "install pdm, or write a requirements.txt with `pdm export --prod`",
    },
];

impl Build<'_> {
    /// The requirements that a project's lock file holds; none if it has none that can be read,
    /// which is warned of.
    pub(super) async fn locked(
        &mut self,
        source: &Path,
        runtime: Runtime,
    ) -> Result<Option<Vec<String>>, Error> {
        if source.join("Pipfile.lock").is_file() {
            return self.pipfile(source).map(Some);
        }
        let pipfile = source.join("Pipfile");
        if pipfile.is_file() {
            self.warnings.push(format!(
                "{}: nothing of it is installed, as there is no Pipfile.lock; write it with `pipenv lock`",
                pipfile.display()
            ));
        }
        let exporter = EXPORTERS
            .iter()
            .find(|exporter| source.join(exporter.lock).is_file());
        let Some(exporter) = exporter else {
            return Ok(None);
        };
        match self.export(source, runtime, exporter).await {
            Ok(lines) => Ok(Some(lines)),
            Err(error) => {
                self.warnings.push(format!(
                    "{}: not used, so that versions may differ from those that it holds: {error}",
                    source.join(exporter.lock).display()
                ));
                Ok(None)
            }
        }
    }

    async fn export(
        &self,
        source: &Path,
        runtime: Runtime,
        exporter: &Exporter,
    ) -> Result<Vec<String>, Error> {
        let key = Key::new("python-lock")
            .add(&source.to_string_lossy())
            .file(&source.join(exporter.lock))?
            .file(&source.join("pyproject.toml"))?
            .finish();
        let name = "requirements.txt";
        if let Some(ready) = self.cache.ready("python-lock", &key) {
            return Ok(said(&read_text(&ready.join(name), LOCK_BYTES_MAX)?));
        }
        let interpreter = self.interpreter(runtime).await?;
        let program = tool::find_beside(interpreter.as_deref(), exporter.tool)
            .ok_or_else(|| self.missing(exporter.tool, exporter.advice))?;
        self.progress.phase(&format!("{} export", exporter.tool));
        let tool = Tool::new(&program, source)
            .args(exporter.arguments.iter().copied())
            .stdout_is_data()
            .advice(exporter.advice);
        let lines = self.run(tool).await?;
        let stage = self.cache.stage("python-lock", &key)?;
        let file = stage.path().join(name);
        let text = lines.join("\n");
        std::fs::write(&file, &text).map_err(Error::io("write", &file))?;
        stage.keep()?;
        Ok(said(&text))
    }

    fn pipfile(&self, source: &Path) -> Result<Vec<String>, Error> {
        let file = source.join("Pipfile.lock");
        let text = read_text(&file, LOCK_BYTES_MAX)?;
        let lock: Value = serde_json::from_str(&text).map_err(|error| Error::Syntax {
            line: error.line(),
            problem: error.to_string(),
            file,
        })?;
        Ok(of_pipfile(&lock))
    }
}

/// The requirements, and where they are found, that a Pipfile.lock holds.
fn of_pipfile(lock: &Value) -> Vec<String> {
    let sources = lock
        .get("_meta")
        .and_then(|meta| meta.get("sources")?.as_array());
    // The one that every Pipfile begins with is where pip looks by itself.
    let further = sources
        .into_iter()
        .flatten()
        .filter(|source| source.get("name").and_then(Value::as_str) != Some("pypi"));
    let mut lines: Vec<String> = further
        .filter_map(|source| source.get("url")?.as_str())
        .map(|url| format!("--extra-index-url {url}"))
        .collect();
    let packages = lock.get("default").and_then(Value::as_object);
    for (name, entry) in packages.into_iter().flatten() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let extras: Vec<&str> = entry
            .get("extras")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let extras = match extras.as_slice() {
            [] => String::new(),
            extras => format!("[{}]", extras.join(",")),
        };
        let marker = text("markers").map(|marker| format!(" ; {marker}"));
        let what = match (text("path"), text("git"), text("file"), text("version")) {
            (Some(path), ..) => format!("{path}{extras}"),
            (_, Some(git), ..) => {
                let at = text("ref").map(|at| format!("@{at}")).unwrap_or_default();
                format!("{name}{extras} @ git+{git}{at}")
            }
            (_, _, Some(file), _) => format!("{name}{extras} @ {file}"),
            (_, _, _, Some(version)) => format!("{name}{extras}{version}"),
            _ => format!("{name}{extras}"),
        };
        lines.push(what + &marker.unwrap_or_default());
    }
    lines
}
