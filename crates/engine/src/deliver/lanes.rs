//! The queues of events, one for each function, and whose turn it is: a function takes at most as
//! many places for deliveries as it leaves to others, so that none holds up another, and no more
//! events than its concurrency has permits for: the others are held back in their queue. What is
//! here is derived from the store and dies with the process.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use model::FunctionId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Shared;
use crate::admission::{Gate, Permit};
use crate::error::ThrottleReason;
use crate::event;

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
    /// Those of `later` that are held back, in the order of their turns.
    held: VecDeque<Arc<str>>,
}

#[derive(Debug)]
struct Lane {
    /// Whose concurrency counts; none for the queue of an earlier program.
    function: Option<FunctionId>,
    stand: Stand,
    under_way: usize,
    /// Events that the next look asks for, if it may: more and more while there are as many.
    ask: usize,
    /// When the first of its events may grow too old, where it was held back since its last look.
    expires_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// In `ready`.
    Ready,
    /// Being looked at, and `again` if something happened since.
    Looking { again: bool },
    /// In `later`.
    Later { at_ms: u64 },
    /// In `later` and `held`: until a permit is given back, or an event grows too old.
    Held { at_ms: u64 },
    /// Nothing is in it that would come due by itself.
    Empty,
}

/// A look into a queue, with a place for each event that it may find.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) queue: Arc<str>,
    pub(super) count: usize,
    places: OwnedSemaphorePermit,
    /// One for each event, where the function is known and has any.
    pub(super) permits: Vec<Permit>,
    /// Why there is none. The look is then for events that grew too old.
    pub(super) refused: Option<ThrottleReason>,
}

/// What a look found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    /// As many events as it asked for, or not. The next is due then, if there is one.
    Events { all: bool, due_ms: Option<u64> },
    /// None but those that are held back. The first may grow too old then.
    Held { at_ms: u64 },
    /// The store could not tell; it is asked again then.
    Failed { at_ms: u64 },
}

impl Lanes {
    /// There may be something due in this queue.
    pub(crate) fn wake(&self, queue: &str) {
        let mut state = self.state.lock();
        let key = state.lanes.get_key_value(queue).map(|(key, _)| key.clone());
        let key = key.unwrap_or_else(|| Arc::from(queue));
        state.due(key, 0);
    }

    /// Looks for which there is room now, at most one into each queue.
    pub(super) fn looks(
        &self,
        now_ms: u64,
        places: &Arc<Semaphore>,
        gate: impl Fn(&FunctionId) -> Option<Arc<Gate>>,
    ) -> Vec<Look> {
        let mut state = self.state.lock();
        state.come_due(now_ms);
        let mut looks = Vec::new();
        for queue in std::mem::take(&mut state.ready) {
            let Some((count, function)) = state.share(&queue, places) else {
                state.ready.push_back(queue);
                continue;
            };
            let gate = function.as_ref().and_then(&gate);
            let permits = gate.map_or(Ok(Vec::new()), |gate| permits(&gate, count));
            looks.extend(state.look(&queue, count, permits, now_ms, places));
        }
        looks
    }

    /// What is held back has its turn again, as there may be permits.
    pub(super) fn let_go(&self) {
        let mut state = self.state.lock();
        for queue in std::mem::take(&mut state.held) {
            state.set(&queue, Stand::Ready);
        }
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
            Found::Events { all: true, .. } => lane.ask.saturating_mul(2),
            Found::Events { .. } | Found::Failed { .. } => 1,
            Found::Held { .. } => lane.ask,
        };
        lane.expires_ms = match found {
            Found::Held { at_ms } => Some(at_ms),
            Found::Events { .. } | Found::Failed { .. } => None,
        };
        let to = match found {
            Found::Failed { at_ms } => Stand::Later { at_ms },
            Found::Held { at_ms } => Stand::Held { at_ms },
            Found::Events { .. } if again => Stand::Ready,
            Found::Events { due_ms, .. } => {
                due_ms.map_or(Stand::Empty, |at_ms| Stand::Later { at_ms })
            }
        };
        state.set(queue, to);
    }

    /// A delivery out of this queue begins.
    fn begun(&self, queue: &Arc<str>) {
        if let Some(lane) = self.state.lock().lanes.get_mut(queue) {
            lane.under_way += 1;
        }
    }

    /// A delivery has ended, and its event is due again then, if it is.
    fn ended(&self, queue: &Arc<str>, due_ms: Option<u64>) {
        let mut state = self.state.lock();
        let Some(lane) = state.lanes.get_mut(queue) else {
            return;
        };
        lane.under_way = lane.under_way.saturating_sub(1);
        match due_ms {
            Some(due_ms) => state.due(Arc::clone(queue), due_ms),
            None if lane.stand == Stand::Empty => state.set(queue, Stand::Empty),
            None => {}
        }
    }
}

