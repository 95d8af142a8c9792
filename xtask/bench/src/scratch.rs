//! A folder of the run's own, gone when it ends.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Dropping it removes it with everything in it.
#[derive(Debug)]
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dayfly-bench-").tempdir();
        folder.map(Self).context("make a scratch folder")
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file below it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.path().join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}
