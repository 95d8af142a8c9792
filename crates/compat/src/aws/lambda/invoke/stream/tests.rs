//! What clients of InvokeWithResponseStream see, functions being closures.

use std::sync::Arc;

use expect_test::{Expect, expect};
use futures_util::FutureExt as _;
use http::Request;

use super::*;
use crate::aws::Settings;
use crate::fixture::{Behaviour, Fixture, echo};
use crate::full;

/// Streams two parts and ends so.
fn stream(call: &engine::port::Call, end: End) -> (End, String) {
    let sink = call.sink.as_ref().unwrap();
    sink.begin("text/plain".into())
        .now_or_never()
        .unwrap()
        .unwrap();
    for part in ["one", "two"] {
        let sent = sink.send(Bytes::from_static(part.as_bytes()));
        sent.now_or_never().unwrap().unwrap();
    }
    let error = r#"{"errorType":"E"}"#;
    let payload = if end == End::Replied { "" } else { error };
    (end, payload.into())
}

async fn exchange(behaviour: Behaviour, name: &str, headers: &[(&str, &str)]) -> String {
    let fixture = Fixture::new(behaviour).await;
    fixture.deploy(fixture.deployment()).await;
    let settings = Settings {
        access: crate::aws::Access::Anybody,
        network: model::Network::Outside,
        account: "000000000000".parse().unwrap(),
        region: "us-east-1".parse().unwrap(),
        account_concurrency: 1000,
        endpoint: "http://127.0.0.1:4566".into(),
        moved_urls: Arc::default(),
        urls_open: None,
    };
    let door = Aws::new(fixture.engine.clone(), fixture.clock.clone(), settings);
    let path = format!("/2021-11-15/functions/{name}/response-streaming-invocations");
    let scope = "20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00";
    let mut request = Request::post(path).header(
        "authorization",
        format!("AWS4-HMAC-SHA256 Credential=test/{scope}"),
    );
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = door.handle(request.body(full(r#"{"a":1}"#)).unwrap()).await;
    let (parts, body) = response.into_parts();
    let mut seen = format!("{}\n", parts.status.as_u16());
    for name in ["content-type", "x-amz-executed-version"] {
        if let Some(value) = parts.headers.get(name) {
            seen += &format!("{name}: {}\n", value.to_str().unwrap());
        }
    }
    let body = body.collect().await.unwrap().to_bytes();
    if parts.status == StatusCode::OK {
        seen + &events(&body)
    } else {
        seen + &String::from_utf8_lossy(&body)
    }
}

/// The events of a body, a line each.
fn events(mut body: &[u8]) -> String {
    let number = |at: &[u8]| u32::from_be_bytes(at[..4].try_into().unwrap()) as usize;
    let mut seen = String::new();
    while !body.is_empty() {
        let (total, headers) = (number(body), number(&body[4..]));
        let payload = &body[12 + headers..total - 4];
        let headers: String = String::from_utf8_lossy(&body[12..12 + headers])
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let words: Vec<_> = headers.split_whitespace().collect();
        seen += &format!("{words:?} {}\n", String::from_utf8_lossy(payload));
        body = &body[total..];
    }
    seen
}

async fn check(behaviour: Behaviour, expected: Expect) {
    let seen = exchange(behaviour, "hello", &[("x-amz-log-type", "Tail")]).await;
    expected.assert_eq(&seen);
}

#[tokio::test]
async fn parts_are_events() {
    check(|call| stream(call, End::Replied), expect![[r#"
        200
        content-type: application/vnd.amazon.eventstream
        x-amz-executed-version: $LATEST
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] one
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] two
        [":event-type", "InvokeComplete", ":content-type", "application/json", ":message-type", "event"] {"LogResult":"dGhlIHRhaWwK"}
    "#]]).await;
    check(echo, expect![[r#"
        200
        content-type: application/vnd.amazon.eventstream
        x-amz-executed-version: $LATEST
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] {"a":1}
        [":event-type", "InvokeComplete", ":content-type", "application/json", ":message-type", "event"] {"LogResult":"dGhlIHRhaWwK"}
    "#]]).await;
    let seen = exchange(|call| stream(call, End::Replied), "hello", &[]).await;
    assert!(seen.ends_with("{}\n"), "{seen}");
}

#[tokio::test]
async fn failures_are_told_at_the_end() {
    check(
        |_| (End::Failed, r#"{"errorType":"E"}"#.into()),
        expect![[r#"
            200
            content-type: application/vnd.amazon.eventstream
            x-amz-executed-version: $LATEST
            [":event-type", "InvokeComplete", ":content-type", "application/json", ":message-type", "event"] {"ErrorCode":"Unhandled","ErrorDetails":"{\"errorType\":\"E\"}","LogResult":"dGhlIHRhaWwK"}
        "#]],
    )
    .await;
    check(|call| stream(call, End::Failed), expect![[r#"
        200
        content-type: application/vnd.amazon.eventstream
        x-amz-executed-version: $LATEST
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] one
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] two
        [":event-type", "InvokeComplete", ":content-type", "application/json", ":message-type", "event"] {"ErrorCode":"Unhandled","ErrorDetails":"{\"errorType\":\"E\"}","LogResult":"dGhlIHRhaWwK"}
    "#]]).await;
    check(|call| stream(call, End::Crashed), expect![[r#"
        200
        content-type: application/vnd.amazon.eventstream
        x-amz-executed-version: $LATEST
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] one
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] two
        [":event-type", "InvokeComplete", ":content-type", "application/json", ":message-type", "event"] {"ErrorCode":"Runtime.TruncatedResponse","ErrorDetails":"{\"errorType\":\"E\"}","LogResult":"dGhlIHRhaWwK"}
    "#]]).await;
    check(|call| stream(call, End::TimedOut), expect![[r#"
        200
        content-type: application/vnd.amazon.eventstream
        x-amz-executed-version: $LATEST
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] one
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] two
        [":event-type", "InvokeComplete", ":content-type", "application/json", ":message-type", "event"] {"ErrorCode":"Sandbox.Timedout","ErrorDetails":"{\"errorType\":\"E\"}","LogResult":"dGhlIHRhaWwK"}
    "#]]).await;
    check(|call| stream(call, End::ResponseTooLarge), expect![[r#"
        200
        content-type: application/vnd.amazon.eventstream
        x-amz-executed-version: $LATEST
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] one
        [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] two
        [":event-type", "InvokeComplete", ":content-type", "application/json", ":message-type", "event"] {"ErrorCode":"Function.ResponseSizeTooLarge","ErrorDetails":"{\"errorType\":\"E\"}","LogResult":"dGhlIHRhaWwK"}
    "#]]).await;
    check(
        |call| {
            let ended = stream(call, End::TimedOut);
            let sink = call.sink.as_ref().unwrap();
            sink.finish().now_or_never().unwrap();
            ended
        },
        expect![[r#"
            200
            content-type: application/vnd.amazon.eventstream
            x-amz-executed-version: $LATEST
            [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] one
            [":event-type", "PayloadChunk", ":content-type", "application/octet-stream", ":message-type", "event"] two
            [":event-type", "InvokeComplete", ":content-type", "application/json", ":message-type", "event"] {"LogResult":"dGhlIHRhaWwK"}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn what_does_not_run_is_answered_as_by_invoke() {
    let kind = "x-amz-invocation-type";
    let dry = exchange(echo, "hello", &[(kind, "DryRun")]).await;
    expect![[r#"
        204
    "#]]
    .assert_eq(&dry);
    let event = exchange(echo, "hello", &[(kind, "Event")]).await;
    expect![[r#"
        400
        content-type: application/json
        {"message":"1 validation error detected: Value 'Event' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [RequestResponse, DryRun]"}"#]].assert_eq(&event);
    let missing = exchange(echo, "missing", &[]).await;
    expect![[r#"
        404
        content-type: application/json
        {"Message":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:missing","Type":"User"}"#]].assert_eq(&missing);
    let fault = exchange(|_| (End::Fault, "odd".into()), "hello", &[]).await;
    expect![[r#"
        500
        content-type: application/json
        {"Message":"the platform failed; its own log says why","Type":"User"}"#]]
    .assert_eq(&fault);
}
