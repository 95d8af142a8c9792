//! Starts functions as jailed processes: the interpreter, the jail's order, the claim, and what
//! an instance needs around it.

mod doors;
mod resume;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::port::{
    CannotRun, Instance, Left, Resume, StartError, StartFault, StartOrder, Started, Warning,
};
use futures_util::future::BoxFuture;
use model::{FunctionConfig, FunctionId, InstanceId, Runtime, VersionId};
use sha2::{Digest, Sha256};
use store::Clock;
use tokio::net::TcpStream;

use crate::contract::lambda::extensions::{self, EXTENSIONS_MAX, Fatal};
use crate::contract::lambda::order::{
    self, NODE_INSPECT_PORT, PYTHON_INSPECT_PORT, Program, Rules, TELEMETRY_DIALERS,
};
use crate::contract::lambda::{bootstrap, environment};
use crate::egress::Reach;
use crate::host::{Host, Isolation};
use crate::inspect::Forward;
use crate::instance::own::OwnTime;
use crate::instance::start::{self, Begun, FailedLambda, Failure, RuntimeName};
use crate::instance::watched::Broken;
use crate::instance::{Parts, Tasks};
use crate::interpreter::{Finder, Interpreter, Language, Progress, Surroundings};
use crate::jail::Peers;
use crate::keeping::{Leftovers, Note};
use crate::machine;
use crate::resolver::{CloudHosts, Lookups};
use crate::sdk::{Brings, Sdk};
use crate::spawner::{self, Jail, Kept, Spawner};

/// How often a start is done again because something that the function lacked has come (ours).
const STARTS_AGAIN_MAX: u32 = 8;

/// Who is at the other end of a connection that came out of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceIdentity {
    /// Which sandbox.
    pub instance: InstanceId,
    /// Whose function it runs.
    pub function: FunctionId,
    /// Which version of it.
    pub version: VersionId,
}

