//! Rust programs.

use super::*;

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
