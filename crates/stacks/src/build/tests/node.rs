//! Dependencies of Node.js, build scripts and bundles.

use super::*;

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
