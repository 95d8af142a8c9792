//! One file a verb, and what they share: how a refusal and a closed pipe end a command.

pub(crate) mod completions;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod invoke;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod new;
pub(crate) mod rm;

use std::path::PathBuf;

use anyhow::anyhow;
use api::client::Error;

use crate::exit::{Code, Failure, OrExit as _};

/// A refusal with its exit code.
pub(crate) fn refused(error: Error) -> Failure {
    let code = match &error {
        Error::Endpoint { .. } | Error::Refused { .. } => Code::Usage,
        Error::Unreachable { .. } | Error::Stopped { .. } | Error::WrongPort { .. } => {
            Code::Unreachable
        }
        Error::NotFound { .. } => Code::NotFound,
        Error::Throttled { .. } => Code::Throttled,
        Error::Platform { .. } | Error::Answer { .. } => Code::Platform,
    };
    // The message is whole; its source would only repeat it.
    Failure::new(code, anyhow!("{error}"))
}

/// What becomes of output that could not be written: a reader that has seen enough is no error.
pub(crate) fn end_of(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(Code::Platform, error)),
        Ok(()) => Ok(()),
    }
}

/// The user's folder for builds and fetched tools.
pub(crate) fn cache_folder() -> Result<PathBuf, Failure> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    variable("DAYFLY_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("dayfly")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/dayfly")))
        .ok_or_else(|| anyhow!("find a cache folder: set DAYFLY_CACHE, XDG_CACHE_HOME or HOME"))
        .or_exit(Code::Host)
}