/// Serves a connection from inside a sandbox to the platform's endpoint, to its end.
pub type Endpoint =
    Arc<dyn Fn(InstanceIdentity, TcpStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// What [`Processes`] are made of.
pub struct Config {
    /// Makes the jails.
    pub spawner: Spawner,
    /// What earlier processes of the platform have left.
    pub kept: Vec<Kept>,
    /// Folder for what is fetched once and kept.
    pub cache: PathBuf,
    /// Serves connections to the platform's endpoint.
    pub endpoint: Endpoint,
    /// The endpoint's port, inside a sandbox and out.
    pub endpoint_port: u16,
    /// Whether a function runs on the very interpreter it names or not at all.
    pub strict_runtimes: bool,
    /// Whether every instance listens for a debugger; suspends timeouts.
    pub inspect: bool,
    /// What functions with an outside network can reach.
    pub reach: Reach,
    /// Which hosts of the cloud's lead to the platform.
    pub cloud: CloudHosts,
    /// Whether what functions write to `/tmp` can be executed.
    pub tmp_exec: bool,
    /// Where interpreters are looked for.
    pub surroundings: Surroundings,
    /// Tells a waiting user what takes so long.
    pub progress: Progress,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// Functions as jailed Linux processes.
#[derive(Debug)]
pub struct Processes {
    config: Config,
    finder: Arc<Finder>,
    sdk: Arc<Sdk>,
    lookups: Lookups,
    left: Leftovers,
}

impl Processes {
    /// Functions that run in the spawner's jails.
    pub fn new(mut config: Config) -> Self {
        let left = Leftovers::new(std::mem::take(&mut config.kept));
        let finder = Finder::new(
            config.surroundings.clone(),
            config.strict_runtimes,
            config.cache.clone(),
            Arc::clone(&config.progress),
        );
        let sdk = Sdk::new(
            &config.cache,
            left.all().is_empty(),
            config.surroundings.clone(),
            Arc::clone(&config.progress),
            Arc::clone(&config.clock),
        );
        Self {
            config,
            finder: Arc::new(finder),
            sdk: Arc::new(sdk),
            lookups: Lookups::default(),
            left,
        }
    }

    /// What a user should know of this host before anything runs.
    pub fn warnings(&self) -> Vec<Warning> {
        warnings(self.config.spawner.host())
    }

    /// The program of a runtime's interpreter, or of the one that stands in for it. May run
    /// programs to find out, and blocks meanwhile.
    pub fn interpreter(&self, runtime: Runtime) -> Option<PathBuf> {
        Some(self.finder.find_here(Language::of(runtime)?)?.executable)
    }

    /// Whether this host has the very interpreter of a runtime, where it needs one. Blocks.
    pub fn has(&self, runtime: Runtime) -> bool {
        Language::of(runtime).is_none_or(|wanted| self.finder.has(wanted))
    }

    async fn look_at(
        &self,
        config: &FunctionConfig,
        code: &Path,
        layers: &[PathBuf],
    ) -> Result<Vec<Warning>, CannotRun> {
        let mut warnings = self.look_at_program(config, code, layers).await?;
        if let Some(declared) = config.declared.architecture {
            let folders: Vec<_> = [code.to_owned()]
                .into_iter()
                .chain(layers.to_vec())
                .collect();
            let look = move || {
                let folders: Vec<_> = folders.iter().map(PathBuf::as_path).collect();
                machine::look(declared, &folders)
            };
            // Should it have panicked, nothing is known, and nothing is said.
            let looked = tokio::task::spawn_blocking(look).await.unwrap_or(Ok(None));
            warnings.extend(looked?);
        }
        Ok(warnings)
    }

    async fn look_at_program(
        &self,
        config: &FunctionConfig,
        code: &Path,
        layers: &[PathBuf],
    ) -> Result<Vec<Warning>, CannotRun> {
        let Some(wanted) = Language::of(config.runtime) else {
            let missing = bootstrap::find(code, layers).err();
            let warn = |why: bootstrap::Unstartable| {
                format!(
                    "{why}: {} needs an executable file `bootstrap` at the top of its package or of \
                     a layer",
                    config.runtime
                )
            };
            return Ok(missing.map(warn).into_iter().collect());
        };
        let folders: Vec<&Path> = [code]
            .into_iter()
            .chain(layers.iter().map(PathBuf::as_path))
            .collect();
        let choice = self
            .finder
            .find(wanted, &folders, &*self.config.clock)
            .await?;
        if self.config.spawner.host().isolation == Isolation::Jail {
            seen_in_jails(&choice.interpreter)?;
        }
        // Compiled ahead, so that no start waits for it.
        self.launcher(&choice.interpreter).await?;
        let sdk = self
            .sdk
            .look(&choice.interpreter, config, code, layers)
            .await;
        Ok(choice.warning.into_iter().chain(sdk).collect())
    }

    async fn launcher(&self, interpreter: &Interpreter) -> Result<bytes::Bytes, CannotRun> {
        match interpreter.language {
            Language::Python(_) => {
                self.finder
                    .compiled_launcher(interpreter, order::PYTHON_LAUNCHER)
                    .await
            }
            Language::Node(_) => Ok(bytes::Bytes::new()),
        }
    }

    /// Starts an instance; several times where what it lacks comes one after the other.
    async fn begin(&self, mut start: StartOrder) -> Result<Started, StartError> {
        let clock = &self.config.clock;
        let claimed = clock.monotonic();
        let own = OwnTime::new(clock);
        let limit = start.init_timeout;
        for _ in 0..STARTS_AGAIN_MAX {
            match self.begin_once(start.clone(), claimed, &own).await? {
                Begun::Over(started) => return Ok(started),
                Begun::Again => {
                    let passed = own.now().saturating_sub(claimed);
                    start.init_timeout = limit.saturating_sub(passed);
                }
            }
        }
        match self.begin_once(start, claimed, &own).await? {
            Begun::Over(started) => Ok(started),
            Begun::Again => Err(StartError {
                fault: StartFault::Function,
                reason: format!(
                    "it needs more than {STARTS_AGAIN_MAX} packages of those that Lambda's runtime \
                     brings, one after the other; put them into the package"
                ),
            }),
        }
    }

    async fn begin_once(
        &self,
        start: StartOrder,
        claimed: Duration,
        own: &Arc<OwnTime>,
    ) -> Result<Begun, StartError> {
        let clock = &self.config.clock;
        let lite = self.config.spawner.host().isolation == Isolation::Lite;
        if lite && start.is_trial() {
            return Err(StartError {
                fault: StartFault::Function,
                reason: "no network can be kept from a function without a sandbox".to_owned(),
            });
        }
        let (program, debugger) = match Language::of(start.config.runtime) {
            Some(wanted) => self.with_launcher(wanted, &start).await?,
            // A few looks at folders that the platform made: less than another thread would cost.
            None => match bootstrap::find(&start.code, &start.layers) {
                Ok(path) => (Program::Bootstrap(path), None),
                Err(why) => {
                    let kind = Failure::NoEntrypoint(why.words);
                    return Ok(Begun::Over(self.failed_before_start(&start, kind)));
                }
            },
        };
        let extensions = if start.is_trial() {
            Vec::new()
        } else {
            extensions::find(&start.layers)
        };
        if extensions.len() > EXTENSIONS_MAX {
            let kind = Failure::Extension(Broken {
                fatal: Fatal::Launch,
                reason: format!("Extension limit ({EXTENSIONS_MAX}) reached"),
            });
            return Ok(Begun::Over(self.failed_before_start(&start, kind)));
        }
        let mut environment = environment::variables(&start, &self.around(&start.config));
        if lite {
            environment.without_jail(start.config.runtime);
        }
        let rules = Rules {
            tmp_exec: self.config.tmp_exec,
            outside: self.config.reach != Reach::Nowhere,
            has_root: !lite,
        };
        let jail_order = order::order(&start, &program, &environment, &extensions, rules);
        // A trial is nothing to serve with: it has no credentials.
        let keeps = self.config.spawner.keeps() && jail_order.dialers == 0 && !start.is_trial();
        let launcher = jail_order.control;
        let boot = jail_order.boot.as_ref();
        let untold = boot.map(|boot| order::untold(&jail_order, boot, &environment.own));
        let jail = self
            .config
            .spawner
            .claim(jail_order)
            .await
            .map_err(start_error)?;
        let note = keeps.then(|| Note::of(&start, self.config.endpoint_port, launcher));
        let name = runtime_name(&start, &program);
        let peers = lite.then(|| Peers::below(jail.first));
        let brings =
            Language::of(start.config.runtime).map(|wanted| self.brings(wanted, &start.function));
        let variables = match untold {
            Some(untold) if jail.booted => untold,
            _ => environment.own,
        };
        let mut parts = self.parts(start, (jail, debugger), variables, peers);
        parts.extensions = extensions;
        parts.note = note;
        parts.brings = brings;
        parts.own = Arc::clone(own);
        start::start(parts, &name, claimed, Arc::clone(clock)).await
    }

    async fn with_launcher(
        &self,
        wanted: Language,
        start: &StartOrder,
    ) -> Result<(Program, Option<Forward>), StartError> {
        let cannot = |cannot: CannotRun| StartError {
            fault: StartFault::Function,
            reason: cannot.reason,
        };
        let interpreter = self
            .finder
            .find_again(wanted, &*self.config.clock)
            .await
            .map_err(cannot)?;
        let compiled = self.launcher(&interpreter).await.map_err(cannot)?;
        let debugger = if self.config.inspect || start.config.inspect {
            self.open_debugger(start, interpreter.language).await
        } else {
            None
        };
        let inspect = debugger.as_ref().map(Forward::port);
        let sdk = self
            .sdk
            .brought(interpreter.language, &start.config, &start.layers);
        let program = Program::Launcher {
            interpreter,
            compiled,
            inspect,
            sdk,
        };
        Ok((program, debugger))
    }

    /// Through which instances of a function ask for what Lambda's runtime brings.
    fn brings(&self, wanted: Language, function: &FunctionId) -> Brings {
        Brings {
            sdk: Arc::clone(&self.sdk),
            finder: Arc::clone(&self.finder),
            wanted,
            function: function.clone(),
        }
    }

    fn failed_before_start(&self, start: &StartOrder, kind: Failure) -> Started {
        let failed = FailedLambda {
            kind,
            spent: start.in_invocation.then_some(Duration::ZERO),
            said: bytes::Bytes::new(),
            used_mb: 0,
            config: Arc::clone(&start.config),
            clock: Arc::clone(&self.config.clock),
            log: Arc::clone(&start.log),
        };
        Started::Failed {
            failed: Box::new(failed),
            init: Duration::ZERO,
        }
    }

    /// Takes a jail apart and puts an instance's parts together.
    fn parts(
        &self,
        start: StartOrder,
        (mut jail, debugger): (Jail, Option<Forward>),
        variables: Vec<(String, String)>,
        peers: Option<Peers>,
    ) -> Parts {
        let mut tasks = Tasks::default();
        let patient = debugger.is_some();
        // The first are for telemetry, where there is any.
        let count = jail.dialers.len().min(usize::from(TELEMETRY_DIALERS));
        let for_telemetry = if jail.companions_output.is_some() {
            jail.dialers.drain(..count).collect()
        } else {
            Vec::new()
        };
        if let Some(debugger) = debugger {
            let dialers = std::mem::take(&mut jail.dialers);
            tasks.spawn(debugger.run(dialers, Arc::clone(&self.config.clock)));
        }
        let sandbox = Arc::new(jail.keeper());
        let identity = InstanceIdentity {
            instance: start.instance.clone(),
            function: start.function.clone(),
            version: start.version,
        };
        let Jail {
            control,
            output,
            companions_output,
            doors,
            ..
        } = jail;
        let around = (&start.log, &*start.config);
        let runtime_api = if start.is_trial() {
            // The others close, so that whatever it connects to refuses at once.
            doors.runtime_api
        } else {
            self.open_doors(around, doors, identity, &mut tasks)
        };
        Parts {
            sandbox,
            control,
            output,
            extensions_output: companions_output,
            dialers: for_telemetry,
            extensions: Vec::new(),
            runtime_api: Some(runtime_api),
            peers,
            variables,
            order: start,
            brings: None,
            own: OwnTime::new(&self.config.clock),
            patient,
            note: None,
            tasks,
        }
    }

    /// Opens a port for debuggers. Where it is, is said at once of Node.js, which brings its debugger,
    /// and of Python by its launcher, once one was found.
    async fn open_debugger(&self, start: &StartOrder, language: Language) -> Option<Forward> {
        let inside = match language {
            Language::Node(_) => NODE_INSPECT_PORT,
            Language::Python(_) => PYTHON_INSPECT_PORT,
        };
        let opened = Forward::open(inside).await;
        let text = match (&opened, language) {
            (Ok(forward), Language::Node(_)) => format!(
                "debugger: attach chrome://inspect or an editor to 127.0.0.1:{}; timeouts are \
                 suspended for {}",
                forward.port(),
                start.function.name
            ),
            (Ok(_), Language::Python(_)) => return opened.ok(),
            (Err(error), _) => format!("debugger: no port for it could be opened: {error}"),
        };
        start.log.write(engine::port::LogEvent {
            at_ms: self.config.clock.now_ms(),
            platform: true,
            invocation: None,
            text,
        });
        opened.ok()
    }
}

impl engine::port::Runtime for Processes {
    fn examine<'a>(
        &'a self,
        config: &'a FunctionConfig,
        code: &'a Path,
        layers: &'a [PathBuf],
    ) -> BoxFuture<'a, Result<Vec<Warning>, CannotRun>> {
        Box::pin(self.look_at(config, code, layers))
    }

    fn start(&self, order: StartOrder) -> BoxFuture<'_, Result<Started, StartError>> {
        Box::pin(self.begin(order))
    }

    fn left(&self) -> Vec<Left> {
        self.left.all()
    }

    fn resume(&self, resume: Resume) -> BoxFuture<'_, Option<Arc<dyn Instance>>> {
        Box::pin(self.go_on(resume))
    }

    fn end_left(&self) {
        self.left.end();
    }
}

