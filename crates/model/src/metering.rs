//! What an invocation costs: the record that is kept of each and how time is billed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{FunctionId, InvocationId, VersionId};
use crate::invocation::{End, StartKind};

/// The time that is billed: handler and initialisation, in whole milliseconds, rounded up, one
/// at least (AWS pricing; initialisation is billed since August 2025).
pub fn billed(init: Duration, handler: Duration) -> Duration {
    let micros = (init + handler).as_micros();
    let millis = micros.div_ceil(1000).max(1);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// One line of the meter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterRecord {
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Which invocation.
    pub invocation: InvocationId,
    /// Whose and which function.
    pub function: FunctionId,
    /// Which version ran.
    pub version: VersionId,
    /// Memory setting, in MB.
    pub memory_mb: u32,
    /// Handler's time, in microseconds.
    pub duration_us: u64,
    /// Initialisation's time, in microseconds; zero when none was waited for.
    pub init_us: u64,
    /// Billed time, in milliseconds.
    pub billed_ms: u64,
    /// Most memory used, in MB.
    pub memory_used_mb: u32,
    /// Where the instance came from.
    pub start: StartKind,
    /// How it ended.
    pub end: End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn billing_rounds_up_to_whole_milliseconds() {
        let bill = |init, handler| {
            billed(Duration::from_micros(init), Duration::from_micros(handler)).as_millis()
        };
        assert_eq!(bill(0, 0), 1);
        assert_eq!(bill(0, 3_010), 4);
        assert_eq!(bill(110_100, 3_010), 114);
        assert_eq!(bill(0, 4_000), 4);
    }
}
