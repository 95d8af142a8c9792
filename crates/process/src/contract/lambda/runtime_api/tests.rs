//! A client that does as it likes, and what it is answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use model::{InvocationId, VersionId};
use store::SystemClock;

use super::*;

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Asks; answers with status, the invocation's id if there is one, and body.
    fn ask(&mut self, request: &str, headers: &str, body: &str) -> (u16, String, String) {
        let length = body.len();
        let head =
            format!("{request} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
        self.stream.get_mut().write_all(body.as_bytes()).unwrap();
        let mut status = 0;
        let mut id = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(value) = line.strip_prefix("lambda-runtime-aws-request-id: ") {
                id = value.to_owned();
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (status, id, String::from_utf8(body).unwrap())
    }
}

pub(super) fn call(payload: &str) -> Call {
    Call {
        id: InvocationId::from_random([7; 16]),
        target: "greet"
            .parse()
            .map(|name| model::FunctionId {
                account: "000000000000".parse().unwrap(),
                region: "eu-west-1".parse().unwrap(),
                name,
            })
            .unwrap()
            .unqualified(),
        version: VersionId::Latest,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        timeout: Duration::from_secs(5),
        deadline_ms: 1,
        trace: None,
        client_context: None,
        tail: false,
        sink: None,
        waited: engine::port::Waited::default(),
    }
}

/// Runs a client beside an invocation; how the client started, and what came of the invocation.
fn with_client<T: Send + 'static>(
    work: impl FnOnce(&mut Client) -> T + Send + 'static,
) -> (T, Option<Result<Reply, Lost>>, Option<Init>) {
    with_client_of(None, work)
}

