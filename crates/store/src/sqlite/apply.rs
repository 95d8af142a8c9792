//! Operations and leases as SQL, inside the transaction that the writer has begun.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{Message, body_crc, record_crc, signed};
use crate::{Error, Expect, Lease, Op, Record, Transaction, bound};

/// Why an operation was not applied.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The caller's transaction alone fails.
    Caller(Error),
    /// The file failed us; so does everything that shares the transaction.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// One SQLite transaction in the making: many callers' transactions.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    connection: &'a Connection,
    now_ms: u64,
    sequence: u64,
    /// By how much queues grew and shrank since the batch began, in order.
    grown: Vec<(String, i64)>,
}

impl<'a> Batch<'a> {
    /// A batch that draws its numbers after `sequence`.
    pub(super) fn new(connection: &'a Connection, sequence: u64, now_ms: u64) -> Self {
        Self {
            connection,
            now_ms,
            sequence,
            grown: Vec::new(),
        }
    }

    /// Applies all operations or none.
    pub(super) fn commit(&mut self, transaction: &Transaction) -> Result<Vec<u64>, Refusal> {
        // One operation finds out whether it applies before it changes anything.
        if transaction.ops.len() == 1 {
            return self.apply_all(transaction);
        }
        let (sequence, grown) = (self.sequence, self.grown.len());
        self.execute("SAVEPOINT caller")?;
        let applied = self.apply_all(transaction);
        if let Err(Refusal::Caller(_)) = applied {
            self.execute("ROLLBACK TO caller")?;
            self.sequence = sequence;
            self.grown.truncate(grown);
        }
        if !matches!(applied, Err(Refusal::Sql(_))) {
            self.execute("RELEASE caller")?;
        }
        applied
    }

    fn apply_all(&mut self, transaction: &Transaction) -> Result<Vec<u64>, Refusal> {
        let ops = transaction.ops.iter().enumerate();
        ops.map(|(index, op)| self.apply(index, op)).collect()
    }

    fn apply(&mut self, index: usize, op: &Op) -> Result<u64, Refusal> {
        match op {
            Op::Put {
                collection,
                key,
                value,
                expect,
            } => {
                self.check(index, collection, key, *expect)?;
                self.put(collection, key, value)
            }
            Op::Delete {
                collection,
                key,
                expect,
            } => {
                self.check(index, collection, key, *expect)?;
                let sql = "DELETE FROM records WHERE collection = ? AND key = ?";
                self.connection
                    .prepare_cached(sql)?
                    .execute(params![collection, key])?;
                Ok(0)
            }
            Op::Enqueue {
                queue,
                id,
                body,
                due_ms,
                enqueued_at_ms,
            } => self.enqueue(queue, id, body, *due_ms, *enqueued_at_ms),
            Op::Settle { queue, id, epoch } => {
                let message = self.held(index, queue, id, *epoch)?;
                self.remove(queue, &message)?;
                self.remove_body(queue, &message)?;
                Ok(0)
            }
            Op::Release {
                queue,
                id,
                epoch,
                due_ms,
                body,
            } => {
                let mut message = self.held(index, queue, id, *epoch)?;
                message.held = false;
                message.due_ms = bound::ms(*due_ms);
                if let Some(body) = body {
                    self.put_body(message.sequence, body)?;
                }
                self.update(queue, &message)
            }
            Op::Extend {
                queue,
                id,
                epoch,
                until_ms,
            } => {
                let mut message = self.held(index, queue, id, *epoch)?;
                message.due_ms = bound::ms(*until_ms);
                self.update(queue, &message)
            }
        }
    }

    fn check(
        &self,
        index: usize,
        collection: &str,
        key: &str,
        expect: Expect,
    ) -> Result<(), Refusal> {
        if expect == Expect::Any {
            return Ok(());
        }
        let sql = "SELECT revision FROM records WHERE collection = ? AND key = ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let revision = statement
            .query_row(params![collection, key], |row| row.get::<_, i64>(0))
            .optional()?
            .map(i64::cast_unsigned);
        if expect.holds(revision) {
            Ok(())
        } else {
            Err(conflict(index, key))
        }
    }

