//! An instance that extensions watch: they are waited for when it starts and after every answer,
//! have a moment before it ends, and end it where one of them fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::port::{Call, Settled};
use model::{End, Execution, LogFormat, metering};
use tokio::sync::oneshot;

use super::sandbox::CompanionExit;
use super::{Closing, EXIT_GRACE, InFlight, LambdaInstance, Said, Shared, Verdict, execution};
use crate::contract::lambda::extensions::{Fatal, Reason};
use crate::contract::lambda::report::{self, Status};
use crate::contract::lambda::words::{self, Exit};

/// How long all of it may take to end where an extension is a program of its own.
const EXTERNAL_END: Duration = Duration::from_secs(2);
/// The same where all are inside the runtime.
const INTERNAL_END: Duration = Duration::from_millis(500);
/// The runtime's part of it, which comes first, in tenths.
const RUNTIME_TENTHS: u32 = 3;

/// An extension that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) fatal: Fatal,
    pub(crate) reason: String,
}

impl Shared {
    /// Resolves once an extension has failed.
    pub(super) async fn broken(&self) -> Broken {
        self.extensions.come().await;
        let fatal = tokio::select! {
            biased;
            ended = self.sandbox.companions_ended(0) => return self.broken_by(&ended),
            fatal = self.extensions.failed() => fatal,
        };
        // It is about to end, and how it does is in the words of the error.
        tokio::select! {
            biased;
            ended = self.sandbox.companions_ended(0) => self.broken_by(&ended),
            () = self.clock.sleep(EXIT_GRACE) => Broken {
                fatal,
                reason: words::extension_exit_reason(Exit::Unknown),
            },
        }
    }

    fn broken_by(&self, ended: &[(usize, CompanionExit)]) -> Broken {
        let Some((companion, exit)) = ended.first() else {
            let reason = words::extension_exit_reason(Exit::Unknown);
            return Broken {
                fatal: Fatal::Crash,
                reason,
            };
        };
        let (started, reason) = match exit {
            CompanionExit::Ran(exit) => (true, words::extension_exit_reason(*exit)),
            CompanionExit::NotStarted(reason) => (false, reason.clone()),
        };
        let fatal = self.extensions.ended(*companion, started);
        Broken { fatal, reason }
    }

    /// Gives the runtime and the extensions the time that they have to end by themselves; once,
    /// and whoever comes later waits until it is over. What is left is to be killed.
    pub(super) async fn shut_down(&self, reason: Reason) {
        if self.extensions.are_used() {
            let once = || async {
                self.thawed().await;
                self.end_in_order(reason).await;
            };
            self.shutdown.get_or_init(once).await;
        }
    }

    async fn end_in_order(&self, reason: Reason) {
        let limit = if self.extensions.are_external() {
            EXTERNAL_END
        } else {
            INTERNAL_END
        };
        let began = self.clock.monotonic();
        let deadline_ms = u64::try_from(limit.as_millis()).unwrap_or_default();
        let deadline_ms = self.clock.now_ms().saturating_add(deadline_ms);
        // It has ended already where it is what failed.
        self.sandbox.terminate().await;
        tokio::select! {
            biased;
            _ = self.sandbox.exited() => {}
            () = self.clock.sleep(limit / 10 * RUNTIME_TENTHS) => {}
        }
        self.extensions.shut_down(reason, deadline_ms);
        self.extensions.telemetry().hurry();
        let told = self.extensions.companions_told();
        let over = async {
            let mut ended = Vec::new();
            while !told
                .iter()
                .all(|one| ended.iter().any(|(index, _)| index == one))
            {
                ended = self.sandbox.companions_ended(ended.len()).await;
            }
        };
        let left = limit.saturating_sub(self.clock.monotonic().saturating_sub(began));
        tokio::select! {
            biased;
            () = over => {}
            () = self.clock.sleep(left) => {}
        }
    }
}

/// What is left to be done once an invocation is answered.
struct Rest {
    shared: Arc<Shared>,
    call: Call,
    said: Said,
    /// When it began, by the instance's own time.
    began: Duration,
}

impl Drop for Rest {
    /// If it is given up half-way the instance is of no more use.
    fn drop(&mut self) {
        self.shared.busy.store(false, Ordering::Release);
    }
}

