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
    sdk: Sdk,
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
    Host {
        sdk: Sdk::new(&folder.join("cache"), surroundings, progress, clock),
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

impl Host {
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
    let python = Language::Python(12);
    assert_eq!(host.look(&[("app.py", "import os")], &[]).await, None);
    let brought = [("app.py", "import boto3"), ("boto3/__init__.py", "")];
    assert_eq!(host.look(&brought, &[]).await, None);
    let layer = host.folder.join("layer");
    std::fs::create_dir_all(layer.join("python/lib/python3.12/site-packages/boto3")).unwrap();
    let named = [("deep/er/app.py", "def f():\n  import boto3")];
    assert_eq!(host.look(&named, &[layer]).await, None);
    assert!(host.sdk.ready(python, &config()).is_none() && host.said.lock().is_empty());
    for _ in 0..2 {
        assert_eq!(host.look(&named, &[]).await, None);
    }
    let ready = host.sdk.ready(python, &config()).unwrap();
    assert!(ready.join("boto3/__init__.py").is_file());
    assert!(host.sdk.ready(Language::Python(11), &config()).is_none());
    let said = host.said.lock();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("fetching boto3 for Python 3.12"),
        "{said:?}"
    );
}

#[tokio::test]
async fn packages_of_node_are_fetched_as_they_are_named() {
    let mut host = host("");
    let npm = host.folder.join("npm");
    // `install --prefix FOLDER ...`
    let script = "#!/bin/sh\n/bin/mkdir -p $3/node_modules/@aws-sdk/client-s3\n";
    std::fs::write(&npm, script).unwrap();
    std::fs::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).unwrap();
    host.sdk.surroundings.path = vec![host.folder.clone()];
    host.interpreter.language = Language::Node(20);
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
    assert!(host.sdk.ready(node, &config()).is_none());
    let old = host.look(&[("index.js", "require('aws-sdk')")], &[]).await;
    assert!(old.unwrap().contains("aws-sdk (version 2)"));
    for _ in 0..2 {
        assert_eq!(host.look(&brought[..1], &[]).await, None);
    }
    let ready = host.sdk.ready(node, &config()).unwrap();
    assert!(ready.join("@aws-sdk/client-s3").is_dir());
    let said = host.said.lock();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("fetching @aws-sdk/client-s3"), "{said:?}");
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
        "deploy again with a connection",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
    assert!(host.sdk.ready(Language::Python(12), &config()).is_none());
    let left = std::fs::read_dir(host.folder.join("cache/sdk"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}
