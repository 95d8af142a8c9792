//! What a reader makes of folders, shown as text.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use expect_test::{Expect, expect};

use super::*;
use crate::watch::Relevant;

fn options() -> Options {
    Options::new(
        "000000000000".parse().unwrap(),
        "us-east-1".parse().unwrap(),
    )
}

/// A folder named `project` with these files; `name*` is executable.
fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().canonicalize().unwrap().join("project");
    fs::create_dir(&root).unwrap();
    for (name, text) in files {
        let path = root.join(name.trim_end_matches('*'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if name.ends_with('*') {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    (temporary, root)
}

fn shown(project: Result<Project, Error>, root: &Path) -> String {
    let mut text = String::new();
    match project {
        Ok(project) => {
            for f in &project.functions {
                let source = f.source.strip_prefix(root).unwrap_or(&f.source).display();
                let url = if f.url.is_some() { " url" } else { "" };
                writeln!(
                    text,
                    "{} {} {} [{source}] {:?}{url} {:?}",
                    f.name, f.runtime, f.handler, f.build, f.environment
                )
                .unwrap();
            }
            for warning in &project.warnings {
                writeln!(text, "warning: {warning}").unwrap();
            }
        }
        Err(error) => writeln!(text, "error: {error}").unwrap(),
    }
    text.replace(&root.display().to_string(), "ROOT")
}

fn check(files: &[(&str, &str)], expected: Expect) {
    let (_temporary, root) = folder(files);
    expected.assert_eq(&shown(read(&root, &options()), &root));
}

const PY: &str = "def lambda_handler(event, context):\n    return 1\n";
const JS: &str = "export const handler = async () => 1;\n";

#[test]
fn a_folder_is_one_function_by_its_entry_file() {
    check(
        &[("app.py", PY)],
        expect![[r#"
        project python3.13 app.lambda_handler [] Python url {}
    "#]],
    );
    check(
        &[("lambda_function.py", PY), ("index.js", JS)],
        expect![[r#"
        project python3.13 lambda_function.lambda_handler [] Python url {}
        warning: ROOT/index.js: not used, as lambda_function.py is there too and comes first
    "#]],
    );
    check(
        &[("main.py", "from x import handler")],
        expect![[r#"
        project python3.13 main.handler [] Python url {}
    "#]],
    );
    check(
        &[("index.mjs", JS)],
        expect![[r#"
        project nodejs22.x index.handler [] Node url {}
    "#]],
    );
    check(
        &[("handler.ts", JS)],
        expect![[r#"
        project nodejs22.x handler.handler [] TypeScript { entry: None } url {}
    "#]],
    );
    check(
        &[
            ("src/api.js", JS),
            ("package.json", r#"{"main": "src/api.js"}"#),
        ],
        expect![[r#"
        project nodejs22.x src/api.handler [] Node url {}
    "#]],
    );
    check(
        &[("bootstrap*", "#!/bin/sh")],
        expect![[r#"
        project provided.al2023 bootstrap [] Copy url {}
    "#]],
    );
    check(
        &[("Cargo.toml", "[dependencies]\nlambda_http = '1'")],
        expect![[r#"
        project provided.al2023 bootstrap [] Rust { binary: None } url {}
    "#]],
    );
}

#[test]
fn folders_in_a_folder_are_functions() {
    check(
        &[
            ("b/index.mjs", JS),
            ("a b/app.py", PY),
            (".hidden/app.py", PY),
            ("docs/x.md", ""),
            ("c/template.yaml", ""),
            ("scripts/main.py", "print(1)"),
        ],
        expect![[r#"
            a-b python3.13 app.lambda_handler [a b] Python url {}
            b nodejs22.x index.handler [b] Node url {}
            warning: ROOT/a b: its function is named 'a-b', not 'a b': names are of 1 to 64 letters, digits, hyphens and underscores
            warning: ROOT/c/template.yaml: a project of its own, left out here; name its folder to run it
            warning: ROOT/scripts: left out: find the handler in ROOT/scripts/main.py: looked for lambda_handler(event, context) or handler(event, context) at its top level; define one of them, or name the handler in a template.yaml
        "#]],
    );
}

#[test]
fn what_is_no_function_says_what_was_looked_for() {
    check(
        &[("readme.md", "")],
        expect![[r#"
        error: find a function in ROOT: looked there, and in the folders in it, for template.yaml, lambda_function.py, app.py, main.py, handler.py, index.js, index.mjs, index.cjs, index.ts, handler.js, handler.mjs, handler.cjs, handler.ts, an executable bootstrap, or a Cargo.toml that uses lambda_runtime or lambda_http; `dayfly new` writes a starter
    "#]],
    );
    check(
        &[("bootstrap", "")],
        expect![[r#"
        error: find a function in ROOT: looked there, and in the folders in it, for template.yaml, lambda_function.py, app.py, main.py, handler.py, index.js, index.mjs, index.cjs, index.ts, handler.js, handler.mjs, handler.cjs, handler.ts, an executable bootstrap, or a Cargo.toml that uses lambda_runtime or lambda_http; bootstrap is not executable (chmod +x bootstrap); `dayfly new` writes a starter
    "#]],
    );
    check(
        &[("Cargo.toml", "[package]")],
        expect![[r#"
        error: find a function in ROOT: looked there, and in the folders in it, for template.yaml, lambda_function.py, app.py, main.py, handler.py, index.js, index.mjs, index.cjs, index.ts, handler.js, handler.mjs, handler.cjs, handler.ts, an executable bootstrap, or a Cargo.toml that uses lambda_runtime or lambda_http; Cargo.toml names neither of the two; `dayfly new` writes a starter
    "#]],
    );
    check(
        &[("app.py", "app = Flask()")],
        expect![[r#"
        error: find the handler in ROOT/app.py: looked for lambda_handler(event, context) or handler(event, context) at its top level; define one of them, or name the handler in a template.yaml
    "#]],
    );
    check(
        &[("index.js", "console.log(1)")],
        expect![[r#"
        error: find the handler in ROOT/index.js: looked for an export named handler or lambdaHandler; define one of them, or name the handler in a template.yaml
    "#]],
    );
    check(
        &[("Cargo.toml", "\n[")],
        expect![[r#"
        error: read ROOT/Cargo.toml, line 2: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
    "#]],
    );
}

#[test]
fn what_is_left_out_is_named() {
    check(
        &[
            ("app.py", PY),
            ("main.py", PY),
            ("sub/app.py", PY),
            ("lib/main.py", "x = 1"),
            ("dist/app.py", PY),
        ],
        expect![[r#"
            project python3.13 app.lambda_handler [] Python url {}
            warning: ROOT/main.py: not used, as app.py is there too and comes first
            warning: ROOT/sub: left out, as the folder around is a function itself; move its own files into a folder beside to run all
        "#]],
    );
    check(
        &[("index.ts", JS), ("index.js", JS), ("handler.mjs", JS)],
        expect![[r#"
            project nodejs22.x index.handler [] Node url {}
            warning: ROOT/handler.mjs: not used, as index.js is there too and comes first
        "#]],
    );
    check(
        &[("a/app.py", PY), ("b/bootstrap", "")],
        expect![[r#"
        a python3.13 app.lambda_handler [a] Python url {}
        warning: ROOT/b/bootstrap: left out, as it is not executable; chmod +x makes it so
    "#]],
    );
    let template = |folder: &str| {
        format!(
            "Resources: {{F: {{Type: AWS::Serverless::Function, Properties: {{CodeUri: {folder}, Handler: app.handler, Runtime: python3.12}}}}}}"
        )
    };
    check(
        &[
            ("template.yaml", &template("src")),
            ("src/app.py", PY),
            ("app.py", PY),
        ],
        expect![[r#"
            F python3.12 app.handler [src] Python {}
            warning: ROOT/app.py: left out, as ROOT/template.yaml says which functions there are
        "#]],
    );
    check(
        &[("template.yaml", &template(".")), ("app.py", PY)],
        expect![[r#"
            F python3.12 app.handler [] Python {}
        "#]],
    );
}

#[test]
fn manifests_of_other_tools_are_named() {
    check(
        &[("app.py", PY), ("serverless.yml", "service: x")],
        expect![[r#"
            project python3.13 app.lambda_handler [] Python url {}
            warning: ROOT/serverless.yml: not read yet; functions are looked for by their files, and what it says of them has no effect
        "#]],
    );
}

#[test]
fn runtimes_are_the_newest_that_fit() {
    check(
        &[("app.py", PY), (".python-version", "3.11.7\n")],
        expect![[r#"
        project python3.11 app.lambda_handler [] Python url {}
    "#]],
    );
    check(
        &[
            ("app.py", PY),
            ("pyproject.toml", "[project]\nrequires-python='>=3.9,<3.13'"),
        ],
        expect![[r#"
        project python3.12 app.lambda_handler [] Python url {}
    "#]],
    );
    check(
        &[("app.py", PY), (".python-version", "2.7")],
        expect![[r#"
        project python3.13 app.lambda_handler [] Python url {}
        warning: ROOT/.python-version: no runtime is '2.7'; python3.13 is used
    "#]],
    );
    check(
        &[
            ("index.js", JS),
            ("package.json", r#"{"engines": {"node": "^20"}}"#),
        ],
        expect![[r#"
        project nodejs20.x index.handler [] Node url {}
    "#]],
    );
    check(
        &[("index.js", JS), (".nvmrc", "lts/*")],
        expect![[r#"
        project nodejs22.x index.handler [] Node url {}
    "#]],
    );
    let (_temporary, root) = folder(&[("app.py", PY)]);
    let mut options = options();
    options.has = Arc::new(
        |runtime| matches!(runtime, Runtime::Python { minor } if minor == 10 || minor == 11),
    );
    expect![[r#"
        project python3.11 app.lambda_handler [] Python url {}
    "#]]
    .assert_eq(&shown(read(&root, &options), &root));
}

#[test]
fn variables_come_from_files_beside_the_code() {
    let (_temporary, root) = folder(&[
        ("a/app.py", PY),
        ("a/.env", "ONE=own\nAWS_REGION=x"),
        (".env", "ONE=all\nTWO=all\nTHREE=all"),
        (
            "vars.json",
            r#"{"a": {"TWO": "json"}, "Parameters": {"THREE": "json"}, "b": {}}"#,
        ),
    ]);
    let mut options = options();
    options.env_vars = Some(root.join("vars.json"));
    expect![[r#"
        a python3.13 app.lambda_handler [a] Python url {"ONE": "own", "THREE": "json", "TWO": "json"}
        warning: ROOT/a/.env:2: AWS_REGION is set by the platform; left out
        warning: ROOT/vars.json: no function is named b
    "#]].assert_eq(&shown(read(&root, &options), &root));
}

#[test]
fn changes_are_told_apart_by_whom_they_concern() {
    let (_temporary, root) = folder(&[("a/app.py", PY), ("a/lib/x.py", ""), ("b/index.mjs", JS)]);
    let watch = read(&root, &options()).unwrap().watch;
    let check = |path: &str, expected: Option<Relevant>| {
        assert_eq!(watch.relevant(&root.join(path)), expected, "{path}");
    };
    check("a/lib/x.py", Some(Relevant::Functions(vec![0])));
    check("b/data.json", Some(Relevant::Functions(vec![1])));
    check("a/app.py", Some(Relevant::Project));
    check("b/package.json", Some(Relevant::Project));
    check(".env", Some(Relevant::Project));
    check("c", Some(Relevant::Project));
    check("c/app.py", Some(Relevant::Project));
    check("a/__pycache__/app.pyc", None);
    check("b/node_modules/x/index.js", None);
    check(".dayfly/store.db", None);
    check("c/deep/app.py", None);
    assert_eq!(
        watch.roots(),
        vec![root.clone(), root.join("a"), root.join("b")]
    );
    assert!(
        watch.enters(&root.join("a/lib")) && watch.enters(&root) && watch.enters(&root.join("c"))
    );
    assert!(!watch.enters(&root.join("b/node_modules")) && !watch.enters(&root.join(".dayfly")));
}

#[test]
fn a_change_concerns_its_own_function_or_all() {
    let (_temporary, root) = folder(&[("a/app.py", PY), ("b/index.mjs", JS)]);
    let watch = read(&root, &options()).unwrap().watch;
    let check = |path: &str, expected: [bool; 2]| {
        let path = root.join(path);
        let concerned = [0, 1].map(|function| watch.concerns(&path, function));
        assert_eq!(concerned, expected, "{path:?}");
    };
    check("a/app.py", [true, false]);
    check("b/lib.mjs", [false, true]);
    check("b/.env", [false, true]);
    check("b/node_modules/x.js", [false, false]);
    check(".env", [true, true]);
    check("c/app.py", [false, false]);
}

#[test]
fn changes_outside_of_a_source_that_is_built_from_them() {
    let template = r#"
Resources:
  Ts:
    Type: AWS::Serverless::Function
    Properties: {Runtime: nodejs20.x, Handler: index.handler, CodeUri: ts}
  Py:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.12, Handler: app.handler, CodeUri: py}
  Rs:
    Type: AWS::Serverless::Function
    Properties: {Runtime: provided.al2023, CodeUri: rs}
"#;
    let (_temporary, root) = folder(&[
        ("template.yaml", template),
        ("ts/index.ts", "import '../shared/x.js'; import './y'"),
        (
            "ts/package.json",
            r#"{"dependencies": {"lib": "file:../lib"}}"#,
        ),
        ("lib/index.js", ""),
        ("shared/x.ts", "import '../deep/z'"),
        ("deep/z.ts", ""),
        ("py/app.py", PY),
        ("py/requirements.txt", "-e ../common"),
        ("common/setup.py", ""),
        ("rs/Cargo.toml", "[dependencies]\none = {path = '../crate'}"),
        (
            "crate/Cargo.toml",
            "[dependencies]\none = {path = '../other'}",
        ),
        ("other/src/lib.rs", ""),
    ]);
    let watch = read(&root, &options()).unwrap().watch;
    let check = |path: &str, function: usize| {
        let expected = Some(Relevant::Functions(vec![function]));
        assert_eq!(watch.relevant(&root.join(path)), expected, "{path}");
    };
    check("shared/x.ts", 0);
    check("shared/new.ts", 0);
    check("deep/z.ts", 0);
    check("lib/index.js", 0);
    check("common/common.py", 1);
    check("crate/src/lib.rs", 2);
    check("other/src/lib.rs", 2);
    assert_eq!(watch.relevant(&root.join("else/x.ts")), None);
}

#[test]
fn changes_in_a_template_s_project() {
    let template = r#"
Resources:
  Base: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: base}}
  One:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.12, Handler: app.handler, CodeUri: src, Layers: [!Ref Base]}
  Two:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.12, Handler: app.handler, CodeUri: src}
"#;
    let (_temporary, root) = folder(&[
        ("template.yaml", template),
        ("src/app.py", PY),
        ("base/python/x.py", ""),
    ]);
    let watch = read(&root, &options()).unwrap().watch;
    let check = |path: &str, expected: Option<Relevant>| {
        assert_eq!(watch.relevant(&root.join(path)), expected, "{path}");
    };
    check("template.yaml", Some(Relevant::Project));
    check("src/.env", Some(Relevant::Project));
    check("src/app.py", Some(Relevant::Functions(vec![0, 1])));
    check("base/python/x.py", Some(Relevant::Functions(vec![0])));
    check("README.md", None);
    check("new/app.py", None);
}
