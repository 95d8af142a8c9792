//! Lambda functions in jails, from order to outcome. This binary is its own spawner helper.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "lambda/stories.rs"]
mod stories;
#[path = "lambda/world.rs"]
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    match argument.as_str() {
        "__spawner" => return process::spawner_main(),
        "--list" => return ExitCode::SUCCESS,
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let failed = runtime.block_on(stories::run(&argument));
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
