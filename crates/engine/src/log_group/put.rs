//! Events that clients put into a stream: all that are fit are in the log's file before the answer.

use std::sync::Arc;

use model::{LogGroupId, LogStreamName, Principal, limit};
use store::logs::{Line, NotPut};

use super::read::{is_instances, ms};
use super::record::put_key;
use super::stream::missing;
use super::{LogGroups, Unfit};
use crate::Error;

/// One event of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Its text.
    pub text: String,
}

/// Which events of a batch were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// How many of the first are too old.
    pub too_old: usize,
    /// How many of the first are older than the group keeps events.
    pub expired: usize,
    /// The first that is too far ahead; all that follow are, too.
    pub too_new_from: Option<usize>,
}

impl LogGroups {
    /// Puts a batch into a stream.
    pub async fn put(
        &self,
        who: &Principal,
        id: &LogGroupId,
        stream: &LogStreamName,
        events: Vec<NewEvent>,
    ) -> Result<Taken, Error> {
        self.may_write(who, "put events into", id)?;
        self.settle().await;
        let (group, _) = self.shared.group(id).await?;
        self.find_stream(id, stream).await?;
        let now_ms = self.shared.clock.now_ms();
        let taken = judge(&events, now_ms, group.expired_ms(now_ms))?;
        let source: Arc<str> = stream.as_str().into();
        let fit = taken.fit(events.len());
        let lines = events.into_iter().enumerate();
        let lines = lines.filter(|(at, _)| fit.contains(at));
        let lines = lines.map(|(_, event)| Line {
            at_ms: now_ms,
            stamp_ms: Some(event.at_ms),
            platform: false,
            invocation: None,
            source: Some(Arc::clone(&source)),
            text: event.text,
        });
        let writer = self.shared.logs.writer(&put_key(id));
        writer
            .put(lines.collect())
            .await
            .map_err(|error| match error {
                NotPut::NoRoom => Error::NoRoom {
                    doing: "put events into a log group",
                },
                NotPut::Failed => Error::Store(store::Error::Broken {
                    doing: "put events into a log group".to_owned(),
                    cause: error.to_string().into(),
                }),
            })?;
        Ok(taken)
    }

    /// Sees that a stream is there, and gives an instance's a record, as what is put into it stands
    /// elsewhere.
    async fn find_stream(&self, id: &LogGroupId, stream: &LogStreamName) -> Result<(), Error> {
        let shared = &self.shared;
        let key = super::record::stream_key(id, stream.as_str());
        if let Some(stored) = shared.store.get(super::record::STREAMS, &key).await? {
            let found: super::record::StreamRecord = crate::record::read(&key, &stored.value)?;
            if !found.removed {
                return Ok(());
            }
        }
        let (shared, id, stream) = (Arc::clone(shared), id.clone(), stream.clone());
        let work = async move {
            let _writing = shared.groups.writing.lock().await;
            let group = shared.group(&id).await?;
            let scope = shared.scope(&group.0).await?;
            let before = scope.streams.get(stream.as_str()).cloned();
            if before.as_ref().is_some_and(|before| !before.removed) {
                return Ok(());
            }
            let name = stream.clone();
            let look = move |sources: &[_]| is_instances(sources, &scope, name.as_str());
            if !shared.look_at_logs(&id, look).await? {
                return Err(missing(&stream));
            }
            shared.add_stream(group, &stream, before).await
        };
        self.shared.finish(work).await
    }
}

impl Taken {
    /// Those of a batch that are fit.
    fn fit(&self, count: usize) -> std::ops::Range<usize> {
        self.too_old.max(self.expired)..self.too_new_from.unwrap_or(count)
    }
}

/// Which events of a batch are fit, if it can be taken at all.
fn judge(events: &[NewEvent], now_ms: u64, expired_ms: u64) -> Result<Taken, Error> {
    let given = events
        .iter()
        .map(|it| it.text.len() + limit::LOG_EVENT_COST_BYTES);
    let (given, max) = (given.sum(), limit::LOG_BATCH_BYTES_MAX);
    if given > max {
        return Err(Unfit::Size { given, max }.into());
    }
    let mut pairs = events.iter().zip(events.iter().skip(1));
    if pairs.any(|(first, second)| first.at_ms > second.at_ms) {
        return Err(Unfit::Disorder.into());
    }
    let oldest_ms = now_ms.saturating_sub(ms(limit::LOG_EVENT_AGE_MAX));
    let newest_ms = now_ms.saturating_add(ms(limit::LOG_EVENT_AHEAD_MAX));
    let before = |end_ms: u64| events.iter().take_while(|it| it.at_ms < end_ms).count();
    let taken = Taken {
        too_old: before(oldest_ms),
        expired: before(expired_ms),
        too_new_from: events.iter().position(|it| it.at_ms > newest_ms),
    };
    let fit = events.get(taken.fit(events.len())).unwrap_or_default();
    if let (Some(first), Some(last)) = (fit.first(), fit.last())
        && last.at_ms - first.at_ms > ms(limit::LOG_BATCH_SPAN)
    {
        return Err(Unfit::Span.into());
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;
    const NOW_MS: u64 = 100 * DAY_MS;

    #[track_caller]
    fn check(times: &[u64], expired_ms: u64, expected: Option<(usize, usize, Option<usize>)>) {
        let event = |at_ms: &u64| NewEvent {
            at_ms: *at_ms,
            text: "x".into(),
        };
        let events: Vec<_> = times.iter().map(event).collect();
        let judged = judge(&events, NOW_MS, expired_ms).ok();
        let judged = judged.map(|it| (it.too_old, it.expired, it.too_new_from));
        assert_eq!(judged, expected, "{times:?}");
    }

    #[test]
    fn what_is_too_old_or_too_new_is_named_and_the_rest_taken() {
        check(&[NOW_MS], 0, Some((0, 0, None)));
        check(&[NOW_MS, NOW_MS - 1], 0, None);
        check(&[NOW_MS - DAY_MS, NOW_MS], 0, Some((0, 0, None)));
        check(&[NOW_MS - DAY_MS - 1, NOW_MS], 0, None);
        let mixed = [NOW_MS - 15 * DAY_MS, NOW_MS - 1, NOW_MS, NOW_MS + DAY_MS];
        check(&mixed, 0, Some((1, 0, Some(3))));
        check(&mixed, NOW_MS, Some((1, 2, Some(3))));
        check(&[0], 0, Some((1, 0, None)));
        check(&[2 * NOW_MS], 0, Some((0, 0, Some(0))));
    }

    #[test]
    fn a_batch_has_a_size() {
        let event = |bytes| NewEvent {
            at_ms: NOW_MS,
            text: "x".repeat(bytes),
        };
        let largest = limit::LOG_BATCH_BYTES_MAX - limit::LOG_EVENT_COST_BYTES;
        assert!(judge(&[event(largest)], NOW_MS, 0).is_ok());
        assert!(judge(&[event(largest + 1)], NOW_MS, 0).is_err());
    }
}
