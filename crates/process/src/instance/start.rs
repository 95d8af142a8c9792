//! From a running process to an instance that has initialised, or to what went wrong.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::port::{
    Call, FailedInit, LogEvent, LogSink, StartError, StartFault, StartOrder, Started,
};
use model::limit::LOG_TAIL_BYTES;
use model::{End, Execution, FunctionConfig, LogFormat, Outcome, metering};
use store::Clock;
use tokio::sync::{Mutex, OnceCell, oneshot, watch};

use super::keep::Kept;
use super::output::Output;
use super::watched::Broken;
use super::{Closing, LambdaInstance, Link, Memory, Parts, Shared, execution};
use crate::contract::lambda::extensions::{About, Extensions, Reason};
use crate::contract::lambda::report::{self, Phase, Status};
use crate::contract::lambda::runtime_api::{Init, RuntimeApi};
use crate::contract::lambda::telemetry::{Source, Telemetry};
use crate::contract::lambda::wire::{Loaded, Lost, Wire};
use crate::contract::lambda::words::{self, Exit};
use crate::spawner::Control;

/// Names the runtime in the first line of a log.
#[derive(Debug, Clone)]
pub(crate) struct RuntimeName {
    /// Such as `python:3.11.v7`.
    pub(crate) version: String,
    /// Its ARN.
    pub(crate) arn: String,
}

enum How {
    Ready,
    Failed(Bytes, Option<String>),
    Lost(Lost),
    TimedOut,
    OutOfMemory,
    Broken(Broken),
    Again,
}

/// What a start led to.
pub(crate) enum Begun {
    /// To an end of its own.
    Over(Started),
    /// To nothing: it is to be done again, as what the function lacked has come meanwhile.
    Again,
}

/// Has the process initialise. `claimed` is when its start began.
pub(crate) async fn start(
    mut parts: Parts,
    name: &RuntimeName,
    claimed: Duration,
    clock: Arc<dyn Clock>,
) -> Result<Begun, StartError> {
    let own = Arc::clone(&parts.own);
    let began = own.now();
    let format = parts.order.config.log_format;
    let about = about(&parts.order);
    let json_lines = format == LogFormat::Json;
    let dialers = std::mem::take(&mut parts.dialers);
    let telemetry = Telemetry::new(dialers, json_lines, Arc::clone(&clock));
    let tap = |source| (source, Arc::clone(&telemetry));
    let extensions = Extensions::new(
        about,
        &parts.extensions,
        Arc::clone(&telemetry),
        Arc::clone(&clock),
    );
    let (link, control, client) = link(&mut parts, &extensions, &clock)?;
    let log = Arc::clone(&parts.order.log);
    let output = |pipe, source| {
        let (log, clock) = (Arc::clone(&log), Arc::clone(&clock));
        Output::new(pipe, log, tap(source), clock).map_err(ours)
    };
    let theirs = parts.extensions_output.take();
    let theirs = theirs.map(|pipe| output(pipe, Source::Extension));
    let extensions_output = theirs.transpose()?;
    let output = output(parts.output, Source::Function)?;
    telemetry
        .platform(|at_ms| report::init_start(LogFormat::Json, at_ms, &name.version, &name.arn));
    let phase = if parts.order.in_invocation {
        Phase::Invocation
    } else {
        output.platform(report::init_start(
            format,
            clock.now_ms(),
            &name.version,
            &name.arn,
        ));
        Phase::Init
    };
    let shared = Arc::new(Shared {
        sandbox: parts.sandbox,
        link,
        output,
        extensions,
        extensions_output,
        shutdown: OnceCell::new(),
        clock: Arc::clone(&clock),
        config: Arc::clone(&parts.order.config),
        patient: parts.patient,
        control,
        // Until it has initialised.
        busy: AtomicBool::new(true),
        ended: AtomicBool::new(false),
        frozen: Mutex::new(false),
        gone: watch::Sender::new(false),
        memory: Memory::default(),
        kept: Kept::new(parts.note.take()),
        brings: parts.brings.take(),
        own: Arc::clone(&own),
    });
    parts.tasks.spawn(tend(Arc::clone(&shared)));
    let limit = if parts.patient {
        Duration::MAX
    } else {
        parts.order.init_timeout
    };
    let how = initialise(&shared, &parts.variables, client, limit, phase).await;
    let init = own.now().saturating_sub(began);
    // What was fetched for it is the platform's part.
    let whole = clock.monotonic().saturating_sub(claimed);
    let start = whole.saturating_sub(init);
    if matches!(how, How::Ready) {
        shared.tell_of_extensions();
        shared.extensions.telemetry().platform(|at_ms| {
            report::init_report(LogFormat::Json, at_ms, phase, init, &Status::Success)
        });
        shared.busy.store(false, Ordering::Release);
        // Now, as its first invocation may end it before anybody can look.
        let now = clock.monotonic();
        (shared.memory).used_mb(&*shared.sandbox, now, true, shared.config.memory_mb);
        shared.begin_keeping();
        let instance = Arc::new(LambdaInstance {
            shared,
            settles: parking_lot::Mutex::default(),
            _tasks: parts.tasks,
        });
        return Ok(Begun::Over(Started::Ready {
            instance,
            start,
            init,
        }));
    }
    if matches!(how, How::Again) {
        shared.shut_down(Reason::Spindown).await;
        shared.kill().await;
        shared.drain();
        return Ok(Begun::Again);
    }
    let failed = shared.failed(how, phase, init, &parts.order.log).await;
    Ok(Begun::Over(failed))
}

