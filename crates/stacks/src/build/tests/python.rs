//! Dependencies of Python, by every file that may name them.

use super::*;

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
