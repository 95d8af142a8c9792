//! The instances of one revision: which have a free slot, who waits for one, how many are being
//! started. Everything here happens under one short lock and none of it waits.

mod held;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::held::Held;
pub(crate) use self::held::{HOLD_MAX, STALLED_MAX};

use crate::instance::{Live, Phase, Slot};
use crate::port::{FailedInit, StartError, Waited};

/// Failed initialisations in a row after which starts are spaced out.
const FAILURES_FREE: u32 = 10;
/// How far apart starts are then.
const FAILING_START_EVERY: Duration = Duration::from_secs(1);

/// What becomes of one who waited for a slot.
#[derive(Debug)]
pub(crate) enum Placed {
    /// It has one. `waited.kind` is none where the instance came back from another invocation.
    Slot {
        slot: Slot,
        waited: Waited,
        /// How much of the function's timeout initialisation has used up.
        spent: Duration,
    },
    /// The function failed to initialise.
    Failed {
        failed: Box<dyn FailedInit>,
        waited: Waited,
    },
    /// The start failed through no fault of the initialisation.
    CannotStart(StartError),
}

/// What a pool has for one who needs a slot.
#[derive(Debug)]
pub(crate) enum Take {
    /// A slot of an instance that is there.
    Slot(Slot),
    /// A place in the queue, for an instance that is being started or comes back sooner.
    Wait(oneshot::Receiver<Placed>),
    /// The same, and the start that it is for has to be made now.
    Start(oneshot::Receiver<Placed>),
    /// A place in the queue for a slot that will be free in a moment, for [`HOLD_MAX`] at most.
    Held(oneshot::Receiver<Slot>),
    /// Nothing; an instance has to be started.
    Missing,
    /// Nothing, and none may be started yet, so often did that fail.
    Failing,
    /// The revision has been replaced or removed.
    Closed,
}

/// The instances of one revision.
///
/// Everyone who waits has a start of their own, under way or waiting for its turn, so no more
/// wait than are being started. A start that ends serves the longest waiting, whoever it was
/// begun for.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Instances with a free slot, the most recently used last.
    open: Vec<Arc<Live>>,
    /// Longest waiting first. One whose receiver is gone is passed over.
    waiters: VecDeque<oneshot::Sender<Placed>>,
    held: Held,
    starting: usize,
    closed: bool,
    /// Initialisations that failed since one last succeeded.
    failures: u32,
    /// When the next start may begin, once starts are spaced out.
    start_at: Duration,
}

impl Pool {
    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A slot, or a place in the queue where an instance is being started that nobody waits for,
    /// or among those that are held once `hold_from` are at work.
    pub(crate) fn take(&self, now: Duration, hold_from: usize) -> Take {
        let mut state = self.lock();
        if !state.closed
            && let Some(held) = state.held.hold(hold_from)
        {
            return Take::Held(held);
        }
        let (take, dead) = state.take(now);
        drop(state);
        dead.into_iter().for_each(|live| live.retire());
        take
    }

    /// How often a slot has been given back so far.
    pub(crate) fn given_back(&self) -> u64 {
        self.lock().held.left()
    }

    /// The same, for one who is ready to start an instance.
    pub(crate) fn take_or_start(&self, now: Duration) -> Take {
        let mut state = self.lock();
        let (take, dead) = state.take(now);
        let take = match take {
            Take::Missing => Take::Start(state.begin_start(now)),
            other => other,
        };
        drop(state);
        dead.into_iter().for_each(|live| live.retire());
        take
    }

    /// An instance is initialised: it goes to whoever waits longest, else it is kept. Answers
    /// whether it is to be retired at once.
    pub(crate) fn started(
        &self,
        live: &Arc<Live>,
        now: Duration,
        waited: Waited,
        spent: Duration,
    ) -> bool {
        let mut state = self.lock();
        state.starting = state.starting.saturating_sub(1);
        state.failures = 0;
        live.set_phase(Phase::Serving);
        if !state.serve(live, now, |slot| Placed::Slot {
            slot,
            waited,
            spent,
        }) {
            live.park();
        }
        state.settle(live)
    }

    /// An instance that an earlier process has left is there. Answers whether it is to be retired at
    /// once.
    pub(crate) fn resumed(&self, live: &Arc<Live>) -> bool {
        let mut state = self.lock();
        live.set_phase(Phase::Serving);
        state.settle(live)
    }

    /// A start ended without an instance: so it ends for whoever waits longest.
    pub(crate) fn not_started(&self, placed: Placed) {
        let mut state = self.lock();
        state.starting = state.starting.saturating_sub(1);
        if matches!(placed, Placed::Failed { .. }) {
            state.failures = state.failures.saturating_add(1);
        }
        let mut placed = placed;
        while let Some(waiter) = state.waiters.pop_front() {
            match waiter.send(placed) {
                Ok(()) => return,
                Err(back) => placed = back,
            }
        }
    }

    /// Counts one start less where more are to be made than there are who wait. Answers whether
    /// it did: the start is then not to begin.
    pub(crate) fn give_up_spare(&self) -> bool {
        let mut state = self.lock();
        let spare = state.starting > state.waiters.len();
        state.starting -= usize::from(spare);
        spare
    }

