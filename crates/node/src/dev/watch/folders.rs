//! Watches folder by folder, as far as a project enters them: never what tools and the platform
//! keep beside the code.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use notify::{ErrorKind, RecursiveMode, Watcher};

/// The folders that are watched.
pub(super) struct Folders {
    watcher: Box<dyn Watcher + Send>,
    watched: BTreeSet<PathBuf>,
}

impl std::fmt::Debug for Folders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folders")
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}

impl Folders {
    pub(super) fn new(watcher: Box<dyn Watcher + Send>) -> Self {
        Self {
            watcher,
            watched: BTreeSet::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn watched(&self) -> &BTreeSet<PathBuf> {
        &self.watched
    }

    /// Watches all that the project is made of, and nothing else any more.
    pub(super) fn follow(&mut self, project: &stacks::Watch) -> Result<(), notify::Error> {
        let before = std::mem::take(&mut self.watched);
        for root in project.roots() {
            self.walk(root, project, &before, &mut |_| {})?;
        }
        for left in before.difference(&self.watched) {
            // One that is gone from the disk is no longer watched anyway.
            let _ = self.watcher.unwatch(left);
        }
        Ok(())
    }

    /// Watches folders that have appeared. Answers the files in them that matter.
    pub(super) fn enter(
        &mut self,
        appeared: &BTreeSet<PathBuf>,
        project: &stacks::Watch,
    ) -> Result<BTreeSet<PathBuf>, notify::Error> {
        let mut held = BTreeSet::new();
        for folder in appeared {
            // What was watched by these names was another folder.
            self.watched.retain(|old| !old.starts_with(folder));
            let mut hold = |path: &Path| {
                if project.relevant(path).is_some() {
                    held.insert(path.to_owned());
                }
            };
            self.walk(folder.clone(), project, &BTreeSet::new(), &mut hold)?;
        }
        Ok(held)
    }

    /// Watches a folder and what the project enters below it, before it looks at what is there:
    /// what comes later is told. Those of `before` are watched already.
    fn walk(
        &mut self,
        top: PathBuf,
        project: &stacks::Watch,
        before: &BTreeSet<PathBuf>,
        file: &mut dyn FnMut(&Path),
    ) -> Result<(), notify::Error> {
        let mut left = vec![top];
        while let Some(folder) = left.pop() {
            if self.watched.contains(&folder) {
                continue;
            }
            if !before.contains(&folder)
                && let Err(error) = self.watcher.watch(&folder, RecursiveMode::NonRecursive)
            {
                if is_out_of_reach(&error) {
                    continue;
                }
                return Err(error);
            }
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            for entry in entries {
                let path = entry.path();
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    file(&path);
                } else if project.enters(&path) {
                    left.push(path);
                }
            }
            self.watched.insert(folder);
        }
        Ok(())
    }
}

/// A folder that has gone again, or that may not be read, is nothing to be told of.
fn is_out_of_reach(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotADirectory
        ),
        _ => false,
    }
}
