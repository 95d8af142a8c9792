//! A function's log as a stream of JSON lines, to its end or for as long as the client listens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::Engine;
use http::{HeaderValue, Response, header};
use http_body_util::BodyExt as _;
use model::FunctionRef;
use store::Clock;
use store::logs::Entry;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::body::Piped;
use crate::error::Refusal;
use crate::{Api, Body, parameter, wire};

/// Records read from the store at once (ours).
const PAGE: usize = 500;
/// Pieces that may wait for a slow client (ours).
const BACKLOG: usize = 16;
/// Time between signs of life on a quiet stream, by which a client that is gone is found (ours).
const QUIET: Duration = Duration::from_secs(15);

impl Api {
    pub(crate) fn logs(
        &self,
        target: &FunctionRef,
        query: &str,
    ) -> Result<Response<Body>, Refusal> {
        let function = self.engine.find(target)?;
        let since_ms = match parameter(query, "since") {
            None | Some("") => 0,
            Some(since) => since
                .parse()
                .map_err(|_| Refusal::invalid("since must be milliseconds since the Unix epoch"))?,
        };
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let pump = Pump {
            engine: self.engine.clone(),
            clock: self.clock.clone(),
            stream: Engine::log_key(&function.id),
            since_ms,
            sender,
            after: None,
        };
        let follow = parameter(query, "follow") == Some("true");
        // Ends with the log, or once the client is gone and the response is dropped.
        tokio::spawn(async move {
            if let Err(error) = pump.run(follow).await {
                tracing::warn!(%error, "a log could not be read");
            }
        });
        let mut response = Response::new(Piped(receiver).boxed());
        let kind = HeaderValue::from_static("application/x-ndjson");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }
}

/// Moves records from the store to one client.
struct Pump {
    engine: Engine,
    clock: Arc<dyn Clock>,
    stream: String,
    since_ms: u64,
    sender: mpsc::Sender<Bytes>,
    after: Option<u64>,
}

impl Pump {
    async fn run(mut self, follow: bool) -> Result<(), store::Error> {
        // Subscribed before the first read, so that nothing falls between the two.
        let mut news = follow.then(|| self.engine.logs().follow(&self.stream));
        if !self.catch_up().await? {
            return Ok(());
        }
        while let Some(news) = &mut news {
            let sent = tokio::select! {
                arrived = news.recv() => match arrived {
                    Ok(entry) => self.send(&[entry]).await,
                    Err(RecvError::Lagged(_)) => self.catch_up().await?,
                    Err(RecvError::Closed) => return Ok(()),
                },
                () = self.clock.sleep(QUIET) => {
                    self.sender.send(Bytes::from_static(b"\n")).await.is_ok()
                }
                () = self.sender.closed() => false,
            };
            if !sent {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends what the store has beyond what was sent. False once the client is gone.
    async fn catch_up(&mut self) -> Result<bool, store::Error> {
        loop {
            let logs = self.engine.logs();
            let page = logs
                .read(&self.stream, self.since_ms, PAGE, self.after)
                .await?;
            if page.is_empty() {
                return Ok(true);
            }
            if !self.send(&page).await {
                return Ok(false);
            }
        }
    }

    async fn send(&mut self, entries: &[Entry]) -> bool {
        let mut lines = Vec::new();
        for entry in entries {
            if self.after.is_some_and(|after| entry.position <= after) {
                continue;
            }
            self.after = Some(entry.position);
            let record = wire::LogRecord {
                at_ms: entry.line.at_ms,
                platform: entry.line.platform,
                invocation: entry.line.invocation.as_ref().map(ToString::to_string),
                text: entry.line.text.clone(),
            };
            if serde_json::to_writer(&mut lines, &record).is_ok() {
                lines.push(b'\n');
            }
        }
        lines.is_empty() || self.sender.send(lines.into()).await.is_ok()
    }
}
