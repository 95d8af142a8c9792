//! Folders beside a function's own that its build reads, as far as its files name them: a change
//! there concerns it too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{BuildKind, FunctionPlan};
use crate::build::{linked_folders, local_packages, local_requirements};
use crate::environment::{read_text, read_toml};
use crate::ignore::Ignore;
use crate::imports::specifiers;

/// Source files that are looked through (ours: a function has some dozens).
const FILES_MAX: usize = 2_000;
/// Bytes of such a file (ours; what is written by hand is shorter).
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Folders that are followed (ours).
const FOLDERS_MAX: usize = 50;
const EXTENSIONS: &[&str] = &["ts", "tsx", "mts", "cts", "js", "mjs", "cjs", "json"];

/// What of a function's build is outside of its source; never a folder that holds the source,
/// which would make everything its business.
pub(crate) fn outside(plan: &FunctionPlan) -> BTreeSet<PathBuf> {
    let source = plan.source.as_path();
    let mut found = match &plan.build {
        BuildKind::Python => local_requirements(source),
        BuildKind::Node => local_packages(source),
        BuildKind::TypeScript { .. } => {
            let mut found = imported(source);
            found.append(&mut local_packages(source));
            found
        }
        BuildKind::Rust { .. } => crates(source),
        BuildKind::Copy | BuildKind::Inline { .. } | BuildKind::Make { .. } => Vec::new(),
    };
    if !matches!(plan.build, BuildKind::Inline { .. }) {
        found.append(&mut linked_folders(source));
    }
    let outside = found
        .into_iter()
        .filter(|path| !path.starts_with(source) && !source.starts_with(path));
    outside.collect()
}

/// The folders of the files that the source imports from elsewhere, and these in turn.
fn imported(source: &Path) -> Vec<PathBuf> {
    let mut waiting = Vec::new();
    collect(source, Path::new(""), &mut waiting);
    let mut seen: BTreeSet<PathBuf> = waiting.iter().cloned().collect();
    let mut folders = Vec::new();
    while let Some(file) = waiting.pop() {
        let text = read_text(&file, FILE_BYTES_MAX).unwrap_or_default();
        let parent = file.parent().unwrap_or(source);
        let near = specifiers(&text).filter(|name| name.starts_with('.'));
        for other in near.filter_map(|name| resolve(&parent.join(name))) {
            let elsewhere = !other.starts_with(source);
            if elsewhere && seen.len() < FILES_MAX && seen.insert(other.clone()) {
                folders.extend(other.parent().map(Path::to_owned));
                waiting.push(other);
            }
        }
    }
    folders
}

/// The source files of a folder, but for what is left out of packages and dependencies.
fn collect(source: &Path, relative: &Path, files: &mut Vec<PathBuf>) {
    let Ok(ignore) = Ignore::of(source) else {
        return;
    };
    let ignore = ignore.and("node_modules/");
    let mut folders = vec![relative.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(source.join(&folder))
            .into_iter()
            .flatten();
        for entry in entries.filter_map(Result::ok) {
            let path = folder.join(entry.file_name());
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if files.len() >= FILES_MAX || ignore.is_ignored(&path, is_folder) {
                continue;
            }
            let end = path.extension().and_then(|end| end.to_str());
            if is_folder {
                folders.push(path);
            } else if end.is_some_and(|end| EXTENSIONS.contains(&end)) {
                files.push(entry.path());
            }
        }
    }
}

/// The file that an import means: as it is written, with an extension, TypeScript for the
/// JavaScript that it becomes, or the index of a folder.
fn resolve(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let stem = [".js", ".mjs", ".cjs"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    let stems = std::iter::once(name).chain(stem);
    let files = stems.flat_map(|stem| EXTENSIONS.iter().map(move |end| format!("{stem}.{end}")));
    let mut candidates = std::iter::once(path.to_owned())
        .chain(files.map(|file| path.with_file_name(file)))
        .chain(
            EXTENSIONS
                .iter()
                .map(|end| path.join(format!("index.{end}"))),
        );
    candidates.find(|file| file.is_file())?.canonicalize().ok()
}

/// The folders of the packages that Cargo.toml asks for by their place, and these in turn.
fn crates(source: &Path) -> Vec<PathBuf> {
    let mut waiting = vec![source.to_owned()];
    let mut folders: Vec<PathBuf> = Vec::new();
    while let Some(folder) = waiting.pop() {
        let Ok(manifest) = read_toml(&folder.join("Cargo.toml")) else {
            continue;
        };
        let workspace = manifest.get("workspace").and_then(toml::Value::as_table);
        let tables = std::iter::once(&manifest).chain(workspace);
        let named = tables.flat_map(|table| {
            ["dependencies", "build-dependencies"]
                .iter()
                .filter_map(|section| table.get(*section)?.as_table())
        });
        let places = named
            .flatten()
            .filter_map(|(_, value)| value.get("path")?.as_str());
        for place in places.filter_map(|place| folder.join(place).canonicalize().ok()) {
            if folders.len() < FOLDERS_MAX && !folders.contains(&place) {
                folders.push(place.clone());
                waiting.push(place);
            }
        }
    }
    folders
}
