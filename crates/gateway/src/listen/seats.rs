//! The places that connections take: so many and no more. Once all are taken, the connection
//! that has waited longest for its first head gives way to a newcomer, so that clients who only
//! hold connections lock nobody out. Those that have been heard never give way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// All places of a server.
#[derive(Debug)]
pub(super) struct Seats {
    max: usize,
    /// Changes under the lock only; read without it by every request.
    taken: AtomicUsize,
    unheard: Mutex<Unheard>,
}

/// Connections that have not sent a whole head yet, oldest first, with what ends each; none for
/// those that are only about to begin.
#[derive(Debug, Default)]
struct Unheard {
    next: u64,
    waiting: BTreeMap<u64, Option<AbortHandle>>,
}

impl Seats {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            taken: AtomicUsize::new(0),
            unheard: Mutex::default(),
        })
    }

    /// A place, where there is one or another connection gives way.
    pub(super) fn take(self: &Arc<Self>) -> Option<Arc<Seat>> {
        let mut unheard = self.lock();
        if self.taken.load(Ordering::Relaxed) < self.max {
            self.taken.fetch_add(1, Ordering::Relaxed);
        } else {
            // Whoever gives way leaves its place to the newcomer: the number stays.
            let oldest = unheard.waiting.iter().find(|(_, end)| end.is_some());
            let number = oldest.map(|(number, _)| *number)?;
            if let Some(end) = unheard.waiting.remove(&number).flatten() {
                end.abort();
            }
        }
        let number = unheard.next;
        unheard.next += 1;
        unheard.waiting.insert(number, None);
        drop(unheard);
        Some(Arc::new(Seat {
            seats: Arc::clone(self),
            number,
            heard: AtomicBool::new(false),
        }))
    }

    /// Whether places run short: time to close connections once they are answered.
    pub(super) fn is_crowded(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.max - self.max / 4
    }

    fn lock(&self) -> MutexGuard<'_, Unheard> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection; free again when dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    heard: AtomicBool,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Seat {
    /// Lets the connection give way from now on, by ending its task.
    pub(super) fn may_give_way(&self, end: AbortHandle) {
        if let Some(waiting) = self.seats.lock().waiting.get_mut(&self.number) {
            *waiting = Some(end);
        }
    }

    /// A whole head has come. False where the connection has given way already: then its
    /// request must not begin.
    pub(super) fn hear(&self) -> bool {
        if self.heard.load(Ordering::Relaxed) {
            return true;
        }
        let kept = self.seats.lock().waiting.remove(&self.number).is_some();
        self.heard.store(kept, Ordering::Relaxed);
        kept
    }
}

impl Seat {
    /// Whether a whole head has come yet.
    pub(super) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut unheard = self.seats.lock();
        if *self.heard.get_mut() || unheard.waiting.remove(&self.number).is_some() {
            self.seats.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