fn ours(error: std::io::Error) -> StartError {
    StartError {
        fault: StartFault::Ours,
        reason: error.to_string(),
    }
}

fn about(order: &StartOrder) -> About {
    About {
        function: order.function.name.to_string(),
        version: order.version.to_string(),
        handler: order.config.handler.clone(),
        account: order.function.account.to_string(),
    }
}

/// The way to the function, what ends it where that is a launcher, and what tells how a client of
/// its own started.
type Way = (Link, Option<UnixStream>, Option<oneshot::Receiver<Init>>);

/// Opens the way to the function.
fn link(
    parts: &mut Parts,
    extensions: &Arc<Extensions>,
    clock: &Arc<dyn Clock>,
) -> Result<Way, StartError> {
    let control = parts.control.take();
    let (api, starts) = if control.is_some() {
        (RuntimeApi::without_client(parts.peers), None)
    } else {
        let (api, starts) = RuntimeApi::new(parts.peers);
        (api, Some(starts))
    };
    if parts.note.is_some() {
        api.remember_lines();
    }
    if let Some(listener) = parts.runtime_api.take() {
        api.extend(Arc::clone(extensions));
        let served = Arc::clone(&api).serve(listener, Arc::clone(clock));
        parts.tasks.spawn(async move {
            // Without its listener the client cannot ask for anything, and runs out of time.
            let Err(error) = served.await;
            tracing::warn!(%error, "cannot serve a Runtime API");
        });
    }
    let Some(Control { socket, requests }) = control else {
        return Ok((Link::Api(api), None, starts));
    };
    let wire = socket.try_clone().and_then(|it| Wire::new(it, requests));
    let link = Link::Launcher(Box::new(Mutex::new(wire.map_err(ours)?)));
    Ok((link, Some(socket), None))
}

/// Reads what the function prints between invocations and notices its end.
pub(super) async fn tend(shared: Arc<Shared>) {
    let pump = async {
        let theirs = async {
            if let Some(output) = &shared.extensions_output {
                output.pump().await;
            }
        };
        tokio::join!(shared.output.pump(), theirs);
        std::future::pending::<()>().await;
    };
    let is_busy = || shared.busy.load(Ordering::Acquire);
    let broken = tokio::select! {
        _ = shared.sandbox.exited() => false,
        () = pump => false,
        _ = shared.broken() => true,
    };
    // Who initialises it, and an invocation, see for themselves that an extension failed.
    if broken && is_busy() {
        return;
    }
    let busy = is_busy();
    shared.hang_up();
    if !busy {
        shared.shut_down(Reason::Failure).await;
        shared.drain();
        // Whatever it started goes with it.
        shared.sandbox.kill().await;
    }
}

async fn initialise(
    shared: &Shared,
    variables: &[(String, String)],
    client: Option<oneshot::Receiver<Init>>,
    limit: Duration,
    phase: Phase,
) -> How {
    let loaded = async {
        if shared.extensions.are_used() {
            shared.extensions.registered().await;
            shared.sandbox.proceed().await;
        }
        let (loaded, error_type) = match (&shared.link, client) {
            (Link::Launcher(wire), _) => {
                let mut wire = wire.lock().await;
                wire.hello().await?;
                (wire.initialise(variables, shared).await?, None)
            }
            (Link::Api(_), Some(client)) => {
                // `hang_up` closes the API, but not what waits for its client to start.
                let mut gone = shared.gone.subscribe();
                tokio::select! {
                    biased;
                    init = client => init.map(|init| (init.loaded, init.error_type)).map_err(|_| Lost::Closed)?,
                    _ = gone.wait_for(|gone| *gone) => return Err(Lost::Closed),
                }
            }
            (Link::Api(_), None) => return Err(Lost::Closed),
        };
        Ok(match loaded {
            Loaded::Ready => {
                shared.extensions.close_registration();
                let telemetry = shared.extensions.telemetry();
                telemetry
                    .platform(|at_ms| report::init_runtime_done(at_ms, phase, &Status::Success));
                shared.extensions.ready().await;
                telemetry.close();
                How::Ready
            }
            Loaded::Failed(payload) => How::Failed(payload, error_type),
            Loaded::Again => How::Again,
        })
    };
    let limit = async {
        if limit == Duration::MAX {
            std::future::pending().await
        }
        let own = &shared.own;
        own.reach(own.now() + limit).await;
    };
    tokio::select! {
        biased;
        loaded = loaded => loaded.unwrap_or_else(How::Lost),
        broken = shared.broken() => How::Broken(broken),
        () = limit => How::TimedOut,
        () = shared.outgrows() => How::OutOfMemory,
    }
}

