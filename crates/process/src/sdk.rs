//! The SDKs that Lambda's runtimes bring: fetched once when a function names them that has none,
//! and shown beneath what is its own. Of Python's, which is boto3 and is here, all functions of a
//! version have the same; of Node's each has the packages that it names, which is in `node`.

mod node;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use engine::port::Warning;
use model::FunctionConfig;
use store::Clock;
use tokio::io::AsyncReadExt as _;

use crate::interpreter::{Interpreter, Language, Progress, Surroundings};

/// Modules of Python's runtimes; boto3 brings the others.
const MODULES: [&str; 3] = ["boto3", "botocore", "s3transfer"];
/// Source files that are looked through (ours: a function has some dozens of its own).
const FILES_MAX: usize = 5_000;
/// Bytes of such a file (ours).
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long fetching may take: some 15 MB over a slow line.
const FETCH_LIMIT: Duration = Duration::from_secs(600);
/// What is kept of a tool's complaints, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 16 * 1024;

/// What is fetched, and where it is kept.
pub(crate) struct Sdk {
    cache: PathBuf,
    surroundings: Surroundings,
    progress: Progress,
    clock: Arc<dyn Clock>,
    /// Held while something is fetched, so that it is fetched once.
    fetching: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Sdk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sdk")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Sdk {
    pub(crate) fn new(
        cache: &Path,
        surroundings: Surroundings,
        progress: Progress,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            cache: cache.join("sdk"),
            surroundings,
            progress,
            clock,
            fetching: tokio::sync::Mutex::default(),
        }
    }

    /// What a function on this interpreter is shown, where it was fetched.
    pub(crate) fn ready(&self, language: Language, config: &FunctionConfig) -> Option<PathBuf> {
        match language {
            Language::Python(_) => self.place(language).filter(|place| place.is_dir()),
            Language::Node(_) => self.ready_node(config),
        }
    }

    fn place(&self, language: Language) -> Option<PathBuf> {
        match language {
            Language::Python(minor) => Some(self.cache.join(format!("python3.{minor}"))),
            Language::Node(_) => None,
        }
    }

    /// Fetches what a package names and does not bring; what its author should know where that
    /// cannot be done.
    pub(crate) async fn look(
        &self,
        interpreter: &Interpreter,
        config: &FunctionConfig,
        code: &Path,
        layers: &[PathBuf],
    ) -> Vec<Warning> {
        match interpreter.language {
            Language::Python(minor) => {
                let warning = self.look_python(interpreter, minor, code, layers).await;
                warning.into_iter().collect()
            }
            Language::Node(_) => self.look_node(config, code, layers).await,
        }
    }

    async fn look_python(
        &self,
        interpreter: &Interpreter,
        minor: u32,
        code: &Path,
        layers: &[PathBuf],
    ) -> Option<Warning> {
        let place = self.place(interpreter.language)?;
        let (code, layers) = (code.to_owned(), layers.to_vec());
        let lacks = tokio::task::spawn_blocking(move || lacks(&code, &layers, minor));
        let module = lacks.await.ok().flatten()?;
        let _fetching = self.fetching.lock().await;
        if place.is_dir() {
            return None;
        }
        let why = self.fetch(interpreter, minor, &place).await.err()?;
        Some(format!(
            "{module} is named in the package, and Lambda's runtime brings it, but it could not be \
             fetched, so that importing it fails here: {why}; deploy again with a connection to \
             the package index, or put it into the package"
        ))
    }

    async fn fetch(
        &self,
        interpreter: &Interpreter,
        minor: u32,
        place: &Path,
    ) -> Result<(), String> {
        (self.progress)(&format!(
            "fetching boto3 for Python 3.{minor}, which Lambda's runtime brings, once"
        ));
        let install =
            |stage: PathBuf| async move { self.install(interpreter, minor, &stage).await };
        self.staged(place, install).await
    }

    /// Has a folder filled beside its place, and puts it there once it is whole.
    async fn staged<F: Future<Output = Result<(), String>>>(
        &self,
        place: &Path,
        fill: impl FnOnce(PathBuf) -> F,
    ) -> Result<(), String> {
        // Of this process's own: another dayfly may be fetching the same.
        let mut stage = place.as_os_str().to_owned();
        stage.push(format!(".{}.partial", std::process::id()));
        let stage = PathBuf::from(stage);
        let fail = |error: std::io::Error| format!("{}: {error}", stage.display());
        let _ = tokio::fs::remove_dir_all(&stage).await;
        tokio::fs::create_dir_all(&stage).await.map_err(fail)?;
        let installed = fill(stage.clone()).await;
        let moved = match installed {
            Ok(()) => tokio::fs::rename(&stage, place).await.map_err(fail),
            Err(why) => Err(why),
        };
        if moved.is_err() {
            let _ = tokio::fs::remove_dir_all(&stage).await;
        }
        // Another may have been faster.
        if place.is_dir() { Ok(()) } else { moved }
    }

    /// With the function's own interpreter, which compiles it as well; else with any that has pip.
    async fn install(
        &self,
        interpreter: &Interpreter,
        minor: u32,
        stage: &Path,
    ) -> Result<(), String> {
        let own = self.pip(&interpreter.executable, &[], stage).await;
        let Err(why) = own else { return Ok(()) };
        let version = format!("3.{minor}");
        let foreign = ["--python-version", &version, "--only-binary=:all:"];
        for name in ["python3", "python"] {
            let programs = self
                .surroundings
                .path
                .iter()
                .map(|folder| folder.join(name));
            for program in programs.filter(|program| program.is_file()) {
                if self.pip(&program, &foreign, stage).await.is_ok() {
                    return Ok(());
                }
            }
        }
        Err(why)
    }

    async fn pip(&self, python: &Path, more: &[&str], stage: &Path) -> Result<(), String> {
        let mut command = tokio::process::Command::new(python);
        command
            .args(["-m", "pip", "install", "--target"])
            .arg(stage);
        command.args([
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--no-warn-conflicts",
            "--upgrade",
            // Three times more would keep a host without a network waiting in vain.
            "--retries=1",
            "--timeout=15",
        ]);
        command.args(more).arg("boto3");
        run(command, &self.surroundings, stage, &*self.clock)
            .await
            .map_err(|why| format!("pip: {why}"))
    }
}

