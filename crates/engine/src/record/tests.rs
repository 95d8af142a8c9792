//! The stored forms, letter by letter: what a later program must still be able to read.

use std::time::Duration;

use expect_test::{Expect, expect};
use model::{Code, Digest, LogFormat, LogLevel, Network, Runtime};

use super::*;
use crate::deliver::DeadLetter;
use crate::event::Envelope;

/// The value's form is the expected one, and reads back as the value.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, form: Expect) {
    let written = write("key", value).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&written).unwrap();
    form.assert_eq(&serde_json::to_string_pretty(&json).unwrap());
    assert_eq!(read::<T>("key", &written).unwrap(), *value);
}

pub(crate) fn id() -> FunctionId {
    FunctionId {
        account: "000000000000".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
        name: "hello".parse().unwrap(),
    }
}

pub(crate) fn config() -> Arc<FunctionConfig> {
    Arc::new(FunctionConfig {
        runtime: Runtime::Python { minor: 12 },
        handler: "app.handler".into(),
        description: "greets".into(),
        memory_mb: 128,
        timeout: Duration::from_secs(3),
        tmp_mb: 512,
        environment: [("NAME".to_owned(), "world".to_owned())].into(),
        code: Code::folder(Digest::from_bytes([1; 32]), 10),
        layers: vec![Code::folder(Digest::from_bytes([2; 32]), 20)],
        log_format: LogFormat::Json,
        log_level: LogLevel::Warn,
        network: Network::Outside,
        inspect: false,
        declared: model::Declared::default(),
    })
}

fn function() -> FunctionRecord {
    FunctionRecord {
        id: id(),
        config: config(),
        changed_ms: 1_767_225_600_000,
        revision: 4,
        reserved_concurrency: Some(5),
        url_id: Some("abc".into()),
        url_port: Some(4567),
        url: Some(UrlRecord {
            cors: Some(Cors::default()),
            invoke_mode: InvokeMode::ResponseStream,
            auth: UrlAuth::Signed,
            created_ms: 1_767_225_600_000,
            changed_ms: 1_767_225_600_000,
        }),
        alias_urls: [(
            "live".parse().unwrap(),
            AliasUrlRecord {
                url_id: "def".into(),
                url: UrlRecord::default(),
            },
        )]
        .into(),
        last_version: 2,
        last_description: Some("before".to_owned()),
        aliases: [(
            "live".parse().unwrap(),
            AliasRecord {
                routes: vec![
                    RouteRecord {
                        version: VersionId::Number(2),
                        weight: 0.75,
                    },
                    RouteRecord {
                        version: VersionId::Number(1),
                        weight: 0.25,
                    },
                ],
                description: "what users get".into(),
                revision: 3,
            },
        )]
        .into(),
        tags: [("team".to_owned(), "blue".to_owned())].into(),
        policies: [(
            "live".to_owned(),
            PolicyRecord {
                statements: vec![StatementRecord {
                    id: "bucket".into(),
                    text: "{}".into(),
                }],
                revision: 2,
            },
        )]
        .into(),
        retries: [(
            String::new(),
            RetryRecord {
                retries_max: Some(0),
                age_max_s: None,
                changed_ms: 1_767_225_600_000,
            },
        )]
        .into(),
        kept: [("recursion".to_owned(), "\"Allow\"".to_owned())].into(),
    }
}

fn event() -> InvocationRecord {
    InvocationRecord {
        function: id(),
        qualifier: Some("live".into()),
        accepted_ms: 1_767_225_600_000,
        state: EventState::DeadLettered,
        attempts: 3,
        failures: 3,
        uncounted: 0,
        reason: Some("failed: {}".into()),
        ended_ms: Some(1_767_225_780_000),
    }
}

