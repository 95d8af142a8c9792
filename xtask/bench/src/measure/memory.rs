//! Memory: the daemon at rest, and what each further instance adds.

use anyhow::{Context, Result, bail};

use super::{Bench, settle};
use crate::floor::{Language, start};
use crate::load::{Target, burst};
use crate::machine;
use crate::platform::{Platform, Project};
use crate::report::Row;

/// Instances held busy at once, so that there are so many.
const INSTANCES: usize = 10;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let (project, platform) = bench.platform()?;
    for language in Language::ALL {
        bench
            .runtime
            .block_on(platform.stop_instances(&project, language))?;
    }
    settle();
    let processes = platform.processes();
    let daemon = machine::memory_kb(processes.get(..1).unwrap_or_default());
    let row = |what: String, value: u64, n| Row::new("memory", what, (mb(value), "MB"), n);
    let mut rows = vec![
        row("daemon at rest, its own process".into(), daemon, 1),
        row(
            format!("daemon at rest, all {} processes", processes.len()),
            machine::memory_kb(&processes),
            1,
        ),
    ];
    for language in Language::ALL {
        let (each, bare) =
            one(bench, &project, &platform, language).with_context(|| language.name())?;
        let name = language.name();
        rows.push(
            row(format!("{name}, each instance"), each, INSTANCES).floor(mb(bare), "bare child"),
        );
    }
    platform.stop()?;
    Ok(rows)
}

/// What an instance adds, and what a bare child takes, in KB.
fn one(
    bench: &Bench,
    project: &Project,
    platform: &Platform,
    language: Language,
) -> Result<(u64, u64)> {
    let (_, children) = start::answered(language, INSTANCES, &bench.scratch)?;
    let bare = machine::memory_kb(&children.processes()) / INSTANCES as u64;
    drop(children);
    let before = machine::memory_kb(&platform.processes());
    let target = platform.target(language)?;
    let hold = Target::path(target.address, "/?hold=1500");
    let load = bench.runtime.block_on(burst(&hold, INSTANCES));
    if load.errors > 0 {
        bail!("{} errors: {}", load.errors, load.error.unwrap_or_default());
    }
    let instances = bench.runtime.block_on(platform.instances(language))?;
    if instances != INSTANCES {
        bail!("{instances} instances after {INSTANCES} requests at once");
    }
    settle();
    let after = machine::memory_kb(&platform.processes());
    bench
        .runtime
        .block_on(platform.stop_instances(project, language))?;
    Ok((after.saturating_sub(before) / INSTANCES as u64, bare))
}

fn mb(kilobytes: u64) -> f64 {
    kilobytes as f64 / 1024.0
}
