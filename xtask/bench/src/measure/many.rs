//! Many functions: what each costs at rest, and whether lists and invocations of one stay quick.

use std::io::{Cursor, Write as _};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Bench, settle};
use crate::floor::Language;
use crate::machine;
use crate::platform::Platform;
use crate::report::Row;
use crate::sample::Samples;
use crate::stopwatch::Stopwatch;

/// Functions that are made.
const FUNCTIONS: usize = 1000;
/// Where functions are listed.
const LIST: &str = "/2015-03-31/functions";

/// What is measured before and after.
struct Figures {
    memory_kb: u64,
    page: Samples,
    invoke: Samples,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let (_project, platform) = bench.platform()?;
    let before = figures(bench, &platform)?;
    let watch = Stopwatch::start();
    make(bench, &platform).context("make functions")?;
    let made = watch.elapsed();
    settle();
    let after = figures(bench, &platform)?;
    let all = Stopwatch::start();
    let count = bench.runtime.block_on(list_all(&platform))?;
    let all = all.elapsed();
    anyhow::ensure!(
        count > FUNCTIONS,
        "{count} of {FUNCTIONS} functions are listed"
    );
    platform.stop()?;
    let mb = |kilobytes: u64| kilobytes as f64 / 1024.0;
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    let row = |what, value, n| Row::new("many", what, value, n);
    let n = after.page.count();
    Ok(vec![
        row("memory of the daemon", (mb(after.memory_kb), "MB"), 1)
            .floor(mb(before.memory_kb), "three functions"),
        row(
            "first page of ListFunctions, p50",
            (after.page.p50_ms(), "ms"),
            n,
        )
        .floor(before.page.p50_ms(), "three functions"),
        row("all pages of ListFunctions", (ms(all), "ms"), 1),
        row("Invoke, p50", (after.invoke.p50_ms(), "ms"), n)
            .floor(before.invoke.p50_ms(), "three functions"),
        row(
            "CreateFunction, each",
            (ms(made) / FUNCTIONS as f64, "ms"),
            FUNCTIONS,
        ),
    ])
}

fn figures(bench: &Bench, platform: &Platform) -> Result<Figures> {
    let invoke = platform.invoke_api(Language::Native);
    let page = platform.lambda("GET", LIST, "");
    let mut figures = Figures {
        memory_kb: machine::memory_kb(platform.processes().get(..1).unwrap_or_default()),
        page: Samples::default(),
        invoke: Samples::default(),
    };
    // The first is a cold start.
    bench.runtime.block_on(invoke.ask_once())?;
    for _ in 0..bench.times(200, 50) {
        let (listed, _) = bench.runtime.block_on(page.ask_once())?;
        let (invoked, _) = bench.runtime.block_on(invoke.ask_once())?;
        figures.page.push(listed);
        figures.invoke.push(invoked);
    }
    Ok(figures)
}

fn make(bench: &Bench, platform: &Platform) -> Result<()> {
    let runtime = machine::python_runtime()?;
    for number in 0..FUNCTIONS {
        let settings = json!({
            "FunctionName": format!("many-{number}"),
            "Runtime": runtime,
            "Role": "arn:aws:iam::000000000000:role/runs",
            "Handler": "app.handler",
            // All of them different, as functions are.
            "Code": { "ZipFile": STANDARD.encode(archive(number)?) },
        });
        let create = platform.lambda("POST", LIST, &settings.to_string());
        bench.runtime.block_on(create.ask(201))?;
    }
    Ok(())
}

fn archive(number: usize) -> Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("app.py", zip::write::SimpleFileOptions::default())?;
    writeln!(zip, "def handler(event, context): return {number}")?;
    Ok(zip.finish()?.into_inner())
}

async fn list_all(platform: &Platform) -> Result<usize> {
    let (mut count, mut path) = (0, LIST.to_owned());
    loop {
        let (_, body) = platform.lambda("GET", &path, "").ask_once().await?;
        let page: Value = serde_json::from_slice(&body)?;
        count += page["Functions"].as_array().map_or(0, Vec::len);
        match page["NextMarker"].as_str() {
            Some(marker) => path = format!("{LIST}?Marker={}", marker.replace(':', "%3A")),
            None => return Ok(count),
        }
    }
}
