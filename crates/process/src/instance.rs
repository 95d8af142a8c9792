//! One live sandbox as the engine sees it: START, hand over, wait, END and REPORT, whatever the
//! function does meanwhile.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use engine::port::{Call, Instance, StartOrder};
use futures_util::future::BoxFuture;
use model::limit::{RESPONSE_BYTES_MAX, STREAMED_BYTES_MAX};
use model::{End, Execution, FunctionConfig, Outcome, StartKind, Timings, metering};
use store::Clock;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::contract::lambda::report::{self, Report, Status};
use crate::contract::lambda::runtime_api::RuntimeApi;
use crate::contract::lambda::wire::{Lost, Reply, Wire};
use crate::contract::lambda::words::{self, Exit};
use crate::jail::Peers;
use output::Output;
use sandbox::Sandbox;

#[cfg(test)]
mod conformance;
pub(crate) mod output;
pub(crate) mod sandbox;
pub(crate) mod start;

/// How long a process whose socket is closed may take to be gone by itself.
const EXIT_GRACE: Duration = Duration::from_secs(1);
/// How often memory is looked at, at most: a system call for each invocation is too dear.
const MEMORY_EVERY: Duration = Duration::from_millis(100);

/// One live sandbox holding an initialised Lambda function. Dropping it kills the sandbox.
#[derive(Debug)]
pub(crate) struct LambdaInstance {
    shared: Arc<Shared>,
    /// Read output, serve connections, notice the end; dropped, and so ended, with this.
    _tasks: Tasks,
}

/// Tasks that end with their owner.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    /// Runs this until the owner is dropped.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(task));
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
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
    clock: Arc<dyn Clock>,
    config: Arc<FunctionConfig>,
    /// Whether timeouts are suspended.
    patient: bool,
    /// Ours of the socket to the launcher, to wake whoever waits for it.
    control: Option<UnixStream>,
    /// Whether an invocation is in flight.
    busy: AtomicBool,
    /// Whether the platform has ended it.
    ended: AtomicBool,
    /// Whether it is frozen; held while that changes.
    frozen: Mutex<bool>,
    /// Turns true once, when it is no longer alive.
    gone: watch::Sender<bool>,
    memory: Memory,
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
}

/// Most memory seen so far.
#[derive(Debug, Default)]
struct Memory {
    peak_mb: AtomicU32,
    /// When it was looked at last, in milliseconds of monotonic time; zero is never.
    looked_ms: AtomicU64,
}

impl Memory {
    fn used_mb(&self, sandbox: &dyn Sandbox, now: Duration, look: bool, limit_mb: u32) -> u32 {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(1);
        let looked_ms = self.looked_ms.load(Ordering::Relaxed);
        let due =
            looked_ms == 0 || now_ms.saturating_sub(looked_ms) >= MEMORY_EVERY.as_millis() as u64;
        if look || due {
            self.looked_ms.store(now_ms, Ordering::Relaxed);
            let bytes = sandbox.memory_peak_bytes().unwrap_or_default();
            let peak_mb = u32::try_from(bytes.div_ceil(1024 * 1024)).unwrap_or(u32::MAX);
            self.peak_mb
                .fetch_max(peak_mb.min(limit_mb), Ordering::Relaxed);
        }
        self.peak_mb.load(Ordering::Relaxed)
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
}

/// Marks an instance unusable if the invocation is given up half-way: what the function answers
/// later belongs to nobody.
struct InFlight<'a> {
    shared: &'a Arc<Shared>,
    over: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
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
        };
        {
            let mut frozen = shared.frozen.lock().await;
            if *frozen {
                shared.sandbox.thaw().await;
                *frozen = false;
            }
        }
        let format = shared.config.log_format;
        shared.output.begin(&call.id, call.tail);
        shared.output.platform(report::start(
            format,
            shared.clock.now_ms(),
            &call.id,
            call.version,
        ));
        let began = shared.clock.monotonic();
        let verdict = shared.verdict(&call).await;
        let now = shared.clock.monotonic();
        let handler = now.saturating_sub(began);
        if !matches!(
            verdict,
            Verdict::Reply(
                Reply::Answer(_)
                    | Reply::TooLarge
                    | Reply::Streamed
                    | Reply::Failed { last: false, .. }
            )
        ) {
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
        in_flight.over = true;
        execution
    }
}

