//! A door that asks for signatures, as clients with good and bad ones see it.

use std::time::Duration;

use engine::keys::{Identity, Who};
use expect_test::{Expect, expect};
use http::Response;
use http_body_util::BodyExt as _;

use super::super::Settings;
use super::super::sigv4::tests::{Manner, manner, signed};
use super::*;
use crate::fixture::{Fixture, echo, hello};

struct World {
    fixture: Fixture,
    door: Aws,
    access_key: String,
    secret: String,
}

impl World {
    async fn new() -> Self {
        let fixture = Fixture::new(echo).await;
        fixture.deploy(fixture.deployment()).await;
        let settings = Settings {
            network: model::Network::Outside,
            urls_open: None,
            access: Access::Keys,
            account: "000000000000".parse().unwrap(),
            region: "eu-west-1".parse().unwrap(),
            account_concurrency: 1000,
            endpoint: "http://127.0.0.1:4566".into(),
            moved_urls: std::sync::Arc::default(),
        };
        let door = Aws::new(fixture.engine.clone(), fixture.clock.clone(), settings);
        let account = hello().account;
        let created = fixture.engine.keys().create(&account, "").await;
        let (key, secret) = created.unwrap();
        Self {
            fixture,
            door,
            access_key: key.id,
            secret: secret.reveal().to_owned(),
        }
    }

    fn manner(&self, service: &'static str) -> Manner {
        Manner {
            access_key: self.access_key.clone(),
            secret: self.secret.clone(),
            at_s: self.fixture.clock.now_ms() / 1000,
            ..manner(service)
        }
    }

    async fn send(&self, parts: Parts, body: &[u8]) -> Response<Body> {
        let body = crate::full(body.to_vec());
        self.door.handle(Request::from_parts(parts, body)).await
    }
}

const INVOKE: &str = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello/invocations";

fn invocation() -> Request<Vec<u8>> {
    let request = Request::post(INVOKE);
    request.body(br#"{"a":1}"#.to_vec()).unwrap()
}

fn target() -> Request<Vec<u8>> {
    let request = Request::post("/").header("x-amz-target", "DynamoDB_20120810.ListTables");
    request.body(b"{}".to_vec()).unwrap()
}

fn form() -> Request<Vec<u8>> {
    let kind = "application/x-www-form-urlencoded";
    let request = Request::post("/").header("content-type", kind);
    let form = b"Action=GetCallerIdentity&Version=2011-06-15";
    request.body(form.to_vec()).unwrap()
}

fn object() -> Request<Vec<u8>> {
    Request::get("/bucket/key").body(Vec::new()).unwrap()
}

async fn shown(response: Response<Body>) -> String {
    let (parts, body) = response.into_parts();
    let kind = parts.headers.get("x-amzn-errortype");
    let kind = kind.map_or("-", |kind| kind.to_str().unwrap());
    let id = parts.headers["x-amzn-requestid"].to_str().unwrap();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body).replace(id, "ID");
    format!("{} {kind} {text}\n", parts.status.as_u16())
}

/// Sends a request to each family of services, signed as `spoil` says.
async fn check_all(spoil: impl Fn(&World, &mut Manner, &mut Parts), expected: Expect) {
    let world = World::new().await;
    let mut text = String::new();
    let services = [
        ("lambda", invocation()),
        ("dynamodb", target()),
        ("sts", form()),
        ("s3", object()),
    ];
    for (service, request) in services {
        let body = request.body().clone();
        let mut manner = world.manner(service);
        let (mut before, _) = request.clone().into_parts();
        spoil(&world, &mut manner, &mut before);
        let mut parts = signed(Request::from_parts(before, body.clone()), &manner);
        // Once more, for what is to be spoilt after it was signed.
        spoil(&world, &mut manner, &mut parts);
        text += &shown(world.send(parts, &body).await).await;
    }
    expected.assert_eq(&text);
}

