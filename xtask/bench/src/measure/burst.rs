//! A hundred requests at once to a function of which nothing runs.

use anyhow::Result;

use super::{Bench, settle};
use crate::floor::{Language, start};
use crate::load::burst;
use crate::platform::{Platform, Project};
use crate::report::{Aim, Row};
use crate::sample::Samples;

const REQUESTS: usize = 100;

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
    let times = bench.times(3, 1);
    let [mut ours, mut bare] = [(); 2].map(|()| Samples::default());
    let (mut errors, mut instances) = (0, 0);
    for _ in 0..times {
        let (answered, children) = start::answered(language, REQUESTS, &bench.scratch)?;
        bare.extend(answered.all());
        drop(children);
        bench
            .runtime
            .block_on(platform.stop_instances(project, language))?;
        settle();
        let load = bench.runtime.block_on(burst(&target, REQUESTS));
        if let Some(error) = &load.error {
            println!(
                "  {}: {} errors, the first: {error}",
                language.name(),
                load.errors
            );
        }
        errors += load.errors;
        ours.extend(load.latency.all());
        instances = bench.runtime.block_on(platform.instances(language))?;
    }
    bench
        .runtime
        .block_on(platform.stop_instances(project, language))?;
    let name = language.name();
    let row = |what: &str, value, unit| {
        Row::new(
            "burst",
            format!("{name}, {what}"),
            (value, unit),
            times * REQUESTS,
        )
    };
    let floor = "bare children at once";
    Ok(vec![
        row("errors", errors as f64, "").aim(Aim::AtMost(0.0)),
        row("p50", ours.p50_ms(), "ms").floor(bare.p50_ms(), floor),
        row("max", ours.quantile_ms(1.0), "ms").floor(bare.quantile_ms(1.0), floor),
        row("instances afterwards", instances as f64, ""),
    ])
}
