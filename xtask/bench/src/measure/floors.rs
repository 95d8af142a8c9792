//! The floors alone: runs without a platform, and shows what the rest is compared to.

use anyhow::Result;

use super::Bench;
use crate::floor::{Language, RELAY_CHILDREN, Server, start};
use crate::load::closed_loop;
use crate::report::Row;
use crate::sample::Samples;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for language in Language::ALL {
        let name = language.name();
        let hello = Server::hello(language, &bench.scratch)?;
        loops(bench, &format!("{name} bare HTTP hello"), &hello, &mut rows)?;
        let relay = Server::relay(language, RELAY_CHILDREN, &bench.scratch)?;
        loops(
            bench,
            &format!("{name} bare relay, {RELAY_CHILDREN} children"),
            &relay,
            &mut rows,
        )?;
    }
    for language in Language::ALL {
        starts(bench, language, &mut rows)?;
    }
    Ok(rows)
}

fn loops(bench: &Bench, what: &str, server: &Server, rows: &mut Vec<Row>) -> Result<()> {
    for connections in [1, 32] {
        let looped = closed_loop(&server.target, connections, bench.span());
        let load = bench.runtime.block_on(looped)?;
        let (what, count) = (
            format!("{what}, {connections} connections"),
            load.latency.count(),
        );
        let row = |what: String, value| Row::new("floors", what, value, count);
        rows.push(row(
            format!("{what}: p50"),
            (load.latency.p50_ms() * 1e3, "us"),
        ));
        rows.push(row(
            format!("{what}: p99"),
            (load.latency.quantile_ms(0.99) * 1e3, "us"),
        ));
        rows.push(row(format!("{what}: rate"), (load.per_second(), "/s")));
    }
    Ok(())
}

fn starts(bench: &Bench, language: Language, rows: &mut Vec<Row>) -> Result<()> {
    let times = bench.times(30, 5);
    let (mut interpreter, mut answered) = (Samples::default(), Samples::default());
    for _ in 0..times {
        interpreter.push(start::interpreter(language)?);
        let (first, bare) = start::answered(language, 1, &bench.scratch)?;
        answered.push(std::time::Duration::from_secs_f64(first.p50_ms() / 1e3));
        drop(bare);
    }
    let name = language.name();
    let row = |what: String, value| Row::new("floors", what, (value, "ms"), times);
    rows.push(row(
        format!("{name} program started and ended"),
        interpreter.p50_ms(),
    ));
    rows.push(row(
        format!("{name} bare child started and answered"),
        answered.p50_ms(),
    ));
    Ok(())
}
