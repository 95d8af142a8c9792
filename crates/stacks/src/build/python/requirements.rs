//! Requirements in pip's own form: the files that they are spread over, and those that stand for
//! a folder beside the project, which pip would build where it lies.

use std::path::{Path, PathBuf};

use crate::environment::read_bounded;
use crate::error::Error;

/// Requirement files that refer to each other (ours).
const FILES_MAX: usize = 50;

/// What a project asks for.
#[derive(Debug, Default)]
pub(super) struct Requirements {
    /// One requirement or option each, those of included files in their places.
    pub(super) lines: Vec<String>,
    /// The files that they come from, and those that they refer to.
    pub(super) files: Vec<PathBuf>,
}

/// A requirement that is a folder or an archive of this machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Local {
    /// Where it is.
    pub(super) path: PathBuf,
    before: String,
    after: String,
}

impl Requirements {
    /// The requirements of a file; none if more files refer to each other than are read.
    pub(super) fn read(file: &Path) -> Result<Option<Self>, Error> {
        let mut all = Self::default();
        Ok(all.include(file)?.then_some(all))
    }

    /// Answers false where there are too many files.
    fn include(&mut self, file: &Path) -> Result<bool, Error> {
        if self.files.iter().any(|known| known == file) {
            return Ok(true);
        }
        if self.files.len() >= FILES_MAX {
            return Ok(false);
        }
        self.files.push(file.to_owned());
        if !file.is_file() {
            return Ok(true);
        }
        let parent = file.parent().unwrap_or(Path::new("."));
        for line in said(&read_bounded(file)?) {
            match referred(&line) {
                Some((true, other)) => {
                    if !self.include(&parent.join(other))? {
                        return Ok(false);
                    }
                }
                Some((false, other)) => {
                    let other = parent.join(other);
                    self.lines.push(format!("-c {}", other.display()));
                    self.files.push(other);
                }
                None => self.lines.push(absolute_links(line, parent)),
            }
        }
        Ok(true)
    }
}

/// The lines of a requirement file that say something, each whole.
pub(super) fn said(text: &str) -> Vec<String> {
    let whole = text.replace("\\\r\n", " ").replace("\\\n", " ");
    whole
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The file that a line refers to, if it does, and whether its requirements are wanted too.
fn referred(line: &str) -> Option<(bool, &str)> {
    let options = [
        ("--requirement", true),
        ("-r", true),
        ("--constraint", false),
        ("-c", false),
    ];
    let (rest, wanted) = options
        .iter()
        .find_map(|(option, wanted)| Some((line.strip_prefix(option)?, *wanted)))?;
    let rest = rest.trim_start_matches(['=', ' ', '\t']);
    let file = rest.split(" #").next().unwrap_or(rest).trim();
    (!file.is_empty() && !file.contains("://")).then_some((wanted, file))
}

/// A folder of archives is looked for beside the file that names it.
fn absolute_links(line: String, parent: &Path) -> String {
    let options = ["--find-links", "-f"];
    let rest = options.iter().find_map(|option| line.strip_prefix(option));
    let folder = rest.map(|rest| parent.join(rest.trim_start_matches(['=', ' '])));
    match folder.filter(|folder| folder.is_dir()) {
        Some(folder) => format!("--find-links {}", folder.display()),
        None => line,
    }
}

impl Local {
    /// What a line stands for, if that is on this machine; paths are relative to the project.
    pub(super) fn of(line: &str, source: &Path) -> Option<Self> {
        let line = line.split(" #").next().unwrap_or(line);
        let (line, after) = match line.find(" ;").or_else(|| line.find(" --")) {
            Some(at) => line.split_at(at),
            None => (line, ""),
        };
        let editable = ["--editable=", "--editable ", "-e "]
            .iter()
            .find_map(|option| line.strip_prefix(option));
        let line = editable.unwrap_or(line).trim();
        let (before, place) = match line.split_once(" @ file:") {
            Some((name, place)) => (format!("{name} @ file://"), place),
            None => (String::new(), line.strip_prefix("file:").unwrap_or(line)),
        };
        let place = place.strip_prefix("//localhost").unwrap_or(place);
        let place = place.strip_prefix("//").unwrap_or(place);
        let (place, extras) = match place.find('[') {
            Some(at) => place.split_at(at),
            None => (place, ""),
        };
        let pathlike = place.contains('/') || place.starts_with('.') || place.ends_with(".whl");
        if place.starts_with('-') || place.contains("://") || !pathlike {
            return None;
        }
        let path = source.join(place).canonicalize().ok()?;
        Some(Self {
            path,
            before,
            after: format!("{extras}{after}"),
        })
    }

    /// The line with something else in its place. Not editable: what it leads to does not last.
    pub(super) fn line(&self, place: &Path) -> String {
        format!("{}{}{}", self.before, place.display(), self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_on_this_machine() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("lib")).unwrap();
        std::fs::write(root.join("a.whl"), "").unwrap();
        let check = |line: &str, expected: Option<&str>| {
            let local = Local::of(line, &root);
            let shown = local.map(|local| local.line(Path::new("/NEW")));
            assert_eq!(shown.as_deref(), expected, "{line}");
        };
        check("./lib", Some("/NEW"));
        check(
            "-e ./lib[all] ; python_version > '3'",
            Some("/NEW[all] ; python_version > '3'"),
        );
        check("--editable=./lib # ours", Some("/NEW"));
        check("-e .", Some("/NEW"));
        check("a.whl", Some("/NEW"));
        check(
            &format!("lib @ file://{}/lib", root.display()),
            Some("lib @ file:///NEW"),
        );
        check("./none", None);
        check("lib", None);
        check("dep[extra]>=1", None);
        check("-e git+https://example.com/x.git", None);
        check("--index-url https://example.com/simple", None);
    }
}
