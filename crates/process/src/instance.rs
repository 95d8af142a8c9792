//! One live sandbox as the engine sees it: START, hand over, wait, END and REPORT, whatever the
//! function does meanwhile.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::port::{Call, Instance, Settled, StartOrder};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::limit::{RESPONSE_BYTES_MAX, STREAMED_BYTES_MAX};
use model::{End, Execution, FunctionConfig, Outcome, StartKind, Timings, metering};
use store::Clock;
use tokio::sync::{Mutex, OnceCell, mpsc, oneshot, watch};

use crate::contract::lambda::extensions::{Extensions, Reason};
use crate::contract::lambda::report::{self, Status};
use crate::contract::lambda::runtime_api::RuntimeApi;
use crate::contract::lambda::wire::{Listener, Lost, Record, Reply, Wire};
use crate::contract::lambda::words::{self, Exit};
use crate::jail::Peers;
use crate::keeping::Note;
use crate::sdk::{Brings, Heard};
use crate::spawner::Control;
use closing::Closing;
use keep::Kept;
use memory::Memory;
use output::Output;
use own::OwnTime;
use sandbox::Sandbox;
pub(crate) use tasks::Tasks;
use watched::Broken;

mod closing;
#[cfg(test)]
mod conformance;
pub(crate) mod keep;
mod memory;
pub(crate) mod output;
pub(crate) mod own;
pub(crate) mod sandbox;
pub(crate) mod start;
mod tasks;
pub(crate) mod watched;

/// How long a process whose socket is closed may take to be gone by itself.
const EXIT_GRACE: Duration = Duration::from_secs(1);

/// One live sandbox holding an initialised Lambda function. Dropping it kills the sandbox.
#[derive(Debug)]
pub(crate) struct LambdaInstance {
    shared: Arc<Shared>,
    /// What tells that the last invocation is over, where it goes on after its answer.
    settles: parking_lot::Mutex<Option<oneshot::Receiver<Settled>>>,
    /// Read output, serve connections, notice the end; dropped, and so ended, with this.
    _tasks: Tasks,
}

/// How invocations reach the function.
#[derive(Debug)]
enum Link {
    /// A launcher of ours.
    Launcher(Box<Mutex<Wire>>),
    /// A client of the function's own.
    Api(Arc<RuntimeApi>),
}

#[derive(Debug)]
struct Shared {
    sandbox: Arc<dyn Sandbox>,
    link: Link,
    output: Output,
    /// Who is told of every invocation.
    extensions: Arc<Extensions>,
    /// What those print that are programs of their own.
    extensions_output: Option<Output>,
    /// Set once extensions have had their time to end.
    shutdown: OnceCell<()>,
    clock: Arc<dyn Clock>,
    config: Arc<FunctionConfig>,
    /// Whether timeouts are suspended.
    patient: bool,
    /// Ours of the socket to the launcher, to wake whoever waits for it.
    control: Option<UnixStream>,
    /// Whether it initialises or an invocation is in flight.
    busy: AtomicBool,
    /// Whether the platform has ended it.
    ended: AtomicBool,
    /// Whether it is frozen; held while that changes.
    frozen: Mutex<bool>,
    /// Turns true once, when it is no longer alive.
    gone: watch::Sender<bool>,
    memory: Memory,
    kept: Kept,
    /// Through which it asks for what Lambda's runtime brings.
    brings: Option<Brings>,
    /// The time that its deadlines and what is billed go by.
    own: Arc<OwnTime>,
}

impl Listener for Shared {
    fn record(&self, (at_ms, text): Record) {
        self.output.record(at_ms, text);
    }

    fn tell(&self, text: String) {
        self.output.platform(text);
    }

    fn bring(&self, name: &str) -> Option<mpsc::Receiver<Heard>> {
        Some(self.brings.as_ref()?.ask(name, &self.own))
    }
}

impl Shared {
    fn is_alive(&self) -> bool {
        !*self.gone.borrow()
    }

    fn condemn(&self) {
        self.gone.send_replace(true);
    }

    /// Whoever waits for the function learns that its process is gone.
    fn hang_up(&self) {
        self.condemn();
        if let Some(control) = &self.control {
            // It may be shut down already.
            let _ = control.shutdown(std::net::Shutdown::Both);
        }
        if let Link::Api(api) = &self.link {
            api.close();
        }
    }

