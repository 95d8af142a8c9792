//! What becomes of instances that nobody uses: frozen after a while, stopped after a longer one.
//! One timer serves them all, and it sleeps for as long as nothing is idle.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::instance::Live;
use crate::instances::Instances;

/// Entries below which stale ones are not worth looking for.
const COMPACT_FROM: usize = 256;

/// When to look at which instance.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    heap: Mutex<BinaryHeap<Entry>>,
    /// Notified when the first entry changes.
    wake: Notify,
}

/// A look at an instance. Stale where the instance has since been given an earlier one.
#[derive(Debug)]
struct Entry {
    at: Duration,
    live: Weak<Live>,
}

impl Timer {
    pub(crate) fn push(&self, at: Duration, live: &Arc<Live>) {
        let mut heap = self.heap.lock();
        let first = heap.peek().is_none_or(|first| at < first.at);
        heap.push(Entry {
            at,
            live: Arc::downgrade(live),
        });
        drop(heap);
        if first {
            self.wake.notify_one();
        }
    }

    /// Instances to look at now, each with the time it was meant to be looked at, and the time
    /// of the next.
    fn due(&self, now: Duration) -> (Vec<(Arc<Live>, Duration)>, Option<Duration>) {
        let mut heap = self.heap.lock();
        let mut due = Vec::new();
        while heap.peek().is_some_and(|first| first.at <= now) {
            let entry = heap
                .pop()
                .and_then(|entry| Some((entry.live.upgrade()?, entry.at)));
            due.extend(entry);
        }
        (due, heap.peek().map(|first| first.at))
    }

    /// Drops stale entries where they could be most of all.
    fn compact(&self, instances: usize) {
        let mut heap = self.heap.lock();
        if heap.len() > COMPACT_FROM + 2 * instances {
            heap.retain(|entry| {
                entry
                    .live
                    .upgrade()
                    .is_some_and(|live| live.is_timed(entry.at))
            });
        }
    }
}

/// Freezes and stops idle instances until it is dropped.
pub(crate) async fn run(instances: Arc<Instances>) {
    loop {
        let now = instances.clock.monotonic();
        let (due, next) = instances.timer.due(now);
        if !due.is_empty() {
            for (live, at) in due {
                if live.clear_timer(at) {
                    instances.look_at(&live, now);
                }
            }
            instances.timer.compact(instances.all().len());
            continue;
        }
        let wake = instances.timer.wake.notified();
        match next {
            None => wake.await,
            Some(next) => tokio::select! {
                () = wake => {}
                () = instances.clock.sleep(next.saturating_sub(now)) => {}
            },
        }
    }
}

impl Instances {
    fn look_at(&self, live: &Arc<Live>, now: Duration) {
        if live.in_flight() > 0 {
            // It is looked at again once it is idle.
            return;
        }
        let idle_since = live.idle_since();
        let freeze_at = idle_since + self.freeze_after;
        let stop_at = idle_since + self.keep_alive;
        if now >= stop_at {
            live.evict();
        } else if now >= freeze_at {
            live.freeze();
            self.arm(live, stop_at);
        } else {
            self.arm(live, freeze_at.min(stop_at));
        }
    }
}

impl Ord for Entry {
    /// The earliest is the greatest, as the heap gives out the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}
