//! Words that belong in no file: leftovers of work in progress, addresses of package registries,
//! paths of somebody's machine. Also each file's length.

use super::{Exception, Problem, is_excepted};
use crate::tree::File;

/// Lines of a source file without its tests.
const LINES_MAX: usize = 600;

/// Files that may be longer, each with its reason.
const LONG: &[Exception] = &[(
    "crates/process/launchers/python/launcher.py",
    "compiled and sent into a sandbox as one program, so that a start reads one file",
)];

/// Written in halves, as this file is checked too.
const LEFTOVERS: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// Clients know where their registries are; a mirror or a closed network must keep working.
const HOSTS: [&str; 7] = [
    concat!("registry.npm", "js.org"),
    concat!("npmmirror", ".com"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("crates", ".io"),
    concat!("deb.debian", ".org"),
    concat!("proxy.golang", ".org"),
];

const HOMES: [&str; 4] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
];

/// The home of Lambda's user, which is the same in every jail.
const LAMBDA_HOME: &str = "sbx_user1051";

/// Written by cargo, which names its registry there.
const LOCK: &str = "Cargo.lock";

pub(super) fn check(file: &File) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        let mut say = |text: String| problems.push(Problem::new(&file.path, number, text));
        for word in LEFTOVERS.into_iter().filter(|word| has_word(line, word)) {
            say(format!(
                "`{word}`: do it, or file an issue and leave no mark"
            ));
        }
        for host in HOSTS
            .into_iter()
            .filter(|host| line.contains(host) && !file.path.ends_with(LOCK))
        {
            say(format!(
                "names the registry host {host}; leave it to the client's settings"
            ));
        }
        for home in HOMES.into_iter().filter(|home| has_path(line, home)) {
            say(format!("names a path of one machine ({home}...)"));
        }
    }
    problems.extend(length(file));
    problems
}

fn length(file: &File) -> Option<Problem> {
    let source = [".rs", ".py", ".mjs", ".js"]
        .iter()
        .any(|end| file.path.ends_with(end));
    if !source || file.is_test() || is_excepted(file, LONG) {
        return None;
    }
    let lines = own_lines(&file.text);
    (lines > LINES_MAX).then(|| {
        let text =
            format!("{lines} lines, {LINES_MAX} at most: look for the noun trying to get out");
        Problem::new(&file.path, 0, text)
    })
}

/// Lines before the file's test module.
pub(super) fn own_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]"
            && pair[1].trim_start().starts_with("mod ")
            && pair[1].ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

/// Whether the text holds the word with no letter, digit or underscore around it.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(inside) && !text[at + word.len()..].starts_with(inside)
    })
}

/// Whether the text holds an absolute path that begins so, and not as part of a longer one.
fn has_path(text: &str, start: &str) -> bool {
    text.match_indices(start).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + start.len()..].chars().next();
        before.is_none_or(|c| !c.is_alphanumeric() && !"_-./}~*$@)>".contains(c))
            && after.is_some_and(|c| c.is_alphanumeric() || c == '.')
            && !text[at + start.len()..].starts_with(LAMBDA_HOME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_words(path: &str, text: &str, expected: &[usize]) {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let lines: Vec<usize> = check(&file)
            .into_iter()
            .map(|problem| problem.line)
            .collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn leftovers_hosts_and_homes_are_found() {
        let [todo, ..] = LEFTOVERS;
        check_words("a.rs", &format!("fine\n// {todo}: later"), &[2]);
        check_words("a.rs", &format!("{todo}S\nMY_{todo}"), &[]);
        check_words(
            "package-lock.json",
            &format!("https://{}/x.tgz", HOSTS[0]),
            &[1],
        );
        check_words("Cargo.lock", HOSTS[4], &[]);
        check_words("a.md", &format!("see {}ada/notes", HOMES[1]), &[1]);
        check_words("a.md", &format!("jail{}x and {}", HOMES[0], HOMES[0]), &[]);
    }

    #[test]
    fn length_counts_no_tests() {
        let body = "x\n".repeat(LINES_MAX);
        check_words("a.rs", &body, &[]);
        check_words("a.rs", &format!("{body}x\n"), &[0]);
        check_words(
            "a.rs",
            &format!("{body}#[cfg(test)]\nmod tests {{\n}}\n"),
            &[],
        );
        check_words("tests/a.rs", &format!("{body}x\n"), &[]);
    }
}
