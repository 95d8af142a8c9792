//! Rust: `cargo build --release`, with everything it makes in the cache; the program becomes
//! `bootstrap`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cache::Key;
use super::tool::{self, Tool};
use super::{Build, Package, Source};
use crate::environment::read_bounded;
use crate::error::Error;

impl Build<'_> {
    pub(super) async fn rust(
        &mut self,
        source: &Path,
        binary: Option<&str>,
    ) -> Result<Package, Error> {
        let own = Package::of(Source::of(source)?.without("/target/"));
        let key = Key::new("rust").add(binary.unwrap_or_default());
        let key = self.digest(key, &own).await?.finish();
        // Sources elsewhere are in no digest; cargo itself knows whether they have changed.
        let unlocked = !source.join("Cargo.lock").is_file();
        let within = source.ancestors().skip(1);
        let mut within = within.filter(|folder| folder.join("Cargo.toml").is_file());
        let alone = !read_bounded(&source.join("Cargo.toml"))?.contains("path")
            && (!unlocked || within.next().is_none());
        if alone && let Some(ready) = self.cache.ready("rust", &key) {
            return Ok(Package::of(Source::built(ready)));
        }
        let target = self.workshop("rust", source).await?;
        let manifest = if alone && unlocked {
            mirror(&own, source, &target.folder.join("dayfly-source"))?
        } else {
            source.join("Cargo.toml")
        };
        let program = self
            .compile_program(source, &manifest, binary, &target.folder)
            .await?;
        let key = if alone {
            key
        } else {
            Key::new("rust").add(&key).file(&program)?.finish()
        };
        self.keep_bootstrap(&program, &key)
    }

    async fn compile_program(
        &mut self,
        source: &Path,
        manifest: &Path,
        binary: Option<&str>,
        target: &Path,
    ) -> Result<PathBuf, Error> {
        let cargo = tool::find("cargo").ok_or_else(|| {
            self.missing("cargo", "install Rust, for example with rustup (rustup.rs)")
        })?;
        self.progress.phase("cargo build --release");
        let mut run = Tool::new(&cargo, source)
            .args([
                "build",
                "--release",
                "--message-format=json-render-diagnostics",
                "--color=never",
                "--manifest-path",
            ])
            .args([manifest])
            .env("CARGO_TARGET_DIR", target)
            .stdout_is_data()
            .advice("mend what the compiler names");
        if source.join("Cargo.lock").is_file() {
            run = run.args(["--locked"]);
        }
        if let Some(binary) = binary {
            run = run.args(["--bin", binary]);
        }
        let messages = self.run(run).await?;
        let mut programs: Vec<PathBuf> = messages
            .iter()
            .filter_map(|line| executable(line))
            .collect();
        match (programs.pop(), programs.as_slice()) {
            (Some(program), []) => Ok(program),
            (Some(_), _) => Err(self.problem(
                "the package makes several programs; say which in a template.yaml: \
                 Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: NAME}}",
            )),
            (None, _) => Err(self.problem("the package makes no program; it needs a src/main.rs")),
        }
    }

    fn keep_bootstrap(&self, program: &Path, key: &str) -> Result<Package, Error> {
        if let Some(ready) = self.cache.ready("rust", key) {
            return Ok(Package::of(Source::built(ready)));
        }
        let stage = self.cache.stage("rust", key)?;
        let bootstrap = stage.path().join("bootstrap");
        fs::copy(program, &bootstrap).map_err(Error::io("copy", program))?;
        Ok(Package::of(Source::built(stage.keep()?)))
    }
}

/// A folder of links to what is in the source, in which cargo may write the lock file that the
/// source does not have; it stays there for the next build.
fn mirror(own: &Package, source: &Path, folder: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if path.is_symlink() {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    let ignored = |name: &Path, is_folder| {
        let mut sources = own.sources.iter();
        sources.any(|own| own.ignore.is_ignored(name, is_folder))
    };
    for entry in fs::read_dir(source).map_err(Error::io("list", source))? {
        let entry = entry.map_err(Error::io("list", source))?;
        let name = PathBuf::from(entry.file_name());
        if !ignored(&name, entry.path().is_dir()) {
            let link = folder.join(&name);
            symlink(entry.path(), &link).map_err(Error::io("make", &link))?;
        }
    }
    Ok(folder.join("Cargo.toml"))
}

/// The program that one of cargo's messages says was made.
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let made = message.get("reason")?.as_str()? == "compiler-artifact";
    let kinds = message.get("target")?.get("kind")?.as_array()?;
    let program = kinds.iter().any(|kind| kind.as_str() == Some("bin"));
    let path = message.get("executable")?.as_str()?;
    (made && program).then(|| PathBuf::from(path))
}
