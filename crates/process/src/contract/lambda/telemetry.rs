//! Telemetry: what the platform, the function and its extensions have to say, as records for the
//! extensions that subscribed to them. Keeps no more than each subscription may hold, and never
//! holds up who records; how records get there is in `deliver`.

mod deliver;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use store::Clock;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::report;
pub(crate) use subscription::{Schema, Subscription};

/// Records that are kept for those who subscribe later, while initialisation lasts (ours: all of
/// an initialisation that is not a flood of its own).
const BACKLOG_RECORDS_MAX: usize = 1000;
/// The same in bytes.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;

/// Who a record is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Platform,
    Function,
    Extension,
}

impl Source {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }

    fn of(word: &str) -> Option<Self> {
        let all = [Self::Platform, Self::Function, Self::Extension];
        all.into_iter().find(|source| source.word() == word)
    }
}

/// One record, as JSON.
type Record = Arc<str>;

/// The telemetry of one instance.
pub(crate) struct Telemetry {
    clock: Arc<dyn Clock>,
    /// Whether anything is to be kept: looked at for every line.
    on: AtomicBool,
    /// Whether lines of the function may be JSON, which goes into records as it is.
    json_lines: bool,
    state: Mutex<State>,
    /// Whether the instance is frozen, and nobody in it can take anything.
    frozen: watch::Sender<bool>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

struct State {
    /// Sockets of the instance's network that nobody uses.
    dialers: Vec<OwnedFd>,
    /// What came before anybody subscribed; none once nobody may any more.
    backlog: Option<Backlog>,
    subscribers: Vec<Subscriber>,
}

#[derive(Default)]
struct Backlog {
    records: Vec<(Source, Record)>,
    bytes: usize,
}

/// One subscription and the task that serves it, which ends with this.
struct Subscriber {
    name: String,
    schema: Schema,
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Records on their way to a subscriber.
struct Queue {
    subscription: Subscription,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    bytes: usize,
    /// Records and bytes that there was no room for.
    dropped: (u64, u64),
    /// Whether all of it is to go out at once.
    hurry: bool,
}

impl Queue {
    fn push(&self, record: &Record) {
        let buffering = &self.subscription.buffering;
        let mut waiting = self.waiting.lock();
        // As much again as goes out at once may wait behind it.
        let has_room = waiting.records.len() < 2 * buffering.items
            && waiting.bytes + record.len() <= 2 * buffering.bytes;
        if has_room {
            waiting.bytes += record.len();
            waiting.records.push_back(Arc::clone(record));
        } else {
            waiting.dropped.0 += 1;
            waiting.dropped.1 += record.len() as u64;
        }
        let first = waiting.records.len() == 1;
        let full = waiting.is_full(&self.subscription);
        drop(waiting);
        if first || full {
            self.changed.notify_one();
        }
    }
}

impl Waiting {
    /// Whether as much waits as goes out at once.
    fn is_full(&self, subscription: &Subscription) -> bool {
        let buffering = &subscription.buffering;
        self.hurry || self.records.len() >= buffering.items || self.bytes >= buffering.bytes
    }
}

impl Telemetry {
    /// Records are kept from the first on where there are sockets to deliver them through.
    pub(crate) fn new(dialers: Vec<OwnedFd>, json_lines: bool, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            on: AtomicBool::new(!dialers.is_empty()),
            json_lines,
            state: Mutex::new(State {
                dialers,
                backlog: Some(Backlog::default()),
                subscribers: Vec::new(),
            }),
            frozen: watch::Sender::new(false),
        })
    }

    /// Whether anybody may want records.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Records something of the platform's, which is made only if anybody may want it.
    pub(crate) fn platform(&self, record: impl FnOnce(u64) -> String) {
        if self.is_on() {
            self.record(Source::Platform, record(self.clock.now_ms()).into());
        }
    }

    /// Records a line of the log.
    pub(crate) fn line(&self, source: Source, at_ms: u64, text: &str) {
        if self.is_on() {
            let raw = self.json_lines && source == Source::Function;
            let record = report::line_record(at_ms, source.word(), text, raw);
            self.record(source, record.into());
        }
    }

    fn record(&self, source: Source, record: Record) {
        let mut state = self.state.lock();
        for subscriber in &state.subscribers {
            if subscriber.wants(source, &record) {
                subscriber.queue.push(&record);
            }
        }
        if let Some(backlog) = &mut state.backlog {
            let has_room = backlog.records.len() < BACKLOG_RECORDS_MAX
                && backlog.bytes + record.len() <= BACKLOG_BYTES_MAX;
            if has_room {
                backlog.bytes += record.len();
                backlog.records.push((source, record));
            }
        }
    }

    /// Lets nobody subscribe any more.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.backlog = None;
        state.dialers.clear();
        if state.subscribers.is_empty() {
            self.on.store(false, Ordering::Relaxed);
        }
    }

    /// Has the extension of this name told of what it asks for.
    pub(crate) fn subscribe(
        &self,
        name: &str,
        schema: Schema,
        subscription: Subscription,
    ) -> Result<(), NoSubscription> {
        let mut state = self.state.lock();
        let earlier =
            (state.subscribers.iter()).position(|one| one.name == name && one.schema == schema);
        if state.backlog.is_none() {
            return Err(NoSubscription::Closed);
        }
        let dialer = state.dialers.pop().ok_or(NoSubscription::Unsupported)?;
        if let Some(earlier) = earlier {
            state.subscribers.remove(earlier);
        }
        let words: Vec<_> = subscription
            .types
            .iter()
            .map(|source| source.word())
            .collect();
        let queue = Arc::new(Queue {
            subscription,
            waiting: Mutex::default(),
            changed: Notify::new(),
        });
        let delivery = deliver::Delivery {
            queue: Arc::clone(&queue),
            dialer,
            frozen: self.frozen.subscribe(),
            clock: Arc::clone(&self.clock),
        };
        let subscriber = Subscriber {
            name: name.to_owned(),
            schema,
            queue,
            task: tokio::spawn(delivery.run()),
        };
        let backlog = state.backlog.iter().flat_map(|backlog| &backlog.records);
        for (source, record) in backlog {
            if subscriber.wants(*source, record) {
                subscriber.queue.push(record);
            }
        }
        state.subscribers.push(subscriber);
        drop(state);
        let kind = schema.subscription_record();
        self.platform(|at_ms| report::subscription_record(at_ms, kind, name, &words));
        Ok(())
    }

    /// Nobody in the instance can take anything for now, or can again.
    pub(crate) fn freeze(&self, frozen: bool) {
        if self.is_on() {
            self.frozen.send_replace(frozen);
        }
    }

    /// Sends out at once what waits, and whatever comes from now on.
    pub(crate) fn hurry(&self) {
        for subscriber in &self.state.lock().subscribers {
            subscriber.queue.waiting.lock().hurry = true;
            subscriber.queue.changed.notify_one();
        }
    }
}

impl Subscriber {
    fn wants(&self, source: Source, record: &str) -> bool {
        self.queue.subscription.types.contains(&source) && self.schema.has(source, record)
    }
}

/// Why nobody can subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSubscription {
    /// Initialisation is over.
    Closed,
    /// There is no way into this instance, or none left.
    Unsupported,
}
