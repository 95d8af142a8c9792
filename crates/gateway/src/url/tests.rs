//! Requests to a function's URL and what comes back, functions being closures.

use expect_test::{Expect, expect};
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
    let url = Some(engine::verb::UrlSettings { cors: Some(cors) });
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
    assert_eq!(id_of_host("abc1.lambda-url."), None);
    assert_eq!(id_of_host("lambda-url.us-east-1"), None);
    assert_eq!(id_of_host("127.0.0.1"), None);
}
