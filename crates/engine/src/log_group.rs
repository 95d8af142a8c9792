//! Log groups: the logs of functions and what clients put, by streams. A group of a function is made
//! when its first instance starts, or logs after its group was removed; whatever else a group is, its owner made.

mod keep;
mod key;
mod put;
mod read;
mod record;
mod stream;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::principal::may_use_logs;
use model::{AccountId, FunctionId, LogGroupId, Principal, Region, limit, log};
use parking_lot::Mutex;
use store::{Clock, Expect, Op, Store, Transaction};
use tokio::sync::{Semaphore, watch};

pub(crate) use keep::run as run_retention;
pub use key::EventKey;
pub use put::{NewEvent, Taken};
pub(crate) use read::DISORDER_MS;
pub use read::{Begin, Event, Filter, Found, Query, Streams};
use record::{GroupRecord, find, group_key, put_group, stream_prefix};
pub use stream::{StreamOrder, StreamQuery, StreamView};

use crate::{Engine, Error, Shared};

/// What a group is called in errors.
pub const GROUP: &str = "log group";
/// What a stream of one is called in errors.
pub const STREAM: &str = "log stream";

/// Readings of logs at once (ours): each may pass over all that a group keeps.
const SCANS_AT_ONCE: usize = 2;
/// Records read at once.
const PAGE: usize = 500;

/// What the engine holds of log groups in memory.
#[derive(Debug)]
pub(crate) struct State {
    /// Held by whoever changes groups or streams.
    writing: tokio::sync::Mutex<()>,
    /// Groups of functions that were made, or found, since the process began.
    known: Mutex<HashSet<LogGroupId>>,
    /// Groups that are just being made because an instance starts; whoever reads waits for them.
    making: watch::Sender<usize>,
    /// When a group was last removed, in milliseconds since the Unix epoch, each time a later one; at
    /// first just before the process began. What functions said until then is in no group that is made now.
    removed_ms: Arc<AtomicU64>,
    count: AtomicU64,
    scans: Arc<Semaphore>,
}

impl State {
    /// When a group was last removed, as it changes.
    pub(crate) fn removed_ms(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.removed_ms)
    }

    pub(crate) async fn load(store: &dyn Store, clock: &dyn Clock) -> Result<Self, Error> {
        let groups = crate::record::all(store, record::GROUPS).await?;
        Ok(Self {
            writing: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            making: watch::Sender::new(0),
            removed_ms: Arc::new(AtomicU64::new(clock.now_ms().saturating_sub(1))),
            count: AtomicU64::new(groups.len() as u64),
            scans: Arc::new(Semaphore::new(SCANS_AT_ONCE)),
        })
    }
}

/// The log groups, and what is in them. A cheap handle.
#[derive(Debug, Clone)]
pub struct LogGroups {
    shared: Arc<Shared>,
}

/// What a new group is.
#[derive(Debug, Clone, Default)]
pub struct Creation {
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Whether it is to be kept from being removed.
    pub protected: bool,
    /// Settings of the vendor's that nothing here reads: names and values.
    pub kept: BTreeMap<String, String>,
}

/// A group as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Which.
    pub id: LogGroupId,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Days for which it keeps events; none is for as long as there is room.
    pub retention_days: Option<u32>,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Whether it is kept from being removed.
    pub protected: bool,
    /// Settings of the vendor's, as they were given.
    pub kept: BTreeMap<String, String>,
    /// Bytes that its logs take.
    pub stored_bytes: u64,
}

/// Which groups to list.
#[derive(Debug, Clone, Default)]
pub struct GroupQuery {
    /// What their names begin with; may be empty.
    pub prefix: String,
    /// What their names hold, in any case; may be empty.
    pub part: String,
    /// The name after which to go on.
    pub after: Option<String>,
    /// Groups at most.
    pub limit: usize,
}

/// What of a batch, or of a request for events, breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Events are not in the order of their times.
    #[error("the events of a batch must be in chronological order")]
    Disorder,
    /// The first and the last event are too far from each other.
    #[error("the events of a batch must be within a day")]
    Span,
    /// The batch is too large.
    #[error("a batch of {given} bytes; at most {max} are allowed")]
    Size {
        /// Its size, in bytes.
        given: usize,
        /// Largest size, in bytes.
        max: usize,
    },
    /// No group can keep events for so many days.
    #[error("events cannot be kept for {0} days")]
    Retention(u32),
}

