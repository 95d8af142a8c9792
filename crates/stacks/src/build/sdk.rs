//! What Lambda's runtimes bring and functions import without asking for it: boto3 in Python, the
//! packages of the AWS SDK in Node. What of it a function lacks is laid beneath all that it
//! brings itself. What cannot be fetched is not insisted on: the platform tries again when the
//! function is deployed, and when it asks for it, and says why it cannot.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use model::Runtime;

use super::cache::Key;
use super::tool::{self, Tool};
use super::{Build, Package, Source};
use crate::environment::read_text;
use crate::error::Error;
use crate::imports::specifiers;

/// Modules of Python's runtimes; boto3 brings the other two.
const MODULES: &[&str] = &["boto3", "botocore", "s3transfer"];
/// Scopes whose packages Node's runtimes bring.
const SCOPES: &[&str] = &["@aws-sdk/", "@smithy/"];
/// Source files that are looked through for imports (ours: a function has some dozens of its own).
const FILES_MAX: usize = 2_000;
/// Bytes of such a file (ours; bundles have some megabytes).
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Packages of the SDK that are installed for one function (ours; there are some four hundred).
const PACKAGES_MAX: usize = 100;

/// What a function imports and does not bring.
struct Lack {
    packages: Vec<String>,
    /// Names that the function does bring, which hide the runtime's as they do on Lambda.
    brought: BTreeSet<String>,
}

impl Build<'_> {
    /// The package with what its runtime would bring beneath it, as far as it is imported.
    pub(super) async fn with_sdk(
        &mut self,
        runtime: Runtime,
        mut package: Package,
        layers: &[Package],
    ) -> Result<Package, Error> {
        let (code, below) = (package.clone(), layers.to_vec());
        let lack = self
            .off_thread(move || lack(runtime, &code, &below))
            .await?;
        if lack.packages.is_empty() {
            return Ok(package);
        }
        let fetched = match runtime {
            Runtime::Python { .. } => self.fetch_boto3(runtime, &lack).await,
            _ => self.fetch_packages(runtime, &lack.packages).await,
        };
        // Its author is told by the platform, which tries again: twice would be once too often.
        if let Ok(folder) = fetched {
            let hidden = off_names(runtime, &folder, &lack.brought)?;
            let source = hidden
                .iter()
                .fold(Source::built(folder), |source, name| source.without(name));
            package.sources.insert(0, source);
        }
        Ok(package)
    }

    async fn fetch_boto3(&self, runtime: Runtime, lack: &Lack) -> Result<PathBuf, Error> {
        let mut wanted = vec!["boto3".to_owned()];
        // A botocore that the function pins decides which boto3 goes with it.
        let version = lack.brought.iter().find_map(|name| {
            name.strip_prefix("botocore-")?
                .strip_suffix(".dist-info")
                .map(|version| format!("botocore=={version}"))
        });
        wanted.extend(version);
        self.install_brought(runtime, wanted).await
    }

    async fn fetch_packages(
        &self,
        runtime: Runtime,
        packages: &[String],
    ) -> Result<PathBuf, Error> {
        let key = packages.iter().fold(
            Key::new("sdk by node").add(&runtime.to_string()),
            |key, package| key.add(package),
        );
        let key = key.finish();
        if let Some(ready) = self.cache.ready("sdk", &key) {
            return Ok(ready);
        }
        let interpreter = self.interpreter(runtime).await?;
        let npm = tool::find_beside(interpreter.as_deref(), "npm")
            .ok_or_else(|| self.missing("npm", "install Node.js, which brings it"))?;
        let stage = self.cache.stage("sdk", &key)?;
        self.progress.phase(&format!(
            "npm install {}, which Lambda's runtime brings",
            packages.join(" ")
        ));
        // npm takes the newest version that says it runs on the Node that npm runs on.
        let script = fs::canonicalize(&npm).ok();
        let script = script.filter(|script| script.extension().is_some_and(|end| end == "js"));
        let tool = match (&interpreter, &script) {
            (Some(node), Some(script)) => Tool::new(node, stage.path()).args([script.as_path()]),
            _ => Tool::new(&npm, stage.path()),
        };
        let run = tool
            .args([
                "install",
                "--no-save",
                "--no-package-lock",
                "--no-audit",
                "--no-fund",
                "--omit=dev",
                "--ignore-scripts",
                "--fetch-retries=0",
                "--prefix",
                ".",
            ])
            .args(packages.iter().map(|name| format!("{name}@*")))
            .advice("connect to the registry once, or name the packages in package.json");
        self.run(run).await?;
        stage.keep()
    }
}

