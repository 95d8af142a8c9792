//! Reads: a few connections that cannot write, each used by one blocking task at a time.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::Semaphore;

use super::row::{record, signed, whole_record};
use super::{cause, schema};
use crate::{Error, Record};

/// Reads at a time. They are short; more would only fight over the two or four cores.
const READERS: usize = 4;

/// The pool.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    path: PathBuf,
    /// Connections that nobody uses now; made when first needed.
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// A pool for this file.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Runs a query on a connection of the pool.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Error> {
        let gone = |cause: String| Error::Broken {
            doing: "read".into(),
            cause: cause.into(),
        };
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|error| gone(error.to_string()))?;
        let pool = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let result = pool.query(query);
            drop(permit);
            result
        });
        read.await.map_err(|error| gone(error.to_string()))?
    }

    fn query<T>(&self, query: impl FnOnce(&Connection) -> Result<T, Failed>) -> Result<T, Error> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.path)
                .map_err(|error| cause::on_open(&self.path, error))?,
        };
        let result = query(&connection);
        self.idle.lock().push(connection);
        result.map_err(|failed| match failed {
            Failed::Sql(error) => cause::on_read(&self.path, error),
            Failed::Found(error) => error,
        })
    }
}

/// Why a query has no answer.
#[derive(Debug)]
pub(super) enum Failed {
    Sql(rusqlite::Error),
    Found(Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// The record under a key.
pub(super) fn get(
    connection: &Connection,
    collection: &str,
    key: &str,
) -> Result<Option<Record>, Failed> {
    let sql = "SELECT key, revision, value, crc FROM records WHERE collection = ? AND key = ?";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement
        .query_row(params![collection, key], record)
        .optional()?;
    found
        .map(|(record, crc)| whole_record(collection, record, crc))
        .transpose()
        .map_err(Failed::Found)
}

/// Records by prefix, in byte order.
pub(super) fn list(
    connection: &Connection,
    collection: &str,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Record>, Failed> {
    let (compare, from) = match after {
        Some(after) if after >= prefix => (">", after),
        _ => (">=", prefix),
    };
    let sql = format!(
        "SELECT key, revision, value, crc FROM records
         WHERE collection = ? AND key {compare} ? ORDER BY key LIMIT ?"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![collection, from, signed(limit as u64)], record)?;
    let mut records = Vec::new();
    for row in rows {
        let (record, crc) = row?;
        if !record.key.starts_with(prefix) {
            break;
        }
        records.push(whole_record(collection, record, crc).map_err(Failed::Found)?);
    }
    Ok(records)
}

/// Queues that hold messages, by prefix, in byte order, each with its depth. The messages say
/// which there are: a queue must not be missed because its count is wrong.
pub(super) fn queues(
    connection: &Connection,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, u64)>, Failed> {
    // One step in the index for each queue, however long it is.
    let mut first = connection.prepare_cached(
        "SELECT queue FROM messages WHERE queue >= ? ORDER BY queue, due_ms, sequence LIMIT 1",
    )?;
    let mut next = connection.prepare_cached(
        "SELECT queue FROM messages WHERE queue > ? ORDER BY queue, due_ms, sequence LIMIT 1",
    )?;
    let mut queues: Vec<(String, u64)> = Vec::new();
    while queues.len() < limit {
        let last = queues.last().map(|(queue, _)| queue.as_str());
        let last = last.or(after).filter(|last| *last >= prefix);
        let found = match last {
            Some(last) => next.query_row([last], |row| row.get::<_, String>(0)),
            None => first.query_row([prefix], |row| row.get(0)),
        };
        match found.optional()? {
            Some(queue) if queue.starts_with(prefix) => {
                let depth = depth(connection, &queue)?;
                queues.push((queue, depth));
            }
            _ => break,
        }
    }
    Ok(queues)
}

/// How many messages a queue holds.
pub(super) fn depth(connection: &Connection, queue: &str) -> Result<u64, Failed> {
    number(
        connection,
        "SELECT depth FROM queues WHERE queue = ?",
        queue,
    )
    .map(Option::unwrap_or_default)
}

/// When the next message of a queue is due.
pub(super) fn next_due(connection: &Connection, queue: &str) -> Result<Option<u64>, Failed> {
    let sql = "SELECT due_ms FROM messages WHERE queue = ? ORDER BY due_ms LIMIT 1";
    number(connection, sql, queue)
}

fn number(connection: &Connection, sql: &str, queue: &str) -> Result<Option<u64>, Failed> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement
        .query_row([queue], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(found.map(i64::cast_unsigned))
}
