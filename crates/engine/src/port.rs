//! What the engine needs of the world: something that starts instances.
//! Implementations translate; they decide nothing about placement, limits or retries.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::{
    Execution, Fault, FunctionConfig, FunctionId, FunctionRef, InstanceId, InvocationId, Outcome,
    VersionId,
};

use crate::keys::Credentials;
pub use crate::stream::{Sink, Unsent};

/// Something a deployment should tell its author; it does not stop it.
pub type Warning = String;

/// Starts instances of functions.
pub trait Runtime: Send + Sync + fmt::Debug + 'static {
    /// Looks at a function before it is deployed: can it run here, and what should its author
    /// know? `code` is the folder of the unpacked code, `layers` those of its layers.
    fn examine<'a>(
        &'a self,
        config: &'a FunctionConfig,
        code: &'a std::path::Path,
        layers: &'a [std::path::PathBuf],
    ) -> BoxFuture<'a, Result<Vec<Warning>, CannotRun>>;

    /// Starts an instance and has it initialise, within `order.init_timeout`, not counting what the
    /// platform fetches for it meanwhile.
    fn start(&self, order: StartOrder) -> BoxFuture<'_, Result<Started, StartError>>;

    /// Idle instances that an earlier process of the platform has left.
    fn left(&self) -> Vec<Left> {
        Vec::new()
    }

    /// Has one of those go on, idle as it is. None where it is not what is wanted now, or has ended;
    /// nothing is left of it then.
    fn resume(&self, resume: Resume) -> BoxFuture<'_, Option<Arc<dyn Instance>>> {
        drop(resume);
        Box::pin(std::future::ready(None))
    }

    /// Ends all that were left and not resumed.
    fn end_left(&self) {}
}

/// An idle instance that an earlier process of the platform has left.
#[derive(Debug, Clone)]
pub struct Left {
    /// Its id.
    pub instance: InstanceId,
    /// Which function it runs.
    pub function: FunctionId,
    /// Which version.
    pub version: VersionId,
    /// When it was initialised, in milliseconds since the Unix epoch.
    pub born_ms: u64,
}

/// What an instance is to go on as.
#[derive(Debug, Clone)]
pub struct Resume {
    /// Its id.
    pub instance: InstanceId,
    /// Which function it runs.
    pub function: FunctionId,
    /// Which version.
    pub version: VersionId,
    /// The settings that the version has now.
    pub config: Arc<FunctionConfig>,
    /// Where its log goes.
    pub log: Arc<dyn LogSink>,
}

/// Why a function cannot run on this host, with what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct CannotRun {
    /// In words for the function's author.
    pub reason: String,
}

/// Everything an instance is started from.
#[derive(Debug, Clone)]
pub struct StartOrder {
    /// The new instance's id.
    pub instance: InstanceId,
    /// Which function.
    pub function: FunctionId,
    /// Which version.
    pub version: VersionId,
    /// Its settings.
    pub config: Arc<FunctionConfig>,
    /// What it calls other services with, as who it is. None for a trial.
    pub credentials: Option<Credentials>,
    /// Folder of the unpacked code; immutable.
    pub code: PathBuf,
    /// Folders of the unpacked layers, in order; immutable.
    pub layers: Vec<PathBuf>,
    /// How long initialisation may take.
    pub init_timeout: Duration,
    /// Whether an invocation is under way that pays for it, as after a start that failed or took too
    /// long.
    pub in_invocation: bool,
    /// What its log is called in the function's log group.
    pub log_stream: Arc<str>,
    /// Where its log goes.
    pub log: Arc<dyn LogSink>,
}

impl StartOrder {
    /// Whether it is only to be seen how the function initialises: a trial has no credentials, no
    /// network, not even the platform's endpoint, and no extensions, and it never serves.
    pub fn is_trial(&self) -> bool {
        self.credentials.is_none()
    }
}

/// A start that reached an end of its own.
#[derive(Debug)]
pub enum Started {
    /// The instance is initialised and idle.
    Ready {
        /// The instance.
        instance: Arc<dyn Instance>,
        /// Time for the sandbox, and for what the platform fetched while it initialised.
        start: Duration,
        /// Time for the interpreter and the function's own initialisation.
        init: Duration,
    },
    /// The function failed to initialise; nothing of the instance is left.
    Failed {
        /// How, in the form of its vendor.
        failed: Box<dyn FailedInit>,
        /// Time until it failed.
        init: Duration,
    },
    /// Initialisation took longer than `init_timeout`; nothing of the instance is left.
    TimedOut {
        /// What becomes of the invocation that waited, where it is not tried again.
        failed: Box<dyn FailedInit>,
    },
}

/// A failed initialisation, which becomes the outcome of the invocation that waited for it.
/// The vendor's error text may quote the invocation's id, which a start does not know.
pub trait FailedInit: Send + Sync + fmt::Debug {
    /// The outcome, and log lines of the invocation, for this invocation.
    fn outcome(&self, call: &Call) -> Execution;

