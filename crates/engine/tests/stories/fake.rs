//! A runtime whose instances do what a test or the payload says, and nothing by themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::port::{
    Call, CannotRun, FailedInit, Instance, Left, Resume, Runtime, Settled, StartError, StartFault,
    StartOrder, Started, Unsent, Warning,
};
use futures_util::future::BoxFuture;
use model::{End, Execution, FunctionConfig, Outcome, StartKind, Timings};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

/// How a start is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartAs {
    Ready,
    /// The same, with so long an initialisation.
    ReadyAfter(Duration),
    Failed,
    TimedOut,
    CannotStart,
}

#[derive(Debug, Default)]
pub(crate) struct FakeRuntime {
    state: Mutex<State>,
    /// Requests that an instance takes at once.
    pub(crate) slots: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    /// Whether starts wait for the test.
    hold_starts: bool,
    held_starts: Vec<oneshot::Sender<StartAs>>,
    /// How starts end that do not wait.
    starts_end: Option<StartAs>,
    orders: Vec<StartOrder>,
    instances: Vec<Arc<FakeInstance>>,
    /// Whether the next process does not learn of instances that were let go of.
    hide_left: bool,
    /// Why functions cannot run, if they cannot.
    cannot_run: Option<String>,
    /// Memory of instances from the begin of their start to their end, in MB.
    memory_mb: u64,
    memory_mb_most: u64,
}

impl FakeRuntime {
    pub(crate) fn hold_starts(&self, hold: bool) {
        self.state.lock().hold_starts = hold;
    }

    pub(crate) fn starts_end(&self, end: StartAs) {
        self.state.lock().starts_end = Some(end);
    }

    pub(crate) fn hide_left(&self, hide: bool) {
        self.state.lock().hide_left = hide;
    }

    /// Instances that were let go of and not taken up.
    pub(crate) fn left(&self) -> Vec<Arc<FakeInstance>> {
        let left = |instance: &Arc<FakeInstance>| instance.left.load(Ordering::SeqCst);
        self.alive().into_iter().filter(left).collect()
    }

    pub(crate) fn refuse(&self, reason: &str) {
        self.state.lock().cannot_run = Some(reason.to_owned());
    }

    /// Starts that wait for the test.
    pub(crate) fn starting(&self) -> usize {
        let mut state = self.state.lock();
        state.held_starts.retain(|start| !start.is_closed());
        state.held_starts.len()
    }

    /// Ends the start that has waited longest.
    pub(crate) fn end_start(&self, end: StartAs) {
        let _ = self.state.lock().held_starts.remove(0).send(end);
    }

    /// All orders of starts so far.
    pub(crate) fn orders(&self) -> Vec<StartOrder> {
        self.state.lock().orders.clone()
    }

    /// All instances so far that became ready, the ended ones too.
    pub(crate) fn instances(&self) -> Vec<Arc<FakeInstance>> {
        self.state.lock().instances.clone()
    }

    pub(crate) fn alive(&self) -> Vec<Arc<FakeInstance>> {
        self.instances()
            .into_iter()
            .filter(|instance| instance.is_alive())
            .collect()
    }

    /// Memory of live and starting instances now, and the most it ever was, in MB.
    pub(crate) fn memory_mb(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.memory_mb, state.memory_mb_most)
    }

    /// Calls that wait for the test, on any instance.
    pub(crate) fn held_calls(&self) -> Vec<(Arc<FakeInstance>, String)> {
        let held = |instance: Arc<FakeInstance>| {
            let mut calls: Vec<String> = instance.held.lock().keys().cloned().collect();
            calls.sort();
            calls
                .into_iter()
                .map(move |id| (Arc::clone(&instance), id))
                .collect::<Vec<_>>()
        };
        self.instances().into_iter().flat_map(held).collect()
    }

    fn charge(&self, memory_mb: u32) {
        let mut state = self.state.lock();
        state.memory_mb += u64::from(memory_mb);
        state.memory_mb_most = state.memory_mb_most.max(state.memory_mb);
    }

    fn discharge(&self, memory_mb: u32) {
        self.state.lock().memory_mb -= u64::from(memory_mb);
    }
}

/// Tells the runtime about the end of a start or an instance, however it comes.
#[derive(Debug)]
struct Memory(Arc<FakeRuntime>, u32);

impl Memory {
    fn new(runtime: &Arc<FakeRuntime>, memory_mb: u32) -> Self {
        runtime.charge(memory_mb);
        Self(Arc::clone(runtime), memory_mb)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.discharge(self.1);
    }
}

/// A handle that the engine gets.
#[derive(Debug)]
pub(crate) struct FakeHandle(pub(crate) Arc<FakeRuntime>);

