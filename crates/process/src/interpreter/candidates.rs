//! Where interpreters are on the hosts of this world.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Language, Surroundings};

/// Variables that say where version managers keep their own.
pub(super) const VARIABLES: &[&str] = &[
    "PYENV_ROOT",
    "UV_PYTHON_INSTALL_DIR",
    "MISE_DATA_DIR",
    "ASDF_DATA_DIR",
    "NVM_DIR",
    "FNM_DIR",
    "VOLTA_HOME",
];

/// Versions of one manager that are looked at, at most.
const VERSIONS_MAX: usize = 64;

/// A file that may be an interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The file, which exists.
    pub(super) path: PathBuf,
    /// The line that its name speaks of: a Python minor or a Node major.
    pub(super) hint: Option<u32>,
}

impl Candidate {
    /// When it last changed, in nanoseconds; whatever it leads to is what counts.
    pub(super) fn changed(&self) -> Option<u64> {
        let seen = std::fs::metadata(&self.path).ok()?;
        let nanos = i128::from(seen.mtime()) * 1_000_000_000 + i128::from(seen.mtime_nsec());
        u64::try_from(nanos).ok()
    }
}

/// Every candidate for a language, likeliest first.
pub(super) fn all(surroundings: &Surroundings, language: Language) -> Vec<Candidate> {
    let mut found = Vec::new();
    let managed = managed(surroundings, language);
    let managers = managed.iter().filter(|(_, versions, _)| versions.is_dir());
    let shims: Vec<_> = managers.map(|(base, ..)| base.join("shims")).collect();
    for folder in &surroundings.path {
        // They lead to what is found below, or further on in the path.
        if !shims.contains(folder) {
            add_folder(&mut found, folder, language, None);
        }
    }
    for (_, versions, inner) in managed {
        for (version, folder) in versions_in(&versions) {
            add_folder(
                &mut found,
                &folder.join(inner),
                language,
                line_of(&version, language),
            );
        }
    }
    for folder in ["usr/local/bin", "usr/bin", "bin"] {
        add_folder(&mut found, &surroundings.root.join(folder), language, None);
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|candidate: &Candidate| seen.insert(candidate.path.clone()));
    // Whose name says that it is the one comes first, and a shim, which is slow to ask and may
    // lead nowhere, last.
    let is_shim = |path: &Path| path.components().any(|part| part.as_os_str() == "shims");
    found.sort_by_key(|candidate| {
        (
            candidate.hint != Some(language.line()),
            is_shim(&candidate.path),
        )
    });
    found
}

/// Version managers: their folder, that of their versions, and where the programs are in each
/// version's folder.
fn managed(
    surroundings: &Surroundings,
    language: Language,
) -> Vec<(PathBuf, PathBuf, &'static str)> {
    let home = surroundings.home.as_deref();
    let base = |variable: &str, default: &str| {
        let named = surroundings.variables.get(variable).cloned();
        named.or_else(|| home.map(|home| home.join(default)))
    };
    let folders = match language {
        Language::Python(_) => [
            (base("PYENV_ROOT", ".pyenv"), "versions", "bin"),
            (
                base("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python"),
                "",
                "bin",
            ),
            (
                base("MISE_DATA_DIR", ".local/share/mise"),
                "installs/python",
                "bin",
            ),
            (base("ASDF_DATA_DIR", ".asdf"), "installs/python", "bin"),
            (None, "", ""),
            (None, "", ""),
        ],
        Language::Node(_) => [
            (base("NVM_DIR", ".nvm"), "versions/node", "bin"),
            (
                base("FNM_DIR", ".local/share/fnm"),
                "node-versions",
                "installation/bin",
            ),
            (
                home.map(|home| home.join(".fnm")),
                "node-versions",
                "installation/bin",
            ),
            (base("VOLTA_HOME", ".volta"), "tools/image/node", "bin"),
            (
                base("MISE_DATA_DIR", ".local/share/mise"),
                "installs/node",
                "bin",
            ),
            (base("ASDF_DATA_DIR", ".asdf"), "installs/nodejs", "bin"),
        ],
    };
    let folders = folders.into_iter().filter_map(|(base, versions, inner)| {
        let base = base?;
        let versions = if versions.is_empty() {
            base.clone()
        } else {
            base.join(versions)
        };
        Some((base, versions, inner))
    });
    folders.collect()
}

/// Folders of versions, newest first.
fn versions_in(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let named =
        |entry: std::fs::DirEntry| Some((entry.file_name().into_string().ok()?, entry.path()));
    let mut versions: Vec<_> = entries
        .flatten()
        .filter_map(named)
        .take(VERSIONS_MAX)
        .collect();
    versions.sort_by_cached_key(|(name, _)| std::cmp::Reverse(numbers(name)));
    versions
}

fn numbers(name: &str) -> Vec<u32> {
    let digits = name.split(|c: char| !c.is_ascii_digit());
    digits
        .filter_map(|part| part.parse().ok())
        .take(4)
        .collect()
}

/// The line that a version's name speaks of: `3.11.7`, `cpython-3.11.7-linux`, `v20.1.0`.
fn line_of(version: &str, language: Language) -> Option<u32> {
    let numbers = numbers(version);
    match language {
        Language::Python(_) => numbers.get(1).copied(),
        Language::Node(_) => numbers.first().copied(),
    }
}

fn add_folder(found: &mut Vec<Candidate>, folder: &Path, language: Language, hint: Option<u32>) {
    match language {
        Language::Python(wanted) => {
            // The one that was asked for comes first, whatever `python3` is.
            let others =
                (super::Language::Python(0).oldest()..=20).filter(|minor| *minor != wanted);
            for minor in [wanted].into_iter().chain(others) {
                if hint.is_none_or(|hint| hint == minor) {
                    add(found, folder.join(format!("python3.{minor}")), Some(minor));
                }
            }
            add(found, folder.join("python3"), hint);
        }
        Language::Node(_) => {
            add(found, folder.join("node"), hint);
            add(found, folder.join("nodejs"), hint);
        }
    }
}

fn add(found: &mut Vec<Candidate>, path: PathBuf, hint: Option<u32>) {
    let runs =
        std::fs::metadata(&path).is_ok_and(|seen| seen.is_file() && seen.mode() & 0o111 != 0);
    if runs {
        found.push(Candidate { path, hint });
    }
}
