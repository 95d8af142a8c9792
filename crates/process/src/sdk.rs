//! The SDK that Lambda's Python runtimes bring: boto3, fetched once for each version of Python
//! when a function names it that has none, and shown to every function beneath what is its own.
//! Node's packages of the SDK are added where a function is built, and not here.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use engine::port::Warning;
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

    /// What functions on this interpreter are shown, where it was fetched.
    pub(crate) fn ready(&self, language: Language) -> Option<PathBuf> {
        Some(self.place(language)?).filter(|place| place.is_dir())
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
        code: &Path,
        layers: &[PathBuf],
    ) -> Option<Warning> {
        let Language::Python(minor) = interpreter.language else {
            return None;
        };
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
        // Of this process's own: another dayfly may be fetching the same.
        let stage = place.with_extension(format!("{minor}.{}.partial", std::process::id()));
        let fail = |error: std::io::Error| format!("{}: {error}", stage.display());
        let _ = tokio::fs::remove_dir_all(&stage).await;
        tokio::fs::create_dir_all(&stage).await.map_err(fail)?;
        let installed = self.install(interpreter, minor, &stage).await;
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
        if let Ok(path) = std::env::join_paths(&self.surroundings.path) {
            command.env("PATH", path);
        }
        command.current_dir(stage).kill_on_drop(true);
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
            ran = run => ran.map_err(|error| format!("{}: {error}", python.display()))?,
            () = self.clock.sleep(FETCH_LIMIT) => return Err("pip did not fetch it in time".to_owned()),
        };
        if status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&complaint);
        let last = complaint.lines().rfind(|line| !line.trim().is_empty());
        Err(format!("pip: {}", last.unwrap_or("no reason given").trim()))
    }
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
