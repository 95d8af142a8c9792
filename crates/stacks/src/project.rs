//! A project folder as a plan of functions: what to build, what to deploy, what to watch.

mod folder;
mod handler;
mod outside;
mod version;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::verb::UrlSettings;
use model::{
    AccountId, Code, FunctionConfig, FunctionName, LogFormat, LogLevel, Network, Region, Runtime,
    limit,
};

use crate::environment::{EnvVars, Variables, read_dotenv};
use crate::error::Error;
use crate::template;
use crate::watch::Watch;

pub(crate) use folder::decides;
pub(crate) use outside::outside;

/// Whether this host has a runtime. May block.
pub type Has = Arc<dyn Fn(Runtime) -> bool + Send + Sync>;

/// What reading a project depends on besides its files.
#[derive(Clone)]
pub struct Options {
    /// Account that templates mean by `AWS::AccountId`.
    pub account: AccountId,
    /// Region that templates mean by `AWS::Region`.
    pub region: Region,
    /// Environment variables by function, in the JSON form of SAM.
    pub env_vars: Option<PathBuf>,
    /// Values of a template's parameters, where its defaults are not wanted.
    pub parameters: BTreeMap<String, String>,
    /// Which runtimes this host has; asked only where nothing names one. The newest of them that
    /// fits is taken, or a default if none does.
    pub has: Has,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("account", &self.account)
            .field("region", &self.region)
            .field("env_vars", &self.env_vars)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Options with nothing chosen but where the functions will be.
    pub fn new(account: AccountId, region: Region) -> Self {
        Self {
            account,
            region,
            env_vars: None,
            parameters: BTreeMap::new(),
            has: Arc::new(|_| false),
        }
    }
}

/// A project as it was read.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its folder's name.
    pub name: String,
    /// What to build and deploy, each name once.
    pub functions: Vec<FunctionPlan>,
    /// What its author should know; each begins with the file that it is about.
    pub warnings: Vec<String>,
    /// Functions whose folders are there and cannot be read as such, often because a file is only
    /// half written: what was deployed of them may go on.
    pub left_out: Vec<FunctionName>,
    /// Which files matter to it.
    pub watch: Watch,
}

/// A function to build and deploy.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionPlan {
    /// Its name.
    pub name: FunctionName,
    /// The runtime it asks for, or that was guessed.
    pub runtime: Runtime,
    /// Where the runtime enters the code. A build may have to correct a guessed one:
    /// [`crate::Built::handler`] is what to deploy.
    pub handler: String,
    /// What it is for.
    pub description: String,
    /// Memory, in MB.
    pub memory_mb: u32,
    /// Longest time one invocation may take.
    pub timeout: Duration,
    /// Size of its /tmp, in MB.
    pub tmp_mb: u32,
    /// Environment variables, `.env` and env-vars files included.
    pub environment: Variables,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Least level of its own JSON log records that is kept.
    pub log_level: LogLevel,
    /// The folder of its source.
    pub source: PathBuf,
    /// What its source needs to become a package.
    pub build: BuildKind,
    /// Layers, in the order in which they are unpacked.
    pub layers: Vec<LayerPlan>,
    /// Whether it answers at a URL of its own.
    pub url: Option<UrlSettings>,
    /// Instances that may be busy at once; none shares the account's.
    pub reserved_concurrency: Option<u32>,
}

/// A layer to build and unpack at /opt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPlan {
    /// Its name in the template.
    pub name: String,
    /// The folder of its content.
    pub source: PathBuf,
    /// What it needs to become a package.
    pub build: LayerBuild,
}

/// What a layer's content needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerBuild {
    /// Nothing: it is laid out as /opt already.
    Copy,
    /// Its requirements are installed, and its files copied, into `python`.
    Python(Runtime),
    /// Its packages are installed, and its files copied, into `nodejs`.
    Node(Runtime),
}

/// What a function's source needs to become a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildKind {
    /// Nothing.
    Copy,
    /// The source is a text in the template, to be put into this file.
    Inline {
        /// Name of the file.
        file: String,
        /// What it holds.
        text: String,
    },
    /// The dependencies that requirements.txt or pyproject.toml name, if they name any.
    Python,
    /// The dependencies and the build script of package.json, if it has them.
    Node,
    /// The project's own build script, or else a bundle made by esbuild.
    TypeScript {
        /// The file to begin at, where it is not beside the handler.
        entry: Option<String>,
    },
    /// `cargo build --release`; the program becomes `bootstrap`.
    Rust {
        /// Which program, where the package has several.
        binary: Option<String>,
    },
    /// `make build-NAME`, which fills the folder that ARTIFACTS_DIR names.
    Make {
        /// NAME: the function's name in the template.
        target: String,
    },
}

