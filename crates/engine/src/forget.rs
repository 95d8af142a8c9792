//! Forgets ended events: their records and dead letters are kept for as long as anybody may
//! reasonably ask, then removed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{Expect, Lease, Op, Transaction};

use crate::record::{DEAD_LETTERS, INVOCATIONS};
use crate::{Error, Shared};

/// The queue of ended events, each due when it is to be forgotten.
const QUEUE: &str = "ended_events";
/// How long an ended event can be found (AWS: the longest that a queue keeps a message).
const KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Events forgotten in one transaction.
const BATCH: usize = 100;
/// How long forgetting a batch may take.
const LEASE: Duration = Duration::from_secs(60);
/// Wait after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(60);

/// The part of an event's last transaction that has it forgotten one day.
pub(crate) fn later(id: &str, dead_letter: Option<String>, ended_ms: u64) -> Op {
    let kept_ms = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
    Op::Enqueue {
        queue: QUEUE.to_owned(),
        id: id.to_owned(),
        body: Bytes::from(dead_letter.unwrap_or_default()),
        due_ms: ended_ms.saturating_add(kept_ms),
        enqueued_at_ms: ended_ms,
    }
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
        match due {
            Some(due) => shared.clock.sleep(due).await,
            None => shared.forget.notified().await,
        }
    }
}

impl Shared {
    /// Forgets what is due. Answers when the next is; none where nothing is left.
    async fn forget_due(&self) -> Result<Option<Duration>, Error> {
        loop {
            let leases = self
                .store
                .lease(QUEUE, self.clock.now_ms(), LEASE, BATCH)
                .await?;
            if leases.is_empty() {
                break;
            }
            let ops = leases.into_iter().flat_map(forgetting).collect();
            self.store.commit(Transaction { ops }).await?;
        }
        let due_ms = self.store.next_due(QUEUE).await?;
        let left = |due_ms: u64| due_ms.saturating_sub(self.clock.now_ms()).max(1);
        Ok(due_ms.map(|due_ms| Duration::from_millis(left(due_ms))))
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
