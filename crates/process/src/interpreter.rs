//! Finding what runs a function: the exact interpreter where the host has it, else the nearest,
//! and a clear word about either. What a host has is looked up in an environment that is given,
//! not taken.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::port::{CannotRun, Warning};
use model::Runtime;
use parking_lot::Mutex;
use store::Clock;

use candidates::Candidate;
use notes::Notes;
pub(crate) use probe::run;

mod abi;
mod candidates;
mod fetch;
mod notes;
mod probe;

/// Where interpreters are looked for.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Folders of the search path, in order.
    pub path: Vec<PathBuf>,
    /// Home folder of the user who runs the platform.
    pub home: Option<PathBuf>,
    /// Variables that say where version managers keep their own (`PYENV_ROOT`, `NVM_DIR`, ...).
    pub variables: HashMap<String, PathBuf>,
    /// What the host's own folders are under; `/` but for tests.
    pub root: PathBuf,
}

impl Surroundings {
    /// The surroundings of this process.
    pub fn of_this_process() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let named = |name: &&str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
            Some(((*name).to_owned(), PathBuf::from(value)))
        };
        Self {
            path: std::env::split_paths(&path)
                .filter(|folder| folder.is_absolute())
                .collect(),
            home: std::env::home_dir(),
            variables: candidates::VARIABLES.iter().filter_map(named).collect(),
            root: PathBuf::from("/"),
        }
    }
}

/// What kind of program an interpreter is, and which line of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// CPython 3 of this minor version.
    Python(u32),
    /// Node.js of this major version.
    Node(u32),
}

impl Language {
    /// What a runtime asks for; nothing where the function brings its own program.
    pub fn of(runtime: Runtime) -> Option<Self> {
        match runtime {
            Runtime::Python { minor } => Some(Self::Python(minor.into())),
            Runtime::Node { major } => Some(Self::Node(major.into())),
            Runtime::ProvidedAl2 | Runtime::ProvidedAl2023 => None,
        }
    }

    fn line(self) -> u32 {
        match self {
            Self::Python(line) | Self::Node(line) => line,
        }
    }

    /// The oldest line that the launchers run on.
    fn oldest(self) -> u32 {
        match self {
            Self::Python(_) => 8,
            Self::Node(_) => 18,
        }
    }

    fn with_line(self, line: u32) -> Self {
        match self {
            Self::Python(_) => Self::Python(line),
            Self::Node(_) => Self::Node(line),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python(minor) => write!(f, "Python 3.{minor}"),
            Self::Node(major) => write!(f, "Node.js {major}"),
        }
    }
}

/// An interpreter of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Its program, by its real path.
    pub executable: PathBuf,
    /// What it is.
    pub language: Language,
    /// Its whole version.
    pub version: (u32, u32, u32),
    /// Folders and files that must be seen at their own path for it to run; none where `/usr` is
    /// enough.
    pub needs: Vec<PathBuf>,
}

/// An interpreter and what to tell the function's author about it.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The interpreter.
    pub interpreter: Interpreter,
    /// Why it is not the one that was asked for.
    pub warning: Option<Warning>,
}

/// What a host has for a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The very one.
    Exact(PathBuf),
    /// Not yet the very one; the first deployment that needs it fetches it.
    Fetchable,
    /// Another version that stands in for it, and which.
    Substitute(PathBuf, String),
    /// Nothing; what to do about it.
    Nothing(String),
}

/// What this host has for each runtime that needs an interpreter, what was fetched into `cache`
/// among it. Fetches nothing.
pub async fn survey(cache: PathBuf) -> Vec<(Runtime, Found)> {
    let surroundings = Surroundings::of_this_process();
    let finder = Finder::new(surroundings, false, cache, Arc::new(|_| {}));
    let looked = tokio::task::spawn_blocking(move || finder.survey());
    looked.await.unwrap_or_default()
}

