//! What is fetched when, with a Python that stands in for the host's.

use std::os::unix::fs::PermissionsExt as _;

use parking_lot::Mutex;

use super::*;

#[test]
fn a_module_is_named_as_a_word() {
    let check = |text: &str, expected| assert_eq!(names(text, "boto3"), expected, "{text}");
    check("import boto3", true);
    check("from boto3.session import Session", true);
    check("importlib.import_module('boto3')", true);
    check("import boto3_stubs", false);
    check("import aioboto3", false);
    check("from mine.boto3 import x", false);
    check("boto3-helpers", false);
    check("", false);
}

struct Host {
    folder: PathBuf,
    said: Arc<Mutex<Vec<String>>>,
    sdk: Arc<Sdk>,
    interpreter: Interpreter,
}

fn config() -> FunctionConfig {
    FunctionConfig {
        runtime: "nodejs20.x".parse().unwrap(),
        handler: "a.b".to_owned(),
        description: String::new(),
        memory_mb: 128,
        timeout: Duration::from_secs(3),
        tmp_mb: 512,
        environment: std::collections::BTreeMap::new(),
        code: model::Code::folder(model::Digest::from_bytes([0; 32]), 0),
        layers: Vec::new(),
        log_format: model::LogFormat::Text,
        log_level: model::LogLevel::Info,
        network: model::Network::PlatformOnly,
        inspect: false,
        declared: model::Declared::default(),
    }
}