impl LogGroups {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self { shared }
    }

    /// Makes a group.
    pub async fn create(
        &self,
        who: &Principal,
        id: &LogGroupId,
        creation: Creation,
    ) -> Result<(), Error> {
        self.may_write(who, "make", id)?;
        if creation.tags.len() > limit::LOG_GROUP_TAGS_MAX {
            return Err(too_many_tags(creation.tags.len()));
        }
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        let work = async move {
            let _writing = shared.groups.writing.lock().await;
            if find(&*shared.store, &id).await?.is_some() {
                let (thing, name) = (GROUP, id.name.to_string());
                return Err(Error::AlreadyThere { thing, name });
            }
            let group = GroupRecord {
                tags: creation.tags,
                protected: creation.protected,
                kept: creation.kept,
                ..GroupRecord::new(id, shared.clock.now_ms())
            };
            shared.add_group(group).await
        };
        self.settle().await;
        self.shared.finish(work).await
    }

    /// Removes a group with all that is in it.
    pub async fn remove(&self, who: &Principal, id: &LogGroupId) -> Result<(), Error> {
        self.may_write(who, "remove", id)?;
        self.settle().await;
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        let work = async move {
            let _writing = shared.groups.writing.lock().await;
            let (group, _) = shared.group(&id).await?;
            if group.protected {
                return Err(Error::InUse {
                    thing: GROUP,
                    name: id.name.to_string(),
                    by: "its protection from being removed".to_owned(),
                });
            }
            shared.remove_group(&id).await?;
            // What functions wrote is older than any group of this name can be from now on.
            let now_ms = shared.groups.removed_ms.load(Ordering::Acquire);
            for function in shared.functions_of(&id) {
                shared
                    .logs
                    .expire(&Engine::log_key(&function), now_ms)
                    .await?;
            }
            Ok(())
        };
        self.shared.finish(work).await
    }

    /// A group.
    pub async fn find(&self, who: &Principal, id: &LogGroupId) -> Result<GroupView, Error> {
        self.may_read(who, id)?;
        self.settle().await;
        let (group, _) = self.shared.group(id).await?;
        self.shared
            .show(vec![group])
            .await?
            .pop()
            .ok_or_else(|| missing(id))
    }

    /// Groups of the principal's account, by name.
    pub async fn list(
        &self,
        account: &AccountId,
        region: &Region,
        query: &GroupQuery,
    ) -> Result<Vec<GroupView>, Error> {
        self.settle().await;
        let all = format!("{account}/{region}/");
        let prefix = format!("{all}{}", query.prefix);
        let part = query.part.to_ascii_lowercase();
        let mut after = query.after.as_ref().map(|after| format!("{all}{after}"));
        let mut groups = Vec::new();
        while groups.len() < query.limit {
            let page = self
                .shared
                .store
                .list(record::GROUPS, &prefix, after.as_deref(), PAGE);
            let page = page.await?;
            for stored in &page {
                let group: GroupRecord = crate::record::read(&stored.key, &stored.value)?;
                let name = group.id.name.as_str().to_ascii_lowercase();
                if name.contains(&part) && groups.len() < query.limit {
                    groups.push(group);
                }
            }
            if page.len() < PAGE {
                break;
            }
            after = page.last().map(|stored| stored.key.clone());
        }
        self.shared.show(groups).await
    }

    /// Has a group keep events for so many days, or for as long as there is room.
    pub async fn retain(
        &self,
        who: &Principal,
        id: &LogGroupId,
        days: Option<u32>,
    ) -> Result<(), Error> {
        if let Some(days) = days.filter(|days| !log::RETENTION_DAYS.contains(days)) {
            return Err(Unfit::Retention(days).into());
        }
        self.change(who, "change", id, move |group| {
            group.retention_days = days;
            Ok(())
        })
        .await
    }

    /// Adds labels and removes others.
    pub async fn tag(
        &self,
        who: &Principal,
        id: &LogGroupId,
        add: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<(), Error> {
        self.change(who, "tag", id, move |group| {
            group.tags.retain(|key, _| !remove.contains(key));
            group.tags.extend(add);
            let given = group.tags.len();
            if given > limit::LOG_GROUP_TAGS_MAX {
                return Err(too_many_tags(given));
            }
            Ok(())
        })
        .await
    }

    async fn change(
        &self,
        who: &Principal,
        doing: &'static str,
        id: &LogGroupId,
        change: impl FnOnce(&mut GroupRecord) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.may_write(who, doing, id)?;
        self.settle().await;
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        let work = async move {
            let _writing = shared.groups.writing.lock().await;
            let (mut group, revision) = shared.group(&id).await?;
            change(&mut group)?;
            group.automatic = false;
            let put = put_group(&group, Expect::Revision(revision))?;
            shared.store.commit(Transaction::of(put)).await?;
            Ok(())
        };
        self.shared.finish(work).await
    }

    /// Resolves once the groups that are just being made are there.
    async fn settle(&self) {
        let mut making = self.shared.groups.making.subscribe();
        // The sender lives as long as the engine.
        making
            .wait_for(|making| *making == 0)
            .await
            .map(drop)
            .unwrap_or_default();
    }

    fn may_read(&self, who: &Principal, id: &LogGroupId) -> Result<(), Error> {
        self.may(who, "read", id)
    }

    fn may_write(
        &self,
        who: &Principal,
        doing: &'static str,
        id: &LogGroupId,
    ) -> Result<(), Error> {
        if self.shared.in_flight.is_stopping() {
            return Err(Error::Stopping);
        }
        self.may(who, doing, id)
    }

    fn may(&self, who: &Principal, doing: &'static str, id: &LogGroupId) -> Result<(), Error> {
        if may_use_logs(who, &id.account, &self.shared.functions_of(id)) {
            return Ok(());
        }
        let name = model::arn::log_group(id);
        Err(Error::NotAllowed { doing, name })
    }
}

