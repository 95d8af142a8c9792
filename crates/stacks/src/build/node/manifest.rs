//! package.json, its lock file, and the node_modules that may already be there.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::local::{Local, locals};
use crate::build::cache::Key;
use crate::environment::read_bounded;
use crate::error::Error;

/// Bytes of a lock file that are read (ours; the largest real ones have tens of megabytes).
const LOCK_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Lock files, and who reads each.
const LOCKS: &[(&str, Manager)] = &[
    ("pnpm-lock.yaml", Manager::Pnpm),
    ("yarn.lock", Manager::Yarn),
    ("npm-shrinkwrap.json", Manager::Npm),
    ("package-lock.json", Manager::Npm),
];
/// Files besides that decide what is installed.
const SETTINGS: &[&str] = &[".npmrc", ".yarnrc", ".yarnrc.yml", "pnpm-workspace.yaml"];

/// The package manager that a project uses, by its lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::build) enum Manager {
    Npm,
    Pnpm,
    Yarn,
}

/// A package.json, empty where there is none.
#[derive(Debug)]
pub(in crate::build) struct Manifest {
    folder: PathBuf,
    value: Value,
}

impl Manifest {
    pub(in crate::build) fn read(folder: &Path) -> Result<Self, Error> {
        let file = folder.join("package.json");
        let value = if file.is_file() {
            serde_json::from_str(&read_bounded(&file)?).map_err(|error| Error::Syntax {
                file,
                line: error.line(),
                problem: error.to_string(),
            })?
        } else {
            Value::Null
        };
        Ok(Self {
            folder: folder.to_owned(),
            value,
        })
    }

    /// The packages of this machine that it asks for.
    pub(in crate::build) fn locals(&self) -> Vec<Local> {
        locals(&self.folder, &self.value)
    }

    fn names(&self, section: &str) -> impl Iterator<Item = &str> {
        let section = self.value.get(section).and_then(Value::as_object);
        section
            .into_iter()
            .flat_map(|names| names.keys().map(String::as_str))
    }

    pub(in crate::build) fn has_dependencies(&self) -> bool {
        self.names("dependencies")
            .chain(self.names("optionalDependencies"))
            .next()
            .is_some()
    }

    pub(in crate::build) fn has_any_dependencies(&self) -> bool {
        self.has_dependencies() || self.names("devDependencies").next().is_some()
    }

    /// Whether there is a script `build`.
    pub(in crate::build) fn build_script(&self) -> bool {
        let script = self
            .value
            .get("scripts")
            .and_then(|scripts| scripts.get("build")?.as_str());
        script.is_some_and(|script| !script.trim().is_empty())
    }

    /// Whether `.js` files of the project are ES modules.
    pub(in crate::build) fn is_module(&self) -> bool {
        self.value.get("type").and_then(Value::as_str) == Some("module")
    }

    /// The version that the project asks for of a package, in any section.
    pub(in crate::build) fn version_of(&self, package: &str) -> Option<&str> {
        ["devDependencies", "dependencies"]
            .iter()
            .find_map(|section| self.value.get(section)?.get(package)?.as_str())
    }

    /// Whether the project asks for a package, or for any of a scope such as `@aws-sdk/*`.
    pub(in crate::build) fn names_package(&self, package: &str) -> bool {
        let scope = package.strip_suffix('*');
        ["dependencies", "devDependencies", "optionalDependencies"]
            .iter()
            .any(|section| {
                self.names(section).any(|name| match scope {
                    Some(scope) => name.starts_with(scope),
                    None => name == package,
                })
            })
    }

    pub(in crate::build) fn manager(&self) -> Manager {
        let lock = LOCKS
            .iter()
            .find(|(name, _)| self.folder.join(name).is_file());
        lock.map_or(Manager::Npm, |(_, manager)| *manager)
    }