/// Tells a waiting user what takes so long.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// How long a fetch that failed is not tried again (ours): the network may be back by then.
const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// What came of fetching one Node.js.
#[derive(Debug, Default)]
struct Fetch {
    /// When it failed last, by the monotonic clock, and why.
    failed: Option<(Duration, String)>,
}

/// Finds interpreters and remembers what it found out about them.
pub struct Finder {
    surroundings: Surroundings,
    strict: bool,
    cache: PathBuf,
    progress: Progress,
    notes: Notes,
    /// Launchers compiled by each interpreter.
    compiled: Mutex<HashMap<PathBuf, Bytes>>,
    /// What was chosen last, and when its program last changed.
    chosen: Mutex<HashMap<Language, (Interpreter, u64)>>,
    /// Node.js by its majors; held while one is fetched, so that it is fetched once.
    fetches: Mutex<HashMap<u32, Arc<tokio::sync::Mutex<Fetch>>>>,
}

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finder")
            .field("surroundings", &self.surroundings)
            .finish_non_exhaustive()
    }
}

impl Finder {
    /// A finder that keeps what it fetches under `cache`. `strict` refuses every substitute.
    pub fn new(
        surroundings: Surroundings,
        strict: bool,
        cache: PathBuf,
        progress: Progress,
    ) -> Self {
        Self {
            notes: Notes::open(&cache, surroundings.home.as_deref()),
            surroundings,
            strict,
            cache,
            progress,
            compiled: Mutex::default(),
            chosen: Mutex::default(),
            fetches: Mutex::default(),
        }
    }

    /// The interpreter for a function whose code and layers are in these folders.
    pub async fn find(
        self: &Arc<Self>,
        wanted: Language,
        folders: &[&Path],
        clock: &dyn Clock,
    ) -> Result<Choice, CannotRun> {
        let choice = self.choose(wanted, folders, clock).await?;
        let candidate = Candidate {
            path: choice.interpreter.executable.clone(),
            hint: None,
        };
        if let Some(changed) = candidate.changed() {
            self.chosen
                .lock()
                .insert(wanted, (choice.interpreter.clone(), changed));
        }
        Ok(choice)
    }

    /// What was found last, while it is still there; else what is found now.
    pub async fn find_again(
        self: &Arc<Self>,
        wanted: Language,
        clock: &dyn Clock,
    ) -> Result<Interpreter, CannotRun> {
        let known = self.chosen.lock().get(&wanted).cloned();
        if let Some((interpreter, changed)) = known {
            let candidate = Candidate {
                path: interpreter.executable.clone(),
                hint: None,
            };
            if candidate.changed() == Some(changed) {
                return Ok(interpreter);
            }
        }
        Ok(self.find(wanted, &[], clock).await?.interpreter)
    }

