//! One file a verb, and what they share: how a refusal and a closed pipe end a command.

pub(crate) mod completions;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod invoke;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod new;
pub(crate) mod rm;

use api::client::Error;

use crate::exit::{Code, Failure};

/// A refusal with its exit code.
pub(crate) fn refused(error: Error) -> Failure {
    let code = match &error {
        Error::Endpoint { .. } | Error::Refused { .. } => Code::Usage,
        Error::Unreachable { .. } => Code::Unreachable,
        Error::NotFound { .. } => Code::NotFound,
        Error::Throttled { .. } => Code::Throttled,
        Error::Platform { .. } | Error::Answer { .. } => Code::Platform,
    };
    // The message is whole; its source would only repeat it.
    Failure::new(code, anyhow::anyhow!("{error}"))
}

/// What becomes of output that could not be written: a reader that has seen enough is no error.
pub(crate) fn end_of(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(Code::Platform, error)),
        Ok(()) => Ok(()),
    }
}
