//! The server as its clients see it, over loopback and in-memory connections.

use store::SystemClock;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// Answers with what the request said: its body, or where it came from.
async fn echo(request: Request<Body>) -> Response<Body> {
    let local = request
        .extensions()
        .get::<Peer>()
        .map(|peer| peer.local.to_string());
    let text = match request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
    {
        Ok(body) if body.is_empty() => local.unwrap_or_default(),
        Ok(body) => format!("{} bytes", body.len()),
        Err(error) => format!("cut: {error}"),
    };
    Response::new(crate::full(text))
}

/// A connection in memory to a server, and the serving of it.
fn connected<S, F>(server: Server<S>) -> (DuplexStream, JoinHandle<()>)
where
    S: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (client, inside) = duplex(64 * 1024);
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let peer = Peer {
        remote: address,
        local: address,
        secure: false,
        instance: None,
    };
    let serving = tokio::spawn(async move { server.serve_stream(inside, peer).await });
    (client, serving)
}

/// Sends raw bytes over one connection and answers all that came back.
async fn exchange(limits: Limits, sent: &[u8]) -> String {
    let clock = Arc::new(SystemClock::new());
    let (mut client, serving) = connected(Server::new(echo, limits, clock));
    client.write_all(sent).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    drop(client);
    serving.await.unwrap();
    answer
}

async fn check(limits: Limits, sent: &str, expected: &str) {
    let answer = exchange(limits, sent.as_bytes()).await;
    assert!(answer.contains(expected), "{sent}\n{answer}");
}

const CLOSE: &str = "host: a\r\nconnection: close\r\n";

#[tokio::test]
async fn requests_carry_their_peer_and_one_date() {
    let answer = exchange(
        Limits::default(),
        format!("GET / HTTP/1.1\r\n{CLOSE}\r\n").as_bytes(),
    )
    .await;
    assert!(answer.ends_with("127.0.0.1:9"), "{answer}");
    assert_eq!(answer.matches("date: ").count(), 1, "{answer}");
}

#[tokio::test]
async fn heads_have_limits() {
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    check(
        Limits::default(),
        &format!("GET / HTTP/1.1\r\n{CLOSE}{many}\r\n"),
        "431",
    )
    .await;
    let long = "y".repeat(17 * 1024);
    check(
        Limits::default(),
        &format!("GET / HTTP/1.1\r\n{CLOSE}x: {long}\r\n\r\n"),
        "431",
    )
    .await;
}

#[tokio::test]
async fn requests_name_one_host() {
    let refused = "400 Bad Request";
    let limits = Limits::default;
    check(
        limits(),
        "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
        refused,
    )
    .await;
    let two = format!("GET / HTTP/1.1\r\n{CLOSE}host: b\r\n\r\n");
    check(limits(), &two, refused).await;
    check(limits(), "GET / HTTP/1.0\r\n\r\n", "200 OK").await;
}

#[tokio::test]
async fn methods_are_those_of_a_server() {
    let connect = format!("CONNECT a:443 HTTP/1.1\r\n{CLOSE}\r\n");
    check(Limits::default(), &connect, "405 Method Not Allowed").await;
    let long = format!("{} / HTTP/1.1\r\n{CLOSE}\r\n", "M".repeat(5000));
    check(Limits::default(), &long, "501 Not Implemented").await;
    let own = format!("UPDATEREDIRECTREF / HTTP/1.1\r\n{CLOSE}\r\n");
    check(Limits::default(), &own, "200 OK").await;
}

#[tokio::test]
async fn a_client_that_has_said_all_is_answered() {
    let (entered, inside) = oneshot::channel();
    let (release, released) = oneshot::channel::<()>();
    let once = std::sync::Mutex::new(Some((entered, released)));
    let service = move |_request: Request<Body>| {
        let once = once.lock().unwrap().take();
        async move {
            if let Some((entered, released)) = once {
                let _ = entered.send(());
                let _ = released.await;
            }
            Response::new(crate::full("heard"))
        }
    };
    let server = Server::new(service, Limits::default(), Arc::new(SystemClock::new()));
    let (mut client, serving) = connected(server);
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    inside.await.unwrap();
    client.shutdown().await.unwrap();
    // Lets the server come upon the end of the client's half before the function answers.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    // Nobody waits for it where the server has given up.
    let _ = release.send(());
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("heard"), "{answer}");
    serving.await.unwrap();
}

#[tokio::test]
async fn heads_must_come_in_time() {
    let limits = Limits {
        head_timeout: Duration::from_millis(1),
        ..Limits::default()
    };
    assert_eq!(exchange(limits, b"GET / HT").await, "");
}

