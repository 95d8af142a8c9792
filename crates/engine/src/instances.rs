//! All live instances of the node and the memory that is set aside for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{FunctionId, InstanceId};
use parking_lot::Mutex;
use store::Clock;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::catalog::Revision;
use crate::error::ThrottleReason;
use crate::idle::Timer;
use crate::instance::{Live, Phase};
use crate::stats::{InstanceState, InstanceView};
use crate::turns::Turns;

/// All live instances of the node.
#[derive(Debug)]
pub(crate) struct Instances {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) handle: Handle,
    pub(crate) freeze_after: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) memory_mb_max: u64,
    pub(crate) timer: Timer,
    pub(crate) turns: Turns,
    pub(crate) hold_from: usize,
    /// Never taken while a pool's lock is held; the other way round is allowed.
    placed: Mutex<Placements>,
    /// Notified when an instance is gone.
    gone: Notify,
    /// Notified when a version or the last of its instances may have left something behind.
    pub(crate) left_over: Notify,
}

#[derive(Debug, Default)]
struct Placements {
    /// What is charged to all of them together, in MB.
    memory_mb: u64,
    live: HashMap<InstanceId, Arc<Live>>,
}

impl Instances {
    pub(crate) fn new(config: &crate::Config, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            handle: Handle::current(),
            freeze_after: config.freeze_after,
            keep_alive: config.keep_alive,
            memory_mb_max: config.memory_mb_max,
            timer: Timer::default(),
            turns: Turns::new(config.starts_at_once),
            hold_from: config.hold_from,
            placed: Mutex::default(),
            gone: Notify::new(),
            left_over: Notify::new(),
        })
    }

    /// Sets memory aside for one more instance. Where there is none left, instances on their
    /// way out and then idle ones, least recently used first, give theirs; the new one has to
    /// wait until those are stopped, and may then start.
    pub(crate) fn place(
        self: &Arc<Self>,
        revision: &Arc<Revision>,
    ) -> Result<(Arc<Live>, Vec<Arc<Live>>), ThrottleReason> {
        let wanted = u64::from(revision.config.memory_mb);
        let mut placed = self.placed.lock();
        let free = self.memory_mb_max.saturating_sub(placed.memory_mb);
        let missing = wanted.saturating_sub(free);
        let givers = if missing == 0 {
            Vec::new()
        } else {
            placed.givers(missing)?
        };
        let mut taken = 0;
        let mut stopping = Vec::new();
        for live in givers {
            if taken == missing {
                break;
            }
            // One that got a request since it was looked at is passed over.
            if live.phase() == Phase::Gone || live.evict() {
                taken += live.give(missing - taken);
                stopping.push(live);
            }
        }
        if taken < missing {
            // What was given for nothing is free once those who gave it are stopped.
            if let Some(giver) = stopping.first() {
                giver.charged_mb.fetch_add(taken, Ordering::AcqRel);
            }
            return Err(ThrottleReason::NodeMemory);
        }
        placed.memory_mb += wanted - taken;
        let id = InstanceId::from_random(self.clock.random_id());
        let live = Live::new(id.clone(), revision, self, wanted, Duration::ZERO);
        placed.live.insert(id, Arc::clone(&live));
        Ok((live, stopping))
    }

    /// Sets memory aside for an instance that is there already, if there is room.
    pub(crate) fn place_left(
        self: &Arc<Self>,
        revision: &Arc<Revision>,
        id: InstanceId,
        aged: Duration,
    ) -> Option<Arc<Live>> {
        let wanted = u64::from(revision.config.memory_mb);
        let mut placed = self.placed.lock();
        if placed.memory_mb + wanted > self.memory_mb_max || placed.live.contains_key(&id) {
            return None;
        }
        placed.memory_mb += wanted;
        let live = Live::new(id.clone(), revision, self, wanted, aged);
        placed.live.insert(id, Arc::clone(&live));
        Some(live)
    }

    /// Nothing is left of an instance; its memory is free.
    pub(crate) fn forget(&self, live: &Live) {
        let mut placed = self.placed.lock();
        if placed.live.remove(&live.id).is_some() {
            let charged = live.charged_mb.swap(0, Ordering::AcqRel);
            placed.memory_mb = placed.memory_mb.saturating_sub(charged);
        }
        drop(placed);
        self.gone.notify_waiters();
        if live.revision.pool.is_closed() {
            self.left_over.notify_one();
        }
    }

    /// Has the timer look at an instance at that time, unless it will look sooner.
    pub(crate) fn arm(&self, live: &Arc<Live>, at: Duration) {
        if live.advance_timer(at) {
            self.timer.push(at, live);
        }
    }

    /// The live instances of one function.
    pub(crate) fn of(&self, function: &FunctionId) -> Vec<InstanceView> {
        let of = |live: &&Arc<Live>| live.revision.function == *function;
        let mut views: Vec<_> = self
            .all()
            .iter()
            .filter(of)
            .map(|live| live.view())
            .collect();
        views.sort_by(|a, b| a.id.cmp(&b.id));
        views
    }

    /// The live instances of all functions that are wanted.
    pub(crate) fn by_function(
        &self,
        wanted: impl Fn(&FunctionId) -> bool,
    ) -> HashMap<FunctionId, Vec<InstanceView>> {
        let mut views: HashMap<FunctionId, Vec<InstanceView>> = HashMap::new();
        for live in self.all() {
            let function = &live.revision.function;
            if wanted(function) {
                views.entry(function.clone()).or_default().push(live.view());
            }
        }
        for views in views.values_mut() {
            views.sort_by(|a, b| a.id.cmp(&b.id));
        }
        views
    }

    pub(crate) fn all(&self) -> Vec<Arc<Live>> {
        self.placed.lock().live.values().cloned().collect()
    }

    pub(crate) fn memory_mb(&self) -> u64 {
        self.placed.lock().memory_mb
    }

    /// How many are in each state, and how many are frozen.
    pub(crate) fn count(&self) -> (Vec<(InstanceState, u64)>, u64) {
        let all = self.all();
        let states: Vec<InstanceState> = all.iter().map(|live| live.state()).collect();
        let count = |state| states.iter().filter(|it| **it == state).count() as u64;
        let counts = InstanceState::ALL.map(|state| (state, count(state)));
        let frozen = all.iter().filter(|live| live.is_frozen()).count();
        (counts.to_vec(), frozen as u64)
    }

    /// Resolves once no instance is left.
    pub(crate) async fn none_left(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            gone.as_mut().enable();
            if self.placed.lock().live.is_empty() {
                return;
            }
            gone.await;
        }
    }
}

