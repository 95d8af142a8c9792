//! Folders without a manifest: one function, or a folder of folders that are functions.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use engine::verb::UrlSettings;
use model::Runtime;

use super::{BuildKind, Found, FunctionPlan, Options, handler, name_of, version};
use crate::environment::{read_bounded, read_toml};
use crate::error::Error;
use crate::template;

/// Sub-folders that are looked into (ours: a folder of more is no project of functions).
const SUBFOLDERS_MAX: usize = 500;

/// The files that make a folder a function, in the order in which they are looked for.
const PYTHON: &[&str] = &["lambda_function.py", "app.py", "main.py", "handler.py"];
const NODE: &[&str] = &[
    "index.mjs",
    "index.js",
    "index.cjs",
    "index.ts",
    "index.mts",
    "handler.mjs",
    "handler.js",
    "handler.cjs",
    "handler.ts",
    "handler.mts",
];

/// Files besides whose change may change what a function is, and not only what it does.
const DECIDING: &[&str] = &[
    "bootstrap",
    "Cargo.toml",
    "package.json",
    "pyproject.toml",
    ".python-version",
    ".node-version",
    ".nvmrc",
    ".env",
    crate::ignore::IGNORE_FILE,
];

/// Whether a change of a file of this name may change what a function is.
pub(crate) fn decides(name: &OsStr) -> bool {
    let mut known = PYTHON.iter().chain(NODE).chain(DECIDING);
    known.any(|known| name == OsStr::new(known))
}

/// Manifests of other tools, which say what they say to nobody here.
const FOREIGN: &[&str] = &[
    "serverless.yml",
    "serverless.yaml",
    "serverless.json",
    "serverless.ts",
    "host.json",
    "cdk.json",
];

/// Reads a folder that has no manifest.
pub(super) fn read(folder: &Path, options: &Options) -> Result<Found, Error> {
    let mut found = Found::default();
    for name in FOREIGN.iter().filter(|name| folder.join(name).is_file()) {
        found.warnings.push(format!(
            "{}: not read yet; functions are looked for by their files, and what it says of them \
             has no effect",
            folder.join(name).display()
        ));
    }
    if let Some(function) = function(folder, options, &mut found.warnings)? {
        found.functions.push((function, Vec::new()));
        let within = subfolders(folder)?
            .into_iter()
            .filter(|sub| is_function(sub));
        let within: Vec<String> = within.map(|sub| sub.display().to_string()).collect();
        if !within.is_empty() {
            found.warnings.push(format!(
                "{}: left out, as the folder around is a function itself; move its own files into \
                 a folder beside to run all",
                within.join(", ")
            ));
        }
        return Ok(found);
    }
    found.grows = true;
    for sub in subfolders(folder)? {
        if let Some(file) = template::find(&sub) {
            found.warnings.push(format!(
                "{}: a project of its own, left out here; name its folder to run it",
                file.display()
            ));
            continue;
        }
        match function(&sub, options, &mut found.warnings) {
            Ok(function) => found
                .functions
                .extend(function.map(|function| (function, Vec::new()))),
            // Beside functions, a program with no handler is just a program.
            Err(error @ Error::NoHandler { .. }) => {
                found
                    .warnings
                    .push(format!("{}: left out: {error}", sub.display()));
                found.left_out.push(name_of(&sub)?);
            }
            Err(error) => return Err(error),
        }
    }
    if found.functions.is_empty() {
        return Err(Error::NoFunctions {
            folder: folder.to_owned(),
            hint: hint(folder, &found.warnings),
        });
    }
    Ok(found)
}

/// The file that makes a folder a function, where it does beyond doubt.
pub(super) fn entry(folder: &Path) -> Option<String> {
    let kind = kind(folder).ok()??;
    let found = match &kind {
        Kind::Bootstrap | Kind::Cargo => true,
        Kind::Python(file) | Kind::Node(file) => has_handler(folder, file),
    };
    found.then(|| kind.file().to_owned())
}

/// Whether a folder in a function's would be one of its own; not where a build leaves its results.
fn is_function(sub: &Path) -> bool {
    let result = ["build", "dist", "out"].map(OsStr::new);
    let name = sub.file_name();
    !name.is_some_and(|name| result.contains(&name)) && entry(sub).is_some()
}

fn has_handler(folder: &Path, file: &str) -> bool {
    let path = folder.join(file);
    let handler = if file.ends_with(".py") {
        handler::python(&path, file)
    } else {
        handler::node(&path, file)
    };
    path.is_file() && handler.is_ok()
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("list", folder))?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let skipped =
            name.starts_with('.') || matches!(name.as_str(), "node_modules" | "target" | "venv");
        if !skipped && path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    folders.truncate(SUBFOLDERS_MAX);
    Ok(folders)
}

fn hint(folder: &Path, warnings: &[String]) -> String {
    if folder.join("bootstrap").is_file() {
        return "; bootstrap is not executable (chmod +x bootstrap)".into();
    }
    if folder.join("Cargo.toml").is_file() {
        return "; Cargo.toml names neither of the two".into();
    }
    warnings
        .first()
        .map(|warning| format!("; {warning}"))
        .unwrap_or_default()
}

