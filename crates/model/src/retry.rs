//! What happens to an accepted event after an attempt: pure decisions, applied by delivery.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::invocation::End;

/// How often and how long an event is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Retries after a function error: 0 to 2.
    pub retries_max: u8,
    /// Age at which an event is given up: 60 s to 6 h.
    pub age_max: Duration,
}

impl Default for Policy {
    /// Two retries within six hours (AWS defaults).
    fn default() -> Self {
        Self {
            retries_max: 2,
            age_max: Duration::from_secs(6 * 60 * 60),
        }
    }
}

/// How an attempt ended, as far as retrying cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It reached an instance and ended so.
    Ran(End),
    /// It was refused for want of concurrency.
    Throttled,
}

/// What to do with the event now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It succeeded; nothing is left to do.
    Done,
    /// Try again after this long.
    Again {
        /// Wait before the next attempt.
        after: Duration,
        /// Whether the attempt counts against `retries_max`.
        counted: bool,
    },
    /// Give up: the function failed as often as it may.
    Exhausted,
    /// Give up: the event is too old.
    Expired,
}

/// First wait after a throttle or a fault of ours, doubled each time (AWS documentation).
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after a throttle or a fault of ours (AWS documentation).
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Whether an event of this age is not to be tried any more.
pub fn is_expired(policy: Policy, age: Duration) -> bool {
    age >= policy.age_max
}

/// Decides from the policy, the event's age, the function errors so far (this one included)
/// and the uncounted attempts in a row so far (this one included).
pub fn next(
    policy: Policy,
    age: Duration,
    attempt: Attempt,
    failures: u32,
    uncounted: u32,
) -> Next {
    let after = match attempt {
        Attempt::Ran(End::Replied) => return Next::Done,
        Attempt::Throttled | Attempt::Ran(End::Fault) => {
            let doublings = uncounted.saturating_sub(1).min(16);
            let after = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
            (after, false)
        }
        Attempt::Ran(_) if failures > u32::from(policy.retries_max) => return Next::Exhausted,
        // One minute, then two (AWS documentation).
        Attempt::Ran(_) => (Duration::from_secs(60 * u64::from(failures.max(1))), true),
    };
    let (after, counted) = after;
    if age + after > policy.age_max {
        Next::Expired
    } else {
        Next::Again { after, counted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YOUNG: Duration = Duration::from_secs(1);

    fn after(next: Next) -> u64 {
        match next {
            Next::Again { after, .. } => after.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn function_errors_wait_one_minute_then_two_then_end() {
        let failed = |n| next(Policy::default(), YOUNG, Attempt::Ran(End::Failed), n, 0);
        assert_eq!(after(failed(1)), 60);
        assert_eq!(after(failed(2)), 120);
        assert_eq!(failed(3), Next::Exhausted);
    }

    #[test]
    fn throttles_back_off_to_five_minutes_and_never_exhaust() {
        let throttled = |n| next(Policy::default(), YOUNG, Attempt::Throttled, 0, n);
        assert_eq!(after(throttled(1)), 1);
        assert_eq!(after(throttled(4)), 8);
        assert_eq!(after(throttled(1000)), 300);
    }

    #[test]
    fn old_events_expire() {
        let age = Duration::from_secs(6 * 60 * 60);
        assert!(is_expired(Policy::default(), age));
        assert!(!is_expired(Policy::default(), age - YOUNG));
        let verdict = next(Policy::default(), age, Attempt::Throttled, 0, 1);
        assert_eq!(verdict, Next::Expired);
    }
}
