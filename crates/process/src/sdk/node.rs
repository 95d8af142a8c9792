//! The packages of the AWS SDK for JavaScript that Node's runtimes bring: those that a package
//! names and does not bring, each set of them fetched once with the host's npm; and those that
//! running functions ask for, each with all that it needs in a folder of its own, so that nothing
//! changes that is in use.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::port::Warning;
use model::FunctionConfig;
use sha2::{Digest as _, Sha256};

use super::npm::NO_PACKAGE;
use super::vintage::Vintages;
use super::{FILE_BYTES_MAX, FILES_MAX, Sdk, unkept};
use crate::interpreter::{Interpreter, Language};

/// Scopes whose packages Node's runtimes bring.
const SCOPES: [&str; 2] = ["@aws-sdk/", "@smithy/"];
/// What they brought before, and no longer do; much old code needs it.
pub(super) const OLD: &str = "aws-sdk";
const OLD_WARNING: &str = "aws-sdk (version 2) is named in the package, which does not bring it; it \
     is added here, but Lambda's runtimes from nodejs18.x on bring it no more: put it into the \
     package, or use @aws-sdk/client-*";
/// Packages that are fetched for one function (ours; there are some four hundred).
const PACKAGES_MAX: usize = 100;
/// Packages that are kept for running functions, of some 15 MB each (ours).
const SHARED_MAX: usize = 64;
/// In the shared folder: each package with all that it needs, and a link to each.
const CLOSURES: &str = "packages";
const LINKS: &str = "node_modules";
/// In a folder of packages that a function names: those of them that do not exist.
const UNKNOWN: &str = "unknown";
/// How many those may be (ours): npm tells of one at a time.
const UNKNOWN_MAX: usize = 8;

/// What a package names of the SDK and does not bring.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lack {
    packages: BTreeSet<String>,
    old: bool,
}

impl Sdk {
    /// The packages that were fetched for a function on this line of Node.
    pub(super) fn set_of(&self, node: Language, config: &FunctionConfig) -> Option<PathBuf> {
        let link = name_of_link(node, config);
        self.vintages.all().find_map(|vintage| {
            let set = std::fs::canonicalize(vintage.join(&link)).ok()?;
            let modules = Some(set.join(LINKS)).filter(|modules| modules.is_dir())?;
            Vintages::used(vintage);
            Some(modules)
        })
    }
    /// Whether a package is in the shared folder.
    pub(super) fn has_package(&self, node: Language, name: &str) -> bool {
        let package = if name == OLD {
            closure_of(name).join(LINKS).join(name)
        } else {
            Path::new(LINKS).join(name)
        };
        let manifest = self.folder(node).join(package).join("package.json");
        manifest.is_file()
    }