    /// All that decides what is installed.
    pub(in crate::build) fn lock_key(&self, mut key: Key) -> Result<Key, Error> {
        for section in [
            "dependencies",
            "optionalDependencies",
            "devDependencies",
            "overrides",
            "resolutions",
        ] {
            let section = self
                .value
                .get(section)
                .map(Value::to_string)
                .unwrap_or_default();
            key = key.add(&section);
        }
        let locks = LOCKS.iter().map(|(name, _)| *name);
        for name in locks.chain(SETTINGS.iter().copied()) {
            key = key.file(&self.folder.join(name))?;
        }
        Ok(key)
    }

    /// Copies what an installation reads. The project's own scripts stay behind: they would run
    /// after it and look for sources that are not there.
    pub(in crate::build) fn copy_for_install(
        &self,
        source: &Path,
        target: &Path,
    ) -> Result<(), Error> {
        let mut value = self.value.clone();
        if let Some(object) = value.as_object_mut() {
            object.remove("scripts");
        }
        let file = target.join("package.json");
        fs::write(&file, value.to_string()).map_err(Error::io("write", &file))?;
        for name in LOCKS
            .iter()
            .map(|(name, _)| *name)
            .chain(SETTINGS.iter().copied())
        {
            let from = source.join(name);
            if from.is_file() {
                fs::copy(&from, target.join(name)).map_err(Error::io("copy", &from))?;
            }
        }
        Ok(())
    }

    /// The project's own node_modules.
    pub(in crate::build) fn own_modules(&self) -> OwnModules<'_> {
        OwnModules {
            manifest: self,
            folder: self.folder.join("node_modules"),
        }
    }
}

impl Manager {
    pub(in crate::build) fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
        }
    }

    pub(in crate::build) fn how_to_get(self) -> &'static str {
        match self {
            Self::Npm => "install Node.js, which brings it (nodejs.org, or nvm, fnm, mise, volta)",
            Self::Pnpm => {
                "the project has a pnpm-lock.yaml: `npm install -g pnpm` or `corepack enable`"
            }
            Self::Yarn => "the project has a yarn.lock: `npm install -g yarn` or `corepack enable`",
        }
    }

    /// What to say to install from the files in a folder.
    pub(in crate::build) fn arguments(self, folder: &Path, production: bool) -> Vec<&'static str> {
        let locked = |name: &str| folder.join(name).is_file();
        // A lock file speaks of the places that copied packages had; what it says of others holds.
        let copied = has_copies(folder);
        let mut arguments = match self {
            Self::Npm if copied => vec!["install", "--install-links"],
            Self::Pnpm if copied => vec![
                "install",
                "--no-frozen-lockfile",
                "--config.node-linker=hoisted",
                "--config.package-import-method=copy",
            ],
            Self::Yarn if copied && is_berry(folder) => {
                return vec!["install", "--no-immutable"];
            }
            Self::Yarn if copied => vec!["install", "--non-interactive"],
            Self::Npm if locked("package-lock.json") || locked("npm-shrinkwrap.json") => vec!["ci"],
            Self::Npm => vec!["install", "--no-package-lock"],
            // A flat folder of plain files: links into a store elsewhere could not be packed.
            Self::Pnpm => vec![
                "install",
                "--frozen-lockfile",
                "--config.node-linker=hoisted",
                "--config.package-import-method=copy",
            ],
            Self::Yarn if is_berry(folder) => return vec!["install", "--immutable"],
            Self::Yarn => vec!["install", "--frozen-lockfile", "--non-interactive"],
        };
        // Said in both cases, as NODE_ENV and the user's own settings would decide otherwise.
        arguments.push(match (self, production) {
            (Self::Npm, true) => "--omit=dev",
            (Self::Npm, false) => "--include=dev",
            (Self::Pnpm, true) => "--prod",
            (Self::Pnpm, false) => "--prod=false",
            (Self::Yarn, true) => "--production",
            (Self::Yarn, false) => "--production=false",
        });
        arguments
    }
}

