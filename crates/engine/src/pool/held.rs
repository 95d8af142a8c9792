//! Requests that are better held for a moment than given to one more instance.
//!
//! Once a few instances for each processor are at work, one more makes nothing faster: it takes
//! processor time and caches from those that are, and has to be started if it is not there. If
//! requests of this revision are short, one of those will be free before another has answered.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::instance::Slot;

/// How long a request is held while nothing comes free (ours: a few turns of the scheduler).
pub(crate) const STALLED_MAX: Duration = Duration::from_millis(8);

/// How long a request is held at most (ours: below what a person notices).
pub(crate) const HOLD_MAX: Duration = Duration::from_millis(40);

/// What the quickest requests take at most for others to be held for them (ours: a function that
/// waits for anything outside takes longer, and for those more instances do help).
const SHORT_MAX: Duration = Duration::from_millis(1);

/// What the newest request weighs in what they usually take: one part in this many.
const WEIGHT: u32 = 8;

/// The same in what the quickest take, where it was slower than those.
const SLOWER_WEIGHT: u32 = 256;

/// The same while more were at work than there were processors for: then it is mostly the want of
/// a processor that made it slower.
const CROWDED_WEIGHT: u32 = 16 * 1024;

/// The requests of one revision that are at work, and those that are held for them.
#[derive(Debug, Default)]
pub(super) struct Held {
    at_work: usize,
    /// What a request usually takes, from getting its slot to giving it back; zero while nobody
    /// knows.
    usual: Duration,
    /// What the quickest of late took: the best guess at what a request takes that has a
    /// processor at once.
    quickest: Duration,
    /// Longest held first. One whose receiver is gone is passed over.
    waiters: VecDeque<oneshot::Sender<Slot>>,
    /// Requests that have given a slot back so far.
    left: u64,
}

impl Held {
    /// A request got a slot.
    pub(super) fn enter(&mut self) {
        self.at_work += 1;
    }

    /// It never used it.
    pub(super) fn undo(&mut self) {
        self.at_work = self.at_work.saturating_sub(1);
    }

    /// It gave it back, after so long.
    pub(super) fn leave(&mut self, took: Duration, from: usize) {
        let crowded = self.at_work > from;
        self.at_work = self.at_work.saturating_sub(1);
        self.left = self.left.wrapping_add(1);
        if self.usual.is_zero() {
            (self.usual, self.quickest) = (took, took);
        }
        self.usual = (self.usual * (WEIGHT - 1) + took) / WEIGHT;
        let weight = if crowded {
            CROWDED_WEIGHT
        } else {
            SLOWER_WEIGHT
        };
        let slower = took.saturating_sub(self.quickest) / weight;
        self.quickest = took.min(self.quickest + slower);
    }

    /// A place among the held, if as many as `from` are at work and a slot will probably be free
    /// before the wait is over.
    pub(super) fn hold(&mut self, from: usize) -> Option<oneshot::Receiver<Slot>> {
        if self.at_work < from.max(1) || self.usual.is_zero() || self.quickest > SHORT_MAX {
            return None;
        }
        let ahead = u32::try_from(self.waiters.len() + 1).unwrap_or(u32::MAX);
        let at_work = u32::try_from(self.at_work).unwrap_or(u32::MAX);
        if self.usual.saturating_mul(ahead) / at_work > STALLED_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.waiters.push_back(sender);
        Some(receiver)
    }

    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        self.waiters.pop_front()
    }

    /// Sends all away, to look for a slot again.
    pub(super) fn release(&mut self) {
        self.waiters.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(200);

    fn at_work(requests: usize, took: Duration) -> Held {
        let mut held = Held::default();
        held.enter();
        held.leave(took, 4);
        (0..requests).for_each(|_| held.enter());
        held
    }

    #[test]
    fn short_requests_are_held_once_all_processors_are_at_work() {
        assert!(at_work(3, SHORT).hold(4).is_none());
        assert!(at_work(4, SHORT).hold(4).is_some());
    }

    #[test]
    fn long_and_unknown_requests_are_not_held() {
        assert!(at_work(40, SHORT_MAX * 2).hold(4).is_none());
        assert!(at_work(40, Duration::ZERO).hold(4).is_none());
    }

    #[test]
    fn no_more_are_held_than_will_be_served_in_time() {
        let mut held = at_work(4, SHORT);
        let places: Vec<_> = std::iter::from_fn(|| held.hold(4)).collect();
        assert_eq!(places.len(), 160);
    }

    #[test]
    fn what_is_usual_follows_what_happens() {
        let mut held = at_work(8, SHORT);
        held.leave(Duration::from_secs(1), 4);
        assert!(held.hold(4).is_none());
        (0..200).for_each(|_| {
            held.enter();
            held.leave(SHORT, 4);
        });
        assert!(held.hold(4).is_some());
    }

    #[test]
    fn requests_that_are_slow_for_want_of_a_processor_are_short() {
        let mut held = at_work(32, SHORT);
        (0..200).for_each(|_| {
            held.enter();
            held.leave(SHORT_MAX * 6, 4);
        });
        assert!(held.hold(4).is_some());
    }
}
