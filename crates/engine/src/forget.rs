//! Forgets ended events: their records and dead letters are kept for as long as anybody may
//! reasonably ask and there is room for them, then removed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use store::{Expect, Lease, Op, Transaction};

use crate::record::{DEAD_LETTERS, INVOCATIONS};
use crate::{Error, Shared};

/// The queue of ended events, each due when it is to be forgotten.
const QUEUE: &str = "ended_events";
/// How long an ended event can be found (AWS: the longest that a queue keeps a message).
const KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How many can be found (ours: at a kilobyte each, a quarter of a gigabyte of disk).
const KEPT_MAX: u64 = 250_000;
/// Events forgotten in one transaction.
const BATCH: usize = 100;
/// How long forgetting a batch may take.
const LEASE: Duration = Duration::from_secs(60);
/// Wait after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(60);

/// The part of an event's last transaction that has it forgotten one day.
pub(crate) fn later(id: &str, dead_letter: Option<String>, ended_ms: u64) -> Op {
    Op::Enqueue {
        queue: QUEUE.to_owned(),
        id: id.to_owned(),
        body: Bytes::from(dead_letter.unwrap_or_default()),
        due_ms: kept_until(ended_ms),
        enqueued_at_ms: ended_ms,
    }
}

fn kept_until(ended_ms: u64) -> u64 {
    let kept_ms = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
    ended_ms.saturating_add(kept_ms)
}

/// Forgets events as they come due, until it is dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let due = match shared.forget_due().await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "forget ended events");
                Some(STORE_RETRY)
            }
        };
        let wake = shared.forget.notified();
        match due {
            None => wake.await,
            Some(due) => tokio::select! {
                () = wake => {}
                () = shared.clock.sleep(due) => {}
            },
        }
    }
}

impl Shared {
    /// An event has ended and is to be forgotten one day.
    pub(crate) fn count_ended(&self) {
        let before = self.events.ended.fetch_add(1, Ordering::Relaxed);
        // A batch late, so that it is not looked at each time.
        if before == 0 || before >= KEPT_MAX + BATCH as u64 {
            self.forget.notify_one();
        }
    }

    /// Forgets what is due, and the oldest of what is too much. Answers when the next is due;
    /// none where nothing is left.
    async fn forget_due(&self) -> Result<Option<Duration>, Error> {
        while self.forget_some(self.clock.now_ms(), BATCH).await? {}
        loop {
            let kept = self.store.depth(QUEUE).await?;
            self.events.ended.store(kept, Ordering::Relaxed);
            let excess = usize::try_from(kept.saturating_sub(KEPT_MAX)).unwrap_or(BATCH);
            // By then all are due, so that these are the oldest.
            let last_ms = kept_until(self.clock.now_ms());
            if excess == 0 || !self.forget_some(last_ms, excess.min(BATCH)).await? {
                break;
            }
        }
        let due_ms = self.store.next_due(QUEUE).await?;
        let left = |due_ms: u64| due_ms.saturating_sub(self.clock.now_ms()).max(1);
        Ok(due_ms.map(|due_ms| Duration::from_millis(left(due_ms))))
    }

    /// Forgets up to `count` of those that are due by then. Answers whether there were any.
    async fn forget_some(&self, due_ms: u64, count: usize) -> Result<bool, Error> {
        let leases = self.store.lease(QUEUE, due_ms, LEASE, count).await?;
        if leases.is_empty() {
            return Ok(false);
        }
        let ops = leases.into_iter().flat_map(forgetting).collect();
        self.store.commit(Transaction { ops }).await?;
        Ok(true)
    }
}

fn forgetting(lease: Lease) -> Vec<Op> {
    let letter = String::from_utf8_lossy(&lease.body).into_owned();
    let letter = (!letter.is_empty()).then(|| Op::Delete {
        collection: DEAD_LETTERS,
        key: letter,
        expect: Expect::Any,
    });
    let record = Op::Delete {
        collection: INVOCATIONS,
        key: lease.id.clone(),
        expect: Expect::Any,
    };
    let settle = Op::Settle {
        queue: QUEUE.to_owned(),
        id: lease.id,
        epoch: lease.epoch,
    };
    [record, settle].into_iter().chain(letter).collect()
}
