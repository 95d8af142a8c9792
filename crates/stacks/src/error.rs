//! Why a project could not be read or built, with what to do about it.

use std::path::{Path, PathBuf};

use model::Fault;

/// A project that cannot be read or built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{action} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing that could be a function is there.
    #[error(
        "find a function in {folder}: looked there, and in the folders in it, for template.yaml, \
         lambda_function.py, app.py, main.py, handler.py, index.js, index.mjs, index.cjs, index.ts, \
         handler.js, handler.mjs, handler.cjs, handler.ts, an executable bootstrap, or a Cargo.toml \
         that uses lambda_runtime or lambda_http{hint}; `dayfly new` writes a starter",
        folder = folder.display()
    )]
    NoFunctions {
        /// Where it was looked for.
        folder: PathBuf,
        /// What came closest, where something did.
        hint: String,
    },
    /// A file that looks like a function has no entry point that is known.
    #[error("find the handler in {file}: looked for {looked_for}; define one of them, or name the handler in a template.yaml", file = file.display())]
    NoHandler {
        /// The file.
        file: PathBuf,
        /// What was looked for.
        looked_for: &'static str,
    },
    /// A file does not have the form that it should.
    #[error("read {file}{}: {problem}", at(*line), file = file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// From 1; 0 where it is not known.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A template says something that cannot be.
    #[error("read {file}, line {line}: {problem}", file = file.display())]
    Template {
        /// The template.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A name that no function can have.
    #[error("name a function: {0}")]
    Name(#[from] model::InvalidName),
    /// A tool that a build needs is not on this host.
    #[error("build {function}: {tool} is needed and was not found; {install}")]
    MissingTool {
        /// Which function.
        function: String,
        /// What is missing.
        tool: String,
        /// How to get it.
        install: String,
    },
    /// A tool ended with an error.
    #[error("build {function}: `{command}` {how}{output}\n{advice}")]
    Tool {
        /// Which function.
        function: String,
        /// The command line.
        command: String,
        /// How it ended.
        how: String,
        /// The last lines of its output, each on a line of its own.
        output: String,
        /// What to do.
        advice: String,
    },
    /// The build did something that leads to no function.
    #[error("build {function}: {problem}")]
    Build {
        /// Which function.
        function: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The build was given up before it was done, as it was told to.
    #[error("build {function}: it was given up")]
    GivenUp {
        /// Which function.
        function: String,
    },
    /// A starter was to be written over something.
    #[error("write a starter into {folder}: {entry} is there already; choose a folder that is new or empty", folder = folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// What is in it.
        entry: String,
    },
}

fn at(line: usize) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(", line {line}")
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Name(_) | Self::Occupied { .. } | Self::GivenUp { .. } => Fault::Caller,
            Self::Io { .. } | Self::MissingTool { .. } => Fault::Caller,
            Self::NoFunctions { .. }
            | Self::NoHandler { .. }
            | Self::Syntax { .. }
            | Self::Template { .. }
            | Self::Tool { .. }
            | Self::Build { .. } => Fault::Function,
        }
    }
}
