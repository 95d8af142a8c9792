//! Log events: putting them, getting those of one stream, and filtering those of a group.

use engine::log_group::{Begin, Event, EventKey, Filter, NewEvent, Query, Streams};

use super::error::Refusal;
use super::filter::Pattern;
use super::shapes::*;
use super::stream::stream_name;
use super::{Ask, integer, long, time};
use crate::aws::Aws;

/// Events of one answer where the caller asks for no number, and at most (service model).
const PAGE: usize = 10_000;

/// What clients once had to send with the next batch. Nothing looks at it any more, here as there.
pub(super) const SEQUENCE_TOKEN: &str = "49640000000000000000000000000000000000000000000000000001";

impl Aws {
    pub(super) async fn put_log_events(
        &self,
        ask: &Ask<'_>,
        request: PutLogEventsRequest,
    ) -> Result<PutLogEventsResponse, Refusal> {
        let group = ask.group(&request.log_group_name)?;
        let stream = stream_name(&request.log_stream_name)?;
        let events = request.log_events.into_iter().map(|event| NewEvent {
            at_ms: time(event.timestamp),
            text: event.message,
        });
        let who = ask.caller.identity.principal();
        let groups = self.engine.log_groups();
        let put = groups.put(&who, &group, &stream, events.collect()).await;
        let taken = put.map_err(|error| ask.refusal(&error))?;
        let some = |count: usize| (count > 0).then(|| integer(count));
        let rejected = RejectedLogEventsInfo {
            too_new_log_event_start_index: taken.too_new_from.map(integer),
            too_old_log_event_end_index: some(taken.too_old),
            expired_log_event_end_index: some(taken.expired),
        };
        let all = taken == engine::log_group::Taken::default();
        Ok(PutLogEventsResponse {
            next_sequence_token: Some(SEQUENCE_TOKEN.to_owned()),
            rejected_log_events_info: (!all).then_some(rejected),
            rejected_entity_info: None,
        })
    }

    pub(super) async fn get_log_events(
        &self,
        ask: &Ask<'_>,
        request: GetLogEventsRequest,
    ) -> Result<GetLogEventsResponse, Refusal> {
        let (name, identifier) = (&request.log_group_name, &request.log_group_identifier);
        let group = ask.group_of(name.as_ref(), identifier.as_ref())?;
        let begin = begin(
            request.next_token.as_deref(),
            request.start_from_head == Some(true),
        )?;
        let query = Query {
            streams: Streams::Named(vec![request.log_stream_name]),
            from_ms: request.start_time.map(time),
            until_ms: request.end_time.map(time),
            filter: None,
            begin,
            limit: page(request.limit),
        };
        let who = ask.caller.identity.principal();
        let found = self.engine.log_groups().events(&who, &group, query).await;
        let found = found.map_err(|error| ask.refusal(&error))?;
        let (forward, backward) = tokens(begin, &found.events);
        let shown = found.events.into_iter().map(|event| OutputLogEvent {
            timestamp: Some(long(event.key.at_ms)),
            message: Some(event.text),
            ingestion_time: Some(long(event.key.ingested_ms)),
        });
        Ok(GetLogEventsResponse {
            events: Some(shown.collect()),
            next_forward_token: Some(forward),
            next_backward_token: Some(backward),
        })
    }

    pub(super) async fn filter_log_events(
        &self,
        ask: &Ask<'_>,
        request: FilterLogEventsRequest,
    ) -> Result<FilterLogEventsResponse, Refusal> {
        let (name, identifier) = (&request.log_group_name, &request.log_group_identifier);
        let group = ask.group_of(name.as_ref(), identifier.as_ref())?;
        let pattern = request.filter_pattern.unwrap_or_default();
        let pattern = Pattern::read(&pattern).map_err(|bad| Refusal::invalid(bad.to_string()))?;
        let streams = match (request.log_stream_names, request.log_stream_name_prefix) {
            (None, None) => Streams::All,
            (Some(names), None) => Streams::Named(names),
            (None, Some(prefix)) => Streams::Prefix(prefix),
            (Some(_), Some(_)) => {
                return Err(Refusal::invalid(
                    "logStreamNames and logStreamNamePrefix are mutually exclusive parameters.",
                ));
            }
        };
        let begin = begin(
            request.next_token.as_deref(),
            request.start_from_head != Some(false),
        )?;
        let query = Query {
            streams,
            from_ms: request.start_time.map(time),
            // Unlike that of GetLogEvents, this end is in the range.
            until_ms: request.end_time.map(|end| time(end).saturating_add(1)),
            filter: Some(Filter::new(move |text| pattern.matches(text))),
            begin,
            limit: page(request.limit),
        };
        let who = ask.caller.identity.principal();
        let found = self.engine.log_groups().events(&who, &group, query).await;
        let mut found = found.map_err(|error| ask.refusal(&error))?;
        let (forward, backward) = tokens(begin, &found.events);
        let next = if begin.is_forward() {
            forward
        } else {
            backward
        };
        if !begin.is_forward() {
            found.events.reverse();
        }
        let shown = found.events.into_iter().map(|event| FilteredLogEvent {
            log_stream_name: Some(event.stream),
            timestamp: Some(long(event.key.at_ms)),
            message: Some(event.text),
            ingestion_time: Some(long(event.key.ingested_ms)),
            event_id: Some(event.key.to_string()),
        });
        Ok(FilterLogEventsResponse {
            events: Some(shown.collect()),
            // The service has told nothing here since 2020.
            searched_log_streams: Some(Vec::new()),
            next_token: found.more.then_some(next),
        })
    }
}

fn page(limit: Option<i32>) -> usize {
    limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(1))
}

/// Where a request begins to read: tokens are `f/KEY/s` for what follows an event and `b/KEY/s` for
/// what comes before it.
fn begin(token: Option<&str>, from_head: bool) -> Result<Begin, Refusal> {
    let Some(token) = token else {
        return Ok(if from_head {
            Begin::Oldest
        } else {
            Begin::Newest
        });
    };
    let key = |token: &str, kind| -> Option<EventKey> {
        let key = token.strip_prefix(kind)?.strip_suffix("/s")?;
        key.parse().ok()
    };
    let after = key(token, "f/").map(Begin::After);
    let before = || key(token, "b/").map(Begin::Before);
    after.or_else(before).ok_or_else(Refusal::no_token)
}

/// The tokens for what follows these events and for what comes before them. Where there are none the
/// token of that direction is the one that was given.
fn tokens(begin: Begin, events: &[Event]) -> (String, String) {
    let forward = |key: EventKey| format!("f/{key}/s");
    let backward = |key: EventKey| format!("b/{key}/s");
    match (events.first(), events.last(), begin) {
        (Some(first), Some(last), _) => (forward(last.key), backward(first.key)),
        (_, _, Begin::After(key)) => (forward(key), backward(key.next())),
        (_, _, Begin::Before(key)) => (forward(key.previous()), backward(key)),
        (_, _, Begin::Oldest | Begin::Newest) => {
            let start = EventKey::at(0);
            (forward(start), backward(start))
        }
    }
}
