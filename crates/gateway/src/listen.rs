//! The HTTP/1.1 server loop as a value: it accepts, limits and hands requests to one service.
//! It routes nothing and knows no door.

mod bodies;
mod pace;
mod seats;
mod unread;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::InstanceId;
use store::Clock;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::Body;
use crate::tls::Tls;
use bodies::Bodies;
use pace::{PacedBody, PacedStream};
use seats::{Seat, Seats};
use unread::Unread;

/// What connections and requests may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once. Beyond them the one that has waited longest for its first head
    /// closes; where none waits, the newcomer is refused with 503.
    pub connections_max: usize,
    /// Time for a request's head, counted from the end of the request before: also how long a
    /// connection may idle between requests.
    pub head_timeout: Duration,
    /// Header fields of one request.
    pub headers_max: usize,
    /// One request's head, in bytes.
    pub head_bytes_max: usize,
    /// Most that is read of one request's body, in bytes, whatever the door. Doors have lower limits
    /// of their own.
    pub body_bytes_max: u64,
    /// Bodies on their way at once; more are refused with 503.
    pub bodies_max: usize,
    /// What has come of those bodies, in bytes together; beyond them more are refused too.
    pub bodies_bytes_max: u64,
    /// Time that a body may take beyond what `body_rate_min` allows it.
    pub body_grace: Duration,
    /// Least rate of a body, in bytes per second.
    pub body_rate_min: u64,
    /// How long a client may read nothing while an answer waits for it.
    pub write_timeout: Duration,
    /// How long requests in flight may go on once the server is told to stop.
    pub drain: Duration,
    /// How long a connection that was accepted before that may take to send its first request. One
    /// on which there was a request before is closed with the answer to the next, or after a tenth
    /// of this.
    pub linger: Duration,
}

impl Default for Limits {
    /// Header and rate limits that cut slow senders off and no real client (ours).
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_timeout: Duration::from_secs(10),
            headers_max: 100,
            head_bytes_max: 16 * 1024,
            body_bytes_max: model::limit::REQUEST_WITH_CODE_BYTES_MAX as u64,
            // Half of the connections: slow bodies leave the others to whoever sends none.
            bodies_max: 5_000,
            // Some eighty of the largest events that a function takes.
            bodies_bytes_max: 512 * 1024 * 1024,
            body_grace: Duration::from_secs(20),
            body_rate_min: 16 * 1024,
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            linger: Duration::ZERO,
        }
    }
}

/// Where a request came from; every request carries it among its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The client's address.
    pub remote: SocketAddr,
    /// The address that it connected to: its port may stand for a function.
    pub local: SocketAddr,
    /// Whether it comes over TLS.
    pub secure: bool,
    /// The instance that it comes from, where it comes from inside a sandbox.
    pub instance: Option<InstanceId>,
}

/// What is found out about a connection once and holds for all its requests; every request
/// carries it among its extensions.
#[derive(Debug, Clone, Default)]
pub struct Learnt {
    user: Arc<OnceLock<Option<u32>>>,
}

impl Learnt {
    /// The user at the other end, looked for at the first question.
    pub fn user(&self, look: impl FnOnce() -> Option<u32>) -> Option<u32> {
        *self.user.get_or_init(look)
    }
}

/// That the listener of a connection was told to stop.
#[derive(Debug, Clone)]
struct Stopped {
    /// Wakes those that wait.
    sign: watch::Receiver<bool>,
    /// Read by every answer.
    closing: Arc<AtomicBool>,
}

impl Stopped {
    fn new() -> (watch::Sender<bool>, Self) {
        let (stop, sign) = watch::channel(false);
        let closing = Arc::default();
        (stop, Self { sign, closing })
    }
}

/// The server. A cheap handle: listeners may come and go, all share one set of limits.
pub struct Server<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    service: S,
    /// What connections of listeners are wrapped in, if in anything.
    tls: Option<Tls>,
    http: http1::Builder,
    limits: Limits,
    seats: Arc<Seats>,
    bodies: Arc<Bodies>,
    /// Connections that are being told that there is no room.
    refusals: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

