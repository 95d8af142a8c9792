//! Reads events of a group: passes over what its logs hold, and keeps as many as one answer has
//! room for, in the order of their times.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::{LogGroupId, Principal, limit};
use store::LogReader;
use store::logs::Seen;

use super::record::{self, GroupRecord, StreamRecord, put_key, stream_prefix};
use super::{EventKey, LogGroups, PAGE, STREAM};
use crate::{Engine, Error, Shared};

/// The stream of lines that no instance said: what the store itself has to say of a log, and what
/// was kept before streams were told apart.
const NOBODY: &str = "dayfly";
/// Lines of a function come from several instances, and so are only nearly in the order of their
/// times; they are written as they come (ours: a thread may have to wait for a processor).
pub(crate) const DISORDER_MS: u64 = 5_000;

/// Whether the text of an event is wanted.
#[derive(Clone)]
pub struct Filter(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Filter {
    /// Wants what this does.
    pub fn new(wants: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(wants))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter(..)")
    }
}

/// Of which streams events are wanted.
#[derive(Debug, Clone, Default)]
pub enum Streams {
    /// Of all.
    #[default]
    All,
    /// Of those whose names begin so.
    Prefix(String),
    /// Of these; each must be there.
    Named(Vec<String>),
}

/// Where reading begins, and so the direction in which it goes.
#[derive(Debug, Clone, Copy, Default)]
pub enum Begin {
    /// With the oldest event, towards newer ones.
    #[default]
    Oldest,
    /// With the newest event, towards older ones.
    Newest,
    /// After this one, towards newer ones.
    After(EventKey),
    /// Before this one, towards older ones.
    Before(EventKey),
}

impl Begin {
    /// Whether it goes towards newer events.
    pub fn is_forward(self) -> bool {
        matches!(self, Self::Oldest | Self::After(_))
    }
}

/// Which events to read.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Of which streams.
    pub streams: Streams,
    /// From this time on, in milliseconds since the Unix epoch.
    pub from_ms: Option<u64>,
    /// Before this time, in the same unit.
    pub until_ms: Option<u64>,
    /// What of them; none is all.
    pub filter: Option<Filter>,
    /// Where to begin.
    pub begin: Begin,
    /// Events at most.
    pub limit: usize,
}

/// An event of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the group, and its name.
    pub key: EventKey,
    /// Its stream.
    pub stream: String,
    /// Its text.
    pub text: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Events, the oldest first; so many of them as one answer has room for.
    pub events: Vec<Event>,
    /// Whether there are more, in the direction of reading.
    pub more: bool,
}

/// A log that a group shows.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) reader: LogReader,
    /// Tells its events from those of others.
    number: u32,
    /// Whether a function writes it, and not clients.
    of_function: bool,
}

/// What of its logs a group shows.
#[derive(Debug)]
pub(super) struct Scope {
    created_ms: u64,
    /// Events of an earlier time are not shown any more.
    expired_ms: u64,
    pub(super) streams: HashMap<String, StreamRecord>,
}

/// A line that a group shows.
pub(super) struct Shown<'a> {
    pub(super) key: EventKey,
    pub(super) stream: &'a str,
    pub(super) text: &'a str,
}

impl Source {
    fn new(shared: &Shared, key: &str, of_function: bool) -> Self {
        // FNV-1a: the same number for the same log, whenever it is asked for.
        let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
        Self {
            reader: shared.logs.reader(key),
            number: key.bytes().fold(2_166_136_261, step),
            of_function,
        }
    }

