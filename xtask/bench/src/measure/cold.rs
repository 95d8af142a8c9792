//! Cold starts: every instance of the function ended, then one request.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, settle};
use crate::floor::{Language, start};
use crate::platform::{Platform, Project};
use crate::report::Row;
use crate::sample::Samples;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    bench.each_language(|project, platform, language| one(bench, project, platform, language))
}

fn one(
    bench: &Bench,
    project: &Project,
    platform: &Platform,
    language: Language,
) -> Result<Vec<Row>> {
    let target = platform.target(language)?;
    let times = bench.times(40, 6);
    let [mut cold, mut interpreter, mut bare] = [(); 3].map(|()| Samples::default());
    for _ in 0..times {
        bare.push(bare_start(bench, language)?);
        interpreter.push(start::interpreter(language)?);
        bench
            .runtime
            .block_on(platform.stop_instances(project, language))?;
        settle();
        cold.push(bench.runtime.block_on(target.ask_once())?.0);
        bare.push(bare_start(bench, language)?);
    }
    let name = language.name();
    let row = |what: &str, value| Row::new("cold", format!("{name}, {what}"), (value, "ms"), times);
    let p50 = cold.p50_ms();
    Ok(vec![
        row("p50 beside a bare child's first answer", p50).floor(bare.p50_ms(), "bare child"),
        row("p50 beside a bare program's start and end", p50)
            .floor(interpreter.p50_ms(), "program"),
        row("p99", cold.quantile_ms(0.99)),
        row("max", cold.quantile_ms(1.0)),
    ])
}

/// From spawning a child without a sandbox to its answer.
fn bare_start(bench: &Bench, language: Language) -> Result<Duration> {
    let (first, _bare) = start::answered(language, 1, &bench.scratch)?;
    Ok(Duration::from_secs_f64(first.p50_ms() / 1e3))
}
