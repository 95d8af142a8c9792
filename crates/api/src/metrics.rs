//! Counters and gauges in the text form that Prometheus reads.

use std::fmt::Write as _;

use engine::Stats;

const MB: u64 = 1024 * 1024;

/// The whole page.
pub(crate) fn write(stats: &Stats) -> String {
    let mut page = Page(String::with_capacity(4096));
    let invocations = stats
        .invocations
        .iter()
        .map(|(end, count)| (end.as_str(), *count));
    page.family(
        "invocations_total",
        "counter",
        "Invocations that ran, by end.",
        "end",
        invocations,
    );
    let starts = stats
        .starts
        .iter()
        .map(|(kind, count)| (kind.as_str(), *count));
    page.family(
        "starts_total",
        "counter",
        "Invocations that ran, by start.",
        "start",
        starts,
    );
    let throttled = stats
        .throttled
        .iter()
        .map(|(reason, count)| (reason.as_str(), *count));
    page.family(
        "throttled_total",
        "counter",
        "Refused invocations, by limit.",
        "limit",
        throttled,
    );
    let instances = stats
        .instances
        .iter()
        .map(|(state, count)| (state.as_str(), *count));
    page.family(
        "instances",
        "gauge",
        "Live instances, by state.",
        "state",
        instances,
    );
    page.one(
        "instances_frozen",
        "gauge",
        "Idle instances that are frozen.",
        stats.frozen,
    );
    page.one(
        "invocations_in_flight",
        "gauge",
        "Invocations not ended.",
        stats.in_flight,
    );
    let memory = "Memory settings of live instances together.";
    page.one(
        "memory_bytes",
        "gauge",
        memory,
        stats.memory_mb.saturating_mul(MB),
    );
    let memory_max = "What memory settings of live instances may be together.";
    page.one(
        "memory_max_bytes",
        "gauge",
        memory_max,
        stats.memory_mb_max.saturating_mul(MB),
    );
    page.one("functions", "gauge", "Deployed functions.", stats.functions);
    let failed = "Initialisations that failed or took too long.";
    page.one(
        "failed_starts_total",
        "counter",
        failed,
        stats.failed_starts,
    );
    page.one(
        "events_accepted_total",
        "counter",
        "Events accepted.",
        stats.events_accepted,
    );
    let succeeded = "Accepted events that ended in success.";
    page.one(
        "events_succeeded_total",
        "counter",
        succeeded,
        stats.events_succeeded,
    );
    let dead = "Accepted events that were given up and kept.";
    page.one("events_dead_total", "counter", dead, stats.events_dead);
    let handler = "Handler time of all invocations.";
    page.seconds(
        "handler_seconds_total",
        handler,
        stats.handler_us,
        1_000_000,
    );
    let billed = "Billed time of all invocations.";
    page.seconds("billed_seconds_total", billed, stats.billed_ms, 1_000);
    let dropped = "Meter records that there was no room for.";
    page.one(
        "meter_dropped_total",
        "counter",
        dropped,
        stats.meter_dropped,
    );
    page.0
}

// Writing into a string cannot fail, so its results are dropped.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(
            self.0,
            "# HELP dayfly_{name} {help}\n# TYPE dayfly_{name} {kind}\n"
        );
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "dayfly_{name} {value}");
    }

    fn seconds(&mut self, name: &str, help: &str, value: u64, per_second: u64) {
        self.head(name, "counter", help);
        let _ = writeln!(self.0, "dayfly_{name} {}", value as f64 / per_second as f64);
    }

    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'a str, u64)>,
    ) {
        self.head(name, kind, help);
        for (value, count) in values {
            let _ = writeln!(self.0, "dayfly_{name}{{{label}=\"{value}\"}} {count}");
        }
    }
}