/// Whether what an interpreter needs is where a jail can show it: not under its own /tmp.
fn seen_in_jails(interpreter: &Interpreter) -> Result<(), CannotRun> {
    let hidden = interpreter
        .needs
        .iter()
        .find(|path| path.starts_with("/tmp"));
    let Some(path) = hidden else { return Ok(()) };
    let reason = format!(
        "{} was found at {}, but {} cannot be seen in a sandbox, which has a /tmp of its own; \
         install it elsewhere, or take it out of the PATH",
        interpreter.language,
        interpreter.executable.display(),
        path.display(),
    );
    Err(CannotRun { reason })
}

fn warnings(host: &Host) -> Vec<Warning> {
    let mut warnings = match host.isolation {
        Isolation::Jail => Vec::new(),
        Isolation::Lite => lite_warnings(host, crate::jail::landlock_version()),
    };
    if !host.controllers.iter().any(|name| name == "memory") {
        warnings.push(
            "no control group limits memory here: the memory of functions is looked at ten times a \
             second, so that one may have more than its limit for a moment; `dayfly doctor` says \
             how to have it held by the kernel"
                .to_owned(),
        );
    }
    warnings
}

fn start_error(error: spawner::Error) -> StartError {
    let fault = match error {
        spawner::Error::TooMany | spawner::Error::Late => StartFault::Busy,
        spawner::Error::TooLarge { .. } => StartFault::Function,
        _ => StartFault::Ours,
    };
    StartError {
        fault,
        reason: error.to_string(),
    }
}

