//! Working starter projects, one a language.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Languages that a starter can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Python, in `app.py`.
    Python,
    /// Node.js, in `index.mjs`.
    Node,
    /// Rust, on `provided.al2023`.
    Rust,
}

/// Files of a starter; `{{name}}` in them stands for the project's name.
type Files = &'static [(&'static str, &'static str)];

const PYTHON: Files = &[
    ("app.py", include_str!("starter/python/app.py")),
    (
        "requirements.txt",
        include_str!("starter/python/requirements.txt"),
    ),
    ("event.json", include_str!("starter/event.json")),
    ("README.md", include_str!("starter/python/README.md")),
    (".gitignore", include_str!("starter/python/gitignore")),
];
const NODE: Files = &[
    ("index.mjs", include_str!("starter/node/index.mjs")),
    ("package.json", include_str!("starter/node/package.json")),
    ("event.json", include_str!("starter/event.json")),
    ("README.md", include_str!("starter/node/README.md")),
    (".gitignore", include_str!("starter/node/gitignore")),
];
const RUST: Files = &[
    ("src/main.rs", include_str!("starter/rust/main.rs.txt")),
    ("Cargo.toml", include_str!("starter/rust/Cargo.toml.txt")),
    ("event.json", include_str!("starter/event.json")),
    ("README.md", include_str!("starter/rust/README.md")),
    (".gitignore", include_str!("starter/rust/gitignore")),
];

/// Writes a starter into a folder, which is made; answers the files that were written. Refuses a
/// folder that holds anything.
pub fn write(folder: &Path, name: &str, language: Language) -> Result<Vec<PathBuf>, Error> {
    let name: model::FunctionName = name.parse()?;
    fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    let mut entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
    // A folder that `git init` has been run in is new all the same.
    let taken = entries.find_map(|entry| {
        entry
            .ok()
            .map(|entry| entry.file_name())
            .filter(|name| name != ".git")
    });
    if let Some(entry) = taken {
        let entry = entry.to_string_lossy().into_owned();
        return Err(Error::Occupied {
            folder: folder.to_owned(),
            entry,
        });
    }
    let files = match language {
        Language::Python => PYTHON,
        Language::Node => NODE,
        Language::Rust => RUST,
    };
    let mut written = Vec::new();
    for (file, text) in files {
        let path = folder.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
        }
        // Cargo's names are npm's names: lower case, a letter first.
        let text = text
            .replace("{{package}}", &package_name(name.as_str()))
            .replace("{{name}}", name.as_str());
        fs::write(&path, text).map_err(Error::io("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .map_err(Error::io("write", &path))?;
        written.push(path);
    }
    Ok(written)
}

fn package_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    if name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name
    } else {
        format!("fn-{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Options, read};

    #[test]
    fn every_starter_is_a_project_and_none_overwrites() {
        for (language, runtime) in [
            (Language::Python, "python3.13"),
            (Language::Node, "nodejs22.x"),
            (Language::Rust, "provided.al2023"),
        ] {
            let temporary = tempfile::tempdir().unwrap();
            let folder = temporary.path().join("my-fn");
            let written = write(&folder, "my-fn", language).unwrap();
            assert!(written.iter().any(|file| file.ends_with("README.md")));
            assert!(
                written
                    .iter()
                    .all(|file| !fs::read_to_string(file).unwrap().contains("{{"))
            );
            let options = Options::new(
                "000000000000".parse().unwrap(),
                "us-east-1".parse().unwrap(),
            );
            let project = read(&folder, &options).unwrap();
            let [function] = project.functions.as_slice() else {
                panic!("{project:?}")
            };
            assert_eq!(
                (
                    function.name.as_str(),
                    function.runtime.to_string().as_str()
                ),
                ("my-fn", runtime)
            );
            assert!(project.warnings.is_empty(), "{:?}", project.warnings);
            assert!(matches!(
                write(&folder, "my-fn", language),
                Err(Error::Occupied { .. })
            ));
        }
        assert!(matches!(
            write(Path::new("/nowhere"), "a b", Language::Node),
            Err(Error::Name(_))
        ));
    }
}
