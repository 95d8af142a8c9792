//! The barest relay over frames: a hyper front end, idle children in one stack, a length-prefixed
//! frame there and one back.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

pub(super) async fn serve(children: usize, socket: &str, program: &[&str]) -> Result<()> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).with_context(|| format!("bind {socket}"))?;
    let (name, arguments) = program.split_first().context("no child's program")?;
    let idle = Arc::new(Idle {
        places: Semaphore::new(0),
        streams: Mutex::default(),
    });
    let mut running = Vec::new();
    for _ in 0..children {
        running.push(spawn(name, arguments)?);
        let (stream, _) = listener.accept().await?;
        idle.give(stream);
    }
    let front = super::announce().await?;
    super::serve(front, move |_| {
        let idle = idle.clone();
        async move { Ok(Response::new(Full::new(idle.ask(b"{}").await?))) }
    })
    .await
}

fn spawn(program: &str, arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.spawn().with_context(|| format!("start {program}"))
}

struct Idle {
    places: Semaphore,
    streams: Mutex<Vec<UnixStream>>,
}

impl Idle {
    fn give(&self, stream: UnixStream) {
        self.streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(stream);
        self.places.add_permits(1);
    }

    /// The most recently used child answers; one that fails is not given back.
    async fn ask(&self, payload: &[u8]) -> Result<Bytes> {
        self.places.acquire().await?.forget();
        let stream = self
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut stream = stream.context("a place without a child")?;
        let answer = exchange(&mut stream, payload).await?;
        self.give(stream);
        Ok(answer)
    }
}

async fn exchange(stream: &mut UnixStream, payload: &[u8]) -> Result<Bytes> {
    let mut frame = u32::try_from(payload.len())?.to_be_bytes().to_vec();
    frame.extend_from_slice(payload);
    stream.write_all(&frame).await?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            anyhow::bail!("the child has closed its socket");
        }
        if let Some((head, body)) = answer.split_first_chunk::<4>()
            && body.len() >= u32::from_be_bytes(*head) as usize
        {
            return Ok(Bytes::copy_from_slice(body));
        }
    }
}
