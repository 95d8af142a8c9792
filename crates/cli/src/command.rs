//! One file a verb, and what they share: how a refusal and a closed pipe end a command.

pub(crate) mod completions;
pub(crate) mod deploy;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod invoke;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod new;
pub(crate) mod rm;
pub(crate) mod up;

use std::path::PathBuf;

use anyhow::anyhow;
use api::client::{Client, Credentials, Error};

use crate::exit::{Code, Failure, OrExit as _};

/// A client that signs with the key that AWS's tools would take here, if there is one.
pub(crate) fn client(endpoint: &str) -> Result<Client, Failure> {
    let region = node::region_of_environment().unwrap_or_else(|| "us-east-1".to_owned());
    let credentials = node::key_of_environment().map(|key| Credentials {
        access_key: key.id,
        secret: key.secret,
        token: key.token,
        region,
    });
    let client = Client::new(endpoint).map_err(refused)?;
    Ok(client.signed(credentials))
}

/// A refusal with its exit code.
pub(crate) fn refused(error: Error) -> Failure {
    let code = match &error {
        Error::Endpoint { .. } | Error::Refused { .. } | Error::NoKey { .. } => Code::Usage,
        Error::Tls { .. }
        | Error::Unreachable { .. }
        | Error::Stopped { .. }
        | Error::WrongPort { .. } => Code::Unreachable,
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

/// What ended a node by itself, in words.
pub(crate) fn broken_words(error: &node::Error) -> anyhow::Error {
    match error {
        node::Error::SpawnerEnded => anyhow!(
            "nothing more could be run: {error}; see whether the host was out of memory, then run it again"
        ),
        node::Error::DataGone { folder } => anyhow!(
            "{} was removed or moved while it was in use, and nothing more would be kept; run it again, \
             which makes one where there is none",
            folder.display()
        ),
        error => anyhow!(
            "the store failed, and nothing more would be kept: {error}; look after the disk, then run it again"
        ),
    }
}

/// A server's folder for what it keeps.
pub(crate) fn data_folder(given: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(folder) = given {
        return Ok(folder.clone());
    }
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    variable("XDG_DATA_HOME")
        .or_else(|| variable("HOME").map(|folder| folder.join(".local/share")))
        .map(|folder| folder.join("dayfly"))
        .ok_or_else(|| anyhow!("find a data folder: give --data"))
        .or_exit(Code::Host)
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
