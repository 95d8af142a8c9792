//! Log streams: making, listing and removing them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::log_group::{StreamOrder, StreamQuery, StreamView};
use model::{LogGroupId, LogStreamName};

use super::error::Refusal;
use super::event::SEQUENCE_TOKEN;
use super::shapes::choice::OrderBy;
use super::shapes::*;
use super::{Ask, long};
use crate::aws::Aws;

/// Streams on a page where the caller asks for no number, and at most (service model).
const PAGE: usize = 50;

/// A stream's name; the service model's rules hold already.
pub(super) fn stream_name(name: &str) -> Result<LogStreamName, Refusal> {
    name.parse()
        .map_err(|error: model::InvalidName| Refusal::invalid(error.to_string()))
}

impl Aws {
    pub(super) async fn create_log_stream(
        &self,
        ask: &Ask<'_>,
        request: CreateLogStreamRequest,
    ) -> Result<(), Refusal> {
        let group = ask.group(&request.log_group_name)?;
        let stream = stream_name(&request.log_stream_name)?;
        let who = ask.caller.identity.principal();
        let groups = self.engine.log_groups();
        let made = groups.create_stream(&who, &group, &stream).await;
        made.map_err(|error| ask.refusal(&error))
    }

    pub(super) async fn delete_log_stream(
        &self,
        ask: &Ask<'_>,
        request: DeleteLogStreamRequest,
    ) -> Result<(), Refusal> {
        let group = ask.group(&request.log_group_name)?;
        let stream = stream_name(&request.log_stream_name)?;
        let who = ask.caller.identity.principal();
        let groups = self.engine.log_groups();
        let removed = groups.remove_stream(&who, &group, &stream).await;
        removed.map_err(|error| ask.refusal(&error))
    }

    pub(super) async fn describe_log_streams(
        &self,
        ask: &Ask<'_>,
        request: DescribeLogStreamsRequest,
    ) -> Result<DescribeLogStreamsResponse, Refusal> {
        let (name, identifier) = (&request.log_group_name, &request.log_group_identifier);
        let group = ask.group_of(name.as_ref(), identifier.as_ref())?;
        let order = match &request.order_by {
            Some(OrderBy::LastEventTime) => StreamOrder::LastEvent,
            _ => StreamOrder::Name,
        };
        let prefix = request.log_stream_name_prefix.unwrap_or_default();
        if order == StreamOrder::LastEvent && !prefix.is_empty() {
            return Err(Refusal::invalid(
                "Cannot order by LastEventTime with a logStreamNamePrefix.",
            ));
        }
        let limit = request
            .limit
            .map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(1));
        let after = match &request.next_token {
            Some(token) => Some(place_in(token, order).ok_or_else(Refusal::no_token)?),
            None => None,
        };
        let query = StreamQuery {
            prefix,
            order,
            descending: request.descending == Some(true),
            after,
            limit,
        };
        let who = ask.caller.identity.principal();
        let found = self.engine.log_groups().streams(&who, &group, &query).await;
        let (streams, more) = found.map_err(|error| ask.refusal(&error))?;
        let last = streams.last().map(|stream| stream.place(order));
        let shown = streams.into_iter().map(|stream| show(&group, stream));
        Ok(DescribeLogStreamsResponse {
            log_streams: Some(shown.collect()),
            next_token: last.filter(|_| more).map(|place| token(&place, order)),
        })
    }
}

/// Where a listing goes on, as its client has it.
fn token(place: &str, order: StreamOrder) -> String {
    let mut bytes = vec![mark(order)];
    bytes.extend(place.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What such a token says, where it is one of a listing in this order.
fn place_in(token: &str, order: StreamOrder) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (first, place) = bytes.split_first()?;
    let place = std::str::from_utf8(place).ok()?;
    (*first == mark(order)).then(|| place.to_owned())
}

/// Tells listings in one order from those in another.
fn mark(order: StreamOrder) -> u8 {
    match order {
        StreamOrder::Name => b'n',
        StreamOrder::LastEvent => b't',
    }
}

fn show(group: &LogGroupId, stream: StreamView) -> LogStream {
    let arn = model::arn::log_group(group);
    LogStream {
        arn: Some(format!("{arn}:log-stream:{}", stream.name)),
        log_stream_name: Some(stream.name),
        creation_time: Some(long(stream.created_ms)),
        first_event_timestamp: stream.first_ms.map(long),
        last_event_timestamp: stream.last_ms.map(long),
        last_ingestion_time: stream.ingested_ms.map(long),
        upload_sequence_token: Some(SEQUENCE_TOKEN.to_owned()),
        // The service tells it of groups only since 2019.
        stored_bytes: Some(0),
    }
}
