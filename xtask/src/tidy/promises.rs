//! Every promise names the test or measurement that keeps it, and that one exists.
//!
//! A promise is a numbered item, row or heading of PROMISES.md up to the next one. It names
//! tests as code (`story::burst_has_no_errors`, or the function's name alone) and measurements
//! as `bench NAME`.

use std::collections::BTreeSet;

use super::Problem;
use crate::tree::File;

const PROMISES: &str = "PROMISES.md";
const BENCH: &str = "xtask/bench/src/";

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let Some(page) = files.iter().find(|file| file.path == PROMISES) else {
        return vec![Problem::new(
            PROMISES,
            0,
            "missing: it lists what is promised and what keeps it",
        )];
    };
    let (tests, measures) = (tests(files), measures(files));
    let mut problems = Vec::new();
    for (line, promise) in promises(&page.text) {
        let mut kept = false;
        for keeper in keepers(&promise) {
            let exists = match keeper {
                Keeper::Test(name) => tests.contains(name),
                Keeper::Bench(name) => measures.contains(name),
            };
            kept |= exists;
            if !exists {
                let text = format!("names {keeper:?}, which does not exist");
                problems.push(Problem::new(PROMISES, line, text));
            }
        }
        if !kept {
            problems.push(Problem::new(
                PROMISES,
                line,
                "a promise that no test or measurement keeps",
            ));
        }
    }
    problems
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeper<'a> {
    Test(&'a str),
    Bench(&'a str),
}

/// Each promise with the line on which it begins.
fn promises(page: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(page.lines()) {
        if is_numbered(line) {
            found.push((number, String::new()));
            open = true;
        } else if line.starts_with('#') {
            open = false;
        }
        if let Some((_, text)) = found.last_mut().filter(|_| open) {
            text.push_str(line);
            text.push('\n');
        }
    }
    found
}

/// `1. ...`, `| 1 | ...`, `## 1. ...`
fn is_numbered(line: &str) -> bool {
    let text = line.trim_start_matches(['|', '#', ' ', '*']);
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    digits > 0
        && text[digits..].starts_with(['.', ' ', '|', '*', ':'])
        && (line.starts_with(['|', '#', '*']) || text[digits..].starts_with('.'))
}

fn keepers(promise: &str) -> Vec<Keeper<'_>> {
    promise
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(keeper)
        .collect()
}

/// A test's name has an underscore, which nothing that a user types has.
fn keeper(code: &str) -> Option<Keeper<'_>> {
    let bench = code
        .strip_prefix("cargo xtask bench --only ")
        .or(code.strip_prefix("bench "));
    if let Some(name) = bench {
        return Some(Keeper::Bench(name.trim()));
    }
    let name = code.rsplit("::").next()?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_path = code.chars().all(|c| plain(c) || c == ':');
    (is_path && name.contains('_')).then_some(Keeper::Test(name))
}

/// Names of all functions that carry a test attribute, or that a harness of its own lists.
fn tests(files: &[File]) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let (mut marked, mut listed) = (false, false);
        for line in file.text.lines().map(str::trim) {
            if listed {
                names.extend(line.strip_suffix(','));
            }
            listed = !line.starts_with(']') && (listed || line.ends_with("= stories!["));
            let name = line
                .trim_start_matches("pub ")
                .trim_start_matches("async ")
                .strip_prefix("fn ")
                .and_then(|rest| rest.split(['(', '<']).next());
            match name {
                Some(name) if marked => {
                    names.insert(name);
                    marked = false;
                }
                Some(_) => marked = false,
                None => marked |= line.starts_with("#[") && line.contains("test"),
            }
        }
    }
    names
}

/// Names that the benchmark's table of measurements lists.
fn measures(files: &[File]) -> BTreeSet<&str> {
    let bench = files.iter().filter(|file| file.is_in(BENCH));
    bench
        .flat_map(|file| file.text.lines())
        .filter_map(|line| line.trim().strip_prefix("name: \"")?.split('"').next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_that_a_harness_lists_are_tests() {
        let file = |text: &str| File {
            path: "crates/a/tests/b.rs".into(),
            text: text.into(),
        };
        let listed =
            file("const STORIES: &[Story] = stories![\n    one_is_told,\n];\nother_one,\n");
        let names: Vec<_> = tests(&[listed]).into_iter().map(str::to_owned).collect();
        assert_eq!(names, ["one_is_told"]);
    }

    fn check_promises(page: &str, expected: &[&str]) {
        let file = |path: &str, text: &str| File {
            path: path.into(),
            text: text.into(),
        };
        let files = [
            file(PROMISES, page),
            file(
                "crates/a/tests/b.rs",
                "#[tokio::test]\nasync fn it_holds() {}\nfn not_a_test() {}",
            ),
            file("xtask/bench/src/main.rs", "    name: \"warm\","),
        ];
        let texts: Vec<String> = check(&files)
            .into_iter()
            .map(|problem| problem.text)
            .collect();
        assert_eq!(texts, expected, "{page}");
    }

    #[test]
    fn promises_need_keepers_that_exist() {
        check_promises(
            "1. Answers. Kept by `b::it_holds`.\n2. Fast: `bench warm`.",
            &[],
        );
        check_promises("| 1 | Answers `429` at once | `it_holds` |", &[]);
        check_promises(
            "## 1. Answers\nIt does.\n",
            &["a promise that no test or measurement keeps"],
        );
        check_promises(
            "1. Answers: `not_a_test`, `it_holds`",
            &["names Test(\"not_a_test\"), which does not exist"],
        );
        check_promises("# Promises\nNothing yet, 3 at most.\n", &[]);
    }
}
