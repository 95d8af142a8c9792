//! Zip archives as trees. An archive is a stranger's: nothing is written outside of a folder of
//! its own, and no more of it than may be.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Cursor, Read};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

use super::{Tree, Trees, manifest, remove};
use crate::Error;
use crate::disk;

/// Things in one archive (ours: more than any package has).
const ENTRIES_MAX: usize = 200_000;

/// Length of the target of a link, in bytes (the kernel's own limit).
const LINK_BYTES_MAX: u64 = 4096;

/// The part of a mode that says what kind of thing it is, and the kinds that are told apart.
const KIND: u32 = 0o170_000;
const KIND_LINK: u32 = 0o120_000;
const KIND_FOLDER: u32 = 0o040_000;
const KIND_FILE: u32 = 0o100_000;

/// An archive that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// What was in it.
    pub code: Tree,
    /// The archive itself, as one file of the name that was asked for.
    pub archive: Tree,
    /// SHA-256 of the archive's bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Why an archive cannot be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArchive {
    /// It is no zip archive, or a damaged or encrypted one, or one packed in a way that is not
    /// known here.
    #[error("it cannot be unpacked: {0}")]
    Unreadable(String),
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
    /// What is in it is larger than it may be.
    #[error("it holds more than {max} bytes")]
    TooLarge {
        /// Most that it may hold, in bytes.
        max: u64,
    },
    /// It holds more files and folders than an archive may.
    #[error("it holds more than {max} files and folders")]
    TooMany {
        /// Most that it may hold.
        max: usize,
    },
    /// A name in it leads out of the folder that it is unpacked to, or can be none of a file.
    #[error("it has a file named '{name}', which {problem}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A link in it leads out of the folder that it is unpacked to, or in a circle.
    #[error("{0}")]
    Link(String),
}

impl Trees {
    /// Stores what is in a zip archive, at most `bytes_max` bytes of it, and the archive itself
    /// as a file called `name`. Links that stay inside are kept, and so is which files are
    /// programs. Both are on disk when this returns.
    pub fn put_zip(&self, zip: &[u8], name: &str, bytes_max: u64) -> Result<Unpacked, Error> {
        let folder = self.folder.join(self.random_name());
        let stored = self.put_zip_through(&folder, zip, name, bytes_max);
        remove(&folder);
        stored
    }

    fn put_zip_through(
        &self,
        folder: &Path,
        zip: &[u8],
        name: &str,
        bytes_max: u64,
    ) -> Result<Unpacked, Error> {
        let (files, whole) = (folder.join("files"), folder.join("whole"));
        for made in [folder, &files, &whole] {
            disk::folder(made, 0o700)?;
        }
        unpack(zip, &files, bytes_max)?;
        let code = self.put(&files).map_err(|error| match error {
            Error::Unstorable { path, problem } => {
                let path = path.strip_prefix(&files).unwrap_or(&path);
                let problem = format!("'{}': {problem}", path.display());
                Error::BadArchive(BadArchive::Link(problem))
            }
            other => other,
        })?;
        let kept = whole.join(name);
        fs::write(&kept, zip).map_err(|error| disk::failed("write", &kept, &error))?;
        let archive = self.put(&whole)?;
        let sha256 = manifest::hex(&Sha256::digest(zip).into());
        Ok(Unpacked {
            code,
            archive,
            sha256,
        })
    }
}

/// Unpacks into a folder that is empty.
fn unpack(zip: &[u8], folder: &Path, bytes_max: u64) -> Result<(), Error> {
    let mut zip = ZipArchive::new(Cursor::new(zip)).map_err(unreadable)?;
    if zip.is_empty() {
        return Err(BadArchive::Empty.into());
    }
    if zip.len() > ENTRIES_MAX {
        return Err(BadArchive::TooMany { max: ENTRIES_MAX }.into());
    }
    let mut left = bytes_max;
    // Made last, so that nothing is ever written through one.
    let mut links = BTreeMap::new();
    for at in 0..zip.len() {
        let mut entry = zip.by_index(at).map_err(unreadable)?;
        let name = entry.name().map_err(unreadable)?.into_owned();
        let path = path_of(&name)?;
        let mode = entry.unix_mode().unwrap_or_default();
        if entry.is_dir() || mode & KIND == KIND_FOLDER {
            if !path.as_os_str().is_empty() {
                folders(folder, &path)?;
            }
            continue;
        }
        if path.as_os_str().is_empty() {
            return Err(bad_name(&name, "names no file").into());
        }
        if mode & KIND == KIND_LINK {
            links.insert(path, link_target(&mut entry)?);
            continue;
        }
        if !matches!(mode & KIND, 0 | KIND_FILE) {
            return Err(bad_name(&name, "is neither a file nor a folder nor a link").into());
        }
        links.remove(&path);
        let program = mode & 0o111 != 0;
        left -= write(folder, &path, program, &mut entry, left).map_err(|error| match error {
            Error::BadArchive(BadArchive::TooLarge { .. }) => {
                BadArchive::TooLarge { max: bytes_max }.into()
            }
            other => other,
        })?;
    }
    for (path, target) in links {
        link(folder, &path, &target)?;
    }
    Ok(())
}