impl Runtime for FakeHandle {
    fn examine<'a>(
        &'a self,
        config: &'a FunctionConfig,
        _: &'a std::path::Path,
        _: &'a [std::path::PathBuf],
    ) -> BoxFuture<'a, Result<Vec<Warning>, CannotRun>> {
        let refused = self.0.state.lock().cannot_run.clone();
        let warnings = if config.handler == "odd.handler" {
            vec!["odd".into()]
        } else {
            vec![]
        };
        Box::pin(async move { refused.map_or(Ok(warnings), |reason| Err(CannotRun { reason })) })
    }

    fn start(&self, order: StartOrder) -> BoxFuture<'_, Result<Started, StartError>> {
        let memory = Memory::new(&self.0, order.config.memory_mb);
        let mut state = self.0.state.lock();
        state.orders.push(order.clone());
        let held = state.hold_starts.then(|| {
            let (sender, receiver) = oneshot::channel();
            state.held_starts.push(sender);
            receiver
        });
        let end = state.starts_end.unwrap_or(StartAs::Ready);
        drop(state);
        Box::pin(async move {
            let end = match held {
                Some(held) => held.await.unwrap_or(StartAs::CannotStart),
                None => end,
            };
            let start = Duration::from_millis(2);
            let init = match end {
                StartAs::ReadyAfter(init) => init,
                _ => Duration::from_millis(5),
            };
            match end {
                StartAs::Ready | StartAs::ReadyAfter(_) => {
                    let slots = self.0.slots.load(Ordering::SeqCst).max(1);
                    let instance = Arc::new(FakeInstance::new(order, slots, memory));
                    self.0.state.lock().instances.push(Arc::clone(&instance));
                    Ok(Started::Ready {
                        instance,
                        start,
                        init,
                    })
                }
                StartAs::Failed => Ok(Started::Failed {
                    failed: Box::new(FakeFailure(End::Failed)),
                    init,
                }),
                StartAs::TimedOut => Ok(Started::TimedOut {
                    failed: Box::new(FakeFailure(End::TimedOut)),
                }),
                StartAs::CannotStart => Err(StartError {
                    fault: StartFault::Ours,
                    reason: "told to".into(),
                }),
            }
        })
    }

    fn left(&self) -> Vec<Left> {
        if self.0.state.lock().hide_left {
            return Vec::new();
        }
        let left = |instance: Arc<FakeInstance>| Left {
            instance: instance.order.instance.clone(),
            function: instance.order.function.clone(),
            version: instance.order.version,
            born_ms: instance.born_ms.load(Ordering::SeqCst),
        };
        self.0.left().into_iter().map(left).collect()
    }

    fn resume(&self, resume: Resume) -> BoxFuture<'_, Option<Arc<dyn Instance>>> {
        let wanted = |instance: &Arc<FakeInstance>| instance.order.instance == resume.instance;
        let found = self.0.left().into_iter().find(wanted);
        Box::pin(async move {
            let instance = found.filter(|it| it.order.config == resume.config)?;
            instance.left.store(false, Ordering::SeqCst);
            Some(instance as Arc<dyn Instance>)
        })
    }

    fn end_left(&self) {
        if !self.0.state.lock().hide_left {
            self.0.left().iter().for_each(|instance| instance.die());
        }
    }
}

#[derive(Debug)]
struct FakeFailure(End);

impl FailedInit for FakeFailure {
    fn outcome(&self, _: &Call) -> Execution {
        execution(self.0, "init failed")
    }

    fn flaw(&self) -> Option<String> {
        Some("it is flawed".to_owned())
    }
}

#[derive(Debug)]
pub(crate) struct FakeInstance {
    pub(crate) order: StartOrder,
    slots: u32,
    alive: watch::Sender<bool>,
    frozen: AtomicBool,
    /// Whether a freeze waits for the test.
    pub(crate) hold_freeze: watch::Sender<bool>,
    in_flight: AtomicU32,
    /// Whether it was let go of.
    left: AtomicBool,
    pub(crate) born_ms: AtomicU64,
    pub(crate) served: AtomicU32,
    /// Parts of streamed answers that somebody took.
    pub(crate) taken: AtomicU32,
    /// The time that the last call was given.
    pub(crate) timeout: Mutex<Duration>,
    held: Mutex<HashMap<String, oneshot::Sender<End>>>,
    /// Ends what goes on after an answer.
    lingers: Mutex<Option<oneshot::Receiver<End>>>,
    memory: Mutex<Option<Memory>>,
}

impl FakeInstance {
    fn new(order: StartOrder, slots: u32, memory: Memory) -> Self {
        Self {
            order,
            slots,
            alive: watch::Sender::new(true),
            frozen: AtomicBool::new(false),
            hold_freeze: watch::Sender::new(false),
            in_flight: AtomicU32::new(0),
            left: AtomicBool::new(false),
            born_ms: AtomicU64::new(u64::MAX),
            served: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            timeout: Mutex::default(),
            held: Mutex::default(),
            lingers: Mutex::default(),
            memory: Mutex::new(Some(memory)),
        }
    }

