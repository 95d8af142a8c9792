//! The outside clients that stories use, below `target/`: Python's in a virtual environment of our
//! own, made again only when the list of pins or the interpreter changes, and native ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::host::Python;
use crate::bench::target;
use crate::{run, tree};

/// Where the clients are.
#[derive(Debug)]
pub struct Clients {
    /// A Python that imports boto3 and Pillow.
    pub python: PathBuf,
    /// The aws CLI, version 1.
    pub aws: PathBuf,
    /// The host's aws CLI of version 2, which no registry that pip reads has, where it has one.
    pub aws_2: Option<PathBuf>,
    /// Rust's clients of Lambda's runtime interfaces.
    pub native: PathBuf,
}

/// Makes sure that the clients are there.
pub fn ready(python: &Python) -> Result<Clients> {
    let folder = target().join("test-tools");
    let venv = folder.join("venv");
    let pins = tree::root().join("xtask").join("test-tools.txt");
    let wanted = stamp(
        python,
        &fs::read(&pins).with_context(|| format!("read {}", pins.display()))?,
    );
    let stamp = venv.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        println!("clients: {} (kept)", venv.display());
    } else {
        make(python, &venv, &pins)?;
        // Last, so that a broken installation is never taken for a whole one.
        fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    }
    let bin = venv.join("bin");
    let native = build_native(&folder)?;
    Ok(Clients {
        native,
        python: bin.join("python3"),
        aws: bin.join("aws"),
        aws_2: aws_2(),
    })
}

/// Debian's, or the vendor's own.
fn aws_2() -> Option<PathBuf> {
    let places = ["/usr/bin/aws", "/usr/local/bin/aws"].map(PathBuf::from);
    let found = places.into_iter().find(|place| {
        let told = run::output(Command::new(place).arg("--version"));
        told.is_some_and(|told| told.starts_with("aws-cli/2."))
    });
    match &found {
        Some(place) => println!("aws CLI 2: {}", place.display()),
        None => println!("aws CLI 2: none here; the stories that need it are left out"),
    }
    found
}

/// Builds the native clients, in a folder that no other build waits for.
fn build_native(folder: &Path) -> Result<PathBuf> {
    let target = folder.join("native");
    let manifest = tree::root().join("xtask/clients/Cargo.toml");
    run::step(
        "build the native clients",
        run::cargo()
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(&target),
    )?;
    Ok(target.join("release").join("clients"))
}

fn make(python: &Python, venv: &Path, pins: &Path) -> Result<()> {
    run::step(
        "make a virtual environment for the tests' clients",
        Command::new(&python.program)
            .args(["-m", "venv", "--clear"])
            .arg(venv),
    )?;
    run::step(
        "install the tests' clients",
        Command::new(venv.join("bin").join("python3"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--no-deps", "--requirement"])
            .arg(pins),
    )
}

fn stamp(python: &Python, pins: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(&python.version);
    hash.update(python.program.as_os_str().as_encoded_bytes());
    hash.update(pins);
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_pin_or_interpreter_makes_another_stamp() {
        let python = |version: &str| Python {
            program: "/p".into(),
            version: version.into(),
        };
        let first = stamp(&python("3.11.7"), b"six==1");
        assert_eq!(first, stamp(&python("3.11.7"), b"six==1"));
        assert_ne!(first, stamp(&python("3.11.7"), b"six==2"));
        assert_ne!(first, stamp(&python("3.12.0"), b"six==1"));
    }
}