impl<S> Clone for Server<S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<S> fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}

impl<S, F> Server<S>
where
    S: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    /// A server that hands every request to `service`.
    pub fn new(service: S, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self::with_tls(service, limits, None, clock)
    }

    /// The same; its listeners speak TLS and nothing else, where there is one. Connections that
    /// come another way are as they are.
    pub fn with_tls(service: S, limits: Limits, tls: Option<Tls>, clock: Arc<dyn Clock>) -> Self {
        let mut http = http1::Builder::new();
        // A client that has said all it has to say may still wait for its answer; writing
        // tells soon enough of one that does not.
        http.timer(TokioTimer::new())
            .half_close(true)
            .header_read_timeout(limits.head_timeout)
            .max_header_size(limits.head_bytes_max);
        // Where a number is given, room for so many is filled twice with every request.
        if limits.headers_max != HYPER_HEADERS_MAX {
            http.max_headers(limits.headers_max);
        }
        let seats = Seats::new(limits.connections_max);
        let bodies = Bodies::new(limits.bodies_max, limits.bodies_bytes_max);
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        Self {
            shared: Arc::new(Shared {
                service,
                tls,
                http,
                limits,
                seats,
                bodies,
                refusals,
                clock,
            }),
        }
    }

    /// Serves a listener until `shutdown` resolves; then lets requests in flight end, for
    /// `limits.drain` at most. May run for several listeners at once.
    pub async fn run(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = Stopped::new();
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, remote)) => self.admit(stream, remote, &stopped, &mut connections),
                    Err(error) => {
                        // Out of descriptors: those that end free some; trying at once would spin.
                        tracing::warn!(%error, "could not accept a connection");
                        self.shared.clock.sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        stopped.closing.store(true, Ordering::Relaxed);
        // Nobody listens any more when there are no connections left: that is no failure.
        let _ = stop.send(true);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = all_ended => {}
            () = self.shared.clock.sleep(self.shared.limits.drain) => {
                tracing::warn!("closing connections whose requests did not end in time");
            }
        }
    }

    /// Serves one connection that came another way, such as from inside a sandbox, to its end.
    pub async fn serve_stream<T>(&self, stream: T, peer: Peer)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(seat) = self.shared.seats.take() else {
            return refuse(stream, self.shared.clock.as_ref()).await;
        };
        let (_stop, stopped) = Stopped::new();
        let mut connections = JoinSet::new();
        self.serve(stream, peer, seat, stopped, &mut connections);
        // It has ended, or given way to another.
        connections.join_next().await;
    }

    /// The same for one that begins with a handshake of TLS, which must come as soon as a head.
    pub async fn serve_secured(&self, stream: TcpStream, peer: Peer, tls: &Tls) {
        let Some(seat) = self.shared.seats.take() else {
            // What it could be told it would not read.
            return;
        };
        let (_stop, stopped) = Stopped::new();
        let mut connections = JoinSet::new();
        self.secure(stream, peer, tls.clone(), seat, stopped, &mut connections);
        connections.join_next().await;
    }

    fn admit(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        stopped: &Stopped,
        connections: &mut JoinSet<()>,
    ) {
        let Some(seat) = self.shared.seats.take() else {
            if let Ok(permit) = self.shared.refusals.clone().try_acquire_owned() {
                let clock = self.shared.clock.clone();
                connections.spawn(async move {
                    refuse(stream, clock.as_ref()).await;
                    drop(permit);
                });
            }
            return;
        };
        // Answers are written whole; holding back their last segment only delays them.
        let set = stream.set_nodelay(true).and_then(|()| stream.local_addr());
        let Ok(local) = set else { return };
        let peer = Peer {
            remote,
            local,
            secure: self.shared.tls.is_some(),
            instance: None,
        };
        match self.shared.tls.clone() {
            Some(tls) => self.secure(stream, peer, tls, seat, stopped.clone(), connections),
            None => self.serve(stream, peer, seat, stopped.clone(), connections),
        }
    }

    fn secure(
        &self,
        stream: TcpStream,
        peer: Peer,
        tls: Tls,
        seat: Arc<Seat>,
        stopped: Stopped,
        connections: &mut JoinSet<()>,
    ) {
        let (shared, held) = (self.shared.clone(), seat.clone());
        // It has not been heard before its first head: until then it gives way to others.
        let end = connections.spawn(async move {
            let handshake = tls.accept(stream);
            let accepted = tokio::select! {
                accepted = handshake => accepted,
                () = shared.clock.sleep(shared.limits.head_timeout) => {
                    Err(std::io::ErrorKind::TimedOut.into())
                }
            };
            match accepted {
                Ok(stream) => serve(shared, stream, peer, held, stopped).await,
                Err(error) => tracing::debug!(%error, "no TLS was agreed on"),
            }
        });
        seat.may_give_way(end);
    }

    fn serve<T>(
        &self,
        stream: T,
        peer: Peer,
        seat: Arc<Seat>,
        stopped: Stopped,
        connections: &mut JoinSet<()>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let serving = serve(self.shared.clone(), stream, peer, seat.clone(), stopped);
        let end = connections.spawn(serving);
        seat.may_give_way(end);
    }
}