impl Shared {
    /// The group that the function's log is shown in.
    pub(crate) fn group_of(&self, function: &FunctionId) -> LogGroupId {
        let catalog = self.catalog.load();
        let entry = catalog.get(function).ok();
        let declared = entry.and_then(|it| it.record.config.declared.log_group.as_deref());
        LogGroupId {
            account: function.account.clone(),
            region: function.region.clone(),
            name: log::group_name(&function.name, declared),
        }
    }

    /// The functions whose logs a group shows; one that is gone shows for as long as its log is
    /// there.
    fn functions_of(&self, id: &LogGroupId) -> Vec<FunctionId> {
        let catalog = self.catalog.load();
        let (of_name, name) = (log::function_of(id), id.name.as_str());
        let elsewhere = |function: &FunctionId| self.group_of(function) != *id;
        let mut functions: Vec<_> = of_name.into_iter().filter(|it| !elsewhere(it)).collect();
        let declared = catalog
            .entries()
            .map(|entry| &entry.record)
            .filter(|record| {
                record.config.declared.log_group.as_deref() == Some(name)
                    && record.id.account == id.account
                    && record.id.region == id.region
            });
        functions.extend(declared.map(|record| record.id.clone()));
        functions.sort();
        functions.dedup();
        functions
    }

    /// A function has said something, or is about to, at this time, in milliseconds since the Unix
    /// epoch, and so its group is there from then on. Costs little once that is so.
    pub(crate) fn begin_group(self: &Arc<Self>, function: &FunctionId, at_ms: u64) {
        let id = self.group_of(function);
        let removed_ms = self.groups.removed_ms.load(Ordering::Acquire);
        if !self.groups.known.lock().insert(id.clone()) {
            return;
        }
        self.groups.making.send_modify(|making| *making += 1);
        let made = Made(Arc::clone(self));
        let created_ms = at_ms.max(removed_ms.saturating_add(1));
        self.instances.handle.spawn(async move {
            let shared = &made.0;
            if let Err(error) = shared.make_group(&id, created_ms).await {
                if !error.is_told() {
                    tracing::warn!(group = %id.name, %error, "make a function's log group");
                }
                shared.groups.known.lock().remove(&id);
            }
        });
    }

