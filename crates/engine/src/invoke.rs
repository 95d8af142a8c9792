//! The one path that runs a function: authorize, route, admit, place, run, count.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use model::principal::may_use;
use model::{Execution, InvocationId, MeterRecord, Principal, StartKind, UrlAuth, VersionId};
use model::{limit, policy};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::admission::Permit;
use crate::catalog::{Entry, Revision};
use crate::error::ThrottleReason;
use crate::instance::Slot;
use crate::pool::{HOLD_MAX, Placed, STALLED_MAX, Take};
use crate::port::{Call, StartError, StartFault, Waited};
use crate::settings::qualifier_key;
use crate::start::INSPECT_TIMEOUT;
use crate::stream::Sink;
use crate::verb::Invoke;
use crate::{Error, Shared};

/// Instances that are tried for one invocation, where one after the other ends before it has
/// the request.
const PLACES_TRIED: u32 = 3;

/// An admitted invocation. Dropping it does not end the invocation: it goes on by itself.
pub(crate) struct Running {
    /// What it runs, as far as that is known now.
    pub(crate) version: VersionId,
    future: Option<BoxFuture<'static, Result<Execution, Error>>>,
    handle: Handle,
}

impl Future for Running {
    type Output = Result<Execution, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.handle.spawn(future);
        }
    }
}

/// Everything about an admitted invocation but its instance.
struct Admitted {
    shared: Arc<Shared>,
    request: Invoke,
    id: InvocationId,
    /// Where the answer goes while it is written, if anybody reads it so.
    sink: Option<Sink>,
    revision: Arc<Revision>,
    /// When it arrived: monotonic, and in milliseconds since the Unix epoch.
    arrived: Duration,
    arrived_ms: u64,
    /// Given back last, after the slot: who comes in its place finds the instance free.
    _permit: Permit,
    _in_flight: InFlight,
}

/// Counts an invocation among those that a stop waits for.
struct InFlight(Arc<Shared>);

impl InFlight {
    fn begin(shared: &Arc<Shared>) -> Result<Self, Error> {
        shared.in_flight.begin();
        let in_flight = Self(Arc::clone(shared));
        // Only now: a stop that begins after this look waits for this invocation.
        if shared.in_flight.is_stopping() {
            Err(Error::Stopping)
        } else {
            Ok(in_flight)
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.end();
    }
}

/// Begins an invocation, or refuses it at once.
pub(crate) fn begin(shared: &Arc<Shared>, request: Invoke) -> Result<Running, Error> {
    begin_with(shared, request, None, None)
}

/// The same, with the answer handed on while it is written.
pub(crate) fn begin_streaming(
    shared: &Arc<Shared>,
    request: Invoke,
    sink: Sink,
) -> Result<Running, Error> {
    begin_with(shared, request, None, Some(sink))
}

/// The same for one whose permit may have been taken before.
pub(crate) fn begin_with(
    shared: &Arc<Shared>,
    request: Invoke,
    mut before: Option<Permit>,
    sink: Option<Sink>,
) -> Result<Running, Error> {
    check_size(&request, limit::REQUEST_BYTES_MAX)?;
    let arrived = shared.clock.monotonic();
    let arrived_ms = shared.clock.now_ms();
    loop {
        let in_flight = InFlight::begin(shared)?;
        let catalog = shared.catalog.load();
        let entry = authorize(&catalog, &request)?;
        let revision = Arc::clone(&entry.route(&request.target, &*shared.clock)?.revision);
        // One of a function that was removed since is none of the new one's.
        let permit = match before.take().filter(|permit| permit.is_of(&revision.gate)) {
            Some(permit) => permit,
            None => {
                let entered = revision.gate.enter();
                entered.map_err(|reason| shared.throttled(reason))?
            }
        };
        let taken = take(shared, &revision, arrived, shared.instances.hold_from)?;
        if matches!(taken, Take::Closed) {
            before = Some(permit);
            // Replaced or removed since the catalog was read, so the catalog is newer now.
            continue;
        }
        let id = request.id.clone();
        let id = id.unwrap_or_else(|| InvocationId::from_random(shared.clock.random_id()));
        // Boxed once, as it goes through several futures that would each have room for it.
        let admitted = Box::new(Admitted {
            shared: Arc::clone(shared),
            request,
            id,
            sink,
            revision,
            arrived,
            arrived_ms,
            _permit: permit,
            _in_flight: in_flight,
        });
        let version = admitted.revision.version;
        let future: BoxFuture<'static, _> = Box::pin(admitted.run(taken));
        return Ok(Running {
            version,
            future: Some(future),
            handle: shared.instances.handle.clone(),
        });
    }
}

/// The function, if there is one that the caller may run.
pub(crate) fn authorize<'a>(
    catalog: &'a crate::catalog::Catalog,
    request: &Invoke,
) -> Result<&'a Arc<Entry>, Error> {
    let function = &request.target.function;
    if may_use(&request.principal, &function.account)
        || catalog
            .get(function)
            .is_ok_and(|entry| is_let_in(entry, request))
    {
        return catalog.get(function);
    }
    Err(Error::Denied {
        doing: "invoke",
        function: function.clone(),
    })
}