    /// Passes what the group shows of this log to `visit`, in the order in which it came.
    pub(super) fn scan(
        &self,
        scope: &Scope,
        since_ms: u64,
        visit: &mut dyn FnMut(Shown<'_>) -> ControlFlow<()>,
    ) -> Result<(), store::Error> {
        // An event that a client puts may be ahead of the time at which it comes.
        let ahead_ms = if self.of_function {
            0
        } else {
            ms(limit::LOG_EVENT_AHEAD_MAX)
        };
        self.reader
            .scan(since_ms.saturating_sub(ahead_ms), &mut |seen| {
                let shown = self.show(scope, &seen);
                shown.map_or(ControlFlow::Continue(()), &mut *visit)
            })
    }

    fn show<'a>(&self, scope: &Scope, seen: &'a Seen<'_>) -> Option<Shown<'a>> {
        let (stream, at_ms) = if self.of_function {
            let stream = seen.source.as_deref().unwrap_or(NOBODY);
            let hidden = scope
                .streams
                .get(stream)
                .map_or(0, |record| record.hides_ms);
            if seen.at_ms < scope.created_ms.max(hidden) {
                return None;
            }
            (stream, seen.at_ms)
        } else {
            let stream = seen.source.as_deref()?;
            let record = scope.streams.get(stream)?;
            if record.removed || seen.position < record.from {
                return None;
            }
            (stream, seen.stamp_ms.unwrap_or(seen.at_ms))
        };
        (at_ms >= scope.expired_ms).then(|| Shown {
            key: EventKey {
                at_ms,
                ingested_ms: seen.at_ms,
                source: self.number,
                position: seen.position,
            },
            stream,
            text: &seen.text,
        })
    }
}

impl LogGroups {
    /// Events of a group. A stream that is asked for by name and is not there is an error.
    pub async fn events(
        &self,
        who: &Principal,
        id: &LogGroupId,
        query: Query,
    ) -> Result<Found, Error> {
        self.may_read(who, id)?;
        self.settle().await;
        let (group, _) = self.shared.group(id).await?;
        let scope = self.shared.scope(&group).await?;
        let found = self
            .shared
            .look_at_logs(id, move |sources| search(sources, &scope, &query));
        found.await?.map_err(|name| Error::NotThere {
            thing: STREAM,
            name,
        })
    }
}

impl Shared {
    /// The logs that a group shows.
    pub(super) fn sources(&self, id: &LogGroupId) -> Vec<Source> {
        let functions = self.functions_of(id).into_iter();
        let of_functions = functions.map(|it| Source::new(self, &Engine::log_key(&it), true));
        let put = Source::new(self, &put_key(id), false);
        of_functions.chain([put]).collect()
    }

    pub(super) async fn scope(&self, group: &GroupRecord) -> Result<Scope, Error> {
        let prefix = stream_prefix(&group.id);
        let mut streams = HashMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self
                .store
                .list(record::STREAMS, &prefix, after.as_deref(), PAGE)
                .await?;
            for stored in &page {
                let stream: StreamRecord = crate::record::read(&stored.key, &stored.value)?;
                streams.insert(stream.name.to_string(), stream);
            }
            if page.len() < PAGE {
                break;
            }
            after = page.last().map(|stored| stored.key.clone());
        }
        Ok(Scope {
            created_ms: group.created_ms,
            expired_ms: group.expired_ms(self.clock.now_ms()),
            streams,
        })
    }

    /// Passes over the logs of a group, once it is one of few that do so.
    pub(super) async fn look_at_logs<T: Send + 'static>(
        &self,
        id: &LogGroupId,
        look: impl FnOnce(&[Source]) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.logs.flush().await;
        let sources = self.sources(id);
        // Never closed.
        let permit = Arc::clone(&self.groups.scans).acquire_owned().await.ok();
        let look = move || {
            let _permit = permit;
            look(&sources)
        };
        Ok(self.block("read a log", look).await?)
    }
}

/// What the query asks for, or the name of a stream that is not there.
fn search(
    sources: &[Source],
    scope: &Scope,
    query: &Query,
) -> Result<Result<Found, String>, store::Error> {
    if let Streams::Named(names) = &query.streams {
        for name in names {
            if !is_there(sources, scope, name)? {
                return Ok(Err(name.clone()));
            }
        }
    }
    let mut page = Page::new(query);
    for source in sources {
        source.scan(scope, page.since_ms(), &mut |shown| {
            if source.of_function && page.is_beyond(shown.key.at_ms) {
                return ControlFlow::Break(());
            }
            page.offer(&shown);
            ControlFlow::Continue(())
        })?;
    }
    Ok(Ok(page.found()))
}

