//! What the tests need of the host, and the line that installs what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::run;

/// The oldest Python 3 that every pinned client runs on.
const PYTHON_MINOR_MIN: u32 = 10;

/// The oldest Node.js that functions can name.
const NODE_MAJOR_MIN: u32 = 18;

/// A Python of the host that can make virtual environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// The interpreter itself, not a shim.
    pub program: PathBuf,
    /// Such as `3.11.7`.
    pub version: String,
}

/// One thing that the host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    what: String,
    packages: &'static [&'static str],
}

/// Looks for everything at once, so that one line of installing is enough.
pub fn check() -> Result<Python> {
    check_place(&crate::tree::root())?;
    let mut missing = Vec::new();
    let tools: [(&str, &'static [&'static str]); 3] = [
        ("cc", &["gcc", "libc6-dev"]),
        ("npm", &["npm"]),
        ("curl", &["curl"]),
    ];
    for (program, packages) in tools {
        match version(program) {
            Some(text) => println!("{program}: {text}"),
            None => missing.push(Missing {
                what: program.to_owned(),
                packages,
            }),
        }
    }
    match version("node").map(|text| (node_major(&text), text)) {
        Some((Some(major), text)) if major >= NODE_MAJOR_MIN => println!("node: {text}"),
        _ => missing.push(Missing {
            what: format!("node {NODE_MAJOR_MIN} or newer"),
            packages: &["nodejs"],
        }),
    }
    let python = python();
    match &python {
        Some(python) => println!("python: {} {}", python.version, python.program.display()),
        None => missing.push(Missing {
            what: format!("python 3.{PYTHON_MINOR_MIN} or newer, with venv and pip"),
            packages: &["python3", "python3-venv", "python3-pip"],
        }),
    }
    match python {
        Some(python) if missing.is_empty() => Ok(python),
        _ => bail!("{}", explain(&missing)),
    }
}

/// Sandboxes have a `/tmp` of their own, and would not see what is built and fetched below it.
fn check_place(root: &Path) -> Result<()> {
    if root.starts_with("/tmp") {
        bail!(
            "the tests cannot run in {}: sandboxes have a /tmp of their own and would not see what \
             is built and fetched here; move the clone out of /tmp, then run `cargo xtask test` again",
            root.display()
        );
    }
    Ok(())
}

/// What is missing and the one line that installs it.
fn explain(missing: &[Missing]) -> String {
    let whats: Vec<&str> = missing
        .iter()
        .map(|missing| missing.what.as_str())
        .collect();
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|missing| missing.packages.iter().copied())
        .collect();
    format!(
        "the tests need {}; install with\n\n    apt-get update && apt-get install -y {}\n\n\
         or the like of your distribution, then run `cargo xtask test` again",
        whats.join(", "),
        packages.join(" ")
    )
}

fn version(program: &str) -> Option<String> {
    let text = run::output(Command::new(program).arg("--version"))?;
    text.lines().next().map(str::to_owned)
}

fn node_major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// The first Python that is new enough and can make virtual environments with pip in them.
fn python() -> Option<Python> {
    let newer = (PYTHON_MINOR_MIN..=14)
        .rev()
        .map(|minor| format!("python3.{minor}"));
    std::iter::once("python3".to_owned())
        .chain(newer)
        .find_map(|name| {
            let text = run::output(Command::new(&name).args(["-c", ASK_PYTHON]))?;
            parse_python(&text)
        })
}

const ASK_PYTHON: &str =
    "import ensurepip, platform, sys, venv; print(platform.python_version(), sys.executable)";

fn parse_python(text: &str) -> Option<Python> {
    let (version, program) = text.split_once(' ')?;
    let minor: u32 = version
        .strip_prefix("3.")?
        .split('.')
        .next()?
        .parse()
        .ok()?;
    (minor >= PYTHON_MINOR_MIN).then(|| Python {
        program: program.into(),
        version: version.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_that_sandboxes_cannot_see_is_refused() {
        let refused = check_place(Path::new("/tmp/clone")).unwrap_err();
        assert!(refused.to_string().contains("move the clone"), "{refused}");
        assert!(check_place(Path::new("/srv/tmp/clone")).is_ok());
        assert!(check_place(Path::new("/tmpfs/clone")).is_ok());
    }

    #[test]
    fn versions_are_understood() {
        assert_eq!(node_major("v20.20.2"), Some(20));
        assert_eq!(node_major("bun"), None);
        let python = parse_python("3.11.7 /usr/bin/python3.11").unwrap();
        assert_eq!(
            (python.version.as_str(), python.program.to_str()),
            ("3.11.7", Some("/usr/bin/python3.11"))
        );
        assert_eq!(parse_python("3.9.2 /usr/bin/python3"), None);
    }

    #[test]
    fn one_line_installs_all_that_is_missing() {
        let missing = [
            Missing {
                what: "cc".into(),
                packages: &["gcc", "libc6-dev"],
            },
            Missing {
                what: "node 18 or newer".into(),
                packages: &["nodejs"],
            },
        ];
        let text = explain(&missing);
        assert!(
            text.starts_with("the tests need cc, node 18 or newer;"),
            "{text}"
        );
        assert!(
            text.contains("apt-get install -y gcc libc6-dev nodejs\n"),
            "{text}"
        );
    }
}
