//! What goes into a package: folders laid over each other, each with rules of what to leave out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::ignore::Ignore;

/// Files and links that a package may have (ours: a quarter of a gigabyte holds fewer).
const ENTRIES_MAX: usize = 200_000;
/// Levels of folders that are walked (ours).
const DEPTH_MAX: usize = 100;

/// Folders laid over each other: what a later one has replaces what an earlier one has.
#[derive(Debug, Clone)]
pub struct Package {
    /// The folders, lowest first.
    pub sources: Vec<Source>,
}

/// A folder, and what of it is left out.
#[derive(Debug, Clone)]
pub struct Source {
    /// The folder.
    pub folder: PathBuf,
    /// What of it is left out.
    pub ignore: Ignore,
}

/// A file or symbolic link of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// Where it goes, relative to the package.
    pub path: PathBuf,
    /// Where it is.
    pub from: PathBuf,
    /// Whether it is a symbolic link, to be kept as one.
    pub link: bool,
}

impl Source {
    /// A folder under its own rules.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        Ok(Self {
            folder: folder.to_owned(),
            ignore: Ignore::of(folder)?,
        })
    }

    /// A folder that a build made: all of it.
    pub(crate) fn built(folder: PathBuf) -> Self {
        Self {
            folder,
            ignore: Ignore::nothing(),
        }
    }

    pub(crate) fn without(mut self, pattern: &str) -> Self {
        self.ignore = self.ignore.and(pattern);
        self
    }
}

impl Package {
    /// A package of one folder.
    pub fn of(source: Source) -> Self {
        Self {
            sources: vec![source],
        }
    }

    /// Its files and links, in the order of their paths. Blocks while it walks the folders.
    pub fn files(&self) -> Result<Vec<PackageFile>, Error> {
        let mut files = BTreeMap::new();
        for source in &self.sources {
            walk(source, Path::new(""), 0, &mut files)?;
        }
        Ok(files.into_values().collect())
    }

    /// Copies it into a folder, which is made.
    pub(crate) fn copy_to(&self, target: &Path) -> Result<(), Error> {
        fs::create_dir_all(target).map_err(Error::io("make", target))?;
        for file in self.files()? {
            let to = target.join(&file.path);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
            }
            if file.link {
                let leads = fs::read_link(&file.from).map_err(Error::io("read", &file.from))?;
                std::os::unix::fs::symlink(leads, &to).map_err(Error::io("make", &to))?;
            } else {
                fs::copy(&file.from, &to).map_err(Error::io("copy", &file.from))?;
            }
        }
        Ok(())
    }
}

fn walk(
    source: &Source,
    relative: &Path,
    depth: usize,
    files: &mut BTreeMap<PathBuf, PackageFile>,
) -> Result<(), Error> {
    let folder = source.folder.join(relative);
    let too_much = |what: &str| {
        Error::io("read", &folder)(std::io::Error::other(format!(
            "{what}; a .dayflyignore can leave some out"
        )))
    };
    if depth > DEPTH_MAX {
        return Err(too_much("folders lie too deep in each other"));
    }
    for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
        let entry = entry.map_err(Error::io("list", &folder))?;
        let kind = entry.file_type().map_err(Error::io("read", &folder))?;
        let path = relative.join(entry.file_name());
        if source.ignore.is_ignored(&path, kind.is_dir()) {
            continue;
        }
        if kind.is_dir() {
            walk(source, &path, depth + 1, files)?;
        } else if kind.is_file() || kind.is_symlink() {
            if files.len() >= ENTRIES_MAX {
                return Err(too_much("there are too many files for a package"));
            }
            let file = PackageFile {
                path: path.clone(),
                from: entry.path(),
                link: kind.is_symlink(),
            };
            files.insert(path, file);
        }
    }
    Ok(())
}