/// Runs a tool that fetches; what it complained of last, where it failed.
async fn run(
    mut command: tokio::process::Command,
    surroundings: &Surroundings,
    folder: &Path,
    clock: &dyn Clock,
) -> Result<(), String> {
    if let Ok(path) = std::env::join_paths(&surroundings.path) {
        command.env("PATH", path);
    }
    command.current_dir(folder).kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let run = async {
        let mut child = command.spawn()?;
        let mut complaint = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            let mut first = stderr.take(COMPLAINT_BYTES_MAX);
            first.read_to_end(&mut complaint).await?;
            tokio::io::copy(&mut first.into_inner(), &mut tokio::io::sink()).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, complaint))
    };
    let (status, complaint) = tokio::select! {
        ran = run => ran.map_err(|error| error.to_string())?,
        () = clock.sleep(FETCH_LIMIT) => return Err("it did not come in time".to_owned()),
    };
    if status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let last = complaint.lines().rfind(|line| !line.trim().is_empty());
    Err(last.unwrap_or("no reason given").trim().to_owned())
}

/// The first module of the SDK that a package names and neither it nor a layer brings. Blocks.
fn lacks(code: &Path, layers: &[PathBuf], minor: u32) -> Option<&'static str> {
    let below = format!("python/lib/python3.{minor}/site-packages");
    let opt = layers
        .iter()
        .flat_map(|layer| [layer.join("python"), layer.join(&below)]);
    let places: Vec<_> = [code.to_owned()].into_iter().chain(opt).collect();
    let is_brought = |module: &str| places.iter().any(|place| place.join(module).exists());
    let wanted: Vec<_> = (MODULES.into_iter())
        .filter(|module| !is_brought(module))
        .collect();
    if wanted.is_empty() || is_brought("boto3") {
        return None;
    }
    let mut left: Vec<_> = places.into_iter().filter(|place| place.is_dir()).collect();
    let mut looked = 0;
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            looked += 1;
            if looked > FILES_MAX {
                return None;
            }
            let path = entry.path();
            match entry.metadata() {
                Ok(seen) if seen.is_dir() => left.push(path),
                Ok(seen) if seen.len() <= FILE_BYTES_MAX && is_source(&path) => {
                    let text = std::fs::read(&path).unwrap_or_default();
                    let text = String::from_utf8_lossy(&text);
                    let named = wanted.iter().find(|module| names(&text, module));
                    if let Some(module) = named {
                        return Some(module);
                    }
                }
                _ => {}
            }
        }
    }
    None
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "py")
}

/// Whether a text names a module as a word of its own, however it comes to import it.
fn names(text: &str, module: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(module).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text
            .get(at + module.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(|c| is_part(c) || c == '.') && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests;
