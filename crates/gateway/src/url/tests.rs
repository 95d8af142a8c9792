//! Requests to a function's URL and what comes back, functions being closures.

use expect_test::{Expect, expect};
use futures_util::FutureExt as _;
use model::Cors;

use super::*;
use crate::fixture::{Behaviour, Fixture, echo};

/// Sends one request and shows status, headers (what is random left out) and body.
async fn exchange(
    fixture: &Fixture,
    url_id: &str,
    request: http::request::Builder,
    body: &str,
) -> String {
    let urls = FunctionUrls::new(fixture.engine.clone(), fixture.clock.clone());
    let body = if body.is_empty() {
        Bytes::new()
    } else {
        Bytes::copy_from_slice(body.as_bytes())
    };
    let response = urls
        .handle(url_id, request.body(crate::full(body)).unwrap())
        .await;
    let (parts, body) = response.into_parts();
    let mut lines: Vec<_> = parts
        .headers
        .iter()
        .filter(|(name, _)| {
            **name != REQUEST_ID && **name != event::TRACE_ID && **name != SERVER_TIMING
        })
        .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
        .collect();
    lines.sort();
    let body = body.collect().await.unwrap().to_bytes();
    format!(
        "{}\n{}{}",
        parts.status.as_u16(),
        lines.concat(),
        String::from_utf8_lossy(&body)
    )
}

async fn check(
    behaviour: Behaviour,
    request: http::request::Builder,
    body: &str,
    expected: Expect,
) {
    let fixture = Fixture::new(behaviour).await;
    let id = fixture.deploy(fixture.deployment()).await;
    expected.assert_eq(&exchange(&fixture, &id, request, body).await);
}

