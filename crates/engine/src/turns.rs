//! Whose turn it is to start. Starts need processors, so only a few are under way at once; the
//! others wait, and functions take turns.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::Shared;
use crate::catalog::Revision;
use crate::instance::Live;
use crate::start::Start;

/// How long a start has its place (ours: a few times what one takes that has a processor. One that
/// takes longer mostly waits for something else, and that many can do at once).
const PLACE_KEPT: Duration = Duration::from_millis(100);

/// The places for starts under way, and who waits for one.
#[derive(Debug)]
pub(crate) struct Turns {
    places: usize,
    /// Taken before a pool's lock, never while one is held.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// One for each function that waits, in the order of their turns. What waits is bounded by
    /// the memory that is set aside for it.
    waiting: VecDeque<VecDeque<Waiting>>,
}

/// A start that has not begun. Never empty in its function's list.
#[derive(Debug)]
struct Waiting {
    live: Arc<Live>,
    /// Whose memory it takes over.
    stopping: Vec<Arc<Live>>,
}

/// A place for a start; given back when dropped.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.instances.turns.state.lock().taken -= 1;
    }
}

impl Turns {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: places.max(1),
            state: Mutex::default(),
        }
    }

    /// Gives up starts of this revision that have not begun and that nobody waits for, so that
    /// their memory is not kept from others.
    pub(crate) fn give_up_spares(&self, revision: &Arc<Revision>) {
        let mut spares = Vec::new();
        {
            let mut state = self.state.lock();
            while let Some(spare) = state.take_spare(revision) {
                spares.push(spare);
            }
        }
        for Waiting { live, stopping } in spares {
            live.abandon(stopping);
        }
    }
}

impl State {
    fn push(&mut self, start: Waiting) {
        let function = &start.live.revision.function;
        let of = |starts: &&mut VecDeque<Waiting>| {
            let first = starts.front();
            first.is_some_and(|first| first.live.revision.function == *function)
        };
        match self.waiting.iter_mut().find(of) {
            Some(starts) => starts.push_back(start),
            None => self.waiting.push_back(VecDeque::from([start])),
        }
    }

    fn next(&mut self) -> Option<Waiting> {
        let mut starts = self.waiting.pop_front()?;
        let next = starts.pop_front();
        if !starts.is_empty() {
            self.waiting.push_back(starts);
        }
        next
    }

    /// The start of this revision that came last, if the revision can spare it.
    fn take_spare(&mut self, revision: &Arc<Revision>) -> Option<Waiting> {
        let of = |start: &Waiting| Arc::ptr_eq(&start.live.revision, revision);
        let (turn, at) = self.waiting.iter().enumerate().find_map(|(turn, starts)| {
            let last = starts.iter().rposition(of)?;
            Some((turn, last))
        })?;
        if !revision.pool.give_up_spare() {
            return None;
        }
        let spare = self.waiting.get_mut(turn)?.remove(at);
        self.waiting.retain(|starts| !starts.is_empty());
        spare
    }
}

impl Shared {
    /// Starts an instance for a pool that counted the start, when its turn comes.
    pub(crate) fn start(self: &Arc<Self>, live: Arc<Live>, stopping: Vec<Arc<Live>>) {
        let (turns, revision) = (&self.instances.turns, Arc::clone(&live.revision));
        turns.state.lock().push(Waiting { live, stopping });
        self.begin_starts();
        // Whoever it is for may have been served before it was here to be given up.
        turns.give_up_spares(&revision);
    }

    /// Begins as many starts as there are places.
    fn begin_starts(self: &Arc<Self>) {
        while let Some((place, next)) = self.next_start() {
            self.instances.handle.spawn(place.serve(next));
        }
    }

    fn next_start(self: &Arc<Self>) -> Option<(Place, Waiting)> {
        let turns = &self.instances.turns;
        let mut state = turns.state.lock();
        if state.taken >= turns.places {
            return None;
        }
        let next = state.next()?;
        state.taken += 1;
        drop(state);
        Some((Place(Arc::clone(self)), next))
    }
}

impl Place {
    /// Makes a start, and has others begin once it needs its place no more.
    async fn serve(self, start: Waiting) {
        let shared = Arc::clone(&self.0);
        let mut run = pin!(Start::new(&shared, start.live).run(start.stopping));
        let ended = tokio::select! {
            () = &mut run => true,
            () = shared.clock.sleep(PLACE_KEPT) => false,
        };
        drop(self);
        shared.begin_starts();
        if !ended {
            run.await;
        }
    }
}
