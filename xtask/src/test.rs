//! `cargo xtask test`: sets up what the tests need, builds, and runs every test of the workspace.
//! The tests' own content lives in the rooms; here is only what they may rely on being there.

pub mod clients;
pub mod host;

use std::process::Command;

use anyhow::{Result, bail};

use crate::run;

/// What `--help` says.
pub const HELP: &str = "\
Usage: cargo xtask test [--quick] [-- ARGUMENTS OF CARGO TEST]

  --quick   Only the tests inside the rooms: no outside clients, no stories

Checks that this host has what the tests need, and says what to install where it does not; puts
the outside clients (boto3, the aws CLI, Pillow, Python's and Rust's clients of the runtime
interfaces) into target/test-tools; builds the `dayfly` program and the tests; runs them all. Tests find what was set up in these variables:

  DAYFLY_TEST_PYTHON    a Python with boto3 and Pillow
  DAYFLY_TEST_AWS       the aws CLI, version 1
  DAYFLY_TEST_AWS_2     the aws CLI, version 2, if this host has it (Debian: awscli)
  DAYFLY_TEST_CLIENTS   Rust's clients of Lambda's runtime interfaces, in one program

  cargo xtask test -- --package store        tests of one room
  cargo xtask test -- burst -- --nocapture   tests whose name holds `burst`, with their output
";

/// Runs the tests.
pub fn run(arguments: &[String]) -> Result<()> {
    let (own, passed) = match arguments.iter().position(|word| word == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &[][..]),
    };
    if let Some(word) = own.iter().find(|word| *word != "--quick") {
        bail!("`test` does not know `{word}`; `cargo xtask test --help` tells what it knows");
    }
    if own.is_empty() {
        everything(passed)
    } else {
        quick(passed)
    }
}

fn quick(passed: &[String]) -> Result<()> {
    run::step("test (quick)", cargo_test(passed).args(["--lib", "--bins"]))
}

fn everything(passed: &[String]) -> Result<()> {
    println!("==> look at this host");
    let python = host::check()?;
    let clients = clients::ready(&python)?;
    run::step(
        "build the tests",
        cargo_test(passed_to_cargo(passed)).arg("--no-run"),
    )?;
    let mut test = cargo_test(passed);
    test.env("DAYFLY_TEST_PYTHON", &clients.python)
        .env("DAYFLY_TEST_AWS", &clients.aws)
        .env("DAYFLY_TEST_CLIENTS", &clients.native);
    if let Some(aws) = &clients.aws_2 {
        test.env("DAYFLY_TEST_AWS_2", aws);
    }
    run::step("test", &mut test)
}

fn cargo_test(passed: &[String]) -> Command {
    let mut command = run::cargo();
    command.arg("test");
    // One failing room must not hide the others.
    command.arg("--no-fail-fast");
    if !passed
        .iter()
        .any(|word| word == "--package" || word == "-p")
    {
        command.arg("--workspace");
    }
    command.args(passed);
    command
}

/// The part of the arguments that is cargo's and not the test programs'.
fn passed_to_cargo(passed: &[String]) -> &[String] {
    passed.split(|word| word == "--").next().unwrap_or_default()
}
