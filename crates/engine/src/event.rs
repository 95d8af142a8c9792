//! Accepting events: on disk, with a record of their own, before anybody is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use model::{FunctionId, FunctionRef, InvocationId, Principal, Qualifier, limit};
use serde::{Deserialize, Serialize};
use store::{Expect, Op, Transaction};
use tokio::sync::Semaphore;

use crate::deliver::{Lanes, UnderWay, Wake};
use crate::error::ThrottleReason;
use crate::invoke::{authorize, check_size};
use crate::record::{self, EventState, InvocationRecord};
use crate::verb::{EventView, Invoke};
use crate::{Error, Shared};

/// The queue of the events that earlier programs accepted, of all functions together, and the
/// begin of the name of each function's own.
const QUEUE: &str = "events";
/// Accepted events that wait, at most (ours: at a kilobyte each, a gigabyte of disk).
const WAITING_MAX: u64 = 1_000_000;
/// Deliveries under way at once (ours: one function alone may have half of them). Each may hold a
/// payload of a megabyte.
const DELIVERIES_MAX: u32 = 128;
/// Queues whose names are read at once.
const PAGE: usize = 500;

/// What accepting and delivering share.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) wake: Arc<Wake>,
    /// Events that are accepted and have no end yet.
    pub(crate) waiting: AtomicU64,
    /// Events that have ended and can be found, as of the last look at them.
    pub(crate) ended: AtomicU64,
    pub(crate) under_way: UnderWay,
    /// The queues, and when to look into which.
    pub(crate) lanes: Lanes,
    /// A permit for each delivery that may be under way.
    pub(crate) places: Arc<Semaphore>,
}

impl Events {
    pub(crate) fn new(wake: &Arc<Wake>) -> Self {
        Self {
            wake: Arc::clone(wake),
            waiting: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            under_way: UnderWay::default(),
            lanes: Lanes::default(),
            places: Arc::new(Semaphore::new(DELIVERIES_MAX as usize)),
        }
    }

    /// Resolves once no delivery is under way.
    pub(crate) async fn none_under_way(&self) {
        // The semaphore is never closed, so this cannot fail.
        let _ = self.places.acquire_many(DELIVERIES_MAX).await;
    }
}

/// An event as its queue holds it: this, as one line of JSON, then the payload as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) function: FunctionId,
    /// Version or alias, where the caller named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) qualifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_context: Option<String>,
}

impl Envelope {
    /// The envelope and its payload, from a message's body.
    pub(crate) fn open(id: &str, body: &Bytes) -> Result<(Self, Bytes), Error> {
        let end = body.iter().position(|byte| *byte == b'\n').ok_or_else(|| {
            let detail = "it has no end of its first line".to_owned();
            Error::UnknownForm {
                key: format!("{QUEUE}/{id}"),
                detail,
            }
        })?;
        let envelope = record::read(id, &body[..end])?;
        Ok((envelope, body.slice(end + 1..)))
    }

    fn seal(&self, id: &InvocationId, payload: &[u8]) -> Result<Bytes, Error> {
        let line = record::write(id.as_str(), self)?;
        let mut body = BytesMut::with_capacity(line.len() + 1 + payload.len());
        body.extend_from_slice(&line);
        body.put_u8(b'\n');
        body.extend_from_slice(payload);
        Ok(body.freeze())
    }
}

/// The queue of a function's events.
fn queue(function: &FunctionId) -> String {
    format!("{QUEUE}/{}", record::function_key(function))
}

/// Whose events a queue holds; none where it is that of an earlier program.
pub(crate) fn function_of(queue: &str) -> Option<FunctionId> {
    let mut parts = queue.strip_prefix(QUEUE)?.strip_prefix('/')?.splitn(3, '/');
    Some(FunctionId {
        account: parts.next()?.parse().ok()?,
        region: parts.next()?.parse().ok()?,
        name: parts.next()?.parse().ok()?,
    })
}

/// A reference from its stored parts.
pub(crate) fn target(
    function: &FunctionId,
    qualifier: Option<&String>,
) -> Result<FunctionRef, Error> {
    let parsed = qualifier.map_or(Ok(Qualifier::Absent), |text| text.parse());
    let qualifier = parsed.map_err(|error| Error::UnknownForm {
        key: record::function_key(function),
        detail: error.to_string(),
    })?;
    Ok(FunctionRef {
        function: function.clone(),
        qualifier,
    })
}

