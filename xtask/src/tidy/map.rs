//! The map and the rooms tell the same story.

use std::collections::BTreeSet;

use super::Problem;
use crate::tree::File;

const MAP: &str = "ARCHITECTURE.md";

/// A map longer than this is no map.
const LINES_MAX: usize = 250;

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let Some(map) = files.iter().find(|file| file.path == MAP) else {
        return vec![Problem::new(MAP, 0, "missing: it is the map of the rooms")];
    };
    let mut problems = Vec::new();
    let (named, existing) = (named(&map.text), rooms(files));
    for room in named.difference(&existing) {
        problems.push(Problem::new(
            MAP,
            0,
            format!("names the room `{room}`, which is not in crates/"),
        ));
    }
    for room in existing.difference(&named) {
        let text = format!("the table of rooms does not name `{room}`");
        problems.push(Problem::new(MAP, 0, text));
    }
    if map.text.lines().count() > LINES_MAX {
        problems.push(Problem::new(
            MAP,
            0,
            format!("over {LINES_MAX} lines: leave out what changes often"),
        ));
    }
    problems
}

/// The crates under `crates/`.
pub(super) fn rooms(files: &[File]) -> BTreeSet<&str> {
    files
        .iter()
        .filter_map(|file| {
            file.path
                .strip_prefix("crates/")?
                .strip_suffix("/Cargo.toml")
        })
        .filter(|name| !name.contains('/'))
        .collect()
}

/// The first column of the table of rooms.
fn named(map: &str) -> BTreeSet<&str> {
    map.lines()
        .skip_while(|line| *line != "## Rooms")
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_and_rooms_are_compared_both_ways() {
        let file = |path: &str, text: &str| File {
            path: path.into(),
            text: text.into(),
        };
        let files = [
            file(
                "ARCHITECTURE.md",
                "## Rooms\n| room | is |\n| `a` | x |\n| `b` | y |\n## Walks\n| `z` | w |\n",
            ),
            file("crates/a/Cargo.toml", ""),
            file("crates/c/Cargo.toml", ""),
            file("crates/c/fixtures/d/Cargo.toml", ""),
        ];
        let texts: Vec<String> = check(&files)
            .into_iter()
            .map(|problem| problem.text)
            .collect();
        assert_eq!(
            texts,
            [
                "names the room `b`, which is not in crates/",
                "the table of rooms does not name `c`",
            ]
        );
    }
}
