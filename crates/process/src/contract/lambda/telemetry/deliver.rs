//! Brings records to a subscriber inside the instance, in batches. Whoever takes none, or none in
//! time, loses them and is told how many.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use store::Clock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use super::subscription::Destination;
use super::{Queue, Record, Source};
use crate::contract::lambda::report;

/// How long a subscriber may take for one batch (ours: it shares little processor time).
const TAKE_LIMIT: Duration = Duration::from_secs(2);
/// How often a batch is tried before it is dropped.
const ATTEMPTS: u32 = 5;
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves one subscription until it is dropped.
pub(super) struct Delivery {
    pub(super) queue: Arc<Queue>,
    /// A socket of the instance's network; no more are made, so it is used again.
    pub(super) dialer: OwnedFd,
    pub(super) frozen: watch::Receiver<bool>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Delivery {
    pub(super) async fn run(mut self) {
        let mut open = None;
        loop {
            self.wait().await;
            let batch = self.take();
            if !batch.is_empty() && !self.deliver(&batch, &mut open).await {
                self.give_up(&batch);
            }
            self.confess();
        }
    }

    /// Waits until something is to go out.
    async fn wait(&self) {
        let is_there = || !self.queue.waiting.lock().records.is_empty();
        while !is_there() {
            self.queue.changed.notified().await;
        }
        let subscription = &self.queue.subscription;
        let timeout = self.clock.sleep(subscription.buffering.timeout);
        let full = async {
            while !self.queue.waiting.lock().is_full(subscription) {
                self.queue.changed.notified().await;
            }
        };
        tokio::select! {
            () = full => {}
            () = timeout => {}
        }
    }

    fn take(&self) -> Vec<Record> {
        let buffering = &self.queue.subscription.buffering;
        let mut waiting = self.queue.waiting.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < buffering.items && (bytes < buffering.bytes || batch.is_empty()) {
            let Some(record) = waiting.records.pop_front() else {
                break;
            };
            waiting.bytes -= record.len();
            bytes += record.len();
            batch.push(record);
        }
        batch
    }

    /// Whether the batch was taken. While the instance is frozen nothing is.
    async fn deliver(&mut self, batch: &[Record], open: &mut Option<TcpStream>) -> bool {
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            // The sender lives as long as the instance, which this does not outlive.
            let _ = self.frozen.wait_for(|frozen| !frozen).await;
            let _ = self.frozen.borrow_and_update();
            let sent = tokio::select! {
                sent = self.send(batch, open) => sent.is_ok(),
                () = self.clock.sleep(TAKE_LIMIT) => false,
            };
            if sent {
                return true;
            }
            *open = None;
            if !self.frozen.has_changed().unwrap_or(false) {
                attempts += 1;
            }
            self.clock.sleep(PAUSE).await;
        }
        false
    }

    async fn send(&self, batch: &[Record], open: &mut Option<TcpStream>) -> io::Result<()> {
        match &self.queue.subscription.destination {
            Destination::Http { port, path, put } => {
                let stream = self.connect(*port).await?;
                post(stream, *port, path, *put, batch).await
            }
            Destination::Tcp { port } => {
                if open.is_none() {
                    *open = Some(self.connect(*port).await?);
                }
                let mut lines = Vec::new();
                for record in batch {
                    lines.extend_from_slice(record.as_bytes());
                    lines.push(b'\n');
                }
                match open {
                    Some(stream) => stream.write_all(&lines).await,
                    None => Err(io::ErrorKind::NotConnected.into()),
                }
            }
        }
    }

    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        // It is made as it was, whatever became of the last connection.
        rustix::net::connect_unspec(&self.dialer)?;
        let socket = TcpSocket::from_std_stream(self.dialer.try_clone()?.into());
        let there = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect(there).await
    }

    fn give_up(&self, batch: &[Record]) {
        let mut waiting = self.queue.waiting.lock();
        waiting.dropped.0 += batch.len() as u64;
        waiting.dropped.1 += batch.iter().map(|record| record.len() as u64).sum::<u64>();
    }

    /// Says what was dropped, to whoever wants to know such things.
    fn confess(&self) {
        let (records, bytes) = std::mem::take(&mut self.queue.waiting.lock().dropped);
        if records > 0 && self.queue.subscription.types.contains(&Source::Platform) {
            let at_ms = self.clock.now_ms();
            let record = report::dropped_record(at_ms, records, bytes);
            self.queue.push(&record.into());
        }
    }
}

async fn post(
    stream: TcpStream,
    port: u16,
    path: &str,
    put: bool,
    batch: &[Record],
) -> io::Result<()> {
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut body = Vec::from(*b"[");
    for (index, record) in batch.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(record.as_bytes());
    }
    body.push(b']');
    let request = Request::builder()
        .method(if put { Method::PUT } else { Method::POST })
        .uri(path)
        .header(header::HOST, format!("sandbox.localdomain:{port}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    // Of the answer nothing is read but its head.
    let answered = async {
        let response = client.send_request(request).await;
        let status = response.map_err(io::Error::other)?.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(io::Error::other(status.to_string()));
        }
        Ok(())
    };
    tokio::pin!(answered);
    tokio::select! {
        biased;
        answered = &mut answered => answered,
        // It may have ended right behind its answer.
        _ = connection => answered.await,
    }
}
