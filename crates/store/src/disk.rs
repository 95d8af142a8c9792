//! Folders, locks and syncs, with the errors that they make.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::Error;

/// A failed write, sync or other call on our own files.
pub(crate) fn failed(doing: &str, path: &Path, error: &io::Error) -> Error {
    if is_full(error) {
        return Error::Full {
            path: path.to_owned(),
        };
    }
    Error::Broken {
        doing: format!("{doing} {}", path.display()),
        cause: error.to_string().into(),
    }
}

/// Whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|code| full.contains(&code))
}

/// Makes a folder, and those above it, that only its owner can enter.
pub(crate) fn private_folder(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| failed("make folder", path, &error))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
        .map_err(|error| failed("close to others", path, &error))
}

/// Makes a folder with these rights, where it is not there.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|error| failed("make folder", path, &error))
}

/// Waits until a folder's entries are on disk.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed("sync", path, &error))
}

/// The right to use a folder, held by one process at a time; the kernel takes it back when the
/// process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

/// Tells whether a locked folder is where it was, while the lock is held and after.
#[derive(Debug)]
pub(crate) struct Presence {
    file: File,
    path: PathBuf,
    /// Some file systems count no names.
    counts: bool,
}

impl Presence {
    /// Whether the lock's file was removed or is elsewhere, and its folder with it. What cannot be
    /// told is none of that.
    pub(crate) fn is_gone(&self) -> bool {
        let unlinked = self.counts && names_of(&self.file) == Some(0);
        let found = std::fs::symlink_metadata(&self.path);
        unlinked || found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

/// How many names a file has.
fn names_of(file: &File) -> Option<u64> {
    file.metadata().ok().map(|status| status.nlink())
}

impl Drop for Lock {
    /// Gives the lock up. Closing alone would not, while a child that was just forked has yet to
    /// become another program: until then it holds the file too.
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(%error, "give a folder up");
        }
    }
}

impl Lock {
    pub(crate) fn presence(&self) -> io::Result<Presence> {
        Ok(Presence {
            counts: names_of(&self.file).is_some_and(|names| names > 0),
            file: self.file.try_clone()?,
            path: self.path.clone(),
        })
    }

    /// Takes the lock `name` of a folder, or fails at once where another holds it.
    pub(crate) fn take(folder: &Path, name: &str) -> Result<Self, Error> {
        let path = folder.join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(|error| failed("open", &path, &error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file, path }),
            Err(Errno::WOULDBLOCK) => Err(Error::InUse {
                path: folder.to_owned(),
            }),
            Err(error) => Err(failed("lock", &path, &error.into())),
        }
    }
}

/// The names in a folder.
pub(crate) fn names(folder: &Path) -> Result<Vec<OsString>, Error> {
    let failed = |error: io::Error| failed("read", folder, &error);
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    entries
        .map(|entry| entry.map(|entry| entry.file_name()).map_err(failed))
        .collect()
}

/// Removes the folders in a folder whose names begin with `mark`.
pub(crate) fn remove_marked(folder: &Path, mark: &str) -> Result<(), Error> {
    for name in names(folder)? {
        if name.as_encoded_bytes().starts_with(mark.as_bytes()) {
            let path = folder.join(name);
            std::fs::remove_dir_all(&path).map_err(|error| failed("remove", &path, &error))?;
        }
    }
    Ok(())
}