    /// Fetches one package into the shared folder, whose name has been looked at.
    pub(super) async fn fetch_package(
        self: &Arc<Self>,
        interpreter: &Interpreter,
        name: &str,
    ) -> Result<(), String> {
        let shared = self.folder(interpreter.language);
        let closure = closure_of(name);
        let place = shared.join(&closure);
        if !place.is_dir() {
            if count(&shared.join(CLOSURES)).await >= SHARED_MAX {
                return Err(format!(
                    "{SHARED_MAX} packages have been fetched for running functions here, which is \
                     as many as are kept"
                ));
            }
            (self.progress)(&format!(
                "fetching {name}, which {}, once",
                brought_by(name)
            ));
            let packages = BTreeSet::from([name.to_owned()]);
            let install = |stage: PathBuf| async move {
                let manifest = stage.join(LINKS).join(name).join("package.json");
                let fetched = self.npm(interpreter, &stage, &packages).await;
                fetched.map_err(|refused| refused.why)?;
                if manifest.is_file() {
                    Ok(())
                } else {
                    Err("npm: it fetched something else".to_owned())
                }
            };
            self.staged(&place, install).await?;
        }
        // Nobody is to find what is not brought by looking for it: it is found by asking.
        if name == OLD {
            return Ok(());
        }
        let link = shared.join(LINKS).join(name);
        let fail = |error: std::io::Error| unkept(&link, &error);
        if let Some(parent) = link.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(fail)?;
        }
        let above = Path::new("../..").join(closure);
        match tokio::fs::symlink(above.join(LINKS).join(name), &link).await {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(fail(error)),
            _ => Ok(()),
        }
    }

    pub(super) async fn look_node(
        self: &Arc<Self>,
        interpreter: &Interpreter,
        config: &FunctionConfig,
        code: &Path,
        layers: &[PathBuf],
    ) -> Vec<Warning> {
        if let Some(modules) = self.set_of(interpreter.language, config) {
            return warnings_of(&modules).await;
        }
        let (code, layers) = (code.to_owned(), layers.to_vec());
        let lacks = tokio::task::spawn_blocking(move || lacks(&code, &layers));
        let lack = lacks.await.unwrap_or_default();
        let mut packages = lack.packages;
        if lack.old {
            packages.insert(OLD.to_owned());
        }
        if packages.is_empty() {
            return Vec::new();
        }
        match self.fetch_node(interpreter, config, &packages).await {
            Ok(modules) => warnings_of(&modules).await,
            Err(why) => {
                let packages: Vec<_> = packages.iter().map(String::as_str).collect();
                vec![not_fetched(&packages, &why)]
            }
        }
    }

    /// Fetches what there is of these; where the modules are.
    async fn fetch_node(
        self: &Arc<Self>,
        interpreter: &Interpreter,
        config: &FunctionConfig,
        packages: &BTreeSet<String>,
    ) -> Result<PathBuf, String> {
        let _fetching = self.fetching.lock().await;
        let node = interpreter.language;
        let mut hash = Sha256::new();
        for package in packages {
            hash.update(package);
            hash.update([0]);
        }
        let name = format!("{}-{}", line_of(node), model::id::hex(&hash.finalize()));
        let set = self.vintages.current().join(&name);
        if !set.is_dir() {
            let listed: Vec<_> = packages.iter().map(String::as_str).collect();
            (self.progress)(&format!(
                "fetching {}, which Lambda's runtime brings, once",
                listed.join(" ")
            ));
            let install =
                |stage: PathBuf| async move { self.fill_set(interpreter, &stage, packages).await };
            self.staged(&set, install).await?;
        }
        let link = self.vintages.current().join(name_of_link(node, config));
        let fail = |error: std::io::Error| unkept(&link, &error);
        if let Some(parent) = link.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(fail)?;
        }
        let _ = tokio::fs::remove_file(&link).await;
        let target = Path::new("..").join(name);
        tokio::fs::symlink(target, &link).await.map_err(fail)?;
        Ok(set.join(LINKS))
    }

    /// Fetches packages and notes which of them do not exist: one wrong name is to keep no other
    /// from coming.
    async fn fill_set(
        &self,
        interpreter: &Interpreter,
        stage: &Path,
        packages: &BTreeSet<String>,
    ) -> Result<(), String> {
        let mut wanted = packages.clone();
        let mut unknown = Vec::new();
        loop {
            let Err(refused) = self.npm(interpreter, stage, &wanted).await else {
                break;
            };
            let name = refused.unknown.filter(|name| wanted.remove(name));
            match name {
                Some(name) if unknown.len() < UNKNOWN_MAX && !wanted.is_empty() => {
                    unknown.push(name);
                }
                _ => return Err(refused.why),
            }
        }
        let fail = |error: std::io::Error| unkept(stage, &error);
        let modules = tokio::fs::create_dir_all(stage.join(LINKS)).await;
        modules.map_err(fail)?;
        tokio::fs::write(stage.join(UNKNOWN), unknown.join("\n"))
            .await
            .map_err(fail)
    }
}

/// Where it is noted which packages a function has; its code and layers decide.
fn name_of_link(node: Language, config: &FunctionConfig) -> PathBuf {
    let mut hash = Sha256::new();
    for code in [&config.code].into_iter().chain(&config.layers) {
        hash.update(code.digest.as_str());
    }
    let name = model::id::hex(&hash.finalize());
    Path::new("of").join(format!("{}-{name}", line_of(node)))
}

/// What its author should know of packages that were fetched for a function.
async fn warnings_of(modules: &Path) -> Vec<Warning> {
    let old = modules.join(OLD).exists();
    let mut warnings: Vec<_> = old.then(|| OLD_WARNING.to_owned()).into_iter().collect();
    let unknown = modules.with_file_name(UNKNOWN);
    let unknown = tokio::fs::read_to_string(unknown).await.unwrap_or_default();
    let unknown: Vec<_> = unknown.lines().collect();
    if !unknown.is_empty() {
        let why = format!("npm: {NO_PACKAGE}");
        warnings.push(not_fetched(&unknown, &why));
    }
    warnings
}

fn not_fetched(packages: &[&str], why: &str) -> Warning {
    let (is, it) = match packages {
        [_] => ("is", "it"),
        _ => ("are", "they"),
    };
    let again = if it == "it" {
        "it is tried again when the function loads it, or put it into the package"
    } else {
        "they are tried again when the function loads them, or put them into the package"
    };
    format!(
        "{} {is} named in the package, which does not bring {}, and could not be fetched: {why}; \
         {again}",
        packages.join(", "),
        if it == "it" { "it" } else { "them" },
    )
}

/// Who brings a package, as a fetch is told of.
pub(super) fn brought_by(name: &str) -> &'static str {
    if name == OLD {
        "Lambda's runtimes brought up to nodejs16.x"
    } else {
        "Lambda's runtime brings"
    }
}

/// How what is fetched for a line of Node is called: the newest version of a package that runs on
/// one need not run on another.
pub(super) fn line_of(node: Language) -> String {
    match node {
        Language::Node(major) => format!("node{major}"),
        Language::Python(minor) => format!("python3.{minor}"),
    }
}

/// Where a package is with all that it needs, below the shared folder.
fn closure_of(name: &str) -> PathBuf {
    Path::new(CLOSURES).join(name.replace('/', "+"))
}

/// How many there are in a folder.
async fn count(folder: &Path) -> usize {
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else {
        return 0;
    };
    let mut count = 0;
    while let Ok(Some(_)) = entries.next_entry().await {
        count += 1;
    }
    count
}