impl Shared {
    /// Writes how each extension has started.
    fn tell_of_extensions(&self) {
        for standing in self.extensions.standing() {
            let format = self.config.log_format;
            let line = report::extension(format, self.clock.now_ms(), &standing);
            self.output.platform(line);
            self.extensions
                .telemetry()
                .platform(|at_ms| report::extension(LogFormat::Json, at_ms, &standing));
        }
    }

    /// Ends the process and says how its initialisation failed.
    async fn failed(
        &self,
        how: How,
        phase: Phase,
        init: Duration,
        log: &Arc<dyn LogSink>,
    ) -> Started {
        let kind = match how {
            How::Ready | How::Again | How::TimedOut => Failure::TimedOut,
            How::Failed(payload, error_type) => Failure::Reported(payload, error_type),
            How::Lost(Lost::Closed) => Failure::Exited(self.exit().await),
            How::OutOfMemory => Failure::Exited(Exit::OutOfMemory),
            How::Broken(broken) => Failure::Extension(broken),
            How::Lost(hostile) => {
                self.output
                    .platform(format!("Error: {hostile}; the instance was ended"));
                Failure::Exited(Exit::Unknown)
            }
        };
        let memory_mb = self.config.memory_mb;
        let now = self.clock.monotonic();
        let used_mb = self.memory.used_mb(&*self.sandbox, now, true, memory_mb);
        let used_mb = match kind {
            Failure::Exited(Exit::OutOfMemory) => memory_mb,
            _ => used_mb,
        };
        let reason = match kind {
            Failure::TimedOut => Reason::Timeout,
            _ => Reason::Failure,
        };
        let telemetry = self.extensions.telemetry();
        telemetry.platform(|at_ms| report::init_runtime_done(at_ms, phase, &kind.status()));
        telemetry.platform(|at_ms| {
            report::init_report(LogFormat::Json, at_ms, phase, init, &kind.status())
        });
        self.shut_down(reason).await;
        self.kill().await;
        self.drain();
        self.tell_of_extensions();
        let now_ms = self.clock.now_ms();
        let line = report::init_report(self.config.log_format, now_ms, phase, init, &kind.status());
        self.output.platform(line);
        let timed_out = matches!(kind, Failure::TimedOut);
        let failed = Box::new(FailedLambda {
            kind,
            spent: (phase == Phase::Invocation).then_some(init),
            said: self.output.end([]).unwrap_or_default(),
            used_mb,
            config: Arc::clone(&self.config),
            clock: Arc::clone(&self.clock),
            log: Arc::clone(log),
        });
        if timed_out {
            Started::TimedOut { failed }
        } else {
            Started::Failed { failed, init }
        }
    }
}

/// Why a function could not initialise.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// It reported an error; the error and, where its client named one, the error's type.
    Reported(Bytes, Option<String>),
    /// Its process ended.
    Exited(Exit),
    /// It has no program that can be started, for this reason.
    NoEntrypoint(String),
    /// One of its extensions failed.
    Extension(Broken),
    /// It took too long.
    TimedOut,
}

impl Failure {
    fn status(&self) -> Status {
        match self {
            Self::TimedOut => Status::Timeout,
            _ => Status::Error(self.error_type()),
        }
    }

    fn error_type(&self) -> String {
        match self {
            Self::Reported(payload, error_type) => error_type.clone().or_else(|| {
                let error: serde_json::Value = serde_json::from_slice(payload).ok()?;
                Some(
                    error
                        .get("errorType")?
                        .as_str()?
                        .chars()
                        .take(200)
                        .collect(),
                )
            }),
            Self::Exited(exit) => Some(exit.error_type().to_owned()),
            Self::NoEntrypoint(_) => Some("Runtime.InvalidEntrypoint".to_owned()),
            Self::Extension(broken) => Some(broken.fatal.error_type().to_owned()),
            Self::TimedOut => None,
        }
        .unwrap_or_else(|| "Runtime.Unknown".to_owned())
    }
}