impl Shared {
    pub(crate) async fn submit(self: &Arc<Self>, request: Invoke) -> Result<InvocationId, Error> {
        check_size(&request, limit::EVENT_BYTES_MAX)?;
        if self.in_flight.is_stopping() {
            return Err(Error::Stopping);
        }
        {
            let catalog = self.catalog.load();
            authorize(&catalog, &request)?.show(&request.target)?;
        }
        if self.events.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            return Err(self.throttled(ThrottleReason::WaitingEvents));
        }
        let id = request.id.clone();
        let id = id.unwrap_or_else(|| InvocationId::from_random(self.clock.random_id()));
        let queue = queue(&request.target.function);
        let acceptance = self.acceptance(&id, queue.clone(), request)?;
        let shared = Arc::clone(self);
        self.finish(async move { shared.accept(&queue, acceptance).await })
            .await?;
        Ok(id)
    }

    async fn accept(&self, queue: &str, acceptance: Transaction) -> Result<(), Error> {
        match self.store.commit(acceptance).await {
            Ok(_) => {
                self.events.waiting.fetch_add(1, Ordering::Relaxed);
                self.counters
                    .events_accepted
                    .fetch_add(1, Ordering::Relaxed);
                self.events.lanes.wake(queue);
                self.events.wake.notify_one();
                Ok(())
            }
            // The door chose an id that it has used before: that event is accepted already.
            Err(store::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn acceptance(
        &self,
        id: &InvocationId,
        queue: String,
        request: Invoke,
    ) -> Result<Transaction, Error> {
        let now_ms = self.clock.now_ms();
        let qualifier = match &request.target.qualifier {
            Qualifier::Absent => None,
            Qualifier::Version(version) => Some(version.to_string()),
            Qualifier::Alias(alias) => Some(alias.to_string()),
        };
        let function = request.target.function;
        let accepted = InvocationRecord {
            function: function.clone(),
            qualifier: qualifier.clone(),
            accepted_ms: now_ms,
            state: EventState::Accepted,
            attempts: 0,
            failures: 0,
            uncounted: 0,
            reason: None,
            ended_ms: None,
        };
        let envelope = Envelope {
            function,
            qualifier,
            trace: request.trace,
            client_context: request.client_context,
        };
        let key = id.to_string();
        let value = record::write(&key, &accepted)?;
        let body = envelope.seal(id, &request.payload)?;
        Ok(Transaction::of(Op::Put {
            collection: record::INVOCATIONS,
            key: key.clone(),
            value,
            expect: Expect::Absent,
        })
        .and(Op::Enqueue {
            queue,
            id: key,
            body,
            due_ms: now_ms,
            enqueued_at_ms: now_ms,
        }))
    }

    pub(crate) async fn event(
        &self,
        who: &Principal,
        id: &InvocationId,
    ) -> Result<Option<EventView>, Error> {
        let Some(found) = self.store.get(record::INVOCATIONS, id.as_str()).await? else {
            return Ok(None);
        };
        let found: InvocationRecord = record::read(&found.key, &found.value)?;
        if !model::principal::may_use(who, &found.function.account) {
            return Ok(None);
        }
        Ok(Some(EventView {
            id: id.clone(),
            target: target(&found.function, found.qualifier.as_ref())?,
            state: found.state,
            accepted_ms: found.accepted_ms,
            ended_ms: found.ended_ms,
            attempts: found.attempts,
            reason: found.reason,
        }))
    }

    /// Finds the events that an earlier process left.
    pub(crate) async fn find_waiting(self: &Arc<Self>) -> Result<(), Error> {
        let mut after: Option<String> = None;
        loop {
            let queues = self.store.queues(QUEUE, after.as_deref(), PAGE).await?;
            let last = queues.len() < PAGE;
            let own = |name: &str| name == QUEUE || name.as_bytes().get(QUEUE.len()) == Some(&b'/');
            for (name, depth) in queues.iter().filter(|(name, _)| own(name)) {
                self.events.waiting.fetch_add(*depth, Ordering::Relaxed);
                self.events.lanes.wake(name);
            }
            after = queues.into_iter().next_back().map(|(name, _)| name);
            if last {
                return Ok(());
            }
        }
    }
}