/// The same, where only some processes are answered.
fn with_client_of<T: Send + 'static>(
    peers: Option<Peers>,
    work: impl FnOnce(&mut Client) -> T + Send + 'static,
) -> (T, Option<Result<Reply, Lost>>, Option<Init>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (api, mut starts) = RuntimeApi::new(peers);
        let served = tokio::spawn(Arc::clone(&api).serve(listener, Arc::new(SystemClock::new())));
        let exchange = tokio::spawn({
            let api = Arc::clone(&api);
            async move {
                let init = (&mut starts).await.ok();
                let ready = matches!(
                    &init,
                    Some(Init {
                        loaded: Loaded::Ready,
                        ..
                    })
                );
                let reply = if ready {
                    Some(api.exchange(&call(r#"{"a":1}"#), "arn").await)
                } else {
                    None
                };
                (reply, init)
            }
        });
        let done = tokio::task::spawn_blocking(move || {
            let stream = TcpStream::connect(address).unwrap();
            work(&mut Client {
                stream: BufReader::new(stream),
            })
        });
        let done = done.await.unwrap();
        api.close();
        served.abort();
        let (reply, init) = exchange.await.unwrap();
        (done, reply, init)
    })
}

const NEXT: &str = "GET /2018-06-01/runtime/invocation/next";

#[test]
fn an_invocation_is_taken_and_answered() {
    let (seen, reply, _) = with_client(|client| {
        let (status, id, body) = client.ask(NEXT, "", "");
        assert_eq!((status, body.as_str()), (200, r#"{"a":1}"#));
        let answer = client.ask(
            &format!("POST /2018-06-01/runtime/invocation/{id}/response"),
            "",
            "\"b\"",
        );
        let again = client.ask(
            &format!("POST /2018-06-01/runtime/invocation/{id}/response"),
            "",
            "\"c\"",
        );
        (answer, again.0, again.2)
    });
    assert_eq!(
        (seen.0.0, seen.0.2.as_str()),
        (202, "{\"status\":\"OK\"}\n")
    );
    assert_eq!(seen.1, 403);
    assert!(seen.2.contains("InvalidStateTransition"), "{}", seen.2);
    assert_eq!(
        reply.unwrap().unwrap(),
        Reply::Answer(Bytes::from_static(b"\"b\""))
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let (seen, reply, _) = with_client(|client| {
        let (_, id, _) = client.ask(NEXT, "", "");
        let wrong = client.ask(
            "POST /2018-06-01/runtime/invocation/other/response",
            "",
            "1",
        );
        let twice = client.ask(NEXT, "", "");
        let unknown = client.ask("GET /2018-06-01/nothing", "", "");
        let late = client.ask("POST /2018-06-01/runtime/init/error", "", "{}");
        for restore in [
            "GET /2018-06-01/runtime/restore/next",
            "POST /2018-06-01/runtime/restore/error",
        ] {
            assert_eq!(client.ask(restore, "", "").0, 404, "{restore}");
        }
        let ping = client.ask("GET /2018-06-01/ping", "", "");
        assert_eq!(ping.2, "pong");
        let large = "x".repeat(RESPONSE_BYTES_MAX + 1);
        let unwanted = client.ask(
            "POST /2018-06-01/runtime/invocation/other/response",
            "",
            &large,
        );
        assert!(unwanted.2.contains("InvalidRequestID"), "{}", unwanted.2);
        let large = client.ask(
            &format!("POST /2018-06-01/runtime/invocation/{id}/response"),
            "",
            &large,
        );
        assert!(wrong.2.contains("InvalidRequestID") && large.2.contains("RequestEntityTooLarge"));
        [wrong.0, twice.0, unknown.0, late.0, ping.0, large.0]
    });
    assert_eq!(seen, [400, 403, 404, 403, 200, 413]);
    assert_eq!(reply.unwrap().unwrap(), Reply::TooLarge);
}

#[test]
fn errors_are_relayed_byte_for_byte() {
    let (status, reply, _) = with_client(|client| {
        let (_, id, _) = client.ask(NEXT, "", "");
        client
            .ask(
                &format!("POST /2018-06-01/runtime/invocation/{id}/error"),
                "",
                "{ \"errorType\" :1}",
            )
            .0
    });
    assert_eq!(status, 202);
    let payload = Bytes::from_static(b"{ \"errorType\" :1}");
    assert_eq!(
        reply.unwrap().unwrap(),
        Reply::Failed {
            payload,
            last: false
        }
    );
}

#[test]
fn a_failed_start_is_told() {
    let (status, _, init) = with_client(|client| {
        let header = "Lambda-Runtime-Function-Error-Type: Extension.Odd\r\n";
        client
            .ask("POST /2018-06-01/runtime/init/error", header, "{}")
            .0
    });
    let init = init.unwrap();
    assert_eq!(
        (status, init.error_type.as_deref()),
        (202, Some("Extension.Odd"))
    );
    assert!(matches!(init.loaded, Loaded::Failed(payload) if payload == "{}"));
}

#[test]
fn a_client_that_goes_away_leaves_no_answer() {
    let (_, reply, _) = with_client(|client| client.ask(NEXT, "", "").0);
    assert!(matches!(reply.unwrap(), Err(Lost::Closed)));
}

#[test]
fn a_client_that_hung_up_while_it_waited_takes_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (api, starts) = RuntimeApi::new(None);
        let served = tokio::spawn(Arc::clone(&api).serve(listener, Arc::new(SystemClock::new())));
        let mut first = TcpStream::connect(address).unwrap();
        let ask = format!("{NEXT} HTTP/1.1\r\nHost: a\r\n\r\n");
        first.write_all(ask.as_bytes()).unwrap();
        starts.await.unwrap();
        drop(first);
        let second = tokio::task::spawn_blocking(move || {
            let mut client = Client {
                stream: BufReader::new(TcpStream::connect(address).unwrap()),
            };
            // Its answer comes after the first one's end was seen.
            client.ask("GET /2018-06-01/ping", "", "");
            client.stream.get_mut().write_all(ask.as_bytes()).unwrap();
            client
        });
        let mut second = second.await.unwrap();
        let exchange = tokio::spawn({
            let api = Arc::clone(&api);
            async move { api.exchange(&call("1"), "arn").await }
        });
        let taken = tokio::task::spawn_blocking(move || {
            let stream = second.stream.get_mut();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let mut line = String::new();
            second.stream.read_line(&mut line).map(|_| line)
        });
        let taken = taken.await.unwrap();
        api.close();
        served.abort();
        exchange.abort();
        assert_eq!(taken.unwrap(), "HTTP/1.1 200 OK\r\n");
    });
}

#[test]
fn a_client_that_waits_goes_on_with_another_process() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let other = listener.try_clone().unwrap();
        let (api, starts) = RuntimeApi::new(None);
        api.remember_lines();
        let served = tokio::spawn(Arc::clone(&api).serve(listener, clock.clone()));
        let client = tokio::task::spawn_blocking(move || {
            let mut client = Client {
                stream: BufReader::new(TcpStream::connect(address).unwrap()),
            };
            let mut taken = Vec::new();
            for _ in 0..2 {
                let (_, id, body) = client.ask(NEXT, "", "");
                let answer = format!("POST /2018-06-01/runtime/invocation/{id}/response");
                let answered = client.ask(&answer, "", &format!("[{body}]")).0;
                taken.push((body, answered));
            }
            taken
        });
        starts.await.unwrap();
        assert!(matches!(
            api.exchange(&call("1"), "arn").await,
            Ok(Reply::Answer(answer)) if answer == "[1]"
        ));
        let lines = api.leave(&*clock).await.unwrap();
        assert!(matches!(
            api.exchange(&call("9"), "arn").await,
            Err(Lost::Closed)
        ));
        served.abort();
        let _ = served.await;
        let next = RuntimeApi::going();
        let served = tokio::spawn(Arc::clone(&next).serve_on(lines, other, clock.clone()));
        assert!(matches!(
            next.exchange(&call("2"), "arn").await,
            Ok(Reply::Answer(answer)) if answer == "[2]"
        ));
        let taken = client.await.unwrap();
        assert_eq!(taken, [("1".to_owned(), 202), ("2".to_owned(), 202)]);
        // It has hung up, and waits for nothing.
        assert!(next.leave(&*clock).await.is_none());
        served.abort();
    });
}

#[test]
fn strangers_are_refused_where_they_can_come() {
    let nobody = Peers::below(0);
    let (statuses, reply, _) = with_client_of(Some(nobody), |client| {
        let mut status = |request: &str| client.ask(request, "", "").0;
        [
            status("GET /2018-06-01/ping"),
            status("GET /2018-06-01/runtime/invocation/next"),
            status("POST /2018-06-01/runtime/init/error"),
        ]
    });
    assert_eq!(statuses, [403; 3]);
    assert!(reply.is_none());
}
