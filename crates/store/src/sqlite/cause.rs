//! What an error of SQLite means to us.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::Error;

/// While opening.
pub(super) fn on_open(path: &Path, error: rusqlite::Error) -> Error {
    known(path, &error).unwrap_or_else(|| broken("open", path, &error))
}

/// While reading: nothing was at stake but the answer.
pub(super) fn on_read(path: &Path, error: rusqlite::Error) -> Error {
    known(path, &error).unwrap_or_else(|| broken("read", path, &error))
}

/// While writing. Only a full disk and somebody else's lock are known to have changed nothing;
/// after anything else the file's state is unknown.
pub(super) fn on_write(path: &Path, error: rusqlite::Error) -> Error {
    match known(path, &error) {
        Some(known @ (Error::Full { .. } | Error::InUse { .. })) => known,
        _ => broken("write", path, &error),
    }
}

fn known(path: &Path, error: &rusqlite::Error) -> Option<Error> {
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some(Error::Full {
            path: path.to_owned(),
        }),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Some(Error::InUse {
            path: path.to_owned(),
        }),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(Error::Damaged {
            what: path.display().to_string(),
            detail: error.to_string(),
        }),
        _ => None,
    }
}

fn broken(doing: &str, path: &Path, error: &rusqlite::Error) -> Error {
    Error::Broken {
        doing: format!("{doing} {}", path.display()),
        cause: error.to_string().into(),
    }
}
