//! Delivers accepted events: leases them, runs them like any invocation, and writes down what
//! became of each. `model::retry` decides; this applies it, in one transaction.

mod dead_letter;
mod lanes;
mod under_way;
mod wake;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use model::retry::{self, Attempt, Next};
use model::{End, Execution, Fault, FunctionId, FunctionRef, InvocationId, Principal};
use store::{Expect, Lease, Op, Transaction};

pub(crate) use self::dead_letter::DeadLetter;
pub(crate) use self::lanes::Lanes;
pub(crate) use self::under_way::UnderWay;
pub(crate) use self::wake::Wake;

use self::lanes::{Found, Look, Place};
use self::under_way::Held;
use crate::admission::Permit;
use crate::error::ThrottleReason;
use crate::event::{self, Envelope};
use crate::record::{self, DEAD_LETTERS, EventState, INVOCATIONS, InvocationRecord};
use crate::verb::Invoke;
use crate::{Error, Shared, forget};

/// How long a delivery may be silent before another takes the event over.
const LEASE: Duration = Duration::from_secs(30);
/// How often a delivery that runs longer says so.
const EXTEND_EVERY: Duration = Duration::from_secs(10);
/// Attempts of one event that may end with the platform itself before it is given up: an event
/// that kills the platform must not kill it for ever.
const LOST_MAX: u32 = 3;
/// Wait after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Length of a reason that is kept, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// Delivers events until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    while !shared.in_flight.is_stopping() {
        shared.look_into_queues().await;
        let wake = shared.events.wake.notified();
        match shared.events.lanes.next_ms() {
            None => wake.await,
            Some(due_ms) => {
                let left_ms = due_ms.saturating_sub(shared.clock.now_ms()).max(1);
                tokio::select! {
                    () = wake => {}
                    () = shared.clock.sleep(Duration::from_millis(left_ms)) => {}
                }
            }
        }
    }
}

impl Shared {
    /// Begins as many deliveries as there is room for.
    async fn look_into_queues(self: &Arc<Self>) {
        let events = &self.events;
        while !self.in_flight.is_stopping() {
            if events.wake.take_freed() {
                events.lanes.let_go();
            }
            let looks = {
                let catalog = self.catalog.load();
                let gate = |function: &FunctionId| {
                    let entry = catalog.get(function).ok()?;
                    Some(Arc::clone(&entry.gate))
                };
                let now_ms = self.clock.now_ms();
                events.lanes.looks(now_ms, &events.places, gate)
            };
            if looks.is_empty() {
                return;
            }
            // At the same time, so that the store writes them in one batch.
            join_all(looks.into_iter().map(|look| self.look(look))).await;
        }
    }

    async fn look(self: &Arc<Self>, mut look: Look) {
        let found = match self.lease_due(&mut look).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, queue = %look.queue, "deliver events");
                let at_ms = self.clock.now_ms().saturating_add(millis(STORE_RETRY));
                Found::Failed { at_ms }
            }
        };
        self.events.lanes.looked(&look.queue, found);
    }

    async fn lease_due(self: &Arc<Self>, look: &mut Look) -> Result<Found, Error> {
        let (queue, now_ms) = (Arc::clone(&look.queue), self.clock.now_ms());
        // Of events that have no permit, only those that have been due for longer than an event
        // may live: they need none to come to their end.
        let (age_max, held) = (self.least_age_max(&queue), look.refused.is_some());
        let back = if held { age_max } else { Duration::ZERO };
        let due_by_ms = now_ms.saturating_sub(millis(back));
        let leased = self
            .store
            .lease(&queue, due_by_ms, back + LEASE, look.count);
        let leases = leased.await?;
        let found = leases.len();
        for lease in leases {
            // One whose lease ran out while it runs here: the wall clock was set, or the
            // machine slept. It goes on under the new lease.
            let Some(under_way) = self.events.under_way.begin(&lease) else {
                continue;
            };
            let Some(place) = look.place(self) else { break };
            let delivery = Delivery {
                shared: Arc::clone(self),
                lease,
                place,
                permit: look.permits.pop(),
                refused: look.refused,
                under_way,
            };
            self.instances.handle.spawn(delivery.run());
        }
        // What was not needed is given back now and not when the store has answered.
        look.permits.clear();
        let due_ms = self.store.next_due(&queue).await?;
        Ok(match due_ms {
            // Whatever comes meanwhile grows too old later than what would be due now.
            Some(due_ms) if held => Found::Held {
                at_ms: due_ms.min(now_ms).saturating_add(millis(age_max)),
            },
            due_ms => Found::Events {
                all: found == look.count,
                due_ms,
            },
        })
    }

    /// Returns an event that was leased just as its delivery ended.
    async fn give_back(&self, queue: &str, id: &str, epoch: u64) -> Result<(), Error> {
        let release = Op::Release {
            queue: queue.to_owned(),
            id: id.to_owned(),
            epoch,
            due_ms: self.clock.now_ms(),
            body: None,
        };
        self.store.commit(Transaction::of(release)).await?;
        Ok(())
    }
}

