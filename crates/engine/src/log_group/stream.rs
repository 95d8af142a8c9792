//! Streams of a group: an instance's is there as soon as it has logged, others are made by name.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::{LogGroupId, LogStreamName, Principal, limit};
use store::{Expect, Op, Transaction};

use super::read::{Scope, Source, is_instances, is_there};
use super::record::{self, GroupRecord, StreamRecord, put_group, put_key, put_stream, stream_key};
use super::{LogGroups, STREAM};
use crate::{Error, Shared};

/// What streams are listed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamOrder {
    /// By name.
    #[default]
    Name,
    /// By the time of the last event.
    LastEvent,
}

/// Which streams to list.
#[derive(Debug, Clone, Default)]
pub struct StreamQuery {
    /// What their names begin with; may be empty.
    pub prefix: String,
    /// In which order.
    pub order: StreamOrder,
    /// Whether the order is turned round.
    pub descending: bool,
    /// [`StreamView::place`] of the one after which to go on.
    pub after: Option<String>,
    /// Streams at most.
    pub limit: usize,
}

/// A stream as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamView {
    /// Its name.
    pub name: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Time of its oldest event, in the same unit.
    pub first_ms: Option<u64>,
    /// Time of its newest event.
    pub last_ms: Option<u64>,
    /// When the last event came.
    pub ingested_ms: Option<u64>,
}

impl StreamView {
    /// Where it stands in an order.
    pub fn place(&self, order: StreamOrder) -> String {
        match order {
            StreamOrder::Name => self.name.clone(),
            StreamOrder::LastEvent => format!("{:020}:{}", self.last_ms.unwrap_or(0), self.name),
        }
    }
}

impl LogGroups {
    /// Makes a stream, empty.
    pub async fn create_stream(
        &self,
        who: &Principal,
        id: &LogGroupId,
        name: &LogStreamName,
    ) -> Result<(), Error> {
        self.may_write(who, "make a stream of", id)?;
        self.settle().await;
        let (shared, id, name) = (Arc::clone(&self.shared), id.clone(), name.clone());
        let work = async move {
            let _writing = shared.groups.writing.lock().await;
            let group = shared.group(&id).await?;
            let scope = shared.scope(&group.0).await?;
            let before = scope.streams.get(name.as_str()).cloned();
            let there = shared.has_stream(&id, scope, &name).await?;
            if there {
                let (thing, name) = (STREAM, name.to_string());
                return Err(Error::AlreadyThere { thing, name });
            }
            shared.add_stream(group, &name, before).await
        };
        self.shared.finish(work).await
    }

    /// Removes a stream with its events.
    pub async fn remove_stream(
        &self,
        who: &Principal,
        id: &LogGroupId,
        name: &LogStreamName,
    ) -> Result<(), Error> {
        self.may_write(who, "remove a stream of", id)?;
        self.settle().await;
        let (shared, id, name) = (Arc::clone(&self.shared), id.clone(), name.clone());
        let work = async move {
            let _writing = shared.groups.writing.lock().await;
            let (group, revision) = shared.group(&id).await?;
            let scope = shared.scope(&group).await?;
            let before = scope.streams.get(name.as_str()).cloned();
            let wanted = name.clone();
            let look = move |sources: &[Source]| {
                let there = is_there(sources, &scope, wanted.as_str())?;
                Ok((there, is_instances(sources, &scope, wanted.as_str())?))
            };
            let (there, of_instance) = shared.look_at_logs(&id, look).await?;
            if !there {
                return Err(missing(&name));
            }
            shared
                .drop_stream((group, revision), &name, before, of_instance)
                .await
        };
        self.shared.finish(work).await
    }

    /// Streams of a group.
    pub async fn streams(
        &self,
        who: &Principal,
        id: &LogGroupId,
        query: &StreamQuery,
    ) -> Result<(Vec<StreamView>, bool), Error> {
        self.may_read(who, id)?;
        self.settle().await;
        let (group, _) = self.shared.group(id).await?;
        let scope = self.shared.scope(&group).await?;
        let prefix = query.prefix.clone();
        let summary = move |sources: &[Source]| summary(sources, &scope, &prefix);
        let streams = self.shared.look_at_logs(id, summary).await?;
        let mut streams: Vec<_> = streams
            .into_iter()
            .map(|stream| (stream.place(query.order), stream))
            .collect();
        streams.sort_by(|a, b| a.0.cmp(&b.0));
        if query.descending {
            streams.reverse();
        }
        let passed = |place: &String| {
            query.after.as_ref().is_some_and(|after| {
                if query.descending {
                    place >= after
                } else {
                    place <= after
                }
            })
        };
        let mut left = streams.into_iter().filter(|(place, _)| !passed(place));
        let streams = left.by_ref().take(query.limit).map(|(_, it)| it).collect();
        Ok((streams, left.next().is_some()))
    }
}

