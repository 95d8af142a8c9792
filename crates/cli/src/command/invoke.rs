//! `dayfly invoke`: runs a function once; the answer goes to stdout, the facts to stderr.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use api::wire::Invoked;

use crate::args::Invoke;
use crate::command::{client, end_of, refused};
use crate::exit::{Code, Failure, OrExit as _};
use crate::terminal::{self, Paint, Style};

/// Largest event that is read from a file or standard input, in bytes; the platform's own limit
/// is smaller and has the last word.
const EVENT_BYTES_MAX: u64 = 64 << 20;

pub(crate) async fn run(options: &Invoke) -> Result<(), Failure> {
    let event = event(&options.data)?;
    let client = client(&options.endpoint.url())?;
    let invoked = client
        .invoke(&options.name, event.into(), options.tail)
        .await
        .map_err(refused)?;
    if options.json {
        let text = serde_json::to_string(&invoked).or_exit(Code::Platform)?;
        end_of(terminal::data(&text))?;
    } else {
        show(&options.name, &invoked, options.tail)?;
    }
    if invoked.is_reply() {
        return Ok(());
    }
    let error = anyhow!("{}: {}", options.name, invoked.outcome.replace('_', " "));
    Err(Failure::new(Code::FunctionFailed, error))
}

fn event(data: &str) -> Result<Vec<u8>, Failure> {
    let mut event = Vec::new();
    if data == "-" {
        let read = std::io::stdin()
            .lock()
            .take(EVENT_BYTES_MAX)
            .read_to_end(&mut event);
        read.context("read the event from standard input")
            .or_exit(Code::Usage)?;
    } else if let Some(path) = data.strip_prefix('@') {
        let file = std::fs::File::open(path).with_context(|| format!("open {path}"));
        let read = file
            .or_exit(Code::Usage)?
            .take(EVENT_BYTES_MAX)
            .read_to_end(&mut event);
        read.with_context(|| format!("read {path}"))
            .or_exit(Code::Usage)?;
    } else {
        event.extend_from_slice(data.as_bytes());
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(&event)
        .context("the event is not JSON; give JSON, @FILE, or - for standard input")
        .or_exit(Code::Usage)?;
    Ok(event)
}

fn show(name: &str, invoked: &Invoked, tail: bool) -> Result<(), Failure> {
    let paint = Paint::stderr();
    if tail {
        for line in invoked.log.as_deref().unwrap_or_default().lines() {
            terminal::note(&paint.paint(Style::Dim, paint.harmless(line)));
        }
    }
    end_of(terminal::data(invoked.payload.get()))?;
    let style = if invoked.is_reply() {
        Style::Green
    } else {
        Style::Red
    };
    let outcome = paint.paint(style, invoked.outcome.replace('_', " "));
    let timings = &invoked.timings;
    let micros = |value: u64| terminal::duration(Duration::from_micros(value));
    let start = if invoked.cold {
        format!("cold, {}", invoked.start)
    } else {
        invoked.start.clone()
    };
    terminal::note(&format!(
        "{outcome}  {name}  {}  billed {} ms  {} of {} MB  {start}",
        micros(timings.handler_us),
        invoked.billed_ms,
        invoked.memory_used_mb,
        invoked.memory_mb,
    ));
    terminal::note(&paint.paint(
        Style::Dim,
        format!(
            "queue {}  start {}  init {}  handler {}  request {}",
            micros(timings.queue_us),
            micros(timings.start_us),
            micros(timings.init_us),
            micros(timings.handler_us),
            invoked.id,
        ),
    ));
    Ok(())
}