/// What the code imports of what its runtime brings, and neither it nor a layer has.
fn lack(runtime: Runtime, code: &Package, layers: &[Package]) -> Result<Lack, Error> {
    let none = Lack {
        packages: Vec::new(),
        brought: BTreeSet::new(),
    };
    // The topmost folder is the function's own, whatever was built beneath it.
    let Some(own) = code.sources.last() else {
        return Ok(none);
    };
    let own = Package::of(own.clone()).files()?;
    let imported = match runtime {
        Runtime::Python { .. } => imported_modules(&own),
        Runtime::Node { .. } => imported_packages(&own),
        _ => return Ok(none),
    };
    if imported.is_empty() {
        return Ok(none);
    }
    let mut brought = BTreeSet::new();
    for file in code.files()? {
        brought.extend(name_in(runtime, &file.path));
    }
    for layer in layers {
        for file in layer.files()? {
            brought.extend(below_opt(runtime, &file.path).and_then(|path| name_in(runtime, path)));
        }
    }
    let packages = imported
        .into_iter()
        .filter(|name| !brought.contains(name) && !brought.contains(&format!("{name}.py")))
        .take(PACKAGES_MAX)
        .collect();
    Ok(Lack { packages, brought })
}

/// The function's own modules, wherever they are; but where dependencies have been installed
/// among them only those at the top, as libraries import boto3 for callers who want it.
fn imported_modules(own: &[super::PackageFile]) -> BTreeSet<String> {
    let vendored = own.iter().any(|file| {
        let first = file.path.components().next();
        first.is_some_and(|name| name.as_os_str().to_string_lossy().ends_with(".dist-info"))
    });
    let modules = own.iter().filter(|file| {
        let top = file.path.components().count() == 1;
        (top || !vendored) && file.path.extension().is_some_and(|end| end == "py")
    });
    let mut imported = BTreeSet::new();
    for file in modules.take(FILES_MAX) {
        let Ok(text) = read_text(&file.from, FILE_BYTES_MAX) else {
            continue;
        };
        for line in text.lines().map(str::trim_start) {
            let known = MODULES.iter().filter(|module| imports_module(line, module));
            imported.extend(known.map(|module| (*module).to_owned()));
        }
    }
    imported
}

/// Whether a line of Python imports a module, or something of it.
fn imports_module(line: &str, module: &str) -> bool {
    let is_it = |name: &str| {
        name.strip_prefix(module)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ' ', ';', '#']))
    };
    match (line.strip_prefix("from "), line.strip_prefix("import ")) {
        (Some(rest), _) => is_it(rest.trim_start()),
        (_, Some(rest)) => rest.split(',').any(|name| is_it(name.trim())),
        _ => false,
    }
}

fn imported_packages(own: &[super::PackageFile]) -> BTreeSet<String> {
    let modules = own.iter().filter(|file| {
        let vendored = file.path.iter().any(|part| part == "node_modules");
        let end = file.path.extension().and_then(|end| end.to_str());
        !vendored && matches!(end, Some("js" | "mjs" | "cjs"))
    });
    let mut imported = BTreeSet::new();
    for file in modules.take(FILES_MAX) {
        if let Ok(text) = read_text(&file.from, FILE_BYTES_MAX) {
            imported.extend(SCOPES.iter().flat_map(|scope| packages_of(&text, scope)));
        }
    }
    imported
}

