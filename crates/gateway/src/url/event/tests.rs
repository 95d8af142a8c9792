//! Requests and the events they become, beside what the vendor's documentation shows.

use expect_test::{Expect, expect};

use super::*;

fn event(request: http::request::Builder, body: &[u8]) -> serde_json::Value {
    event_of(request, body, None)
}

fn event_of(
    request: http::request::Builder,
    body: &[u8],
    sender: Option<&Sender>,
) -> serde_json::Value {
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let around = Surroundings {
        url_id: "abcdefgh",
        domain: "abcdefgh.lambda-url.us-east-1.on.aws",
        request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        trace_root: "Root=1-5e6722a7-cc56abcd46db7ae02d4da47e",
        source: "123.123.123.123".parse().unwrap(),
        port: 4566,
        secure: false,
        now_ms: 1_583_348_638_390,
        sender,
        owner: "111122223333",
    };
    let json = write(&parts, &Bytes::copy_from_slice(body), &around).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn check(request: http::request::Builder, body: &[u8], pointer: &str, expected: Expect) {
    let event = event(request, body);
    let found = event.pointer(pointer).unwrap_or(&serde_json::Value::Null);
    expected.assert_eq(&serde_json::to_string_pretty(found).unwrap());
}

fn post(content_type: &str) -> http::request::Builder {
    Request::post("/").header("content-type", content_type)
}

use http::Request;

#[test]
fn a_function_is_told_who_signed() {
    let sender = Sender {
        access_key: "ASIAEXAMPLE".to_owned(),
        account: "444455556666".to_owned(),
        id: "AROAEXAMPLE:me".to_owned(),
        arn: "arn:aws:sts::444455556666:assumed-role/r/me".to_owned(),
    };
    let event = event_of(Request::get("/"), b"", Some(&sender));
    let context = event.pointer("/requestContext").unwrap();
    assert_eq!(context["accountId"], "111122223333");
    let told = serde_json::to_string_pretty(&context["authorizer"]).unwrap();
    expect![[r#"
        {
          "iam": {
            "accessKey": "ASIAEXAMPLE",
            "accountId": "444455556666",
            "callerId": "AROAEXAMPLE:me",
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": "arn:aws:sts::444455556666:assumed-role/r/me",
            "userId": "AROAEXAMPLE:me"
          }
        }"#]]
    .assert_eq(&told);
}

#[test]
fn a_whole_event() {
    let request =
        Request::post("/my/path%20x?parameter1=value1&parameter1=value2&parameter2=a%20b+c")
            .header("Header1", "value1")
            .header("Header2", "value1")
            .header("Header2", "value2")
            .header("Cookie", "cookie1=1; cookie2=2")
            .header("User-Agent", "agent")
            .header("Content-Type", "text/plain; charset=utf-8")
            .header("Connection", "keep-alive");
    check(
        request,
        "Hello \"client\" \u{e9}!".as_bytes(),
        "",
        expect![[r#"
            {
              "body": "Hello \"client\" é!",
              "cookies": [
                "cookie1=1",
                "cookie2=2"
              ],
              "headers": {
                "content-type": "text/plain; charset=utf-8",
                "header1": "value1",
                "header2": "value1,value2",
                "user-agent": "agent",
                "x-amzn-trace-id": "Root=1-5e6722a7-cc56abcd46db7ae02d4da47e",
                "x-forwarded-for": "123.123.123.123",
                "x-forwarded-port": "4566",
                "x-forwarded-proto": "http"
              },
              "isBase64Encoded": false,
              "queryStringParameters": {
                "parameter1": "value1,value2",
                "parameter2": "a b c"
              },
              "rawPath": "/my/path%20x",
              "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=a%20b+c",
              "requestContext": {
                "accountId": "anonymous",
                "apiId": "abcdefgh",
                "domainName": "abcdefgh.lambda-url.us-east-1.on.aws",
                "domainPrefix": "abcdefgh",
                "http": {
                  "method": "POST",
                  "path": "/my/path%20x",
                  "protocol": "HTTP/1.1",
                  "sourceIp": "123.123.123.123",
                  "userAgent": "agent"
                },
                "requestId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                "routeKey": "$default",
                "stage": "$default",
                "time": "04/Mar/2020:19:03:58 +0000",
                "timeEpoch": 1583348638390
              },
              "routeKey": "$default",
              "version": "2.0"
            }"#]],
    );
}

#[test]
fn what_is_absent_stays_absent() {
    let event = event(Request::get("/"), b"");
    for member in ["body", "cookies", "queryStringParameters"] {
        assert_eq!(event.get(member), None, "{member}");
    }
    assert_eq!(event["rawQueryString"], "");
    assert_eq!(event["requestContext"]["http"]["userAgent"], "");
}

#[test]
fn text_goes_as_it_is_and_the_rest_as_base64() {
    for kind in [
        "text/csv",
        "application/json",
        "application/problem+json",
        "image/svg+xml",
    ] {
        check(post(kind), b"{}", "/body", expect![[r#""{}""#]]);
    }
    for kind in [
        "image/png",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
    ] {
        check(post(kind), b"{}", "/body", expect![[r#""e30=""#]]);
        check(post(kind), b"{}", "/isBase64Encoded", expect!["true"]);
    }
    check(
        post("text/plain"),
        &[0xff, 0xfe],
        "/body",
        expect![[r#""//4=""#]],
    );
    check(Request::post("/"), b"hi", "/body", expect![[r#""aGk=""#]]);
}

#[test]
fn odd_queries_are_kept() {
    let query = |text: &str| Request::get(format!("/?{text}"));
    check(
        query("a"),
        b"",
        "/queryStringParameters",
        expect![[r#"
        {
          "a": ""
        }"#]],
    );
    check(
        query("a=%zz&b=%e2%82%ac&c=%ff"),
        b"",
        "/queryStringParameters",
        expect![[r#"
        {
          "a": "%zz",
          "b": "€",
          "c": "�"
        }"#]],
    );
    check(query("&&"), b"", "/queryStringParameters", expect!["null"]);
}

#[test]
fn proxies_before_us_are_kept_in_front() {
    let request = Request::get("/").header("x-forwarded-for", "10.0.0.1");
    check(
        request,
        b"",
        "/headers/x-forwarded-for",
        expect![[r#""10.0.0.1, 123.123.123.123""#]],
    );
}

#[test]
fn times_are_those_of_access_logs() {
    let check = |now_ms, expected: &str| {
        let mut time = Vec::new();
        push_log_time(&mut time, now_ms);
        assert_eq!(String::from_utf8(time).unwrap(), expected);
    };
    check(0, "01/Jan/1970:00:00:00 +0000");
    check(1_709_251_199_999, "29/Feb/2024:23:59:59 +0000");
    check(1_795_622_400_000, "25/Nov/2026:16:00:00 +0000");
}