#[test]
fn functions() {
    check(
        &function(),
        expect![[r#"
            {
              "alias_urls": {
                "live": {
                  "url": {
                    "changed_ms": 0,
                    "created_ms": 0
                  },
                  "url_id": "def"
                }
              },
              "aliases": {
                "live": {
                  "description": "what users get",
                  "revision": 3,
                  "routes": [
                    {
                      "version": "2",
                      "weight": 0.75
                    },
                    {
                      "version": "1",
                      "weight": 0.25
                    }
                  ]
                }
              },
              "changed_ms": 1767225600000,
              "config": {
                "code": {
                  "digest": "0101010101010101010101010101010101010101010101010101010101010101",
                  "size_bytes": 10
                },
                "description": "greets",
                "environment": {
                  "NAME": "world"
                },
                "handler": "app.handler",
                "layers": [
                  {
                    "digest": "0202020202020202020202020202020202020202020202020202020202020202",
                    "size_bytes": 20
                  }
                ],
                "log_format": "Json",
                "log_level": "WARN",
                "memory_mb": 128,
                "network": "Outside",
                "runtime": "python3.12",
                "timeout": {
                  "nanos": 0,
                  "secs": 3
                },
                "tmp_mb": 512
              },
              "id": {
                "account": "000000000000",
                "name": "hello",
                "region": "eu-west-1"
              },
              "kept": {
                "recursion": "\"Allow\""
              },
              "last_description": "before",
              "last_version": 2,
              "policies": {
                "live": {
                  "revision": 2,
                  "statements": [
                    {
                      "id": "bucket",
                      "text": "{}"
                    }
                  ]
                }
              },
              "reserved_concurrency": 5,
              "retries": {
                "": {
                  "changed_ms": 1767225600000,
                  "retries_max": 0
                }
              },
              "revision": 4,
              "tags": {
                "team": "blue"
              },
              "url": {
                "auth": "AWS_IAM",
                "changed_ms": 1767225600000,
                "cors": {
                  "allow_credentials": false,
                  "allow_headers": [],
                  "allow_methods": [],
                  "allow_origins": [],
                  "expose_headers": []
                },
                "created_ms": 1767225600000,
                "invoke_mode": "RESPONSE_STREAM"
              },
              "url_id": "abc",
              "url_port": 4567
            }"#]],
    );
}

#[test]
fn versions() {
    let function = id();
    let version = VersionRecord {
        function,
        number: 2,
        config: config(),
        published_ms: 1_767_225_600_000,
    };
    check(
        &version,
        expect![[r#"
        {
          "config": {
            "code": {
              "digest": "0101010101010101010101010101010101010101010101010101010101010101",
              "size_bytes": 10
            },
            "description": "greets",
            "environment": {
              "NAME": "world"
            },
            "handler": "app.handler",
            "layers": [
              {
                "digest": "0202020202020202020202020202020202020202020202020202020202020202",
                "size_bytes": 20
              }
            ],
            "log_format": "Json",
            "log_level": "WARN",
            "memory_mb": 128,
            "network": "Outside",
            "runtime": "python3.12",
            "timeout": {
              "nanos": 0,
              "secs": 3
            },
            "tmp_mb": 512
          },
          "function": {
            "account": "000000000000",
            "name": "hello",
            "region": "eu-west-1"
          },
          "number": 2,
          "published_ms": 1767225600000
        }"#]],
    );
}

#[test]
fn events() {
    check(
        &event(),
        expect![[r#"
        {
          "accepted_ms": 1767225600000,
          "attempts": 3,
          "ended_ms": 1767225780000,
          "failures": 3,
          "function": {
            "account": "000000000000",
            "name": "hello",
            "region": "eu-west-1"
          },
          "qualifier": "live",
          "reason": "failed: {}",
          "state": "dead_lettered",
          "uncounted": 0
        }"#]],
    );
    let mut fresh = event();
    (fresh.state, fresh.qualifier, fresh.reason) = (EventState::Accepted, None, None);
    fresh.ended_ms = None;
    check(
        &fresh,
        expect![[r#"
        {
          "accepted_ms": 1767225600000,
          "attempts": 3,
          "failures": 3,
          "function": {
            "account": "000000000000",
            "name": "hello",
            "region": "eu-west-1"
          },
          "state": "accepted",
          "uncounted": 0
        }"#]],
    );
}

#[test]
fn envelopes() {
    let envelope = Envelope {
        function: id(),
        qualifier: Some("7".into()),
        trace: Some("Root=1-0-0".into()),
        client_context: Some("{}".into()),
    };
    check(
        &envelope,
        expect![[r#"
        {
          "client_context": "{}",
          "function": {
            "account": "000000000000",
            "name": "hello",
            "region": "eu-west-1"
          },
          "qualifier": "7",
          "trace": "Root=1-0-0"
        }"#]],
    );
}

#[test]
fn dead_letters() {
    let letter = DeadLetter {
        id: model::InvocationId::from_random([0; 16]).to_string(),
        event: Some(event()),
        unreadable: None,
        trace: None,
        client_context: None,
        payload: Some("{\"n\":1}".into()),
        payload_hex: None,
    };
    check(
        &letter,
        expect![[r#"
        {
          "event": {
            "accepted_ms": 1767225600000,
            "attempts": 3,
            "ended_ms": 1767225780000,
            "failures": 3,
            "function": {
              "account": "000000000000",
              "name": "hello",
              "region": "eu-west-1"
            },
            "qualifier": "live",
            "reason": "failed: {}",
            "state": "dead_lettered",
            "uncounted": 0
          },
          "id": "00000000-0000-4000-8000-000000000000",
          "payload": "{\"n\":1}"
        }"#]],
    );
}

#[test]
fn what_an_earlier_program_left_out_has_a_default() {
    let mut form: serde_json::Value =
        serde_json::from_slice(&write("key", &function()).unwrap()).unwrap();
    let fields = form.as_object_mut().unwrap();
    for optional in [
        "reserved_concurrency",
        "url_id",
        "url_port",
        "url",
        "last_version",
        "last_description",
        "aliases",
        "alias_urls",
        "tags",
        "policies",
        "retries",
        "kept",
    ] {
        fields.remove(optional).unwrap();
    }
    let read: FunctionRecord = read("key", form.to_string().as_bytes()).unwrap();
    assert_eq!(
        (read.url, read.last_version, read.aliases.len()),
        (None, 0, 0)
    );
}

#[test]
fn aliases_of_an_earlier_program_are_read() {
    let form = r#"[{"version":"2","weight":1.0}]"#;
    let alias: AliasRecord = read("key", form.as_bytes()).unwrap();
    let route = RouteRecord {
        version: VersionId::Number(2),
        weight: 1.0,
    };
    assert_eq!((alias.routes, alias.revision), (vec![route], 0));
}

#[test]
fn keys_stand_in_the_order_of_versions() {
    assert_eq!(function_key(&id()), "000000000000/eu-west-1/hello");
    assert!(version_key(&id(), 9) < version_key(&id(), 10));
}