impl LambdaInstance {
    /// Runs an invocation that extensions take part in. It is answered as soon as the runtime is
    /// done; what resolves once all of it is over is left where [`engine::port::Instance::settling`] finds it.
    pub(super) async fn run_watched(&self, call: Call, mut in_flight: InFlight<'_>) -> Execution {
        let shared = &self.shared;
        let telemetry = shared.extensions.telemetry();
        telemetry.platform(|at_ms| report::start(LogFormat::Json, at_ms, &call.id, call.version));
        shared
            .extensions
            .begin(&call, &model::arn::reference(&call.target));
        shared.own.renew();
        let began = shared.own.now();
        let verdict = tokio::select! {
            biased;
            verdict = shared.verdict(&call, began) => verdict,
            broken = shared.broken() => Verdict::Broken(broken),
        };
        let runtime = shared.own.now().saturating_sub(began);
        shared.output.drain();
        let said = shared.say(&call, verdict);
        let answer = said.outcome.clone();
        let produced = answer.payload.len();
        telemetry.platform(|at_ms| {
            report::runtime_done(at_ms, &call.id, &said.status, runtime, produced)
        });
        let rest = Rest {
            shared: Arc::clone(shared),
            call: call.clone(),
            said,
            began,
        };
        in_flight.handed_on = true;
        let (settled, settles) = oneshot::channel();
        let rest = tokio::spawn(async move {
            let ended = rest.finish().await;
            // Nobody waits where the engine is gone.
            let _ = settled.send(ended.0);
            ended
        });
        // The end of its log is part of the answer.
        if call.tail
            && let Ok((settled, tail)) = rest.await
        {
            let Settled {
                handler,
                billed,
                memory_used_mb,
            } = settled;
            return execution(&call, answer, handler, billed, memory_used_mb, tail);
        }
        *self.settles.lock() = Some(settles);
        let billed = metering::billed(call.waited.init.unwrap_or_default(), runtime);
        let used_mb = shared.used_mb(false);
        execution(&call, answer, runtime, billed, used_mb, None)
    }
}

impl Rest {
    /// Waits for the extensions, ends the instance where it has to end, and writes the report.
    async fn finish(mut self) -> (Settled, Option<bytes::Bytes>) {
        let shared = Arc::clone(&self.shared);
        let mut ends = self.said.ends;
        if ends.is_none() {
            ends = self.wait().await;
        }
        let handler = match ends {
            Some(Reason::Timeout) => self.call.timeout,
            _ => shared.own.now().saturating_sub(self.began),
        };
        let look = ends.is_some();
        let mut used_mb = shared.used_mb(look);
        if self.said.outcome.end == End::OutOfMemory {
            used_mb = shared.config.memory_mb;
        }
        shared.drain();
        let billed = metering::billed(self.call.waited.init.unwrap_or_default(), handler);
        let closing = Closing {
            call: &self.call,
            handler,
            billed,
            used_mb,
            status: self.said.status.clone(),
            last_words: self.said.last_words.take(),
        };
        closing.record(shared.extensions.telemetry(), &shared.config);
        // Its report is among what the extensions are told before they end.
        if let Some(reason) = ends {
            shared.condemn();
            shared.shut_down(reason).await;
            shared.kill().await;
            shared.drain();
        }
        let tail = closing.write(&shared.output, &*shared.clock, &shared.config);
        let settled = Settled {
            handler,
            billed,
            memory_used_mb: used_mb,
        };
        (settled, tail)
    }

    /// Waits until the extensions have done with the invocation; why the instance is to end, if
    /// they have not. The answer stays what it is.
    async fn wait(&mut self) -> Option<Reason> {
        let shared = Arc::clone(&self.shared);
        let id = &self.call.id;
        let limit = async {
            if shared.patient {
                std::future::pending().await
            }
            shared.own.reach(self.began + self.call.timeout).await;
        };
        let mut gone = shared.gone.subscribe();
        let gone = async {
            let _ = gone.wait_for(|gone| *gone).await;
        };
        let (status, line, reason) = tokio::select! {
            biased;
            () = shared.extensions.ready() => return None,
            broken = shared.broken() => {
                let error_type = broken.fatal.error_type();
                let line = report::failed(id, &broken.reason, error_type);
                (Status::Error(error_type.to_owned()), line, Reason::Failure)
            }
            () = gone => {
                let exit = shared.exit().await;
                let line = report::exited(id, &words::exit_reason(exit));
                (Status::Error(exit.error_type().to_owned()), line, Reason::Failure)
            }
            () = limit => {
                let line = report::timed_out(shared.clock.now_ms(), id, self.call.timeout);
                (Status::Timeout, line, Reason::Timeout)
            }
            () = shared.outgrows() => {
                let exit = Exit::OutOfMemory;
                let line = report::exited(id, &words::exit_reason(exit));
                (Status::Error(exit.error_type().to_owned()), line, Reason::Failure)
            }
        };
        self.said.status = status;
        self.said.last_words = Some(line);
        Some(reason)
    }
}