/// One attempt at one event.
struct Delivery {
    shared: Arc<Shared>,
    /// As it was when the delivery began; see `under_way` for what became of it.
    lease: Lease,
    place: Place,
    /// None where none was taken before: `begin_with` then takes one, or is refused.
    permit: Option<Permit>,
    /// Why it could not run, where it is looked at for its age alone.
    refused: Option<ThrottleReason>,
    under_way: Held,
}

/// How an attempt ended.
enum Tried {
    /// It ran, or was refused for now.
    Attempt(Attempt, String),
    /// It can never run: what it is for is not there.
    Impossible(String),
    /// It is too old to be tried.
    TooOld,
    /// The platform is stopping; nothing was tried.
    NotNow,
}

impl Delivery {
    async fn run(mut self) {
        let permit = self.permit.take();
        let delivered = self.deliver(permit).await;
        let Self {
            shared,
            lease: Lease { id, .. },
            mut place,
            under_way,
            ..
        } = self;
        let given_back = match delivered {
            Ok((epoch, due_ms)) => match under_way.end(epoch) {
                Some(epoch) => shared.give_back(&place.queue, &id, epoch).await,
                None => {
                    place.due_ms = due_ms;
                    Ok(())
                }
            },
            Err(error) => Err(error),
        };
        if let Err(error) = given_back {
            // The lease runs out, and the event is tried again.
            tracing::error!(%error, event = %id, "deliver an event");
        }
    }

    fn queue(&self) -> String {
        self.place.queue.to_string()
    }

    /// Answers the epoch under which its end was written down, and when it is due again, if it is.
    async fn deliver(&self, permit: Option<Permit>) -> Result<(u64, Option<u64>), Error> {
        let (mut event, (envelope, payload)) = match (self.record().await?, self.opened()) {
            (Ok(event), Ok(opened)) => (event, opened),
            (event, opened) => return Ok((self.set_apart(event, opened).await?, None)),
        };
        let target = event::target(&envelope.function, envelope.qualifier.as_ref());
        let lost = self
            .lease
            .attempt
            .saturating_sub(1)
            .saturating_sub(event.attempts);
        let age = event.age(self.shared.clock.now_ms());
        let policy = self.shared.retry_policy(&event);
        let tried = if retry::is_expired(policy, age) {
            Tried::TooOld
        } else if lost > LOST_MAX {
            Tried::Impossible(format!("the platform ended during {lost} attempts at it"))
        } else {
            match self.id().and_then(|id| Ok((id, target?))) {
                Ok((id, target)) => {
                    let payload = payload.clone();
                    self.attempt(id, target, &envelope, payload, permit).await
                }
                Err(error) => Tried::Impossible(error.to_string()),
            }
        };
        let next = self.decide(&mut event, tried);
        let letter = || DeadLetter::new(&self.lease.id, &event, &envelope, &payload);
        let application = |epoch| self.application(next, &event, letter, epoch);
        let epoch = self.conclude(application).await?;
        self.count(event.state);
        let due_ms = match next {
            Decision::Again { due_ms } => Some(due_ms),
            Decision::Done | Decision::GiveUp => None,
        };
        Ok((epoch, due_ms))
    }

    /// What is kept of the event beside the message, or why that cannot be told.
    async fn record(&self) -> Result<Result<InvocationRecord, Error>, Error> {
        let id = &self.lease.id;
        let found = match self.shared.store.get(INVOCATIONS, id).await {
            Err(damaged @ store::Error::Damaged { .. }) => return Ok(Err(damaged.into())),
            found => found?,
        };
        Ok(match found {
            Some(found) => record::read(&found.key, &found.value),
            None => Err(self.unknown("its event has no record".to_owned())),
        })
    }

    /// The message, or why it cannot be read.
    fn opened(&self) -> Result<(Envelope, Bytes), Error> {
        match &self.lease.damage {
            Some(damage) => Err(self.unknown(damage.clone())),
            None => Envelope::open(&self.lease.id, &self.lease.body),
        }
    }