#[tokio::test]
async fn bodies_must_fit_and_come_in_time() {
    let limits = || Limits {
        body_bytes_max: 10,
        ..Limits::default()
    };
    let announced = format!("POST / HTTP/1.1\r\n{CLOSE}content-length: 11\r\n\r\n");
    check(
        limits(),
        &announced,
        "cut: the body is larger than 10 bytes",
    )
    .await;
    let chunked = format!(
        "POST / HTTP/1.1\r\n{CLOSE}transfer-encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"
    );
    check(limits(), &chunked, "cut: the body is larger than 10 bytes").await;
    let limits = Limits {
        body_grace: Duration::from_millis(1),
        body_rate_min: 1_000_000,
        ..Limits::default()
    };
    let partial = format!("POST / HTTP/1.1\r\n{CLOSE}content-length: 9\r\n\r\n123");
    check(limits, &partial, "cut: the body came too slowly").await;
}

#[tokio::test]
async fn bodies_on_their_way_have_limits_together() {
    let none = Limits {
        bodies_max: 0,
        ..Limits::default()
    };
    let small = format!("POST / HTTP/1.1\r\n{CLOSE}content-length: 1\r\n\r\n1");
    check(none.clone(), &small, "503 Service Unavailable").await;
    check(none, &format!("POST / HTTP/1.1\r\n{CLOSE}\r\n"), "200 OK").await;
    let limits = || Limits {
        bodies_bytes_max: 10,
        ..Limits::default()
    };
    let announced = format!("POST / HTTP/1.1\r\n{CLOSE}content-length: 11\r\n\r\n");
    check(limits(), &announced, "503 Service Unavailable").await;
    let chunked = format!(
        "POST / HTTP/1.1\r\n{CLOSE}transfer-encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"
    );
    check(limits(), &chunked, "cut: too many request bodies").await;
    // What bodies took is given back: here are three of seven bytes, one after the other.
    let first = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\n\r\n1234567";
    let last = format!("POST / HTTP/1.1\r\n{CLOSE}content-length: 7\r\n\r\n1234567");
    let answer = exchange(limits(), format!("{first}{first}{last}").as_bytes()).await;
    assert_eq!(answer.matches("7 bytes").count(), 3, "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_cap_are_told_so() {
    let limits = Limits {
        connections_max: 0,
        ..Limits::default()
    };
    check(limits, "", "503 Service Unavailable").await;
}

/// Serves a port for as long as the test lasts.
async fn listening<S, F>(service: S, limits: Limits) -> SocketAddr
where
    S: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(service, limits, Arc::new(SystemClock::new()));
    tokio::spawn(async move { server.run(listener, std::future::pending()).await });
    address
}

async fn sending(address: SocketAddr, text: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(text.as_bytes()).await.unwrap();
    client
}