/// Whether packages have been copied into a folder, so that its lock file does not fit wholly.
fn has_copies(folder: &Path) -> bool {
    folder.join(super::local::FOLDER).is_dir()
}

/// Whether a yarn.lock is of yarn 2 or later.
fn is_berry(folder: &Path) -> bool {
    read_lock(&folder.join("yarn.lock")).is_some_and(|text| text.contains("\n__metadata:"))
}

fn read_lock(file: &Path) -> Option<String> {
    let size = fs::metadata(file).ok()?.len();
    (size <= LOCK_BYTES_MAX)
        .then(|| fs::read_to_string(file).ok())
        .flatten()
}

/// A node_modules that somebody else made.
#[derive(Debug)]
pub(in crate::build) struct OwnModules<'a> {
    manifest: &'a Manifest,
    folder: PathBuf,
}

impl OwnModules<'_> {
    /// Whether every dependency that is needed to run is there, in some version.
    pub(in crate::build) fn is_complete(&self) -> bool {
        self.manifest
            .names("dependencies")
            .all(|name| self.has(name))
    }

    fn has(&self, name: &str) -> bool {
        self.folder.join(name).join("package.json").is_file()
    }

    /// Whether a dependency is a link to somewhere that no package can hold.
    fn leads_out(&self) -> bool {
        let Ok(folder) = self.folder.canonicalize() else {
            return false;
        };
        self.manifest.names("dependencies").any(|name| {
            let leads = self.folder.join(name).canonicalize();
            leads.is_ok_and(|place| !place.starts_with(&folder))
        })
    }

    /// Whether it also holds what only development needs, which no package should carry.
    pub(in crate::build) fn has_development(&self) -> bool {
        self.manifest
            .names("devDependencies")
            .any(|name| self.has(name))
    }

    /// Whether it is what the lock file asks for, as far as its installer noted down.
    pub(in crate::build) fn is_current(&self) -> bool {
        if !self.is_complete() || self.leads_out() {
            return false;
        }
        let lock = LOCKS
            .iter()
            .find(|(name, _)| self.manifest.folder.join(name).is_file());
        match lock {
            None => true,
            Some((name, Manager::Npm)) => self
                .satisfies(&self.manifest.folder.join(name))
                .unwrap_or(false),
            Some((name, Manager::Pnpm)) => self.is_newer(".modules.yaml", name),
            Some((name, Manager::Yarn)) => {
                self.is_newer(".yarn-integrity", name) || self.is_newer(".yarn-state.yml", name)
            }
        }
    }

    fn is_newer(&self, note: &str, lock: &str) -> bool {
        let time = |file: PathBuf| fs::metadata(file).and_then(|status| status.modified()).ok();
        match (
            time(self.folder.join(note)),
            time(self.manifest.folder.join(lock)),
        ) {
            (Some(note), Some(lock)) => note >= lock,
            _ => false,
        }
    }

    /// Compares npm's lock file with the one that it leaves in node_modules.
    fn satisfies(&self, lock: &Path) -> Option<bool> {
        let wanted: Value = serde_json::from_str(&read_lock(lock)?).ok()?;
        let present: Value =
            serde_json::from_str(&read_lock(&self.folder.join(".package-lock.json"))?).ok()?;
        let present = present.get("packages")?.as_object()?;
        let flag =
            |entry: &Value, name: &str| entry.get(name).and_then(Value::as_bool).unwrap_or(false);
        let satisfied = wanted
            .get("packages")?
            .as_object()?
            .iter()
            .all(|(path, entry)| {
                let needless = path.is_empty()
                    || ["dev", "optional", "devOptional"]
                        .iter()
                        .any(|name| flag(entry, name));
                // A link leads out of the package.
                let same = || {
                    present
                        .get(path)
                        .is_some_and(|own| own.get("version") == entry.get("version"))
                };
                needless || (!flag(entry, "link") && same())
            });
        Some(satisfied)
    }
}
