//! The connections of a Runtime API: accepted at its listener, or left by an earlier process of the
//! platform.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use store::Clock;
use tokio::sync::Semaphore;

use super::lines::{Resumed, Waiting};
use super::{RuntimeApi, text};

/// Connections that one function may hold at once (ours: clients keep one or two).
const CONNECTIONS_MAX: usize = 32;
/// Pause after a failed accept, which is a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl RuntimeApi {
    /// Serves the client for as long as it is polled.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Infallible> {
        self.serve_on(Vec::new(), listener, clock).await
    }

    /// The same, and connections that it has already.
    pub(crate) async fn serve_on(
        self: Arc<Self>,
        waiting: Vec<Waiting>,
        listener: TcpListener,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Infallible> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        // Connections end with this future: the set is dropped with it.
        let mut connections = tokio::task::JoinSet::new();
        for one in waiting {
            // One that cannot be served is as good as broken.
            let (Ok(stream), Ok(permit)) =
                (Resumed::of(one), Arc::clone(&permits).try_acquire_owned())
            else {
                continue;
            };
            let api = Arc::clone(&self);
            connections.spawn(async move {
                api.serve_one(stream).await;
                drop(permit);
            });
        }
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return std::future::pending().await;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    clock.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // A failure here costs latency and nothing else.
            let _ = stream.set_nodelay(true);
            let api = Arc::clone(&self);
            connections.spawn(async move {
                api.serve_one(Resumed::fresh(stream)).await;
                drop(permit);
            });
        }
    }

    async fn serve_one(self: Arc<Self>, stream: Resumed) {
        let known = self.knows(stream.stream()).await;
        let line = self.line(stream.stream());
        let service = service_fn(|request| {
            let (api, line) = (Arc::clone(&self), line.clone());
            async move {
                Ok::<_, Infallible>(if known {
                    api.answer(request, line.as_deref()).await
                } else {
                    text(StatusCode::FORBIDDEN, "403 not your Runtime API\n")
                })
            }
        });
        // What a client does wrong on a connection of its own concerns nobody else. One
        // that hung up while it waited must not be given an invocation.
        let _ = hyper::server::conn::http1::Builder::new()
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        self.forget(line.as_ref());
    }

    /// Whether a connection comes from the function itself.
    async fn knows(&self, stream: &tokio::net::TcpStream) -> bool {
        let Some(peers) = self.peers else {
            return true;
        };
        let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
            return false;
        };
        let looked = tokio::task::spawn_blocking(move || peers.have(peer, local));
        looked.await.unwrap_or(false)
    }
}
