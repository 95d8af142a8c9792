//! Code as folders of files under the digest of their content: stored once, never changed.
//! Equal files of different trees are one file on disk.

mod archive;
mod manifest;
mod pack;
mod source;
mod stage;
mod stat;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};

pub use self::archive::{BadArchive, Unpacked};
pub use self::source::Source;

use self::manifest::Content;
use self::stage::Stage;
use self::stat::Stats;
use crate::disk::{self, Lock};
use crate::{Clock, Error, SystemClock};

/// What begins the names of folders that are not finished, or not wanted any more.
const UNFINISHED: &str = ".tmp-";

/// A stored tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// SHA-256 of its manifest, 64 lower-case hexadecimal digits.
    pub digest: String,
    /// Sum of the sizes of its files, in bytes.
    pub size_bytes: u64,
    /// How many files it has; folders and links are not counted.
    pub files: u64,
}

/// Content-addressed trees of files. All its methods block: call them from `spawn_blocking`.
#[derive(Debug)]
pub struct Trees {
    folder: PathBuf,
    clock: SystemClock,
    /// Held for reading by those who add, for writing by the one who sweeps: a file that is
    /// about to be linked must not be swept away.
    sweep: RwLock<()>,
    /// Digests put by this process that nobody is known to use yet.
    fresh: Mutex<HashSet<String>>,
    /// Given up on drop.
    _lock: Lock,
}

