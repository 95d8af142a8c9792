//! From a file saved to the new code answering, over the watcher, the build and the deployment.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{Bench, settle};
use crate::floor::Language;
use crate::load::Target;
use crate::platform::Project;
use crate::report::{Aim, Row};
use crate::sample::Samples;
use crate::stopwatch::Stopwatch;

/// "Well under a second."
const RELOAD_MS_MAX: f64 = 500.0;

/// When the new code is given up on.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let (project, platform) = bench.platform()?;
    let times = bench.times(10, 3);
    let mut rows = Vec::new();
    for language in [Language::Python, Language::Node] {
        let target = platform.target(language)?;
        bench.runtime.block_on(target.ask_once())?;
        let mut samples = Samples::default();
        for round in 0..times {
            settle();
            samples.push(one(
                bench,
                &project,
                language,
                &target,
                &format!("answer {round}"),
            )?);
        }
        let name = language.name();
        let row = |what, value| Row::new("reload", format!("{name}, {what}"), (value, "ms"), times);
        rows.push(row("p50", samples.p50_ms()).aim(Aim::AtMost(RELOAD_MS_MAX)));
        rows.push(row("max", samples.quantile_ms(1.0)));
        project.write_answer(language, "hello")?;
    }
    platform.stop()?;
    Ok(rows)
}

fn one(
    bench: &Bench,
    project: &Project,
    language: Language,
    target: &Target,
    answer: &str,
) -> Result<Duration> {
    let watch = Stopwatch::start();
    project.write_answer(language, answer)?;
    loop {
        let (_, body) = bench.runtime.block_on(target.ask_once())?;
        if body == answer.as_bytes() {
            return Ok(watch.elapsed());
        }
        if watch.elapsed() > PATIENCE {
            bail!(
                "no new code after {PATIENCE:?}; it says {:?}",
                String::from_utf8_lossy(&body)
            );
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
