//! What there is to store: walks folders, lays them over each other and refuses what no tree
//! can hold.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::manifest::{Content, Manifest, Node};
use super::stage;
use crate::Error;

/// Things in one tree: more than any package has, few enough to hold in memory.
const NODES_MAX: usize = 500_000;

/// Links followed while one is resolved, as many as the kernel follows.
const HOPS_MAX: usize = 40;

/// A folder to store, and what of it is not.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// Asked with a path relative to the folder and whether it is a folder itself; what it says
    /// yes to is left out.
    pub ignore: &'a (dyn Fn(&Path, bool) -> bool + 'a),
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.folder).finish()
    }
}

impl<'a> Source<'a> {
    /// All of a folder.
    pub fn all(folder: &'a Path) -> Self {
        Self {
            folder,
            ignore: &|_, _| false,
        }
    }
}

/// Something found in a source.
#[derive(Debug)]
pub(super) enum Found {
    Folder,
    File(File),
    Link { target: PathBuf, source: PathBuf },
}

/// A file found in a source, and what `stat` said of it.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Which of the sources it is from.
    pub(super) source: usize,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size_bytes: u64,
    pub(super) modified_ns: i128,
    pub(super) changed_ns: i128,
    pub(super) executable: bool,
}

impl File {
    fn new(path: PathBuf, source: usize, found: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            path,
            source,
            device: found.dev(),
            inode: found.ino(),
            size_bytes: found.len(),
            modified_ns: ns(found.mtime(), found.mtime_nsec()),
            changed_ns: ns(found.ctime(), found.ctime_nsec()),
            executable: found.mode() & 0o111 != 0,
        }
    }
}

impl File {
    /// What it contains, if `stat` is to be believed and this is its digest.
    pub(super) fn content(&self, sha256: [u8; 32]) -> Content {
        Content {
            sha256,
            size_bytes: self.size_bytes,
            executable: self.executable,
        }
    }
}

/// What the sources hold together, by path relative to their roots.
#[derive(Debug)]
pub(super) struct Sources {
    /// The sources' own paths.
    pub(super) roots: Vec<PathBuf>,
    pub(super) found: BTreeMap<OsString, Found>,
}

impl Sources {
    /// The manifest, every file read.
    pub(super) fn hash_all(self) -> Result<Manifest, Error> {
        let nodes = self.found.into_iter().map(|(path, found)| {
            let node = match found {
                Found::Folder => Node::Folder,
                Found::Link { target, .. } => Node::Link(target),
                Found::File(file) => Node::File(stage::hash(&file)?),
            };
            Ok((path, node))
        });
        Ok(Manifest {
            nodes: nodes.collect::<Result<_, Error>>()?,
        })
    }

    /// Sum of the sizes of all files, in bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        let size = |found: &Found| match found {
            Found::File(file) => file.size_bytes,
            Found::Folder | Found::Link { .. } => 0,
        };
        self.found.values().map(size).sum()
    }

    fn add(&mut self, path: PathBuf, found: Found) {
        let was_folder = matches!(self.found.get(path.as_os_str()), Some(Found::Folder));
        if was_folder && !matches!(found, Found::Folder) {
            self.found
                .retain(|other, _| !Path::new(other).starts_with(&path));
        }
        self.found.insert(path.into_os_string(), found);
    }
}

/// Walks the sources. What a source ignores is left out, a folder with all that is in it.
pub(super) fn walk(sources: &[Source<'_>]) -> Result<Sources, Error> {
    let roots = sources
        .iter()
        .map(|source| source.folder.to_path_buf())
        .collect();
    let mut all = Sources {
        roots,
        found: BTreeMap::new(),
    };
    for (index, source) in sources.iter().enumerate() {
        walk_one(&mut all, index, source.folder, source.ignore)?;
    }
    for (path, found) in &all.found {
        if let Found::Link { target, source } = found {
            stays_inside(&all.found, path, target).map_err(|problem| Error::Unstorable {
                path: source.clone(),
                problem,
            })?;
        }
    }
    Ok(all)
}

fn walk_one(
    all: &mut Sources,
    index: usize,
    root: &Path,
    ignore: &dyn Fn(&Path, bool) -> bool,
) -> Result<(), Error> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let inside = root.join(&folder);
        for entry in fs::read_dir(&inside).map_err(|error| unreadable(&inside, &error))? {
            let entry = entry.map_err(|error| unreadable(&inside, &error))?;
            let path = folder.join(entry.file_name());
            let source = entry.path();
            let metadata = entry
                .metadata()
                .map_err(|error| unreadable(&source, &error))?;
            if ignore(&path, metadata.is_dir()) {
                continue;
            }
            let found = look(&source, index, &metadata)?;
            if matches!(found, Found::Folder) {
                folders.push(path.clone());
            }
            all.add(path, found);
            if all.found.len() > NODES_MAX {
                let problem = format!("it holds more than {NODES_MAX} files and folders");
                return Err(Error::Unstorable {
                    path: root.to_owned(),
                    problem,
                });
            }
        }
    }
    Ok(())
}

fn look(path: &Path, source: usize, metadata: &Metadata) -> Result<Found, Error> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Ok(Found::Folder);
    }
    if kind.is_file() {
        return Ok(Found::File(File::new(path.to_owned(), source, metadata)));
    }
    if kind.is_symlink() {
        let target = fs::read_link(path).map_err(|error| unreadable(path, &error))?;
        return Ok(Found::Link {
            target,
            source: path.to_owned(),
        });
    }
    let what = if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a named pipe"
    } else {
        "a device"
    };
    let problem = format!("it is {what}, which code cannot hold; remove it or leave it out");
    Err(Error::Unstorable {
        path: path.to_owned(),
        problem,
    })
}

/// A source that cannot be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::Unstorable {
        path: path.to_owned(),
        problem: format!("it cannot be read: {error}"),
    }
}

/// Follows a link as the kernel would, from link to link, and fails where it leaves the tree.
fn stays_inside(
    found: &BTreeMap<OsString, Found>,
    link: &OsStr,
    target: &Path,
) -> Result<(), String> {
    let outside = || {
        format!(
            "it is a link to {}, outside of the folder; copy the file instead",
            target.display()
        )
    };
    let mut at = Path::new(link)
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let mut steps = VecDeque::new();
    follow(&mut steps, target).ok_or_else(outside)?;
    let mut hops = 1;
    while let Some(step) = steps.pop_front() {
        match step {
            None if !at.pop() => return Err(outside()),
            None => {}
            Some(name) => {
                at.push(name);
                if let Some(Found::Link { target, .. }) = found.get(at.as_os_str()) {
                    at.pop();
                    follow(&mut steps, target).ok_or_else(outside)?;
                    hops += 1;
                }
            }
        }
        if hops > HOPS_MAX {
            return Err(format!(
                "it is a link to {}, which runs in a circle",
                target.display()
            ));
        }
    }
    Ok(())
}

/// Puts a link's steps before those that remain: names, or none for `..`. None where the link
/// is absolute.
fn follow(steps: &mut VecDeque<Option<OsString>>, target: &Path) -> Option<()> {
    for component in target.components().rev() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => steps.push_front(None),
            Component::Normal(name) => steps.push_front(Some(name.to_owned())),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(())
}