    async fn choose(
        self: &Arc<Self>,
        wanted: Language,
        folders: &[&Path],
        clock: &dyn Clock,
    ) -> Result<Choice, CannotRun> {
        if let Some(interpreter) = self.blocking(move |finder| finder.exact(wanted)).await {
            return Ok(Choice {
                interpreter,
                warning: None,
            });
        }
        let mut why = String::new();
        if let Language::Node(major) = wanted {
            match self.fetch_node(major, clock).await {
                Ok(interpreter) => {
                    return Ok(Choice {
                        interpreter,
                        warning: None,
                    });
                }
                Err(reason) => why = format!(" ({reason})"),
            }
        }
        let folders: Vec<PathBuf> = folders.iter().map(|folder| folder.to_path_buf()).collect();
        let substitute = self
            .blocking(move |finder| Some(finder.substitute(wanted, &why, &folders)))
            .await;
        substitute.unwrap_or_else(|| {
            Err(CannotRun {
                reason: "the search was interrupted".to_owned(),
            })
        })
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let finder = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&finder))
            .await
            .ok()
            .flatten()
    }

    /// Another version, where one may stand in. Blocks.
    fn substitute(
        &self,
        wanted: Language,
        why: &str,
        folders: &[PathBuf],
    ) -> Result<Choice, CannotRun> {
        let install = install_hint(wanted);
        if self.strict {
            let reason =
                format!("{wanted} is not on this host{why} and substitutes are refused; {install}");
            return Err(CannotRun { reason });
        }
        let Some(interpreter) = self.nearest(wanted) else {
            let reason = format!(
                "{wanted} is not on this host{why}, nor any other version of it; {install}"
            );
            return Err(CannotRun { reason });
        };
        let (major, minor, patch) = interpreter.version;
        let instead = interpreter.language;
        if let Language::Python(minor) = instead
            && let Some(file) = abi::other_abi(folders, minor)
        {
            let reason = format!(
                "{wanted} is not on this host, and {instead} cannot stand in for it, because the package holds \
                 binaries for another version: {}; {install}",
                file.display()
            );
            return Err(CannotRun { reason });
        }
        let warning = format!(
            "{wanted} is not on this host{why}: the function runs on {instead} ({major}.{minor}.{patch}, {}); {install}",
            interpreter.executable.display()
        );
        Ok(Choice {
            interpreter,
            warning: Some(warning),
        })
    }

    /// What the host has for a language, the very one or a substitute. Fetches nothing; blocks.
    pub fn find_here(&self, wanted: Language) -> Option<Interpreter> {
        let known = self
            .chosen
            .lock()
            .get(&wanted)
            .map(|(interpreter, _)| interpreter.clone());
        let here = known
            .or_else(|| self.exact(wanted))
            .or_else(|| self.fetched_node(wanted));
        here.or_else(|| {
            if self.strict {
                None
            } else {
                self.nearest(wanted)
            }
        })
    }

    /// Whether the host has the very interpreter. Fetches nothing; blocks.
    pub fn has(&self, wanted: Language) -> bool {
        self.exact(wanted)
            .or_else(|| self.fetched_node(wanted))
            .is_some()
    }

    fn survey(&self) -> Vec<(Runtime, Found)> {
        let runtimes = Runtime::ALL.into_iter();
        let look = |runtime: Runtime| {
            let wanted = Language::of(runtime)?;
            Some((
                runtime,
                match self.find_here(wanted) {
                    Some(found) if found.language == wanted => Found::Exact(found.executable),
                    _ if self.can_fetch(wanted) => Found::Fetchable,
                    Some(found) => Found::Substitute(found.executable, found.language.to_string()),
                    None => Found::Nothing(install_hint(wanted)),
                },
            ))
        };
        runtimes.filter_map(look).collect()
    }

    /// Every interpreter of a language that this host has, one for each line. Blocks.
    fn all(&self, language: Language) -> Vec<Interpreter> {
        let mut found: Vec<Interpreter> = Vec::new();
        for candidate in candidates::all(&self.surroundings, language) {
            let known = |known: &Interpreter| Some(known.language.line()) == candidate.hint;
            if found.iter().any(known) {
                continue;
            }
            let Some(interpreter) = self.look(&candidate, language) else {
                continue;
            };
            if found
                .iter()
                .all(|known| known.language != interpreter.language)
            {
                found.push(interpreter);
            }
        }
        found
    }

    /// The Python launcher as this interpreter compiles it, ready to be run.
    pub async fn compiled_launcher(
        self: &Arc<Self>,
        interpreter: &Interpreter,
        source: &'static [u8],
    ) -> Result<Bytes, CannotRun> {
        if let Some(known) = self.compiled.lock().get(&interpreter.executable) {
            return Ok(known.clone());
        }
        let program = interpreter.executable.clone();
        let compiled = self
            .blocking(move |finder| {
                let make = || probe::compile(&program, source);
                Some(finder.notes.compiled(&program, source, make))
            })
            .await;
        let compiled = compiled
            .unwrap_or_else(|| Err("interrupted".to_owned()))
            .map_err(|reason| CannotRun {
                reason: format!(
                    "{} does not run: {reason}",
                    interpreter.executable.display()
                ),
            })?;
        self.compiled
            .lock()
            .insert(interpreter.executable.clone(), compiled.clone());
        Ok(compiled)
    }

    fn exact(&self, wanted: Language) -> Option<Interpreter> {
        for candidate in candidates::all(&self.surroundings, wanted) {
            if candidate.hint.is_some_and(|hint| hint != wanted.line()) {
                continue;
            }
            let found = self.look(&candidate, wanted);
            if let Some(found) = found.filter(|found| found.language == wanted) {
                return Some(found);
            }
        }
        None
    }

    /// The nearest newer line, else the nearest older one.
    fn nearest(&self, wanted: Language) -> Option<Interpreter> {
        let lines = |found: &Interpreter| found.language.line();
        let all = self.all(wanted);
        let all = all
            .into_iter()
            .filter(|found| lines(found) >= wanted.oldest());
        let (newer, older): (Vec<_>, Vec<_>) = all.partition(|found| lines(found) > wanted.line());
        newer
            .into_iter()
            .min_by_key(lines)
            .or_else(|| older.into_iter().max_by_key(lines))
    }

    /// What a candidate is, if it is an interpreter that runs.
    fn look(&self, candidate: &Candidate, language: Language) -> Option<Interpreter> {
        let changed = candidate.changed()?;
        let home = self.surroundings.home.as_deref();
        let ask = || probe::probe(&candidate.path, language, home);
        let probed = self.notes.of(&candidate.path, changed, ask)?;
        let line = match language {
            Language::Python(_) if probed.version.0 != 3 => return None,
            Language::Python(_) => probed.version.1,
            Language::Node(_) => probed.version.0,
        };
        Some(Interpreter {
            executable: probed.executable,
            language: language.with_line(line),
            version: probed.version,
            needs: probed.needs,
        })
    }

    async fn fetch_node(
        self: &Arc<Self>,
        major: u32,
        clock: &dyn Clock,
    ) -> Result<Interpreter, String> {
        let fetch = Arc::clone(self.fetches.lock().entry(major).or_default());
        let mut fetch = fetch.lock().await;
        if let Some((when, why)) = &fetch.failed
            && clock.monotonic().saturating_sub(*when) < FETCH_AGAIN_AFTER
        {
            return Err(why.clone());
        }
        let fetched = fetch::node(
            &self.surroundings,
            &self.cache,
            major,
            &self.progress,
            clock,
        )
        .await;
        fetch.failed = fetched
            .as_ref()
            .err()
            .map(|why| (clock.monotonic(), why.clone()));
        let path = fetched?;
        let shown = path.display().to_string();
        let found = self
            .blocking(move |finder| finder.as_node(path, major))
            .await;
        found.ok_or_else(|| format!("{shown} does not run here"))
    }

    fn can_fetch(&self, wanted: Language) -> bool {
        matches!(wanted, Language::Node(_)) && fetch::npm(&self.surroundings).is_some()
    }

    /// The Node.js that was fetched earlier.
    fn fetched_node(&self, wanted: Language) -> Option<Interpreter> {
        let Language::Node(major) = wanted else {
            return None;
        };
        self.as_node(fetch::program(&self.cache, major), major)
    }

    fn as_node(&self, path: PathBuf, major: u32) -> Option<Interpreter> {
        let candidate = Candidate {
            path,
            hint: Some(major),
        };
        let found = self.look(&candidate, Language::Node(major));
        found.filter(|found| found.language == Language::Node(major))
    }
}

/// What to do to have the interpreter that was asked for.
fn install_hint(wanted: Language) -> String {
    match wanted {
        Language::Python(minor) => format!(
            "install it with `uv python install 3.{minor}`, `pyenv install 3.{minor}` or the system's packages"
        ),
        Language::Node(major) => format!(
            "install it with `nvm install {major}` or `fnm install {major}`, or install npm, which lets it be fetched"
        ),
    }
}

#[cfg(test)]
mod tests;
