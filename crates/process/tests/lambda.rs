//! Lambda functions in jails, from order to outcome. This binary is its own spawner helper. Where
//! it is run as root it runs itself again as an ordinary user, who has no control groups.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "lambda/ahead.rs"]
mod ahead;
#[path = "lambda/brought.rs"]
mod brought;
#[path = "lambda/clients.rs"]
mod clients;
#[path = "lambda/extensions.rs"]
mod extensions;
#[path = "lambda/stories.rs"]
mod stories;
#[path = "lambda/streams.rs"]
mod streams;
#[path = "lambda/world.rs"]
mod world;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    match argument.as_str() {
        "__spawner" => return process::spawner_main(),
        "--list" => return ExitCode::SUCCESS,
        _ => {}
    }
    if std::env::var_os(brought::WHEELS).is_none() {
        return without_index(&argument);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let clients = clients::prepare();
    let mut failed = runtime.block_on(stories::run(&argument, clients.as_deref()));
    if rustix::process::getuid().is_root() {
        failed += usize::from(!as_an_ordinary_user(&argument, clients.as_deref()));
        if let Some(clients) = clients {
            std::fs::remove_dir_all(clients).unwrap();
        }
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the same again, where pip finds what stories put there and nothing else.
fn without_index(argument: &str) -> ExitCode {
    let folder = brought::pip_folder();
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    brought::without_index(&mut command, &folder);
    let status = command.arg(argument).status().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether every story ends well for somebody without any right.
fn as_an_ordinary_user(filter: &str, clients: Option<&Path>) -> bool {
    const NOBODY: u32 = 65534;
    let folder = std::env::temp_dir().join(format!("dayfly-again-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.join("lambda-test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(&copy);
    clients::hand_on(&mut command, clients);
    let wheels = folder.join("wheels");
    std::fs::create_dir_all(&wheels).unwrap();
    std::os::unix::fs::chown(&wheels, Some(NOBODY), Some(NOBODY)).unwrap();
    brought::without_index(&mut command, &wheels);
    let status = command
        .arg(filter)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .env("HOME", "/nonexistent")
        .status();
    std::fs::remove_dir_all(folder).unwrap();
    status.unwrap().success()
}
