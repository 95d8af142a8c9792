//! The platform's own lines in a function's log, in Lambda's two formats.

use std::fmt::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use model::{InvocationId, LogFormat, VersionId};
use serde_json::{Value, json};

use super::extensions::Standing;

/// How an invocation or an initialisation ended, as its report states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// It answered.
    Success,
    /// The handler failed in a way of its own, which the text format does not speak of.
    Failed,
    /// It did not come to an end of its own; the type of the error.
    Error(String),
    /// It ran out of time.
    Timeout,
}

/// When an initialisation happens, as its report states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Ahead of any invocation's time.
    Init,
    /// Within the time of an invocation.
    Invocation,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Invocation => "invoke",
        }
    }
}

/// What the report of an invocation states.
#[derive(Debug, Clone)]
pub(crate) struct Report<'a> {
    /// The invocation.
    pub(crate) id: &'a InvocationId,
    /// Handler's time.
    pub(crate) duration: Duration,
    /// Billed time.
    pub(crate) billed: Duration,
    /// Memory setting, in MB.
    pub(crate) memory_mb: u32,
    /// Most memory used, in MB.
    pub(crate) used_mb: u32,
    /// Initialisation's time, on a cold start.
    pub(crate) init: Option<Duration>,
    /// Trace header of the invocation.
    pub(crate) trace: Option<&'a str>,
    /// How it ended.
    pub(crate) status: Status,
}

/// `2026-11-23T23:00:00.000Z`.
pub(crate) fn stamp(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).unwrap_or(i64::MAX);
    format!(
        "{:.3}",
        Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH)
    )
}

fn platform_record(at_ms: u64, kind: &str, record: &Value) -> String {
    format!(
        r#"{{"time":"{}","type":"platform.{kind}","record":{record}}}"#,
        stamp(at_ms)
    )
}

/// A line of the log, as a record of telemetry. `raw` is whether it may be JSON itself.
pub(crate) fn line_record(at_ms: u64, kind: &str, text: &str, raw: bool) -> String {
    let object = || {
        let value = serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
        value.get().starts_with('{').then(|| value.get().to_owned())
    };
    let record = raw.then(object).flatten();
    let record = record.unwrap_or_else(|| Value::from(text).to_string());
    format!(
        r#"{{"time":"{}","type":"{kind}","record":{record}}}"#,
        stamp(at_ms)
    )
}

/// That an extension has subscribed to records.
pub(crate) fn subscription_record(at_ms: u64, kind: &str, name: &str, types: &[&str]) -> String {
    let record = json!({ "name": name, "state": "Subscribed", "types": types });
    platform_record(at_ms, kind, &record)
}

/// That records were lost which an extension did not take.
pub(crate) fn dropped_record(at_ms: u64, records: u64, bytes: u64) -> String {
    let reason = "the subscriber took them more slowly than they came, or not at all";
    let record = json!({ "droppedRecords": records, "droppedBytes": bytes, "reason": reason });
    platform_record(at_ms, "logsDropped", &record)
}

/// That the runtime has initialised, or has not.
pub(crate) fn init_runtime_done(at_ms: u64, phase: Phase, status: &Status) -> String {
    let mut record = json!({
        "initializationType": "on-demand",
        "phase": phase.word(),
        "status": status.word(),
    });
    if let Status::Error(error_type) = status {
        record["errorType"] = error_type.as_str().into();
    }
    platform_record(at_ms, "initRuntimeDone", &record)
}

/// That the runtime is done with an invocation, in which extensions may go on.
pub(crate) fn runtime_done(
    at_ms: u64,
    id: &InvocationId,
    status: &Status,
    runtime: Duration,
    produced_bytes: usize,
) -> String {
    let began_ms = at_ms.saturating_sub(u64::try_from(runtime.as_millis()).unwrap_or_default());
    let mut record = json!({
        "requestId": id.as_str(),
        "status": status.word(),
        "metrics": { "durationMs": millis(runtime), "producedBytes": produced_bytes },
        "spans": [
            { "name": "responseLatency", "start": stamp(began_ms), "durationMs": millis(runtime) },
            { "name": "responseDuration", "start": stamp(at_ms), "durationMs": 0.0 },
        ],
    });
    if let Status::Error(error_type) = status {
        record["errorType"] = error_type.as_str().into();
    }
    platform_record(at_ms, "runtimeDone", &record)
}

