//! The SDKs that Lambda's runtimes bring: fetched once when a function names them that has none,
//! or asks for them while it runs, and shown beneath what is its own. Every sandbox has a folder of
//! them that all functions on the same line of an interpreter share: of Python's, which is boto3 and
//! is here, they have the same; of Node's each package is there that a running function asked for,
//! and each function has the packages besides that it names, which is in `node`.

mod asked;
mod node;
mod npm;
mod vintage;

pub(crate) use asked::{Brings, Heard};

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::port::Warning;
use model::FunctionConfig;
use store::Clock;
use tokio::io::AsyncReadExt as _;

use crate::interpreter::{Interpreter, Language, Progress, Surroundings};
use vintage::Vintages;

/// Modules of Python's runtimes; boto3 brings the others.
const MODULES: [&str; 3] = ["boto3", "botocore", "s3transfer"];
/// Source files that are looked through (ours: a function has some dozens of its own).
const FILES_MAX: usize = 5_000;
/// Bytes of such a file (ours).
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long fetching may take: some 15 MB over a slow line.
const FETCH_LIMIT: Duration = Duration::from_secs(600);
/// What a tool that takes longer is said to have complained of.
const TOO_LATE: &str = "it did not come in time";
/// Ends the names of folders that are being filled.
const PARTIAL: &str = ".partial";
/// What is kept of a tool's complaints, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 16 * 1024;

/// What is fetched, and where it is kept.
pub(crate) struct Sdk {
    vintages: Vintages,
    surroundings: Surroundings,
    progress: Progress,
    clock: Arc<dyn Clock>,
    /// Held while something is fetched that packages name, so that it is fetched once.
    fetching: tokio::sync::Mutex<()>,
    /// What functions ask for while they run.
    asked: asked::Asked,
    /// Tells the folders apart that are being filled.
    stages: AtomicU64,
}

impl std::fmt::Debug for Sdk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sdk")
            .field("vintages", &self.vintages)
            .finish_non_exhaustive()
    }
}

/// What an instance is shown of what Lambda's runtime brings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Brought {
    /// The folder that it shares with others.
    pub(crate) shared: Option<PathBuf>,
    /// Packages of Node's that it names.
    pub(crate) set: Option<PathBuf>,
    /// Whether Node may find what is shared from the root, where it hides nothing that the
    /// function brings.
    pub(crate) at_root: bool,
}

