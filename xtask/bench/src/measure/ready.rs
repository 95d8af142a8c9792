//! Time to ready: from the command to listening, and to every function deployed.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{Bench, settle};
use crate::platform::{Platform, Project, program};
use crate::report::{Aim, Row};
use crate::sample::Samples;
use crate::stopwatch::Stopwatch;

/// "Ready within tens of milliseconds."
const LISTENING_MS_MAX: f64 = 100.0;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let project = Project::write(&bench.scratch)?;
    // The first start of all makes the data folder.
    let first = Platform::start(&project)?;
    let first_deployed = first.ready.deployed;
    first.stop()?;
    let (mut listening, mut deployed, mut floor) =
        (Samples::default(), Samples::default(), Samples::default());
    let times = bench.times(15, 3);
    for _ in 0..times {
        settle();
        floor.push(bare_program()?);
        let platform = Platform::start(&project)?;
        listening.push(platform.ready.listening);
        deployed.push(platform.ready.deployed);
        platform.stop()?;
    }
    let row = |what, value| Row::new("ready", what, (value, "ms"), times);
    let floor = (floor.p50_ms(), "`dayfly --version`");
    let first = (first_deployed.as_secs_f64() * 1e3, "ms");
    Ok(vec![
        row("daemon listens", listening.p50_ms()).aim(Aim::AtMost(LISTENING_MS_MAX)),
        row(
            "daemon listens, beside the program alone",
            listening.p50_ms(),
        )
        .floor(floor.0, floor.1),
        row("three functions deployed, known before", deployed.p50_ms()),
        Row::new("ready", "three functions deployed, first time", first, 1),
    ])
}

/// Starting the program and nothing else.
fn bare_program() -> Result<std::time::Duration> {
    let mut command = Command::new(program()?);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let watch = Stopwatch::start();
    command.status().context("start dayfly")?;
    Ok(watch.elapsed())
}
