//! Warm invocations through the Lambda Invoke API, in turns with the function's URL.

use anyhow::Result;

use super::Bench;
use super::warm::{MANY, Turns, turn, warm_up};
use crate::report::{Aim, Row};
use crate::sample::median;

/// Share of the URL's throughput that the API is to reach.
const AIM: f64 = 0.85;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    bench.each_language(|_, platform, language| {
        let (url, api) = (platform.target(language)?, platform.invoke_api(language));
        warm_up(bench, &url)?;
        let mut rows = Vec::new();
        for connections in [1, MANY] {
            let [mut ours, mut floor] = [(); 2].map(|()| Turns::default());
            for _ in 0..bench.times(3, 1) {
                floor.add(&turn(bench, &url, connections)?);
                ours.add(&turn(bench, &api, connections)?);
                floor.add(&turn(bench, &url, connections)?);
            }
            let name = language.name();
            let row = |what: &str, value: &[f64], unit: &'static str, floor: &[f64]| {
                let what = format!("{name}, {connections} connections, {what}");
                Row::new("api", what, (median(value), unit), ours.requests)
                    .floor(median(floor), "function URL")
            };
            if connections == 1 {
                rows.push(row("p50", &ours.p50_us, "us", &floor.p50_us));
            } else {
                let rate = row("rate", &ours.per_second, "/s", &floor.per_second);
                rows.push(rate.aim(Aim::AtLeast(AIM)));
            }
        }
        Ok(rows)
    })
}
