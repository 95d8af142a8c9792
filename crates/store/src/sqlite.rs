//! Records and queues in one SQLite file: one thread writes, in batches that are on disk before
//! anybody in them is answered; a few connections read.

mod apply;
mod cause;
mod leases;
mod reader;
mod row;
mod schema;
mod writer;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use self::reader::Readers;
use self::writer::{Job, Writer};
use crate::disk::{self, Lock};
use crate::{Clock, Error, Lease, Record, Store, Transaction, bound};

/// Jobs that may wait for the writer; a caller beyond them waits for room.
const WAITING_MAX: usize = 1024;

/// Time between two looks whether the folder is still there (ours): what is acknowledged in between
/// may be in a file that nobody finds again.
const LOOK: Duration = Duration::from_secs(1);

/// A [`Store`] on one machine's disk. Dropping it waits for what was handed over, writes the log
/// back and closes the file.
#[derive(Debug)]
pub struct Sqlite {
    /// None only while it is dropped: the writer ends when the last sender is gone.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    readers: Readers,
    broken: Arc<watch::Sender<Option<Error>>>,
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    /// Given up last, when the writer has closed the file.
    lock: Lock,
}

impl Sqlite {
    /// Opens `store.db` in a data folder, both made where they are not there. One process at a
    /// time can have it open, so what an earlier one had leased is due again at once.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        disk::private_folder(folder)?;
        let lock = Lock::take(folder, "store.lock")?;
        let path = folder.join("store.db");
        let mut connection = schema::open_writer(&path)?;
        let taken_back = leases::take_back(&mut connection);
        match taken_back.map_err(|error| cause::on_open(&path, error)) {
            // They run out by themselves.
            Err(error @ Error::Full { .. }) => tracing::warn!(%error, "take back old leases"),
            other => other?,
        }
        let broken = Arc::new(watch::channel(None).0);
        let writer = Writer::new(
            connection,
            path.clone(),
            Arc::clone(&clock),
            Arc::clone(&broken),
        )?;
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let writer = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(waiting))
            .map_err(|error| disk::failed("start the writer of", &path, &error))?;
        let readers = Readers::new(path);
        Ok(Self {
            jobs: Some(jobs),
            writer: Some(writer),
            readers,
            broken,
            folder: folder.to_owned(),
            clock,
            lock,
        })
    }

    /// Resolves when a write or sync has failed, or the folder is gone, and nothing is acknowledged
    /// any more. The process should then end: only a fresh look at the disk tells what is on it.
    pub fn broken(&self) -> impl Future<Output = Error> + Send + use<> {
        let mut broken = self.broken.subscribe();
        let gone = self.gone();
        async move {
            let error = tokio::select! {
                error = broken.wait_for(Option::is_some) => match error {
                    Ok(error) => error.clone(),
                    Err(_) => None,
                },
                error = gone => Some(error),
            };
            match error {
                Some(error) => error,
                // Closed in good health: there is nothing to tell.
                None => std::future::pending().await,
            }
        }
    }

    /// Resolves once the folder is found to be gone, and sees to it that nothing is acknowledged.
    fn gone(&self) -> impl Future<Output = Error> + Send + use<> {
        let presence = self.lock.presence();
        let (clock, folder) = (Arc::clone(&self.clock), self.folder.clone());
        // Whoever waits for this keeps no store open.
        let broken = Arc::downgrade(&self.broken);
        async move {
            let Ok(presence) = presence.map(Arc::new) else {
                return std::future::pending().await;
            };
            loop {
                clock.sleep(LOOK).await;
                let presence = Arc::clone(&presence);
                let look = tokio::task::spawn_blocking(move || presence.is_gone());
                let Some(broken) = broken.upgrade() else {
                    return std::future::pending().await;
                };
                if look.await.unwrap_or(false) {
                    let error = Error::Gone { path: folder };
                    broken.send_replace(Some(error.clone()));
                    return error;
                }
            }
        }
    }

    /// Hands a job over and waits for its answer.
    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Job,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let Some(jobs) = &self.jobs else {
            return Err(self.ended());
        };
        jobs.send(job(answer)).await.map_err(|_| self.ended())?;
        answered.await.map_err(|_| self.ended())?
    }

    /// Why the writer does not answer.
    fn ended(&self) -> Error {
        let unknown = || Error::Broken {
            doing: "write".into(),
            cause: "the writer has ended".into(),
        };
        self.broken.borrow().clone().unwrap_or_else(unknown)
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the store has panicked");
        }
    }
}

impl Store for Sqlite {
    fn get<'a>(
        &'a self,
        collection: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, Error>> {
        let (collection, key) = (collection.to_owned(), key.to_owned());
        Box::pin(
            self.readers
                .run(move |reader| reader::get(reader, &collection, &key)),
        )
    }

    fn list<'a>(
        &'a self,
        collection: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, Error>> {
        let (collection, prefix) = (collection.to_owned(), prefix.to_owned());
        let after = after.map(str::to_owned);
        Box::pin(
            self.readers.run(move |reader| {
                reader::list(reader, &collection, &prefix, after.as_deref(), limit)
            }),
        )
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Vec<u64>, Error>> {
        Box::pin(async move {
            bound::check(&transaction)?;
            self.ask(|answer| Job::Commit {
                transaction,
                answer,
            })
            .await
        })
    }

    fn lease<'a>(
        &'a self,
        queue: &'a str,
        now_ms: u64,
        lease: Duration,
        count: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, Error>> {
        let queue = queue.to_owned();
        Box::pin(self.ask(move |answer| Job::Lease {
            queue,
            now_ms,
            lease,
            count,
            answer,
        }))
    }

    fn queues<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, u64)>, Error>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        Box::pin(
            self.readers
                .run(move |reader| reader::queues(reader, &prefix, after.as_deref(), limit)),
        )
    }

    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64, Error>> {
        let queue = queue.to_owned();
        Box::pin(
            self.readers
                .run(move |reader| reader::depth(reader, &queue)),
        )
    }

    fn next_due<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        let queue = queue.to_owned();
        Box::pin(
            self.readers
                .run(move |reader| reader::next_due(reader, &queue)),
        )
    }
}
