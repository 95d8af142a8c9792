//! Trees as zip archives, for whoever wants code back that came as a folder. Equal trees make
//! equal archives, and what was packed unpacks to the tree that it was.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::source::{self, Found, Source};
use super::{Trees, remove};
use crate::{Error, disk};

/// How hard is tried to make it small: hardly, as somebody waits for it.
const EFFORT: i64 = 1;

impl Trees {
    /// A stored tree as a zip archive: a file that has no name any more and is gone when it is
    /// closed, to be read from its beginning. Links are kept, and so is which files are programs.
    pub fn pack(&self, digest: &str) -> Result<File, Error> {
        let tree = self.path(digest)?;
        let folder = self.folder.join(self.random_name());
        disk::folder(&folder, 0o700)?;
        let packed = pack_to(&tree, &folder.join("zip"));
        remove(&folder);
        packed
    }
}

fn pack_to(tree: &Path, target: &Path) -> Result<File, Error> {
    let failed = |error: &io::Error| disk::failed("pack into", target, error);
    let found = source::walk(&[Source::all(tree)])?.found;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(target).map_err(|error| failed(&error))?;
    let mut zip = ZipWriter::new(BufWriter::new(file));
    for (path, found) in &found {
        let name = name_of(tree, path)?;
        let packed = match found {
            Found::Folder => zip.add_directory(name, options_of(0o755)),
            Found::Link { target, source } => {
                let target = text(source, target.as_os_str())?;
                zip.add_symlink(name, target, options_of(0o777))
            }
            Found::File(found) => {
                let mode = if found.executable { 0o755 } else { 0o644 };
                let options = options_of(mode).large_file(found.size_bytes >= u64::from(u32::MAX));
                zip.start_file(name, options)
                    .and_then(|()| copy(&found.path, &mut zip))
            }
        };
        packed.map_err(|error| failed(&plain(error)))?;
    }
    let written = zip.finish().map_err(plain);
    let whole = written.and_then(|file| file.into_inner().map_err(io::IntoInnerError::into_error));
    let mut file = whole.map_err(|error| failed(&error))?;
    file.rewind().map_err(|error| failed(&error))?;
    Ok(file)
}

fn copy(from: &Path, zip: &mut impl io::Write) -> Result<(), ZipError> {
    io::copy(&mut File::open(from)?, zip)?;
    Ok(())
}

/// The same at all times: nothing in an archive tells when or by whom it was made.
fn options_of(mode: u32) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(EFFORT))
        .last_modified_time(DateTime::default())
        .unix_permissions(mode)
}

fn name_of<'a>(tree: &Path, path: &'a OsStr) -> Result<&'a str, Error> {
    text(&tree.join(path), path)
}

fn text<'a>(path: &Path, name: &'a OsStr) -> Result<&'a str, Error> {
    name.to_str().ok_or_else(|| Error::Unstorable {
        path: path.to_owned(),
        problem: "its name is no text, which a zip archive cannot hold".to_owned(),
    })
}

fn plain(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn bytes(trees: &Trees, digest: &str) -> Vec<u8> {
        let mut packed = Vec::new();
        trees
            .pack(digest)
            .unwrap()
            .read_to_end(&mut packed)
            .unwrap();
        packed
    }

    #[test]
    fn what_is_packed_unpacks_to_the_same_tree() {
        let (shelf, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (trees, source) = (Trees::open(shelf.path()).unwrap(), folder.path());
        fs::create_dir_all(source.join("lib/empty")).unwrap();
        fs::write(source.join("app.py"), "print('grüß')").unwrap();
        fs::write(source.join("lib/größe.bin"), vec![7; 100_000]).unwrap();
        fs::write(source.join("run"), "#!/bin/sh").unwrap();
        fs::set_permissions(source.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("../run", source.join("lib/start")).unwrap();
        let tree = trees.put(source).unwrap();

        let packed = bytes(&trees, &tree.digest);
        assert_eq!(packed, bytes(&trees, &tree.digest));
        assert!(packed.len() < 10_000, "{} bytes", packed.len());
        let again = trees.put_zip(&packed, "code.zip", 1_000_000).unwrap();
        assert_eq!(again.code, tree);
        let left = disk::names(shelf.path()).unwrap();
        let half_done = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(".tmp");
        assert!(!left.iter().any(half_done), "{left:?}");
    }

    #[test]
    fn what_an_archive_cannot_hold_is_said() {
        use std::os::unix::ffi::OsStrExt as _;
        let (shelf, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let trees = Trees::open(shelf.path()).unwrap();
        fs::write(folder.path().join(OsStr::from_bytes(b"\xff.py")), "").unwrap();
        let tree = trees.put(folder.path()).unwrap();
        let packed = trees.pack(&tree.digest);
        assert!(
            matches!(packed, Err(Error::Unstorable { .. })),
            "{packed:?}"
        );
        let packed = trees.pack(&"0".repeat(64));
        assert!(matches!(packed, Err(Error::Missing { .. })), "{packed:?}");
    }
}