    async fn kill(&self) {
        self.hang_up();
        self.sandbox.kill().await;
    }

    async fn thawed(&self) {
        let mut frozen = self.frozen.lock().await;
        if *frozen {
            self.sandbox.thaw().await;
            self.extensions.telemetry().freeze(false);
            *frozen = false;
        }
    }

    /// Takes everything that was printed into the log.
    fn drain(&self) {
        self.output.drain();
        if let Some(output) = &self.extensions_output {
            output.drain();
        }
    }

    /// The most memory so far; it is looked at now if it has to be.
    fn used_mb(&self, look: bool) -> u32 {
        let now = self.clock.monotonic();
        let limit_mb = self.config.memory_mb;
        self.memory.used_mb(&*self.sandbox, now, look, limit_mb)
    }
}

/// An invocation's end, before it is put in anybody's words.
enum Verdict {
    Reply(Reply),
    TimedOut,
    Exited(Exit),
    /// The platform ended it.
    Ended,
    /// It broke the protocol; the log says how.
    Hostile(String),
    /// An extension failed.
    Broken(Broken),
}

/// An invocation's end in words, before its report.
#[derive(Debug)]
struct Said {
    outcome: Outcome,
    status: Status,
    last_words: Option<String>,
    /// Why the instance ends with it, if it does.
    ends: Option<Reason>,
}

/// Marks an instance unusable if the invocation is given up half-way: what the function answers
/// later belongs to nobody.
struct InFlight<'a> {
    shared: &'a Arc<Shared>,
    over: bool,
    /// Whether somebody else sees to its end by now.
    handed_on: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.handed_on {
            return;
        }
        self.shared.busy.store(false, Ordering::Release);
        if !self.over {
            self.shared.hang_up();
            let shared = Arc::clone(self.shared);
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { shared.sandbox.kill().await });
            }
        }
    }
}

impl LambdaInstance {
    async fn run(&self, call: Call) -> Execution {
        let shared = &self.shared;
        if shared.busy.swap(true, Ordering::AcqRel) {
            return refused(
                &call,
                "instance is busy: an invocation was placed where there was no slot",
            );
        }
        let mut in_flight = InFlight {
            shared,
            over: false,
            handed_on: false,
        };
        shared.mark_busy();
        shared.thawed().await;
        let format = shared.config.log_format;
        shared.output.begin(&call.id, call.tail);
        shared.output.platform(report::start(
            format,
            shared.clock.now_ms(),
            &call.id,
            call.version,
        ));
        if shared.extensions.are_used() {
            // Boxed, or every invocation would have the room that this one takes.
            return Box::pin(self.run_watched(call, in_flight)).await;
        }
        shared.own.renew();
        let began = shared.own.now();
        let verdict = shared.verdict(&call, began).await;
        let handler = shared.own.now().saturating_sub(began);
        let now = shared.clock.monotonic();
        let ends = verdict.ends().is_some();
        if ends {
            // Looked at before it is gone, for afterwards nobody can.
            shared
                .memory
                .used_mb(&*shared.sandbox, now, true, shared.config.memory_mb);
            shared.kill().await;
        }
        shared.output.drain();
        let used_mb = shared
            .memory
            .used_mb(&*shared.sandbox, now, false, shared.config.memory_mb);
        let execution = shared.conclude(&call, verdict, handler, used_mb);
        if !ends {
            shared.mark_idle();
        }
        in_flight.over = true;
        execution
    }
}

impl Shared {
    /// Hands the invocation over and waits for its end, for as long as it may take, by its own time.
    async fn verdict(&self, call: &Call, began: Duration) -> Verdict {
        let limit = async {
            if self.patient {
                std::future::pending().await
            }
            self.own.reach(began + call.timeout).await;
        };
        let replied = tokio::select! {
            biased;
            replied = self.exchange(call) => replied,
            () = limit => return Verdict::TimedOut,
            () = self.outgrows() => return Verdict::Exited(Exit::OutOfMemory),
        };
        match replied {
            Ok(reply) => Verdict::Reply(reply),
            Err(Lost::Closed) => {
                let exit = self.exit().await;
                if self.ended.load(Ordering::Acquire) {
                    return Verdict::Ended;
                }
                Verdict::Exited(exit)
            }
            Err(hostile) => Verdict::Hostile(hostile.to_string()),
        }
    }

