//! What of a source folder stays out of the package: what tools leave behind, secrets for local
//! use, and what the project's `.dayflyignore` names.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A file of patterns at the top of a source folder.
pub const IGNORE_FILE: &str = ".dayflyignore";
/// Bytes of it that are read (ours).
const IGNORE_BYTES_MAX: usize = 64 * 1024;

/// Always left out, at any depth: no runtime reads them.
const ANYWHERE: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    ".venv",
    ".dayfly",
    ".aws-sam",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".DS_Store",
    ".idea",
    ".vscode",
    IGNORE_FILE,
];

/// Rules by which files are left out of a package.
///
/// `.dayflyignore` holds one pattern a line: `*` and `?` stand for characters of one name, `**`
/// for any folders; a pattern with a slash begins at the source folder, one without matches a
/// name at any depth; a slash at the end matches folders only; `#` begins a comment.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    usual: bool,
    target: bool,
    only: Option<&'static str>,
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    segments: Vec<String>,
    folders_only: bool,
}

impl Ignore {
    /// Rules that leave out nothing: for folders that a build made.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Rules that leave out everything at the top but this name, and nothing in it.
    pub(crate) fn all_but(name: &'static str) -> Self {
        Self {
            only: Some(name),
            ..Self::default()
        }
    }

    /// The rules of a source folder.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let file = folder.join(IGNORE_FILE);
        let text = match std::fs::read(&file) {
            Ok(bytes) => {
                let bytes = bytes.get(..IGNORE_BYTES_MAX).unwrap_or(&bytes);
                String::from_utf8_lossy(bytes).into_owned()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::io("read", &file)(error)),
        };
        let mut ignore = Self::usual(&text);
        ignore.target = folder.join("Cargo.toml").is_file();
        for name in environments(folder) {
            ignore.patterns.extend(Pattern::parse(&format!("/{name}/")));
        }
        Ok(ignore)
    }

    fn usual(text: &str) -> Self {
        let patterns = text.lines().filter_map(Pattern::parse).collect();
        Self {
            usual: true,
            patterns,
            ..Self::default()
        }
    }

    /// The same rules with one more pattern.
    #[must_use]
    pub fn and(mut self, pattern: &str) -> Self {
        self.patterns.extend(Pattern::parse(pattern));
        self
    }

    /// Whether a path is left out; it is relative to the source folder, and what is in a folder
    /// that is left out is not asked about by those who walk.
    pub fn is_ignored(&self, relative: &Path, is_folder: bool) -> bool {
        let names = names(relative);
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        if self.only.is_some_and(|only| names.first() != Some(&only)) {
            return true;
        }
        if self.usual && self.is_usual(&names) {
            return true;
        }
        self.patterns
            .iter()
            .any(|pattern| pattern.matches(&names, is_folder))
    }

    /// Whether a path or any folder that it is in is left out.
    pub fn is_within_ignored(&self, relative: &Path, is_folder: bool) -> bool {
        let mut path = PathBuf::new();
        let count = relative.components().count();
        relative.components().enumerate().any(|(index, part)| {
            path.push(part);
            self.is_ignored(&path, is_folder || index + 1 < count)
        })
    }

    fn is_usual(&self, names: &[&str]) -> bool {
        let Some(name) = names.last() else {
            return false;
        };
        ANYWHERE.contains(name)
            || [".pyc", ".swp", ".swx", "~"]
                .iter()
                .any(|end| name.ends_with(end))
            || *name == ".env"
            || name.starts_with(".env.")
            || (self.target && names == ["target"])
            || matches!(names, [.., "node_modules", ".cache"])
    }
}

/// Folders in a folder that are Python's virtual environments, whatever their names.
fn environments(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    entries
        .filter(|entry| entry.path().join("pyvenv.cfg").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The names of a relative path. One that is not UTF-8 is matched as far as it is.
fn names(relative: &Path) -> Vec<Cow<'_, str>> {
    relative.iter().map(|name| name.to_string_lossy()).collect()
}

impl Pattern {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let folders_only = line.ends_with('/');
        let body = line.trim_end_matches('/');
        let anchored = body.contains('/');
        let mut segments: Vec<_> = body
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        if segments.is_empty() {
            return None;
        }
        if !anchored {
            segments.insert(0, "**".into());
        }
        Some(Self {
            segments,
            folders_only,
        })
    }

    fn matches(&self, names: &[&str], is_folder: bool) -> bool {
        (is_folder || !self.folders_only) && match_path(&self.segments, names)
    }
}

fn match_path(segments: &[String], names: &[&str]) -> bool {
    match segments.split_first() {
        None => names.is_empty(),
        Some((first, rest)) if first == "**" => {
            (0..=names.len()).any(|skipped| match_path(rest, names.get(skipped..).unwrap_or(&[])))
        }
        Some((first, rest)) => names
            .split_first()
            .is_some_and(|(name, others)| match_name(first, name) && match_path(rest, others)),
    }
}

/// `*` and `?` in one name, in time linear in both: the last star is the only one to go back to.
fn match_name(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = name.get(n) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == c => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &str, path: &str, ignored: bool) {
        let ignore = Ignore::usual(rules);
        assert_eq!(
            ignore.is_within_ignored(Path::new(path), false),
            ignored,
            "{rules:?} {path}"
        );
    }

    #[test]
    fn the_usual_leftovers_stay_out() {
        check("", ".git/config", true);
        check("", "pkg/__pycache__/a.cpython-312.pyc", true);
        check("", "old.pyc", true);
        check("", ".env", true);
        check("", ".env.local", true);
        check("", "node_modules/.cache/x", true);
        check("", "node_modules/left-pad/index.js", false);
        check("", "target/debug", false);
        check("", "app.py", false);
        check("", "lib/.envelope", false);
    }

    #[test]
    fn virtual_environments_stay_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("env")).unwrap();
        std::fs::write(folder.path().join("env/pyvenv.cfg"), "").unwrap();
        let ignore = Ignore::of(folder.path()).unwrap();
        assert!(ignore.is_within_ignored(Path::new("env/lib/x.py"), false));
        assert!(!ignore.is_within_ignored(Path::new("src/env/x.py"), false));
    }

    #[test]
    fn patterns_match_names_paths_and_folders() {
        check("*.md", "docs/a.md", true);
        check("/docs/*.md", "docs/a.md", true);
        check("/docs/*.md", "other/docs/a.md", false);
        check("docs/", "docs/a.txt", true);
        check("docs/", "docs", false);
        check("a/**/z", "a/b/c/z", true);
        check("a/**/z", "a/z", true);
        check("# a comment", "# a comment", false);
        check("te?t_*.py", "test_app.py", true);
        check("*a*a*a*a*a*b", &"a".repeat(200), false);
    }
}
