//! Builds with stand-ins for the tools of other ecosystems, so that none needs a network.

mod entries;
mod node;
mod python;
mod rust;
mod sdk;
mod sources;
mod tools;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use expect_test::{Expect, expect};

use super::*;
use crate::project::{Options, read};

/// A project, a cache, and a folder of stand-ins.
struct Bench {
    _temporary: tempfile::TempDir,
    root: PathBuf,
    phases: Mutex<Vec<String>>,
}

impl Progress for Bench {
    fn phase(&self, text: &str) {
        self.phases.lock().unwrap().push(text.to_owned());
    }
    fn line(&self, text: &str) {
        self.phases.lock().unwrap().push(format!("  {text}"));
    }
}

/// Installs one module into what follows `--target`; fails on a requirement named `broken`.
const PYTHON: &str = r#"#!/bin/sh
case "$*" in
  "-m pip --version") exit 0 ;;
  "-m pip install"*)
    case "$*" in *broken*) echo "no such package"; exit 1 ;; esac
    wanted="$*"
    while [ "$1" != --target ]; do shift; done
    echo "installing"
    case "$wanted" in
      *boto3*) for name in boto3 botocore urllib3; do mkdir "$2/$name"; echo > "$2/$name/__init__.py"; done ;;
      *) echo "import this" > "$2/dep.py" ;;
    esac ;;
esac
"#;

/// Installs one module, or runs the script `build`, which is a shell command here.
const NPM: &str = r#"#!/bin/sh
case "$1" in
  ci|install)
    for a; do case "$a" in @*) a=${a%@*}; mkdir -p node_modules/$a && echo '{}' > node_modules/$a/package.json; sdk=1 ;; esac; done
    [ -n "$sdk" ] || { mkdir -p node_modules/dep && echo '{}' > node_modules/dep/package.json; } ;;
  run) sh ./build.sh ;;
esac
"#;

impl Bench {
    fn new(files: &[(&str, &str)]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        let bench = Self {
            root,
            _temporary: temporary,
            phases: Mutex::default(),
        };
        bench.program("python", PYTHON);
        bench.program("npm", NPM);
        fs::create_dir(bench.root.join("fn")).unwrap();
        files
            .iter()
            .for_each(|(name, text)| bench.write(name, text));
        bench
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.root.join("bin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.root.join("fn").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn build(&self) -> Result<Built, Error> {
        self.build_until(&watch::channel(false).1).await
    }

    async fn build_until(&self, given_up: &GivenUp) -> Result<Built, Error> {
        let options = Options::new(
            "000000000000".parse().unwrap(),
            "us-east-1".parse().unwrap(),
        );
        let project = read(&self.root.join("fn"), &options)?;
        let program = self.root.join("bin").join("python");
        let worker = std::thread::current().id();
        let host = Host {
            cache: self.root.join("cache"),
            interpreter: Arc::new(move |_| {
                // To find one takes seconds on some hosts, in which requests would wait.
                assert_ne!(std::thread::current().id(), worker);
                Some(program.clone())
            }),
            clock: Arc::new(store::SystemClock::new()),
            turns: Turns::default(),
            places: Arc::new(Semaphore::new(1)),
        };
        build(&project.functions[0], &host, self, given_up).await
    }

    /// What was built, what was done for it, and what was warned of.
    async fn shown(&self) -> String {
        let shown = match self.build().await {
            Ok(built) => {
                let files = built.code.files().unwrap();
                let files: Vec<_> = files
                    .iter()
                    .map(|file| file.path.display().to_string())
                    .collect();
                format!(
                    "{} {}\n{:?}\n",
                    built.handler,
                    files.join(" "),
                    built.warnings
                )
            }
            Err(error) => format!("{error}\n"),
        };
        let phases = std::mem::take(&mut *self.phases.lock().unwrap());
        let text = shown
            + &phases
                .iter()
                .map(|phase| format!("{phase}\n"))
                .collect::<String>();
        // The name of the folder that is being filled is new each time.
        let text = text.split_inclusive(' ').map(|word| {
            if word.contains("/builds/.") {
                "STAGE "
            } else {
                word
            }
        });
        text.collect::<String>()
            .replace(&self.root.display().to_string(), "ROOT")
    }

    async fn check(&self, expected: Expect) {
        expected.assert_eq(&self.shown().await);
    }

    /// Everything in the project's own folder.
    fn own_files(&self) -> BTreeSet<PathBuf> {
        let package = Package::of(Source::built(self.root.join("fn")));
        package
            .files()
            .unwrap()
            .into_iter()
            .map(|file| file.path)
            .collect()
    }
}

const PY: &str = "def handler(event, context): pass";
const JS: &str = "exports.handler = 1";