impl FunctionPlan {
    pub(crate) fn new(
        name: FunctionName,
        runtime: Runtime,
        handler: String,
        source: PathBuf,
        build: BuildKind,
    ) -> Self {
        Self {
            name,
            runtime,
            handler,
            description: String::new(),
            memory_mb: limit::MEMORY_MB_DEFAULT,
            timeout: limit::TIMEOUT_DEFAULT,
            tmp_mb: limit::TMP_MB_DEFAULT,
            environment: Variables::new(),
            log_format: LogFormat::default(),
            log_level: LogLevel::default(),
            source,
            build,
            layers: Vec::new(),
            url: None,
            reserved_concurrency: None,
        }
    }

    /// The configuration to deploy, once code and layers are stored.
    pub fn config(
        &self,
        handler: &str,
        code: Code,
        layers: Vec<Code>,
        network: Network,
        inspect: bool,
    ) -> FunctionConfig {
        FunctionConfig {
            runtime: self.runtime,
            handler: handler.to_owned(),
            description: self.description.clone(),
            memory_mb: self.memory_mb,
            timeout: self.timeout,
            tmp_mb: self.tmp_mb,
            environment: self.environment.clone(),
            code,
            layers,
            log_format: self.log_format,
            log_level: self.log_level,
            network,
            inspect,
            declared: model::Declared::default(),
        }
    }
}

/// What a reader of one kind of project finds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Each with the further names that env-vars files may know it by.
    pub(crate) functions: Vec<(FunctionPlan, Vec<String>)>,
    pub(crate) warnings: Vec<String>,
    pub(crate) left_out: Vec<FunctionName>,
    /// Files of the project itself, whose change may change every function.
    pub(crate) manifests: Vec<PathBuf>,
    /// Whether new folders in the project's may be new functions.
    pub(crate) grows: bool,
}

/// Reads a project: a template, a folder that is a function, or folders of functions.
pub fn read(folder: &Path, options: &Options) -> Result<Project, Error> {
    let folder = folder
        .canonicalize()
        .map_err(Error::io("open the project folder", folder))?;
    let mut options = options.clone();
    if let Some(file) = &mut options.env_vars {
        // Watchers tell whole paths.
        *file = file.canonicalize().map_err(Error::io("read", file))?;
    }
    let options = &options;
    let mut found = match template::find(&folder) {
        Some(file) => {
            let mut found = template::read(&file, &folder, options)?;
            let used = |(plan, _): &(FunctionPlan, _)| plan.source == folder;
            if let Some(entry) =
                folder::entry(&folder).filter(|_| !found.functions.iter().any(used))
            {
                found.warnings.push(format!(
                    "{}: left out, as {} says which functions there are",
                    folder.join(entry).display(),
                    file.display()
                ));
            }
            found
        }
        None => folder::read(&folder, options)?,
    };
    apply_environment(&folder, options, &mut found)?;
    let mut warnings = found.warnings;
    let mut functions: Vec<FunctionPlan> = Vec::new();
    for (function, _) in found.functions {
        if functions.iter().any(|other| other.name == function.name) {
            warnings.push(format!(
                "{}: a second function has the name {}; only the first is used",
                function.source.display(),
                function.name
            ));
        } else {
            functions.push(function);
        }
    }
    let mut manifests = found.manifests;
    manifests.push(folder.join(".env"));
    manifests.extend(options.env_vars.iter().cloned());
    let watch = Watch::new(&folder, &functions, manifests, found.grows)?;
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    Ok(Project {
        name: name.unwrap_or_else(|| "project".into()),
        functions,
        warnings,
        left_out: found.left_out,
        watch,
    })
}

/// The template's own values, under `.env` of the project, of the function, and the env-vars file.
fn apply_environment(folder: &Path, options: &Options, found: &mut Found) -> Result<(), Error> {
    let shared = read_dotenv(&folder.join(".env"), &mut found.warnings)?;
    let vars = match &options.env_vars {
        Some(file) => EnvVars::read(file)?,
        None => EnvVars::default(),
    };
    for (function, names) in &mut found.functions {
        function.environment.extend(shared.clone());
        if function.source != folder {
            let own = read_dotenv(&function.source.join(".env"), &mut found.warnings)?;
            function.environment.extend(own);
        }
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push(function.name.as_str());
        vars.apply(&names, &mut function.environment);
    }
    for name in vars.functions() {
        let known = |(function, names): &(FunctionPlan, Vec<String>)| {
            function.name.as_str() == name || names.iter().any(|other| other == name)
        };
        if !found.functions.iter().any(known) {
            let file = options.env_vars.as_deref().unwrap_or(Path::new(""));
            found
                .warnings
                .push(format!("{}: no function is named {name}", file.display()));
        }
    }
    Ok(())
}

/// A function's name made of a folder's, which may hold anything.
pub(crate) fn name_of(folder: &Path) -> Result<FunctionName, Error> {
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '-'
            }
        })
        .take(64)
        .collect();
    let name = name.trim_matches('-');
    Ok(if name.is_empty() { "function" } else { name }.parse()?)
}

#[cfg(test)]
mod tests;
