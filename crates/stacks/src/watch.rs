//! Which paths matter to a project, so that a change is answered with the least work.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::ignore::Ignore;
use crate::project::{BuildKind, FunctionPlan, decides, outside};

/// Which files a project depends on.
#[derive(Debug, Clone)]
pub struct Watch {
    folder: PathBuf,
    sources: Vec<Watched>,
    manifests: Vec<PathBuf>,
    grows: bool,
}

#[derive(Debug, Clone)]
struct Watched {
    folder: PathBuf,
    ignore: Ignore,
    function: usize,
    decides: Decides,
}

/// What files of a folder decide besides what is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decides {
    /// Nothing: a build reads the folder, and that is all.
    Nothing,
    /// A function's variables, as a template says the rest.
    Variables,
    /// What the function is.
    Function,
}

impl Decides {
    fn of(templated: bool) -> Self {
        if templated {
            Self::Variables
        } else {
            Self::Function
        }
    }
}

/// What a change of a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relevant {
    /// Read the project again: what its functions are may have changed.
    Project,
    /// Build these functions again; they are named by their place in the project's list.
    Functions(Vec<usize>),
}

impl Watch {
    pub(crate) fn new(
        folder: &Path,
        functions: &[FunctionPlan],
        manifests: Vec<PathBuf>,
        grows: bool,
    ) -> Result<Self, Error> {
        let templated = manifests
            .iter()
            .any(|file| crate::template::is_template(file));
        let mut sources = Vec::new();
        for (function, plan) in functions.iter().enumerate() {
            let layers = plan.layers.iter().map(|layer| &layer.source);
            let code =
                Some(&plan.source).filter(|_| !matches!(plan.build, BuildKind::Inline { .. }));
            for source in code.into_iter().chain(layers) {
                sources.push(Watched {
                    ignore: Ignore::of(source)?.and("node_modules/"),
                    folder: source.clone(),
                    function,
                    decides: Decides::of(templated),
                });
            }
            for folder in outside(plan) {
                sources.push(Watched {
                    ignore: Ignore::of(&folder)?.and("node_modules/"),
                    folder,
                    function,
                    decides: Decides::Nothing,
                });
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            sources,
            manifests,
            grows,
        })
    }

    /// Where watching begins: each of these folders, even where it is a link, and what is
    /// [entered](Self::enters) below it.
    pub fn roots(&self) -> Vec<PathBuf> {
        let sources = self.sources.iter().map(|source| source.folder.as_path());
        let parents = self.manifests.iter().filter_map(|file| file.parent());
        let mut roots: Vec<PathBuf> = std::iter::once(self.folder.as_path())
            .chain(sources)
            .chain(parents)
            .map(Path::to_owned)
            .collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// Whether a folder is worth watching or looking into: false for what is left out of every
    /// package, such as `node_modules`, `target` and `.git`.
    pub fn enters(&self, folder: &Path) -> bool {
        if self.folder.starts_with(folder)
            || self.manifests.iter().any(|file| file.starts_with(folder))
        {
            return true;
        }
        let mut known = self
            .sources
            .iter()
            .filter(|source| folder.starts_with(&source.folder))
            .peekable();
        if known.peek().is_some() {
            return known.any(|source| source.takes(folder, true));
        }
        self.sources
            .iter()
            .any(|source| source.folder.starts_with(folder))
            || (self.grows
                && folder.parent() == Some(&self.folder)
                && !is_hidden(folder.file_name()))
    }

    /// What a change of this path means; none if it means nothing.
    pub fn relevant(&self, path: &Path) -> Option<Relevant> {
        if self.manifests.iter().any(|file| file == path) || path == self.folder {
            return Some(Relevant::Project);
        }
        let mut functions = Vec::new();
        let mut known = false;
        for source in self
            .sources
            .iter()
            .filter(|source| path.starts_with(&source.folder))
        {
            known = true;
            if source.is_deciding(path) {
                return Some(Relevant::Project);
            }
            if source.takes(path, false) && !functions.contains(&source.function) {
                functions.push(source.function);
            }
        }
        if !known && self.may_add_function(path) {
            return Some(Relevant::Project);
        }
        (!functions.is_empty()).then_some(Relevant::Functions(functions))
    }

    /// Whether a change of this path is one of a function, by its place in the project's list, or
    /// of what says what all functions are.
    pub fn concerns(&self, path: &Path, function: usize) -> bool {
        self.manifests.iter().any(|file| file == path)
            || path == self.folder
            || self.builds_from(path, function)
    }

    /// Whether a function, by its place in the project's list, is built from what is at this path.
    pub fn builds_from(&self, path: &Path, function: usize) -> bool {
        let mut own = self.sources.iter().filter(|it| it.function == function);
        own.any(|source| {
            path.starts_with(&source.folder)
                && (source.is_deciding(path) || source.takes(path, false))
        })
    }

    /// A folder appears beside the functions, or an entry file in such a folder.
    fn may_add_function(&self, path: &Path) -> bool {
        let Some(parent) = path.parent().filter(|_| self.grows) else {
            return false;
        };
        let beside = parent == self.folder && !is_hidden(path.file_name());
        let within = parent.parent() == Some(&self.folder)
            && !is_hidden(parent.file_name())
            && path.file_name().is_some_and(decides);
        beside || within
    }
}

impl Watched {
    fn takes(&self, path: &Path, is_folder: bool) -> bool {
        let relative = path.strip_prefix(&self.folder);
        relative.is_ok_and(|relative| !self.ignore.is_within_ignored(relative, is_folder))
    }

    fn is_deciding(&self, path: &Path) -> bool {
        let Some(name) = path
            .file_name()
            .filter(|_| self.decides != Decides::Nothing)
        else {
            return false;
        };
        let decides = match self.decides {
            Decides::Function => decides(name),
            _ => name == OsStr::new(".env"),
        };
        path == self.folder || (path.parent() == Some(&self.folder) && decides)
    }
}

fn is_hidden(name: Option<&OsStr>) -> bool {
    name.is_none_or(|name| {
        let name = name.to_string_lossy();
        name.starts_with('.')
            || matches!(
                name.as_ref(),
                "node_modules" | "target" | "venv" | "__pycache__"
            )
    })
}