/// The path that a name stands for, relative to wherever it is unpacked.
fn path_of(name: &str) -> Result<PathBuf, Error> {
    // Archives from Windows may have its separators.
    let plain = if name.contains('/') {
        name.to_owned()
    } else {
        name.replace('\\', "/")
    };
    if plain.contains('\0') {
        return Err(bad_name(name, "holds a NUL character").into());
    }
    if plain.starts_with('/') {
        return Err(bad_name(name, "is absolute").into());
    }
    let mut path = PathBuf::new();
    for part in plain.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(bad_name(name, "leads out of the package").into()),
            part if part.len() > 255 => return Err(bad_name(name, "is too long").into()),
            part => path.push(part),
        }
    }
    Ok(path)
}

fn link_target(entry: &mut impl Read) -> Result<String, Error> {
    let mut target = String::new();
    let read = entry.take(LINK_BYTES_MAX + 1).read_to_string(&mut target);
    read.map_err(|error| BadArchive::Unreadable(error.to_string()))?;
    if target.is_empty() || target.len() as u64 > LINK_BYTES_MAX || target.contains('\0') {
        return Err(BadArchive::Link("a link leads nowhere".to_owned()).into());
    }
    Ok(target)
}

/// Makes the folders of a path.
fn folders(root: &Path, path: &Path) -> Result<(), Error> {
    let whole = root.join(path);
    fs::create_dir_all(&whole).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            bad_name(&path.to_string_lossy(), "is a file and a folder").into()
        }
        _ => disk::failed("write", &whole, &error),
    })
}

/// Writes one file of at most `left` bytes; answers how many they were.
fn write(
    root: &Path,
    path: &Path,
    program: bool,
    entry: &mut impl Read,
    left: u64,
) -> Result<u64, Error> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        folders(root, parent)?;
    }
    let whole = root.join(path);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let opened = options
        .mode(if program { 0o755 } else { 0o644 })
        .open(&whole);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => {
            bad_name(&path.to_string_lossy(), "is a file and a folder").into()
        }
        _ => disk::failed("write", &whole, &error),
    })?;
    // Whatever the archive says of its size: one byte more is too many.
    let mut limited = entry.take(left.saturating_add(1));
    let mut buffer = vec![0; 64 * 1024];
    let mut written = 0;
    loop {
        let count = match limited.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BadArchive::Unreadable(error.to_string()).into()),
        };
        written += count as u64;
        if written > left {
            return Err(BadArchive::TooLarge { max: left }.into());
        }
        let some = buffer.get(..count).unwrap_or_default();
        io::Write::write_all(&mut file, some)
            .map_err(|error| disk::failed("write", &whole, &error))?;
    }
    Ok(written)
}

fn link(root: &Path, path: &Path, target: &str) -> Result<(), Error> {
    let name = || path.to_string_lossy().into_owned();
    let mut parent = root.to_owned();
    for part in path.parent().into_iter().flat_map(Path::components) {
        parent.push(part);
        // Links are made in the order of their names: one that is on the way is here by now.
        if fs::symlink_metadata(&parent).is_ok_and(|found| found.is_symlink()) {
            return Err(bad_name(&name(), "is in a folder that is a link").into());
        }
    }
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        folders(root, parent)?;
    }
    let whole = root.join(path);
    if fs::symlink_metadata(&whole).is_ok_and(|found| found.is_file()) {
        fs::remove_file(&whole).map_err(|error| disk::failed("remove", &whole, &error))?;
    }
    symlink(target, &whole).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => bad_name(&name(), "is a link and a folder").into(),
        _ => disk::failed("write", &whole, &error),
    })
}

fn bad_name(name: &str, problem: &'static str) -> BadArchive {
    BadArchive::Name {
        name: name.chars().take(200).collect(),
        problem,
    }
}

fn unreadable(error: zip::result::ZipError) -> Error {
    BadArchive::Unreadable(error.to_string()).into()
}

#[cfg(test)]
mod tests;