/// Whether layers bring something of the SDK where this Node finds it only after what is at the
/// root, which would hide it.
pub(super) fn is_in_layers(layers: &[PathBuf]) -> bool {
    layers.iter().any(|layer| {
        let nodejs = layer.join("nodejs");
        let versions = std::fs::read_dir(&nodejs).into_iter().flatten().flatten();
        let mut folders = versions.map(|entry| entry.path().join(LINKS));
        let brings = |folder: &Path| {
            SCOPES
                .iter()
                .any(|scope| folder.join(scope.trim_end_matches('/')).exists())
        };
        brings(&nodejs.join(LINKS)) || folders.any(|folder| brings(&folder))
    })
}

/// Whether this is the name of a package that Node's runtimes bring or have brought, and nothing
/// else.
pub(super) fn is_package(name: &str) -> bool {
    if name == OLD {
        return true;
    }
    let inner = SCOPES.iter().find_map(|scope| name.strip_prefix(scope));
    inner.is_some_and(is_inner)
}

/// Whether a name can follow a scope. One that ends in a hyphen is the beginning of one.
fn is_inner(inner: &str) -> bool {
    inner.starts_with(|c: char| c.is_ascii_lowercase())
        && !inner.ends_with('-')
        && inner.chars().all(is_plain)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// What a package names of the SDK and neither it nor a layer brings. Blocks.
fn lacks(code: &Path, layers: &[PathBuf]) -> Lack {
    let mut named = Lack::default();
    let mut left = vec![code.to_owned()];
    let mut looked = 0;
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            looked += 1;
            if looked > FILES_MAX {
                left.clear();
                break;
            }
            let path = entry.path();
            match entry.metadata() {
                // What is installed there brings what it needs.
                Ok(seen) if seen.is_dir() && entry.file_name() != "node_modules" => left.push(path),
                Ok(seen) if seen.is_file() && seen.len() <= FILE_BYTES_MAX && is_source(&path) => {
                    let text = std::fs::read(&path).unwrap_or_default();
                    collect(&String::from_utf8_lossy(&text), &mut named);
                }
                _ => {}
            }
        }
    }
    let is_brought = |name: &str| {
        let own = [code.join("node_modules").join(name)].into_iter();
        let versions = [18, 20, 22, 24].map(|major| format!("nodejs/node{major}/node_modules"));
        let places = ["nodejs/node_modules".to_owned()]
            .into_iter()
            .chain(versions);
        let places: Vec<_> = places.collect();
        let of_layers = layers
            .iter()
            .flat_map(|layer| places.iter().map(|place| layer.join(place).join(name)));
        own.chain(of_layers).any(|place| place.exists())
    };
    let packages = named.packages.into_iter();
    Lack {
        packages: packages
            .filter(|name| !is_brought(name))
            .take(PACKAGES_MAX)
            .collect(),
        old: named.old && !is_brought(OLD),
    }
}

fn is_source(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str());
    matches!(end, Some("js" | "mjs" | "cjs"))
}

/// The packages whose names a text has in quotes, as it has to in order to load them.
fn collect(text: &str, named: &mut Lack) {
    for (at, quote) in text.match_indices(['"', '\'', '`']) {
        let rest = text.get(at + quote.len()..).unwrap_or_default();
        for scope in SCOPES {
            let Some(inner) = rest.strip_prefix(scope) else {
                continue;
            };
            let end = inner.find(|c| !is_plain(c)).unwrap_or(inner.len());
            let (name, after) = inner.split_at(end);
            let ends = after.starts_with(quote) || after.starts_with('/');
            if ends && is_inner(name) {
                named.packages.insert(format!("{scope}{name}"));
            }
        }
        let old = rest.strip_prefix(OLD);
        named.old |=
            old.is_some_and(|after| after.starts_with(quote) || after.starts_with("/clients/"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_by_their_names_in_quotes() {
        let check = |text: &str, packages: &[&str], old: bool| {
            let mut named = Lack::default();
            collect(text, &mut named);
            let found: Vec<_> = named.packages.iter().map(String::as_str).collect();
            assert_eq!((found.as_slice(), named.old), (packages, old), "{text}");
        };
        check(
            "import {S3} from '@aws-sdk/client-s3'",
            &["@aws-sdk/client-s3"],
            false,
        );
        check(
            "require(\"@smithy/types/dist/x\")",
            &["@smithy/types"],
            false,
        );
        check("import(`@aws-sdk/client-${name}`)", &[], false);
        check("require('@aws-sdk/' + name)", &[], false);
        check("require('@aws-sdk/client-' + name)", &[], false);
        check("// @aws-sdk/client-s3 is used here", &[], false);
        check("require('@aws-sdk/--prefix')", &[], false);
        check("const AWS = require('aws-sdk');", &[], true);
        check("require('aws-sdk/clients/s3')", &[], true);
        check("require('aws-sdk-mock')", &[], false);
    }

    proptest::proptest! {
        #[test]
        fn noise_never_breaks_the_reader(text in "['\"`@a-z/é-]{0,80}") {
            collect(&text, &mut Lack::default());
        }
    }
}
