//! The control API as its clients see it, functions being closures.

use std::net::SocketAddr;
use std::sync::Arc;

use expect_test::{Expect, expect};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::End;
use tokio::net::TcpListener;

use super::*;
use crate::client::{Client, Error};
use crate::fixture::{Behaviour, Fixture, echo, hello};

fn api(fixture: &Fixture) -> Api {
    let settings = Settings {
        version: "1.2.3".into(),
        account: "000000000000".parse().unwrap(),
        region: "us-east-1".parse().unwrap(),
        endpoint: "http://127.0.0.1:4566".into(),
        moved_urls: Arc::default(),
    };
    Api::new(fixture.engine.clone(), fixture.clock.clone(), settings)
}

async fn deployed(behaviour: Behaviour) -> Fixture {
    let fixture = Fixture::new(behaviour).await;
    fixture.deploy(fixture.deployment()).await;
    fixture
}

async fn check(request: http::request::Builder, body: &str, expected: Expect) {
    let fixture = deployed(echo).await;
    let request = request.body(full(body.to_owned())).unwrap();
    let (parts, body) = api(&fixture)
        .handle(&hello().account, request)
        .await
        .into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    expected.assert_eq(&format!("{} {text}", parts.status.as_u16()));
}

#[tokio::test]
async fn refusals_have_one_form() {
    let path = "/_dayfly/v1/functions";
    check(
        Request::get(format!("{path}/nobody")),
        "",
        expect![[r#"404 {"error":{"code":"not_found","message":"find function nobody in us-east-1: it is not deployed there"}}"#]],
    )
    .await;
    check(
        Request::get(format!("{path}/a%20b")),
        "",
        expect![[r#"400 {"error":{"code":"invalid","message":"'a b' is not a valid function name: 1 to 64 letters, digits, hyphens and underscores"}}"#]],
    )
    .await;
    check(
        Request::post(format!("{path}/hello/invocations")),
        "{oops",
        expect![[r#"400 {"error":{"code":"invalid","message":"the event is no JSON: key must be a string at line 1 column 2"}}"#]],
    )
    .await;
    check(
        Request::get("/_dayfly/v1/nothing"),
        "",
        expect![[r#"404 {"error":{"code":"unknown_path","message":"nothing is served at /_dayfly/v1/nothing"}}"#]],
    )
    .await;
    check(
        Request::post("/_dayfly/v1/info"),
        "",
        expect![[
            r#"405 {"error":{"code":"method_not_allowed","message":"POST is not possible here"}}"#
        ]],
    )
    .await;
    check(
        Request::get(format!("{path}/hello/logs?since=yesterday")),
        "",
        expect![[r#"400 {"error":{"code":"invalid","message":"since must be milliseconds since the Unix epoch"}}"#]],
    )
    .await;
}

#[tokio::test]
async fn health_is_told() {
    check(Request::get("/healthz"), "", expect![["200 ok\n"]]).await;
}

#[tokio::test]
async fn metrics_are_in_the_form_of_prometheus() {
    let fixture = deployed(echo).await;
    let response = api(&fixture)
        .handle(
            &hello().account,
            Request::get("/metrics").body(full("")).unwrap(),
        )
        .await;
    let page = response.into_body().collect().await.unwrap().to_bytes();
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(
        page.contains("# TYPE dayfly_functions gauge\ndayfly_functions 1\n"),
        "{page}"
    );
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(
            name.starts_with("dayfly_") && value.parse::<f64>().is_ok(),
            "{line}"
        );
    }
}

/// Serves the API on a port of its own, for the client.
async fn serve(fixture: &Fixture) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let api = Arc::new(api(fixture));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let api = api.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let api = api.clone();
                async move {
                    let request = request.map(|body| body.map_err(Into::into).boxed());
                    Ok::<_, std::convert::Infallible>(api.handle(&hello().account, request).await)
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    Client::new(&format!("http://{address}")).unwrap()
}

#[tokio::test]
async fn functions_are_shown_run_and_removed() {
    let fixture = deployed(echo).await;
    let client = serve(&fixture).await;
    assert_eq!(client.info().await.unwrap().version, "1.2.3");
    let function = client
        .function("arn:aws:lambda:us-east-1:000000000000:function:hello")
        .await
        .unwrap();
    assert_eq!(
        (function.name.as_str(), function.runtime.as_str()),
        ("hello", "python3.12")
    );
    assert!(
        function
            .host_url
            .unwrap()
            .ends_with(".lambda-url.us-east-1.localhost:4566/")
    );

    let invoked = client
        .invoke("hello:$LATEST", r#"{"a":1}"#.into(), true)
        .await
        .unwrap();
    assert!(invoked.is_reply() && invoked.cold);
    assert_eq!(invoked.payload.get(), r#"{"a":1}"#);
    assert_eq!(invoked.log.as_deref(), Some("the tail\n"));
    assert_eq!(
        (invoked.billed_ms, invoked.memory_mb, invoked.memory_used_mb),
        (2, 128, 30)
    );
    assert_eq!(invoked.timings.handler_us, 1500);
    assert_eq!(
        client
            .invoke("hello", "".into(), false)
            .await
            .unwrap()
            .payload
            .get(),
        "{}"
    );
    assert_eq!(client.instances().await.unwrap().len(), 1);

    assert_eq!(client.remove("hello").await.unwrap().name, "hello");
    assert!(client.functions().await.unwrap().is_empty());
    let gone = client.invoke("hello", "{}".into(), false).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_failure_of_the_function_is_an_outcome() {
    fn fail(_: &engine::port::Call) -> (End, String) {
        (End::TimedOut, "no JSON".into())
    }
    let fixture = deployed(fail).await;
    let invoked = serve(&fixture)
        .await
        .invoke("hello", "{}".into(), false)
        .await
        .unwrap();
    assert_eq!(
        (invoked.outcome.as_str(), invoked.payload.get()),
        ("timed_out", r#""no JSON""#)
    );
}

#[tokio::test]
async fn logs_are_read_and_followed() {
    let fixture = deployed(echo).await;
    let client = serve(&fixture).await;
    let first = client.invoke("hello", "{}".into(), false).await.unwrap();
    let mut log = client.logs("hello", None, false).await.unwrap();
    let record = log.next().await.unwrap().unwrap();
    assert_eq!(record.text, format!("START RequestId: {}", first.id));
    assert_eq!(
        (record.platform, record.invocation),
        (true, Some(first.id.clone()))
    );
    assert_eq!(log.next().await.unwrap(), None);

    let mut followed = client.logs("hello", None, true).await.unwrap();
    assert_eq!(
        followed.next().await.unwrap().unwrap().invocation,
        Some(first.id)
    );
    let second = client.invoke("hello", "{}".into(), false).await.unwrap();
    assert_eq!(
        followed.next().await.unwrap().unwrap().invocation,
        Some(second.id)
    );
}

#[tokio::test]
async fn silence_is_explained() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let answer = Client::new(&format!("http://{address}"))
        .unwrap()
        .info()
        .await;
    let error = answer.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("nothing is listening on {address}; start it with `dayfly dev`")
    );
    for endpoint in ["ftp://127.0.0.1:1", "/x", ""] {
        assert!(Client::new(endpoint).is_err(), "{endpoint}");
    }
}

#[tokio::test]
async fn a_server_that_stops_refuses_for_now() {
    let fixture = deployed(echo).await;
    let client = serve(&fixture).await;
    fixture.engine.stop(std::time::Duration::ZERO).await;
    let refused = client.invoke("hello", "{}".into(), false).await;
    assert!(
        matches!(refused, Err(Error::Throttled { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_failed_inside_is_not_told_outside() {
    let inside = "write store.db: no";
    let answer = Refusal::ours(&inside).response();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    expect![[
        r#"{"error":{"code":"internal","message":"the platform failed; its own log says why"}}"#
    ]]
    .assert_eq(&String::from_utf8_lossy(&body));
}
