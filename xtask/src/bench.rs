//! `cargo xtask bench`: builds the platform and the benchmark in release mode, then hands over
//! to the benchmark. What is measured, and how, lives in `xtask/bench`.

use std::process::Command;

use anyhow::Result;

use crate::{run, tree};

/// What `--help` says.
pub const HELP: &str = "\
Usage: cargo xtask bench [--quick] [--only NAME]... [--json FILE] [--profile NAME]

  --quick         Fewer and shorter runs: shows that it works, and roughly what to expect
  --only NAME     Measure only this: floors, ready, cold, warm, api, extensions,
                  stream, many, burst, memory, reload;
                  may be given several times
  --json FILE     Also write the result here [default: target/bench/<time>.json]
  --profile NAME  Cargo profile to build and measure [default: release]

Every figure of the platform stands beside a floor measured in the same run, floor and platform
taking turns. Needs python3 and node; runs on loopback only.
";

/// Builds, then runs the benchmark with the arguments that it was given.
pub fn run(arguments: &[String]) -> Result<()> {
    let mut passed = Vec::new();
    let mut profile = "release".to_owned();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), word.strip_prefix("--profile=")) {
            (_, Some(name)) => name.clone_into(&mut profile),
            ("--profile", None) => profile = words.next().cloned().unwrap_or(profile),
            _ => passed.push(word.clone()),
        }
    }
    let floors_only = passed
        .windows(2)
        .any(|pair| pair[0] == "--only" && pair[1] == "floors");
    let mut build = run::cargo();
    build.args(["build", "--profile", &profile, "--package", "bench"]);
    if !floors_only {
        build.args(["--package", "cli"]);
    }
    run::step("build", &mut build)?;
    let programs = target().join(if profile == "dev" { "debug" } else { &profile });
    let mut bench = Command::new(programs.join("bench"));
    bench
        .args(&passed)
        .current_dir(tree::root())
        .env("DAYFLY_BENCH_PROFILE", &profile);
    run::step("measure", &mut bench)
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> std::path::PathBuf {
    let root = tree::root();
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root.join(folder),
        None => root.join("target"),
    }
}
