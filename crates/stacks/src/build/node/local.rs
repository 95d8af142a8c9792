//! Packages that a project asks for by their place, or that are members of its workspace: they
//! are copied, as an installation in the cache would look for them where they are not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::build::{Package, Source};
use crate::environment::read_bounded;
use crate::error::Error;

/// Where the copies are, in the folder that is installed in.
pub(in crate::build) const FOLDER: &str = ".dayfly-local";
/// Packages that are copied, and members of a workspace that are looked at (ours).
const PACKAGES_MAX: usize = 500;
const SECTIONS: &[&str] = &["dependencies", "optionalDependencies", "devDependencies"];

/// A package of this machine, with the name that it has where it is copied to.
#[derive(Debug, Clone)]
pub(in crate::build) struct Local {
    /// A folder, or an archive.
    pub(in crate::build) path: PathBuf,
    name: String,
}

/// The packages of this machine that a project needs, and those that these need in turn.
pub(in crate::build) fn locals(source: &Path, manifest: &Value) -> Vec<Local> {
    let members = members(source);
    let mut locals: Vec<Local> = Vec::new();
    let mut waiting = vec![(source.to_owned(), manifest.clone())];
    while let Some((folder, manifest)) = waiting.pop() {
        let sections = SECTIONS
            .iter()
            .filter_map(|s| manifest.get(*s)?.as_object());
        for (name, version) in sections.flatten() {
            let Some(path) = place(&folder, name, version, &members) else {
                continue;
            };
            let known = locals.iter().any(|local| local.path == path);
            if known || path == source || locals.len() >= PACKAGES_MAX {
                continue;
            }
            let own = path.file_name().unwrap_or_default().to_string_lossy();
            locals.push(Local {
                name: format!("{}-{own}", locals.len()),
                path: path.clone(),
            });
            if let Some(manifest) = manifest_of(&path) {
                waiting.push((path, manifest));
            }
        }
    }
    locals
}

/// Copies the packages below a folder, and makes its package.json, and theirs, speak of the copies.
pub(in crate::build) fn copy(source: &Path, locals: &[Local], target: &Path) -> Result<(), Error> {
    let members = members(source);
    for local in locals {
        let copy = target.join(FOLDER).join(&local.name);
        if local.path.is_file() {
            fs::create_dir_all(target.join(FOLDER)).map_err(Error::io("make", target))?;
            fs::copy(&local.path, &copy).map_err(Error::io("copy", &local.path))?;
            continue;
        }
        package_of(local)?.copy_to(&copy)?;
        // What it was made into is there already; to make it again would need its tools.
        rewrite(&local.path, locals, &members, target, &copy, |manifest| {
            manifest.remove("scripts");
        })?;
    }
    rewrite(source, locals, &members, target, target, |manifest| {
        manifest.remove("workspaces");
    })
}

/// The files of a package, for its copy and its digest. Packing leaves out what git ignores, which
/// is what a package is built into most often.
pub(in crate::build) fn package_of(local: &Local) -> Result<Package, Error> {
    let source = Source::of(&local.path)?.without("node_modules/");
    Ok(Package::of(source.without(".gitignore")))
}

fn rewrite(
    folder: &Path,
    locals: &[Local],
    members: &BTreeMap<String, PathBuf>,
    target: &Path,
    copy: &Path,
    further: impl FnOnce(&mut serde_json::Map<String, Value>),
) -> Result<(), Error> {
    let file = copy.join("package.json");
    let mut manifest = manifest_of(copy).unwrap_or_default();
    for section in SECTIONS {
        let Some(section) = manifest.get_mut(*section).and_then(Value::as_object_mut) else {
            continue;
        };
        for (name, version) in section {
            let path = place(folder, name, version, members);
            let local = locals
                .iter()
                .find(|local| Some(&local.path) == path.as_ref());
            if let Some(local) = local {
                let copied = target.join(FOLDER).join(&local.name);
                *version = format!("file:{}", copied.display()).into();
            }
        }
    }
    if let Some(manifest) = manifest.as_object_mut() {
        further(manifest);
    }
    fs::write(&file, manifest.to_string()).map_err(Error::io("write", &file))
}