impl Sdk {
    /// What is kept in this cache. Where `renew` is not set it goes on with what was used last,
    /// however old that is, as for instances that go on, too.
    pub(crate) fn new(
        cache: &Path,
        renew: bool,
        surroundings: Surroundings,
        progress: Progress,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            vintages: Vintages::find(&cache.join("sdk"), clock.now_ms(), renew),
            surroundings,
            progress,
            clock,
            fetching: tokio::sync::Mutex::default(),
            asked: asked::Asked::default(),
            stages: AtomicU64::new(0),
        }
    }

    /// The folder that functions on such interpreters share, to which more may come while they run;
    /// made if it is not there. None where that cannot be done.
    fn shared(&self, language: Language) -> Option<PathBuf> {
        let folder = self.folder(language);
        if !folder.is_dir()
            && let Err(error) = std::fs::create_dir_all(&folder)
        {
            tracing::warn!(folder = %folder.display(), %error, "cannot keep SDKs");
            return None;
        }
        Some(folder)
    }

    /// What a function on this interpreter is shown.
    pub(crate) fn brought(
        &self,
        language: Language,
        config: &FunctionConfig,
        layers: &[PathBuf],
    ) -> Brought {
        let is_node = matches!(language, Language::Node(_));
        Vintages::used(self.vintages.current());
        Brought {
            shared: self.shared(language),
            set: is_node.then(|| self.set_of(language, config)).flatten(),
            at_root: is_node
                && !config.environment.contains_key("NODE_PATH")
                && !node::is_in_layers(layers),
        }
    }

    fn folder(&self, language: Language) -> PathBuf {
        self.vintages.current().join(node::line_of(language))
    }

    /// Where Python's modules are.
    fn place(&self, minor: u32) -> PathBuf {
        self.folder(Language::Python(minor)).join("packages")
    }

    /// Fetches what a package names and does not bring; what its author should know where that
    /// cannot be done.
    pub(crate) async fn look(
        self: &Arc<Self>,
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
            Language::Node(_) => self.look_node(interpreter, config, code, layers).await,
        }
    }

    async fn look_python(
        self: &Arc<Self>,
        interpreter: &Interpreter,
        minor: u32,
        code: &Path,
        layers: &[PathBuf],
    ) -> Option<Warning> {
        let place = self.place(minor);
        let (code, layers) = (code.to_owned(), layers.to_vec());
        let lacks = tokio::task::spawn_blocking(move || lacks(&code, &layers, minor));
        let module = lacks.await.ok().flatten()?;
        if place.is_dir() {
            return None;
        }
        let why = self.fetch_python(interpreter, minor).await.err()?;
        Some(format!(
            "{module} is named in the package, and Lambda's runtime brings it, but it could not be \
             fetched: {why}; it is tried again when the function imports it, or put it into the \
             package"
        ))
    }

    async fn fetch_python(
        self: &Arc<Self>,
        interpreter: &Interpreter,
        minor: u32,
    ) -> Result<(), String> {
        let place = self.place(minor);
        let _fetching = self.fetching.lock().await;
        if place.is_dir() {
            return Ok(());
        }
        (self.progress)(&format!(
            "fetching boto3 for Python 3.{minor}, which Lambda's runtime brings, once"
        ));
        let install =
            |stage: PathBuf| async move { self.install(interpreter, minor, &stage).await };
        self.staged(&place, install).await
    }

    /// Has a folder filled where no function sees it, and puts it at its place once it is whole.
    async fn staged<F: Future<Output = Result<(), String>>>(
        self: &Arc<Self>,
        place: &Path,
        fill: impl FnOnce(PathBuf) -> F,
    ) -> Result<(), String> {
        self.remove_left().await;
        // Of this process's own: another dayfly may be fetching the same.
        let number = self.stages.fetch_add(1, Ordering::Relaxed);
        let stage = format!("{}.{number}{PARTIAL}", std::process::id());
        let stage = self.vintages.root().join(stage);
        let fail = |error: std::io::Error| unkept(&stage, &error);
        let _ = tokio::fs::remove_dir_all(&stage).await;
        tokio::fs::create_dir_all(&stage).await.map_err(fail)?;
        let mut installed = fill(stage.clone()).await;
        if let (Err(why), Some(older)) = (&installed, self.vintages.older(place)) {
            installed = self.take_older(older, &stage, why).await;
        }
        let moved = match (installed, place.parent()) {
            (Ok(()), Some(parent)) => {
                let made = tokio::fs::create_dir_all(parent).await;
                let moved = match made {
                    Ok(()) => tokio::fs::rename(&stage, place).await,
                    Err(error) => Err(error),
                };
                moved.map_err(fail)
            }
            (Ok(()), None) => Err("it has no place".to_owned()),
            (Err(why), _) => Err(why),
        };
        if moved.is_err() {
            let _ = tokio::fs::remove_dir_all(&stage).await;
        }
        // Another may have been faster.
        if place.is_dir() { Ok(()) } else { moved }
    }

    /// Fills a folder with what was there before, where nothing newer can be had.
    async fn take_older(&self, older: PathBuf, stage: &Path, why: &str) -> Result<(), String> {
        (self.progress)(&format!(
            "it could not be fetched anew ({why}): what was fetched earlier is used"
        ));
        let _ = tokio::fs::remove_dir_all(stage).await;
        let target = stage.to_owned();
        let shared = tokio::task::spawn_blocking(move || vintage::share(&older, &target)).await;
        let shared = shared.map_err(std::io::Error::other).flatten();
        shared.map_err(|error| unkept(stage, &error))
    }

    /// Removes what processes that are no more left half-way, and what nobody has used for long.
    async fn remove_left(self: &Arc<Self>) {
        let (sdk, now_ms) = (Arc::clone(self), self.clock.now_ms());
        let remove = move || sdk.vintages.remove_unused(now_ms);
        let _ = tokio::task::spawn_blocking(remove).await;
        let Ok(mut entries) = tokio::fs::read_dir(self.vintages.root()).await else {
            return;
        };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name
                .strip_suffix(PARTIAL)
                .and_then(|name| name.split_once('.'));
            if owner.is_some_and(|(id, _)| !Path::new("/proc").join(id).exists()) {
                let _ = tokio::fs::remove_dir_all(entry.path()).await;
            }
        }
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
            .map_err(|said| format!("pip: {}", last_line(&said)))
    }
}

/// Why something fetched cannot be kept; where that is, is no business of a function's.
fn unkept(path: &Path, error: &std::io::Error) -> String {
    tracing::warn!(path = %path.display(), %error, "cannot keep what was fetched");
    format!("it cannot be kept: {error}")
}

/// What pip complains of last is what it could not do.
fn last_line(said: &str) -> &str {
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("no reason given").trim()
}

/// Runs a tool that fetches; what it complained of, where it failed.
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
        () = clock.sleep(FETCH_LIMIT) => return Err(TOO_LATE.to_owned()),
    };
    if status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&complaint).into_owned())
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