/// A host whose Python does this for pip.
fn host(script: &str) -> Host {
    let mut id = [0; 8];
    let clock = Arc::new(store::SystemClock::new());
    clock.random(&mut id);
    let folder = std::env::temp_dir().join(format!("dayfly-sdk-{}", model::id::hex(&id)));
    std::fs::create_dir_all(folder.join("code")).unwrap();
    let python = folder.join("python3");
    std::fs::write(&python, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let progress: Progress = {
        let said = Arc::clone(&said);
        Arc::new(move |text: &str| said.lock().push(text.to_owned()))
    };
    // Nothing on the search path, so that only the function's own Python is tried.
    let surroundings = Surroundings::default();
    let sdk = Sdk::new(&folder.join("cache"), true, surroundings, progress, clock);
    Host {
        sdk: Arc::new(sdk),
        interpreter: Interpreter {
            executable: python,
            language: Language::Python(12),
            version: (3, 12, 1),
            needs: Vec::new(),
        },
        said,
        folder,
    }
}

/// A host whose npm does this. It is called with `install --prefix FOLDER ... PACKAGE`.
fn host_with_npm(script: &str) -> Host {
    let mut host = host("");
    let npm = host.folder.join("npm");
    std::fs::write(&npm, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).unwrap();
    let sdk = Arc::get_mut(&mut host.sdk).unwrap();
    sdk.surroundings.path = vec![host.folder.clone()];
    host.interpreter.language = Language::Node(20);
    host
}

impl Host {
    /// What a running function is answered that asks, and what its log says meanwhile.
    async fn ask(&self, name: &str, function: &str) -> (Result<(), String>, Option<String>) {
        let function = model::FunctionId {
            account: "000000000000".parse().unwrap(),
            region: "eu-west-1".parse().unwrap(),
            name: function.parse().unwrap(),
        };
        let own = crate::instance::own::OwnTime::new(&self.sdk.clock);
        let (tell, mut told) = tokio::sync::mpsc::channel(2);
        let asked = self
            .sdk
            .bring(self.interpreter.clone(), name, (function, &own), &tell);
        let answer = asked.await;
        let said = told.try_recv().ok().map(|heard| match heard {
            Heard::Fetching(text) => text,
            over @ Heard::Over(_) => panic!("{over:?}"),
        });
        (answer, said)
    }

    fn shared(&self, path: &str) -> PathBuf {
        let shared = self.sdk.shared(self.interpreter.language).unwrap();
        shared.join(path)
    }

    async fn look(&self, files: &[(&str, &str)], layers: &[PathBuf]) -> Option<Warning> {
        let code = self.folder.join("code");
        let _ = std::fs::remove_dir_all(&code);
        for (name, text) in files {
            let path = code.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut warnings = self
            .sdk
            .look(&self.interpreter, &config(), &code, layers)
            .await;
        assert!(warnings.len() < 2, "{warnings:?}");
        warnings.pop()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// `-m pip install --target FOLDER ...`
const INSTALLS: &str = "/bin/mkdir -p $5/boto3; echo '' > $5/boto3/__init__.py";

#[tokio::test]
async fn it_is_fetched_once_where_it_is_named_and_not_brought() {
    let host = host(INSTALLS);
    assert_eq!(host.look(&[("app.py", "import os")], &[]).await, None);
    let brought = [("app.py", "import boto3"), ("boto3/__init__.py", "")];
    assert_eq!(host.look(&brought, &[]).await, None);
    let layer = host.folder.join("layer");
    std::fs::create_dir_all(layer.join("python/lib/python3.12/site-packages/boto3")).unwrap();
    let named = [("deep/er/app.py", "def f():\n  import boto3")];
    assert_eq!(host.look(&named, &[layer]).await, None);
    assert!(!host.sdk.place(12).exists() && host.said.lock().is_empty());
    for _ in 0..2 {
        assert_eq!(host.look(&named, &[]).await, None);
    }
    let shown = host.sdk.brought(Language::Python(12), &config(), &[]);
    let boto3 = shown.shared.unwrap().join("packages/boto3/__init__.py");
    assert!(boto3.is_file() && shown.set.is_none());
    assert!(!host.sdk.place(11).exists());
    let said = host.said.lock();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("fetching boto3 for Python 3.12"),
        "{said:?}"
    );
}

#[tokio::test]
async fn packages_of_node_are_fetched_as_they_are_named() {
    let host = host_with_npm("/bin/mkdir -p $3/node_modules/@aws-sdk/client-s3");
    let node = Language::Node(20);
    let brought = [
        ("index.mjs", "import '@aws-sdk/client-s3'"),
        ("node_modules/@aws-sdk/client-s3/package.json", "{}"),
        (
            "node_modules/mine/index.js",
            "require('@aws-sdk/client-sqs')",
        ),
    ];
    assert_eq!(host.look(&brought, &[]).await, None);
    assert!(host.sdk.brought(node, &config(), &[]).set.is_none());
    for _ in 0..2 {
        assert_eq!(host.look(&brought[..1], &[]).await, None);
    }
    let ready = host.sdk.brought(node, &config(), &[]).set.unwrap();
    assert!(ready.join("@aws-sdk/client-s3").is_dir());
    let said = host.said.lock();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("fetching @aws-sdk/client-s3"), "{said:?}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_keeps_no_other_from_coming() {
    // As npm does it, which tells of one at a time.
    let host = host_with_npm(
        "echo x >> ${0%/npm}/runs
for name; do case $name in @aws-sdk/*nope*)
echo \"npm error code E404\nnpm error 404  '$name' is not in this registry.\" >&2; exit 1;; esac; done
/bin/mkdir -p $3/node_modules; for name; do case $name in @*) echo ${name%@*} >> $3/fetched;; esac; done",
    );
    let source = "require('@aws-sdk/client-s3'); require('@aws-sdk/nope-s3');
require('@smithy/types'); require('@aws-sdk/client-nope'); require('@aws-sdk/client-s')";
    let files = [("index.js", source)];
    // Again without npm.
    for _ in 0..2 {
        let warning = host.look(&files, &[]).await.unwrap();
        assert_eq!(
            warning,
            "@aws-sdk/client-nope, @aws-sdk/nope-s3 are named in the package, which does not bring \
             them, and could not be fetched: npm: there is no such package (E404); they are tried \
             again when the function loads them, or put them into the package"
        );
    }
    let runs = std::fs::read_to_string(host.folder.join("runs")).unwrap();
    assert_eq!(runs.lines().count(), 3);
    let set = host.sdk.brought(Language::Node(20), &config(), &[]).set;
    let fetched = std::fs::read_to_string(set.unwrap().join("../fetched")).unwrap();
    assert_eq!(
        fetched,
        "@aws-sdk/client-s\n@aws-sdk/client-s3\n@smithy/types\n"
    );
    // All of them wrong: there is nothing to fetch, and so much is said once.
    let host = host_with_npm(
        "echo \"npm error code E404\nnpm error 404  '@aws-sdk/x@*' is not\" >&2; exit 1",
    );
    let warning = host
        .look(&[("index.js", "require('@aws-sdk/x')")], &[])
        .await;
    let warning = warning.unwrap();
    assert!(warning.starts_with("@aws-sdk/x is named"), "{warning}");
    assert!(warning.contains("no such package (E404)"), "{warning}");
}

#[tokio::test]
async fn each_line_of_node_has_packages_of_its_own() {
    let mut host = host_with_npm(NPM_INSTALLS);
    let files = [("index.js", "require('@aws-sdk/client-s3')")];
    for major in [18, 20] {
        host.interpreter.language = Language::Node(major);
        assert_eq!(host.look(&files, &[]).await, None);
        assert_eq!(host.ask("@smithy/types", "a").await.0, Ok(()));
    }
    let runs = std::fs::read_to_string(host.folder.join("runs")).unwrap();
    assert_eq!(runs.lines().count(), 4);
    let sets = [18, 20].map(|major| {
        let brought = host.sdk.brought(Language::Node(major), &config(), &[]);
        (brought.set.unwrap(), brought.shared.unwrap())
    });
    assert!(sets[0].0 != sets[1].0 && sets[0].1 != sets[1].1);
}

/// npm takes the newest version that runs on the Node that npm itself runs on.
#[tokio::test]
async fn npm_runs_on_the_functions_own_node_where_it_can() {
    let node = "#!/bin/sh\n[ $2 = install ] && echo own >> ${0%/node}/runs && /bin/mkdir -p $4/node_modules";
    let npm = "#!/bin/sh\necho any >> ${0%/bin/*}/runs; /bin/mkdir -p $3/node_modules";
    for (own, expected) in [
        (node, "own\n"),
        ("#!/bin/sh\necho too old >&2; exit 1", "any\n"),
    ] {
        let mut host = host_with_npm("");
        let file = |name: &str, text: &str| {
            let path = host.folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let node = file("node", own);
        let script = file("bin/npm-cli.js", &npm.replace("/bin/*", "/npm"));
        std::fs::remove_file(host.folder.join("npm")).unwrap();
        std::os::unix::fs::symlink(script, host.folder.join("npm")).unwrap();
        host.interpreter.executable = node;
        let files = [("index.js", "require('@aws-sdk/client-s3')")];
        assert_eq!(host.look(&files, &[]).await, None);
        let runs = std::fs::read_to_string(host.folder.join("runs")).unwrap();
        assert_eq!(runs, expected);
    }
}

#[tokio::test]
async fn the_old_sdk_is_added_with_a_warning() {
    let host = host_with_npm(NPM_INSTALLS);
    let files = [("index.js", "const AWS = require('aws-sdk')")];
    for _ in 0..2 {
        let old = host.look(&files, &[]).await;
        assert!(old.unwrap().contains("aws-sdk (version 2)"));
    }
    let set = host.sdk.brought(Language::Node(20), &config(), &[]).set;
    assert!(set.unwrap().join("aws-sdk/package.json").is_file());
    assert_eq!(host.said.lock().len(), 1);
    // For whoever asks while it runs it is where nobody finds it who does not ask.
    assert_eq!(host.ask("aws-sdk", "a").await.0, Ok(()));
    let found = host.shared("packages/aws-sdk/node_modules/aws-sdk/package.json");
    assert!(found.is_file() && !host.shared("node_modules/aws-sdk").exists());
    assert_eq!(host.ask("aws-sdk", "b").await, (Ok(()), None));
}

#[tokio::test]
async fn what_cannot_be_fetched_is_told_with_what_to_do() {
    let host = host("echo 'ERROR: no network' >&2; exit 1");
    let warning = host
        .look(&[("app.py", "import botocore")], &[])
        .await
        .unwrap();
    for part in [
        "botocore is named",
        "pip: ERROR: no network",
        "tried again when the function imports it",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
    let left = std::fs::read_dir(host.folder.join("cache/sdk"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

/// What npm does of which the last argument is a package.
const NPM_INSTALLS: &str = "for name; do :; done; name=${name%@*}
/bin/mkdir -p $3/node_modules/$name
echo '{}' > $3/node_modules/$name/package.json
echo $name >> ${0%/npm}/runs";

#[tokio::test]
async fn a_running_function_has_what_it_asks_for_fetched_once() {
    let host = host_with_npm(NPM_INSTALLS);
    let name = "@aws-sdk/client-s3";
    let asked = ["a", "b", "c"].map(|function| host.ask(name, function));
    let answers = futures_util::future::join_all(asked).await;
    for (answer, said) in answers {
        assert_eq!(answer, Ok(()));
        assert_eq!(
            said.as_deref(),
            Some(
                "fetching @aws-sdk/client-s3, which Lambda's runtime brings, once; the function's \
                 time stands still meanwhile"
            )
        );
    }
    assert_eq!(host.ask(name, "d").await, (Ok(()), None));
    let link = host.shared("node_modules/@aws-sdk/client-s3");
    assert_eq!(
        std::fs::read_link(&link).unwrap(),
        Path::new("../../packages/@aws-sdk+client-s3/node_modules/@aws-sdk/client-s3")
    );
    assert!(link.join("package.json").is_file());
    let runs = std::fs::read_to_string(host.folder.join("runs")).unwrap();
    assert_eq!(runs, format!("{name}\n"));
    let said = host.said.lock().clone();
    assert_eq!(said.len(), 1, "{said:?}");
    // Between a package and its link the platform may have ended.
    std::fs::remove_file(&link).unwrap();
    assert_eq!(host.ask(name, "a").await.0, Ok(()));
    assert!(link.join("package.json").is_file());
    assert_eq!(host.said.lock().len(), 1);
}

#[tokio::test]
async fn a_running_function_has_no_other_name_fetched() {
    let host = host_with_npm(NPM_INSTALLS);
    for name in ["left-pad", "@aws-sdk/../left-pad", "--version", "boto3", ""] {
        let (answer, said) = host.ask(name, "a").await;
        assert!(
            answer
                .unwrap_err()
                .contains("nothing that Lambda's runtime brings")
        );
        assert_eq!(said, None);
    }
    assert!(!host.folder.join("runs").exists());
}

#[tokio::test]
async fn a_running_function_cannot_have_npm_run_in_a_loop() {
    let host = host_with_npm("echo x >> ${0%/npm}/runs; echo 'npm error offline' >&2; exit 1");
    let (answer, said) = host.ask("@aws-sdk/client-s3", "a").await;
    assert_eq!(answer, Err("npm: offline".to_owned()));
    assert!(said.is_some());
    let (again, said) = host.ask("@aws-sdk/client-s3", "b").await;
    assert!(again.unwrap_err().contains("offline (tried again after"));
    assert_eq!(said, None);
    for number in 0..20 {
        let (answer, _) = host.ask(&format!("@aws-sdk/x{number}"), "a").await;
        assert!(answer.is_err());
    }
    let runs = std::fs::read_to_string(host.folder.join("runs")).unwrap();
    assert_eq!(runs.lines().count(), 4);
    let entries = |path: PathBuf| std::fs::read_dir(path).map_or(0, Iterator::count);
    assert_eq!(entries(host.folder.join("cache/sdk")), 0);
}

#[tokio::test]
async fn so_many_packages_are_kept_for_running_functions() {
    let host = host_with_npm(NPM_INSTALLS);
    for number in 0..64 {
        let made = host.shared(&format!("packages/@aws-sdk+x{number}"));
        std::fs::create_dir_all(made).unwrap();
    }
    let (answer, _) = host.ask("@aws-sdk/client-s3", "a").await;
    assert!(
        answer
            .unwrap_err()
            .contains("64 packages have been fetched")
    );
}

#[tokio::test]
async fn what_a_dead_process_left_half_way_is_removed() {
    let host = host_with_npm(NPM_INSTALLS);
    let cache = host.folder.join("cache/sdk");
    // No process has such a number.
    std::fs::create_dir_all(cache.join("4194305.3.partial/node_modules")).unwrap();
    std::fs::create_dir_all(cache.join("1.3.partial")).unwrap();
    assert_eq!(host.ask("@smithy/types", "a").await.0, Ok(()));
    assert!(!cache.join("4194305.3.partial").exists() && cache.join("1.3.partial").exists());
}

#[tokio::test]
async fn what_is_old_is_fetched_anew_when_a_session_begins_or_used_on() {
    let name = "@aws-sdk/client-s3";
    let files = [("index.js", "require('@aws-sdk/client-sqs')")];
    for (script, expected) in [
        (NPM_INSTALLS, "{}\n"),
        ("echo 'npm error offline' >&2; exit 1", "old"),
    ] {
        let mut host = host_with_npm(NPM_INSTALLS);
        assert_eq!(host.ask(name, "a").await.0, Ok(()));
        assert_eq!(host.look(&files, &[]).await, None);
        let manifest = "node_modules/@aws-sdk/client-s3/package.json";
        std::fs::write(host.shared(manifest), "old").unwrap();
        // As if that had been long ago.
        let (new, old) = (
            host.sdk.vintages.current(),
            host.folder.join("cache/sdk/day-7"),
        );
        std::fs::rename(new, old).unwrap();
        let npm = format!("#!/bin/sh\n{script}\n");
        std::fs::write(host.folder.join("npm"), npm).unwrap();
        let again = |renew: bool| {
            let (progress, clock) = (Arc::clone(&host.sdk.progress), Arc::clone(&host.sdk.clock));
            let surroundings = host.sdk.surroundings.clone();
            let cache = host.folder.join("cache");
            Arc::new(Sdk::new(&cache, renew, surroundings, progress, clock))
        };
        let (same, newer) = (again(false), again(true));
        host.sdk = same;
        assert_eq!(host.ask(name, "a").await, (Ok(()), None));
        host.sdk = newer;
        let (answer, said) = host.ask(name, "a").await;
        assert!(answer == Ok(()) && said.is_some(), "{answer:?}");
        let found = std::fs::read_to_string(host.shared(manifest)).unwrap();
        assert_eq!(found, expected);
        // What was deployed keeps what it was deployed with.
        let runs = host.said.lock().len();
        assert_eq!(host.look(&files, &[]).await, None);
        assert_eq!(host.said.lock().len(), runs);
        let set = host.sdk.brought(Language::Node(20), &config(), &[]).set;
        assert!(
            set.unwrap()
                .starts_with(host.folder.join("cache/sdk/day-7"))
        );
    }
}

#[tokio::test]
async fn python_has_all_of_it_fetched_at_once() {
    let host = host(INSTALLS);
    assert_eq!(host.ask("s3transfer", "a").await.0, Ok(()));
    assert!(host.shared("packages/boto3/__init__.py").is_file());
    assert_eq!(host.ask("boto3", "a").await, (Ok(()), None));
}

#[test]
fn what_layers_bring_is_not_hidden_from_the_root() {
    let host = host("");
    let layer = host.folder.join("layer");
    let shown = |layers: &[PathBuf]| host.sdk.brought(Language::Node(22), &config(), layers);
    std::fs::create_dir_all(layer.join("nodejs/node_modules/left-pad")).unwrap();
    assert!(shown(&[]).at_root && shown(std::slice::from_ref(&layer)).at_root);
    std::fs::create_dir_all(layer.join("nodejs/node22/node_modules/@smithy/x")).unwrap();
    assert!(!shown(&[layer]).at_root);
    let mut config = config();
    config
        .environment
        .insert("NODE_PATH".to_owned(), "/var/task/mine".to_owned());
    assert!(!host.sdk.brought(Language::Node(22), &config, &[]).at_root);
}
