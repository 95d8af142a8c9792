//! Packages by the host's npm: how it is called, and why it failed in words that a function may
//! read.

use std::collections::BTreeSet;
use std::path::Path;

use super::node::OLD;
use super::{Sdk, run};
use crate::interpreter::Interpreter;

pub(super) const NO_PACKAGE: &str = "there is no such package (E404)";
const NO_VERSION: &str = "there is no version of it (ETARGET)";

impl Sdk {
    /// Has npm fetch packages, for this interpreter.
    pub(super) async fn npm(
        &self,
        interpreter: &Interpreter,
        stage: &Path,
        packages: &BTreeSet<String>,
    ) -> Result<(), Refused> {
        let mut places = self
            .surroundings
            .path
            .iter()
            .map(|folder| folder.join("npm"));
        let npm = places.find(|npm| npm.is_file());
        let npm = npm.ok_or_else(|| Refused {
            why: "npm, which would fetch it, is not on this host".to_owned(),
            unknown: None,
        })?;
        // It takes the newest version that says it runs on the Node that npm runs on.
        let script = std::fs::canonicalize(&npm).ok();
        let script = script.filter(|script| script.extension().is_some_and(|end| end == "js"));
        if let Some(script) = script {
            let mut command = tokio::process::Command::new(&interpreter.executable);
            command.arg(script);
            match self.install_packages(command, stage, packages).await {
                // It may be too old a Node for this npm, which says so in other words.
                Err(said) if !is_npms_own(&said) => {}
                fetched => return fetched.map_err(|said| Refused::of(&said, packages)),
            }
        }
        let command = tokio::process::Command::new(&npm);
        let fetched = self.install_packages(command, stage, packages).await;
        fetched.map_err(|said| Refused::of(&said, packages))
    }

    async fn install_packages(
        &self,
        mut command: tokio::process::Command,
        stage: &Path,
        packages: &BTreeSet<String>,
    ) -> Result<(), String> {
        command.arg("install").arg("--prefix").arg(stage);
        command.args([
            "--no-save",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--omit=dev",
            "--ignore-scripts",
            "--loglevel=error",
            "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000",
            "--fetch-retry-maxtimeout=1000",
        ]);
        // Any version, so that npm chooses. The old one is at its end: its last version it is,
        // whatever is said of it.
        command.args(packages.iter().map(|name| {
            let version = if name == OLD { "latest" } else { "*" };
            format!("{name}@{version}")
        }));
        run(command, &self.surroundings, stage, &*self.clock).await
    }
}

/// Why npm did not fetch.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: String,
    /// The package that does not exist, if it is that.
    pub(super) unknown: Option<String>,
}

impl Refused {
    fn of(said: &str, packages: &BTreeSet<String>) -> Self {
        let why = reason(said);
        let is_unknown = [NO_PACKAGE, NO_VERSION].contains(&why.as_str());
        let mut named = packages
            .iter()
            .filter(|name| is_unknown && said.lines().any(|line| is_about(line, name)));
        Self {
            unknown: named.next().cloned(),
            why: format!("npm: {why}"),
        }
    }
}

/// Whether a line of npm's names this package, as it does with a version.
fn is_about(line: &str, package: &str) -> bool {
    line.match_indices(package).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + package.len()..).unwrap_or_default();
        before.is_none_or(|c| c == '\'' || c == ' ') && after.starts_with('@')
    })
}

/// Whether npm itself said why it failed.
fn is_npms_own(said: &str) -> bool {
    said.lines()
        .any(|line| line.starts_with("npm error code ") || line.starts_with("npm ERR! code "))
        || said == super::TOO_LATE
}

/// Why npm failed, without the paths and the registry's address that it tells as well: a function
/// may get to read it.
fn reason(said: &str) -> String {
    let lines = said.lines().map(|line| {
        let line = line.trim();
        let rest = ["npm error", "npm ERR!"]
            .iter()
            .find_map(|start| line.strip_prefix(start));
        rest.unwrap_or(line).trim()
    });
    let mut lines = lines.filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("no reason given");
    match first.strip_prefix("code ") {
        Some("E404") => NO_PACKAGE.to_owned(),
        Some("ETARGET") => NO_VERSION.to_owned(),
        Some(code @ ("ENOTFOUND" | "EAI_AGAIN" | "ECONNREFUSED" | "ETIMEDOUT" | "ENETUNREACH")) => {
            format!("the package registry cannot be reached ({code})")
        }
        Some(code) => format!("it failed with {code}"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_npm_failed_is_told_in_short() {
        let check = |said: &str, expected: &str| assert_eq!(reason(said), expected, "{said}");
        check(
            "npm error code E404\nnpm error 404 Not Found - GET https://r/@aws-sdk%2fx\n\
             npm error A complete log of this run can be found in: /var/npm/_logs/x.log\n",
            "there is no such package (E404)",
        );
        check(
            "npm ERR! code EAI_AGAIN\nnpm ERR! syscall getaddrinfo\n",
            "the package registry cannot be reached (EAI_AGAIN)",
        );
        check("npm error code EACCES\n", "it failed with EACCES");
        check("\nnpm error offline\n", "offline");
        check("sh: node: not found\n", "sh: node: not found");
        check("it did not come in time", "it did not come in time");
        check("", "no reason given");
    }

    #[test]
    fn the_package_that_does_not_exist_is_known_by_its_name() {
        let packages = ["@aws-sdk/client-s", "@aws-sdk/client-s3", "aws-sdk"];
        let packages: BTreeSet<_> = packages.into_iter().map(str::to_owned).collect();
        let check = |said: &str, expected: Option<&str>| {
            let refused = Refused::of(said, &packages);
            assert_eq!(refused.unknown.as_deref(), expected, "{said}");
        };
        let s3 = Some("@aws-sdk/client-s3");
        check(
            "npm error code E404\nnpm error 404 Not Found - GET https://r/@aws-sdk%2fclient-s3\n\
             npm error 404  The requested resource '@aws-sdk/client-s3@*' could not be found",
            s3,
        );
        check(
            "npm ERR! code E404\nnpm ERR! 404  '@aws-sdk/client-s3@*' is not in this registry.",
            s3,
        );
        check(
            "npm error code ETARGET\n\
             npm error notarget No matching version found for @aws-sdk/client-s3@*.",
            s3,
        );
        // What another needs, and whatever else goes wrong.
        check(
            "npm error code E404\nnpm error 404  '@aws-sdk/core@^3' is not",
            None,
        );
        check(
            "npm error code EACCES\nnpm error @aws-sdk/client-s3@*",
            None,
        );
        check("", None);
    }
}
