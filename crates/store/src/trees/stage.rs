//! Brings files in: reads what is new into a folder of its own, builds the tree from links,
//! syncs, and only then gives both their names.

use std::collections::HashMap;
use std::fs::{self, File as Handle, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::manifest::{Content, Manifest, Node};
use super::source::{File, Found, Sources, unreadable};
use super::stat::Stats;
use super::{blob_name, remove};
use crate::{Error, disk};

/// Smaller files are read whole before anything is written: most turn out to be there already.
const WHOLE_BYTES_MAX: u64 = 8 << 20;

/// Files and folders up to which each is synced by itself. Beyond, one sync of the file system
/// is cheaper; below, it would wait for what others write to it.
const SINGLE_SYNCS_MAX: usize = 24;

/// New content on its way in. What is left of it is removed on drop.
#[derive(Debug)]
pub(super) struct Stage {
    blobs: PathBuf,
    folder: PathBuf,
    /// Blob names and the staged files that shall bear them.
    staged: HashMap<String, PathBuf>,
    /// Where content that was remembered and not read is to be had, should its blob be gone.
    unread: HashMap<([u8; 32], bool), File>,
    /// How many files were made in the folder so far; their names are numbers.
    made: u64,
    /// Where files are read to, kept for its size.
    buffer: Vec<u8>,
}

impl Stage {
    /// A stage under this name in the folder of the blobs.
    pub(super) fn new(blobs: &Path, name: &str) -> Result<Self, Error> {
        let folder = blobs.join(name);
        disk::folder(&folder, 0o700)?;
        Ok(Self {
            blobs: blobs.to_owned(),
            folder,
            staged: HashMap::new(),
            unread: HashMap::new(),
            made: 0,
            buffer: Vec::new(),
        })
    }

    /// Takes in whatever is not there yet. Answers what the sources are made of.
    pub(super) fn take(
        &mut self,
        sources: Sources,
        stats: &Path,
        now_us: u64,
    ) -> Result<Manifest, Error> {
        let mut known: Vec<Stats> = sources
            .roots
            .iter()
            .map(|root| Stats::load(stats, root))
            .collect();
        let mut manifest = Manifest::default();
        for (path, found) in sources.found {
            let node = match found {
                Found::Folder => Node::Folder,
                Found::Link { target, .. } => Node::Link(target),
                Found::File(file) => {
                    let Some(stats) = known.get_mut(file.source) else {
                        continue;
                    };
                    let known = stats.find(&file);
                    let content = match known {
                        Some(sha256) => file.content(sha256),
                        None => self.take_file(&file)?,
                    };
                    stats.remember(&file, content.sha256, now_us);
                    if known.is_some() {
                        self.unread
                            .insert((content.sha256, content.executable), file);
                    }
                    Node::File(content)
                }
            };
            manifest.nodes.insert(path, node);
        }
        known.iter().for_each(Stats::save);
        Ok(manifest)
    }

    fn take_file(&mut self, file: &File) -> Result<Content, Error> {
        if file.size_bytes <= WHOLE_BYTES_MAX {
            self.take_whole(file)
        } else {
            self.take_streamed(file)
        }
    }

    fn take_whole(&mut self, file: &File) -> Result<Content, Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let read = open(file)?.read_to_end(&mut buffer);
        read.map_err(|error| unreadable(&file.path, &error))?;
        let size_bytes = buffer.len() as u64;
        let content = Content {
            size_bytes,
            ..file.content(Sha256::digest(&buffer).into())
        };
        let name = blob_name(&content);
        if !self.has(&name, &content) {
            let (path, mut staged) = self.create()?;
            staged
                .write_all(&buffer)
                .map_err(|error| disk::failed("write", &path, &error))?;
            self.keep(name, path, &staged, content.executable)?;
        }
        self.buffer = buffer;
        Ok(content)
    }

    /// Copies and hashes in one pass, or shares the source's blocks where the file system can.
    fn take_streamed(&mut self, file: &File) -> Result<Content, Error> {
        let source = open(file)?;
        let (path, staged) = self.create()?;
        let content = if rustix::fs::ioctl_ficlone(&staged, &source).is_ok() {
            let copy = Handle::open(&path).map_err(|error| disk::failed("open", &path, &error))?;
            digest(copy, file, &mut io::sink())
        } else {
            digest(source, file, &mut &staged)
        }
        .map_err(|failure| match failure {
            Failure::Read(error) => unreadable(&file.path, &error),
            Failure::Write(error) => disk::failed("write", &path, &error),
        })?;
        let name = blob_name(&content);
        if self.has(&name, &content) {
            fs::remove_file(&path).map_err(|error| disk::failed("remove", &path, &error))?;
        } else {
            self.keep(name, path, &staged, content.executable)?;
        }
        Ok(content)
    }

    fn has(&self, name: &str, content: &Content) -> bool {
        let whole = |blob: fs::Metadata| blob.len() == content.size_bytes;
        self.staged.contains_key(name) || fs::metadata(self.blobs.join(name)).is_ok_and(whole)
    }

    fn create(&mut self) -> Result<(PathBuf, Handle), Error> {
        self.made += 1;
        let path = self.folder.join(self.made.to_string());
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path);
        file.map_err(|error| disk::failed("make", &path, &error))
            .map(|file| (path.clone(), file))
    }

    fn keep(
        &mut self,
        name: String,
        path: PathBuf,
        file: &Handle,
        executable: bool,
    ) -> Result<(), Error> {
        let mode = if executable { 0o755 } else { 0o644 };
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(|error| disk::failed("set the rights of", &path, &error))?;
        self.staged.insert(name, path);
        Ok(())
    }

    /// Builds the tree at `built`, syncs it and everything in it, and renames it to `name`.
    pub(super) fn build(
        &mut self,
        manifest: &Manifest,
        built: &Path,
        name: &Path,
    ) -> Result<(), Error> {
        let mut folders = vec![built.to_owned()];
        make_folder(built)?;
        for (path, node) in &manifest.nodes {
            let path = built.join(path);
            match node {
                Node::Folder => {
                    make_folder(&path)?;
                    folders.push(path);
                }
                Node::Link(target) => std::os::unix::fs::symlink(target, &path)
                    .map_err(|error| disk::failed("link", &path, &error))?,
                Node::File(content) => self.link(content, &path)?,
            }
        }
        self.sync(&folders)?;
        self.publish()?;
        give_name(built, name)
    }

    fn link(&mut self, content: &Content, path: &Path) -> Result<(), Error> {
        let name = blob_name(content);
        let from = self
            .staged
            .get(&name)
            .cloned()
            .unwrap_or_else(|| self.blobs.join(&name));
        let failed = |error: &io::Error| disk::failed("link", path, error);
        match fs::hard_link(&from, path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let Some(file) = self.unread.remove(&(content.sha256, content.executable)) else {
                    return Err(failed(&error));
                };
                if self.take_file(&file)?.sha256 != content.sha256 {
                    return Err(changed(&file));
                }
                self.link(content, path)
            }
            // A file can only have so many names; its twin takes over from here.
            Err(error) if error.raw_os_error() == Some(Errno::MLINK.raw_os_error()) => {
                let (twin, file) = self.create()?;
                fs::copy(&from, &twin).map_err(|error| disk::failed("copy", &from, &error))?;
                self.keep(name, twin.clone(), &file, content.executable)?;
                fs::hard_link(&twin, path).map_err(|error| failed(&error))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Waits until the new files and folders are on disk. Never done twice for one stage.
    fn sync(&self, folders: &[PathBuf]) -> Result<(), Error> {
        // A file that was made and is not staged any more has a twin, and names in the tree too.
        let all_staged = self.staged.len() as u64 == self.made;
        if !all_staged || self.staged.len() + folders.len() > SINGLE_SYNCS_MAX {
            let failed = |error: io::Error| disk::failed("sync", &self.folder, &error);
            let folder = Handle::open(&self.folder).map_err(failed)?;
            return rustix::fs::syncfs(&folder).map_err(|error| failed(error.into()));
        }
        // Links are not files to sync, but the folder that names one is; folders inside out, so
        // that none is on disk whose content is not.
        self.staged
            .values()
            .chain(folders.iter().rev())
            .try_for_each(|path| disk::sync_folder(path))
    }

    /// Gives the staged files the names under which later trees find them. They are on disk by
    /// now: whoever finds one need not sync it again.
    fn publish(&mut self) -> Result<(), Error> {
        for (name, staged) in self.staged.drain() {
            let path = self.blobs.join(name);
            if let Some(shelf) = path.parent() {
                disk::folder(shelf, 0o755)?;
            }
            fs::rename(&staged, &path).map_err(|error| disk::failed("name", &path, &error))?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// The content of a file, read from its source.
pub(super) fn hash(file: &File) -> Result<Content, Error> {
    digest(open(file)?, file, &mut io::sink()).map_err(|failure| match failure {
        Failure::Read(error) | Failure::Write(error) => unreadable(&file.path, &error),
    })
}

/// Which side of a copy failed.
#[derive(Debug)]
enum Failure {
    Read(io::Error),
    Write(io::Error),
}

fn digest(mut from: Handle, file: &File, to: &mut dyn Write) -> Result<Content, Failure> {
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; 1 << 17];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Read(error)),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        hash.update(bytes);
        to.write_all(bytes).map_err(Failure::Write)?;
        size_bytes += bytes.len() as u64;
    }
    Ok(Content {
        size_bytes,
        ..file.content(hash.finalize().into())
    })
}

/// Opens a source's file; one that has become something else since it was found is refused
/// rather than followed or waited for.
fn open(file: &File) -> Result<Handle, Error> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(&file.path);
    let opened = opened.map_err(|error| unreadable(&file.path, &error))?;
    let metadata = opened
        .metadata()
        .map_err(|error| unreadable(&file.path, &error))?;
    if metadata.is_file() {
        return Ok(opened);
    }
    Err(changed(file))
}

fn changed(file: &File) -> Error {
    let problem = "it changed while it was read; try again".to_owned();
    Error::Unstorable {
        path: file.path.clone(),
        problem,
    }
}

/// Rights are set apart from making, because the process's mask takes some away.
fn make_folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .mode(0o755)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .map_err(|error| disk::failed("make folder", path, &error))
}

/// Gives the finished tree its name. Another who was faster has stored the same.
fn give_name(built: &Path, name: &Path) -> Result<(), Error> {
    match fs::rename(built, name) {
        Ok(()) => {}
        Err(_) if name.is_dir() => remove(built),
        Err(error) => return Err(disk::failed("name", name, &error)),
    }
    name.parent().map_or(Ok(()), disk::sync_folder)
}