    /// Whether anybody waits for a start.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.lock().waiters.iter().any(|waiter| !waiter.is_closed())
    }

    /// Whether it takes no more requests.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes no more requests: idle instances are stopped, busy ones once they have finished.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.held.release();
        let open = std::mem::take(&mut state.open);
        let idle: Vec<_> = open.into_iter().filter(|live| live.begin_end()).collect();
        drop(state);
        idle.into_iter().for_each(|live| live.retire());
    }
}

impl State {
    fn take(&mut self, now: Duration) -> (Take, Vec<Arc<Live>>) {
        let mut dead = Vec::new();
        if self.closed {
            return (Take::Closed, dead);
        }
        while let Some(live) = self.open.last() {
            if live.is_alive() {
                let live = Arc::clone(live);
                let slot = self.enter(&live, now);
                if live.is_full() {
                    self.open.pop();
                }
                return (Take::Slot(slot), dead);
            }
            dead.extend(self.open.pop().filter(|live| live.begin_end()));
        }
        let take = if self.starting > self.waiters.len() {
            Take::Wait(self.wait())
        } else if self.failures >= FAILURES_FREE && now < self.start_at {
            Take::Failing
        } else {
            Take::Missing
        };
        (take, dead)
    }

    fn wait(&mut self) -> oneshot::Receiver<Placed> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.push_back(sender);
        receiver
    }

    fn begin_start(&mut self, now: Duration) -> oneshot::Receiver<Placed> {
        self.starting += 1;
        if self.failures >= FAILURES_FREE {
            self.start_at = now + FAILING_START_EVERY;
        }
        self.wait()
    }

    fn enter(&mut self, live: &Arc<Live>, now: Duration) -> Slot {
        self.held.enter();
        live.enter(now)
    }

    /// Gives back by hand what nobody took: dropping it would take the lock that is held.
    fn undo(&mut self, slot: Slot) {
        self.held.undo();
        slot.undo();
    }

    /// A request has given its slot back, after so long.
    pub(crate) fn left(&mut self, took: Duration, hold_from: usize) {
        self.held.leave(took, hold_from);
    }

    /// Gives free slots of an instance to those who wait for a start. Answers whether any was
    /// taken.
    pub(crate) fn serve(
        &mut self,
        live: &Arc<Live>,
        now: Duration,
        placed: impl Fn(Slot) -> Placed,
    ) -> bool {
        let mut served = false;
        while live.is_alive() && !live.is_full() {
            let Some(waiter) = self.waiters.pop_front() else {
                break;
            };
            match waiter.send(placed(self.enter(live, now))) {
                Ok(()) => served = true,
                Err(Placed::Slot { slot, .. }) => self.undo(slot),
                Err(_) => {}
            }
        }
        served
    }

    /// Gives free slots of an instance to those who are held.
    pub(crate) fn serve_held(&mut self, live: &Arc<Live>, now: Duration) {
        while live.is_alive() && !live.is_full() {
            let Some(waiter) = self.held.next() else {
                break;
            };
            if let Err(slot) = waiter.send(self.enter(live, now)) {
                self.undo(slot);
            }
        }
    }

    /// Puts an instance where it belongs after its requests changed: last among the open ones,
    /// or on its way out. Answers whether it is to be retired now.
    pub(crate) fn settle(&mut self, live: &Arc<Live>) -> bool {
        // One with a single slot left the open ones when that was taken.
        if live.slots() > 1 {
            self.open.retain(|open| !Arc::ptr_eq(open, live));
        }
        if self.closed || !live.is_alive() {
            return live.begin_end();
        }
        if !live.is_full() {
            self.open.push(Arc::clone(live));
        }
        false
    }

    /// Takes an instance out of use if nothing is in flight on it. Answers whether it is to be
    /// retired now.
    pub(crate) fn evict(&mut self, live: &Arc<Live>) -> bool {
        if live.in_flight() > 0 || live.phase() != Phase::Serving {
            return false;
        }
        self.open.retain(|open| !Arc::ptr_eq(open, live));
        live.begin_end()
    }

    /// Takes an instance out of use that has ended by itself.
    pub(crate) fn died(&mut self, live: &Arc<Live>) -> bool {
        self.open.retain(|open| !Arc::ptr_eq(open, live));
        live.begin_end()
    }
}

impl Live {
    /// Whether its slots are all in use. Under the pool's lock.
    fn is_full(&self) -> bool {
        self.in_flight() >= self.slots()
    }

    /// Leaves the serving phase. Answers whether nothing is in flight, and nobody else has been
    /// answered so. Under the pool's lock.
    pub(crate) fn begin_end(&self) -> bool {
        let idle = self.in_flight() == 0;
        let first = self.phase() != Phase::Gone;
        if first {
            self.set_phase(if idle { Phase::Gone } else { Phase::Draining });
        }
        idle && first
    }

    /// Remembers that it was started ahead of anyone who needed it.
    fn park(&self) {
        self.parked.store(true, Ordering::Release);
    }
}
