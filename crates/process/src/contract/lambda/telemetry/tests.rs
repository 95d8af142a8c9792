//! What is kept, and what is refused.

use std::os::fd::AsFd as _;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket};

use super::subscription::{Buffering, Destination};
use super::*;

fn read(schema: Schema, body: &str) -> Result<Subscription, String> {
    Subscription::read(schema, body.as_bytes()).map_err(|invalid| invalid.to_string())
}

#[test]
fn a_subscription_is_checked() {
    let whole = r#"{"schemaVersion":"2022-12-13","types":["platform","function"],
        "buffering":{"maxItems":1000,"maxBytes":262144,"timeoutMs":25},
        "destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:4243/a?b"}}"#;
    let expected = Subscription {
        types: vec![Source::Platform, Source::Function],
        buffering: Buffering {
            items: 1000,
            bytes: 262_144,
            timeout: Duration::from_millis(25),
        },
        destination: Destination::Http {
            port: 4243,
            path: "/a?b".to_owned(),
            put: false,
        },
    };
    assert_eq!(read(Schema::Telemetry, whole), Ok(expected));
    let old = r#"{"types":["extension"],"destination":{"protocol":"TCP","port":9}}"#;
    assert_eq!(read(Schema::Logs, old).unwrap().buffering.items, 10_000);
    let wrong = |from: &str, to: &str, about: &str| {
        let refused = read(Schema::Telemetry, &whole.replace(from, to)).unwrap_err();
        assert!(refused.contains(about), "{refused}");
    };
    wrong("2022-12-13", "1999-01-01", "schemaVersion");
    wrong(r#""schemaVersion":"2022-12-13","#, "", "schemaVersion");
    wrong(r#""platform","#, r#""weather","#, "types");
    wrong(r#""platform","function""#, "", "types");
    wrong("1000", "999", "maxItems");
    wrong("262144", "262143", "maxBytes");
    wrong(":25", ":30001", "timeoutMs");
    wrong("sandbox.localdomain", "example.com", "destination.URI");
    wrong("http://", "https://", "destination.URI");
    wrong(r#""HTTP""#, r#""UDP""#, "destination.protocol");
    wrong(r#""HTTP""#, r#""TCP""#, "destination.port");
    wrong("{\"s", "{s", "JSON");
}

proptest::proptest! {
    #[test]
    fn noise_never_breaks_the_reader(body: Vec<u8>, text in "[\\[\\]{}:,\"a-zA-Z0-9 ]{0,200}") {
        let _ = Subscription::read(Schema::Telemetry, &body);
        let _ = Subscription::read(Schema::Logs, text.as_bytes());
    }
}

fn subscription(destination: Destination) -> Subscription {
    Subscription {
        types: vec![Source::Platform, Source::Function],
        buffering: Buffering {
            items: 1000,
            bytes: 262_144,
            timeout: Duration::from_millis(25),
        },
        destination,
    }
}

fn telemetry(dialers: usize) -> Arc<Telemetry> {
    let dialer = |_| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.as_fd().try_clone_to_owned().unwrap()
    };
    let clock = Arc::new(store::SystemClock::new());
    Telemetry::new((0..dialers).map(dialer).collect(), false, clock)
}

#[tokio::test]
async fn records_come_in_batches_also_those_from_before() {
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = inside.local_addr().unwrap().port();
    let telemetry = telemetry(1);
    telemetry.line(Source::Function, 0, "before \"it\"");
    telemetry.line(Source::Extension, 0, "not wanted");
    let destination = Destination::Http {
        port,
        path: "/take".to_owned(),
        put: false,
    };
    telemetry
        .subscribe("watch", Schema::Telemetry, subscription(destination))
        .unwrap();
    telemetry.close();
    // One batch is refused, and comes again.
    for status in ["500 No", "200 OK"] {
        let (stream, _) = inside.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let records: Vec<Value> = serde_json::from_slice(&body).unwrap();
        assert_eq!(records[0]["type"], "function");
        assert_eq!(records[0]["record"], "before \"it\"");
        assert_eq!(records[1]["type"], "platform.telemetrySubscription");
        assert_eq!(records[1]["record"]["types"][1], "function");
        assert_eq!(records.len(), 2);
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
    }
    assert_eq!(
        telemetry.subscribe(
            "late",
            Schema::Telemetry,
            subscription(Destination::Tcp { port })
        ),
        Err(NoSubscription::Closed)
    );
}

#[tokio::test]
async fn who_takes_nothing_loses_what_is_too_much() {
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = inside.local_addr().unwrap().port();
    let telemetry = telemetry(1);
    telemetry.freeze(true);
    telemetry
        .subscribe(
            "watch",
            Schema::Logs,
            subscription(Destination::Tcp { port }),
        )
        .unwrap();
    let line = "x".repeat(1000);
    for _ in 0..10_000 {
        telemetry.line(Source::Function, 0, &line);
    }
    let waiting = {
        let state = telemetry.state.lock();
        let waiting = state.subscribers[0].queue.waiting.lock();
        (waiting.bytes, waiting.dropped.0)
    };
    assert!(waiting.0 <= 2 * 262_144 && waiting.1 > 9000, "{waiting:?}");
    telemetry.freeze(false);
    let (stream, _) = inside.accept().await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        let record: Value = serde_json::from_str(&line).unwrap();
        if record["type"] == "platform.logsDropped" {
            assert!(record["record"]["droppedRecords"].as_u64().unwrap() > 9000);
            break;
        }
    }
}

#[test]
fn without_a_way_in_nothing_is_kept() {
    let telemetry = telemetry(0);
    assert!(!telemetry.is_on());
    telemetry.line(Source::Function, 0, "x");
    assert!(
        telemetry
            .state
            .lock()
            .backlog
            .as_ref()
            .unwrap()
            .records
            .is_empty()
    );
}
