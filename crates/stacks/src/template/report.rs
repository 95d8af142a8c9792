//! What a template says and is not acted on, each named once with its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Warnings that are kept; a template of nonsense has no end of them (ours).
const WARNINGS_MAX: usize = 200;
/// Names that a warning lists (ours).
const NAMES_MAX: usize = 8;

/// Collects warnings about one file.
#[derive(Debug)]
pub(crate) struct Report {
    file: PathBuf,
    /// What, with its first line and who else says it.
    warnings: BTreeMap<String, (usize, Vec<String>)>,
}

impl Report {
    pub(crate) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            warnings: BTreeMap::new(),
        }
    }

    /// An error at a line of the file.
    pub(crate) fn error(&self, line: usize, problem: &str) -> Error {
        Error::Template {
            file: self.file.clone(),
            line,
            problem: problem.to_owned(),
        }
    }

    /// Something that the reader of the file should know.
    pub(crate) fn warn(&mut self, line: usize, text: impl Into<String>) {
        self.add(line, text.into(), None);
    }

    /// Something that is understood by others and not acted on here.
    pub(crate) fn unsupported(&mut self, line: usize, what: impl Into<String>, who: Option<&str>) {
        self.add(line, format!("{} has no effect yet", what.into()), who);
    }

    /// A resource of a type that is not made here.
    pub(crate) fn unsupported_type(&mut self, line: usize, kind: &str, who: &str) {
        self.add(
            line,
            format!("resources of type {kind} are not made yet"),
            Some(who),
        );
    }

    fn add(&mut self, line: usize, text: String, who: Option<&str>) {
        if self.warnings.len() >= WARNINGS_MAX && !self.warnings.contains_key(&text) {
            return;
        }
        let (first, names) = self.warnings.entry(text).or_insert((line, Vec::new()));
        *first = line.min(*first);
        if let Some(who) = who.filter(|who| !names.iter().any(|name| name == who)) {
            names.push(who.to_owned());
        }
    }

    /// The warnings in the order of the file, each as `template.yaml:12: text (Names)`.
    pub(crate) fn take(&mut self) -> Vec<String> {
        let file = self
            .file
            .file_name()
            .unwrap_or(self.file.as_os_str())
            .to_string_lossy();
        let mut warnings: Vec<_> = std::mem::take(&mut self.warnings).into_iter().collect();
        warnings.sort_by_key(|(_, (line, _))| *line);
        warnings
            .into_iter()
            .map(|(text, (line, names))| format!("{file}:{line}: {text}{}", list(&names)))
            .collect()
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names if names.len() > NAMES_MAX => {
            let shown = names.get(..NAMES_MAX).unwrap_or(names).join(", ");
            format!(" ({shown} and {} more)", names.len() - NAMES_MAX)
        }
        names => format!(" ({})", names.join(", ")),
    }
}
