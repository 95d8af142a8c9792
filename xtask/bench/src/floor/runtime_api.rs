//! The barest relay over the Lambda Runtime API: a hyper front end, one queue of events, a hyper
//! server that native children long-poll.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

pub(super) async fn serve(children: usize) -> Result<()> {
    let relay = Arc::new(Relay::default());
    let api = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = api.local_addr()?.to_string();
    let children_side = relay.clone();
    tokio::spawn(super::serve(api, move |request| {
        let relay = children_side.clone();
        async move { relay.child(request).await }
    }));
    let mut running = Vec::new();
    for _ in 0..children {
        running.push(spawn(&address)?);
    }
    let front = super::announce().await?;
    super::serve(front, move |_| {
        let relay = relay.clone();
        async move { relay.ask().await }
    })
    .await
}

/// The native child's program, built beside this one.
pub(crate) fn bootstrap() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program's file")?;
    Ok(own.with_file_name("bench-bootstrap"))
}

fn spawn(api: &str) -> Result<Child> {
    let program = bootstrap()?;
    let mut command = Command::new(&program);
    command
        .env("AWS_LAMBDA_RUNTIME_API", api)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .with_context(|| format!("start {}", program.display()))
}

#[derive(Default)]
struct Relay {
    ids: AtomicU64,
    /// Ids of events that no child has taken; a permit of `waiting` each.
    events: Mutex<VecDeque<u64>>,
    waiting: Waiting,
    answers: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
}

struct Waiting(Semaphore);

impl Default for Waiting {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Relay {
    /// A request of the outside.
    async fn ask(&self) -> Result<Response<Full<Bytes>>> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, answer);
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(id);
        self.waiting.0.add_permits(1);
        Ok(Response::new(Full::new(answered.await?)))
    }

    /// A request of a child.
    async fn child(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        if request.method() == Method::GET {
            return self.next().await;
        }
        let id = request
            .uri()
            .path()
            .rsplit('/')
            .nth(1)
            .and_then(|id| id.parse().ok());
        let id: u64 = id.context("an answer to no event")?;
        let body = request.into_body().collect().await?.to_bytes();
        let answer = self
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        // Whoever asked may have gone.
        let _ = answer.context("an answer to no event")?.send(body);
        let accepted = Response::builder().status(StatusCode::ACCEPTED);
        Ok(accepted.body(Full::new(Bytes::from_static(br#"{"status":"OK"}"#)))?)
    }

    async fn next(&self) -> Result<Response<Full<Bytes>>> {
        self.waiting.0.acquire().await?.forget();
        let id = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let id = id.context("a permit without an event")?;
        let event = Response::builder().header("lambda-runtime-aws-request-id", id);
        Ok(event.body(Full::new(Bytes::from_static(b"{}")))?)
    }
}