/// What a user must know before functions run among the host's processes.
fn lite_warnings(host: &Host, landlock: Option<u32>) -> Vec<Warning> {
    /// The first version that keeps signals and abstract sockets back.
    const SCOPES: u32 = 6;
    let reason = host.reason.as_deref().unwrap_or_default();
    let mut warnings = vec![
        format!(
            "functions run WITHOUT ISOLATION (process-lite), as processes of your own user: \
             {reason}. Run no code that you do not trust; `dayfly doctor` says how to allow \
             sandboxes"
        ),
        "functions use this machine's own network: they reach whatever listens on it, the control \
         calls of this platform included, and the outside also where that is switched off"
            .to_owned(),
        "/var/task, /opt and /tmp are not at these paths: functions find them by \
         LAMBDA_TASK_ROOT, in what their environment says, and by TMPDIR"
            .to_owned(),
    ];
    match landlock {
        None => warnings.push(
            "this kernel has no Landlock: functions can READ AND CHANGE EVERY FILE THAT YOU CAN, \
             and signal your other programs"
                .to_owned(),
        ),
        Some(version) if version < SCOPES => warnings.push(format!(
            "this kernel's Landlock (version {version} of at least {SCOPES}) lets functions signal \
             your other programs"
        )),
        Some(_) => {}
    }
    warnings
}