/// The function that a folder is, if it is one.
fn function(
    folder: &Path,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Option<FunctionPlan>, Error> {
    let Some(kind) = kind(folder)? else {
        let bootstrap = folder.join("bootstrap");
        if bootstrap.is_file() {
            let text = format!(
                "{}: left out, as it is not executable; chmod +x makes it so",
                bootstrap.display()
            );
            warnings.push(text);
        }
        return Ok(None);
    };
    let name = name_of(folder)?;
    let (runtime, handler, build) = match &kind {
        Kind::Bootstrap => (
            Runtime::ProvidedAl2023,
            "bootstrap".to_owned(),
            BuildKind::Copy,
        ),
        Kind::Cargo => (
            Runtime::ProvidedAl2023,
            "bootstrap".to_owned(),
            BuildKind::Rust { binary: None },
        ),
        Kind::Python(file) => {
            let runtime = version::python(folder, options, warnings)?;
            (
                runtime,
                handler::python(&folder.join(file), file)?,
                BuildKind::Python,
            )
        }
        Kind::Node(file) => {
            let runtime = version::node(folder, options, warnings)?;
            let build = if is_typescript(file) {
                BuildKind::TypeScript { entry: None }
            } else {
                BuildKind::Node
            };
            (runtime, handler::node(&folder.join(file), file)?, build)
        }
    };
    if let Some(other) = another(folder, &kind) {
        warnings.push(format!(
            "{}: not used, as {} is there too and comes first",
            folder.join(other).display(),
            kind.file()
        ));
    }
    let own = folder.file_name().unwrap_or_default().to_string_lossy();
    if own != name.as_str() {
        warnings.push(format!(
            "{}: its function is named '{name}', not '{own}': names are of 1 to 64 letters, digits, \
             hyphens and underscores",
            folder.display()
        ));
    }
    let mut function = FunctionPlan::new(name, runtime, handler, folder.to_owned(), build);
    function.url = Some(UrlSettings::default());
    Ok(Some(function))
}

enum Kind {
    Bootstrap,
    Cargo,
    Python(String),
    Node(String),
}

impl Kind {
    fn file(&self) -> &str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Cargo => "Cargo.toml",
            Self::Python(file) | Self::Node(file) => file,
        }
    }
}

fn kind(folder: &Path) -> Result<Option<Kind>, Error> {
    if is_executable(&folder.join("bootstrap")) {
        return Ok(Some(Kind::Bootstrap));
    }
    let cargo = folder.join("Cargo.toml");
    if cargo.is_file() && uses_lambda_runtime(&cargo)? {
        return Ok(Some(Kind::Cargo));
    }
    let present = |files: &[&'static str]| {
        files
            .iter()
            .copied()
            .find(|file| folder.join(file).is_file())
    };
    if let Some(file) = present(PYTHON) {
        return Ok(Some(Kind::Python(file.to_owned())));
    }
    if let Some(file) = present(NODE) {
        return Ok(Some(Kind::Node(file.to_owned())));
    }
    Ok(node_main(folder).map(Kind::Node))
}

/// Entry files side by side are one function only. One of the same language may be a module of the
/// first, unless it has a handler, too, and is not what a compiler made of it.
fn another(folder: &Path, kind: &Kind) -> Option<&'static str> {
    let stem = |file: &str| file.split('.').next().map(str::to_owned);
    let more = |files: &[&'static str], first: &str| {
        let others = files.iter().copied();
        let mut others = others.filter(|file| stem(file) != stem(first));
        others.find(|file| has_handler(folder, file))
    };
    let present = |files: &[&'static str]| {
        let mut files = files.iter().copied();
        files.find(|file| folder.join(file).is_file())
    };
    match kind {
        Kind::Python(file) => more(PYTHON, file).or_else(|| present(NODE)),
        Kind::Node(file) => more(NODE, file),
        Kind::Bootstrap | Kind::Cargo => present(PYTHON),
    }
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file)
        .is_ok_and(|status| status.is_file() && status.permissions().mode() & 0o111 != 0)
}

pub(crate) fn is_typescript(file: &str) -> bool {
    file.ends_with(".ts") || file.ends_with(".mts") || file.ends_with(".cts")
}

fn uses_lambda_runtime(cargo: &Path) -> Result<bool, Error> {
    let manifest = read_toml(cargo)?;
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    Ok(dependencies.is_some_and(|named| {
        ["lambda_runtime", "lambda_http"]
            .iter()
            .any(|name| named.contains_key(*name))
    }))
}

/// The file that package.json names as its entry, if it is a source file within the folder.
fn node_main(folder: &Path) -> Option<String> {
    let text = read_bounded(&folder.join("package.json")).ok()?;
    let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
    let main = manifest
        .get("main")?
        .as_str()?
        .trim_start_matches("./")
        .to_owned();
    let source = [".js", ".mjs", ".cjs", ".ts", ".mts", ".cts"]
        .iter()
        .any(|ext| main.ends_with(ext));
    let inside = Path::new(&main)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    (source && inside && folder.join(&main).is_file()).then_some(main)
}
