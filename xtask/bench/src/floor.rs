//! The floors: what the machine allows without a platform. Each is a server of its own process,
//! measured by the same load as the platform and in turns with it.

mod frames;
mod hello;
pub(crate) mod runtime_api;
pub(crate) mod start;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::load::Target;
use crate::scratch::Scratch;

/// A language that functions of the benchmark are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    Node,
    Native,
}

impl Language {
    pub(crate) const ALL: [Self; 3] = [Self::Python, Self::Node, Self::Native];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Native => "native",
        }
    }
}

/// Children of a relay under load: as many as the machine has cores to run them.
pub(crate) const RELAY_CHILDREN: usize = 2;

/// A floor that is up. Dropping it ends it and its children.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) target: Target,
}

impl Server {
    /// An HTTP server in the language, and nothing else.
    pub(crate) fn hello(language: Language, scratch: &Scratch) -> Result<Self> {
        match language {
            Language::Python => Self::start(python(scratch, "hello.py")?),
            Language::Node => Self::start(node(scratch, "hello.mjs")?),
            Language::Native => Self::start(own(&["hello"])?),
        }
    }

    /// The barest relay from HTTP to children in the language: length-prefixed frames over Unix
    /// sockets for Python and Node, the Runtime API for native code.
    pub(crate) fn relay(language: Language, children: usize, scratch: &Scratch) -> Result<Self> {
        let children = children.to_string();
        if language == Language::Native {
            return Self::start(own(&["runtime-api", &children])?);
        }
        let socket = scratch
            .path()
            .join(format!("relay-{}-{children}", language.name()));
        let child = child(language, scratch, &socket)?;
        let mut command = own(&["frames", &children])?;
        command
            .arg(&socket)
            .arg(child.get_program())
            .args(child.get_args());
        Self::start(command)
    }

    fn start(mut command: Command) -> Result<Self> {
        let program = command.get_program().to_owned();
        let what = || format!("start the floor {}", program.display());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(what)?;
        let stdout = child.stdout.take().with_context(what)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("listening ")
            .and_then(|text| text.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{}: it said {line:?} instead of where it listens", what());
        };
        Ok(Self {
            child,
            target: Target::new(address),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its children end when their sockets close.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bare child that answers frames on the Unix socket.
pub(crate) fn child(language: Language, scratch: &Scratch, socket: &Path) -> Result<Command> {
    let mut command = match language {
        Language::Python => python(scratch, "frames.py")?,
        Language::Node => node(scratch, "frames.mjs")?,
        Language::Native => bail!("native children speak the Runtime API"),
    };
    command.arg(socket);
    Ok(command)
}

fn python(scratch: &Scratch, script: &str) -> Result<Command> {
    let text = if script == "hello.py" {
        include_str!("floor/hello.py")
    } else {
        include_str!("floor/frames.py")
    };
    let mut command = Command::new(crate::machine::python()?);
    command.args(["-I", "-S"]).arg(scratch.write(script, text)?);
    Ok(command)
}

fn node(scratch: &Scratch, script: &str) -> Result<Command> {
    let text = if script == "hello.mjs" {
        include_str!("floor/hello.mjs")
    } else {
        include_str!("floor/frames.mjs")
    };
    let mut command = Command::new("node");
    command.arg(scratch.write(script, text)?);
    Ok(command)
}

/// This program again, as a floor.
fn own(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find this program's file")?);
    command.arg("__floor").args(arguments);
    Ok(command)
}

/// What this program does when it is started as a floor.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match words.as_slice() {
            ["hello"] => hello::serve().await,
            ["frames", children, socket, program @ ..] => {
                frames::serve(children.parse()?, socket, program).await
            }
            ["runtime-api", children] => runtime_api::serve(children.parse()?).await,
            _ => bail!("no such floor: {words:?}"),
        }
    })
}

/// Binds a free port of loopback and says which.
async fn announce() -> Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening {}", listener.local_addr()?)?;
    out.flush()?;
    Ok(listener)
}

/// Serves HTTP/1.1 for good.
async fn serve<F, A>(listener: TcpListener, answer: F) -> Result<()>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response<Full<Bytes>>>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(answer);
            // A client that goes away ends its connection with an error that tells nothing.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