/// Names the runtime as Lambda does; the number is that of what really runs.
fn runtime_name(start: &StartOrder, program: &Program) -> RuntimeName {
    let version = match program {
        Program::Launcher { interpreter, .. } => {
            let (major, minor, patch) = interpreter.version;
            match interpreter.language {
                Language::Python(_) => format!("python:{major}.{minor}.v{patch}"),
                Language::Node(_) => format!("nodejs:{major}.v{minor}"),
            }
        }
        Program::Bootstrap(_) => start.config.runtime.to_string().replacen('.', ":", 1) + ".v1",
    };
    let digest = model::id::hex(&Sha256::digest(version.as_bytes()));
    let arn = format!("arn:aws:lambda:{}::runtime:{digest}", start.function.region);
    RuntimeName { version, arn }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::CgroupKind;

    #[test]
    fn an_interpreter_that_a_sandbox_would_hide_is_refused_by_name() {
        let check = |program: &str, expected: bool| {
            let interpreter = Interpreter {
                executable: program.into(),
                language: Language::Python(12),
                version: (3, 12, 1),
                needs: vec![program.into()],
            };
            let seen = seen_in_jails(&interpreter);
            assert_eq!(seen.is_ok(), expected, "{program}");
            if let Err(refused) = seen {
                assert!(refused.reason.contains(program), "{}", refused.reason);
            }
        };
        check("/tmp/py/bin/python3.12", false);
        check("/elsewhere/py/bin/python3.12", true);
        check("/tmpfiles/python3.12", true);
    }

    #[test]
    fn a_host_that_does_not_limit_memory_is_told_of() {
        let mut host = Host {
            isolation: Isolation::Jail,
            reason: None,
            privileged: false,
            cgroups: CgroupKind::V1,
            controllers: vec!["pids".to_owned(), "memory".to_owned()],
            proc_mounted: true,
            outside_network: true,
            no_outside_network: None,
            overlay: true,
        };
        assert!(warnings(&host).is_empty());
        host.controllers.pop();
        let told = warnings(&host);
        assert!(told[0].contains("no control group"), "{told:?}");
    }
}