/// The end of an invocation, which only the older of the two interfaces knows.
pub(crate) fn end_record(at_ms: u64, id: &InvocationId) -> String {
    platform_record(at_ms, "end", &json!({ "requestId": id.as_str() }))
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

/// The same as text, with two digits after the point.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.0.as_nanos().saturating_add(5_000) / 10_000;
        let hundredths = u64::try_from(hundredths).unwrap_or(u64::MAX);
        write!(f, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

/// The first line of an instance's log.
pub(crate) fn init_start(
    format: LogFormat,
    at_ms: u64,
    runtime: &str,
    runtime_arn: &str,
) -> String {
    match format {
        LogFormat::Text => {
            format!("INIT_START Runtime Version: {runtime}\tRuntime Version ARN: {runtime_arn}")
        }
        LogFormat::Json => {
            let record = json!({
                "initializationType": "on-demand",
                "phase": "init",
                "runtimeVersion": runtime,
                "runtimeVersionArn": runtime_arn,
            });
            platform_record(at_ms, "initStart", &record)
        }
    }
}

/// The line that says how an initialisation ended that did not succeed.
pub(crate) fn init_report(
    format: LogFormat,
    at_ms: u64,
    phase: Phase,
    init: Duration,
    status: &Status,
) -> String {
    let word = status.word();
    let phase = phase.word();
    match format {
        LogFormat::Text => {
            let mut line = format!(
                "INIT_REPORT Init Duration: {:.2} ms\tPhase: {phase}\tStatus: {word}",
                millis(init)
            );
            if let Status::Error(error_type) = status {
                line += &format!("\tError Type: {error_type}");
            }
            line
        }
        LogFormat::Json => {
            let mut record = json!({
                "initializationType": "on-demand",
                "phase": phase,
                "status": word,
                "metrics": { "durationMs": millis(init) },
            });
            if let Status::Error(error_type) = status {
                record["errorType"] = error_type.as_str().into();
            }
            platform_record(at_ms, "initReport", &record)
        }
    }
}

/// The first line of an invocation.
pub(crate) fn start(
    format: LogFormat,
    at_ms: u64,
    id: &InvocationId,
    version: VersionId,
) -> String {
    match format {
        LogFormat::Text => {
            let mut line = String::with_capacity(80);
            // Writing into a string cannot fail.
            let _ = write!(line, "START RequestId: {} Version: {version}", id.as_str());
            line
        }
        LogFormat::Json => {
            let record = json!({ "requestId": id.as_str(), "version": version.to_string() });
            platform_record(at_ms, "start", &record)
        }
    }
}

/// The line after the last of an invocation's own, which JSON does without.
pub(crate) fn end(format: LogFormat, id: &InvocationId) -> Option<String> {
    (format == LogFormat::Text).then(|| ["END RequestId: ", id.as_str()].concat())
}

/// The line that says that an invocation ran out of time.
pub(crate) fn timed_out(at_ms: u64, id: &InvocationId, timeout: Duration) -> String {
    format!(
        "{} {id} Task timed out after {:.2} seconds",
        stamp(at_ms),
        timeout.as_secs_f64()
    )
}

/// The lines that say that a process ended before it answered.
pub(crate) fn exited(id: &InvocationId, reason: &str) -> String {
    failed(id, reason, "Runtime.ExitError")
}

/// The lines that say what ended an invocation.
pub(crate) fn failed(id: &InvocationId, reason: &str, error_type: &str) -> String {
    format!("RequestId: {id} Error: {reason}\n{error_type}")
}

/// The line that says how an extension stands once initialisation is over.
pub(crate) fn extension(format: LogFormat, at_ms: u64, standing: &Standing) -> String {
    let Standing {
        name,
        state,
        events,
        error_type,
    } = standing;
    match format {
        LogFormat::Text => {
            let events = events.join(", ");
            let mut line = format!("EXTENSION\tName: {name}\tState: {state}\tEvents: [{events}]");
            if let Some(error_type) = error_type {
                line += &format!("\tError Type: {error_type}");
            }
            line
        }
        LogFormat::Json => platform_record(at_ms, "extension", &extension_record(standing)),
    }
}

fn extension_record(standing: &Standing) -> Value {
    let mut record = json!({
        "name": standing.name,
        "state": standing.state,
        "events": standing.events,
    });
    if let Some(error_type) = &standing.error_type {
        record["errorType"] = error_type.as_str().into();
    }
    record
}

impl Status {
    fn word(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed | Self::Error(_) => "error",
            Self::Timeout => "timeout",
        }
    }
}

impl Report<'_> {
    /// The line itself.
    pub(crate) fn line(&self, format: LogFormat, at_ms: u64) -> String {
        match format {
            LogFormat::Text => self.text(),
            LogFormat::Json => platform_record(at_ms, "report", &self.record()),
        }
    }

    fn text(&self) -> String {
        // Room for the longest line of an invocation that ended well.
        let mut line = String::with_capacity(224);
        // Writing into a string cannot fail.
        let _ = write!(
            line,
            "REPORT RequestId: {}\tDuration: {} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB\t",
            self.id.as_str(),
            Millis(self.duration),
            u64::try_from(self.billed.as_millis()).unwrap_or(u64::MAX),
            self.memory_mb,
            self.used_mb,
        );
        if let Some(init) = self.init {
            let _ = write!(line, "Init Duration: {} ms\t", Millis(init));
        }
        if let Some((root, parent)) = self.sampled() {
            line += &format!("\nXRAY TraceId: {root}\tSegmentId: {parent}\tSampled: true\t");
        }
        match &self.status {
            Status::Success | Status::Failed => {}
            Status::Timeout => line += "Status: timeout",
            Status::Error(error_type) => {
                line += &format!("Status: error\tError Type: {error_type}")
            }
        }
        line
    }

    fn record(&self) -> Value {
        let mut metrics = json!({
            "durationMs": millis(self.duration),
            "billedDurationMs": u64::try_from(self.billed.as_millis()).unwrap_or(u64::MAX),
            "memorySizeMB": self.memory_mb,
            "maxMemoryUsedMB": self.used_mb,
        });
        if let Some(init) = self.init {
            metrics["initDurationMs"] = millis(init).into();
        }
        let mut record = json!({
            "requestId": self.id.as_str(),
            "metrics": metrics,
            "status": self.status.word(),
        });
        if let Status::Error(error_type) = &self.status {
            record["errorType"] = error_type.as_str().into();
        }
        if let Some((_, parent)) = self.sampled() {
            let value = self.trace.unwrap_or_default();
            record["tracing"] =
                json!({ "spanId": parent, "type": "X-Amzn-Trace-Id", "value": value });
        }
        record
    }

    /// Root and parent of a trace that is being recorded.
    fn sampled(&self) -> Option<(&str, &str)> {
        let trace = self.trace?;
        // As most are, which need not be taken apart.
        if trace.ends_with(";Sampled=0") {
            return None;
        }
        let field = |name: &str| {
            let fields = trace.split(';');
            fields
                .map(str::trim)
                .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        (field("Sampled") == Some("1")).then_some(())?;
        Some((field("Root")?, field("Parent").unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(format: LogFormat, change: impl FnOnce(&mut Report<'_>), expected: Expect) {
        let id = InvocationId::from_random([1; 16]);
        let mut report = Report {
            id: &id,
            duration: Duration::from_micros(3_010),
            billed: Duration::from_millis(4),
            memory_mb: 128,
            used_mb: 36,
            init: None,
            trace: None,
            status: Status::Success,
        };
        change(&mut report);
        expected.assert_eq(&report.line(format, 1_795_474_800_000));
    }

    #[test]
    fn reports_are_in_the_form_of_lambda() {
        check(
            LogFormat::Text,
            |_| {},
            expect![
                "REPORT RequestId: 01010101-0101-4101-8101-010101010101\tDuration: 3.01 ms\tBilled Duration: 4 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\t"
            ],
        );
        check(
            LogFormat::Text,
            |report| report.init = Some(Duration::from_micros(110_100)),
            expect![
                "REPORT RequestId: 01010101-0101-4101-8101-010101010101\tDuration: 3.01 ms\tBilled Duration: 4 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\tInit Duration: 110.10 ms\t"
            ],
        );
        check(
            LogFormat::Text,
            |report| {
                report.trace = Some(
                    "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
                );
                report.status = Status::Error("Runtime.ExitError".to_owned());
            },
            expect![[r#"
                REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 3.01 ms	Billed Duration: 4 ms	Memory Size: 128 MB	Max Memory Used: 36 MB	
                XRAY TraceId: 1-5bef4de7-ad49b0e87f6ef6c87fc2e700	SegmentId: 9a9197af755a6419	Sampled: true	Status: error	Error Type: Runtime.ExitError"#]],
        );
        check(
            LogFormat::Json,
            |report| report.status = Status::Timeout,
            expect![[
                r#"{"time":"2026-11-23T23:00:00.000Z","type":"platform.report","record":{"metrics":{"billedDurationMs":4,"durationMs":3.01,"maxMemoryUsedMB":36,"memorySizeMB":128},"requestId":"01010101-0101-4101-8101-010101010101","status":"timeout"}}"#
            ]],
        );
    }

    #[test]
    fn initialisation_has_lines_of_its_own() {
        let init = Duration::from_secs(10);
        expect!["INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout"].assert_eq(
            &init_report(LogFormat::Text, 0, Phase::Init, init, &Status::Timeout),
        );
        expect!["INIT_START Runtime Version: python:3.11.v7\tRuntime Version ARN: arn:aws:x"]
            .assert_eq(&init_start(
                LogFormat::Text,
                0,
                "python:3.11.v7",
                "arn:aws:x",
            ));
    }
}