/// Where on this machine a dependency is, if it is named by its place or is a member of the
/// workspace.
fn place(
    folder: &Path,
    name: &str,
    version: &Value,
    members: &BTreeMap<String, PathBuf>,
) -> Option<PathBuf> {
    let version = version.as_str()?;
    let named = ["file:", "link:", "portal:"]
        .iter()
        .find_map(|protocol| version.strip_prefix(protocol));
    let relative =
        Some(version).filter(|version| version.starts_with("./") || version.starts_with("../"));
    match named.or(relative) {
        Some(place) => folder.join(place).canonicalize().ok(),
        None => members.get(name).cloned(),
    }
}

fn manifest_of(folder: &Path) -> Option<Value> {
    serde_json::from_str(&read_bounded(&folder.join("package.json")).ok()?).ok()
}

/// The members, by name, of the workspace that a folder is the root or a member of.
fn members(source: &Path) -> BTreeMap<String, PathBuf> {
    let found = source.ancestors().find_map(|root| {
        let members = members_of(root)?;
        let belongs = root == source || members.values().any(|member| member == source);
        belongs.then_some(members)
    });
    found.unwrap_or_default()
}

fn members_of(root: &Path) -> Option<BTreeMap<String, PathBuf>> {
    let manifest = manifest_of(root)?;
    let listed = manifest.get("workspaces");
    let listed = listed.and_then(|all| all.as_array().or_else(|| all.get("packages")?.as_array()));
    let mut patterns: Vec<String> = listed
        .into_iter()
        .flatten()
        .filter_map(|pattern| pattern.as_str().map(str::to_owned))
        .collect();
    patterns.extend(pnpm_patterns(root));
    let mut members = BTreeMap::new();
    for pattern in patterns {
        for folder in matching(root, &pattern) {
            let name =
                manifest_of(&folder).and_then(|own| Some(own.get("name")?.as_str()?.to_owned()));
            if let (Some(name), Ok(folder)) = (name, folder.canonicalize())
                && members.len() < PACKAGES_MAX
            {
                members.insert(name, folder);
            }
        }
    }
    (!members.is_empty()).then_some(members)
}

/// The list under `packages:` of pnpm-workspace.yaml, which is written an item a line.
fn pnpm_patterns(root: &Path) -> Vec<String> {
    let text = read_bounded(&root.join("pnpm-workspace.yaml")).unwrap_or_default();
    let lines = text
        .lines()
        .skip_while(|line| line.trim_end() != "packages:");
    let items = lines
        .skip(1)
        .map_while(|line| line.trim_start().strip_prefix("- "));
    items
        .map(|item| item.trim().trim_matches(['"', '\'']).to_owned())
        .collect()
}

/// The folders that a pattern such as `packages/*` means; `**` stands for one level here.
fn matching(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut folders = vec![root.to_owned()];
    for part in pattern
        .trim_start_matches("./")
        .split('/')
        .filter(|part| !part.is_empty())
    {
        if !part.contains('*') {
            folders.iter_mut().for_each(|folder| folder.push(part));
            continue;
        }
        let (start, end) = part.split_once('*').unwrap_or((part, ""));
        let end = end.trim_start_matches('*');
        let fits = |name: &str| {
            name != "node_modules"
                && !name.starts_with('.')
                && name.starts_with(start)
                && name.ends_with(end)
        };
        let entries = folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flat_map(|entries| entries.filter_map(Result::ok));
        folders = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(fits) && entry.path().is_dir())
            .map(|entry| entry.path())
            .take(PACKAGES_MAX)
            .collect();
    }
    folders
}