    async fn make_group(&self, id: &LogGroupId, created_ms: u64) -> Result<(), Error> {
        let _writing = self.groups.writing.lock().await;
        if find(&*self.store, id).await?.is_some() {
            return Ok(());
        }
        let automatic = true;
        let group = GroupRecord {
            automatic,
            ..GroupRecord::new(id.clone(), created_ms)
        };
        self.add_group(group).await
    }

    /// Adds a group that is not there. Only while `writing` is held.
    async fn add_group(&self, group: GroupRecord) -> Result<(), Error> {
        let count = self.groups.count.load(Ordering::Relaxed);
        if count >= limit::LOG_GROUPS_MAX {
            return Err(Error::TooMany {
                what: "log groups",
                given: usize::try_from(count)
                    .unwrap_or(usize::MAX)
                    .saturating_add(1),
                max: usize::try_from(limit::LOG_GROUPS_MAX).unwrap_or(usize::MAX),
            });
        }
        let put = put_group(&group, Expect::Absent)?;
        self.store.commit(Transaction::of(put)).await?;
        self.groups.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Removes a group and what was put into it. The group itself goes last, so that a crash leaves
    /// no streams without one. Only while `writing` is held.
    async fn remove_group(&self, id: &LogGroupId) -> Result<(), Error> {
        loop {
            let prefix = stream_prefix(id);
            let page = self
                .store
                .list(record::STREAMS, &prefix, None, PAGE)
                .await?;
            let last = page.len() < PAGE;
            let delete = |stored: store::Record| Op::Delete {
                collection: record::STREAMS,
                key: stored.key,
                expect: Expect::Any,
            };
            let mut ops: Vec<_> = page.into_iter().map(delete).collect();
            if last {
                ops.push(Op::Delete {
                    collection: record::GROUPS,
                    key: group_key(id),
                    expect: Expect::Any,
                });
            }
            self.store.commit(Transaction { ops }).await?;
            if last {
                break;
            }
        }
        self.groups.count.fetch_sub(1, Ordering::Relaxed);
        self.groups.known.lock().remove(id);
        let now_ms = self.clock.now_ms();
        // Another value each time: by it those who write see that there may be a group to make.
        let later = |before: u64| Some(now_ms.max(before.saturating_add(1)));
        let removed_ms = &self.groups.removed_ms;
        let _ = removed_ms.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
        self.logs.remove(&record::put_key(id)).await?;
        Ok(())
    }

    /// A group's record, with the store's revision of it.
    async fn group(&self, id: &LogGroupId) -> Result<(GroupRecord, u64), Error> {
        find(&*self.store, id).await?.ok_or_else(|| missing(id))
    }

    async fn show(&self, groups: Vec<GroupRecord>) -> Result<Vec<GroupView>, Error> {
        let sources = groups.iter().map(|group| self.sources(&group.id));
        let sources: Vec<_> = sources.collect();
        let count = move || {
            let bytes = |of: &Vec<read::Source>| of.iter().map(|it| it.reader.bytes()).sum();
            sources.iter().map(bytes).collect::<Result<Vec<u64>, _>>()
        };
        let sizes = self.block("look at logs", count).await?;
        let views = groups
            .into_iter()
            .zip(sizes)
            .map(|(group, stored_bytes)| GroupView {
                id: group.id,
                created_ms: group.created_ms,
                retention_days: group.retention_days,
                tags: group.tags,
                protected: group.protected,
                kept: group.kept,
                stored_bytes,
            });
        Ok(views.collect())
    }
}

/// Tells those who wait when a group is made, or is not to be.
struct Made(Arc<Shared>);

impl Drop for Made {
    fn drop(&mut self) {
        self.0.groups.making.send_modify(|making| *making -= 1);
    }
}

fn missing(id: &LogGroupId) -> Error {
    let (thing, name) = (GROUP, id.name.to_string());
    Error::NotThere { thing, name }
}

fn too_many_tags(given: usize) -> Error {
    Error::TooMany {
        what: "tags",
        given,
        max: limit::LOG_GROUP_TAGS_MAX,
    }
}