impl Shared {
    /// Hands the invocation over and waits for its end, for as long as it may take.
    async fn verdict(&self, call: &Call) -> Verdict {
        let limit = async {
            if self.patient {
                std::future::pending().await
            }
            self.clock.sleep(call.timeout).await;
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
            Link::Launcher(wire) => {
                let record = |(at_ms, text)| self.output.record(at_ms, text);
                wire.lock().await.exchange(call, &arn, &record).await
            }
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

    /// Puts the end into words: the answer, and the last lines of the log.
    fn conclude(
        &self,
        call: &Call,
        verdict: Verdict,
        handler: Duration,
        used_mb: u32,
    ) -> Execution {
        let id = &call.id;
        let fatal = |exit: Exit| Status::Error(exit.error_type().to_owned());
        // The kernel may have taken the count away with the process.
        let used_mb = match verdict {
            Verdict::Exited(Exit::OutOfMemory) => self.config.memory_mb,
            _ => used_mb,
        };
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
        };
        let handler = if end == End::TimedOut {
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
        execution(
            call,
            Outcome { end, payload },
            handler,
            billed,
            used_mb,
            log_tail,
        )
    }
}

/// What the last lines of an invocation say.
pub(crate) struct Closing<'a> {
    pub(crate) call: &'a Call,
    pub(crate) handler: Duration,
    pub(crate) billed: Duration,
    pub(crate) used_mb: u32,
    pub(crate) status: Status,
    pub(crate) last_words: Option<String>,
}

impl Closing<'_> {
    /// Writes them; answers with the end of the log, where it was asked for.
    fn write(
        self,
        output: &Output,
        clock: &dyn Clock,
        config: &FunctionConfig,
    ) -> Option<bytes::Bytes> {
        for line in self.lines(clock, config) {
            output.platform(line);
        }
        output.end()
    }

    /// The lines themselves, in order.
    pub(crate) fn lines(self, clock: &dyn Clock, config: &FunctionConfig) -> Vec<String> {
        let format = config.log_format;
        let report = Report {
            id: &self.call.id,
            duration: self.handler,
            billed: self.billed,
            memory_mb: config.memory_mb,
            used_mb: self.used_mb,
            init: self.call.waited.init,
            trace: self.call.trace.as_deref(),
            status: self.status,
        };
        let report = report.line(format, clock.now_ms());
        let end = report::end(format, &self.call.id);
        self.last_words
            .into_iter()
            .chain(end)
            .chain([report])
            .collect()
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
                self.shared.sandbox.freeze().await;
                *frozen = true;
            }
        })
    }

    fn thaw(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut frozen = self.shared.frozen.lock().await;
            if *frozen {
                self.shared.sandbox.thaw().await;
                *frozen = false;
            }
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.shared.ended.store(true, Ordering::Release);
            self.shared.kill().await;
            self.shared.output.drain();
        })
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
    pub(crate) control: Option<UnixStream>,
    /// What it prints; must not block.
    pub(crate) output: OwnedFd,
    /// Where its own client reaches the Runtime API, if it brings one.
    pub(crate) runtime_api: Option<std::net::TcpListener>,
    /// Whom its Runtime API answers, where others can come.
    pub(crate) peers: Option<Peers>,
    /// Variables that a launcher learns with its function.
    pub(crate) variables: Vec<(String, String)>,
    /// What it was started from.
    pub(crate) order: StartOrder,
    /// Whether timeouts are suspended.
    pub(crate) patient: bool,
    /// Tasks that live as long as it does.
    pub(crate) tasks: Tasks,
}
