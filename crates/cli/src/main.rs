//! The command `dayfly`: reads the command line, calls one command, turns its end into an exit code.

mod args;
mod command;
mod exit;
mod terminal;

use std::pin::Pin;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use exit::{Code, Failure};

fn main() -> ExitCode {
    // Before anything else, and before there is a thread: the spawner holds the privileges.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|verb| verb == node::SPAWNER_VERB)
    {
        return node::spawner_main();
    }
    let cli = Cli::parse();
    start_diagnostics();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::failure(&failure);
            ExitCode::from(failure.code as u8)
        }
    }
}

fn run(verb: Command) -> Result<(), Failure> {
    match verb {
        Command::New(options) => command::new::run(&options),
        Command::Completions { shell } => command::completions::run(shell),
        Command::Doctor(options) => block_on(command::doctor::run(&options)),
        Command::Dev(options) => block_on(command::dev::run(options)),
        Command::Up(options) => block_on(command::up::run(options)),
        Command::Deploy(options) => block_on(command::deploy::run(&options)),
        Command::Keys(verb) => block_on(command::keys::run(&verb)),
        Command::Invoke(options) => block_on(command::invoke::run(&options)),
        Command::Logs(options) => block_on(command::logs::run(&options)),
        Command::Ls(options) => block_on(command::ls::run(&options)),
        Command::Rm(options) => block_on(command::rm::run(&options)),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Platform, error))?;
    // As one of a kind, or it would be compiled once for each way in which a runtime may run it.
    let work: Pin<&mut dyn Future<Output = _>> = std::pin::pin!(work);
    let end = runtime.block_on(work);
    // A thread that hangs in a file system must not keep the command from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    end
}

/// The platform's own diagnostics, on stderr; `DAYFLY_LOG=debug` and the like choose how much.
fn start_diagnostics() {
    // The watcher warns of every folder that goes, as it forgets each of them twice.
    let filter = tracing_subscriber::EnvFilter::try_from_env("DAYFLY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,notify=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal::Paint::stderr().is_coloured())
        .init();
}
