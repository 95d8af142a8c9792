//! How many invocations are in flight, and the engine's way to an end that loses none of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::Shared;
use crate::instance::Phase;

/// How long instances may take to go once nothing is waited for any more.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How soon to look for instances that were still being started.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Invocations in flight, and whether more may begin.
#[derive(Debug, Default)]
pub(crate) struct InFlightCount {
    count: AtomicUsize,
    stopping: AtomicBool,
    /// Whether instances are being ended under the requests they have.
    cutting_off: AtomicBool,
    /// Notified when the count becomes zero while stopping.
    none: Notify,
}

impl InFlightCount {
    pub(crate) fn begin(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end(&self) {
        if self.count.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_stopping() {
            self.none.notify_waiters();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Whether an invocation that fails now may fail only because the engine stops.
    pub(crate) fn is_cutting_off(&self) -> bool {
        self.cutting_off.load(Ordering::SeqCst)
    }

    /// Lets nothing more begin.
    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    async fn is_none(&self) {
        loop {
            let none = self.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Shared {
    pub(crate) async fn stop(&self, grace: Duration) {
        self.in_flight.stop();
        self.events.wake.notify_one();
        let deadline = self.clock.sleep(grace);
        tokio::select! {
            () = self.in_flight.is_none() => {}
            () = deadline => self.in_flight.cutting_off.store(true, Ordering::SeqCst),
        }
        for entry in self.catalog.load().entries() {
            entry
                .versions()
                .for_each(|version| version.revision.pool.close());
        }
        tokio::select! {
            () = self.end_instances() => {}
            () = self.clock.sleep(END_WITHIN) => {
                let left = self.instances.all().len();
                tracing::error!(left, "instances did not stop in time");
            }
        }
        tokio::select! {
            () = self.events.none_under_way() => {}
            () = self.clock.sleep(END_WITHIN) => tracing::error!("deliveries did not end in time"),
        }
        self.end_tasks().await;
        self.meter.flush(&self.meter_log);
    }

    /// Ends what is still there, and what comes of starts under way.
    async fn end_instances(&self) {
        loop {
            let all = self.instances.all();
            let kept = |phase| matches!(phase, Phase::Serving | Phase::Draining);
            let kept = all.into_iter().filter(|live| kept(live.phase()));
            join_all(kept.map(|live| live.kill())).await;
            tokio::select! {
                () = self.instances.none_left() => return,
                () = self.clock.sleep(LOOK_AGAIN) => {}
            }
        }
    }

    async fn end_tasks(&self) {
        let tasks: Vec<_> = self.tasks.lock().drain(..).collect();
        for task in tasks {
            task.abort();
            // It was told to end just now; how it did is of no more use.
            let _ = task.await;
        }
    }
}
