//! Time, delay and randomness come from `store::Clock`, so that a simulation can choose them.

use super::code::{blank, is_rooms_own};
use super::words::{has_word, own_lines};
use super::{Exception, Problem, is_excepted};
use crate::tree::File;

/// Where real time is part of what the code is about.
const REAL_TIME: &[Exception] = &[
    ("crates/store/src/clock.rs", "the clock itself"),
    (
        "crates/gateway/src/listen.rs",
        "limits on how slowly a client may send are about the wire",
    ),
    (
        "crates/gateway/src/listen/",
        "limits on how slowly a client may send are about the wire",
    ),
    (
        "crates/api/src/client.rs",
        "a client's patience with a server is about the wire",
    ),
    (
        "crates/process/src/network.rs",
        "limits on connections carried for functions",
    ),
    (
        "crates/process/src/network/",
        "limits on connections carried for functions",
    ),
    (
        "crates/process/src/jail.rs",
        "the helper process is outside any simulation",
    ),
    (
        "crates/process/src/jail/",
        "the helper process is outside any simulation",
    ),
];

/// Calls that bypass the clock, and the names under which they are imported.
const CALLS: [&str; 9] = [
    "Instant::now",
    "SystemTime::now",
    "tokio::time",
    "thread::sleep",
    "park_timeout",
    "time::sleep",
    "time::timeout",
    "time::interval",
    "getrandom",
];

/// Where a test has to do with real time.
const REAL_TIME_IN_TESTS: &[Exception] = &[(
    "crates/cli/tests/stories/program.rs",
    "the program under test is another process, with a clock of its own",
)];

/// What makes a test slow or, on a busy machine, wrong: waits, and looks at how long it took.
const NAPS: [&str; 5] = [
    "thread::sleep",
    "time::sleep",
    "park_timeout",
    "Instant::now",
    "SystemTime::now",
];

pub(super) fn check(file: &File) -> Vec<Problem> {
    if !file.is_in("crates/") || is_excepted(file, REAL_TIME) {
        return Vec::new();
    }
    let code = blank(&file.text);
    let own = if is_rooms_own(file) {
        own_lines(&file.text)
    } else {
        0
    };
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(code.lines()) {
        let (calls, instead) = if number <= own {
            (&CALLS[..], "take it from `store::Clock`")
        } else if is_excepted(file, REAL_TIME_IN_TESTS) {
            continue;
        } else {
            (&NAPS[..], "wait for what happens, not for time to pass")
        };
        if let Some(call) = calls.iter().find(|call| has_word(line, call)) {
            problems.push(Problem::new(
                &file.path,
                number,
                format!("`{call}`: {instead}"),
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_found_where_it_may_not_be() {
        let check_clock = |path: &str, text: &str, expected: usize| {
            let file = File {
                path: path.to_owned(),
                text: text.to_owned(),
            };
            assert_eq!(check(&file).len(), expected, "{path}: {text}");
        };
        check_clock("crates/engine/src/pool.rs", "let a = Instant::now();", 1);
        check_clock("crates/engine/src/pool.rs", "// not Instant::now()", 0);
        check_clock("crates/engine/src/pool.rs", "clock.sleep(a).await;", 0);
        check_clock("crates/store/src/clock.rs", "Instant::now()", 0);
        check_clock(
            "crates/engine/tests/story.rs",
            "tokio::time::timeout(a, b).await",
            0,
        );
        check_clock(
            "crates/engine/tests/story.rs",
            "tokio::time::sleep(a).await",
            1,
        );
        for nap in ["Instant::now()", "std::thread::park_timeout(a)"] {
            check_clock("crates/engine/tests/story.rs", nap, 1);
            check_clock("crates/cli/tests/stories/program.rs", nap, 0);
        }
        check_clock("xtask/bench/src/load.rs", "Instant::now()", 0);
    }
}
