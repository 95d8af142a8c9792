//! Starts one instance and hands what comes of it to whoever waits longest.

use std::sync::Arc;
use std::time::Duration;

use model::{Fault, StartKind, limit};

use crate::Shared;
use crate::catalog::{Folders, Revision};
use crate::instance::Live;
use crate::keys::{Credentials, Identity, Who};
use crate::log::FunctionLog;
use crate::pool::Placed;
use crate::port::{FailedInit, StartError, StartFault, StartOrder, Started, Waited};

/// Initialisation and handler of a function under a debugger: a person is slower than any limit.
pub(crate) const INSPECT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A start under way. Whatever happens to it, whoever waits is told: a start that is dropped
/// before its end has failed.
pub(crate) struct Start {
    shared: Arc<Shared>,
    live: Arc<Live>,
    ended: bool,
}

impl Start {
    /// A start that a pool has counted.
    pub(crate) fn new(shared: &Arc<Shared>, live: Arc<Live>) -> Self {
        Self {
            shared: Arc::clone(shared),
            live,
            ended: false,
        }
    }

    /// Makes it, once those whose memory it takes over are gone.
    pub(crate) async fn run(mut self, stopping: Vec<Arc<Live>>) {
        for live in stopping {
            live.stopped().await;
        }
        if self.shared.in_flight.is_cutting_off() {
            return;
        }
        let order = match self.order().await {
            Ok(order) => order,
            Err(error) => return self.not_started(Placed::CannotStart(error)),
        };
        let began = self.shared.clock.monotonic();
        let started = self.shared.runtime.start(order.clone()).await;
        match started {
            Ok(Started::TimedOut { failed } | Started::Failed { failed, .. }) => {
                self.again(failed, order, began).await;
            }
            other => self.end(other, &order, began),
        }
    }

    /// Initialisation failed or took too long. It is tried once more inside the invocation that waits
    /// for it, within the function's own timeout, as Lambda does.
    async fn again(mut self, failed: Box<dyn FailedInit>, mut order: StartOrder, began: Duration) {
        let pool = &self.live.revision.pool;
        if pool.is_closed() && !pool.is_waited_for() {
            let waited = Waited::default();
            return self.not_started(Placed::Failed { failed, waited });
        }
        order.init_timeout = order.config.timeout;
        order.in_invocation = true;
        let started = self.shared.runtime.start(order.clone()).await;
        self.end(started, &order, began);
    }

    fn end(&mut self, started: Result<Started, StartError>, order: &StartOrder, began: Duration) {
        let took = self.shared.clock.monotonic().saturating_sub(began);
        let waited = |start, init| Waited {
            queue: Duration::ZERO,
            start,
            init: Some(init),
            kind: Some(StartKind::Plain),
        };
        // What failed inside an invocation is reported as the time of that.
        let failed_after = |init| Waited {
            init: (!order.in_invocation).then_some(init),
            ..waited(took.saturating_sub(init), init)
        };
        match started {
            Ok(Started::Ready {
                instance,
                start,
                init,
            }) => {
                self.ended = true;
                let spent = if order.in_invocation {
                    init
                } else {
                    Duration::ZERO
                };
                self.live.ready(instance, waited(start, init), spent);
            }
            Ok(Started::Failed { failed, init }) => {
                let waited = failed_after(init);
                self.not_started(Placed::Failed { failed, waited });
            }
            Ok(Started::TimedOut { failed }) => {
                let waited = failed_after(order.init_timeout);
                self.not_started(Placed::Failed { failed, waited });
            }
            Err(error) => {
                if error.fault() == Fault::Ours {
                    tracing::error!(function = %self.live.revision.function.name, %error, "start");
                }
                self.not_started(Placed::CannotStart(error));
            }
        }
    }

    fn not_started(&mut self, placed: Placed) {
        self.ended = true;
        if matches!(placed, Placed::Failed { .. }) {
            self.shared.counters.start_failed();
        }
        // First its memory: whoever waited may come again at once.
        self.live.forget();
        self.live.revision.pool.not_started(placed);
    }

    async fn order(&self) -> Result<StartOrder, StartError> {
        let revision = &self.live.revision;
        let folders = self.shared.folders(revision).await?;
        let config = Arc::clone(&revision.config);
        let now_ms = self.shared.clock.now_ms();
        let stream: Arc<str> =
            model::log::stream_name(now_ms, revision.version, &self.live.id).into();
        let log = FunctionLog::new(&self.shared, &revision.function, Arc::clone(&stream));
        self.shared.begin_group(&revision.function, now_ms);
        Ok(StartOrder {
            instance: self.live.id.clone(),
            function: revision.function.clone(),
            version: revision.version,
            init_timeout: if config.inspect {
                INSPECT_TIMEOUT
            } else {
                limit::INIT_TIMEOUT
            },
            in_invocation: false,
            credentials: Some(self.credentials()),
            config,
            code: folders.code,
            layers: folders.layers,
            log_stream: stream,
            log: Arc::new(log),
        })
    }
}

impl Start {
    /// The instance's own, in the role that its author gave the function.
    fn credentials(&self) -> Credentials {
        let revision = &self.live.revision;
        let function = revision.function.clone();
        let role = revision.config.declared.role_name(&function);
        let identity = Identity {
            account: function.account.clone(),
            key: None,
            who: Who::Instance {
                role,
                function,
                instance: self.live.id.clone(),
            },
        };
        self.shared
            .keys
            .issue(&identity, limit::INSTANCE_CREDENTIALS)
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        if !self.ended {
            let reason = "the start was given up".to_owned();
            let error = StartError {
                fault: StartFault::Ours,
                reason,
            };
            self.not_started(Placed::CannotStart(error));
        }
    }
}

impl Shared {
    /// Where a revision's code is; looked for once.
    pub(crate) async fn folders(&self, revision: &Arc<Revision>) -> Result<Folders, StartError> {
        if let Some(folders) = revision.folders.read().clone() {
            return Ok(folders);
        }
        let ours = |reason| StartError {
            fault: StartFault::Ours,
            reason,
        };
        let found = self.find_folders(revision.digests()).await;
        let folders = found.map_err(|error| ours(error.to_string()))?;
        *revision.folders.write() = Some(folders.clone());
        Ok(folders)
    }

    /// The folders of stored trees: the code's first, then those of its layers.
    pub(crate) async fn find_folders(
        &self,
        digests: Vec<model::Digest>,
    ) -> Result<Folders, store::Error> {
        let trees = Arc::clone(&self.trees);
        let find = move || {
            let mut paths = digests.iter().map(|digest| trees.path(digest.as_str()));
            let missing = || store::Error::Missing {
                digest: String::new(),
            };
            let code = paths.next().ok_or_else(missing)??;
            Ok(Folders {
                code,
                layers: paths.collect::<Result<_, _>>()?,
            })
        };
        self.block("find stored code", find).await
    }
}
