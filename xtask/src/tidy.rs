//! `cargo xtask tidy`: the house's own rules that no compiler checks, each a file below.
//! It reads the work tree and changes nothing; it also runs as an ordinary test.

mod clock;
mod code;
mod edges;
mod map;
mod promises;
mod words;

use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::tree;

/// What `--help` says.
pub const HELP: &str = "\
Usage: cargo xtask tidy

Prints each place of the work tree that breaks a rule of the house, and fails if there is one:
  every .rs file opens with `//!`; files stay under 600 lines, tests and
  what `cargo xtask` generates aside
  ARCHITECTURE.md names every room, and every room that it names exists
  dependencies point down the rooms, and the heart knows no wire, cloud, database or system call
  `unsafe` is in the jail only; no globals that change; no unbounded channel
  time, delay and randomness come from `store::Clock`
  every promise in PROMISES.md names a test or a measurement that exists
  no leftovers of work in progress, no address of a package registry, no path of one's own home
";

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Path below the root.
    pub path: String,
    /// Line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong and what to do instead.
    pub text: String,
}

impl Problem {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.text),
            line => write!(f, "{}:{line}: {}", self.path, self.text),
        }
    }
}

/// A file that a rule does not hold for, and why it may be so.
type Exception = (&'static str, &'static str);

fn is_excepted(file: &tree::File, exceptions: &[Exception]) -> bool {
    exceptions.iter().any(|(path, _)| file.is_in(path))
}

/// Every place that breaks a rule, in path order.
pub fn check(root: &Path) -> Result<Vec<Problem>> {
    let files = tree::files(root)?;
    let mut problems = Vec::new();
    for file in &files {
        problems.extend(words::check(file));
        if file.is_rust() {
            problems.extend(code::check(file));
            problems.extend(clock::check(file));
        }
    }
    problems.extend(map::check(&files));
    problems.extend(edges::check(&files)?);
    problems.extend(promises::check(&files));
    problems.sort();
    Ok(problems)
}
