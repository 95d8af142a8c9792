//! Clients that stream, and what the reader sees of it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};

use engine::stream::{self, Piece, Streamed};
use expect_test::{Expect, expect};
use model::{End, Execution, Outcome, StartKind, Timings};
use store::SystemClock;

use super::super::tests::call;
use super::*;
use crate::contract::lambda::wire::Lost;

/// A client on one connection that says what it is told.
struct Client(BufReader<TcpStream>);

impl Client {
    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Asks for the next invocation.
    fn ask(&mut self) {
        self.say("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: a\r\n\r\n");
    }

    /// Asks for it and takes it; its id.
    fn next(&mut self) -> String {
        self.ask();
        let mut id = String::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("lambda-runtime-aws-request-id: ") {
                id = value.trim_end().to_owned();
            }
            if line == "\r\n" {
                break;
            }
        }
        // Its payload is one digit.
        std::io::Read::read_exact(&mut self.0, &mut [0]).unwrap();
        id
    }

    /// Begins a streamed answer.
    fn begin(&mut self, id: &str, headers: &str) {
        self.say(&format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: a\r\n\
             Lambda-Runtime-Function-Response-Mode: streaming\r\n\
             Transfer-Encoding: chunked\r\n{headers}\r\n"
        ));
    }

    fn part(&mut self, text: &str) {
        self.say(&format!("{:x}\r\n{text}\r\n", text.len()));
    }

    /// A client on a connection of its own.
    fn another(&self) -> Self {
        let address = self.0.get_ref().peer_addr().unwrap();
        Self(BufReader::new(TcpStream::connect(address).unwrap()))
    }

    /// The status of the answer; empty where none comes.
    fn status(&mut self) -> String {
        let mut line = String::new();
        // A connection that is reset has no answer either.
        let _ = self.0.read_line(&mut line);
        line.trim_end().to_owned()
    }
}

/// Runs a client on a thread, which can wait for what the reader has read.
fn check(
    work: impl FnOnce(&mut Client, &str, &mpsc::Receiver<&str>) + Send + 'static,
    expected: Expect,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let seen = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (api, starts) = RuntimeApi::new(None);
        let served = tokio::spawn(Arc::clone(&api).serve(listener, Arc::new(SystemClock::new())));
        let (sink, reader) = stream::open(Arc::new(SystemClock::new()));
        let mut streamed = reader.of(tokio::spawn({
            let api = Arc::clone(&api);
            async move {
                starts.await.unwrap();
                let mut call = call("1");
                call.sink = Some(sink);
                Ok(shown(api.exchange(&call, "arn").await))
            }
        }));
        let done = tokio::sync::Notify::new();
        let (tells, told) = mpsc::channel();
        let client = tokio::task::spawn_blocking(move || {
            let stream = TcpStream::connect(address).unwrap();
            let mut client = Client(BufReader::new(stream));
            let id = client.next();
            work(&mut client, &id, &told);
            // Its connection is open until the answer was read.
            client
        });
        let work = async {
            let client = client.await.unwrap();
            done.notified().await;
            drop(client);
        };
        let read = async {
            let seen = read(&mut streamed, &tells).await;
            api.close();
            served.abort();
            done.notify_one();
            seen
        };
        tokio::join!(read, work).0
    });
    expected.assert_eq(&seen);
}

fn shown(reply: Result<Reply, Lost>) -> Execution {
    let (end, payload) = match reply {
        Ok(Reply::Streamed) => (End::Replied, Bytes::new()),
        Ok(Reply::Answer(payload)) => (End::Replied, payload),
        Ok(Reply::Failed { payload, .. }) => (End::Failed, payload),
        other => (End::Crashed, format!("{other:?}").into()),
    };
    Execution {
        version: model::VersionId::Latest,
        outcome: Outcome { end, payload },
        start: StartKind::Warm,
        timings: Timings::default(),
        billed: std::time::Duration::ZERO,
        memory_used_mb: 0,
        log_tail: None,
    }
}