/// Whether the policy of what is asked for lets callers invoke it who are not of its account.
fn is_let_in(entry: &Entry, request: &Invoke) -> bool {
    let key = qualifier_key(&request.target.qualifier);
    if request.principal == Principal::Public {
        return request.url == Some(UrlAuth::Nobody) && entry.open_urls.contains(&key);
    }
    let Some(account) = request.principal.account() else {
        return false;
    };
    let action = match request.url {
        Some(_) => policy::INVOKE_URL,
        None => policy::INVOKE,
    };
    let asked = policy::Asked {
        account: Some(account),
        action,
        url: request.url,
    };
    let policy = entry.record.policies.get(&key);
    policy.is_some_and(|policy| policy.allows(&asked))
}

/// Refuses a payload that is larger than `max` bytes.
pub(crate) fn check_size(request: &Invoke, max: usize) -> Result<(), Error> {
    let given = request.payload.len();
    if given > max {
        Err(Error::PayloadTooLarge { given, max })
    } else {
        Ok(())
    }
}

fn ours(reason: &str) -> Error {
    StartError {
        fault: StartFault::Ours,
        reason: reason.to_owned(),
    }
    .into()
}

/// A slot where there is one, else a place in the queue behind a start. Where as many requests as
/// `hold_from` are at work, it may be a place in the queue for those.
fn take(
    shared: &Arc<Shared>,
    revision: &Arc<Revision>,
    now: Duration,
    hold_from: usize,
) -> Result<Take, Error> {
    let taken = revision.pool.take(now, hold_from);
    if !matches!(taken, Take::Missing) {
        return Ok(taken);
    }
    let placed = shared.instances.place(revision);
    let (live, stopping) = placed.map_err(|reason| shared.throttled(reason))?;
    let taken = revision.pool.take_or_start(now);
    if matches!(taken, Take::Start(_)) {
        shared.start(live, stopping);
    } else {
        live.abandon(stopping);
    }
    Ok(taken)
}

impl Admitted {
    /// Runs on what was found. An instance that ends before it has the request is not the
    /// function's failure: another is tried.
    async fn run(mut self: Box<Self>, mut taken: Take) -> Result<Execution, Error> {
        if let Take::Held(freed) = taken {
            taken = match self.freed(freed).await {
                Some(slot) => Take::Slot(slot),
                None => self.place_again()?,
            };
        }
        for tries_left in (0..PLACES_TRIED).rev() {
            let (slot, waited, spent) = match taken {
                Take::Slot(slot) => (slot, Waited::default(), Duration::ZERO),
                Take::Wait(placed) | Take::Start(placed) => {
                    let began = self.shared.clock.monotonic();
                    match placed.await {
                        Ok(Placed::Slot {
                            slot,
                            waited,
                            spent,
                        }) => {
                            // The start may have begun long before this one came to wait.
                            let own = self.shared.clock.monotonic().saturating_sub(began);
                            (slot, waited, spent.min(own))
                        }
                        Ok(other) => return self.not_started(other),
                        Err(_) => return Err(ours("nobody is left to start an instance")),
                    }
                }
                Take::Held(_) | Take::Missing | Take::Failing | Take::Closed => {
                    return Err(self.shared.throttled(ThrottleReason::FailingStarts));
                }
            };
            // The last one says itself, in its vendor's form, that it has ended.
            if slot.is_ready().await || tries_left == 0 {
                return self.run_on(slot, waited, spent).await;
            }
            drop(slot);
            taken = self.place_again()?;
        }
        Err(ours("no place was tried"))
    }

    async fn run_on(
        self: Box<Self>,
        slot: Slot,
        mut waited: Waited,
        spent: Duration,
    ) -> Result<Execution, Error> {
        if slot.unpark() {
            waited.kind = Some(StartKind::Parked);
        }
        let (call, waited) = self.call(waited, spent);
        let streaming = self.sink.as_ref();
        let streaming = streaming.map(|sink| (sink, self.shared.clock.monotonic()));
        let Some((mut execution, settling)) = slot.invoke(call).await else {
            return Err(ours("the instance was never initialised"));
        };
        execution.timings.first_byte =
            streaming.and_then(|(sink, began)| Some(sink.first_at()?.saturating_sub(began)));
        let Some(settling) = settling else {
            return Ok(self.ended(execution, waited));
        };
        let execution = complete(execution, self.revision.version, waited);
        let mut whole = execution.clone();
        let handle = self.shared.instances.handle.clone();
        handle.spawn(async move {
            if let Some(settled) = settling.end().await {
                whole.timings.handler = settled.handler;
                whole.billed = settled.billed;
                whole.memory_used_mb = settled.memory_used_mb;
            }
            self.count(&whole);
        });
        Ok(execution)
    }