impl Shared {
    async fn has_stream(
        &self,
        id: &LogGroupId,
        scope: Scope,
        name: &LogStreamName,
    ) -> Result<bool, Error> {
        let name = name.clone();
        self.look_at_logs(id, move |sources| is_there(sources, &scope, name.as_str()))
            .await
    }

    /// Records a stream; its events are those that are put from now on. Only while `writing` is
    /// held.
    pub(super) async fn add_stream(
        &self,
        group: (GroupRecord, u64),
        name: &LogStreamName,
        before: Option<StreamRecord>,
    ) -> Result<(), Error> {
        let (mut group, revision) = group;
        let reader = self.logs.reader(&put_key(&group.id));
        self.logs.flush().await;
        let from = self.block("look at a log", move || reader.end()).await?;
        let stream = StreamRecord {
            name: name.clone(),
            created_ms: self.clock.now_ms(),
            from,
            hides_ms: before.as_ref().map_or(0, |before| before.hides_ms),
            removed: false,
        };
        self.put_stream_record(&mut group, revision, &stream, before.is_none())
            .await
    }

    /// Only while `writing` is held.
    async fn drop_stream(
        &self,
        group: (GroupRecord, u64),
        name: &LogStreamName,
        before: Option<StreamRecord>,
        of_instance: bool,
    ) -> Result<(), Error> {
        let (mut group, revision) = group;
        if of_instance {
            let now_ms = self.clock.now_ms();
            let stream = StreamRecord {
                name: name.clone(),
                created_ms: now_ms,
                from: 0,
                hides_ms: now_ms.saturating_add(1),
                removed: true,
            };
            return self
                .put_stream_record(&mut group, revision, &stream, before.is_none())
                .await;
        }
        group.streams = group.streams.saturating_sub(1);
        let delete = Op::Delete {
            collection: record::STREAMS,
            key: stream_key(&group.id, name.as_str()),
            expect: Expect::Any,
        };
        let put = put_group(&group, Expect::Revision(revision))?;
        self.store
            .commit(Transaction::of(put).and(delete))
            .await
            .map(drop)?;
        Ok(())
    }

    async fn put_stream_record(
        &self,
        group: &mut GroupRecord,
        revision: u64,
        stream: &StreamRecord,
        is_new: bool,
    ) -> Result<(), Error> {
        group.streams += u64::from(is_new);
        if is_new && group.streams > limit::LOG_STREAMS_MAX {
            return Err(Error::TooMany {
                what: "streams of a log group",
                given: usize::try_from(group.streams).unwrap_or(usize::MAX),
                max: usize::try_from(limit::LOG_STREAMS_MAX).unwrap_or(usize::MAX),
            });
        }
        let put = put_group(group, Expect::Revision(revision))?;
        let put = Transaction::of(put).and(put_stream(&group.id, stream, Expect::Any)?);
        self.store.commit(put).await?;
        Ok(())
    }
}

/// Every stream whose name begins so, with what its events tell of it.
fn summary(
    sources: &[Source],
    scope: &Scope,
    prefix: &str,
) -> Result<Vec<StreamView>, store::Error> {
    let recorded = scope
        .streams
        .values()
        .filter(|stream| !stream.removed && stream.name.as_str().starts_with(prefix));
    let mut streams: HashMap<String, StreamView> = recorded
        .map(|stream| {
            let view = StreamView {
                name: stream.name.to_string(),
                created_ms: stream.created_ms,
                ..StreamView::default()
            };
            (view.name.clone(), view)
        })
        .collect();
    for source in sources {
        source.scan(scope, 0, &mut |shown| {
            if !shown.stream.starts_with(prefix) {
                return ControlFlow::Continue(());
            }
            let (at_ms, ingested_ms) = (shown.key.at_ms, shown.key.ingested_ms);
            if !streams.contains_key(shown.stream) {
                let view = StreamView {
                    name: shown.stream.to_owned(),
                    created_ms: ingested_ms,
                    ..StreamView::default()
                };
                streams.insert(view.name.clone(), view);
            }
            if let Some(view) = streams.get_mut(shown.stream) {
                view.created_ms = view.created_ms.min(ingested_ms);
                view.first_ms = Some(view.first_ms.map_or(at_ms, |first| first.min(at_ms)));
                view.last_ms = view.last_ms.max(Some(at_ms));
                view.ingested_ms = view.ingested_ms.max(Some(ingested_ms));
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(streams.into_values().collect())
}

pub(super) fn missing(name: &LogStreamName) -> Error {
    let (thing, name) = (STREAM, name.to_string());
    Error::NotThere { thing, name }
}
