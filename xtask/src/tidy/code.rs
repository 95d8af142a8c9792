//! Rules about Rust itself, looked up in its code with comments and strings blanked out.

use super::words::{has_word, own_lines};
use super::{Exception, Problem, is_excepted};
use crate::tree::File;

/// Where `unsafe` may be.
const UNSAFE: &[Exception] = &[
    (
        "crates/process/src/jail.rs",
        "the jail is made of system calls",
    ),
    (
        "crates/process/src/jail/",
        "the jail is made of system calls",
    ),
    ("crates/wasm/src/compile.rs", "maps compiled code"),
    ("crates/wasm/src/compile/", "maps compiled code"),
];

/// Statics that change.
const GLOBALS: &[Exception] = &[(
    "crates/process/src/instance/conformance.rs",
    "a test's memory of what it asked each interpreter, which is slow to ask",
)];

/// Types that make a static changeable.
const CHANGEABLE: [&str; 8] = [
    "Mutex", "RwLock", "OnceLock", "LazyLock", "OnceCell", "Cell", "RefCell", "ArcSwap",
];

const UNBOUNDED: [&str; 3] = ["unbounded_channel", "UnboundedSender", "unbounded"];

pub(super) fn check(file: &File) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !file.text.starts_with("//!") {
        problems.push(Problem::new(
            &file.path,
            1,
            "open with `//!`: what this is, and what it does not do",
        ));
    }
    let code = blank(&file.text);
    let own = own_lines(&file.text);
    for (number, line) in (1..).zip(code.lines()) {
        let mut say = |text: &str| problems.push(Problem::new(&file.path, number, text));
        if has_word(line, "unsafe") && !is_excepted(file, UNSAFE) {
            say("`unsafe` belongs in process/jail");
        }
        if has_word(line, "dbg") && line.contains("dbg!") {
            say("`dbg!` is for a moment at the desk");
        }
        if is_rooms_own(file) && number <= own {
            if is_global(line) && !is_excepted(file, GLOBALS) {
                say("a global that changes: pass it instead");
            }
            if UNBOUNDED.iter().any(|word| has_word(line, word)) {
                say("an unbounded channel: give it a bound and refuse beyond it");
            }
        }
    }
    problems
}

/// Whether it is the code of a room, not of its tests or of automation.
pub(super) fn is_rooms_own(file: &File) -> bool {
    file.is_in("crates/") && file.path.contains("/src/") && !file.is_test()
}

fn is_global(line: &str) -> bool {
    let line = line.trim_start();
    let rest = line
        .strip_prefix("pub(crate) ")
        .or(line.strip_prefix("pub "))
        .unwrap_or(line);
    rest.strip_prefix("static ").is_some_and(|rest| {
        rest.starts_with("mut ")
            || rest.contains("Atomic")
            || CHANGEABLE.iter().any(|name| has_word(rest, name))
    })
}

/// The code with every character of its comments and literals turned into a space; lines stay.
pub(super) fn blank(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let length = literal(rest).unwrap_or(0);
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (skipped, after) = rest.split_at(length);
            out.extend(skipped.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    out
}

/// How many bytes the comment or literal has that the text begins with, if it does.
fn literal(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    if text.starts_with('"') {
        return Some(quoted(text, '"'));
    }
    if text.starts_with('\'') {
        let mut chars = text.chars().skip(1);
        let (inside, after) = (chars.next()?, chars.next()?);
        // Otherwise it is a lifetime.
        return (inside == '\\' || after == '\'').then(|| quoted(text, '\''));
    }
    // No name can stand directly before a quote, so this is no name's last letter.
    if text.starts_with('r') {
        return raw(text);
    }
    None
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

fn raw(text: &str) -> Option<usize> {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    let body = 1 + hashes;
    text[body..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = text[body + 1..]
        .find(&close)
        .map_or(text.len(), |at| body + 1 + at + close.len());
    Some(end)
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_blank(text: &str, expected: &str) {
        assert_eq!(blank(text), expected);
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check_blank("a // b\nc", "a     \nc");
        check_blank("a /* b /* c */ d */ e", "a                   e");
        check_blank(r#"f("a\"b", c)"#, "f(      , c)");
        check_blank("f('\"', 'a', x: &'a str)", "f(   ,    , x: &'a str)");
        check_blank("r#\"a\"b\"# + for_r", "         + for_r");
    }

    #[test]
    fn rules_see_code_only() {
        let check_code = |path: &str, text: &str, expected: &[usize]| {
            let file = File {
                path: path.to_owned(),
                text: text.to_owned(),
            };
            let lines: Vec<usize> = check(&file)
                .into_iter()
                .map(|problem| problem.line)
                .collect();
            assert_eq!(lines, expected, "{text}");
        };
        check_code("crates/a/src/b.rs", "fn f() {}", &[1]);
        check_code(
            "crates/a/src/b.rs",
            "//! B.\n// unsafe\nlet a = \"unsafe\";\nunsafe { f() }",
            &[4],
        );
        check_code(
            "crates/process/src/jail/net.rs",
            "//! B.\nunsafe { f() }",
            &[],
        );
        check_code(
            "crates/a/src/b.rs",
            "//! B.\nstatic A: Mutex<u8> = x;\nstatic B: [u8; 2] = y;",
            &[2],
        );
        check_code(
            "crates/a/src/b.rs",
            "//! B.\nlet (a, b) = mpsc::unbounded_channel();",
            &[2],
        );
        check_code(
            "crates/a/tests/b.rs",
            "//! B.\nlet (a, b) = mpsc::unbounded_channel();",
            &[],
        );
    }
}