/// The packages of a scope that a module imports or requires.
fn packages_of(text: &str, scope: &str) -> BTreeSet<String> {
    let found = specifiers(text).filter_map(|specifier| {
        let name = specifier.strip_prefix(scope)?.split('/').next()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        // One that ends in a hyphen is the beginning of one that is put together later.
        let whole = !name.starts_with(['.', '-']) && !name.ends_with('-');
        let named = !name.is_empty() && whole && name.chars().all(plain);
        named.then(|| format!("{scope}{name}"))
    });
    found.collect()
}

/// The part of a layer's path that modules are looked for in.
fn below_opt(runtime: Runtime, path: &Path) -> Option<&Path> {
    match runtime {
        Runtime::Python { .. } => {
            let rest = path.strip_prefix("python").ok()?;
            let mut parts = rest.iter();
            let site = parts.next()? == "lib"
                && parts.next().is_some()
                && parts.next()? == "site-packages";
            Some(if site { parts.as_path() } else { rest })
        }
        _ => {
            let rest = path.strip_prefix("nodejs").ok()?;
            let numbered = rest.iter().next()?.to_str()?.starts_with("node")
                && rest.iter().nth(1)? == "node_modules";
            let mut parts = rest.iter();
            Some(if numbered {
                parts.next();
                parts.as_path()
            } else {
                rest
            })
        }
    }
}

/// The name that a file belongs to where imports are looked up.
fn name_in(runtime: Runtime, path: &Path) -> Option<String> {
    let mut parts = path.iter().map(|part| part.to_str());
    let first = parts.next()??;
    match runtime {
        Runtime::Python { .. } => Some(first.to_owned()),
        _ if first == "node_modules" => {
            let name = parts.next()??;
            match name.starts_with('@') {
                true => Some(format!("{name}/{}", parts.next()??)),
                false => Some(name.to_owned()),
            }
        }
        _ => None,
    }
}

/// Patterns for what of a fetched folder the function brings itself: never is a package made of
/// files of two versions.
fn off_names(
    runtime: Runtime,
    fetched: &Path,
    brought: &BTreeSet<String>,
) -> Result<Vec<String>, Error> {
    let names = |folder: &Path| -> Result<Vec<String>, Error> {
        let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
        Ok(entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect())
    };
    if matches!(runtime, Runtime::Python { .. }) {
        let distribution = |name: &str| {
            name.strip_suffix(".dist-info")
                .and_then(|name| name.rsplit_once('-'))
                .map(|(name, _)| name.to_owned())
        };
        let distributions: BTreeSet<_> = brought.iter().filter_map(|n| distribution(n)).collect();
        let hides = |name: &String| {
            brought.contains(name)
                || distribution(name).is_some_and(|name| distributions.contains(&name))
        };
        let hidden = names(fetched)?.into_iter().filter(hides);
        return Ok(hidden.map(|name| format!("/{name}")).collect());
    }
    let modules = fetched.join("node_modules");
    let mut hidden = vec!["/package.json".to_owned(), "/node_modules/.*".to_owned()];
    for name in names(&modules)? {
        let within = match name.starts_with('@') {
            true => names(&modules.join(&name))?
                .into_iter()
                .map(|inner| format!("{name}/{inner}"))
                .collect(),
            false => vec![name],
        };
        let within = within.into_iter().filter(|name| brought.contains(name));
        hidden.extend(within.map(|name| format!("/node_modules/{name}")));
    }
    Ok(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_of_python() {
        let check = |line: &str, found: bool| {
            assert_eq!(imports_module(line, "boto3"), found, "{line}");
        };
        check("import boto3", true);
        check("import os, boto3 as aws", true);
        check("from boto3.dynamodb.conditions import Key", true);
        check("from boto3 import client", true);
        check("import boto3_stubs", false);
        check("from . import boto3", false);
        check("# import boto3", false);
        check("boto3.client('s3')", false);
    }

    #[test]
    fn imports_of_node() {
        let check = |text: &str, found: &[&str]| {
            let packages = packages_of(text, "@aws-sdk/");
            assert_eq!(packages.iter().collect::<Vec<_>>(), found, "{text}");
        };
        check("require('@aws-sdk/b/dist/x')", &["@aws-sdk/b"]);
        check("require('@aws-sdk/' + name)", &[]);
        check("require('@aws-sdk/client-' + name)", &[]);
    }
}
