//! Records and queues in memory, for simulation and tests: the same meaning as on disk, and
//! nothing survives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use crate::{Error, Expect, Lease, Op, Record, Store, Transaction, bound};

/// A [`Store`] that keeps everything in memory.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes back all leases, as an open of a store on disk does: the process that had them is
    /// gone.
    pub fn take_back_leases(&self) {
        self.state.lock().take_back_leases();
    }
}

impl Store for Memory {
    fn get<'a>(
        &'a self,
        collection: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, Error>> {
        let state = self.state.lock();
        let found = state.collection(collection).and_then(|held| held.get(key));
        let record = found.map(|kept| kept.record(key));
        Box::pin(ready(Ok(record)))
    }

    fn list<'a>(
        &'a self,
        collection: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, Error>> {
        let state = self.state.lock();
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let records = state.collection(collection).map_or_else(Vec::new, |held| {
            held.range::<str, _>((from, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(limit)
                .map(|(key, kept)| kept.record(key))
                .collect()
        });
        Box::pin(ready(Ok(records)))
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Vec<u64>, Error>> {
        let result =
            bound::check(&transaction).and_then(|()| self.state.lock().commit(transaction));
        Box::pin(ready(result))
    }

    fn lease<'a>(
        &'a self,
        queue: &'a str,
        now_ms: u64,
        lease: Duration,
        count: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, Error>> {
        let leased = self.state.lock().lease(queue, now_ms, lease, count);
        Box::pin(ready(Ok(leased)))
    }

    fn queues<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, u64)>, Error>> {
        let state = self.state.lock();
        let among = |name: &str| name.starts_with(prefix) && after.is_none_or(|after| name > after);
        let queues = state.queues.iter().filter(|(name, _)| among(name));
        let mut queues: Vec<_> = queues
            .map(|(name, queue)| (name.clone(), queue.messages.len() as u64))
            .collect();
        queues.sort_unstable();
        queues.truncate(limit);
        Box::pin(ready(Ok(queues)))
    }

    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64, Error>> {
        let depth = self
            .state
            .lock()
            .queues
            .get(queue)
            .map_or(0, |queue| queue.messages.len());
        Box::pin(ready(Ok(depth as u64)))
    }

    fn next_due<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        let state = self.state.lock();
        let due = state
            .queues
            .get(queue)
            .and_then(|queue| queue.order.first());
        let due = due.map(|(due_ms, ..)| *due_ms);
        Box::pin(ready(Ok(due)))
    }
}

#[derive(Debug, Default)]
struct State {
    records: HashMap<String, BTreeMap<String, Kept>>,
    queues: HashMap<String, Queue>,
    /// The last number given out: revisions, epochs and the order of messages are drawn from
    /// one sequence, so that none is ever used again for another thing of the same name.
    sequence: u64,
}

#[derive(Debug, Clone)]
struct Kept {
    value: Bytes,
    revision: u64,
}

impl Kept {
    fn record(&self, key: &str) -> Record {
        Record {
            key: key.to_owned(),
            value: self.value.clone(),
            revision: self.revision,
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    messages: HashMap<String, Message>,
    /// Due time, sequence, id.
    order: BTreeSet<(u64, u64, String)>,
}

#[derive(Debug, Clone)]
struct Message {
    body: Bytes,
    due_ms: u64,
    enqueued_at_ms: u64,
    sequence: u64,
    attempt: u32,
    epoch: u64,
    held: bool,
}

/// How to take one step of a transaction back.
#[derive(Debug)]
enum Undo {
    Record {
        collection: &'static str,
        key: String,
        was: Option<Kept>,
    },
    Message {
        queue: String,
        id: String,
        was: Option<Message>,
    },
}

impl State {
    fn collection(&self, name: &str) -> Option<&BTreeMap<String, Kept>> {
        self.records.get(name)
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn commit(&mut self, transaction: Transaction) -> Result<Vec<u64>, Error> {
        let sequence = self.sequence;
        let mut undo = Vec::with_capacity(transaction.ops.len());
        let mut revisions = Vec::with_capacity(transaction.ops.len());
        for (index, op) in transaction.ops.into_iter().enumerate() {
            match self.apply(op, &mut undo) {
                Ok(revision) => revisions.push(revision),
                Err(key) => {
                    for step in undo.into_iter().rev() {
                        self.take_back(step);
                    }
                    self.sequence = sequence;
                    return Err(Error::Conflict { op: index, key });
                }
            }
        }
        Ok(revisions)
    }

    /// Applies one operation. Fails with the key whose state was another than expected.
    fn apply(&mut self, op: Op, undo: &mut Vec<Undo>) -> Result<u64, String> {
        match op {
            Op::Put {
                collection,
                key,
                value,
                expect,
            } => {
                self.check(collection, &key, expect)?;
                let revision = self.next();
                let kept = Some(Kept { value, revision });
                let was = self.set_record(collection, &key, kept);
                undo.push(Undo::Record {
                    collection,
                    key,
                    was,
                });
                Ok(revision)
            }
            Op::Delete {
                collection,
                key,
                expect,
            } => {
                self.check(collection, &key, expect)?;
                let was = self.set_record(collection, &key, None);
                undo.push(Undo::Record {
                    collection,
                    key,
                    was,
                });
                Ok(0)
            }
            Op::Enqueue {
                queue,
                id,
                body,
                due_ms,
                enqueued_at_ms,
            } => {
                if self
                    .queues
                    .get(&queue)
                    .is_some_and(|held| held.messages.contains_key(&id))
                {
                    return Ok(0);
                }
                let message = Message {
                    body,
                    due_ms: bound::ms(due_ms),
                    enqueued_at_ms: bound::ms(enqueued_at_ms),
                    sequence: self.next(),
                    attempt: 0,
                    epoch: 0,
                    held: false,
                };
                let was = self.set_message(&queue, &id, Some(message));
                undo.push(Undo::Message { queue, id, was });
                Ok(0)
            }
            Op::Settle { queue, id, epoch } => {
                self.held(&queue, &id, epoch)?;
                let was = self.set_message(&queue, &id, None);
                undo.push(Undo::Message { queue, id, was });
                Ok(0)
            }
            Op::Release {
                queue,
                id,
                epoch,
                due_ms,
                body,
            } => {
                let mut message = self.held(&queue, &id, epoch)?;
                message.held = false;
                message.due_ms = bound::ms(due_ms);
                message.body = body.unwrap_or(message.body);
                let was = self.set_message(&queue, &id, Some(message));
                undo.push(Undo::Message { queue, id, was });
                Ok(0)
            }
            Op::Extend {
                queue,
                id,
                epoch,
                until_ms,
            } => {
                let mut message = self.held(&queue, &id, epoch)?;
                message.due_ms = bound::ms(until_ms);
                let was = self.set_message(&queue, &id, Some(message));
                undo.push(Undo::Message { queue, id, was });
                Ok(0)
            }
        }
    }

    fn check(&self, collection: &str, key: &str, expect: Expect) -> Result<(), String> {
        let found = self.collection(collection).and_then(|held| held.get(key));
        if expect.holds(found.map(|kept| kept.revision)) {
            Ok(())
        } else {
            Err(key.to_owned())
        }
    }

    fn held(&self, queue: &str, id: &str, epoch: u64) -> Result<Message, String> {
        let message = self
            .queues
            .get(queue)
            .and_then(|held| held.messages.get(id));
        match message {
            Some(message) if message.held && message.epoch == epoch => Ok(message.clone()),
            _ => Err(id.to_owned()),
        }
    }

    fn take_back(&mut self, step: Undo) {
        match step {
            Undo::Record {
                collection,
                key,
                was,
            } => drop(self.set_record(collection, &key, was)),
            Undo::Message { queue, id, was } => drop(self.set_message(&queue, &id, was)),
        }
    }

    fn set_record(&mut self, collection: &str, key: &str, kept: Option<Kept>) -> Option<Kept> {
        let Some(kept) = kept else {
            return self.records.get_mut(collection)?.remove(key);
        };
        let held = match self.records.get_mut(collection) {
            Some(held) => held,
            None => self.records.entry(collection.to_owned()).or_default(),
        };
        held.insert(key.to_owned(), kept)
    }

    fn set_message(&mut self, queue: &str, id: &str, to: Option<Message>) -> Option<Message> {
        let held = match self.queues.get_mut(queue) {
            Some(held) => held,
            None => self.queues.entry(queue.to_owned()).or_default(),
        };
        let was = match to {
            Some(message) => {
                held.order
                    .insert((message.due_ms, message.sequence, id.to_owned()));
                let now = (message.due_ms, message.sequence);
                let was = held.messages.insert(id.to_owned(), message);
                was.inspect(|was| {
                    if (was.due_ms, was.sequence) != now {
                        held.order
                            .remove(&(was.due_ms, was.sequence, id.to_owned()));
                    }
                })
            }
            None => held.messages.remove(id).inspect(|was| {
                held.order
                    .remove(&(was.due_ms, was.sequence, id.to_owned()));
            }),
        };
        if held.messages.is_empty() {
            self.queues.remove(queue);
        }
        was
    }

    fn lease(&mut self, queue: &str, now_ms: u64, lease: Duration, count: usize) -> Vec<Lease> {
        let Some(held) = self.queues.get(queue) else {
            return Vec::new();
        };
        let due = held
            .order
            .iter()
            .take_while(|(due_ms, ..)| *due_ms <= bound::ms(now_ms));
        let ids: Vec<String> = due
            .take(count.min(bound::LEASES_MAX))
            .map(|(.., id)| id.clone())
            .collect();
        let until_ms = bound::until(now_ms, lease);
        ids.into_iter()
            .filter_map(|id| self.lend(queue, id, until_ms))
            .collect()
    }

    fn take_back_leases(&mut self) {
        let mut held = Vec::new();
        for (queue, messages) in &self.queues {
            let of = messages.messages.iter().filter(|(_, message)| message.held);
            held.extend(of.map(|(id, message)| (queue.clone(), id.clone(), message.clone())));
        }
        for (queue, id, mut message) in held {
            message.held = false;
            message.due_ms = message.due_ms.min(message.enqueued_at_ms);
            self.set_message(&queue, &id, Some(message));
        }
    }

    fn lend(&mut self, queue: &str, id: String, until_ms: u64) -> Option<Lease> {
        let mut message = self.queues.get(queue)?.messages.get(&id)?.clone();
        message.due_ms = until_ms;
        message.attempt = message.attempt.saturating_add(1);
        message.epoch = self.next();
        message.held = true;
        let lease = Lease {
            id: id.clone(),
            body: message.body.clone(),
            damage: None,
            attempt: message.attempt,
            epoch: message.epoch,
            enqueued_at_ms: message.enqueued_at_ms,
        };
        self.set_message(queue, &id, Some(message));
        Some(lease)
    }
}