    fn unknown(&self, detail: String) -> Error {
        Error::UnknownForm {
            key: format!("{}/{}", self.place.queue, self.lease.id),
            detail,
        }
    }

    /// Makes a decision true. Answers the epoch under which it did. Where the store cannot now,
    /// it is asked again: the event has run, and to forget that would be to run it once more.
    async fn conclude(
        &self,
        application: impl Fn(u64) -> Result<Transaction, Error>,
    ) -> Result<u64, Error> {
        let mut conflicts = 0;
        loop {
            let epoch = self.under_way.epoch();
            let error = match self.shared.store.commit(application(epoch)?).await {
                Ok(_) => return Ok(epoch),
                Err(error) => error,
            };
            match &error {
                store::Error::Broken { .. } => return Err(error.into()),
                // Leased anew in between, by the loop that knows that it runs here.
                store::Error::Conflict { .. } if self.under_way.epoch() != epoch => continue,
                store::Error::Conflict { .. } if conflicts > 0 => return Err(error.into()),
                store::Error::Conflict { .. } => conflicts += 1,
                _ if self.shared.in_flight.is_stopping() => return Err(error.into()),
                _ => {}
            }
            tracing::warn!(%error, event = %self.lease.id, "write down the end of an event");
            self.shared.clock.sleep(STORE_RETRY).await;
        }
    }

    fn id(&self) -> Result<InvocationId, Error> {
        let id = self.lease.id.parse();
        id.map_err(|error: model::InvalidName| self.unknown(error.to_string()))
    }

    /// Runs the event, and keeps its lease while that takes.
    async fn attempt(
        &self,
        id: InvocationId,
        target: FunctionRef,
        envelope: &Envelope,
        payload: Bytes,
        permit: Option<Permit>,
    ) -> Tried {
        let invoke = crate::invoke::begin_with(
            &self.shared,
            Invoke {
                principal: Principal::Platform,
                url: None,
                target,
                id: Some(id),
                payload,
                trace: envelope.trace.clone(),
                client_context: envelope.client_context.clone(),
                tail: false,
            },
            permit,
            None,
        );
        let mut running = match invoke {
            Ok(running) => running,
            Err(error) => return tried(Err(error)),
        };
        // Side by side: a store that is slow to extend the lease holds up no function.
        let ended = tokio::select! {
            ended = &mut running => ended,
            never = self.keep_lease() => match never {},
        };
        self.unless_cut_off(tried(ended))
    }

    async fn keep_lease(&self) -> Infallible {
        loop {
            self.shared.clock.sleep(EXTEND_EVERY).await;
            self.extend().await;
        }
    }

    /// An attempt that failed while the engine cuts off what is running is none.
    fn unless_cut_off(&self, tried: Tried) -> Tried {
        let replied = matches!(tried, Tried::Attempt(Attempt::Ran(End::Replied), _));
        if self.shared.in_flight.is_cutting_off() && !replied {
            Tried::NotNow
        } else {
            tried
        }
    }

    async fn extend(&self) {
        let extend = Op::Extend {
            queue: self.queue(),
            id: self.lease.id.clone(),
            epoch: self.under_way.epoch(),
            until_ms: self.shared.clock.now_ms().saturating_add(millis(LEASE)),
        };
        if let Err(error) = self.shared.store.commit(Transaction::of(extend)).await {
            // It goes on: at worst the event is run twice, which it may be.
            tracing::warn!(%error, event = %self.lease.id, "keep the lease of an event");
        }
    }

    /// Counts the attempt in the event's record and decides what is next.
    fn decide(&self, event: &mut InvocationRecord, tried: Tried) -> Decision {
        let now_ms = self.shared.clock.now_ms();
        let leased = self.under_way.attempt();
        // Looking at its age is no attempt.
        event.attempts = match tried {
            Tried::TooOld => leased.saturating_sub(1).max(event.attempts),
            _ => leased.max(event.attempts.saturating_add(1)),
        };
        let (attempt, reason) = match tried {
            Tried::Attempt(attempt, reason) => (attempt, reason),
            Tried::NotNow => return Decision::Again { due_ms: now_ms },
            Tried::Impossible(reason) => {
                event.end(EventState::DeadLettered, now_ms, reason);
                return Decision::GiveUp;
            }
            Tried::TooOld => {
                let refused = self
                    .refused
                    .map(|reason| Error::Throttled { reason }.to_string());
                let reason = refused.or_else(|| event.reason.take());
                let reason = reason.unwrap_or_else(|| "it grew too old before it could run".into());
                event.end(EventState::Expired, now_ms, reason);
                return Decision::GiveUp;
            }
        };
        let counts = !matches!(attempt, Attempt::Throttled | Attempt::Ran(End::Fault));
        if counts {
            event.failures += u32::from(attempt != Attempt::Ran(End::Replied));
            event.uncounted = 0;
        } else {
            event.uncounted = event.uncounted.saturating_add(1);
        }
        match retry::next(
            self.shared.retry_policy(event),
            event.age(now_ms),
            attempt,
            event.failures,
            event.uncounted,
        ) {
            Next::Done => {
                event.end(EventState::Succeeded, now_ms, reason);
                Decision::Done
            }
            Next::Again { after, .. } => {
                event.reason = Some(reason);
                Decision::Again {
                    due_ms: now_ms.saturating_add(millis(after)),
                }
            }
            Next::Exhausted => {
                event.end(EventState::DeadLettered, now_ms, reason);
                Decision::GiveUp
            }
            Next::Expired => {
                event.end(EventState::Expired, now_ms, reason);
                Decision::GiveUp
            }
        }
    }

