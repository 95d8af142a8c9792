//! The work tree: where it is and which files in it are ours.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What tools make or fetch, never what we wrote.
const MADE: [&str; 6] = [
    "target",
    ".git",
    ".dayfly",
    "node_modules",
    "__pycache__",
    ".venv",
];

/// The root of the work tree that this program was built from.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// A file of the work tree.
#[derive(Debug)]
pub struct File {
    /// Path below the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl File {
    /// Whether its path is this one or lies below it.
    pub fn is_in(&self, folder: &str) -> bool {
        self.path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || folder.ends_with('/'))
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is a test, bench or example of a crate rather than part of it.
    pub fn is_test(&self) -> bool {
        let under = |folder: &str| self.path.split('/').any(|part| part == folder);
        under("tests") || under("benches") || under("examples") || self.path.ends_with("/tests.rs")
    }
}

/// Every text file of the work tree, in path order.
pub fn files(root: &Path) -> Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            // Of a further work tree of git, `.git` is a file.
            if MADE.iter().any(|made| entry.file_name() == *made) {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.extend(read(root, &entry.path())?);
            }
        }
    }
    found.sort_by(|a: &File, b: &File| a.path.cmp(&b.path));
    Ok(found)
}

/// `1 place`, `2 places`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// None for a file that is not text.
fn read(root: &Path, path: &Path) -> Result<Option<File>> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(None);
    };
    let path = path.strip_prefix(root)?.to_string_lossy().into_owned();
    Ok(Some(File { path, text }))
}