async fn rest_of(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

fn connections_max(connections_max: usize) -> Limits {
    Limits {
        connections_max,
        ..Limits::default()
    }
}

#[tokio::test]
async fn the_longest_waiting_connections_give_way_to_newcomers() {
    let address = listening(echo, connections_max(2)).await;
    let mut oldest = sending(address, "GET / HT").await;
    let mut older = sending(address, "GET / HT").await;
    let whole = format!("GET / HTTP/1.1\r\n{CLOSE}\r\n");
    let answer = rest_of(sending(address, &whole).await).await;
    assert!(answer.contains("200 OK"), "{answer}");
    // Closed, by a reset where the half of the head had not been read.
    let mut byte = [0];
    assert!(!matches!(oldest.read(&mut byte).await, Ok(1..)));
    let rest = format!("TP/1.1\r\n{CLOSE}\r\n");
    older.write_all(rest.as_bytes()).await.unwrap();
    let answer = rest_of(older).await;
    assert!(answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn connections_that_have_been_heard_do_not_give_way() {
    let (entered, mut inside) = tokio::sync::mpsc::channel(1);
    let (release, released) = watch::channel(false);
    let service = move |_request: Request<Body>| {
        let (entered, mut released) = (entered.clone(), released.clone());
        async move {
            entered.send(()).await.unwrap();
            let _ = released.wait_for(|released| *released).await;
            Response::new(crate::full("finished"))
        }
    };
    let address = listening(service, connections_max(1)).await;
    let whole = format!("GET / HTTP/1.1\r\n{CLOSE}\r\n");
    let first = sending(address, &whole).await;
    inside.recv().await.unwrap();
    let answer = rest_of(sending(address, "").await).await;
    assert!(answer.contains("503 Service Unavailable"), "{answer}");
    release.send(true).unwrap();
    let answer = rest_of(first).await;
    assert!(answer.ends_with("finished"), "{answer}");
}

#[tokio::test]
async fn connections_close_once_answered_where_places_run_short() {
    let address = listening(echo, connections_max(1)).await;
    let kept = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = rest_of(sending(address, kept).await).await;
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_stopped_server_finishes_what_it_has_begun() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (entered, inside) = oneshot::channel();
    let (release, released) = oneshot::channel::<()>();
    let once = std::sync::Mutex::new(Some((entered, released)));
    let service = move |_request: Request<Body>| {
        let once = once.lock().unwrap().take();
        async move {
            if let Some((entered, released)) = once {
                let _ = entered.send(());
                let _ = released.await;
            }
            Response::new(crate::full("finished"))
        }
    };
    let server = Server::new(service, Limits::default(), Arc::new(SystemClock::new()));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(async move {
        server.run(listener, async { drop(stopped.await) }).await;
    });
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    inside.await.unwrap();
    stop.send(()).unwrap();
    release.send(()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("finished"), "{answer}");
    running.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// Answers without a look at the body.
async fn hasty(_: Request<Body>) -> Response<Body> {
    Response::new(crate::full("hasty".to_owned()))
}

#[tokio::test]
async fn a_body_that_nobody_read_costs_no_connection() {
    let clock = Arc::new(SystemClock::new());
    let (mut client, serving) = connected(Server::new(hasty, Limits::default(), clock));
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n";
    client
        .write_all(format!("{head}\r\n").as_bytes())
        .await
        .unwrap();
    // The door has answered by now, if it can.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    client
        .write_all(format!("hello{head}connection: close\r\n\r\nworld").as_bytes())
        .await
        .unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    drop(client);
    serving.await.unwrap();
    assert_eq!(answers.matches("hasty").count(), 2, "{answers}");
    assert_eq!(
        answers.matches("connection: close").count(),
        1,
        "only the last: {answers}"
    );
}

#[tokio::test]
async fn a_client_that_first_sends_all_hears_what_is_said_then() {
    let clock = Arc::new(SystemClock::new());
    let (mut client, serving) = connected(Server::new(hasty, Limits::default(), clock));
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&[b'x'; 1_000_000]).await.unwrap();
    let last = format!("GET / HTTP/1.1\r\n{CLOSE}\r\n");
    client.write_all(last.as_bytes()).await.unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    drop(client);
    serving.await.unwrap();
    assert_eq!(answers.matches("hasty").count(), 2, "{answers}");
}

#[tokio::test]
async fn a_connection_with_too_much_unread_is_closed_with_a_word() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n";
    let answer = hasty_answer(head).await;
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("hasty"), "{answer}");
}

async fn hasty_answer(head: &str) -> String {
    let clock = Arc::new(SystemClock::new());
    let (mut client, serving) = connected(Server::new(hasty, Limits::default(), clock));
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    drop(client);
    serving.await.unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_waits_for_leave_has_it_or_the_answer() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n";
    let answer = hasty_answer(&format!("{head}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");

    let clock = Arc::new(SystemClock::new());
    let (mut client, serving) = connected(Server::new(echo, Limits::default(), clock));
    let head = format!("{head}connection: close\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    client.read_exact(&mut leave).await.unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    drop(client);
    serving.await.unwrap();
    assert!(answer.ends_with("5 bytes"), "{answer}");
}

/// A connection that the server has taken, and one that had an answer already.
async fn taken(address: SocketAddr) -> (TcpStream, TcpStream) {
    let silent = TcpStream::connect(address).await.unwrap();
    let mut heard = TcpStream::connect(address).await.unwrap();
    ask(&mut heard).await;
    // Connections are taken in their order, and this one's answer is read.
    let mut answer = [0; 4096];
    assert!(heard.read(&mut answer).await.unwrap() > 0);
    (silent, heard)
}

async fn ask(client: &mut TcpStream) {
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    client.write_all(request).await.unwrap();
}

#[tokio::test]
async fn requests_on_their_way_are_answered_by_a_server_that_lingers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        linger: Duration::from_secs(600),
        drain: Duration::from_secs(600),
        ..Limits::default()
    };
    let server = Server::new(echo, limits, Arc::new(SystemClock::new()));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(async move {
        server.run(listener, async { drop(stopped.await) }).await;
    });
    let (mut silent, mut heard) = taken(address).await;
    stop.send(()).unwrap();
    // It has stopped once nobody is taken any more.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    for client in [&mut silent, &mut heard] {
        ask(client).await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("connection: close"), "{answer}");
    }
    running.await.unwrap();
}

#[tokio::test]
async fn a_server_that_lingers_waits_for_nobody_for_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        linger: Duration::from_millis(50),
        drain: Duration::from_secs(600),
        ..Limits::default()
    };
    let server = Server::new(echo, limits, Arc::new(SystemClock::new()));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(async move {
        server.run(listener, async { drop(stopped.await) }).await;
    });
    let (mut silent, mut heard) = taken(address).await;
    stop.send(()).unwrap();
    running.await.unwrap();
    for client in [&mut silent, &mut heard] {
        let mut nothing = Vec::new();
        assert_eq!(client.read_to_end(&mut nothing).await.unwrap(), 0);
    }
}
