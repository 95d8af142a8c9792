//! A memory store that a test can hold up, where what is kept is kept at once and the answer
//! waits, or have fail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use store::{Error, Expect, Lease, Memory, Op, Record, Store, Transaction};
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Shelf {
    kept: Memory,
    /// Whether answers to commits wait for the test.
    hold: watch::Sender<bool>,
    held: AtomicUsize,
    /// Commits that are yet to fail.
    refusals: AtomicUsize,
    /// Queue and id of the message whose bytes are no longer what was accepted.
    damaged: Mutex<Option<(String, String)>>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            kept: Memory::new(),
            hold: watch::Sender::new(false),
            held: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            damaged: Mutex::default(),
        }
    }
}

impl Shelf {
    /// Whoever had leased something is gone.
    pub(crate) fn reopen(&self) {
        self.kept.take_back_leases();
    }

    /// Has commits take effect and not answer, until this is called with false.
    pub(crate) fn hold_answers(&self, hold: bool) {
        self.hold.send_replace(hold);
    }

    /// Has this many commits fail for want of room.
    pub(crate) fn refuse(&self, commits: usize) {
        self.refusals.store(commits, Ordering::SeqCst);
    }

    /// Has a bit of a message be wrong from now on.
    pub(crate) fn damage(&self, queue: &str, id: &str) {
        *self.damaged.lock() = Some((queue.to_owned(), id.to_owned()));
    }

    /// Loses a record.
    pub(crate) async fn forget(&self, collection: &'static str, key: &str) {
        let delete = Op::Delete {
            collection,
            key: key.to_owned(),
            expect: Expect::Present,
        };
        self.kept.commit(Transaction::of(delete)).await.unwrap();
    }

    /// Puts a waiting message into another queue.
    pub(crate) async fn move_message(&self, from: &str, to: &str, id: &str) {
        let far_ms = 1 << 50;
        let leases = self.kept.lease(from, far_ms, Duration::ZERO, 100).await;
        let lease = leases.unwrap().into_iter().find(|lease| lease.id == id);
        let lease = lease.unwrap();
        let enqueue = Op::Enqueue {
            queue: to.to_owned(),
            id: id.to_owned(),
            body: lease.body,
            due_ms: lease.enqueued_at_ms,
            enqueued_at_ms: lease.enqueued_at_ms,
        };
        let settle = Op::Settle {
            queue: from.to_owned(),
            id: id.to_owned(),
            epoch: lease.epoch,
        };
        let moved = Transaction::of(settle).and(enqueue);
        self.kept.commit(moved).await.unwrap();
    }

    /// Commits that took effect and have not answered.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

impl Store for Shelf {
    fn get<'a>(
        &'a self,
        collection: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, Error>> {
        self.kept.get(collection, key)
    }

    fn list<'a>(
        &'a self,
        collection: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, Error>> {
        self.kept.list(collection, prefix, after, limit)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Vec<u64>, Error>> {
        Box::pin(async move {
            let less = |left: usize| left.checked_sub(1);
            let refused = self
                .refusals
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
            if refused.is_ok() {
                let path = "shelf".into();
                return Err(Error::Full { path });
            }
            let committed = self.kept.commit(transaction).await;
            let mut hold = self.hold.subscribe();
            if *hold.borrow() {
                self.held.fetch_add(1, Ordering::SeqCst);
                let _ = hold.wait_for(|hold| !hold).await;
                self.held.fetch_sub(1, Ordering::SeqCst);
            }
            committed
        })
    }

    fn lease<'a>(
        &'a self,
        queue: &'a str,
        now_ms: u64,
        lease: Duration,
        count: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, Error>> {
        Box::pin(async move {
            let mut leases = self.kept.lease(queue, now_ms, lease, count).await?;
            let damaged = self.damaged.lock().clone();
            let harmed = |lease: &&mut Lease| {
                let is = |(of, id): &(String, String)| of == queue && *id == lease.id;
                damaged.as_ref().is_some_and(is)
            };
            if let Some(lease) = leases.iter_mut().find(harmed) {
                lease.body.clear();
                lease.damage = Some("a bit is wrong".to_owned());
            }
            Ok(leases)
        })
    }

    fn queues<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, u64)>, Error>> {
        self.kept.queues(prefix, after, limit)
    }

    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64, Error>> {
        self.kept.depth(queue)
    }

    fn next_due<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        self.kept.next_due(queue)
    }
}
