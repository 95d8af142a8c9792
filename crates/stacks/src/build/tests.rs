//! Builds with stand-ins for the tools of other ecosystems, so that none needs a network.

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
    for a; do case "$a" in @*) mkdir -p node_modules/$a && echo '{}' > node_modules/$a/package.json; sdk=1 ;; esac; done
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

#[tokio::test]
async fn nothing_to_install_is_nothing_to_do() {
    let bench = Bench::new(&[
        ("app.py", PY),
        ("requirements.txt", "# none\n"),
        ("__pycache__/app.pyc", ""),
        (".env", "AA=1"),
        ("notes.md", ""),
        (".dayflyignore", "*.md"),
    ]);
    bench
        .check(expect![[r#"
        app.handler app.py requirements.txt
        []
    "#]])
        .await;
    Bench::new(&[
        ("index.js", JS),
        ("package.json", r#"{"type": "commonjs"}"#),
    ])
    .check(expect![[r#"
        index.handler index.js package.json
        []
    "#]])
    .await;
}

#[tokio::test]
async fn python_dependencies_are_installed_once() {
    let bench = Bench::new(&[
        ("app.py", PY),
        ("requirements.txt", "-r more.txt\n"),
        ("more.txt", "dep"),
    ]);
    bench
        .check(expect![[r#"
        app.handler app.py dep.py more.txt requirements.txt
        []
        pip install
          installing
        compile modules
    "#]])
        .await;
    bench.write("app.py", "def handler(event, context): return 2");
    bench
        .check(expect![[r#"
        app.handler app.py dep.py more.txt requirements.txt
        []
    "#]])
        .await;
    bench.write("more.txt", "dep==2");
    bench
        .check(expect![[r#"
        app.handler app.py dep.py more.txt requirements.txt
        []
        pip install
          installing
        compile modules
    "#]])
        .await;
}

#[tokio::test]
async fn a_required_folder_is_built_in_a_copy() {
    let bench = Bench::new(&[
        ("app.py", PY),
        ("requirements.txt", "-r more.txt"),
        ("more.txt", "dep\n-e ./lib"),
        ("lib/setup.py", "1"),
    ]);
    // As pip does it: in the folder itself, with leftovers.
    let pip = r#"#!/bin/sh
case "$3" in install) ;; *) exit 0 ;; esac
while [ "$1" != --target ]; do shift; done
for lib in $(grep ^/ "$4"); do mkdir $lib/build; cp $lib/setup.py "$2/installed.py"; done
"#;
    bench.program("python", pip);
    let before = bench.own_files();
    let shown = expect![[r#"
        app.handler app.py installed.py lib/setup.py more.txt requirements.txt
        []
        pip install
        compile modules
    "#]];
    bench.check(shown).await;
    assert_eq!(bench.own_files(), before);
    bench.write("lib/setup.py", "2");
    bench
        .check(expect![[r#"
        app.handler app.py installed.py lib/setup.py more.txt requirements.txt
        []
        pip install
        compile modules
    "#]])
        .await;
    bench
        .check(expect![[r#"
        app.handler app.py installed.py lib/setup.py more.txt requirements.txt
        []
    "#]])
        .await;
}

#[tokio::test]
async fn links_out_of_the_source_are_followed() {
    let bench = Bench::new(&[
        ("app.py", PY),
        ("lib/real.py", ""),
        ("../common/deep/c.py", "1"),
        ("../one.txt", ""),
    ]);
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, bench.root.join("fn").join(name)).unwrap();
    };
    link("../common", "common");
    link("../../one.txt", "lib/one.txt");
    link("lib/real.py", "inside.py");
    link("nowhere", "dangling.py");
    bench
        .check(expect![[r#"
        app.handler app.py common/deep/c.py dangling.py inside.py lib/one.txt lib/real.py
        []
    "#]])
        .await;
    let read_common = async || {
        let files = bench.build().await.unwrap().code.files().unwrap();
        let file = files
            .iter()
            .find(|file| file.path.ends_with("c.py"))
            .unwrap();
        fs::read_to_string(&file.from).unwrap()
    };
    assert_eq!(read_common().await, "1");
    bench.write("../common/deep/c.py", "2");
    assert_eq!(read_common().await, "2");
}

#[tokio::test]
async fn lock_files_decide_what_is_installed() {
    let pip = r#"#!/bin/sh
case "$3" in install) ;; *) exit 0 ;; esac
while [ "$1" != --target ]; do shift; done
[ "$3" = -r ] && shift
cat "$3" 2>/dev/null || echo "$3"
"#;
    let project = "[project]\nname = 'fn'\ndependencies = ['dep>=1']";
    let bench = Bench::new(&[("app.py", PY), ("pyproject.toml", project), ("uv.lock", "")]);
    bench.program("python", pip);
    bench.program("uv", "#!/bin/sh\necho '# by uv'; echo dep==1.5");
    bench
        .check(expect![[r#"
        app.handler app.py pyproject.toml uv.lock
        []
        uv export
        pip install
          dep==1.5
        compile modules
    "#]])
        .await;
    bench
        .check(expect![[r#"
        app.handler app.py pyproject.toml uv.lock
        []
    "#]])
        .await;
    bench.write("uv.lock", "2");
    bench.program("uv", "#!/bin/sh\necho unreadable >&2; exit 2");
    bench.check(expect![[r#"
        app.handler app.py pyproject.toml uv.lock
        ["ROOT/fn/uv.lock: not used, so that versions may differ from those that it holds: build fn: `uv export --frozen --no-dev --no-emit-project --no-hashes --quiet` ended with status 2\n    unreadable\ninstall uv, or write a requirements.txt with `uv export --no-dev --no-emit-project`"]
        uv export
          unreadable
        pip install
          dep>=1
        compile modules
    "#]]).await;

    let lock = r#"{"_meta": {"sources": [{"name": "pypi", "url": "https://example.com"}]}, "develop": {"x": {}},
        "default": {"dep": {"version": "==1.5", "extras": ["a"], "markers": "os_name == 'posix'"}}}"#;
    let bench = Bench::new(&[("app.py", PY), ("Pipfile", ""), ("Pipfile.lock", lock)]);
    bench.program("python", pip);
    bench
        .check(expect![[r#"
        app.handler Pipfile Pipfile.lock app.py
        []
        pip install
          dep[a]==1.5 ; os_name == 'posix'
        compile modules
    "#]])
        .await;
    let bench = Bench::new(&[("app.py", PY), ("Pipfile", "")]);
    bench
        .check(expect![[r#"
            app.handler Pipfile app.py
            ["ROOT/fn/Pipfile: nothing of it is installed, as there is no Pipfile.lock; write it with `pipenv lock`"]
        "#]])
        .await;
}

#[tokio::test]
async fn boto3_is_there_as_in_lambda_s_runtime() {
    let bench = Bench::new(&[
        ("app.py", "import boto3\ndef handler(event, context): pass"),
        ("urllib3/old.py", ""),
    ]);
    bench
        .check(expect![[r#"
        app.handler app.py boto3/__init__.py botocore/__init__.py urllib3/old.py
        []
        pip install boto3, which Lambda's runtime brings
          installing
        compile modules
    "#]])
        .await;
    bench.write("app.py", "import os, boto3\ndef handler(event, context): 2");
    bench
        .check(expect![[r#"
        app.handler app.py boto3/__init__.py botocore/__init__.py urllib3/old.py
        []
    "#]])
        .await;
    bench.write("boto3/__init__.py", "");
    bench
        .check(expect![[r#"
        app.handler app.py boto3/__init__.py urllib3/old.py
        []
    "#]])
        .await;
    let bench = Bench::new(&[("app.py", "import boto3\ndef handler(event, context): pass")]);
    bench.program("python", "#!/bin/sh\necho offline; exit 1");
    let built = bench.build().await.unwrap();
    assert!(
        built.warnings[0].contains("boto3 is imported"),
        "{:?}",
        built.warnings
    );
}

#[tokio::test]
async fn the_node_sdk_is_there_as_in_lambda_s_runtime() {
    let js =
        "const {S3} = require('@aws-sdk/client-s3'); require('@smithy/types'); exports.handler = 1";
    let bench = Bench::new(&[
        ("index.js", js),
        ("node_modules/@smithy/types/package.json", "{}"),
    ]);
    bench.check(expect![[r#"
        index.handler index.js node_modules/@aws-sdk/client-s3/package.json node_modules/@smithy/types/package.json
        []
        npm install @aws-sdk/client-s3, which Lambda's runtime brings
    "#]]).await;
    bench.check(expect![[r#"
        index.handler index.js node_modules/@aws-sdk/client-s3/package.json node_modules/@smithy/types/package.json
        []
    "#]]).await;
    bench.program("npm", "#!/bin/sh\necho offline; exit 1");
    bench.write(
        "index.js",
        "import '@aws-sdk/client-sqs'; export const handler = 1",
    );
    bench.check(expect![[r#"
        index.handler index.js node_modules/@smithy/types/package.json
        ["@aws-sdk/client-sqs is imported, and Lambda's runtime brings it, but it could not be fetched; the import will fail here: build fn: `npm install --no-save --no-package-lock --no-audit --no-fund --omit=dev --ignore-scripts --fetch-retries=0 --prefix . @aws-sdk/client-sqs` ended with status 1\n    offline\nconnect to the registry once, or name the packages in package.json"]
        npm install @aws-sdk/client-sqs, which Lambda's runtime brings
          offline
    "#]]).await;
}

#[tokio::test]
async fn layers_may_bring_the_sdk() {
    let template = r#"
Resources:
  Sdk:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: layer}
  Fn:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.12, Handler: index.handler, InlineCode: "import boto3", Layers: [!Ref Sdk]}
"#;
    let bench = Bench::new(&[
        ("template.yaml", template),
        ("layer/python/boto3/__init__.py", ""),
    ]);
    bench
        .check(expect![[r#"
        index.handler index.py
        []
    "#]])
        .await;
    bench.write(
        "template.yaml",
        &template.replace(", Layers: [!Ref Sdk]", ""),
    );
    bench
        .check(expect![[r#"
        index.handler boto3/__init__.py botocore/__init__.py index.py urllib3/__init__.py
        []
        pip install boto3, which Lambda's runtime brings
          installing
        compile modules
    "#]])
        .await;
}

#[tokio::test]
async fn pyproject_names_dependencies_too() {
    let project = "[project]\ndependencies = ['dep>=1']";
    Bench::new(&[("app.py", PY), ("pyproject.toml", project)])
        .check(expect![[r#"
        app.handler app.py dep.py pyproject.toml
        []
        pip install
          installing
        compile modules
    "#]])
        .await;
    let broken = "[project]\ndependencies = ['broken']";
    Bench::new(&[("app.py", PY), ("pyproject.toml", broken)]).check(expect![[r#"
        build fn: `python -m pip install --no-input --disable-pip-version-check --progress-bar off --no-warn-script-location --no-compile --target STAGE broken` ended with status 1
            no such package
        mend the requirements, or the connection to the package index; wheels for this Python and platform spare a compiler
        pip install
          no such package
    "#]]).await;
    let dynamic = "[project]\ndynamic = ['dependencies']";
    Bench::new(&[("app.py", PY), ("pyproject.toml", dynamic)])
        .check(expect![[r#"
            app.handler app.py pyproject.toml
            ["ROOT/fn/pyproject.toml: its dependencies are dynamic and known to its build backend only, so that none is installed; list them under [project] or in a requirements.txt"]
        "#]])
        .await;
    let poetry = "[tool.poetry.dependencies]\npython = '^3.10'\ndep = '1'";
    Bench::new(&[("app.py", PY), ("pyproject.toml", poetry)]).check(expect![[r#"
        build fn: the dependencies under [tool.poetry] in pyproject.toml are in a form that pip does not read; write them with `poetry export -o requirements.txt`, or list them under [project]
    "#]]).await;
}

#[tokio::test]
async fn node_dependencies_are_installed_beside_the_source() {
    let bench = Bench::new(&[
        ("index.js", JS),
        ("package.json", r#"{"dependencies": {"dep": "1"}}"#),
        ("package-lock.json", "{}"),
    ]);
    let before = bench.own_files();
    bench
        .check(expect![[r#"
        index.handler index.js node_modules/dep/package.json package-lock.json package.json
        []
        npm ci
    "#]])
        .await;
    bench
        .check(expect![[r#"
        index.handler index.js node_modules/dep/package.json package-lock.json package.json
        []
    "#]])
        .await;
    assert_eq!(bench.own_files(), before);
}

#[tokio::test]
async fn a_node_modules_that_fits_is_used_as_it_is() {
    let lock = r#"{"packages": {"": {}, "node_modules/dep": {"version": "1.0.0"}, "node_modules/x": {"dev": true}}}"#;
    let bench = Bench::new(&[
        ("index.js", JS),
        ("package.json", r#"{"dependencies": {"dep": "1"}}"#),
        ("package-lock.json", lock),
        ("node_modules/dep/package.json", "{}"),
        ("node_modules/.package-lock.json", lock),
    ]);
    bench.check(expect![[r#"
        index.handler index.js node_modules/.package-lock.json node_modules/dep/package.json package-lock.json package.json
        []
    "#]]).await;
    bench.write("package-lock.json", &lock.replace("1.0.0", "2.0.0"));
    bench
        .check(expect![[r#"
        index.handler index.js node_modules/dep/package.json package-lock.json package.json
        []
        npm ci
    "#]])
        .await;
    bench.program("npm", "#!/bin/sh\necho offline; exit 1");
    bench.write("package-lock.json", &lock.replace("1.0.0", "3.0.0"));
    bench.check(expect![[r#"
        index.handler index.js node_modules/.package-lock.json node_modules/dep/package.json package-lock.json package.json
        ["ROOT/fn: node_modules is used as it is, as installing afresh failed: build fn: `npm ci --omit=dev` ended with status 1\n    offline\nmend package.json or its lock file, or the connection to the registry"]
        npm ci
          offline
    "#]]).await;
}

#[tokio::test]
async fn packages_of_this_machine_are_copied() {
    // As npm does it with these options: what has a place is packed from there.
    let npm = r#"#!/bin/sh
echo "$@"
for place in $(grep -o '"file:[^"]*' package.json | cut -c7-); do
  mkdir -p node_modules/dep && cp $place/package.json $place/index.js node_modules/dep || exit 1
done
"#;
    let bench = Bench::new(&[
        ("index.js", JS),
        (
            "package.json",
            r#"{"dependencies": {"dep": "file:../lib"}}"#,
        ),
        ("package-lock.json", "{}"),
        (
            "../lib/package.json",
            r#"{"name": "dep", "dependencies": {"deep": "file:../deep"}}"#,
        ),
        ("../lib/index.js", "1"),
        (
            "../deep/package.json",
            r#"{"name": "deep", "scripts": {"prepare": "no"}}"#,
        ),
    ]);
    bench.program("npm", npm);
    let installed = async |name: &str| {
        let built = bench.build().await.unwrap().code.files().unwrap();
        let file = built.iter().find(|file| file.path.ends_with(name)).unwrap();
        fs::read_to_string(&file.from).unwrap()
    };
    assert_eq!(installed("dep/index.js").await, "1");
    bench.write("../lib/index.js", "2");
    assert_eq!(installed("dep/index.js").await, "2");
    let manifest = installed("dep/package.json").await;
    assert!(manifest.contains("/.dayfly-local/1-deep"), "{manifest}");
    bench.check(expect![[r#"
        index.handler index.js node_modules/dep/index.js node_modules/dep/package.json package-lock.json package.json
        []
        npm install
          install --install-links --omit=dev
        npm install
          install --install-links --omit=dev
    "#]]).await;
}

#[tokio::test]
async fn members_of_a_workspace_find_each_other() {
    let bench = Bench::new(&[
        ("index.js", JS),
        (
            "package.json",
            r#"{"name": "fn", "dependencies": {"dep": "workspace:*"}}"#,
        ),
        ("../package.json", r#"{"workspaces": ["f*", "libs/*"]}"#),
        ("../libs/dep/package.json", r#"{"name": "dep"}"#),
    ]);
    bench.program(
        "npm",
        "#!/bin/sh\necho \"$@\"; grep -o dayfly-local/.* package.json",
    );
    bench
        .check(expect![[r#"
        index.handler index.js package.json
        []
        npm install
          install --install-links --omit=dev
          dayfly-local/0-dep"},"name":"fn"}
    "#]])
        .await;
}

#[tokio::test]
async fn a_build_script_runs_in_a_copy() {
    let manifest = r#"{"scripts": {"build": "it"}, "devDependencies": {"dep": "1"}}"#;
    let bench = Bench::new(&[
        ("index.ts", "export const handler = 1"),
        ("package.json", manifest),
        (
            "build.sh",
            "mkdir dist && cp index.ts dist/index.js && ls node_modules",
        ),
    ]);
    let before = bench.own_files();
    bench
        .check(expect![[r#"
        dist/index.handler build.sh dist/index.js index.ts package.json
        []
        npm install
        npm run build
          dep
    "#]])
        .await;
    bench
        .check(expect![[r#"
        dist/index.handler build.sh dist/index.js index.ts package.json
        []
    "#]])
        .await;
    bench.write("build.sh", "echo nothing made");
    bench.check(expect![[r#"
        build fn: the build script ran, but made no index.js, .mjs or .cjs, nor one in dist, build, out, lib; name the handler in a template.yaml
        npm run build
          nothing made
    "#]]).await;
    assert_eq!(bench.own_files(), before);
}

#[tokio::test]
async fn typescript_is_bundled_by_the_project_s_own_esbuild() {
    let esbuild =
        "#!/bin/sh\nfor a; do case $a in --outfile=*) echo bundled > ${a#--outfile=};; esac; done";
    let bench = Bench::new(&[
        ("index.ts", "export const handler = 1"),
        ("lib/more.ts", ""),
        ("data.json", "{}"),
        (
            "package.json",
            r#"{"type": "module", "devDependencies": {"esbuild": "0.28.0"}}"#,
        ),
        ("node_modules/.bin/esbuild", esbuild),
    ]);
    let program = bench.root.join("fn/node_modules/.bin/esbuild");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    bench
        .check(expect![[r#"
        index.handler data.json index.mjs
        []
        esbuild
    "#]])
        .await;
    bench
        .check(expect![[r#"
        index.handler data.json index.mjs
        []
    "#]])
        .await;
}

#[tokio::test]
async fn a_bundle_is_made_anew_when_a_file_outside_changes() {
    let esbuild = r#"#!/bin/sh
for a; do case $a in
  --outfile=*) cat ../shared/*.ts > ${a#--outfile=} ;;
  --metafile=*) echo '{"inputs": {"index.ts": {}, "../shared/x.ts": {}}}' > ${a#--metafile=} ;;
esac; done
"#;
    let bench = Bench::new(&[
        ("index.ts", "import '../shared/x'; export const handler = 1"),
        ("../shared/x.ts", "1"),
        ("node_modules/.bin/esbuild", esbuild),
    ]);
    let program = bench.root.join("fn/node_modules/.bin/esbuild");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let bundle = async || {
        let built = bench.build().await.unwrap().code.files().unwrap();
        let file = built.iter().find(|file| file.path.ends_with("index.cjs"));
        fs::read_to_string(&file.unwrap().from).unwrap()
    };
    assert_eq!(bundle().await, "1");
    bench.write("../shared/x.ts", "2");
    assert_eq!(bundle().await, "2");
    bench.phases.lock().unwrap().clear();
    bundle().await;
    assert!(bench.phases.lock().unwrap().is_empty());
}

#[tokio::test]
async fn templates_bring_inline_code_layers_and_makefiles() {
    let template = r#"
Resources:
  Shared:
    Type: AWS::Serverless::LayerVersion
    Metadata: {BuildMethod: python3.12}
    Properties: {ContentUri: layer}
  Fn:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.12, Handler: index.handler, InlineCode: "x = 1", Layers: [!Ref Shared]}
"#;
    let bench = Bench::new(&[
        ("template.yaml", template),
        ("layer/shared.py", ""),
        ("layer/requirements.txt", "dep"),
    ]);
    bench
        .check(expect![[r#"
        index.handler index.py
        []
        pip install
          installing
        compile modules
    "#]])
        .await;
    let built = bench.build().await.unwrap();
    let files = built.layers[0].files().unwrap();
    let files: Vec<_> = files
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    assert_eq!(
        files,
        [
            "python/dep.py",
            "python/requirements.txt",
            "python/shared.py"
        ]
    );
}

#[tokio::test]
async fn a_rust_program_becomes_bootstrap() {
    let template = r#"
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties: {Runtime: provided.al2023}
"#;
    let bench = Bench::new(&[
        ("template.yaml", template),
        (
            "Cargo.toml",
            "[package]\nname = 'one'\nedition = '2024'\n[workspace]\n",
        ),
        (
            "Cargo.lock",
            "version = 4\n[[package]]\nname = 'one'\nversion = '0.0.0'\n",
        ),
        ("src/main.rs", "fn main() {}"),
    ]);
    let before = bench.own_files();
    let built = bench.build().await.unwrap();
    assert_eq!(built.code.files().unwrap()[0].path, Path::new("bootstrap"));
    assert_eq!(bench.own_files(), before);
    bench.phases.lock().unwrap().clear();
    bench
        .check(expect![[r#"
        bootstrap bootstrap
        []
    "#]])
        .await;
    bench.write("src/main.rs", "fn main() { nonsense }");
    let error = bench.build().await.unwrap_err().to_string();
    assert!(error.contains("cannot find value `nonsense`"), "{error}");
}

#[tokio::test]
async fn a_rust_package_without_a_lock_file_is_left_without_one() {
    let bench = Bench::new(&[
        (
            "template.yaml",
            "Resources: {Fn: {Type: AWS::Serverless::Function, Properties: {Runtime: provided.al2023}}}",
        ),
        ("Cargo.toml", "[package]\nname = 'one'\nedition = '2024'\n"),
        (
            "src/main.rs",
            "fn main() { print!(include_str!(\"../text\")) }",
        ),
        ("text", "text"),
    ]);
    let before = bench.own_files();
    bench.build().await.unwrap();
    assert_eq!(bench.own_files(), before);
    bench.phases.lock().unwrap().clear();
    bench
        .check(expect![[r#"
        bootstrap bootstrap
        []
    "#]])
        .await;
    bench.write("src/main.rs", "fn main() {}");
    bench.build().await.unwrap();
    assert_eq!(bench.own_files(), before);
}

#[tokio::test]
async fn what_runs_too_long_or_talks_too_much_is_bounded() {
    let bench = Bench::new(&[("app.py", PY), ("requirements.txt", "dep")]);
    let talk = "#!/bin/sh\ncase $3 in --version) exit 0;; esac\nfor i in $(seq 1000); do printf \"\\033[31mline $i\\033[0m\\r\\n\"; done; exit 3";
    bench.program("python", talk);
    let error = bench.build().await.unwrap_err().to_string();
    assert!(
        error.lines().count() < 40 && error.contains("line 1000") && !error.contains('\u{1b}'),
        "{error}"
    );
    assert!(error.contains("ended with status 3"), "{error}");
}

#[tokio::test]
async fn a_build_that_is_given_up_has_ended_with_its_tools() {
    let bench = Bench::new(&[("app.py", PY), ("requirements.txt", "dep")]);
    let pid = bench.root.join("pid");
    let endless = format!(
        "#!/bin/sh\ncase $3 in --version) exit 0;; esac\nsleep 1000 & echo $$ > {}\necho began; wait",
        pid.display()
    );
    bench.program("python", &endless);
    let (give_up, given_up) = watch::channel(false);
    let giving_up = async {
        while !bench.phases.lock().unwrap().contains(&"  began".to_owned()) {
            tokio::task::yield_now().await;
        }
        give_up.send_replace(true);
    };
    let (built, ()) = tokio::join!(bench.build_until(&given_up), giving_up);
    assert!(matches!(built, Err(Error::GivenUp { .. })), "{built:?}");
    let tool = fs::read_to_string(pid).unwrap();
    assert!(!Path::new("/proc").join(tool.trim()).exists());
    bench.program("python", PYTHON);
    bench.build().await.unwrap();
}

#[test]
fn a_later_folder_replaces_files_of_an_earlier_one() {
    let temporary = tempfile::tempdir().unwrap();
    for (folder, text) in [("a", "old"), ("b", "new")] {
        fs::create_dir(temporary.path().join(folder)).unwrap();
        fs::write(temporary.path().join(folder).join("same"), text).unwrap();
    }
    let source = |name: &str| Source::built(temporary.path().join(name));
    let package = Package {
        sources: vec![source("a"), source("b")],
    };
    let files = package.files().unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(fs::read_to_string(&files[0].from).unwrap(), "new");
}

#[test]
fn the_cache_keeps_what_was_used_last() {
    let temporary = tempfile::tempdir().unwrap();
    let cache = Cache::new(temporary.path());
    drop(cache.stage("kind", "given-up").unwrap());
    assert_eq!(cache.ready("kind", "given-up"), None);
    let first = cache.stage("kind", "0").unwrap().keep().unwrap();
    assert_eq!(cache.stage("kind", "0").unwrap().keep().unwrap(), first);
    for key in 1..130 {
        cache
            .stage("kind", &key.to_string())
            .unwrap()
            .keep()
            .unwrap();
        assert!(cache.ready("kind", "0").is_some());
    }
    let kept = fs::read_dir(temporary.path().join("builds/kind"))
        .unwrap()
        .count();
    assert!(kept <= 101, "{kept}");
}