impl Placements {
    /// Instances that could give `missing` MB, in the order in which they are asked; an error
    /// where all of them together could not.
    fn givers(&self, missing: u64) -> Result<Vec<Arc<Live>>, ThrottleReason> {
        let mut givers: Vec<Arc<Live>> = self
            .live
            .values()
            .filter(|live| live.could_give())
            .cloned()
            .collect();
        let all: u64 = givers
            .iter()
            .map(|live| live.charged_mb.load(Ordering::Acquire))
            .sum();
        if all < missing {
            return Err(ThrottleReason::NodeMemory);
        }
        givers.sort_by_key(|live| (live.phase() != Phase::Gone, live.idle_since()));
        Ok(givers)
    }
}

impl Live {
    /// Whether it is idle, or stopping with memory that nobody has taken over yet.
    fn could_give(&self) -> bool {
        match self.phase() {
            Phase::Serving => self.in_flight() == 0,
            Phase::Gone => self.charged_mb.load(Ordering::Acquire) > 0,
            Phase::Starting | Phase::Draining => false,
        }
    }

    /// Hands over up to `most` MB of what is charged to it.
    fn give(&self, most: u64) -> u64 {
        let charged = self.charged_mb.load(Ordering::Acquire);
        let given = charged.min(most);
        self.charged_mb.store(charged - given, Ordering::Release);
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Account, Gate};
    use crate::record::tests::{config, id};

    #[tokio::test]
    async fn memory_given_for_nothing_is_free_once_its_giver_is_stopped() {
        let limits = crate::Config {
            account_concurrency: 1,
            memory_mb_max: 128,
            starts_at_once: 1,
            hold_from: usize::MAX,
            keep_alive: Duration::ZERO,
            freeze_after: Duration::ZERO,
        };
        let instances = Instances::new(&limits, Arc::new(store::SystemClock::new()));
        let gate = Arc::new(Gate::new(Arc::new(Account::new(1, &Arc::default())), None));
        let version = model::VersionId::Latest;
        let revision = Revision::new(&id(), version, config(), &gate, None);
        let (giver, _) = instances.place(&revision).unwrap();
        giver.set_phase(Phase::Serving);
        let (live, stopping) = instances.place(&revision).unwrap();
        assert_eq!(stopping.len(), 1);
        live.abandon(stopping);
        assert_eq!(instances.memory_mb(), 128, "the giver has yet to stop");
        instances.none_left().await;
        assert_eq!(instances.memory_mb(), 0);
    }
}
