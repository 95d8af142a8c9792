//! Dependencies between rooms, and of rooms on the outside, that must not exist.

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Problem;
use super::map::rooms;
use crate::tree::File;

/// The rooms, the ground first. A room depends on lower layers only.
const LAYERS: [&[&str]; 6] = [
    &["model", "store"],
    &["engine", "services"],
    &["stacks"],
    &[
        "gateway", "sources", "api", "compat", "process", "wasm", "pipes",
    ],
    &["node"],
    &["cli"],
];

/// Rooms that know no wire format, no cloud, no database and no system call.
const HEART: [&str; 3] = ["model", "engine", "services"];

/// Beginnings of the names that the heart may not depend on.
const NOT_IN_HEART: [&str; 6] = ["hyper", "axum", "rusqlite", "libc", "wasmtime", "rustix"];

/// Clouds, anywhere in a dependency's name.
const CLOUDS: [&str; 4] = ["aws", "azure", "google", "gcloud"];

/// What the command line may know.
const CLI_KNOWS: [&str; 2] = ["node", "api"];

pub(super) fn check(files: &[File]) -> Result<Vec<Problem>> {
    let rooms = rooms(files);
    let mut problems = Vec::new();
    for room in &rooms {
        let path = format!("crates/{room}/Cargo.toml");
        let Some(file) = files.iter().find(|file| file.path == path) else {
            continue;
        };
        let manifest: Table = file.text.parse().with_context(|| format!("read {path}"))?;
        if layer(room).is_none() {
            problems.push(Problem::new(
                &path,
                0,
                format!("give `{room}` a layer in tidy/edges.rs"),
            ));
        }
        for dependency in dependencies(&manifest) {
            let found = forbidden(room, &dependency);
            problems.extend(found.map(|text| Problem::new(&path, 0, text)));
        }
    }
    Ok(problems)
}

/// Why this room may not depend on that crate, if it may not.
fn forbidden(room: &str, dependency: &str) -> Option<String> {
    if let (Some(own), Some(other)) = (layer(room), layer(dependency)) {
        if other == own {
            return Some(format!("depends on `{dependency}` of its own layer"));
        }
        if other > own {
            return Some(format!("depends on `{dependency}` above it"));
        }
        if room == "cli" && !CLI_KNOWS.contains(&dependency) {
            return Some(format!(
                "knows `{dependency}`; of the rooms it needs only node and api"
            ));
        }
        return None;
    }
    if dependency == "rusqlite" && room != "store" {
        return Some("depends on `rusqlite`, which only store may".to_owned());
    }
    let outside = NOT_IN_HEART
        .iter()
        .any(|start| dependency.starts_with(start))
        || CLOUDS.iter().any(|cloud| dependency.contains(cloud));
    (outside && HEART.contains(&room))
        .then(|| format!("depends on `{dependency}`, which the heart may not know"))
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&room))
}

/// Names of all direct dependencies, those of tests and of single platforms included.
fn dependencies(manifest: &Table) -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        names.extend(keys(manifest.get(kind)));
        let targets = manifest.get("target").and_then(Value::as_table);
        for target in targets.into_iter().flat_map(Table::values) {
            names.extend(keys(target.get(kind)));
        }
    }
    names
}

/// A renamed dependency counts by its real name.
fn keys(table: Option<&Value>) -> Vec<String> {
    let entries = table.and_then(Value::as_table).into_iter().flatten();
    entries
        .map(|(key, value)| {
            value
                .get("package")
                .and_then(Value::as_str)
                .unwrap_or(key)
                .to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_edge(room: &str, dependency: &str, allowed: bool) {
        let found = forbidden(room, dependency);
        assert_eq!(
            found.is_none(),
            allowed,
            "{room} -> {dependency}: {found:?}"
        );
    }

    #[test]
    fn dependencies_point_down() {
        check_edge("engine", "model", true);
        check_edge("model", "engine", false);
        check_edge("gateway", "process", false);
        check_edge("store", "model", false);
        check_edge("cli", "node", true);
        check_edge("cli", "engine", false);
    }

    #[test]
    fn the_heart_knows_no_outside() {
        check_edge("engine", "hyper-util", false);
        check_edge("model", "aws_lambda_events", false);
        check_edge("engine", "rusqlite", false);
        check_edge("gateway", "hyper", true);
        check_edge("gateway", "rusqlite", false);
        check_edge("store", "rusqlite", true);
    }

    #[test]
    fn every_kind_of_dependency_is_seen() {
        let manifest: Table = "\
[dependencies]
a.workspace = true
b = { version = '1', package = 'c' }
[dev-dependencies]
d = '1'
[target.'cfg(unix)'.dependencies]
e = '1'"
            .parse()
            .unwrap();
        assert_eq!(dependencies(&manifest), ["a", "c", "e", "d"]);
    }
}