async fn read(streamed: &mut Streamed, tells: &mpsc::Sender<&str>) -> String {
    let mut seen = String::new();
    while let Some(piece) = streamed.next().await {
        seen += &match piece {
            Piece::Begin { content_type } => {
                // Not every client waits for it.
                let _ = tells.send("begin");
                format!("begin {content_type:?}\n")
            }
            Piece::Data(bytes) => {
                let _ = tells.send("data");
                format!("{bytes:?}\n")
            }
            Piece::End(Ok(execution)) => {
                let outcome = execution.outcome;
                let payload = String::from_utf8_lossy(&outcome.payload).into_owned();
                format!("{}: {payload}", outcome.end.as_str())
                    .trim_end()
                    .to_owned()
                    + "
"
            }
            other => format!("{other:?}\n"),
        };
    }
    seen
}

#[test]
fn an_answer_is_passed_on() {
    check(
        |client, id, _| {
            client.begin(id, "Content-Type: text/plain\r\n");
            client.part("one");
            client.say("0\r\n\r\n");
            assert_eq!(client.status(), "HTTP/1.1 202 Accepted");
        },
        expect![[r#"
            begin Some("text/plain")
            b"one"
            replied:
        "#]],
    );
    check(
        |client, id, _| {
            client.begin(id, "");
            client.say("0\r\n\r\n");
        },
        expect![[r#"
            begin Some("application/octet-stream")
            replied:
        "#]],
    );
}

#[test]
fn an_error_comes_in_trailers() {
    check(
        |client, id, _| {
            client.begin(id, "Trailer: Lambda-Runtime-Function-Error-Type\r\nTrailer: Lambda-Runtime-Function-Error-Body\r\n");
            client.part("half");
            client.say("0\r\nLambda-Runtime-Function-Error-Type: Odd\r\nLambda-Runtime-Function-Error-Body: eyJlcnJvclR5cGUiOiJPZGQifQ==\r\n\r\n");
            assert_eq!(client.status(), "HTTP/1.1 202 Accepted");
        },
        expect![[r#"
            begin Some("application/octet-stream")
            b"half"
            failed: {"errorType":"Odd"}
        "#]],
    );
}

#[test]
fn an_answer_that_breaks_off_ends_when_the_client_asks_for_more() {
    check(
        |client, id, seen| {
            client.begin(id, "");
            client.part("half");
            assert_eq!(
                [seen.recv().unwrap(), seen.recv().unwrap()],
                ["begin", "data"]
            );
            // It hangs up in the middle.
            *client = client.another();
            // Until that is seen it works on the answer still. At the end of the test nobody
            // answers it.
            client.ask();
            while client.status() == "HTTP/1.1 403 Forbidden" {
                *client = client.another();
                client.ask();
            }
        },
        expect![[r#"
            begin Some("application/octet-stream")
            b"half"
            failed: {"errorType":"Runtime.TruncatedResponse","errorMessage":"the connection closed before the streamed response was complete"}
        "#]],
    );
}

#[test]
fn one_answer_is_enough() {
    check(
        |client, id, seen| {
            client.begin(id, "");
            client.part("half");
            assert_eq!(seen.recv().unwrap(), "begin");
            for end in ["response", "error"] {
                let mut other = client.another();
                other.say(&format!(
                    "POST /2018-06-01/runtime/invocation/{id}/{end} HTTP/1.1\r\nHost: a\r\n\
                     Content-Length: 1\r\n\r\n2"
                ));
                assert_eq!(other.status(), "HTTP/1.1 403 Forbidden");
            }
            client.say("0\r\n\r\n");
            assert_eq!(client.status(), "HTTP/1.1 202 Accepted");
        },
        expect![[r#"
            begin Some("application/octet-stream")
            b"half"
            replied:
        "#]],
    );
}