/// A failed initialisation in the words of Lambda.
#[derive(Debug)]
pub(crate) struct FailedLambda {
    pub(crate) kind: Failure,
    /// How much of the invocation's time it took, where it was within one.
    pub(crate) spent: Option<Duration>,
    /// The end of the log of its initialisation.
    pub(crate) said: Bytes,
    pub(crate) used_mb: u32,
    pub(crate) config: Arc<FunctionConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) log: Arc<dyn LogSink>,
}

/// Types of errors that only the code is to blame for.
const FLAWS: [&str; 6] = [
    "Runtime.HandlerNotFound",
    "Runtime.MalformedHandlerName",
    "Runtime.ImportModuleError",
    "Runtime.UserCodeSyntaxError",
    "Runtime.CallbackHandlerDeprecated",
    "Runtime.BuiltInModuleConflict",
];

/// What the launchers say of a module that Lambda's runtime brings and nobody could fetch: that is
/// no flaw of the code's, and its author has been warned of it.
const NOT_FETCHED: &str = "but it could not be fetched here: ";

impl FailedInit for FailedLambda {
    fn flaw(&self) -> Option<String> {
        match &self.kind {
            Failure::Reported(payload, _) => {
                let error_type = self.kind.error_type();
                let error: serde_json::Value = serde_json::from_slice(payload).ok()?;
                let message = error.get("errorMessage")?.as_str()?;
                if message.contains(NOT_FETCHED) {
                    return None;
                }
                // Lambda gives no type of its own to what an ES module imports and nobody has.
                let unresolved = error_type == "Error"
                    && ["Cannot find package '", "Cannot find module '"]
                        .iter()
                        .any(|words| message.starts_with(words));
                let flawed = unresolved || FLAWS.contains(&error_type.as_str());
                flawed.then(|| format!("{error_type}: {message}"))
            }
            Failure::NoEntrypoint(reason) => Some(format!("Runtime.InvalidEntrypoint: {reason}")),
            _ => None,
        }
    }

    fn outcome(&self, call: &Call) -> Execution {
        let mut call = call.clone();
        // The invocation ran out of its own time while it waited: that is what is reported, and
        // no initialisation beside it.
        let handler = if matches!(self.kind, Failure::TimedOut) {
            call.waited.init = None;
            self.config.timeout
        } else {
            self.spent.unwrap_or_default()
        };
        let call = &call;
        let id = &call.id;
        let (end, payload, last_words) = match &self.kind {
            Failure::Reported(payload, _) => (End::Failed, payload.clone(), None),
            Failure::Exited(exit) => {
                let end = if *exit == Exit::OutOfMemory {
                    End::OutOfMemory
                } else {
                    End::Crashed
                };
                let line = report::exited(id, &words::exit_reason(*exit));
                (end, words::exited(id, *exit), Some(line))
            }
            Failure::NoEntrypoint(reason) => {
                let line = format!("RequestId: {id} Error: {reason}\nRuntime.InvalidEntrypoint");
                (
                    End::Crashed,
                    words::invalid_entrypoint(id, reason),
                    Some(line),
                )
            }
            Failure::Extension(Broken { fatal, reason }) => {
                let error_type = fatal.error_type();
                let line = report::failed(id, reason, error_type);
                let payload = words::extension_failed(id, error_type, reason);
                (End::Crashed, payload, Some(line))
            }
            Failure::TimedOut => {
                let timeout = self.config.timeout;
                let line = report::timed_out(self.clock.now_ms(), id, timeout);
                (End::TimedOut, words::timed_out(id, timeout), Some(line))
            }
        };
        let billed = metering::billed(call.waited.init.unwrap_or_default(), handler);
        let status = self.kind.status();
        let closing = Closing {
            call,
            handler,
            billed,
            used_mb: self.used_mb,
            status,
            last_words,
        };
        let start = report::start(
            self.config.log_format,
            self.clock.now_ms(),
            id,
            call.version,
        );
        let lines = [start]
            .into_iter()
            .chain(closing.lines(&*self.clock, &self.config));
        let tail = self.write(call, lines);
        execution(
            call,
            Outcome { end, payload },
            handler,
            billed,
            self.used_mb,
            tail,
        )
    }
}

impl FailedLambda {
    fn write(&self, call: &Call, lines: impl Iterator<Item = String>) -> Option<Bytes> {
        let mut tail = self.said.to_vec();
        for text in lines {
            tail.extend_from_slice(text.as_bytes());
            tail.push(b'\n');
            let invocation = Some(call.id.clone());
            self.log.write(LogEvent {
                at_ms: self.clock.now_ms(),
                platform: true,
                invocation,
                text,
            });
        }
        let start = tail.len().saturating_sub(LOG_TAIL_BYTES);
        call.tail
            .then(|| Bytes::copy_from_slice(tail.get(start..).unwrap_or_default()))
    }
}
