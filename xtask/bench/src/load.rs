//! A closed loop of requests: each connection asks again as soon as it was answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use crate::http::{Connection, request};
use crate::sample::Samples;
use crate::stopwatch::Stopwatch;

/// Somewhere that answers one request over and over.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    request: Arc<[u8]>,
}

impl Target {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self::path(address, "/")
    }

    /// The same place, asked for another path.
    pub(crate) fn path(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            request: request("GET", &address.to_string(), path).into(),
        }
    }

    /// A place that is sent this request.
    pub(crate) fn with(address: SocketAddr, request: Vec<u8>) -> Self {
        Self {
            address,
            request: request.into(),
        }
    }

    /// How long the first byte of an answer's body takes over a connection of its own.
    pub(crate) async fn first_byte(&self) -> Result<Duration> {
        let mut connection = Connection::open(self.address).await?;
        connection.ask_first(&self.request).await
    }

    /// One request over a connection of its own, and how long connecting and all took.
    pub(crate) async fn ask_once(&self) -> Result<(Duration, Vec<u8>)> {
        self.ask(200).await
    }

    /// The same where another status tells of success.
    pub(crate) async fn ask(&self, wanted: u16) -> Result<(Duration, Vec<u8>)> {
        let watch = Stopwatch::start();
        let answer = Connection::open(self.address)
            .await?
            .ask(&self.request)
            .await?;
        let took = watch.elapsed();
        if answer.status != wanted {
            bail!(
                "status {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
        Ok((took, answer.body))
    }
}

/// What a closed loop saw.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) latency: Samples,
    pub(crate) errors: u64,
    pub(crate) took: Duration,
    /// What the first error said, where it was kept.
    pub(crate) error: Option<String>,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.latency.count() as f64 / self.took.as_secs_f64()
    }
}

/// How long a loop runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Answered, but not counted.
    pub(crate) warm_up: Duration,
    /// Counted.
    pub(crate) measured: Duration,
}

/// Runs a closed loop over so many kept-alive connections.
pub(crate) async fn closed_loop(target: &Target, connections: usize, span: Span) -> Result<Load> {
    let watch = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(one_connection(target.clone(), watch, span));
    }
    let mut whole = Load {
        took: span.measured,
        ..Load::default()
    };
    while let Some(part) = tasks.join_next().await {
        let (latency, errors) = part??;
        whole.latency.extend(latency);
        whole.errors += errors;
    }
    if whole.latency.count() == 0 {
        bail!("{} answered nothing in {:?}", target.address, span.measured);
    }
    Ok(whole)
}

async fn one_connection(
    target: Target,
    watch: Stopwatch,
    span: Span,
) -> Result<(Vec<Duration>, u64)> {
    let mut connection = Connection::open(target.address).await?;
    let (mut latency, mut errors) = (Vec::new(), 0);
    let end = span.warm_up + span.measured;
    let mut begun = watch.elapsed();
    while begun < end {
        let answer = connection.ask(&target.request).await;
        let done = watch.elapsed();
        match answer {
            Ok(answer) if answer.status == 200 => {
                if begun >= span.warm_up && done <= end {
                    latency.push(done - begun);
                }
            }
            Ok(_) => errors += 1,
            Err(_) => {
                errors += 1;
                connection = Connection::open(target.address).await?;
            }
        }
        begun = done;
    }
    Ok((latency, errors))
}

/// So many connections, each with one request, all at once.
pub(crate) async fn burst(target: &Target, count: usize) -> Load {
    let watch = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let target = target.clone();
        // All are counted from the one beginning: waiting for a turn is waiting too.
        tasks.spawn(async move { target.ask_once().await.map(|_| watch.elapsed()) });
    }
    let mut load = Load::default();
    while let Some(asked) = tasks.join_next().await {
        match asked {
            Ok(Ok(took)) => load.latency.push(took),
            Ok(Err(error)) => {
                load.errors += 1;
                load.error.get_or_insert_with(|| format!("{error:#}"));
            }
            Err(_) => load.errors += 1,
        }
    }
    load.took = watch.elapsed();
    load
}
