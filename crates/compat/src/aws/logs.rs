//! CloudWatch Logs: finds the operation, hands it to its verb, and says in the service's own form
//! what is not served.

mod error;
mod event;
mod filter;
mod group;
#[rustfmt::skip]
mod shapes;
mod stream;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use model::LogGroupId;

use super::shape::{self, Given, Operation, Request, Source, Unread, read};
use super::{Aws, Caller};
use crate::body::{Uncollected, collect};
use crate::{Body, full};
use error::{Refusal, kind};
use shapes::operation::{Name, OPERATIONS};

/// Largest body, in bytes: a batch of log events, of a mebibyte by the service's count, as JSON may
/// escape it (ours).
const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;

const JSON: &str = "application/x-amz-json-1.1";

/// One request for an operation.
#[derive(Debug)]
struct Ask<'a> {
    caller: &'a Caller,
    operation: &'static Operation<Name>,
}

impl Ask<'_> {
    /// The group that a request names, by its name or by an ARN.
    fn group(&self, name: &str) -> Result<LogGroupId, Refusal> {
        let (account, region) = (&self.caller.account, &self.caller.region);
        let group = model::arn::parse_log_group(name, account, region);
        let group = group.map_err(|error| Refusal::invalid(error.to_string()))?;
        if group.region != *region {
            return Err(Refusal::no_group());
        }
        Ok(group)
    }

    /// The same of one that can be named in two ways, of which one must be taken.
    fn group_of(
        &self,
        name: Option<&String>,
        identifier: Option<&String>,
    ) -> Result<LogGroupId, Refusal> {
        match (name, identifier) {
            (Some(one), None) | (None, Some(one)) => self.group(one),
            (None, None) => Err(Refusal::invalid(
                "Either logGroupName or logGroupIdentifier must be specified",
            )),
            (Some(_), Some(_)) => Err(Refusal::invalid(
                "LogGroupName and logGroupIdentifier are mutually exclusive parameters",
            )),
        }
    }

    /// What an error of the engine means to the service's clients.
    fn refusal(&self, error: &engine::Error) -> Refusal {
        Refusal::of(error, self)
    }
}

impl Aws {
    /// Answers a request for CloudWatch Logs.
    pub(super) async fn logs(
        &self,
        caller: &Caller,
        request: &Parts,
        body: Body,
    ) -> Response<Body> {
        let answered = async {
            let operation = find(request)?;
            self.operate_logs(&Ask { caller, operation }, body).await
        };
        answered.await.unwrap_or_else(Refusal::response)
    }

    async fn operate_logs(&self, ask: &Ask<'_>, body: Body) -> Result<Response<Body>, Refusal> {
        match ask.operation.is {
            Name::CreateLogGroup => done(self.create_log_group(ask, read_body(body).await?).await),
            Name::DeleteLogGroup => done(self.delete_log_group(ask, read_body(body).await?).await),
            Name::DescribeLogGroups => answer(
                &self
                    .describe_log_groups(ask, read_body(body).await?)
                    .await?,
            ),
            Name::PutRetentionPolicy => done(self.put_retention(ask, read_body(body).await?).await),
            Name::DeleteRetentionPolicy => {
                done(self.delete_retention(ask, read_body(body).await?).await)
            }
            Name::TagLogGroup => done(self.tag_log_group(ask, read_body(body).await?).await),
            Name::UntagLogGroup => done(self.untag_log_group(ask, read_body(body).await?).await),
            Name::ListTagsLogGroup => answer(
                &self
                    .list_tags_log_group(ask, read_body(body).await?)
                    .await?,
            ),
            Name::TagResource => done(self.tag_logs_resource(ask, read_body(body).await?).await),
            Name::UntagResource => {
                done(self.untag_logs_resource(ask, read_body(body).await?).await)
            }
            Name::ListTagsForResource => answer(
                &self
                    .list_tags_for_resource(ask, read_body(body).await?)
                    .await?,
            ),
            Name::DescribeMetricFilters => answer(
                &self
                    .describe_metric_filters(ask, read_body(body).await?)
                    .await?,
            ),
            Name::DescribeSubscriptionFilters => answer(
                &self
                    .describe_subscriptions(ask, read_body(body).await?)
                    .await?,
            ),
            Name::DescribeResourcePolicies => {
                let shapes::DescribeResourcePoliciesRequest { .. } = read_body(body).await?;
                answer(&shapes::DescribeResourcePoliciesResponse {
                    resource_policies: Some(Vec::new()),
                    next_token: None,
                })
            }
            Name::CreateLogStream => {
                done(self.create_log_stream(ask, read_body(body).await?).await)
            }
            Name::DeleteLogStream => {
                done(self.delete_log_stream(ask, read_body(body).await?).await)
            }
            Name::DescribeLogStreams => answer(
                &self
                    .describe_log_streams(ask, read_body(body).await?)
                    .await?,
            ),
            Name::PutLogEvents => answer(&self.put_log_events(ask, read_body(body).await?).await?),
            Name::GetLogEvents => answer(&self.get_log_events(ask, read_body(body).await?).await?),
            Name::FilterLogEvents => {
                answer(&self.filter_log_events(ask, read_body(body).await?).await?)
            }
            _ => Err(Refusal::unserved(ask.operation.name)),
        }
    }
}

