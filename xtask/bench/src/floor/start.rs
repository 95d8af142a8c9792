//! Starts without a sandbox: from spawning a bare child to its first answer. The floor of a
//! cold start, alone and a hundred at once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Language, child, runtime_api};
use crate::sample::Samples;
use crate::scratch::Scratch;
use crate::stopwatch::Stopwatch;

/// How long a bare child may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bare interpreter that does nothing and ends: what starting the language alone costs.
pub(crate) fn interpreter(language: Language) -> Result<Duration> {
    let mut command = match language {
        Language::Python => {
            let mut command = Command::new(crate::machine::python()?);
            command.args(["-I", "-S", "-c", "pass"]);
            command
        }
        Language::Node => {
            let mut command = Command::new("node");
            command.args(["-e", "0"]);
            command
        }
        Language::Native => Command::new("/bin/true"),
    };
    let watch = Stopwatch::start();
    let status = command
        .stdin(Stdio::null())
        .status()
        .context("start an interpreter")?;
    let took = watch.elapsed();
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(took)
}

/// So many bare children started at once: when each had answered, and they themselves.
pub(crate) fn answered(
    language: Language,
    count: usize,
    scratch: &Scratch,
) -> Result<(Samples, Bare)> {
    match language {
        Language::Native => answered_native(count),
        Language::Python | Language::Node => answered_frames(language, count, scratch),
    }
}

/// Bare children that have answered and wait for more. Dropping them ends them.
#[derive(Debug, Default)]
pub(crate) struct Bare {
    children: Vec<Child>,
    /// A child ends when its stream closes.
    streams: Vec<OwnedFd>,
}

impl Bare {
    /// Their process ids.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.streams.clear();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn answered_frames(language: Language, count: usize, scratch: &Scratch) -> Result<(Samples, Bare)> {
    let socket = scratch.path().join("start");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).context("bind a socket for bare children")?;
    let mut command = child(language, scratch, &socket)?;
    start(
        &mut command,
        count,
        || Ok(listener.accept()?.0),
        |stream: &mut UnixStream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&[0, 0, 0, 2, b'{', b'}'])?;
            stream
                .read_exact(&mut [0; 9])
                .context("a bare child's answer")
        },
    )
}

fn answered_native(count: usize) -> Result<(Samples, Bare)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut command = Command::new(runtime_api::bootstrap()?);
    command.env("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string());
    start(
        &mut command,
        count,
        || Ok(listener.accept()?.0),
        |stream: &mut TcpStream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            read_until(stream, b"\r\n\r\n")?;
            let event = "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: 1\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(event.as_bytes())?;
            read_until(stream, b"}GET")
        },
    )
}

/// Starts all, then serves each as it connects.
fn start<S: Into<OwnedFd>>(
    command: &mut Command,
    count: usize,
    accept: impl Fn() -> Result<S>,
    exchange: impl Fn(&mut S) -> Result<()>,
) -> Result<(Samples, Bare)> {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let (mut samples, mut bare) = (Samples::default(), Bare::default());
    let watch = Stopwatch::start();
    for _ in 0..count {
        bare.children
            .push(command.spawn().context("start a bare child")?);
    }
    for _ in 0..count {
        let mut stream = accept()?;
        exchange(&mut stream)?;
        samples.push(watch.elapsed());
        bare.streams.push(stream.into());
    }
    Ok((samples, bare))
}

/// Reads until this has come, and whatever came with it.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> Result<()> {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    while !read.windows(end.len()).any(|window| window == end) {
        let count = stream.read(&mut buffer).context("a bare child's request")?;
        if count == 0 {
            bail!("a bare child went away");
        }
        read.extend_from_slice(&buffer[..count]);
    }
    Ok(())
}
