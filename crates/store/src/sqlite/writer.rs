//! The one thread that writes. While it syncs, the next batch gathers in its channel: that is
//! all there is to group commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::apply::{Batch, Refusal};
use super::cause;
use crate::{Clock, Error, Lease, Transaction, bound};

/// Callers' transactions in one transaction of SQLite.
const BATCH_MAX: usize = 256;

/// Bytes after which a batch takes no more, so that the log does not outgrow its bound at once.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// Pages of the write-ahead log at which it is written back when nobody waits: 4 MiB.
const IDLE_PAGES: i64 = 1024;

/// Pages at which it is written back even though somebody waits: 32 MiB.
const BUSY_PAGES: i64 = 8192;

/// Time between two lines in the log that say that the disk is full (ours).
const FULL_AGAIN: Duration = Duration::from_secs(60);

/// A batch that takes longer is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);

/// Something for the writer to do, and where the answer goes.
#[derive(Debug)]
pub(super) enum Job {
    /// Apply and sync.
    Commit {
        transaction: Transaction,
        answer: oneshot::Sender<Result<Vec<u64>, Error>>,
    },
    /// Lend out messages; written, not synced.
    Lease {
        queue: String,
        now_ms: u64,
        lease: Duration,
        count: usize,
        answer: oneshot::Sender<Result<Vec<Lease>, Error>>,
    },
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Commit { transaction, .. } => transaction.ops.iter().map(bound::size).sum(),
            Self::Lease { .. } => 0,
        }
    }

    fn refuse(self, error: Error) {
        match self {
            Self::Commit { answer, .. } => drop(answer.send(Err(error))),
            Self::Lease { answer, .. } => drop(answer.send(Err(error))),
        }
    }
}

/// A job's answer, kept back until the batch is on disk.
#[derive(Debug)]
enum Answer {
    Commit(Result<Vec<u64>, Error>),
    Lease(Vec<Lease>),
}

/// The state of the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    connection: Connection,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// Set once, on the first failure that leaves the file's state unknown.
    broken: Arc<watch::Sender<Option<Error>>>,
    /// The last number drawn.
    sequence: u64,
    /// When it was last said that the disk is full.
    full_told: Option<Duration>,
    /// Whether commits now wait for the disk.
    syncing: bool,
    /// Bytes and jobs written since the length of the log was last looked at.
    unlooked: usize,
}

impl Writer {
    /// Takes over a connection that `schema::open_writer` made.
    pub(super) fn new(
        connection: Connection,
        path: PathBuf,
        clock: Arc<dyn Clock>,
        broken: Arc<watch::Sender<Option<Error>>>,
    ) -> Result<Self, Error> {
        let last =
            connection.query_row("SELECT last FROM sequence", [], |row| row.get::<_, i64>(0));
        let sequence = last
            .map_err(|error| cause::on_open(&path, error))?
            .cast_unsigned();
        Ok(Self {
            connection,
            path,
            clock,
            broken,
            sequence,
            full_told: None,
            syncing: true,
            unlooked: usize::MAX,
        })
    }