    fn put(&mut self, collection: &str, key: &str, value: &Bytes) -> Result<u64, Refusal> {
        let revision = self.next();
        let record = Record {
            key: key.to_owned(),
            value: value.clone(),
            revision,
        };
        let crc = record_crc(collection, &record);
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO records (collection, key, revision, value, crc)
                 VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![
                collection,
                key,
                signed(revision),
                value.as_ref(),
                crc
            ])?;
        Ok(revision)
    }

    fn enqueue(
        &mut self,
        queue: &str,
        id: &str,
        body: &[u8],
        due_ms: u64,
        enqueued_at_ms: u64,
    ) -> Result<u64, Refusal> {
        let message = Message {
            id: id.to_owned(),
            sequence: self.sequence + 1,
            due_ms: bound::ms(due_ms),
            enqueued_at_ms: bound::ms(enqueued_at_ms),
            attempt: 0,
            epoch: 0,
            held: false,
        };
        let inserted = self
            .connection
            .prepare_cached(
                "INSERT INTO messages
                 (queue, id, sequence, due_ms, enqueued_at_ms, attempt, epoch, held, crc)
                 VALUES (?, ?, ?, ?, ?, 0, 0, 0, ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                queue,
                id,
                signed(message.sequence),
                signed(message.due_ms),
                signed(message.enqueued_at_ms),
                message.crc(queue),
            ])?;
        if inserted == 1 {
            let sequence = self.next();
            self.put_body(sequence, body)?;
            self.grow(queue, 1);
        }
        Ok(0)
    }

    /// Lends out what is due. A message that is not what was accepted is lent without its body,
    /// so that it does not run, and comes to an end all the same.
    pub(super) fn lease(
        &mut self,
        queue: &str,
        now_ms: u64,
        lease: Duration,
        count: usize,
    ) -> rusqlite::Result<Vec<Lease>> {
        let until_ms = bound::until(now_ms, lease);
        let due = self.due(queue, bound::ms(now_ms), count.min(bound::LEASES_MAX))?;
        let mut leases = Vec::with_capacity(due.len());
        for due in due {
            let damage = match (due.verify(queue), due.damage) {
                // What was found once stays, though the row has a checksum of its own again.
                (_, Some(known)) => Some(known),
                (Err(damage), None) => Some(self.set_apart(queue, &due.message, &damage)?),
                (Ok(()), None) => None,
            };
            let mut message = due.message;
            message.due_ms = until_ms;
            message.attempt = message.attempt.saturating_add(1);
            message.epoch = self.next();
            message.held = true;
            self.update_row(queue, &message)?;
            leases.push(Lease {
                id: message.id,
                body: damage.as_ref().map_or(due.body.into(), |_| Bytes::new()),
                damage,
                attempt: message.attempt,
                epoch: message.epoch,
                enqueued_at_ms: message.enqueued_at_ms,
            });
        }
        Ok(leases)
    }

    fn due(&self, queue: &str, now_ms: u64, count: usize) -> rusqlite::Result<Vec<Due>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT messages.*, body, bodies.crc AS body_crc, damaged.detail AS damage
             FROM messages LEFT JOIN bodies USING (sequence)
             LEFT JOIN damaged ON damaged.sequence = messages.sequence
             AND damaged.queue = messages.queue AND damaged.id = messages.id
             WHERE messages.queue = ? AND due_ms <= ?
             ORDER BY due_ms, messages.sequence LIMIT ?",
        )?;
        let rows = statement.query_map(
            params![queue, signed(now_ms), signed(count as u64)],
            |row| {
                let (message, crc) = Message::read(row)?;
                let body: Option<Vec<u8>> = row.get("body")?;
                let body_crc: Option<i64> = row.get("body_crc")?;
                // No checksum equals -1, so a body that is gone is found out as damage.
                Ok(Due {
                    message,
                    crc,
                    body: body.unwrap_or_default(),
                    body_crc: body_crc.unwrap_or(-1),
                    damage: row.get("damage")?,
                })
            },
        )?;
        rows.collect()
    }

    /// Notes that a message is damaged; what there is of its body stays from now on. Answers
    /// what is wrong with it.
    fn set_apart(
        &self,
        queue: &str,
        message: &Message,
        damage: &Error,
    ) -> rusqlite::Result<String> {
        tracing::error!(queue, id = message.id, %damage, "message set apart");
        let detail = damage.to_string();
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO damaged (sequence, queue, id, found_at_ms, detail)
                 VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![
                signed(message.sequence),
                queue,
                message.id,
                signed(bound::ms(self.now_ms)),
                detail,
            ])?;
        Ok(detail)
    }

    /// The message, if it is leased under this epoch.
    fn held(&self, index: usize, queue: &str, id: &str, epoch: u64) -> Result<Message, Refusal> {
        let sql = "SELECT * FROM messages WHERE queue = ? AND id = ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement
            .query_row(params![queue, id], Message::read)
            .optional()?;
        let Some((message, crc)) = found else {
            return Err(conflict(index, id));
        };
        message.verify(queue, crc).map_err(Refusal::Caller)?;
        if message.held && message.epoch == epoch {
            Ok(message)
        } else {
            Err(conflict(index, id))
        }
    }

    fn update(&self, queue: &str, message: &Message) -> Result<u64, Refusal> {
        self.update_row(queue, message)?;
        Ok(0)
    }

    fn update_row(&self, queue: &str, message: &Message) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE messages SET due_ms = ?, attempt = ?, epoch = ?, held = ?, crc = ?
                 WHERE queue = ? AND id = ?",
            )?
            .execute(params![
                signed(message.due_ms),
                message.attempt,
                signed(message.epoch),
                message.held,
                message.crc(queue),
                queue,
                message.id,
            ])?;
        Ok(())
    }

    fn remove(&mut self, queue: &str, message: &Message) -> rusqlite::Result<()> {
        let sql = "DELETE FROM messages WHERE queue = ? AND id = ?";
        self.connection
            .prepare_cached(sql)?
            .execute(params![queue, message.id])?;
        self.grow(queue, -1);
        Ok(())
    }

    fn put_body(&self, sequence: u64, body: &[u8]) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO bodies (sequence, body, crc) VALUES (?, ?, ?)";
        let crc = body_crc(sequence, body);
        self.connection
            .prepare_cached(sql)?
            .execute(params![signed(sequence), body, crc])?;
        Ok(())
    }

    /// Removes a body, unless it was set apart.
    fn remove_body(&self, queue: &str, message: &Message) -> rusqlite::Result<()> {
        let sql = "DELETE FROM bodies WHERE sequence = ?1 AND NOT EXISTS
                   (SELECT 1 FROM damaged WHERE sequence = ?1 AND queue = ?2 AND id = ?3)";
        self.connection.prepare_cached(sql)?.execute(params![
            signed(message.sequence),
            queue,
            message.id
        ])?;
        Ok(())
    }

    /// Writes what the whole batch shares. Answers the last number drawn.
    pub(super) fn finish(self, began_at: u64) -> rusqlite::Result<u64> {
        let sql = "INSERT INTO queues (queue, depth) VALUES (?, ?)
                   ON CONFLICT DO UPDATE SET depth = depth + excluded.depth";
        let mut sums: HashMap<&str, i64> = HashMap::new();
        for (queue, by) in &self.grown {
            *sums.entry(queue).or_default() += by;
        }
        for (queue, grown) in sums.into_iter().filter(|(_, grown)| *grown != 0) {
            self.connection
                .prepare_cached(sql)?
                .execute(params![queue, grown])?;
            let sql = "DELETE FROM queues WHERE queue = ? AND depth <= 0";
            self.connection.prepare_cached(sql)?.execute([queue])?;
        }
        if self.sequence != began_at {
            let sql = "UPDATE sequence SET last = ?";
            self.connection
                .prepare_cached(sql)?
                .execute([signed(self.sequence)])?;
        }
        Ok(self.sequence)
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn grow(&mut self, queue: &str, by: i64) {
        self.grown.push((queue.to_owned(), by));
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

/// A message that could be lent out, with what shows whether it is whole.
#[derive(Debug)]
struct Due {
    message: Message,
    crc: i64,
    body: Vec<u8>,
    body_crc: i64,
    /// What was found to be wrong with it earlier.
    damage: Option<String>,
}

impl Due {
    fn verify(&self, queue: &str) -> Result<(), Error> {
        self.message.verify(queue, self.crc)?;
        self.message.verify_body(queue, &self.body, self.body_crc)
    }
}

fn conflict(op: usize, key: &str) -> Refusal {
    Refusal::Caller(Error::Conflict {
        op,
        key: key.to_owned(),
    })
}
