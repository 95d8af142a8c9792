//! AWS's control APIs as their clients see them, functions being closures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::verb::{AliasChange, Expected, Publication};
use expect_test::{Expect, expect};
use http_body_util::BodyExt as _;
use model::End;
use proptest::prelude::*;

use super::*;
use crate::fixture::{Behaviour, Fixture, echo, hello};
use crate::full;

const SCOPE: &str = "20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00";

fn door(fixture: &Fixture) -> Aws {
    let settings = Settings {
        access: Access::Anybody,
        account: "000000000000".parse().unwrap(),
        region: "us-east-1".parse().unwrap(),
        network: model::Network::Outside,
        account_concurrency: 1000,
        endpoint: "http://127.0.0.1:4566".into(),
        moved_urls: Arc::default(),
        urls_open: None,
    };
    Aws::new(fixture.engine.clone(), fixture.clock.clone(), settings)
}

fn signed(method: &str, path: &str) -> http::request::Builder {
    let credential = format!("AWS4-HMAC-SHA256 Credential=test/{SCOPE}");
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", credential)
}

/// Sends one request and shows status, headers (what is random left out) and body.
async fn exchange(fixture: &Fixture, request: http::request::Builder, body: &[u8]) -> String {
    let request = request
        .body(full(bytes::Bytes::copy_from_slice(body)))
        .unwrap();
    let (parts, body) = door(fixture).handle(request).await.into_parts();
    assert!(parts.headers.contains_key("x-amzn-requestid"));
    let left_out = ["x-amzn-requestid", "x-amzn-trace-id", "content-type"];
    let mut lines: Vec<_> = parts
        .headers
        .iter()
        .filter(|(name, _)| !left_out.contains(&name.as_str()))
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

async fn deployed(behaviour: Behaviour) -> Fixture {
    let fixture = Fixture::new(behaviour).await;
    fixture.deploy(fixture.deployment()).await;
    fixture
}

async fn check(request: http::request::Builder, body: &str, expected: Expect) {
    let fixture = deployed(echo).await;
    expected.assert_eq(&exchange(&fixture, request, body.as_bytes()).await);
}

fn invoke(name: &str) -> http::request::Builder {
    signed("POST", &format!("/2015-03-31/functions/{name}/invocations"))
}

#[tokio::test]
async fn invoking_answers_what_the_function_answers() {
    let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello";
    for name in [
        "hello",
        "hello%3A%24LATEST",
        "function:hello",
        "000000000000:function:hello",
        arn,
    ] {
        check(
            invoke(name),
            r#"{"a": 1}"#,
            expect![[r#"
            200
            x-amz-executed-version: $LATEST
            x-amzn-remapped-content-length: 0
            {"a": 1}"#]],
        )
        .await;
    }
    check(
        invoke("hello"),
        "",
        expect![[r#"
        200
        x-amz-executed-version: $LATEST
        x-amzn-remapped-content-length: 0
        {}"#]],
    )
    .await;
}

#[tokio::test]
async fn a_failure_of_the_function_is_told_in_a_header() {
    fn fail(call: &engine::port::Call) -> (End, String) {
        assert_eq!(call.client_context.as_deref(), Some(r#"{"custom":{}}"#));
        (
            End::Failed,
            r#"{"errorMessage":"no","errorType":"E"}"#.into(),
        )
    }
    let fixture = deployed(fail).await;
    let request = invoke("hello")
        .header("x-amz-log-type", "Tail")
        .header("x-amz-client-context", STANDARD.encode(r#"{"custom":{}}"#));
    let log = STANDARD.encode("the tail\n");
    expect![[r#"
        200
        x-amz-executed-version: $LATEST
        x-amz-function-error: Unhandled
        x-amz-log-result: LOG
        x-amzn-remapped-content-length: 0
        {"errorMessage":"no","errorType":"E"}"#]]
    .assert_eq(
        &exchange(&fixture, request, b"{}")
            .await
            .replace(&log, "LOG"),
    );
}

#[tokio::test]
async fn events_are_accepted_and_tries_are_not_run() {
    let event = invoke("hello").header("x-amz-invocation-type", "Event");
    check(
        event,
        "{}",
        expect![[r#"
        202
        x-amzn-remapped-content-length: 0
    "#]],
    )
    .await;
    let dry = invoke("hello").header("x-amz-invocation-type", "DryRun");
    check(
        dry,
        "{}",
        expect![[r#"
        204
        x-amzn-remapped-content-length: 0
    "#]],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_invoked_is_refused_in_the_services_words() {
    check(invoke("nobody"), "{}", expect![[r#"
        404
        x-amzn-errortype: ResourceNotFoundException
        {"Message":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody","Type":"User"}"#]]).await;
    check(invoke("nobody:$LATEST"), "{}", expect![[r#"
        404
        x-amzn-errortype: ResourceNotFoundException
        {"Message":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody:$LATEST","Type":"User"}"#]]).await;
    check(invoke("arn:aws:lambda:eu-west-1:000000000000:function:hello"), "{}", expect![[r#"
        404
        x-amzn-errortype: ResourceNotFoundException
        {"Message":"Functions from 'eu-west-1' are not reachable in this region ('us-east-1')","Type":"User"}"#]]).await;
    let long = "n".repeat(65);
    let rule = "at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64";
    for name in [&long, &format!("function:{long}:live")] {
        let answer = exchange(&deployed(echo).await, invoke(name), b"{}").await;
        let named = format!("Value '{name}' {rule}");
        assert!(
            answer.starts_with("400") && answer.contains(&named),
            "{answer}"
        );
    }
    check(invoke("hello"), "{oops", expect![[r#"
        400
        x-amzn-errortype: InvalidRequestContentException
        {"Type":"User","message":"Could not parse request body into json: key must be a string at line 1 column 2"}"#]]).await;
    check(
        invoke("hello:1?Qualifier=2"),
        "{}",
        expect![[r#"
        404
        x-amzn-errortype: UnknownOperationException
        {"Message":"no operation of Lambda is at POST /2015-03-31/functions/hello:1"}"#]],
    )
    .await;
    let two = signed(
        "POST",
        "/2015-03-31/functions/hello:1/invocations?Qualifier=2",
    );
    check(two, "{}", expect![[r#"
        400
        x-amzn-errortype: InvalidParameterValueException
        {"Type":"User","message":"The derived qualifier from the function name does not match the specified qualifier."}"#]]).await;
    check(invoke("hello").header("x-amz-invocation-type", "Soon"), "{}", expect![[r#"
        400
        x-amzn-errortype: ValidationException
        {"message":"1 validation error detected: Value 'Soon' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]"}"#]]).await;
}

#[tokio::test]
async fn payloads_have_limits_by_kind() {
    let large = format!("\"{}\"", "x".repeat(model::limit::EVENT_BYTES_MAX));
    check(invoke("hello").header("x-amz-invocation-type", "Event"), &large, expect![[r#"
        413
        x-amzn-errortype: RequestTooLargeException
        {"Type":"User","message":"1048578 byte payload is too large for the Event invocation type (limit 1048576 bytes)"}"#]]).await;
    let larger = format!("\"{}\"", "x".repeat(model::limit::REQUEST_BYTES_MAX));
    check(invoke("hello"), &larger, expect![[r#"
        413
        x-amzn-errortype: RequestTooLargeException
        {"Type":"User","message":"6291458 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)"}"#]]).await;
}

#[tokio::test]
async fn a_payload_that_there_is_no_room_for_is_throttled() {
    let fixture = deployed(echo).await;
    let frames = futures_util::stream::once(async {
        let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
        Err::<http_body::Frame<bytes::Bytes>, crate::BodyError>(busy.into())
    });
    let body = http_body_util::StreamBody::new(Box::pin(frames)).boxed();
    let request = invoke("hello").body(body).unwrap();
    let response = door(&fixture).handle(request).await;
    assert_eq!(response.status(), http::StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn throttles_say_which_limit() {
    let fixture = Fixture::new(echo).await;
    let closed = engine::verb::Deployment {
        reserved_concurrency: Some(0),
        ..fixture.deployment()
    };
    fixture.deploy(closed).await;
    expect![[r#"
        429
        retry-after: 1
        x-amzn-errortype: TooManyRequestsException
        {"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#]]
    .assert_eq(&exchange(&fixture, invoke("hello"), b"{}").await);
}

/// The JSON of an answer, with what differs from run to run named instead.
async fn read(fixture: &Fixture, path: &str) -> serde_json::Value {
    let answer = exchange(fixture, signed("GET", path), b"").await;
    let (status, body) = answer.split_once('\n').unwrap();
    assert_eq!(status, "200", "{path}: {body}");
    let mut value: serde_json::Value = serde_json::from_str(body).unwrap();
    settle(&mut value);
    value
}

fn settle(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(settle),
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                if matches!(
                    name.as_str(),
                    "CodeSha256"
                        | "LastModified"
                        | "RevisionId"
                        | "FunctionUrl"
                        | "CreationTime"
                        | "LastModifiedTime"
                ) {
                    *member = name.to_lowercase().into();
                }
                settle(member);
            }
        }
        _ => {}
    }
}

async fn publish(fixture: &Fixture) {
    let owner = model::Principal::Account(hello().account);
    let (expected, publication) = (Expected::Anything, Publication::default());
    let engine = &fixture.engine;
    let function = hello();
    let published = engine.publish(&owner, &function, expected, publication);
    published.await.unwrap();
}

fn lead(routes: Vec<(model::VersionId, f64)>) -> AliasChange {
    AliasChange {
        routes: Some(routes),
        ..AliasChange::default()
    }
}

async fn check_read(path: &str, expected: Expect) {
    let fixture = deployed(echo).await;
    let owner = model::Principal::Account(hello().account);
    publish(&fixture).await;
    let alias = "live".parse().unwrap();
    let routes = vec![(model::VersionId::Number(1), 1.0)];
    fixture
        .engine
        .set_alias(&owner, &hello(), &alias, lead(routes))
        .await
        .unwrap();
    let value = read(&fixture, path).await;
    expected.assert_eq(&serde_json::to_string_pretty(&value).unwrap());
}

#[tokio::test]
async fn a_configuration_has_what_it_has_and_no_more() {
    check_read(
        "/2015-03-31/functions/hello/configuration",
        expect![[r#"
            {
              "Architectures": [
                "x86_64"
              ],
              "CodeSha256": "codesha256",
              "CodeSize": 0,
              "Description": "",
              "Environment": {
                "Variables": {
                  "STAGE": "test"
                }
              },
              "EphemeralStorage": {
                "Size": 512
              },
              "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
              "FunctionName": "hello",
              "Handler": "app.handler",
              "LastModified": "lastmodified",
              "LastUpdateStatus": "Successful",
              "LoggingConfig": {
                "LogFormat": "Text",
                "LogGroup": "/aws/lambda/hello"
              },
              "MemorySize": 128,
              "PackageType": "Zip",
              "RevisionId": "revisionid",
              "Role": "arn:aws:iam::000000000000:role/hello-role",
              "Runtime": "python3.12",
              "RuntimeVersionConfig": {
                "RuntimeVersionArn": "arn:aws:lambda:us-east-1::runtime:42f2b28d8258c41a63374ac4365007738900f66a9b62a7eb1a2041a2e091d41b"
              },
              "SnapStart": {
                "ApplyOn": "None",
                "OptimizationStatus": "Off"
              },
              "State": "Active",
              "Timeout": 3,
              "TracingConfig": {
                "Mode": "PassThrough"
              },
              "Version": "$LATEST"
            }"#]],
    )
    .await;
}

#[tokio::test]
async fn revisions_have_ids_of_their_own() {
    let fixture = deployed(echo).await;
    let owner = model::Principal::Account(hello().account);
    let other = model::FunctionId {
        name: "other".parse().unwrap(),
        ..hello()
    };
    let deploy = async |id: &model::FunctionId, timeout_s| {
        let mut deployment = fixture.deployment();
        deployment.config.timeout = std::time::Duration::from_secs(timeout_s);
        fixture.engine.deploy(&owner, id, deployment).await.unwrap();
    };
    let revision = async |name: &str| {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        let answer = exchange(&fixture, signed("GET", &path), b"").await;
        let (_, body) = answer.split_once('\n').unwrap();
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        value["RevisionId"].as_str().unwrap().to_owned()
    };
    deploy(&other, 3).await;
    let first = revision("hello").await;
    assert!(first.parse::<InvocationId>().is_ok());
    assert_ne!(first, revision("other").await);
    assert_eq!(first, revision("hello").await);
    publish(&fixture).await;
    let published = revision("hello:1").await;
    deploy(&hello(), 4).await;
    assert_ne!(first, revision("hello").await);
    assert_ne!(published, revision("hello").await);
    assert_eq!(published, revision("hello:1").await);
}

#[tokio::test]
async fn functions_are_read_as_they_are_named() {
    let fixture = deployed(echo).await;
    publish(&fixture).await;
    let named = |path: &'static str| {
        let fixture = &fixture;
        async move {
            let value = read(fixture, path).await;
            let shown = &value["Configuration"];
            format!(
                "{} {}",
                shown["FunctionArn"].as_str().unwrap(),
                shown["Version"].as_str().unwrap()
            )
        }
    };
    let base = "arn:aws:lambda:us-east-1:000000000000:function:hello";
    assert_eq!(
        named("/2015-03-31/functions/hello").await,
        format!("{base} $LATEST")
    );
    assert_eq!(
        named("/2015-03-31/functions/hello?Qualifier=1").await,
        format!("{base}:1 1")
    );
    assert_eq!(
        named("/2015-03-31/functions/hello%3A%24LATEST").await,
        format!("{base}:$LATEST $LATEST")
    );
}

#[tokio::test]
async fn lists_have_pages() {
    let fixture = deployed(echo).await;
    let owner = model::Principal::Account(hello().account);
    for name in ["aaa", "zzz"] {
        let id = model::FunctionId {
            name: name.parse().unwrap(),
            ..hello()
        };
        fixture
            .engine
            .deploy(&owner, &id, fixture.deployment())
            .await
            .unwrap();
    }
    let mut names = Vec::new();
    let mut path = "/2015-03-31/functions/?MaxItems=2".to_owned();
    loop {
        let page = read(&fixture, &path).await;
        let functions = page["Functions"].as_array().unwrap();
        names.extend(
            functions
                .iter()
                .map(|shown| shown["FunctionName"].as_str().unwrap().to_owned()),
        );
        let Some(marker) = page["NextMarker"].as_str() else {
            break;
        };
        path = format!("/2015-03-31/functions/?MaxItems=2&Marker={marker}");
    }
    assert_eq!(names, ["aaa", "hello", "zzz"]);
}

#[tokio::test]
async fn versions_aliases_and_urls_are_listed() {
    let fixture = deployed(echo).await;
    publish(&fixture).await;
    let versions = read(&fixture, "/2015-03-31/functions/hello/versions").await;
    let arns: Vec<_> = versions["Versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| {
            version["FunctionArn"]
                .as_str()
                .unwrap()
                .rsplit(':')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(arns, ["$LATEST", "1"]);
    assert!(versions["Versions"][0].get("State").is_none());
    check_read(
        "/2015-03-31/functions/hello/aliases",
        expect![[r#"
        {
          "Aliases": [
            {
              "AliasArn": "arn:aws:lambda:us-east-1:000000000000:function:hello:live",
              "Description": "",
              "FunctionVersion": "1",
              "Name": "live",
              "RevisionId": "revisionid"
            }
          ]
        }"#]],
    )
    .await;
    check_read(
        "/2021-10-31/functions/hello/url",
        expect![[r#"
        {
          "AuthType": "NONE",
          "CreationTime": "creationtime",
          "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
          "FunctionUrl": "functionurl",
          "InvokeMode": "BUFFERED",
          "LastModifiedTime": "lastmodifiedtime"
        }"#]],
    )
    .await;
    check_read(
        "/2016-08-19/account-settings/",
        expect![[r#"
        {
          "AccountLimit": {
            "CodeSizeUnzipped": 262144000,
            "CodeSizeZipped": 52428800,
            "ConcurrentExecutions": 1000,
            "TotalCodeSize": 80530636800,
            "UnreservedConcurrentExecutions": 1000
          },
          "AccountUsage": {
            "FunctionCount": 1,
            "TotalCodeSize": 0
          }
        }"#]],
    )
    .await;
}

#[tokio::test]
async fn a_function_is_deleted_once() {
    let fixture = deployed(echo).await;
    let delete = || signed("DELETE", "/2015-03-31/functions/hello");
    assert_eq!(exchange(&fixture, delete(), b"").await, "204\n");
    assert!(exchange(&fixture, delete(), b"").await.starts_with("404\n"));
}

#[tokio::test]
async fn accounts_are_told_apart_by_their_keys() {
    let key = format!("AWS4-HMAC-SHA256 Credential=123456789012/{SCOPE}");
    let other = |path: &str| Request::get(path.to_owned()).header("authorization", key.clone());
    check(other("/2015-03-31/functions/hello"), "", expect![[r#"
        404
        x-amzn-errortype: ResourceNotFoundException
        {"Message":"Function not found: arn:aws:lambda:us-east-1:123456789012:function:hello","Type":"User"}"#]]).await;
    let foreign = "/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:hello";
    check(other(foreign), "", expect![[r#"
        403
        x-amzn-errortype: AccessDeniedException
        {"Message":"User: arn:aws:iam::123456789012:root is not authorized to perform: lambda:GetFunction on resource: arn:aws:lambda:us-east-1:000000000000:function:hello because no resource-based policy allows the lambda:GetFunction action"}"#]]).await;
}

#[tokio::test]
async fn a_miss_names_the_region_that_has_it() {
    let key = format!(
        "AWS4-HMAC-SHA256 Credential=test/{}",
        SCOPE.replace("us-east-1", "eu-west-1")
    );
    let request = Request::get("/2015-03-31/functions/hello").header("authorization", key);
    check(request, "", expect![[r#"
        404
        x-amzn-errortype: ResourceNotFoundException
        {"Message":"Function not found: arn:aws:lambda:eu-west-1:000000000000:function:hello (us-east-1 has one of that name)","Type":"User"}"#]]).await;
}

#[tokio::test]
async fn callers_learn_who_they_are() {
    let scope = SCOPE.replace("lambda", "sts");
    let request = Request::post("/")
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential=123456789012/{scope}"),
        )
        .header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        );
    let fixture = deployed(echo).await;
    let answer = exchange(
        &fixture,
        request,
        b"Action=GetCallerIdentity&Version=2011-06-15",
    )
    .await;
    assert!(
        answer.contains("<Arn>arn:aws:iam::123456789012:root</Arn>"),
        "{answer}"
    );
    assert!(
        answer.contains("<Account>123456789012</Account>"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_not_served_says_so_by_name() {
    check(
        signed("POST", "/2015-03-31/functions/hello/aliases"),
        "{}",
        expect![[r#"
            400
            x-amzn-errortype: ValidationException
            {"message":"2 validation errors detected: Value null at 'name' failed to satisfy constraint: Member must not be null; Value null at 'functionVersion' failed to satisfy constraint: Member must not be null"}"#]],
    )
    .await;
    check(
        signed("GET", "/2015-03-31/nothing"),
        "",
        expect![[r#"
        404
        x-amzn-errortype: UnknownOperationException
        {"Message":"no operation of Lambda is at GET /2015-03-31/nothing"}"#]],
    )
    .await;
    check(
        Request::get("/2015-03-31/functions"),
        "",
        expect![[r#"
        403
        x-amzn-errortype: MissingAuthenticationTokenException
        {"message":"Missing Authentication Token"}"#]],
    )
    .await;
    let form = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    let answer = exchange(&deployed(echo).await, form, b"Action=ListUsers").await;
    let (_, after) = answer.split_once("<RequestId>").unwrap();
    let (id, _) = after.split_once("</RequestId>").unwrap();
    assert!(id.parse::<InvocationId>().is_ok(), "{answer}");
    let scope = SCOPE.replace("lambda", "dynamodb");
    let table = Request::post("/")
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential=test/{scope}"),
        )
        .header("x-amz-target", "DynamoDB_20120810.ListTables");
    check(table, "{}", expect![[r#"
        501
        x-amzn-errortype: UnknownOperationException
        {"__type":"UnknownOperationException","message":"the service dynamodb is not served here yet (asked for ListTables); `dayfly dev --aws-passthrough` lets functions reach AWS's own"}"#]]).await;
}

#[tokio::test]
async fn services_that_are_not_here_are_named_as_each_can_be_read() {
    let at = |host: &str| Request::get("/").header("host", host);
    let form =
        |service| of_service(service).header("content-type", "application/x-www-form-urlencoded");
    let not_served =
        |service: &str| format!("the service {service} is not served here yet; `dayfly");
    for (request, root, said) in [
        (
            at("checkip.amazonaws.com"),
            "{\"__type\"",
            not_served("checkip"),
        ),
        (
            at("b.s3.eu-west-1.amazonaws.com:443"),
            "<Error><Code>",
            not_served("s3"),
        ),
        (
            form("ec2"),
            "<Response><Errors><Error><Code>",
            not_served("ec2"),
        ),
        (
            of_service("route53"),
            "<ErrorResponse><Error>",
            not_served("route53"),
        ),
        (form("sns"), "<ErrorResponse><Error>", not_served("sns")),
        (
            at("sts.amazonaws.com"),
            "",
            "Request is missing Authentication Token".to_owned(),
        ),
    ] {
        let answer = exchange(&deployed(echo).await, request, b"").await;
        assert!(answer.contains(root) && answer.contains(&said), "{answer}");
    }
}

#[tokio::test]
async fn services_of_cbor_are_told_in_cbor() {
    let metrics = Request::post("/service/GraniteServiceVersion20100801/operation/PutMetricData")
        .header("host", "monitoring.us-east-1.amazonaws.com")
        .header("smithy-protocol", "rpc-v2-cbor");
    let answer = exchange(&deployed(echo).await, metrics, b"").await;
    assert!(answer.starts_with("501"), "{answer}");
    for part in [
        "__type",
        "UnknownOperationException",
        "message",
        "monitoring",
        "PutMetricData",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
}

/// A signed request for a service other than Lambda.
fn of_service(service: &str) -> http::request::Builder {
    let scope = SCOPE.replace("lambda", service);
    let credential = format!("AWS4-HMAC-SHA256 Credential=test/{scope}");
    Request::post("/").header("authorization", credential)
}

#[tokio::test]
async fn operations_of_other_services_are_known_by_name() {
    let logs = |operation: &str| {
        of_service("logs").header("x-amz-target", format!("Logs_20140328.{operation}"))
    };
    check(logs("StartQuery"), "{}", expect![[r#"
        501
        x-amzn-errortype: UnknownOperationException
        {"__type":"UnknownOperationException","message":"the operation StartQuery of Logs is not served here yet"}"#]]).await;
    check(logs("DeleteLogGroup"), r#"{"logGroupName": "none"}"#, expect![[r#"
        400
        x-amzn-errortype: ResourceNotFoundException
        {"__type":"ResourceNotFoundException","message":"The specified log group does not exist."}"#]]).await;
    check(
        logs("DescribeLogGroups"),
        "{}",
        expect![[r#"
        200
        {"logGroups":[]}"#]],
    )
    .await;
    check(logs("FellTree"), "{}", expect![[r#"
        400
        x-amzn-errortype: UnknownOperationException
        {"__type":"UnknownOperationException","message":"no operation of Logs is called 'Logs_20140328.FellTree'"}"#]]).await;
    let sts = async |form: &'static [u8]| {
        let answer = exchange(&deployed(echo).await, of_service("sts"), form).await;
        let (answer, _) = answer.split_once("<RequestId>").unwrap();
        answer.to_owned()
    };
    expect![[r#"
        501
        <ErrorResponse><Error><Type>Sender</Type><Code>NotImplemented</Code><Message>the operation GetAccessKeyInfo of STS is not served here yet</Message></Error>"#]].assert_eq(&sts(b"Action=GetAccessKeyInfo").await);
    expect![[r#"
        400
        <ErrorResponse><Error><Type>Sender</Type><Code>InvalidAction</Code><Message>Could not find operation FellTree for version 2011-06-15</Message></Error>"#]].assert_eq(&sts(b"Action=FellTree").await);
    expect![[r#"
        400
        <ErrorResponse><Error><Type>Sender</Type><Code>MissingAction</Code><Message>Action is missing</Message></Error>"#]].assert_eq(&sts(b"").await);
}

#[tokio::test]
async fn requests_of_aws_are_recognised() {
    let fixture = Fixture::new(echo).await;
    let claims = |request: http::request::Builder| {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        door(&fixture).claims(&parts)
    };
    assert!(claims(signed("GET", "/")));
    assert!(claims(Request::get("/2015-03-31/functions")));
    assert!(claims(
        Request::post("/").header("x-amz-target", "Logs_20140328.CreateLogGroup")
    ));
    assert!(!claims(Request::get("/")));
    assert!(!claims(Request::get("/2015-03-3x/functions")));
    assert!(!claims(
        Request::get("/").header("authorization", "Bearer x")
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_request_panics(
        path in r"/(2015-03-31|2017-03-31|[a-z0-9-]{0,4})(/(functions|[a-zA-Z0-9:%$._~-]{0,20})){0,4}",
        query in r"([A-Za-z]{1,9}=[A-Za-z0-9%:$+]{0,9}&?){0,3}",
        method in "GET|POST|PUT|DELETE",
        body in any::<Vec<u8>>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = deployed(echo).await;
            exchange(&fixture, signed(&method, &format!("{path}?{query}")), &body).await;
        });
    }

    /// Calls of Logs, in any order and with anything in them, are answered or refused.
    #[test]
    fn no_calls_of_logs_fail(
        calls in prop::collection::vec((
            prop::sample::select(vec![
                "CreateLogGroup", "DeleteLogGroup", "DescribeLogGroups", "CreateLogStream",
                "DeleteLogStream", "DescribeLogStreams", "PutLogEvents", "GetLogEvents",
                "FilterLogEvents", "PutRetentionPolicy", "TagLogGroup", "ListTagsLogGroup",
                "TagResource", "DescribeMetricFilters", "DescribeSubscriptionFilters",
            ]),
            prop::collection::vec((
                prop::sample::select(vec![
                    "logGroupName", "logStreamName", "logGroupIdentifier", "logStreamNames",
                    "logStreamNamePrefix", "startTime", "endTime", "limit", "nextToken",
                    "filterPattern", "startFromHead", "logEvents", "retentionInDays", "tags",
                    "resourceArn", "orderBy", "descending",
                ]),
                prop::sample::select(vec![
                    r#""g""#, r#""s""#, r#"["s"]"#, "0", "9223372036854775807", "-1", "1e400", "true",
                    "null", "{}", "[]", r#"[{"timestamp":1795598971916,"message":"m"}]"#, "7",
                    r#"{"k":"v"}"#, r#""{ $.a = 1 }""#, r#""f/0/s""#, r#""LastEventTime""#,
                    r#""arn:aws:logs:us-east-1:000000000000:log-group:g""#, "[[[",
                    r#""b/99999999999999999999999999999999999999999999999999999999/s""#,
                    r#""b/00000000000000000000000000000000000000000000000000000000/s""#,
                ]),
            ), 0..5),
        ), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = deployed(echo).await;
            for (operation, members) in calls {
                let given = members.iter().map(|(name, value)| format!("\"{name}\":{value},"));
                let given: String = given.collect();
                let body = format!(r#"{{{given}"logGroupName":"g","logStreamName":"s"}}"#);
                let request = of_service("logs")
                    .header("x-amz-target", format!("Logs_20140328.{operation}"));
                let answer = exchange(&fixture, request, body.as_bytes()).await;
                assert!(answer.starts_with("200") || answer.starts_with("400"), "{body}: {answer}");
            }
        });
    }
}