    /// Resolves when it uses more memory than it may, unless the kernel ends it for that.
    async fn outgrows(&self) {
        let bytes = u64::from(self.config.memory_mb) * 1024 * 1024;
        self.sandbox.outgrows(bytes, &*self.clock).await;
    }

    async fn exchange(&self, call: &Call) -> Result<Reply, Lost> {
        let arn = model::arn::reference(&call.target);
        match &self.link {
            Link::Launcher(wire) => wire.lock().await.exchange(call, &arn, self).await,
            Link::Api(api) => api.exchange(call, &arn).await,
        }
    }

    /// How the process ended, which has closed its socket.
    async fn exit(&self) -> Exit {
        tokio::select! {
            exit = self.sandbox.exited() => exit,
            () = self.clock.sleep(EXIT_GRACE) => Exit::Unknown,
        }
    }

    /// Puts the end into words.
    fn say(&self, call: &Call, verdict: Verdict) -> Said {
        let id = &call.id;
        let ends = verdict.ends();
        let fatal = |exit: Exit| Status::Error(exit.error_type().to_owned());
        let (end, payload, status, last_words) = match verdict {
            Verdict::Reply(Reply::Answer(payload)) => {
                (End::Replied, payload, Status::Success, None)
            }
            Verdict::Reply(Reply::Streamed) => {
                (End::Replied, bytes::Bytes::new(), Status::Success, None)
            }
            Verdict::Reply(Reply::Failed { payload, .. }) => {
                (End::Failed, payload, Status::Failed, None)
            }
            Verdict::Reply(reply @ (Reply::TooLarge | Reply::StreamTooLarge)) => {
                let status = Status::Error("Function.ResponseSizeTooLarge".to_owned());
                let bytes_max = if reply == Reply::TooLarge {
                    RESPONSE_BYTES_MAX as u64
                } else {
                    STREAMED_BYTES_MAX
                };
                let payload = words::response_too_large(bytes_max);
                (End::ResponseTooLarge, payload, status, None)
            }
            Verdict::TimedOut => {
                let line = report::timed_out(self.clock.now_ms(), id, call.timeout);
                (
                    End::TimedOut,
                    words::timed_out(id, call.timeout),
                    Status::Timeout,
                    Some(line),
                )
            }
            Verdict::Exited(exit) => {
                let end = if exit == Exit::OutOfMemory {
                    End::OutOfMemory
                } else {
                    End::Crashed
                };
                let line = report::exited(id, &words::exit_reason(exit));
                (end, words::exited(id, exit), fatal(exit), Some(line))
            }
            Verdict::Ended => {
                let line = report::exited(id, words::ENDED_BY_US);
                let status = fatal(Exit::Unknown);
                (End::Crashed, words::ended_by_us(id), status, Some(line))
            }
            Verdict::Hostile(how) => {
                let line = format!("RequestId: {id} Error: {how}; the instance was ended");
                (
                    End::Crashed,
                    words::exited(id, Exit::Unknown),
                    fatal(Exit::Unknown),
                    Some(line),
                )
            }
            Verdict::Broken(Broken { fatal, reason }) => {
                let error_type = fatal.error_type();
                let line = report::failed(id, &reason, error_type);
                let payload = words::extension_failed(id, error_type, &reason);
                let status = Status::Error(error_type.to_owned());
                (End::Crashed, payload, status, Some(line))
            }
        };
        Said {
            outcome: Outcome { end, payload },
            status,
            last_words,
            ends,
        }
    }

    /// Puts the end into words: the answer, and the last lines of the log.
    fn conclude(
        &self,
        call: &Call,
        verdict: Verdict,
        handler: Duration,
        used_mb: u32,
    ) -> Execution {
        // The kernel may have taken the count away with the process.
        let used_mb = match verdict {
            Verdict::Exited(Exit::OutOfMemory) => self.config.memory_mb,
            _ => used_mb,
        };
        let Said {
            outcome,
            status,
            last_words,
            ..
        } = self.say(call, verdict);
        let handler = if outcome.end == End::TimedOut {
            call.timeout
        } else {
            handler
        };
        let billed = metering::billed(call.waited.init.unwrap_or_default(), handler);
        let report = Closing {
            call,
            handler,
            billed,
            used_mb,
            status,
            last_words,
        };
        let log_tail = report.write(&self.output, &*self.clock, &self.config);
        execution(call, outcome, handler, billed, used_mb, log_tail)
    }
}

