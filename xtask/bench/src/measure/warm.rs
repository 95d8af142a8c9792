//! Warm invocations through the function URL, in turns with the bare relay: floor, platform,
//! floor.

use anyhow::{Context, Result, bail};

use super::Bench;
use crate::floor::{Language, RELAY_CHILDREN, Server};
use crate::load::{Load, Target, burst, closed_loop};
use crate::platform::Platform;
use crate::report::{Aim, Row};
use crate::sample::median;

/// Connections under load. An instance serves one request at a time, so there will be as many
/// instances.
pub(super) const MANY: usize = 32;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let (_project, platform) = bench.platform()?;
    let hyper = Server::hello(Language::Native, &bench.scratch)?;
    let mut rows = Vec::new();
    for language in Language::ALL {
        rows.extend(one(bench, &platform, &hyper, language).with_context(|| language.name())?);
    }
    platform.stop()?;
    Ok(rows)
}

/// What one target did in all turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    pub(super) p50_us: Vec<f64>,
    p99_us: Vec<f64>,
    pub(super) per_second: Vec<f64>,
    pub(super) requests: usize,
}

impl Turns {
    pub(super) fn add(&mut self, load: &Load) {
        self.p50_us.push(load.latency.p50_ms() * 1e3);
        self.p99_us.push(load.latency.quantile_ms(0.99) * 1e3);
        self.per_second.push(load.per_second());
        self.requests += load.latency.count();
    }
}

fn one(bench: &Bench, platform: &Platform, hyper: &Server, language: Language) -> Result<Vec<Row>> {
    let name = language.name();
    let target = platform.target(language)?;
    let relay = Server::relay(language, RELAY_CHILDREN, &bench.scratch)?;
    let many = Server::relay(language, MANY, &bench.scratch)?;
    let hello = Server::hello(language, &bench.scratch)?;
    warm_up(bench, &target)?;
    let mut rows = Vec::new();
    for connections in [1, MANY] {
        let [mut ours, mut bare, mut alike, mut plain, mut front] =
            [(); 5].map(|()| Turns::default());
        for _ in 0..bench.times(3, 1) {
            bare.add(&turn(bench, &relay.target, connections)?);
            ours.add(&turn(bench, &target, connections)?);
            bare.add(&turn(bench, &relay.target, connections)?);
            alike.add(&turn(bench, &many.target, connections)?);
            plain.add(&turn(bench, &hello.target, connections)?);
            front.add(&turn(bench, &hyper.target, connections)?);
        }
        let row = |what: &str, value: &[f64], unit: &'static str| {
            let what = format!("{name}, {connections} connections, {what}");
            Row::new("warm", what, (median(value), unit), ours.requests)
        };
        let p50 = row("p50", &ours.p50_us, "us").floor(median(&bare.p50_us), "bare relay");
        let rate =
            row("rate", &ours.per_second, "/s").floor(median(&bare.per_second), "bare relay");
        match (connections, language) {
            (1, Language::Python | Language::Node) => rows.push(p50.aim(Aim::AtMost(2.0))),
            (1, Language::Native) => rows.push(p50),
            (_, Language::Python | Language::Node) => rows.push(rate.aim(Aim::AtLeast(0.6))),
            (_, Language::Native) => rows.push(rate.aim(Aim::AtLeast(0.7))),
        }
        rows.push(row("p99", &ours.p99_us, "us").floor(median(&bare.p99_us), "bare relay"));
        if connections == 1 {
            let p50 = |floor: &Turns, name| {
                row("p50", &ours.p50_us, "us").floor(median(&floor.p50_us), name)
            };
            rows.push(p50(&plain, "bare HTTP hello"));
            rows.push(p50(&front, "bare hyper hello"));
        } else {
            let rate = |floor: &Turns, name| {
                row("rate", &ours.per_second, "/s").floor(median(&floor.per_second), name)
            };
            rows.push(rate(&alike, "bare relay, 32 children"));
            rows.push(rate(&plain, "bare HTTP hello"));
            rows.push(rate(&front, "bare hyper hello"));
        }
    }
    Ok(rows)
}

/// Has as many instances started as there will be connections, so that no start falls into a
/// measured span.
pub(super) fn warm_up(bench: &Bench, target: &Target) -> Result<()> {
    let hold = Target::path(target.address, "/?hold=1000");
    let load = bench.runtime.block_on(burst(&hold, MANY));
    match load.error {
        Some(error) => bail!(
            "{} errors while warming up, the first: {error}",
            load.errors
        ),
        None => Ok(()),
    }
}

/// An error in a warm loop is no figure but a fault.
pub(super) fn turn(bench: &Bench, target: &Target, connections: usize) -> Result<Load> {
    let load = bench
        .runtime
        .block_on(closed_loop(target, connections, bench.span()))?;
    if load.errors > 0 {
        bail!(
            "{} errors among {} answers",
            load.errors,
            load.latency.count()
        );
    }
    Ok(load)
}
