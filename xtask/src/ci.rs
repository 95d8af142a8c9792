//! `cargo xtask ci`: the very script that CI runs, so that there is one list of steps.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{run, tree};

/// What `--help` says.
pub const HELP: &str = "\
Usage: cargo xtask ci

Runs `.ci/run`: formatting, clippy with warnings refused, `tidy`, and every test.
";

/// Runs `.ci/run`.
pub fn run(arguments: &[String]) -> Result<()> {
    if let Some(word) = arguments.first() {
        bail!("`ci` takes no argument, and got `{word}`");
    }
    run::step(
        "ci",
        Command::new("bash")
            .arg(".ci/run")
            .current_dir(tree::root()),
    )
}