impl Trees {
    /// Opens the folder, made where it is not there: `trees`, `blobs` and what they need are
    /// kept in it. What an earlier process left half done is removed. One process at a time
    /// can have it open.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        disk::private_folder(folder)?;
        let lock = Lock::take(folder, "trees.lock")?;
        let trees = Self {
            folder: folder.to_owned(),
            clock: SystemClock::new(),
            sweep: RwLock::new(()),
            fresh: Mutex::default(),
            _lock: lock,
        };
        // Code is mounted into sandboxes whose users are not ours: theirs to enter and read,
        // behind a folder that nobody else of this host gets through.
        for folder in [trees.trees(), trees.blobs(), trees.stats()] {
            disk::folder(&folder, 0o755)?;
        }
        for folder in [trees.trees(), trees.blobs(), trees.folder.clone()] {
            disk::remove_marked(&folder, UNFINISHED)?;
        }
        Stats::prune(&trees.stats());
        Ok(trees)
    }

    /// Stores a folder. It is on disk when this returns.
    pub fn put(&self, source: &Path) -> Result<Tree, Error> {
        self.put_merged(&[Source::all(source)])
    }

    /// Stores several folders over each other; of two files with one name the later source's
    /// stays. It is on disk when this returns.
    pub fn put_merged(&self, sources: &[Source<'_>]) -> Result<Tree, Error> {
        let found = source::walk(sources)?;
        let _sweep = self.sweep.read();
        let mut stage = Stage::new(&self.blobs(), &self.random_name())?;
        let manifest = stage.take(found, &self.stats(), self.clock.now_us())?;
        let tree = manifest.tree();
        if self.contains(&tree.digest) {
            // Whoever is storing it at this moment may not have synced its name yet.
            disk::sync_folder(&self.trees())?;
        } else {
            let built = self.trees().join(self.random_name());
            let stored = stage.build(&manifest, &built, &self.trees().join(&tree.digest));
            if stored.is_err() {
                remove(&built);
            }
            stored?;
        }
        self.fresh.lock().insert(tree.digest.clone());
        Ok(tree)
    }

    /// The folder of a stored tree. Nothing in it may be changed.
    pub fn path(&self, digest: &str) -> Result<PathBuf, Error> {
        let missing = || Error::Missing {
            digest: digest.chars().take(100).collect(),
        };
        let shaped = digest.len() == 64
            && digest
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !shaped {
            return Err(missing());
        }
        let path = self.trees().join(digest);
        if path.is_dir() {
            Ok(path)
        } else {
            Err(missing())
        }
    }

    /// One file of a stored tree, to be read.
    pub fn open_file(&self, digest: &str, name: &str) -> Result<File, Error> {
        let path = self.path(digest)?.join(name);
        File::open(&path).map_err(|error| Error::Damaged {
            what: format!("tree {digest}"),
            detail: format!("{name}: {error}"),
        })
    }

    /// Whether a tree is stored.
    pub fn contains(&self, digest: &str) -> bool {
        self.path(digest).is_ok()
    }

    /// Sum of the sizes of a stored tree's files, in bytes.
    pub fn size_bytes(&self, digest: &str) -> Result<u64, Error> {
        let path = self.path(digest)?;
        Ok(source::walk(&[Source::all(&path)])?.size_bytes())
    }

    /// Says of trees that they are in use from now on, until `keep` of a later sweep is without
    /// them.
    pub fn recorded<'a>(&self, digests: impl IntoIterator<Item = &'a str>) {
        let mut fresh = self.fresh.lock();
        for digest in digests {
            fresh.remove(digest);
        }
    }

    /// Removes the trees that are not in `keep`, and what only they needed. A tree put by this
    /// process stays until it was in `keep` or [`Trees::recorded`] once, so that one not yet in
    /// use is safe. Answers how many trees were removed.
    pub fn remove_unreferenced(&self, keep: &HashSet<String>) -> Result<u64, Error> {
        let _sweep = self.sweep.write();
        let mut fresh = self.fresh.lock();
        fresh.retain(|digest| !keep.contains(digest));
        let mut removed = 0;
        for name in disk::names(&self.trees())? {
            let wanted = name
                .to_str()
                .is_some_and(|name| keep.contains(name) || fresh.contains(name));
            if wanted {
                continue;
            }
            // Renamed first: a tree is there as a whole or not at all.
            let gone = self.trees().join(self.random_name());
            let path = self.trees().join(&name);
            fs::rename(&path, &gone).map_err(|error| disk::failed("remove", &path, &error))?;
            fs::remove_dir_all(&gone).map_err(|error| disk::failed("remove", &gone, &error))?;
            removed += 1;
        }
        if removed > 0 {
            self.remove_unlinked()?;
        }
        Ok(removed)
    }

    /// Removes files that no tree has.
    fn remove_unlinked(&self) -> Result<(), Error> {
        for shelf in disk::names(&self.blobs())? {
            let shelf = self.blobs().join(shelf);
            for name in disk::names(&shelf)? {
                let path = shelf.join(name);
                let links = fs::symlink_metadata(&path).map(|found| found.nlink());
                if links.is_ok_and(|links| links == 1) {
                    fs::remove_file(&path)
                        .map_err(|error| disk::failed("remove", &path, &error))?;
                }
            }
        }
        Ok(())
    }

    /// Reads a whole tree and compares it with its digest.
    pub fn verify(&self, digest: &str) -> Result<(), Error> {
        let path = self.path(digest)?;
        let damaged = |detail: String| Error::Damaged {
            what: format!("tree {digest}"),
            detail,
        };
        let found =
            source::walk(&[Source::all(&path)]).map_err(|error| damaged(error.to_string()))?;
        let manifest = found
            .hash_all()
            .map_err(|error| damaged(error.to_string()))?;
        let actual = manifest.tree().digest;
        if actual == digest {
            Ok(())
        } else {
            Err(damaged(format!("its content has digest {actual}")))
        }
    }

    fn trees(&self) -> PathBuf {
        self.folder.join("trees")
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    fn stats(&self) -> PathBuf {
        self.folder.join("stats")
    }

    fn random_name(&self) -> String {
        format!(
            "{UNFINISHED}{:032x}",
            u128::from_le_bytes(self.clock.random_id())
        )
    }
}

/// Where a file's content is kept, relative to `blobs`. Rights belong to a file and not to its
/// names, so that an executable and its plain twin are two.
fn blob_name(content: &Content) -> String {
    let hex = manifest::hex(&content.sha256);
    let kind = if content.executable { "-x" } else { "" };
    format!("{}/{hex}{kind}", &hex[..2])
}

/// Removes what is there, as far as it goes; what stays is swept at the next opening.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "left for the next start to remove");
    }
}
