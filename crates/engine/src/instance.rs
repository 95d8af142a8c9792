//! One live instance as the engine keeps it, and the slot of one that an invocation holds.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use model::{Execution, InstanceId, limit};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::catalog::Revision;
use crate::instances::Instances;
use crate::pool::Placed;
use crate::port::{Call, Instance, Settled, Waited};
use crate::stats::{InstanceState, InstanceView};

/// Where an instance is in its life. Changed only under its pool's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Starting,
    /// Takes requests.
    Serving,
    /// Takes none; ends when those it has are done.
    Draining,
    /// Being stopped, or stopped.
    Gone,
}

/// An instance from the moment memory is set aside for it until it is stopped.
pub(crate) struct Live {
    pub(crate) id: InstanceId,
    pub(crate) revision: Arc<Revision>,
    pub(crate) instances: Arc<Instances>,
    /// Set once it is initialised; never changed after.
    instance: OnceLock<Arc<dyn Instance>>,
    /// Memory that is set aside for it, in MB; changed under the lock of `instances` only, where
    /// an instance that takes its place takes it over.
    pub(crate) charged_mb: AtomicU64,
    phase: AtomicU8,
    in_flight: AtomicU32,
    /// When its start began, on the monotonic clock; of one that an earlier process has left, when
    /// this one resumed it.
    born: Duration,
    /// How old it was then.
    aged: Duration,
    /// Whether it was started ahead and has not served yet.
    pub(crate) parked: AtomicBool,
    /// When it last became idle, in microseconds of the monotonic clock.
    idle_since_us: AtomicU64,
    /// When the timer will look at it, in the same unit; `u64::MAX` where it will not.
    timer_us: AtomicU64,
    frozen: AtomicBool,
    freezing: AtomicBool,
    /// Held while it is being frozen or stopped.
    still: Arc<tokio::sync::Mutex<()>>,
    stopped: tokio::sync::watch::Sender<bool>,
    /// Ends when the instance does; aborted with it.
    watcher: Mutex<Option<AbortHandle>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("id", &self.id)
            .field("phase", &self.phase())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Live {
    pub(crate) fn new(
        id: InstanceId,
        revision: &Arc<Revision>,
        instances: &Arc<Instances>,
        charged_mb: u64,
        aged: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            revision: Arc::clone(revision),
            instances: Arc::clone(instances),
            instance: OnceLock::new(),
            charged_mb: AtomicU64::new(charged_mb),
            phase: AtomicU8::new(Phase::Starting as u8),
            in_flight: AtomicU32::new(0),
            born: instances.clock.monotonic(),
            aged,
            parked: AtomicBool::new(false),
            idle_since_us: AtomicU64::new(0),
            timer_us: AtomicU64::new(u64::MAX),
            frozen: AtomicBool::new(false),
            freezing: AtomicBool::new(false),
            still: Arc::default(),
            stopped: tokio::sync::watch::Sender::new(false),
            watcher: Mutex::new(None),
        })
    }

    /// The instance is initialised: it joins its pool.
    pub(crate) fn ready(
        self: &Arc<Self>,
        instance: Arc<dyn Instance>,
        waited: Waited,
        spent: Duration,
    ) {
        let gone = instance.gone();
        // Only the start that made it gets here, once.
        let _ = self.instance.set(instance);
        let now = self.instances.clock.monotonic();
        self.idle_since_us.store(micros(now), Ordering::Release);
        let retired = self.revision.pool.started(self, now, waited, spent);
        self.after_settling(retired, now);
        // With more than one slot it may have served more than the one it was started for.
        self.instances.turns.give_up_spares(&self.revision);
        self.watch(gone);
    }

    /// An instance that an earlier process has left joins its pool, idle.
    pub(crate) fn resumed(self: &Arc<Self>, instance: Arc<dyn Instance>) {
        let gone = instance.gone();
        // Only whoever resumes it gets here, once.
        let _ = self.instance.set(instance);
        let now = self.instances.clock.monotonic();
        self.idle_since_us.store(micros(now), Ordering::Release);
        let retired = self.revision.pool.resumed(self);
        self.after_settling(retired, now);
        self.watch(gone);
    }

    fn watch(self: &Arc<Self>, gone: BoxFuture<'static, ()>) {
        let live = Arc::clone(self);
        let watcher = self.instances.handle.spawn(async move {
            gone.await;
            live.died();
        });
        *self.watcher.lock() = Some(watcher.abort_handle());
        if self.phase() == Phase::Gone {
            self.unwatch();
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            2 => Phase::Draining,
            _ => Phase::Gone,
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Requests it can hold at once; none until it is initialised.
    pub(crate) fn slots(&self) -> u32 {
        self.instance
            .get()
            .map_or(0, |instance| instance.slots().max(1))
    }

    /// Whether it can serve.
    pub(crate) fn is_alive(&self) -> bool {
        self.phase() == Phase::Serving && self.instance.get().is_some_and(|it| it.is_alive())
    }

    pub(crate) fn idle_since(&self) -> Duration {
        Duration::from_micros(self.idle_since_us.load(Ordering::Acquire))
    }

    /// Takes one slot. Under the pool's lock.
    pub(crate) fn enter(self: &Arc<Self>, now: Duration) -> Slot {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.frozen.store(false, Ordering::Release);
        Slot {
            live: Some(Arc::clone(self)),
            begun: false,
            since: now,
        }
    }

    /// A request has ended; the slot goes to whoever waits, else it is free.
    fn leave(self: &Arc<Self>, since: Duration, broken: bool) {
        let now = self.instances.clock.monotonic();
        self.idle_since_us.store(micros(now), Ordering::Release);
        let mut state = self.revision.pool.lock();
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        state.left(now.saturating_sub(since), self.instances.hold_from);
        let age = self.aged.saturating_add(now.saturating_sub(self.born));
        let old = age >= limit::INSTANCE_AGE_MAX;
        if (broken || old) && self.phase() == Phase::Serving {
            self.set_phase(Phase::Draining);
        }
        let served = state.serve(self, now, |slot| Placed::Slot {
            slot,
            waited: Waited::default(),
            spent: Duration::ZERO,
        });
        state.serve_held(self, now);
        let retired = state.settle(self);
        drop(state);
        self.after_settling(retired, now);
        if served {
            self.instances.turns.give_up_spares(&self.revision);
        }
    }

    /// What settling leaves to be done once the pool's lock is gone.
    fn after_settling(self: &Arc<Self>, retired: bool, now: Duration) {
        if retired {
            self.retire();
        } else if self.in_flight() == 0 {
            self.instances.arm(self, now + self.instances.freeze_after);
        }
    }

    /// It ended by itself.
    fn died(self: &Arc<Self>) {
        if self.revision.pool.lock().died(self) {
            self.retire();
        }
    }

    /// Takes it out of use if it is idle, and stops it. Answers whether it did.
    pub(crate) fn evict(self: &Arc<Self>) -> bool {
        let evicted = self.revision.pool.lock().evict(self);
        if evicted {
            self.retire();
        }
        evicted
    }

    /// Stops it off the caller's path. Only for whoever moved it to [`Phase::Gone`].
    pub(crate) fn retire(self: &Arc<Self>) {
        let live = Arc::clone(self);
        self.instances.handle.spawn(async move { live.end().await });
    }

    /// Ends what was never initialised: only its memory is to be given back.
    pub(crate) fn forget(self: &Arc<Self>) {
        self.set_phase(Phase::Gone);
        self.instances.forget(self);
        self.stopped.send_replace(true);
    }

    /// Ends what was never begun. The memory that others gave for it is free once they are
    /// stopped, and not before.
    pub(crate) fn abandon(self: &Arc<Self>, stopping: Vec<Arc<Self>>) {
        if stopping.is_empty() {
            return self.forget();
        }
        self.set_phase(Phase::Gone);
        let live = Arc::clone(self);
        self.instances.handle.spawn(async move {
            for giver in stopping {
                giver.stopped().await;
            }
            live.forget();
        });
    }

    async fn end(self: Arc<Self>) {
        self.unwatch();
        let still = self.still.lock().await;
        if let Some(instance) = self.instance.get() {
            instance.stop().await;
        }
        drop(still);
        self.forget();
    }

    /// Lets go of it if it is idle, for a later process to resume; ends it where that cannot be.
    pub(crate) async fn let_go(self: Arc<Self>) {
        if !self.revision.pool.lock().evict(&self) {
            return;
        }
        self.unwatch();
        let still = self.still.lock().await;
        if let Some(instance) = self.instance.get()
            && !instance.leave().await
        {
            instance.stop().await;
        }
        drop(still);
        self.forget();
    }

    fn unwatch(&self) {
        if let Some(watcher) = self.watcher.lock().take() {
            watcher.abort();
        }
    }

    /// Ends it whatever it is doing.
    pub(crate) async fn kill(self: Arc<Self>) {
        if let Some(instance) = self.instance.get() {
            instance.stop().await;
        }
        self.died();
    }

    /// Resolves once nothing of it is left.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Notes when the timer will look at it next; answers whether it would have looked too late.
    pub(crate) fn advance_timer(&self, at: Duration) -> bool {
        self.timer_us.fetch_min(micros(at), Ordering::AcqRel) > micros(at)
    }

    /// The timer looks at it now, if it meant to at that time.
    pub(crate) fn clear_timer(&self, at: Duration) -> bool {
        let at = micros(at);
        self.timer_us
            .compare_exchange(at, u64::MAX, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Whether the timer means to look at it at that time.
    pub(crate) fn is_timed(&self, at: Duration) -> bool {
        self.timer_us.load(Ordering::Acquire) == micros(at)
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Freezes it if nothing is in flight; a request that arrives meanwhile waits until that is
    /// done, and thaws it.
    pub(crate) fn freeze(self: &Arc<Self>) {
        let state = self.revision.pool.lock();
        let idle = self.in_flight() == 0 && self.phase() == Phase::Serving && !self.is_frozen();
        let Some(still) = Arc::clone(&self.still)
            .try_lock_owned()
            .ok()
            .filter(|_| idle)
        else {
            return;
        };
        self.freezing.store(true, Ordering::Release);
        drop(state);
        let live = Arc::clone(self);
        self.instances.handle.spawn(async move {
            if let Some(instance) = live.instance.get() {
                instance.freeze().await;
            }
            let state = live.revision.pool.lock();
            live.freezing.store(false, Ordering::Release);
            live.frozen.store(live.in_flight() == 0, Ordering::Release);
            drop(state);
            drop(still);
        });
    }

    /// As others see it.
    pub(crate) fn view(&self) -> InstanceView {
        InstanceView {
            id: self.id.clone(),
            version: self.revision.version,
            state: self.state(),
            frozen: self.is_frozen(),
            in_flight: self.in_flight(),
            memory_mb: self.revision.config.memory_mb,
            memory_bytes: self
                .instance
                .get()
                .and_then(|instance| instance.memory_bytes()),
        }
    }

    pub(crate) fn state(&self) -> InstanceState {
        match self.phase() {
            Phase::Starting => InstanceState::Starting,
            Phase::Serving if self.in_flight() == 0 => InstanceState::Idle,
            Phase::Serving if !self.revision.pool.is_closed() => InstanceState::Busy,
            Phase::Serving | Phase::Draining | Phase::Gone => InstanceState::Draining,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The right to run one request on an instance; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    /// None once it is given back.
    live: Option<Arc<Live>>,
    /// Whether a request was handed over whose end is not known.
    begun: bool,
    /// When it was taken, on the monotonic clock.
    since: Duration,
}

impl Slot {
    /// Whether this is the first use of an instance that was started ahead.
    pub(crate) fn unpark(&self) -> bool {
        self.live.as_ref().is_some_and(|live| {
            live.parked.load(Ordering::Acquire) && live.parked.swap(false, Ordering::AcqRel)
        })
    }

    /// Waits until nobody holds the instance still, and looks whether it can serve.
    pub(crate) async fn is_ready(&self) -> bool {
        let Some(live) = &self.live else { return false };
        if live.freezing.load(Ordering::Acquire) {
            drop(live.still.lock().await);
        }
        // Not whether it takes more requests: this one it has taken already.
        live.instance
            .get()
            .is_some_and(|instance| instance.is_alive())
    }

    /// Runs the request, once [`Slot::is_ready`] has waited. If this future is dropped before its end, so is the instance: what
    /// state it is in nobody knows. Where it goes on after its answer, that holds the slot.
    pub(crate) async fn invoke(mut self, call: Call) -> Option<(Execution, Option<Settling>)> {
        let live = self.live.clone()?;
        self.begun = true;
        let instance = live.instance.get()?;
        let execution = instance.invoke(call).await;
        self.begun = false;
        let settled = instance.settling();
        let settling = settled.map(|settled| Settling {
            settled,
            slot: self,
        });
        Some((execution, settling))
    }

    /// Gives it back under the pool's lock, leaving everything else to the caller.
    pub(crate) fn undo(mut self) {
        if let Some(live) = self.live.take() {
            live.in_flight.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A request that is answered and not over.
pub(crate) struct Settling {
    settled: BoxFuture<'static, Option<Settled>>,
    slot: Slot,
}

impl Settling {
    /// Waits for its end, and gives the slot back; what it came to, if that can be told.
    pub(crate) async fn end(self) -> Option<Settled> {
        let settled = self.settled.await;
        drop(self.slot);
        settled
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            live.leave(self.since, self.begun);
        }
    }
}
