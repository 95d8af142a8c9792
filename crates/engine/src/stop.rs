//! How many invocations are in flight, and the engine's way to an end that loses none of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::Shared;
use crate::instance::{Live, Phase};

/// How long instances may take to go once nothing is waited for any more.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How soon to look for instances that were still being started.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Invocations in flight, and whether more may begin.
#[derive(Debug, Default)]
pub(crate) struct InFlightCount {
    count: AtomicUsize,
    stopping: AtomicBool,
    /// Whether anybody waits for the count to become zero.
    watch: AtomicBool,
    /// Whether instances are being ended under the requests they have.
    cutting_off: AtomicBool,
    /// Notified when the count becomes zero while anybody waits for that.
    none: Notify,
}

impl InFlightCount {
    pub(crate) fn begin(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end(&self) {
        if self.count.fetch_sub(1, Ordering::SeqCst) == 1 && self.watch.load(Ordering::SeqCst) {
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
        self.watch.store(true, Ordering::SeqCst);
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
        self.finish_invocations(grace).await;
        self.end().await;
    }

    /// The same, but idle instances go on for a later process to resume.
    pub(crate) async fn leave(&self, grace: Duration) {
        self.finish_invocations(grace).await;
        let all = self.instances.all();
        join_all(all.into_iter().map(Live::let_go)).await;
        self.end().await;
    }

    /// Resolves once no invocation is in flight.
    pub(crate) async fn is_idle(&self) {
        self.in_flight.watch.store(true, Ordering::SeqCst);
        self.in_flight.is_none().await;
    }

    async fn finish_invocations(&self, grace: Duration) {
        self.in_flight.stop();
        self.events.wake.notify_one();
        let deadline = self.clock.sleep(grace);
        tokio::select! {
            () = self.in_flight.is_none() => {}
            () = deadline => self.in_flight.cutting_off.store(true, Ordering::SeqCst),
        }
    }

    async fn end(&self) {
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