    /// Works until the last sender is gone, then writes everything back and closes.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut bytes = first.bytes();
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
                let Ok(job) = jobs.try_recv() else { break };
                bytes = bytes.saturating_add(job.bytes());
                batch.push(job);
            }
            self.unlooked = self
                .unlooked
                .saturating_add(bytes)
                .saturating_add(batch.len() << 10);
            self.write(batch);
            self.write_back(jobs.is_empty());
        }
        if self.broken.borrow().is_none() {
            self.checkpoint("TRUNCATE");
        }
    }

    /// Writes a batch and answers everybody in it.
    pub(super) fn write(&mut self, batch: Vec<Job>) {
        let broken = self.broken.borrow().clone();
        let began = self.clock.monotonic();
        match broken.map_or_else(|| self.try_write(&batch), Err) {
            Ok(answers) => batch
                .into_iter()
                .zip(answers)
                .for_each(|(job, answer)| give(job, answer)),
            Err(error) => batch.into_iter().for_each(|job| job.refuse(error.clone())),
        }
        let took = self.clock.monotonic().saturating_sub(began);
        if took > SLOW {
            tracing::warn!(?took, "the disk is slow to sync");
        }
    }

    fn try_write(&mut self, batch: &[Job]) -> Result<Vec<Answer>, Error> {
        let sync = batch.iter().any(|job| matches!(job, Job::Commit { .. }));
        let written = self.transact(batch, sync);
        written.map_err(|error| {
            let error = cause::on_write(&self.path, error);
            self.tell_if_full(&error);
            self.recover(error)
        })
    }

    /// Once for many callers, each of whom is refused.
    fn tell_if_full(&mut self, error: &Error) {
        if !matches!(error, Error::Full { .. }) {
            return;
        }
        let now = self.clock.monotonic();
        let again = |told| now.saturating_sub(told) >= FULL_AGAIN;
        if self.full_told.is_none_or(again) {
            self.full_told = Some(now);
            tracing::error!(%error, "no event and no change is accepted");
        }
    }

    fn transact(&mut self, batch: &[Job], sync: bool) -> rusqlite::Result<Vec<Answer>> {
        if self.syncing != sync {
            // NORMAL writes to the log without waiting; a later FULL commit syncs all before it.
            let level = if sync { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.syncing = sync;
        }
        self.execute("BEGIN IMMEDIATE")?;
        let mut open = Batch::new(&self.connection, self.sequence, self.clock.now_ms());
        let mut answers = Vec::with_capacity(batch.len());
        for job in batch {
            answers.push(match job {
                Job::Commit { transaction, .. } => match open.commit(transaction) {
                    Ok(revisions) => Answer::Commit(Ok(revisions)),
                    Err(Refusal::Caller(error)) => Answer::Commit(Err(error)),
                    Err(Refusal::Sql(error)) => return Err(error),
                },
                Job::Lease {
                    queue,
                    now_ms,
                    lease,
                    count,
                    ..
                } => Answer::Lease(open.lease(queue, *now_ms, *lease, *count)?),
            });
        }
        let sequence = open.finish(self.sequence)?;
        self.execute("COMMIT")?;
        self.sequence = sequence;
        Ok(answers)
    }

    /// After a failed batch: nothing of it stays, or the store is broken.
    fn recover(&self, error: Error) -> Error {
        if matches!(error, Error::Broken { .. }) {
            return self.give_up(error);
        }
        if !self.connection.is_autocommit()
            && let Err(cause) = self.execute("ROLLBACK")
        {
            return self.give_up(cause::on_write(&self.path, cause));
        }
        if matches!(error, Error::Full { .. }) {
            // What is written back makes room in the log, if not on the disk.
            self.checkpoint("PASSIVE");
        }
        error
    }

    /// From here on nothing is written: not another batch, not a page of the log.
    fn give_up(&self, error: Error) -> Error {
        tracing::error!(%error, "the store acknowledges nothing any more");
        self.broken.send_replace(Some(error.clone()));
        error
    }

    /// Keeps the write-ahead log short.
    fn write_back(&mut self, idle: bool) {
        if self.unlooked < 1 << 20 || self.broken.borrow().is_some() {
            return;
        }
        let Some(pages) = self.checkpoint("NOOP") else {
            return;
        };
        let bound = if idle { IDLE_PAGES } else { BUSY_PAGES };
        if pages >= bound {
            self.checkpoint("PASSIVE");
            self.unlooked = 0;
        } else if pages < IDLE_PAGES {
            self.unlooked = 0;
        }
    }

    /// Answers the pages that were still only in the log before. A busy reader leaves some.
    fn checkpoint(&self, mode: &str) -> Option<i64> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let pages = self
            .connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_row([], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, i64>(1)?,
                        row.get::<_, i64>(2)?,
                    ))
                })
            });
        match pages {
            Ok((_busy, all, written_back)) => Some(all.saturating_sub(written_back)),
            Err(error) => {
                let error = cause::on_write(&self.path, error);
                // A full disk leaves the pages in the log, where they are as safe as before.
                if matches!(error, Error::Broken { .. }) {
                    self.give_up(error);
                }
                None
            }
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

/// A caller that has gone away wants no answer.
fn give(job: Job, answer: Answer) {
    match (job, answer) {
        (Job::Commit { answer, .. }, Answer::Commit(result)) => drop(answer.send(result)),
        (Job::Lease { answer, .. }, Answer::Lease(leases)) => drop(answer.send(Ok(leases))),
        // Answers are made one for one, in the order of the jobs; one without its answer
        // learns that there is none.
        (job, _) => drop(job),
    }
}

impl Drop for Writer {
    /// A writer that ends by a panic is as good as a failed write: whoever watches must know.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let cause = "the writer has panicked".into();
            self.give_up(Error::Broken {
                doing: format!("write {}", self.path.display()),
                cause,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;
    use crate::{Op, SystemClock};

    fn enqueue(body: usize) -> (Job, oneshot::Receiver<Result<Vec<u64>, Error>>) {
        let (answer, answered) = oneshot::channel();
        let op = Op::Enqueue {
            queue: "q".into(),
            id: format!("m{body}"),
            body: vec![7; body].into(),
            due_ms: 0,
            enqueued_at_ms: 0,
        };
        (
            Job::Commit {
                transaction: Transaction::of(op),
                answer,
            },
            answered,
        )
    }

    fn writer(folder: &std::path::Path) -> Writer {
        let path = folder.join("store.db");
        let connection = schema::open_writer(&path).unwrap();
        let clock = Arc::new(SystemClock::new());
        Writer::new(connection, path, clock, Arc::new(watch::channel(None).0)).unwrap()
    }

    #[test]
    fn a_full_disk_refuses_changes_nothing_and_heals() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let limit = |writer: &Writer, pages: i64| {
            writer
                .connection
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .unwrap();
        };
        limit(&writer, 20);
        let (large, refused) = enqueue(1 << 20);
        writer.write(vec![large]);
        let refused = refused.blocking_recv().unwrap();
        assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");

        let (small, kept) = enqueue(10);
        writer.write(vec![small]);
        kept.blocking_recv().unwrap().unwrap();
        limit(&writer, 1 << 20);
        let (large, kept) = enqueue(1 << 20);
        writer.write(vec![large]);
        kept.blocking_recv().unwrap().unwrap();
        let count: i64 = writer
            .connection
            .query_row("SELECT depth FROM queues", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 2);
    }

    #[test]
    fn a_failed_write_is_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        writer
            .connection
            .execute_batch("DROP TABLE bodies")
            .unwrap();
        for _ in 0..2 {
            let (job, answered) = enqueue(10);
            writer.write(vec![job]);
            let answer = answered.blocking_recv().unwrap();
            assert!(matches!(answer, Err(Error::Broken { .. })), "{answer:?}");
        }
        assert!(writer.broken.borrow().is_some());
    }
}