impl Verdict {
    /// Why the instance ends with it, if it does.
    fn ends(&self) -> Option<Reason> {
        match self {
            Self::Reply(
                Reply::Answer(_)
                | Reply::TooLarge
                | Reply::Streamed
                | Reply::Failed { last: false, .. },
            ) => None,
            Self::TimedOut => Some(Reason::Timeout),
            Self::Ended => Some(Reason::Spindown),
            _ => Some(Reason::Failure),
        }
    }
}

/// An invocation that ran, in the engine's words.
pub(crate) fn execution(
    call: &Call,
    outcome: Outcome,
    handler: Duration,
    billed: Duration,
    memory_used_mb: u32,
    log_tail: Option<bytes::Bytes>,
) -> Execution {
    let waited = call.waited;
    let timings = Timings {
        queue: waited.queue,
        start: waited.start,
        init: waited.init.unwrap_or_default(),
        handler,
        first_byte: None,
    };
    let start = waited.kind.unwrap_or(StartKind::Warm);
    Execution {
        version: call.version,
        outcome,
        start,
        timings,
        billed,
        memory_used_mb,
        log_tail,
    }
}

fn refused(call: &Call, message: &str) -> Execution {
    execution(
        call,
        engine::port::fault_outcome(message),
        Duration::ZERO,
        Duration::ZERO,
        0,
        None,
    )
}

impl Instance for LambdaInstance {
    fn slots(&self) -> u32 {
        1
    }

    fn invoke(&self, call: Call) -> BoxFuture<'_, Execution> {
        Box::pin(self.run(call))
    }

    fn is_alive(&self) -> bool {
        self.shared.is_alive()
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        let mut gone = self.shared.gone.subscribe();
        Box::pin(async move {
            // An error means that the instance itself is no more.
            let _ = gone.wait_for(|gone| *gone).await;
        })
    }

    fn freeze(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut frozen = self.shared.frozen.lock().await;
            let idle = !self.shared.busy.load(Ordering::Acquire);
            if idle && !*frozen && !self.shared.patient && self.shared.is_alive() {
                self.shared.extensions.telemetry().freeze(true);
                self.shared.sandbox.freeze().await;
                *frozen = true;
            }
        })
    }

    fn thaw(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.thawed())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.shared.ended.store(true, Ordering::Release);
            self.shared.shut_down(Reason::Spindown).await;
            self.shared.kill().await;
            self.shared.drain();
        })
    }

    fn leave(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.shared.leave())
    }

    fn settling(&self) -> Option<BoxFuture<'static, Option<Settled>>> {
        // Nothing else ever puts anything there.
        if !self.shared.extensions.are_used() {
            return None;
        }
        let settles = self.settles.lock().take()?;
        Some(settles.map(Result::ok).boxed())
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.shared.sandbox.memory_bytes()
    }
}

/// What an instance is made of, once its process runs.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Ends, freezes and measures it.
    pub(crate) sandbox: Arc<dyn Sandbox>,
    /// To a launcher, if one runs in it.
    pub(crate) control: Option<Control>,
    /// What it prints; must not block.
    pub(crate) output: OwnedFd,
    /// What its extensions print that are programs of their own; must not block.
    pub(crate) extensions_output: Option<OwnedFd>,
    /// Sockets of the sandbox's network, to bring telemetry to extensions.
    pub(crate) dialers: Vec<OwnedFd>,
    /// Extensions that are programs, by name, in the order of the sandbox's companions.
    pub(crate) extensions: Vec<String>,
    /// Where its own client reaches the Runtime API, if it brings one, and extensions theirs.
    pub(crate) runtime_api: Option<std::net::TcpListener>,
    /// Whom its Runtime API answers, where others can come.
    pub(crate) peers: Option<Peers>,
    /// Variables that a launcher learns with its function.
    pub(crate) variables: Vec<(String, String)>,
    /// What it was started from.
    pub(crate) order: StartOrder,
    /// Through which a launcher asks for what Lambda's runtime brings.
    pub(crate) brings: Option<Brings>,
    /// The time that its deadlines go by.
    pub(crate) own: Arc<OwnTime>,
    /// Whether timeouts are suspended.
    pub(crate) patient: bool,
    /// What another process of the platform is to know of it, where one could go on with it.
    pub(crate) note: Option<Note>,
    /// Tasks that live as long as it does.
    pub(crate) tasks: Tasks,
}