/// The operation that the request's target names.
fn find(request: &Parts) -> Result<&'static Operation<Name>, Refusal> {
    let target = request.headers.get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok());
    let asked = target.unwrap_or_default();
    let name = asked.strip_prefix("Logs_20140328.");
    let found = OPERATIONS.iter().find(|known| Some(known.name) == name);
    found.ok_or_else(|| Refusal::unknown(asked))
}

/// What an operation takes.
async fn read_body<T: Request>(body: Body) -> Result<T, Refusal> {
    let body = collect(body, BODY_BYTES_MAX)
        .await
        .map_err(|error| match error {
            Uncollected::NoRoom => Refusal::new(kind::THROTTLING, "Rate exceeded"),
            Uncollected::TooLarge { .. } | Uncollected::Broken(_) => {
                Refusal::new(kind::SERIALIZATION, error.to_string())
            }
        })?;
    read(Source::Json(body)).map_err(|error| match error {
        Unread::Misfit(misfit) => Refusal::new(kind::SERIALIZATION, misfit.to_string()),
        Unread::Broken(message) => Refusal::invalid(message),
    })
}

fn answer(answer: &dyn Given) -> Result<Response<Body>, Refusal> {
    Ok(respond(full(shape::json(answer))))
}

/// The answer of an operation that has nothing to tell.
fn done(done: Result<(), Refusal>) -> Result<Response<Body>, Refusal> {
    done.map(|()| respond(full(Bytes::new())))
}

fn respond(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let kind = HeaderValue::from_static(JSON);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A number as the model's integers hold it: no larger one is met here.
fn integer(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// The same of its longs.
fn long(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// A time of a request; the service model lets none before 1970 in.
fn time(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::shapes::*;
    use super::*;

    #[track_caller]
    fn check<T: Request>(body: &str, expected: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let read = runtime.block_on(read_body::<T>(crate::full(body.to_owned())));
        let told = match read {
            Ok(_) => "fine".to_owned(),
            Err(refusal) => format!("{}: {}", refusal.kind.name, refusal.message),
        };
        assert_eq!(told, expected, "{body}");
    }

    #[test]
    fn requests_have_rules() {
        check::<CreateLogGroupRequest>(r#"{"logGroupName": "/aws/lambda/hello"}"#, "fine");
        check::<CreateLogGroupRequest>(
            r#"{"logGroupName": "a b"}"#,
            "InvalidParameterException: 1 validation error detected: Value 'a b' at \
             'logGroupName' failed to satisfy constraint: Member must satisfy regular expression \
             pattern: [\\.\\-_/#A-Za-z0-9]+",
        );
        check::<PutLogEventsRequest>(
            r#"{"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": 1}]}"#,
            "InvalidParameterException: 1 validation error detected: Value null at \
             'logEvents.1.member.message' failed to satisfy constraint: Member must not be null",
        );
        check::<GetLogEventsRequest>(
            r#"{"logStreamName": "s", "startTime": "now"}"#,
            "SerializationException: STRING_VALUE can not be converted to a Long",
        );
    }
}
