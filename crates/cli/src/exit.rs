//! What a command's exit code tells a script: one number a kind of failure, as `--help` lists.

use std::fmt;

/// A failure with its exit code. The message is for a person.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) error: anyhow::Error,
}

/// The documented exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    FunctionFailed = 1,
    Usage = 2,
    NotFound = 3,
    Unreachable = 4,
    Throttled = 5,
    Project = 6,
    Host = 7,
    Platform = 70,
    /// As a shell would say of SIGINT.
    Interrupted = 130,
}

impl Failure {
    pub(crate) fn new(code: Code, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// Attaches an exit code to an error.
pub(crate) trait OrExit<T> {
    fn or_exit(self, code: Code) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, code: Code) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, error))
    }
}