    /// What a start that led to no instance means for this invocation.
    fn not_started(&self, placed: Placed) -> Result<Execution, Error> {
        match placed {
            Placed::Failed { failed, waited } => {
                let (call, waited) = self.call(waited, Duration::ZERO);
                Ok(self.ended(failed.outcome(&call), waited))
            }
            Placed::CannotStart(error) => Err(error.into()),
            Placed::Slot { .. } => Err(ours("a place was lost")),
        }
    }

    /// The slot that one was held for, if it came in time.
    async fn freed(&self, mut freed: oneshot::Receiver<Slot>) -> Option<Slot> {
        let began = self.shared.clock.monotonic();
        let mut given_back = self.revision.pool.given_back();
        loop {
            tokio::select! {
                biased;
                slot = &mut freed => return slot.ok(),
                () = self.shared.clock.sleep(STALLED_MAX) => {}
            }
            let before = std::mem::replace(&mut given_back, self.revision.pool.given_back());
            let held = self.shared.clock.monotonic().saturating_sub(began);
            if before == given_back || held >= HOLD_MAX {
                freed.close();
                return freed.try_recv().ok();
            }
        }
    }

    /// Another place, of the version that the reference leads to by now if the old one is gone.
    fn place_again(&mut self) -> Result<Take, Error> {
        loop {
            let now = self.shared.clock.monotonic();
            let taken = take(&self.shared, &self.revision, now, usize::MAX)?;
            if !matches!(taken, Take::Closed) {
                return Ok(taken);
            }
            if self.shared.in_flight.is_stopping() {
                return Err(Error::Stopping);
            }
            let catalog = self.shared.catalog.load();
            let entry = authorize(&catalog, &self.request)?;
            let version = entry.route(&self.request.target, &*self.shared.clock)?;
            self.revision = Arc::clone(&version.revision);
        }
    }

    /// The request in the form an instance gets it, with the time to its deadline beginning now.
    fn call(&self, mut waited: Waited, spent: Duration) -> (Call, Waited) {
        let since = self.shared.clock.monotonic().saturating_sub(self.arrived);
        let init = waited.init.unwrap_or_default();
        waited.queue = since.saturating_sub(waited.start).saturating_sub(init);
        let config = &self.revision.config;
        let whole = if config.inspect {
            INSPECT_TIMEOUT
        } else {
            config.timeout
        };
        let timeout = whole.saturating_sub(spent);
        let left_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let call = Call {
            id: self.id.clone(),
            target: self.request.target.clone(),
            version: self.revision.version,
            payload: self.request.payload.clone(),
            timeout,
            deadline_ms: self.shared.clock.now_ms().saturating_add(left_ms),
            trace: self.request.trace.clone(),
            client_context: self.request.client_context.clone(),
            tail: self.request.tail,
            sink: self.sink.clone(),
            waited,
        };
        (call, waited)
    }

    /// Completes an execution that is over, and counts it.
    fn ended(&self, execution: Execution, waited: Waited) -> Execution {
        let execution = complete(execution, self.revision.version, waited);
        self.count(&execution);
        execution
    }

    fn count(&self, execution: &Execution) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let record = MeterRecord {
            at_ms: self.arrived_ms,
            invocation: self.id.clone(),
            function: self.revision.function.clone(),
            version: self.revision.version,
            memory_mb: self.revision.config.memory_mb,
            duration_us: micros(execution.timings.handler),
            init_us: micros(execution.timings.init),
            billed_ms: u64::try_from(execution.billed.as_millis()).unwrap_or(u64::MAX),
            memory_used_mb: execution.memory_used_mb,
            start: execution.start,
            end: execution.outcome.end,
        };
        self.shared.counters.ran(&record);
        self.shared.meter.push(record);
    }
}

/// Completes what the instance knows of the execution with what only the engine knows.
fn complete(mut execution: Execution, version: VersionId, waited: Waited) -> Execution {
    execution.version = version;
    execution.start = waited.kind.unwrap_or(StartKind::Warm);
    execution.timings.queue = waited.queue;
    execution.timings.start = waited.start;
    execution.timings.init = waited.init.unwrap_or_default();
    execution
}

impl Shared {
    pub(crate) fn throttled(&self, reason: ThrottleReason) -> Error {
        self.counters.throttled(reason);
        Error::Throttled { reason }
    }
}
