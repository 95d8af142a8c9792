//! What goes into a package as it is, or by rules of its own.

use super::*;

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