    /// Its process ends.
    pub(crate) fn die(&self) {
        self.alive.send_replace(false);
        self.memory.lock().take();
        for (_, call) in self.held.lock().drain() {
            let _ = call.send(End::Crashed);
        }
    }

    /// Lets a call that waits for the test come to this end.
    pub(crate) fn release(&self, id: &str, end: End) {
        if let Some(call) = self.held.lock().remove(id) {
            let _ = call.send(end);
        }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    async fn run(&self, call: Call) -> Execution {
        if !self.is_alive() {
            return execution(End::Crashed, "already gone");
        }
        let others = self.in_flight.fetch_add(1, Ordering::SeqCst);
        assert!(others < self.slots, "more calls than slots");
        self.frozen.store(false, Ordering::SeqCst);
        *self.timeout.lock() = call.timeout;
        let end = match &call.payload[..] {
            b"hold" => {
                let (sender, receiver) = oneshot::channel();
                self.held.lock().insert(call.id.to_string(), sender);
                receiver.await.unwrap_or(End::Crashed)
            }
            b"crash" => {
                self.die();
                End::Crashed
            }
            b"fail" => End::Failed,
            b"linger" => {
                let (sender, receiver) = oneshot::channel();
                self.held.lock().insert(call.id.to_string(), sender);
                *self.lingers.lock() = Some(receiver);
                End::Replied
            }
            script if script.starts_with(b"stream ") => self.stream(&call).await,
            _ => End::Replied,
        };
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.served.fetch_add(1, Ordering::SeqCst);
        let streamed = call.payload.starts_with(b"stream ") && end == End::Replied;
        let payload = self.order.instance.as_str();
        execution(end, if streamed { "" } else { payload })
    }

    /// Plays `stream PARTS BYTES END`.
    async fn stream(&self, call: &Call) -> End {
        let script = String::from_utf8_lossy(&call.payload).into_owned();
        let words: Vec<_> = script.split(' ').collect();
        let (parts, size): (u32, usize) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        let Some(sink) = &call.sink else {
            return End::Failed;
        };
        let _ = sink.begin("text/plain".into()).await;
        let part = Bytes::from(vec![b'x'; size]);
        for _ in 0..parts {
            match sink.send(part.clone()).await {
                Ok(()) => self.taken.fetch_add(1, Ordering::SeqCst),
                // As functions do, it goes on.
                Err(Unsent::Gone) => 0,
                Err(Unsent::TooLarge) => return End::ResponseTooLarge,
            };
        }
        match words[3] {
            "crash" => {
                self.die();
                End::Crashed
            }
            "fail" => End::Failed,
            "hold" => {
                sink.finish().await;
                let (sender, receiver) = oneshot::channel();
                self.held.lock().insert(call.id.to_string(), sender);
                receiver.await.unwrap_or(End::Crashed)
            }
            _ => End::Replied,
        }
    }
}

impl Instance for FakeInstance {
    fn slots(&self) -> u32 {
        self.slots
    }

    fn invoke(&self, call: Call) -> BoxFuture<'_, Execution> {
        Box::pin(self.run(call))
    }

    fn settling(&self) -> Option<BoxFuture<'static, Option<Settled>>> {
        let lingers = self.lingers.lock().take()?;
        Some(Box::pin(async move {
            lingers.await.ok()?;
            Some(Settled {
                handler: Duration::from_secs(7),
                billed: Duration::from_secs(7),
                memory_used_mb: 11,
            })
        }))
    }

    fn is_alive(&self) -> bool {
        *self.alive.borrow()
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        let mut alive = self.alive.subscribe();
        Box::pin(async move { drop(alive.wait_for(|alive| !alive).await) })
    }

    fn freeze(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            assert_eq!(
                self.in_flight.load(Ordering::SeqCst),
                0,
                "frozen under a call"
            );
            let _ = self.hold_freeze.subscribe().wait_for(|held| !held).await;
            assert_eq!(
                self.in_flight.load(Ordering::SeqCst),
                0,
                "frozen under a call"
            );
            self.frozen.store(true, Ordering::SeqCst);
        })
    }

    fn thaw(&self) -> BoxFuture<'_, ()> {
        self.frozen.store(false, Ordering::SeqCst);
        Box::pin(async {})
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.die();
        Box::pin(async {})
    }

    fn leave(&self) -> BoxFuture<'_, bool> {
        assert_eq!(self.in_flight.load(Ordering::SeqCst), 0, "left in a call");
        self.left.store(true, Ordering::SeqCst);
        Box::pin(async { true })
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(10 << 20)
    }
}

fn execution(end: End, payload: &str) -> Execution {
    Execution {
        version: model::VersionId::Latest,
        outcome: Outcome {
            end,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        },
        start: StartKind::Warm,
        timings: Timings {
            handler: Duration::from_millis(1),
            ..Timings::default()
        },
        billed: Duration::from_millis(1),
        memory_used_mb: 10,
        log_tail: None,
    }
}