    /// What is wrong with the code itself, such as a handler that is not there. None where it may
    /// be that the function only missed what its surroundings did not have.
    fn flaw(&self) -> Option<String> {
        None
    }
}

/// A start that failed through no fault of the function.
#[derive(Debug, Clone, thiserror::Error)]
#[error("start instance: {reason}")]
pub struct StartError {
    /// Ours, or busy where trying again later may help.
    pub fault: StartFault,
    /// What failed.
    pub reason: String,
}

/// Whose fault a failed start is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFault {
    /// The platform's.
    Ours,
    /// The function's settings or code cannot run here.
    Function,
    /// No room now.
    Busy,
}

impl StartError {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self.fault {
            StartFault::Ours => Fault::Ours,
            StartFault::Function => Fault::Function,
            StartFault::Busy => Fault::Busy,
        }
    }
}

/// One request to run a function, as an instance gets it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The invocation's id.
    pub id: InvocationId,
    /// The function as the caller named it.
    pub target: FunctionRef,
    /// The version that runs.
    pub version: VersionId,
    /// JSON, passed through unread.
    pub payload: Bytes,
    /// Time left for the handler.
    pub timeout: Duration,
    /// Wall time at which it runs out, in milliseconds since the Unix epoch.
    pub deadline_ms: u64,
    /// Trace header of the caller (`Root=...;Parent=...;Sampled=...`).
    pub trace: Option<String>,
    /// Client context, as JSON text, where the caller gave one.
    pub client_context: Option<String>,
    /// Whether the last bytes of the log are wanted.
    pub tail: bool,
    /// Where the answer goes while it is written, where somebody reads it so. An instance whose
    /// function answers at once leaves it alone and answers by its outcome.
    pub sink: Option<Sink>,
    /// Time spent before this instance was found, for the report.
    pub waited: Waited,
}

/// What an invocation waited for before it reached its instance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waited {
    /// Time for a place.
    pub queue: Duration,
    /// The sandbox, and what the platform fetched for it; zero when warm.
    pub start: Duration,
    /// Initialisation, where this invocation is the one that pays for it.
    pub init: Option<Duration>,
    /// Where the instance came from; none means warm.
    pub kind: Option<model::StartKind>,
}

/// What an invocation came to that went on after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Time from its begin to the end of all of it.
    pub handler: Duration,
    /// What is billed for it.
    pub billed: Duration,
    /// Most memory used, in MB.
    pub memory_used_mb: u32,
}

/// One live sandbox holding an initialised function.
pub trait Instance: Send + Sync + fmt::Debug {
    /// Requests it can hold at once; one for Lambda.
    fn slots(&self) -> u32;

    /// Runs the function once. Ends by itself at `call.timeout`, with the instance gone; time in
    /// which the platform fetches something for it may not count, within bounds.
    /// Writes the invocation's log lines before it resolves.
    fn invoke(&self, call: Call) -> BoxFuture<'_, Execution>;

    /// What tells that the invocation answered last is over, where it goes on after its answer; asked
    /// for once, right after [`Instance::invoke`] has resolved. Until then the instance can serve no
    /// other. Nothing comes of it where the instance is no more.
    fn settling(&self) -> Option<BoxFuture<'static, Option<Settled>>> {
        None
    }

    /// Whether it can serve again. False once its process has ended or is to be ended.
    fn is_alive(&self) -> bool;

    /// Resolves when it is no longer alive, whatever the reason.
    fn gone(&self) -> BoxFuture<'static, ()>;

    /// Stops it from using any CPU. Only called while no request is in flight.
    fn freeze(&self) -> BoxFuture<'_, ()>;

    /// Undoes [`Instance::freeze`]. `invoke` thaws by itself.
    fn thaw(&self) -> BoxFuture<'_, ()>;

    /// Ends it and everything it started; resolves when nothing is left.
    fn stop(&self) -> BoxFuture<'_, ()>;

    /// Lets go of it where it is idle, for a later process of the platform to resume. Whether that
    /// was done: it is then not to be used any more, and goes on when dropped.
    fn leave(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }

    /// Private memory it uses now, in bytes, where the host can tell.
    fn memory_bytes(&self) -> Option<u64>;
}

/// Where an instance's log lines go. Never blocks: what there is no room for is dropped and
/// counted.
pub trait LogSink: Send + Sync + fmt::Debug {
    /// Keeps one event of the log.
    fn write(&self, event: LogEvent);
}

/// One event of a function's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Whether the platform wrote it (START, END, REPORT) or the function.
    pub platform: bool,
    /// The invocation it belongs to, where one was running.
    pub invocation: Option<InvocationId>,
    /// Text without its line end; may hold several lines. Not necessarily UTF-8 at its source;
    /// made so here.
    pub text: String,
}

/// An outcome without an instance, for ends that the engine itself decides.
pub fn fault_outcome(message: &str) -> Outcome {
    Outcome {
        end: model::End::Fault,
        payload: Bytes::copy_from_slice(message.as_bytes()),
    }
}