#[tokio::test]
async fn who_signs_with_a_key_of_ours_is_let_in() {
    check_all(|_, _, _| {}, expect![[r#"
        200 - {"a":1}
        501 UnknownOperationException {"__type":"UnknownOperationException","message":"the service dynamodb is not served here yet (asked for ListTables)"}
        200 - <GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Account>000000000000</Account><Arn>arn:aws:iam::000000000000:root</Arn><UserId>000000000000</UserId></GetCallerIdentityResult><ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></GetCallerIdentityResponse>

        501 - <?xml version="1.0" encoding="UTF-8"?>
        <Error><Code>NotImplemented</Code><Message>the service s3 is not served here yet</Message><RequestId>ID</RequestId></Error>
    "#]]).await;
}

#[tokio::test]
async fn who_does_not_sign_is_told_so() {
    let spoil = |_: &World, _: &mut Manner, parts: &mut Parts| {
        parts.headers.remove("authorization");
    };
    check_all(spoil, expect![[r#"
        403 MissingAuthenticationTokenException {"message":"Missing Authentication Token"}
        400 MissingAuthenticationTokenException {"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}
        403 - <ErrorResponse><Error><Type>Sender</Type><Code>MissingAuthenticationToken</Code><Message>Request is missing Authentication Token</Message></Error><RequestId>ID</RequestId></ErrorResponse>

        403 MissingAuthenticationTokenException {"message":"Missing Authentication Token"}
    "#]]).await;
}

#[tokio::test]
async fn an_older_way_to_sign_is_told_so() {
    let spoil = |_: &World, _: &mut Manner, parts: &mut Parts| {
        if parts.headers.contains_key("authorization") {
            let old = http::HeaderValue::from_static("AWS key:signature");
            parts.headers.insert("authorization", old);
        }
    };
    check_all(spoil, expect![[r#"
        403 IncompleteSignatureException {"message":"The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."}
        400 IncompleteSignatureException {"__type":"IncompleteSignatureException","message":"The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."}
        400 - <ErrorResponse><Error><Type>Sender</Type><Code>IncompleteSignature</Code><Message>The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.</Message></Error><RequestId>ID</RequestId></ErrorResponse>

        403 IncompleteSignatureException {"message":"The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."}
    "#]]).await;
}

#[tokio::test]
async fn unknown_keys_are_told_so() {
    let spoil = |_: &World, manner: &mut Manner, _: &mut Parts| {
        manner.access_key = "AKIAAAAAAAAAAAAAAAAA".to_owned();
    };
    check_all(spoil, expect![[r#"
        403 UnrecognizedClientException {"message":"The security token included in the request is invalid."}
        400 UnrecognizedClientException {"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid."}
        403 - <ErrorResponse><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code><Message>The security token included in the request is invalid.</Message></Error><RequestId>ID</RequestId></ErrorResponse>

        403 - <?xml version="1.0" encoding="UTF-8"?>
        <Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id you provided does not exist in our records.</Message><RequestId>ID</RequestId></Error>
    "#]]).await;
}

#[tokio::test]
async fn a_wrong_secret_is_told_so() {
    let spoil = |_: &World, manner: &mut Manner, _: &mut Parts| {
        manner.secret = "wrong".to_owned();
    };
    check_all(spoil, expect![[r#"
        403 InvalidSignatureException {"message":"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
        400 InvalidSignatureException {"__type":"InvalidSignatureException","message":"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
        403 - <ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.</Message></Error><RequestId>ID</RequestId></ErrorResponse>

        403 - <?xml version="1.0" encoding="UTF-8"?>
        <Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match the signature you provided. Check your key and signing method.</Message><RequestId>ID</RequestId></Error>
    "#]]).await;
}

#[tokio::test]
async fn a_wrong_clock_is_told_so() {
    let spoil = |_: &World, manner: &mut Manner, _: &mut Parts| manner.at_s = 1_767_225_600;
    let world = World::new().await;
    let now = world.fixture.clock.now_ms();
    assert!(
        now > 1_767_225_600_000 + 900_000,
        "the test's time has passed"
    );
    for (service, request, code) in [
        ("lambda", invocation(), "InvalidSignatureException"),
        ("sts", form(), "<Code>SignatureDoesNotMatch</Code>"),
        ("s3", object(), "<Code>RequestTimeTooSkewed</Code>"),
    ] {
        let body = request.body().clone();
        let mut manner = world.manner(service);
        let (mut parts, _) = request.into_parts();
        spoil(&world, &mut manner, &mut parts);
        let parts = signed(Request::from_parts(parts, body.clone()), &manner);
        let text = shown(world.send(parts, &body).await).await;
        assert!(text.starts_with("403 ") && text.contains(code), "{text}");
    }
}

#[tokio::test]
async fn a_token_that_was_not_made_here_is_told_so() {
    let spoil = |_: &World, manner: &mut Manner, _: &mut Parts| {
        manner.token = Some("made+elsewhere==".to_owned());
    };
    check_all(spoil, expect![[r#"
        403 UnrecognizedClientException {"message":"The security token included in the request is invalid"}
        400 UnrecognizedClientException {"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid"}
        403 - <ErrorResponse><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code><Message>The security token included in the request is invalid</Message></Error><RequestId>ID</RequestId></ErrorResponse>

        400 - <?xml version="1.0" encoding="UTF-8"?>
        <Error><Code>InvalidToken</Code><Message>The provided token is malformed or otherwise invalid.</Message><RequestId>ID</RequestId></Error>
    "#]]).await;
}

#[tokio::test]
async fn a_session_that_has_ended_is_told_so() {
    let spoil = |world: &World, manner: &mut Manner, _: &mut Parts| {
        let keys = world.fixture.engine.keys();
        let ended = keys.issue(&Identity::owner(hello().account), Duration::ZERO);
        manner.access_key = ended.access_key;
        manner.secret = ended.secret.reveal().to_owned();
        manner.token = Some(ended.token);
    };
    check_all(spoil, expect![[r#"
        403 ExpiredTokenException {"message":"The security token included in the request is expired"}
        400 ExpiredTokenException {"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}
        403 - <ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>The security token included in the request is expired</Message></Error><RequestId>ID</RequestId></ErrorResponse>

        400 - <?xml version="1.0" encoding="UTF-8"?>
        <Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message><RequestId>ID</RequestId></Error>
    "#]]).await;
}

#[tokio::test]
async fn headers_that_were_added_on_the_way_are_told() {
    let spoil = |_: &World, _: &mut Manner, parts: &mut Parts| {
        if parts.headers.contains_key("authorization") {
            let event = http::HeaderValue::from_static("Event");
            parts.headers.insert("x-amz-invocation-type", event);
        }
    };
    check_all(spoil, expect![[r#"
        403 InvalidSignatureException {"message":"There were headers present in the request which were not signed: x-amz-invocation-type"}
        400 InvalidSignatureException {"__type":"InvalidSignatureException","message":"There were headers present in the request which were not signed: x-amz-invocation-type"}
        403 - <ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code><Message>There were headers present in the request which were not signed: x-amz-invocation-type</Message></Error><RequestId>ID</RequestId></ErrorResponse>

        403 - <?xml version="1.0" encoding="UTF-8"?>
        <Error><Code>AccessDenied</Code><Message>There were headers present in the request which were not signed: x-amz-invocation-type</Message><HeadersNotSigned>x-amz-invocation-type</HeadersNotSigned><RequestId>ID</RequestId></Error>
    "#]]).await;
}

#[tokio::test]
async fn a_body_that_was_changed_is_told_so() {
    let world = World::new().await;
    for digest_header in [false, true] {
        let manner = Manner {
            digest_header,
            ..world.manner("lambda")
        };
        let parts = signed(invocation(), &manner);
        let text = shown(world.send(parts, br#"{"a":2}"#).await).await;
        assert!(text.starts_with("403 InvalidSignatureException"), "{text}");
    }
}

#[tokio::test]
async fn addresses_that_are_signed_hold_until_they_end() {
    let world = World::new().await;
    for (service, request, expected) in [
        (
            "sts",
            Request::get("/?Action=GetCallerIdentity&Version=2011-06-15"),
            "200",
        ),
        ("s3", Request::get("/bucket/key"), "501"),
    ] {
        let request = request.body(Vec::new()).unwrap();
        let manner = Manner {
            presigned: true,
            unsigned: service == "s3",
            ..world.manner(service)
        };
        let parts = signed(request.clone(), &manner);
        let text = shown(world.send(parts, b"").await).await;
        assert!(text.starts_with(expected), "{text}");
        let earlier = Manner {
            at_s: manner.at_s - 901,
            ..manner
        };
        let parts = signed(request, &earlier);
        let text = shown(world.send(parts, b"").await).await;
        let (status, code) = match service {
            "s3" => (
                "403",
                "<Code>AccessDenied</Code><Message>Request has expired</Message><X-Amz-Expires>900<",
            ),
            _ => ("400", "<Code>RequestExpired</Code>"),
        };
        assert!(text.starts_with(status) && text.contains(code), "{text}");
    }
}

#[tokio::test]
async fn what_verifies_for_one_service_is_read_as_that_service() {
    let world = World::new().await;
    let mut parts = signed(form(), &world.manner("sts"));
    let header = parts.headers["authorization"].to_str().unwrap();
    let lambda = "X-Credential=k/20260101/us-east-1/lambda/aws4_request, Credential=";
    let both = header.replacen("Credential=", lambda, 1);
    let both = http::HeaderValue::from_str(&both).unwrap();
    parts.headers.insert("authorization", both);
    let body = form().into_body();
    let text = shown(world.send(parts, &body).await).await;
    assert!(text.contains("GetCallerIdentityResponse"), "{text}");
}

#[tokio::test]
async fn instances_are_known_by_their_credentials() {
    let world = World::new().await;
    let who = Who::Instance {
        role: "r".into(),
        function: hello(),
        instance: model::InstanceId::from_random([1; 16]),
    };
    let identity = Identity {
        account: hello().account,
        key: None,
        who,
    };
    let keys = world.fixture.engine.keys();
    let given = keys.issue(&identity, Duration::from_secs(60));
    let own = Manner {
        access_key: given.access_key,
        secret: given.secret.reveal().to_owned(),
        token: Some(given.token),
        ..world.manner("sts")
    };
    let (parts, body) = (signed(form(), &own), form().into_body());
    let known = world
        .door
        .admit(parts.clone(), crate::full(body.clone()))
        .await;
    assert_eq!(known.unwrap().identity, identity);
    // Its signature is for the one service that it names.
    let request = Request::from_parts(parts, crate::full(body));
    let denied = world.door.verify(request, "dayfly").await.unwrap_err();
    assert_eq!(denied.code(), "IncompleteSignatureException");

    let mut settings = Settings::clone(&world.door.settings);
    settings.access = Access::Anybody;
    let open = Aws::new(
        world.fixture.engine.clone(),
        world.fixture.clock.clone(),
        settings,
    );
    let wrong = Manner {
        secret: "whatever".to_owned(),
        ..own
    };
    let known = open.admit(signed(form(), &wrong), crate::full("")).await;
    assert_eq!(
        known.unwrap().identity,
        identity,
        "where any credentials do"
    );
}

#[tokio::test]
async fn a_streamed_body_is_held_to_its_digest() {
    let world = World::new().await;
    let request = || {
        Request::put("/_dayfly/v1/code")
            .body(b"whole".to_vec())
            .unwrap()
    };
    let manner = Manner {
        digest_header: true,
        ..world.manner("dayfly")
    };
    for (sent, whole) in [("whole", true), ("other", false), ("", false)] {
        let parts = signed(request(), &manner);
        let request = Request::from_parts(parts, crate::full(sent));
        let known = world.door.verify(request, "dayfly").await.unwrap();
        assert_eq!(known.identity.key.as_ref(), Some(&world.access_key));
        let read = known.request.into_body().collect().await;
        assert_eq!(read.is_ok(), whole, "{sent}");
    }
}