    /// The one transaction that makes the decision true.
    fn application(
        &self,
        decision: Decision,
        event: &InvocationRecord,
        letter: impl FnOnce() -> DeadLetter,
        epoch: u64,
    ) -> Result<Transaction, Error> {
        let (queue, key) = (self.queue(), self.lease.id.clone());
        let put = Op::Put {
            collection: INVOCATIONS,
            value: record::write(&key, event)?,
            key: key.clone(),
            expect: Expect::Present,
        };
        if let Decision::Again { due_ms } = decision {
            let release = Op::Release {
                queue,
                id: key,
                epoch,
                due_ms,
                body: None,
            };
            return Ok(Transaction::of(release).and(put));
        }
        let mut transaction = Transaction::of(Op::Settle {
            queue,
            id: key,
            epoch,
        })
        .and(put);
        let mut letter_key = None;
        if matches!(decision, Decision::GiveUp) {
            let key = record::dead_letter_key(&event.function, &self.lease.id);
            transaction = transaction.and(Op::Put {
                collection: DEAD_LETTERS,
                value: record::write(&key, &letter())?,
                key: key.clone(),
                expect: Expect::Any,
            });
            letter_key = Some(key);
        }
        let ended_ms = event.ended_ms.unwrap_or_default();
        Ok(transaction.and(forget::later(&self.lease.id, letter_key, ended_ms)))
    }

    fn count(&self, state: EventState) {
        let counters = &self.shared.counters;
        match state {
            EventState::Accepted => return,
            EventState::Succeeded => &counters.events_succeeded,
            EventState::DeadLettered | EventState::Expired => &counters.events_dead,
        }
        .fetch_add(1, Ordering::Relaxed);
        let less = |waiting: u64| Some(waiting.saturating_sub(1));
        let _ = self
            .shared
            .events
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.shared.count_ended();
    }
}

/// What is done with an event after an attempt.
#[derive(Clone, Copy)]
enum Decision {
    Done,
    Again { due_ms: u64 },
    GiveUp,
}

/// How an attempt ended, as far as retrying cares, and in words.
fn tried(ended: Result<Execution, Error>) -> Tried {
    let error = match ended {
        Ok(execution) => {
            let end = execution.outcome.end;
            return Tried::Attempt(Attempt::Ran(end), describe(&execution));
        }
        Err(error) => error,
    };
    let reason = error.to_string();
    match error {
        Error::Stopping => Tried::NotNow,
        Error::Throttled { .. } => Tried::Attempt(Attempt::Throttled, reason),
        error => match error.fault() {
            Fault::Caller => Tried::Impossible(reason),
            Fault::Function => Tried::Attempt(Attempt::Ran(End::Failed), reason),
            Fault::Busy => Tried::Attempt(Attempt::Throttled, reason),
            Fault::Ours => Tried::Attempt(Attempt::Ran(End::Fault), reason),
        },
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The end, and of a failure what the function said.
fn describe(execution: &Execution) -> String {
    let end = execution.outcome.end;
    if end == End::Replied {
        return end.as_str().to_owned();
    }
    let said = execution.outcome.payload.get(..REASON_BYTES_MAX);
    let said = said.unwrap_or(&execution.outcome.payload);
    format!("{}: {}", end.as_str(), String::from_utf8_lossy(said))
}

impl InvocationRecord {
    fn age(&self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.accepted_ms))
    }

    fn end(&mut self, state: EventState, now_ms: u64, reason: String) {
        self.state = state;
        self.ended_ms = Some(now_ms);
        self.reason = Some(reason);
    }
}
