//! The queues of events, one for each function, and whose turn it is: a function takes at most as
//! many places for deliveries as it leaves to others, so that none holds up another. What is here
//! is derived from the store and dies with the process.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Shared;

/// Every queue that may hold events.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    state: Mutex<State>,
}

/// A lane is dropped when its queue is found empty.
#[derive(Debug, Default)]
struct State {
    lanes: HashMap<Arc<str>, Lane>,
    /// Those to look at now, in the order of their turns.
    ready: VecDeque<Arc<str>>,
    /// When to look at others, in milliseconds since the Unix epoch.
    later: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Debug)]
struct Lane {
    stand: Stand,
    under_way: usize,
    /// Events that the next look asks for, if it may: more and more while there are as many.
    ask: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// In `ready`.
    Ready,
    /// Being looked at, and `again` if something happened since.
    Looking { again: bool },
    /// In `later`.
    Later { at_ms: u64 },
    /// Nothing is in it that would come due by itself.
    Empty,
}

/// A look into a queue, with a place for each event that it may find.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) queue: Arc<str>,
    pub(super) count: usize,
    places: OwnedSemaphorePermit,
}

/// What a look found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    /// As many as it asked for; there may be more.
    All,
    /// Fewer, or none. The next is due then, if there is one.
    Fewer { due_ms: Option<u64> },
    /// The store could not tell; it is asked again then.
    Failed { at_ms: u64 },
}

impl Lanes {
    /// There may be something in this queue.
    pub(crate) fn wake(&self, queue: &str) {
        let mut state = self.state.lock();
        let key = state.lanes.get_key_value(queue).map(|(key, _)| key.clone());
        let key = key.unwrap_or_else(|| Arc::from(queue));
        state.wake(key);
    }

    /// Looks for which there is room now, at most one into each queue.
    pub(super) fn looks(&self, now_ms: u64, places: &Arc<Semaphore>) -> Vec<Look> {
        let mut state = self.state.lock();
        state.come_due(now_ms);
        let mut looks = Vec::new();
        for queue in std::mem::take(&mut state.ready) {
            match state.look(&queue, places) {
                Some(look) => looks.push(look),
                None => state.ready.push_back(queue),
            }
        }
        looks
    }

    /// When the next queue is to be looked into, in milliseconds since the Unix epoch.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.state.lock().later.first().map(|(at_ms, _)| *at_ms)
    }

    pub(super) fn looked(&self, queue: &Arc<str>, found: Found) {
        let mut state = self.state.lock();
        let Some(lane) = state.lanes.get_mut(queue) else {
            return;
        };
        let again = lane.stand == Stand::Looking { again: true };
        lane.ask = match found {
            Found::All => lane.ask.saturating_mul(2),
            Found::Fewer { .. } | Found::Failed { .. } => 1,
        };
        let to = match found {
            Found::Failed { at_ms } => Stand::Later { at_ms },
            Found::All => Stand::Ready,
            Found::Fewer { .. } if again => Stand::Ready,
            Found::Fewer { due_ms } => due_ms.map_or(Stand::Empty, |at_ms| Stand::Later { at_ms }),
        };
        state.set(queue, to);
    }

    /// A delivery out of this queue begins.
    fn begun(&self, queue: &Arc<str>) {
        if let Some(lane) = self.state.lock().lanes.get_mut(queue) {
            lane.under_way += 1;
        }
    }

    fn ended(&self, queue: &Arc<str>) {
        let mut state = self.state.lock();
        if let Some(lane) = state.lanes.get_mut(queue) {
            lane.under_way = lane.under_way.saturating_sub(1);
        }
        // It may have left its event for another time.
        state.wake(Arc::clone(queue));
    }
}

impl State {
    fn wake(&mut self, queue: Arc<str>) {
        let stand = self.lanes.get(&queue).map(|lane| lane.stand);
        let to = match stand {
            Some(Stand::Ready) => return,
            Some(Stand::Looking { .. }) => Stand::Looking { again: true },
            Some(Stand::Later { .. } | Stand::Empty) | None => Stand::Ready,
        };
        if stand.is_none() {
            let lane = Lane {
                stand: Stand::Empty,
                under_way: 0,
                ask: 1,
            };
            self.lanes.insert(Arc::clone(&queue), lane);
        }
        self.set(&queue, to);
    }

    fn set(&mut self, queue: &Arc<str>, to: Stand) {
        let Some(lane) = self.lanes.get_mut(queue) else {
            return;
        };
        if let Stand::Later { at_ms } = lane.stand {
            self.later.remove(&(at_ms, Arc::clone(queue)));
        }
        lane.stand = to;
        match to {
            Stand::Ready => self.ready.push_back(Arc::clone(queue)),
            Stand::Later { at_ms } => drop(self.later.insert((at_ms, Arc::clone(queue)))),
            Stand::Empty if lane.under_way == 0 => drop(self.lanes.remove(queue)),
            Stand::Looking { .. } | Stand::Empty => {}
        }
    }

    fn come_due(&mut self, now_ms: u64) {
        while let Some((at_ms, queue)) = self.later.first().cloned()
            && at_ms <= now_ms
        {
            self.set(&queue, Stand::Ready);
        }
    }

    fn look(&mut self, queue: &Arc<str>, places: &Arc<Semaphore>) -> Option<Look> {
        let lane = self.lanes.get(queue)?;
        let free = places.available_permits();
        // With these, it has as many as are left, or one more.
        let share = (free + 1).saturating_sub(lane.under_way) / 2;
        let count = share.min(lane.ask);
        let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
        let places = Arc::clone(places).try_acquire_many_owned(count).ok()?;
        self.set(queue, Stand::Looking { again: false });
        Some(Look {
            queue: Arc::clone(queue),
            count: count as usize,
            places,
        })
    }
}

impl Look {
    /// The place of one of the events.
    pub(super) fn place(&mut self, shared: &Arc<Shared>) -> Option<Place> {
        let permit = self.places.split(1)?;
        shared.events.lanes.begun(&self.queue);
        Some(Place {
            shared: Arc::clone(shared),
            queue: Arc::clone(&self.queue),
            permit: Some(permit),
        })
    }
}

/// The place of a delivery; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    pub(super) queue: Arc<str>,
    /// None only while it is dropped.
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        let events = &self.shared.events;
        events.lanes.ended(&self.queue);
        events.wake.notify_one();
    }
}