/// Header fields that hyper takes where it is told nothing.
const HYPER_HEADERS_MAX: usize = 100;

/// Connections told at once that there is no room; beyond these they are just closed (ours).
const REFUSALS_MAX: usize = 64;
/// Longest that telling so may take (ours).
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is looked whether a first request has come (ours).
const LINGER_LOOK: Duration = Duration::from_millis(5);
/// Pause after the system refuses to accept (ours).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

async fn serve<S, F, T>(
    shared: Arc<Shared<S>>,
    stream: T,
    peer: Peer,
    seat: Arc<Seat>,
    mut stopped: Stopped,
) where
    S: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let first = seat.clone();
    let io = PacedStream::new(stream, shared.limits.write_timeout, shared.clock.clone());
    let service = {
        let (shared, learnt) = (shared.clone(), Learnt::default());
        let closing = stopped.closing.clone();
        service_fn(move |request: Request<Incoming>| {
            let mut request = request;
            request.extensions_mut().insert(learnt.clone());
            answer(
                shared.clone(),
                peer.clone(),
                (seat.clone(), closing.clone()),
                request,
            )
        })
    };
    let connection = shared.http.serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let stop = async { drop(stopped.sign.wait_for(|stopped| *stopped).await) };
    let end = tokio::select! {
        biased;
        end = connection.as_mut() => end,
        () = stop => {
            // It would be closed under a request that is on its way.
            let end = tokio::select! {
                biased;
                end = connection.as_mut() => Some(end),
                () = last_request(&shared, &first) => None,
            };
            match end {
                Some(end) => end,
                None => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = end {
        tracing::debug!(%error, "connection ended");
    }
}

/// Gives the client of a connection the time to send one more request.
async fn last_request<S>(shared: &Shared<S>, seat: &Seat) {
    let linger = shared.limits.linger;
    if linger.is_zero() {
        return;
    }
    let began = shared.clock.monotonic();
    loop {
        let linger = if seat.is_heard() { linger / 10 } else { linger };
        if shared.clock.monotonic().saturating_sub(began) >= linger {
            return;
        }
        shared.clock.sleep(LINGER_LOOK).await;
    }
}

async fn answer<S, F>(
    shared: Arc<Shared<S>>,
    peer: Peer,
    (seat, closing): (Arc<Seat>, Arc<AtomicBool>),
    request: Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible>
where
    S: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Body>>,
{
    if !seat.hear() {
        return Ok(busy("too many connections; try again"));
    }
    let mut response = heard(&shared, peer, request).await;
    if closing.load(Ordering::Relaxed) || shared.seats.is_crowded() {
        // Nobody serves it any more, or its place is worth more than another handshake's time.
        close_after(&mut response);
    }
    Ok(response)
}

async fn heard<S, F>(
    shared: &Shared<S>,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Response<Body>
where
    S: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Body>>,
{
    let limits = &shared.limits;
    if let Some(refused) = misaddressed(&request) {
        return refused;
    }
    request.extensions_mut().insert(peer);
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        let empty = http_body_util::Empty::new().map_err(|never| match never {});
        return (shared.service)(Request::from_parts(parts, empty.boxed())).await;
    }
    // No more of it is read than may be, and doors that take less say so in their own words.
    let announced = body.size_hint().lower().min(limits.body_bytes_max);
    let Some(share) = shared.bodies.begin(announced) else {
        return busy("too many request bodies are on their way; try again");
    };
    let body = PacedBody::new(body, share, limits, shared.clock.clone());
    let unread = Unread::new(waits_for_leave(&parts));
    let request = Request::from_parts(parts, unread.lend(body).boxed());
    let mut response = (shared.service)(request).await;
    if !unread.read(&*shared.clock).await {
        close_after(&mut response);
    }
    response
}

/// Whether the client sends the body only once it is told to go on, which it is when the body is read.
fn waits_for_leave(request: &Parts) -> bool {
    let expected = request.headers.get(header::EXPECT);
    expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The longest method that is looked at, in bytes (ours; the longest that is registered with
/// IANA has 17).
const METHOD_BYTES_MAX: usize = 32;

/// The answer to a request that no door here can be meant by: for a proxy, of no known kind, or
/// for no one host (RFC 9112, section 3.2).
fn misaddressed(request: &Request<Incoming>) -> Option<Response<Body>> {
    if request.method() == Method::CONNECT {
        let text = "this is no proxy: CONNECT is not allowed";
        let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, text);
        let allowed = header::HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
        response.headers_mut().insert(header::ALLOW, allowed);
        return Some(response);
    }
    if request.method().as_str().len() > METHOD_BYTES_MAX {
        let text = format!("a method of more than {METHOD_BYTES_MAX} letters is not known");
        return Some(refusal(StatusCode::NOT_IMPLEMENTED, &text));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let one = hosts.next().is_some() || request.version() == Version::HTTP_10;
    if !one || hosts.next().is_some() {
        let text = "a request needs one Host header";
        return Some(refusal(StatusCode::BAD_REQUEST, text));
    }
    None
}

fn busy(text: &str) -> Response<Body> {
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, text);
    let soon = header::HeaderValue::from_static("1");
    response.headers_mut().insert(header::RETRY_AFTER, soon);
    response
}

/// A refusal after which the connection closes. What it says needs no escapes in JSON.
fn refusal(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(crate::full(format!("{{\"message\":\"{text}\"}}")));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    close_after(&mut response);
    response
}

fn close_after(response: &mut Response<Body>) {
    let close = header::HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
}

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    content-length: 45\r\n\r\n\
    {\"message\":\"too many connections; try again\"}";

/// Says that there is no room. Reads on a little, as closing with bytes unread would reset the
/// connection before the client has read the answer.
async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T, clock: &dyn Clock) {
    let tell = async {
        stream.write_all(REFUSAL).await?;
        stream.shutdown().await?;
        let mut unread = [0; 4096];
        for _ in 0..16 {
            if stream.read(&mut unread).await? == 0 {
                break;
            }
        }
        Ok::<(), std::io::Error>(())
    };
    tokio::select! {
        // Whether the client heard it does not matter any more.
        _ = tell => {}
        () = clock.sleep(REFUSAL_TIMEOUT) => {}
    }
}

#[cfg(test)]
mod tests;
