//! The errors that the platform itself answers with, in the exact words of Lambda.

use std::time::Duration;

use bytes::Bytes;
use model::InvocationId;

/// How a runtime process ended, as far as its words need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It exited with this status.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It used more memory than it has and was ended for it.
    OutOfMemory,
    /// Nothing is known, or it was ended by the platform for what it did.
    Unknown,
}

impl Exit {
    /// The error type that the report names.
    pub(crate) fn error_type(self) -> &'static str {
        match self {
            Self::OutOfMemory => "Runtime.OutOfMemory",
            _ => "Runtime.ExitError",
        }
    }
}

fn error(error_type: &str, message: &str) -> Bytes {
    // Written out, because `json!` sorts members and the service does not.
    let message = serde_json::Value::from(message);
    format!(r#"{{"errorType":"{error_type}","errorMessage":{message}}}"#).into()
}

/// What a caller gets when the function did not answer in time.
pub(crate) fn timed_out(id: &InvocationId, timeout: Duration) -> Bytes {
    let seconds = timeout.as_secs_f64();
    let message = format!("RequestId: {id} Error: Task timed out after {seconds:.2} seconds");
    error("Sandbox.Timedout", &message)
}

/// Why a process is gone, as `Error: ...` lines and payloads put it.
pub(crate) fn exit_reason(exit: Exit) -> String {
    match exit {
        Exit::Code(0) | Exit::Unknown => "Runtime exited without providing a reason".to_owned(),
        Exit::Code(code) => format!("Runtime exited with error: exit status {code}"),
        Exit::OutOfMemory => "Runtime exited with error: signal: killed".to_owned(),
        Exit::Signal(signal) => {
            format!("Runtime exited with error: signal: {}", signal_name(signal))
        }
    }
}

/// What a caller gets when the process ended before it answered.
pub(crate) fn exited(id: &InvocationId, exit: Exit) -> Bytes {
    error(
        "Runtime.ExitError",
        &format!("RequestId: {id} Error: {}", exit_reason(exit)),
    )
}

/// How a companion's end is put into words.
pub(crate) fn extension_exit_reason(exit: Exit) -> String {
    match exit {
        Exit::Code(0) | Exit::Unknown => "exit code 0".to_owned(),
        Exit::Code(code) => format!("exit status {code}"),
        Exit::OutOfMemory => "signal: killed".to_owned(),
        Exit::Signal(signal) => format!("signal: {}", signal_name(signal)),
    }
}

/// What a caller gets when an extension has failed, which ends the instance.
pub(crate) fn extension_failed(id: &InvocationId, error_type: &str, reason: &str) -> Bytes {
    error(error_type, &format!("RequestId: {id} Error: {reason}"))
}

/// Why there is no answer of a function that the platform ended while it ran: it did nothing wrong.
pub(crate) const ENDED_BY_US: &str = "dayfly ended the instance before the function had answered";

/// What its caller gets.
pub(crate) fn ended_by_us(id: &InvocationId) -> Bytes {
    error(
        "Runtime.ExitError",
        &format!("RequestId: {id} Error: {ENDED_BY_US}"),
    )
}

/// What a caller gets when there is no bootstrap that can be started.
pub(crate) fn invalid_entrypoint(id: &InvocationId, reason: &str) -> Bytes {
    error(
        "Runtime.InvalidEntrypoint",
        &format!("RequestId: {id} Error: {reason}"),
    )
}

/// What a caller gets when the answer broke off and the process went on.
pub(crate) fn truncated() -> Bytes {
    error(
        "Runtime.TruncatedResponse",
        "the connection closed before the streamed response was complete",
    )
}

/// What a caller gets when the answer is larger than answers may be.
pub(crate) fn response_too_large(bytes_max: u64) -> Bytes {
    let message =
        format!("Response payload size exceeded maximum allowed payload size ({bytes_max} bytes).");
    format!(r#"{{"errorMessage":"{message}","errorType":"Function.ResponseSizeTooLarge"}}"#).into()
}

/// Names of signals as Go's syscall package writes them, which is where Lambda takes them from.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(payload: &Bytes, expected: Expect) {
        expected.assert_eq(std::str::from_utf8(payload).unwrap());
    }

    #[test]
    fn payloads_are_in_the_words_of_lambda() {
        let id = InvocationId::from_random([1; 16]);
        check(
            &timed_out(&id, Duration::from_secs(3)),
            expect![[
                r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 01010101-0101-4101-8101-010101010101 Error: Task timed out after 3.00 seconds"}"#
            ]],
        );
        check(
            &exited(&id, Exit::Code(0)),
            expect![[
                r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 01010101-0101-4101-8101-010101010101 Error: Runtime exited without providing a reason"}"#
            ]],
        );
        check(
            &exited(&id, Exit::Code(127)),
            expect![[
                r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 01010101-0101-4101-8101-010101010101 Error: Runtime exited with error: exit status 127"}"#
            ]],
        );
        check(
            &exited(&id, Exit::OutOfMemory),
            expect![[
                r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 01010101-0101-4101-8101-010101010101 Error: Runtime exited with error: signal: killed"}"#
            ]],
        );
        check(
            &response_too_large(model::limit::RESPONSE_BYTES_MAX as u64),
            expect![[
                r#"{"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}"#
            ]],
        );
    }
}
