//! The last lines of an invocation: why it ended, where that is to be said, END and REPORT.

use std::time::Duration;

use engine::port::Call;
use model::{FunctionConfig, LogFormat};
use store::Clock;

use super::output::Output;
use crate::contract::lambda::report::{self, Report, Status};
use crate::contract::lambda::telemetry::Telemetry;

/// What the last lines of an invocation say.
pub(crate) struct Closing<'a> {
    pub(crate) call: &'a Call,
    pub(crate) handler: Duration,
    pub(crate) billed: Duration,
    pub(crate) used_mb: u32,
    pub(crate) status: Status,
    pub(crate) last_words: Option<String>,
}

impl Closing<'_> {
    /// Writes them; answers with the end of the log, where it was asked for.
    pub(super) fn write(
        self,
        output: &Output,
        clock: &dyn Clock,
        config: &FunctionConfig,
    ) -> Option<bytes::Bytes> {
        output.end(self.lines(clock, config))
    }

    /// The same for those who subscribed to it.
    pub(super) fn record(&self, telemetry: &Telemetry, config: &FunctionConfig) {
        telemetry.platform(|at_ms| report::end_record(at_ms, &self.call.id));
        let report = self.report(config);
        telemetry.platform(|at_ms| report.line(LogFormat::Json, at_ms));
    }

    fn report(&self, config: &FunctionConfig) -> Report<'_> {
        Report {
            id: &self.call.id,
            duration: self.handler,
            billed: self.billed,
            memory_mb: config.memory_mb,
            used_mb: self.used_mb,
            init: self.call.waited.init,
            trace: self.call.trace.as_deref(),
            status: self.status.clone(),
        }
    }

    /// The lines themselves, in order.
    pub(crate) fn lines(
        self,
        clock: &dyn Clock,
        config: &FunctionConfig,
    ) -> impl Iterator<Item = String> {
        let format = config.log_format;
        let report = self.report(config).line(format, clock.now_ms());
        let end = report::end(format, &self.call.id);
        self.last_words.into_iter().chain(end).chain([report])
    }
}