#[tokio::test]
async fn a_function_sees_the_request_and_chooses_the_response() {
    fn respond(call: &engine::port::Call) -> (End, String) {
        let event: serde_json::Value = serde_json::from_slice(&call.payload).unwrap();
        let seen = format!(
            "{} {} {}",
            event["requestContext"]["http"]["method"], event["rawPath"], event["body"]
        );
        assert_eq!(event["requestContext"]["requestId"], call.id.as_str());
        let answer =
            serde_json::json!({ "statusCode": 201, "headers": { "X-Seen": seen }, "body": "made" });
        (End::Replied, answer.to_string())
    }
    let request = Request::put("/things/1").header("content-type", "text/plain");
    check(
        respond,
        request,
        "hi",
        expect![[r#"
        201
        content-type: application/json
        x-seen: "PUT" "/things/1" "hi"
        made"#]],
    )
    .await;
}

#[tokio::test]
async fn a_failing_function_is_a_bad_gateway() {
    fn fail(_: &engine::port::Call) -> (End, String) {
        (End::Failed, r#"{"errorMessage":"no"}"#.into())
    }
    check(
        fail,
        Request::get("/"),
        "",
        expect![[r#"
        502
        content-type: application/json
        x-dayfly-error: failed
        Internal Server Error"#]],
    )
    .await;
    fn bad(_: &engine::port::Call) -> (End, String) {
        (End::Replied, r#"{"statusCode":1}"#.into())
    }
    check(
        bad,
        Request::get("/"),
        "",
        expect![[r#"
        502
        content-type: application/json
        x-dayfly-error: statusCode must be a number from 200 to 599, not 1
        Internal Server Error"#]],
    )
    .await;
}

#[tokio::test]
async fn ids_traces_and_timings_are_told() {
    let fixture = Fixture::new(echo).await;
    let id = fixture.deploy(fixture.deployment()).await;
    let urls = FunctionUrls::new(fixture.engine.clone(), fixture.clock.clone());
    let request =
        Request::get("/").header(event::TRACE_ID, "Root=1-5e6722a7-cc56abcd46db7ae02d4da47e");
    let response = urls
        .handle(&id, request.body(crate::full("")).unwrap())
        .await;
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert!(header("x-amzn-requestid").parse::<InvocationId>().is_ok());
    assert!(
        header("x-amzn-trace-id").starts_with("Root=1-5e6722a7-cc56abcd46db7ae02d4da47e;Parent=")
    );
    let timing = header("server-timing");
    assert!(
        timing.contains("handler;dur=1.500") && timing.contains("desc=\"plain\""),
        "{timing}"
    );
}

#[tokio::test]
async fn urls_that_nobody_has_are_not_found() {
    let fixture = Fixture::new(echo).await;
    let answer = exchange(&fixture, "nobody", Request::get("/"), "").await;
    expect![[r#"
        404
        content-type: application/json
        x-amzn-errortype: ResourceNotFoundException
        {"Message":"no function answers at this URL"}"#]]
    .assert_eq(&answer);
}

#[tokio::test]
async fn beyond_the_limit_requests_are_refused_at_once() {
    let fixture = Fixture::new(echo).await;
    let closed = engine::verb::Deployment {
        reserved_concurrency: Some(0),
        ..fixture.deployment()
    };
    let id = fixture.deploy(closed).await;
    let answer = exchange(&fixture, &id, Request::get("/"), "").await;
    expect![[r#"
        429
        content-type: application/json
        retry-after: 1
        x-amzn-errortype: TooManyRequestsException
        {"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#]]
    .assert_eq(&answer);
}

#[tokio::test]
async fn large_requests_are_refused() {
    let too_large = "x".repeat(limit::REQUEST_BYTES_MAX + 1);
    check(
        echo,
        Request::post("/"),
        &too_large,
        expect![[r#"
        413
        content-type: application/json
        x-amzn-errortype: RequestTooLargeException
        {"Message":"the request is larger than 6291456 bytes"}"#]],
    )
    .await;
    // Small enough as it came, too large as an event.
    let grows = "x".repeat(limit::REQUEST_BYTES_MAX - 100);
    let request = Request::post("/").header("content-type", "image/png");
    check(
        echo,
        request,
        &grows,
        expect![[r#"
        413
        content-type: application/json
        x-amzn-errortype: RequestTooLargeException
        {"Message":"the request is larger than 6291456 bytes"}"#]],
    )
    .await;
}

#[tokio::test]
async fn a_body_that_there_is_no_room_for_is_worth_another_try() {
    let fixture = Fixture::new(echo).await;
    let id = fixture.deploy(fixture.deployment()).await;
    let urls = FunctionUrls::new(fixture.engine.clone(), fixture.clock.clone());
    let frames = futures_util::stream::once(async {
        let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
        Err::<http_body::Frame<Bytes>, BodyError>(busy.into())
    });
    let body = http_body_util::StreamBody::new(Box::pin(frames)).boxed();
    let response = urls
        .handle(&id, Request::post("/").body(body).unwrap())
        .await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
}

#[tokio::test]
async fn preflights_do_not_reach_the_function() {
    fn fail(_: &engine::port::Call) -> (End, String) {
        (End::Failed, "{}".into())
    }
    let fixture = Fixture::new(fail).await;
    let cors = Cors {
        allow_origins: vec!["https://a.example".into()],
        allow_methods: vec!["GET".into()],
        ..Cors::default()
    };
    let url = Some(engine::verb::UrlSettings {
        cors: Some(cors),
        ..Default::default()
    });
    let id = fixture
        .deploy(engine::verb::Deployment {
            url,
            ..fixture.deployment()
        })
        .await;
    let asking = |method: &str| {
        Request::builder()
            .method(method)
            .header("origin", "https://a.example")
            .header("access-control-request-method", "GET")
    };
    let answer = exchange(&fixture, &id, asking("OPTIONS"), "").await;
    expect![[r#"
        200
        access-control-allow-methods: GET
        access-control-allow-origin: https://a.example
        vary: Origin
    "#]]
    .assert_eq(&answer);
    let answer = exchange(&fixture, &id, asking("GET"), "").await;
    expect![[r#"
        502
        access-control-allow-origin: https://a.example
        content-type: application/json
        vary: Origin
        x-dayfly-error: failed
        Internal Server Error"#]]
    .assert_eq(&answer);
}

#[test]
fn host_names_tell_url_ids() {
    assert_eq!(
        id_of_host("abc1.lambda-url.us-east-1.localhost"),
        Some("abc1")
    );
    assert_eq!(id_of_host("abc1.lambda-url.us-east-1.on.aws"), Some("abc1"));
    assert_eq!(
        parts_of_host("abc1.lambda-url.us-east-1.on.aws"),
        Some(("abc1", "us-east-1"))
    );
    assert_eq!(
        parts_of_host("abc1.lambda-url.on.aws"),
        Some(("abc1", "on"))
    );
    assert_eq!(id_of_host("abc1.lambda-url."), None);
    assert_eq!(id_of_host("lambda-url.us-east-1"), None);
    assert_eq!(id_of_host("127.0.0.1"), None);
}

/// Streams these parts, which must be few, and ends so.
fn stream(
    call: &engine::port::Call,
    kind: &str,
    parts: &[&'static [u8]],
    end: End,
) -> (End, String) {
    let sink = call.sink.as_ref().unwrap();
    sink.begin(kind.into()).now_or_never().unwrap().unwrap();
    for part in parts {
        let sent = sink.send(Bytes::from_static(part)).now_or_never();
        sent.unwrap().unwrap();
    }
    let error = r#"{"errorMessage":"no"}"#;
    let payload = if end == End::Replied { "" } else { error };
    (end, payload.into())
}

const INTEGRATION: &str = "application/vnd.awslambda.http-integration-response";

/// What the client of a streaming URL sees, and whether all of it came.
async fn check_streamed(behaviour: Behaviour, expected: Expect) {
    let fixture = Fixture::new(behaviour).await;
    let url = Some(engine::verb::UrlSettings {
        invoke_mode: InvokeMode::ResponseStream,
        ..Default::default()
    });
    let id = fixture
        .deploy(engine::verb::Deployment {
            url,
            ..fixture.deployment()
        })
        .await;
    let urls = FunctionUrls::new(fixture.engine.clone(), fixture.clock.clone());
    let request = Request::get("/").body(crate::full(Bytes::new())).unwrap();
    let (parts, mut body) = urls.handle(&id, request).await.into_parts();
    let mut seen = format!("{}\n", parts.status.as_u16());
    for (name, value) in &parts.headers {
        let random = [REQUEST_ID, event::TRACE_ID, SERVER_TIMING];
        if !random.contains(name) {
            seen += &format!("{name}: {}\n", value.to_str().unwrap());
        }
    }
    while let Some(frame) = body.frame().await {
        seen += &match frame {
            Ok(frame) => format!("{:?}\n", frame.into_data().unwrap()),
            Err(error) => format!("cut short: {error}\n"),
        };
    }
    expected.assert_eq(&seen);
}

#[tokio::test]
async fn a_streamed_answer_goes_out_in_parts() {
    check_streamed(
        |call| stream(call, "text/event-stream", &[b"a", b"b"], End::Replied),
        expect![[r#"
            200
            content-type: text/event-stream
            b"a"
            b"b"
        "#]],
    )
    .await;
    check_streamed(
        |call| stream(call, "text/plain", &[], End::Replied),
        expect![[r#"
            200
            content-type: text/plain
        "#]],
    )
    .await;
    check_streamed(
        |call| stream(call, "no\nheader", &[b"a"], End::Replied),
        expect![[r#"
            200
            content-type: application/octet-stream
            b"a"
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_streamed_answer_may_begin_with_its_head() {
    check_streamed(
        |call| {
            let head = b"{\"statusCode\":201,\"headers\":{\"X-A\":\"b\"},\"cookies\":[\"c=1\",\"d=2\"]}\0\0\0\0\0\0\0\0first";
            stream(call, INTEGRATION, &[head, b"second"], End::Replied)
        },
        expect![[r#"
            201
            content-type: application/octet-stream
            x-a: b
            set-cookie: c=1
            set-cookie: d=2
            b"first"
            b"second"
        "#]],
    )
    .await;
    check_streamed(
        |call| {
            let parts: [&[u8]; 3] = [b"{}\0\0\0", b"\0\0\0\0", b"\0\0rest"];
            stream(call, INTEGRATION, &parts, End::Replied)
        },
        expect![[r#"
            200
            content-type: application/octet-stream
            b"\0rest"
        "#]],
    )
    .await;
    check_streamed(
        |call| stream(call, INTEGRATION, &[b"{\"statusCode\":200}"], End::Replied),
        expect![[r#"
            502
            content-type: application/json
            x-dayfly-error: the answer must begin with status and headers as JSON, ended by eight NUL bytes and of 131072 bytes at most; HttpResponseStream.from sends them with the first write
            b"Internal Server Error"
        "#]],
    )
    .await;
    check_streamed(
        |call| {
            stream(
                call,
                INTEGRATION,
                &[b"{\"statusCode\":1}\0\0\0\0\0\0\0\0"],
                End::Replied,
            )
        },
        expect![[r#"
            502
            content-type: application/json
            x-dayfly-error: statusCode must be a number from 200 to 599, not 1
            b"Internal Server Error"
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_head_without_an_end_is_not_kept_for_ever() {
    static MUCH: [u8; 100_000] = [b' '; 100_000];
    check_streamed(
        |call| stream(call, INTEGRATION, &[&MUCH, &MUCH], End::Replied),
        expect![[r#"
            502
            content-type: application/json
            x-dayfly-error: the answer must begin with status and headers as JSON, ended by eight NUL bytes and of 131072 bytes at most; HttpResponseStream.from sends them with the first write
            b"Internal Server Error"
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_streamed_answer_that_breaks_off_is_cut_short() {
    check_streamed(
        |call| stream(call, "text/plain", &[b"half"], End::Crashed),
        expect![[r#"
            200
            content-type: text/plain
            b"half"
            cut short: the function ended half-way: crashed
        "#]],
    )
    .await;
    check_streamed(
        |call| stream(call, "text/plain", &[], End::Failed),
        expect![[r#"
            502
            content-type: application/json
            x-dayfly-error: failed
            b"Internal Server Error"
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_function_that_does_not_stream_is_passed_on_unread() {
    check_streamed(
        |_| (End::Replied, r#"{"statusCode":201,"body":"b"}"#.into()),
        expect![[r#"
            200
            content-type: application/json
            b"{\"statusCode\":201,\"body\":\"b\"}"
        "#]],
    )
    .await;
    check_streamed(
        |_| (End::Failed, "{}".into()),
        expect![[r#"
        502
        content-type: application/json
        x-dayfly-error: failed
        b"Internal Server Error"
    "#]],
    )
    .await;
}
