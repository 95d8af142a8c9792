//! Running other programs with their output on ours, and saying which one failed.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A `cargo` of the toolchain that runs us, in the work tree's root.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(crate::tree::root());
    command
}

/// Says what is about to happen, then runs it to its end; any failure is an error.
pub fn step(title: &str, command: &mut Command) -> Result<()> {
    println!("==> {title}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{title}: {} ended with {status}", line(command));
    }
    Ok(())
}

/// What a program prints on its standard output, where it ends well.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
