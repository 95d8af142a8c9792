//! What builds have made, by kind and digest of what it was made from. An entry appears whole or
//! not at all: it is filled under another name and then renamed.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::package::Package;
use crate::error::Error;

/// Entries of one kind that are kept, the most recently used (ours: some dozen projects).
const ENTRIES_MAX: usize = 100;
/// Entries that one process fills at the same time (ours).
const STAGES_MAX: u32 = 10_000;
/// Age at which an entry that is still being filled was given up: no tool runs so long (ours).
const STAGE_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Part of the digest of every entry, to be changed with what builds make.
const FORMAT: &str = "1";

/// The folder of all entries.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
}

/// An entry that is being filled; removed unless it is kept.
#[derive(Debug)]
pub(super) struct Stage {
    path: PathBuf,
    goal: PathBuf,
    kept: bool,
}

impl Cache {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.join("builds"),
        }
    }

    /// The entry, if it is there; marks it as used.
    pub(super) fn ready(&self, kind: &str, key: &str) -> Option<PathBuf> {
        let path = self.root.join(kind).join(key);
        if !path.is_dir() {
            return None;
        }
        touch(&path);
        Some(path)
    }

    /// Begins an entry.
    pub(super) fn stage(&self, kind: &str, key: &str) -> Result<Stage, Error> {
        let parent = self.root.join(kind);
        fs::create_dir_all(&parent).map_err(Error::io("make", &parent))?;
        let path = self.fresh(kind)?;
        self.sweep(&path);
        Ok(Stage {
            path,
            goal: parent.join(key),
            kept: false,
        })
    }

    /// A new folder that nobody else has.
    fn fresh(&self, kind: &str) -> Result<PathBuf, Error> {
        let process = std::process::id();
        let mut numbers = 0..STAGES_MAX;
        loop {
            let number = numbers.next();
            let path = self.root.join(format!(
                ".{kind}-{process}-{}",
                number.unwrap_or(STAGES_MAX)
            ));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number.is_some() => {}
                Err(error) => return Err(Error::io("make", &path)(error)),
            }
        }
    }

    /// Removes what builds that were killed have left behind.
    fn sweep(&self, fresh: &Path) {
        let modified = |path: &Path| fs::metadata(path).and_then(|status| status.modified());
        let Ok(now) = modified(fresh) else { return };
        for entry in fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let path = entry.path();
            let stage = entry.file_name().to_string_lossy().starts_with('.');
            let age = modified(&path)
                .ok()
                .and_then(|then| now.duration_since(then).ok());
            if stage && age.is_some_and(|age| age > STAGE_AGE_MAX) {
                let _ = fs::remove_dir_all(path);
            }
        }
    }

    /// A folder that lasts from build to build, for tools that reuse their own earlier work; none
    /// while another build is in it.
    pub(super) fn workshop(&self, kind: &str, source: &Path) -> Result<Option<Workshop>, Error> {
        let key = Key::new(kind).add(&source.to_string_lossy()).finish();
        let path = self.root.join(format!("work-{kind}")).join(key);
        let folder = path.join("work");
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        touch(&path);
        prune(path.parent().unwrap_or(&path), &path);
        let file = path.join("lock");
        let lock = fs::File::create(&file).map_err(Error::io("make", &file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Workshop {
                folder,
                _lock: lock,
            })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(Error::io("lock", &file)(error)),
        }
    }
}

/// A lasting folder, held by one build at a time.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) folder: PathBuf,
    /// Lets go of the folder when it is dropped, and when the process dies.
    _lock: fs::File,
}

/// Marks an entry as used. Only the order matters, so that a failure costs its rank at most.
fn touch(path: &Path) {
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    let now = rustix::fs::Timestamps {
        last_access: now,
        last_modification: now,
    };
    let _ = rustix::fs::utimensat(rustix::fs::CWD, path, &now, rustix::fs::AtFlags::empty());
}

impl Stage {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it an entry under a key that is known only now.
    pub(super) fn keep_as(mut self, key: &str) -> Result<PathBuf, Error> {
        self.goal.set_file_name(key);
        self.keep()
    }

    /// Makes it an entry. If another build was faster with the same, that one's is used.
    pub(super) fn keep(mut self) -> Result<PathBuf, Error> {
        match fs::rename(&self.path, &self.goal) {
            Ok(()) => self.kept = true,
            Err(_) if self.goal.is_dir() => {}
            Err(error) => return Err(Error::io("move into place", &self.goal)(error)),
        }
        if let Some(parent) = self.goal.parent() {
            prune(parent, &self.goal);
        }
        Ok(self.goal.clone())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Drops the least recently used entries beyond the bound; never the one just made.
fn prune(folder: &Path, fresh: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .filter(|(_, path)| path != fresh)
        .collect();
    entries.sort();
    let surplus = entries.len().saturating_sub(ENTRIES_MAX);
    for (_, path) in entries.into_iter().take(surplus) {
        let _ = fs::remove_dir_all(path);
    }
}

/// The digest of what something is made from.
pub(super) struct Key {
    hash: Sha256,
}

impl Key {
    pub(super) fn new(kind: &str) -> Self {
        let key = Self {
            hash: Sha256::new(),
        };
        key.add(FORMAT).add(std::env::consts::ARCH).add(kind)
    }

    /// One more part; its length goes in too, so that parts cannot run into each other.
    pub(super) fn add(self, part: &str) -> Self {
        self.bytes(part.as_bytes())
    }

    fn bytes(mut self, part: &[u8]) -> Self {
        self.hash.update((part.len() as u64).to_le_bytes());
        self.hash.update(part);
        self
    }

    /// The content of a file, or that there is none.
    pub(super) fn file(self, path: &Path) -> Result<Self, Error> {
        match fs::File::open(path) {
            Ok(file) => self.add("file").content(file, path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(self.add("none")),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    fn content(mut self, mut file: fs::File, path: &Path) -> Result<Self, Error> {
        let mut own = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer).map_err(Error::io("read", path))? {
                0 => break,
                count => own.update(buffer.get(..count).unwrap_or(&[])),
            }
        }
        self.hash.update(own.finalize());
        Ok(self)
    }

    /// Names, modes and contents of all files of a package.
    pub(super) fn package(mut self, package: &Package) -> Result<Self, Error> {
        use std::os::unix::ffi::OsStrExt as _;
        use std::os::unix::fs::PermissionsExt as _;
        for file in package.files()? {
            self = self.bytes(file.path.as_os_str().as_bytes());
            if file.link {
                let leads = fs::read_link(&file.from).map_err(Error::io("read", &file.from))?;
                self = self.add("link").bytes(leads.as_os_str().as_bytes());
                continue;
            }
            let opened = fs::File::open(&file.from).map_err(Error::io("read", &file.from))?;
            let status = opened.metadata().map_err(Error::io("read", &file.from))?;
            let executable = status.permissions().mode() & 0o111 != 0;
            self = self
                .add(if executable { "program" } else { "file" })
                .content(opened, &file.from)?;
        }
        Ok(self)
    }

    pub(super) fn finish(self) -> String {
        model::id::hex(&self.hash.finalize())
    }
}