impl State {
    /// Something in this queue is due then.
    fn due(&mut self, queue: Arc<str>, due_ms: u64) {
        let stand = self.lanes.get(&queue).map(|lane| lane.stand);
        let to = match stand {
            // What is held back waits for more than this.
            Some(Stand::Ready | Stand::Held { .. }) => return,
            Some(Stand::Looking { .. }) => Stand::Looking { again: true },
            Some(Stand::Later { at_ms }) if at_ms <= due_ms => return,
            Some(Stand::Later { .. } | Stand::Empty) | None => Stand::Later { at_ms: due_ms },
        };
        if stand.is_none() {
            let lane = Lane {
                function: event::function_of(&queue),
                stand: Stand::Empty,
                under_way: 0,
                ask: 1,
                expires_ms: None,
            };
            self.lanes.insert(Arc::clone(&queue), lane);
        }
        self.set(&queue, to);
    }

    fn set(&mut self, queue: &Arc<str>, to: Stand) {
        let Some(lane) = self.lanes.get_mut(queue) else {
            return;
        };
        if let Stand::Later { at_ms } | Stand::Held { at_ms } = lane.stand {
            self.later.remove(&(at_ms, Arc::clone(queue)));
        }
        if let Stand::Held { .. } = lane.stand {
            self.held.retain(|held| held != queue);
        }
        lane.stand = to;
        match to {
            Stand::Ready => self.ready.push_back(Arc::clone(queue)),
            Stand::Later { at_ms } => drop(self.later.insert((at_ms, Arc::clone(queue)))),
            Stand::Held { at_ms } => {
                self.later.insert((at_ms, Arc::clone(queue)));
                self.held.push_back(Arc::clone(queue));
            }
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

    /// How many events a queue may have looked for now, if any, and whose they are.
    fn share(
        &self,
        queue: &Arc<str>,
        places: &Arc<Semaphore>,
    ) -> Option<(usize, Option<FunctionId>)> {
        let lane = self.lanes.get(queue)?;
        // With these, it has as many places as are left, or one more.
        let share = (places.available_permits() + 1).saturating_sub(lane.under_way) / 2;
        let count = share.min(lane.ask);
        (count > 0).then(|| (count, lane.function.clone()))
    }

    /// A look with what permits there are; none where there are none and nothing can have grown
    /// too old.
    fn look(
        &mut self,
        queue: &Arc<str>,
        share: usize,
        permits: Result<Vec<Permit>, ThrottleReason>,
        now_ms: u64,
        places: &Arc<Semaphore>,
    ) -> Option<Look> {
        let (permits, refused) = match permits {
            Ok(permits) => (permits, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let expires_ms = self.lanes.get(queue)?.expires_ms;
        if let Some(at_ms) = expires_ms.filter(|at_ms| refused.is_some() && *at_ms > now_ms) {
            self.set(queue, Stand::Held { at_ms });
            return None;
        }
        let count = if permits.is_empty() {
            share
        } else {
            permits.len()
        };
        let wanted = u32::try_from(count).ok()?;
        let Ok(places) = Arc::clone(places).try_acquire_many_owned(wanted) else {
            self.ready.push_back(Arc::clone(queue));
            return None;
        };
        self.set(queue, Stand::Looking { again: false });
        Some(Look {
            queue: Arc::clone(queue),
            count,
            places,
            permits,
            refused,
        })
    }
}

/// Up to `count` permits; the reason where there is not one, and delivery is woken once there is.
fn permits(gate: &Arc<Gate>, count: usize) -> Result<Vec<Permit>, ThrottleReason> {
    let first = gate.enter_or_await()?;
    let more = (1..count).map_while(|_| gate.enter().ok());
    Ok(std::iter::once(first).chain(more).collect())
}

impl Look {
    /// The place of one of the events.
    pub(super) fn place(&mut self, shared: &Arc<Shared>) -> Option<Place> {
        let permit = self.places.split(1)?;
        shared.events.lanes.begun(&self.queue);
        Some(Place {
            shared: Arc::clone(shared),
            queue: Arc::clone(&self.queue),
            due_ms: Some(0),
            permit: Some(permit),
        })
    }
}

/// The place of a delivery; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    pub(super) queue: Arc<str>,
    /// When its event is due again, if it is; at once where that is not known.
    pub(super) due_ms: Option<u64>,
    /// None only while it is dropped.
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        let events = &self.shared.events;
        events.lanes.ended(&self.queue, self.due_ms);
        events.wake.notify_one();
    }
}