/// Whether the group has this stream.
pub(super) fn is_there(
    sources: &[Source],
    scope: &Scope,
    name: &str,
) -> Result<bool, store::Error> {
    let recorded = scope
        .streams
        .get(name)
        .is_some_and(|record| !record.removed);
    Ok(recorded || is_instances(sources, scope, name)?)
}

/// Whether an instance has written to this stream.
pub(super) fn is_instances(
    sources: &[Source],
    scope: &Scope,
    name: &str,
) -> Result<bool, store::Error> {
    let mut found = false;
    for source in sources.iter().filter(|source| source.of_function) {
        source.scan(scope, 0, &mut |shown| {
            found |= shown.stream == name;
            if found {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}

/// The events of one answer, as they are found.
struct Page<'a> {
    query: &'a Query,
    events: BTreeMap<EventKey, Event>,
    bytes: usize,
    /// The event nearest to where reading begins that there was no room for: neither it nor what
    /// is farther away is taken.
    bound: Option<EventKey>,
}

impl<'a> Page<'a> {
    fn new(query: &'a Query) -> Self {
        Self {
            query,
            events: BTreeMap::new(),
            bytes: 0,
            bound: None,
        }
    }

    /// No event of an earlier time is wanted.
    fn since_ms(&self) -> u64 {
        let from_ms = self.query.from_ms.unwrap_or_default();
        match self.query.begin {
            Begin::After(key) => key.at_ms.max(from_ms),
            _ => from_ms,
        }
    }

    /// Whether a log that is nearly in order has nothing more to offer once it is at this time.
    fn is_beyond(&self, at_ms: u64) -> bool {
        let past = |end_ms: u64| at_ms > end_ms.saturating_add(DISORDER_MS);
        let full = self.bound.filter(|_| self.query.begin.is_forward());
        let behind = match self.query.begin {
            Begin::Before(key) => past(key.at_ms),
            _ => false,
        };
        behind
            || full.is_some_and(|bound| past(bound.at_ms))
            || self.query.until_ms.is_some_and(past)
    }

    fn offer(&mut self, shown: &Shown<'_>) {
        if !self.wants(shown) {
            return;
        }
        self.bytes += shown.text.len();
        let event = Event {
            key: shown.key,
            stream: shown.stream.to_owned(),
            text: shown.text.to_owned(),
        };
        self.events.insert(shown.key, event);
        let forward = self.query.begin.is_forward();
        while self.events.len() > self.query.limit
            || self.bytes > limit::LOG_PAGE_BYTES_MAX && self.events.len() > 1
        {
            let farthest = if forward {
                self.events.pop_last()
            } else {
                self.events.pop_first()
            };
            let Some((key, event)) = farthest else { break };
            self.bytes -= event.text.len();
            self.bound = Some(key);
        }
    }

    fn wants(&self, shown: &Shown<'_>) -> bool {
        let (key, query) = (shown.key, self.query);
        let forward = query.begin.is_forward();
        let begun = match query.begin {
            Begin::Oldest | Begin::Newest => true,
            Begin::After(begin) => key > begin,
            Begin::Before(begin) => key < begin,
        };
        let room = self
            .bound
            .is_none_or(|bound| if forward { key < bound } else { key > bound });
        let in_time = query.from_ms.is_none_or(|from_ms| key.at_ms >= from_ms)
            && query.until_ms.is_none_or(|until_ms| key.at_ms < until_ms);
        let of_stream = match &query.streams {
            Streams::All => true,
            Streams::Prefix(prefix) => shown.stream.starts_with(prefix),
            Streams::Named(names) => names.iter().any(|name| name == shown.stream),
        };
        let filter = query.filter.as_ref();
        // Last, as it is what takes time.
        begun && room && in_time && of_stream && filter.is_none_or(|it| (it.0)(shown.text))
    }

    fn found(self) -> Found {
        Found {
            more: self.bound.is_some(),
            events: self.events.into_values().collect(),
        }
    }
}

pub(super) fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
