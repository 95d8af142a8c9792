//! What Lambda's runtimes bring and a function first asks for while it runs. pip is the host's own
//! and finds a package of ours; npm is played.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engine::port::Started;

use crate::stories::{Story, stories};
use crate::world::{Function, World, shown};

pub(crate) const STORIES: &[(&str, Story)] = stories![
    python_asks_for_what_the_runtime_brings,
    node_asks_for_what_the_runtime_brings,
    an_import_asks_for_what_the_runtime_brings,
    the_old_sdk_comes_to_whoever_needs_it_and_nobody_else,
    a_fetch_takes_none_of_the_functions_time,
    what_a_function_starts_finds_what_was_fetched,
    what_cannot_be_fetched_is_told_with_its_reason,
    whoever_asks_for_more_gets_nothing,
];

/// Names the folder where pip looks for packages in these stories, and nowhere else.
pub(crate) const WHEELS: &str = "DAYFLY_TEST_WHEELS";

/// That folder.
pub(crate) fn pip_folder() -> PathBuf {
    std::env::temp_dir().join(format!("dayfly-wheels-{}", std::process::id()))
}

/// Has pip look there only.
pub(crate) fn without_index(command: &mut Command, folder: &Path) {
    command
        .env(WHEELS, folder)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", folder);
}

/// Puts a boto3 where pip finds it.
fn publish_boto3(python: &Path) {
    let folder = PathBuf::from(std::env::var_os(WHEELS).unwrap());
    let info = folder.join("boto3-1.0.dist-info");
    std::fs::create_dir_all(&info).unwrap();
    std::fs::create_dir_all(folder.join("boto3")).unwrap();
    std::fs::write(folder.join("boto3/__init__.py"), "FROM = 'runtime'").unwrap();
    let metadata = "Metadata-Version: 2.1\nName: boto3\nVersion: 1.0\n";
    std::fs::write(info.join("METADATA"), metadata).unwrap();
    let wheel = "Wheel-Version: 1.0\nGenerator: ours\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    std::fs::write(info.join("WHEEL"), wheel).unwrap();
    std::fs::write(info.join("RECORD"), "").unwrap();
    let made = Command::new(python)
        .args(["-m", "zipfile", "-c", "boto3-1.0-py3-none-any.whl", "boto3"])
        .arg("boto3-1.0.dist-info")
        .current_dir(&folder)
        .status();
    assert!(made.unwrap().success());
}

fn withdraw_boto3() {
    let folder = PathBuf::from(std::env::var_os(WHEELS).unwrap());
    let _ = std::fs::remove_file(folder.join("boto3-1.0-py3-none-any.whl"));
}

/// The same world with an npm that does this, called with `install --prefix FOLDER ... PACKAGE`;
/// and the folder of that.
fn with_npm(world: &World, runtime: &str, script: &str) -> (World, PathBuf) {
    let home = world.folder.join(format!("npm-{runtime}"));
    let _ = std::fs::remove_dir_all(&home);
    let bin = home.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let node = world.processes.interpreter(runtime.parse().unwrap());
    symlink(node.unwrap(), bin.join("node")).unwrap();
    let npm = format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n");
    std::fs::write(bin.join("npm"), npm).unwrap();
    std::fs::set_permissions(bin.join("npm"), PermissionsExt::from_mode(0o755)).unwrap();
    (world.at_home(&home), home)
}

/// An npm that knows every package.
const NPM: &str = "for name; do :; done; name=${name%@*}
p=$3/node_modules/$name; mkdir -p $p; echo $name >> ${0%/bin/npm}/fetched
echo \"{\\\"name\\\": \\\"$name\\\", \\\"main\\\": \\\"i.js\\\"}\" > $p/package.json
echo \"exports.FROM = '$name'\" > $p/i.js";

fn fetched(home: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(home.join("fetched")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn forget(world: &World) {
    let _ = std::fs::remove_dir_all(world.folder.join("cache/sdk"));
}

/// More than pip takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// What its caller sees of one invocation more.
async fn again(instance: &dyn engine::port::Instance, function: &Function, event: &str) -> String {
    shown(&instance.invoke(function.call(event)).await)
}

async fn python_asks_for_what_the_runtime_brings(world: World) {
    let runtime = "python3.11";
    let python = world.processes.interpreter(runtime.parse().unwrap());
    publish_boto3(&python.unwrap());
    let source = "import importlib, importlib.util, os, sys, threading
if os.environ.get('EARLY'):
    FOUND = importlib.import_module('bo' + 'to3').FROM
def handler(event, context):
    if event == 'child':
        child = os.fork()
        if child == 0:
            try:
                importlib.import_module('bo' + 'to3')
            except ImportError as error:
                os._exit(7 if 'first process' in str(error) else 8)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if event == 'threads':
        found = []
        look = lambda: found.append(importlib.import_module('bo' + 'to3').FROM)
        threads = [threading.Thread(target=look) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return found
    if event == 'look':
        return importlib.util.find_spec('bo' + 'to3') is not None
    module = importlib.import_module('bo' + 'to3')
    return [module.FROM, sys.path[-1] == os.path.dirname(os.path.dirname(module.__file__))]";
    let files = [("app.py", source)];
    // In the handler, however it is looked for.
    for (event, expected) in [
        ("1", r#"replied ["runtime", true]"#),
        (
            "\"threads\"",
            r#"replied ["runtime", "runtime", "runtime", "runtime"]"#,
        ),
        ("\"look\"", "replied true"),
    ] {
        forget(&world);
        let mut function = world.function(runtime, "app.handler", &files);
        function.timeout = LONG;
        let instance = function.instance().await;
        let seen = again(&*instance, &function, "\"child\"").await;
        assert_eq!(seen, "replied 7", "{}", function.log.text());
        let seen = again(&*instance, &function, event).await;
        let log = function.log.text();
        assert_eq!(seen, expected, "{log}");
        let told = "fetching boto3 for Python 3.11, which Lambda's runtime brings, once; the \
                    function's time stands still meanwhile\n";
        assert_eq!(log.matches(told).count(), 1, "{log}");
        // Everything is in order on the wire.
        for _ in 0..3 {
            let seen = again(&*instance, &function, "1").await;
            assert!(seen.starts_with(r#"replied ["runtime""#), "{seen}");
        }
        instance.stop().await;
    }
    // While it loads, and once it is there without asking.
    for (is_first, asks) in [(true, 1), (false, 0)] {
        if is_first {
            forget(&world);
        }
        let mut function = world.function(runtime, "app.handler", &files);
        function.init_timeout = LONG;
        let environment = &mut function.config.environment;
        environment.insert("EARLY".to_owned(), "1".to_owned());
        let seen = function.outcome("1").await;
        let log = function.log.text();
        assert!(seen.starts_with(r#"replied ["runtime""#), "{seen}\n{log}");
        assert_eq!(log.matches("fetching boto3").count(), asks, "{log}");
    }
    forget(&world);
    withdraw_boto3();
}

async fn node_asks_for_what_the_runtime_brings(world: World) {
    let (there, home) = with_npm(&world, "nodejs20.x", NPM);
    forget(&world);
    let source = "const name = ['@aws-sdk', 'client-s3'].join('/');
const early = process.env.EARLY && require(name).FROM;
exports.handler = async (event) => {
  if (event === 'early') return early;
  if (event === 'resolve') return require.resolve(['@smithy', 'types'].join('/')).endsWith('types/i.js');
  const found = [1, 2].map(() => require(event).FROM);
  return [...found, process.env._DAYFLY_SDK === undefined];
}";
    let files = [("index.js", source)];
    let function = there.function("nodejs20.x", "index.handler", &files);
    let instance = function.instance().await;
    for name in ["@aws-sdk/client-sqs", "@aws-sdk/client-sqs/i.js"] {
        let seen = again(&*instance, &function, &format!("\"{name}\"")).await;
        let log = function.log.text();
        let found = "\"@aws-sdk/client-sqs\"";
        assert_eq!(seen, format!("replied [{found},{found},true]"), "{log}");
        let told = "fetching @aws-sdk/client-sqs, which Lambda's runtime brings, once";
        assert_eq!(log.matches(told).count(), 1, "{log}");
    }
    let seen = again(&*instance, &function, "\"resolve\"").await;
    assert_eq!(seen, "replied true", "{}", function.log.text());
    instance.stop().await;
    // While it loads, and for the next without asking.
    for asks in [1, 0] {
        let mut function = there.function("nodejs20.x", "index.handler", &files);
        let environment = &mut function.config.environment;
        environment.insert("EARLY".to_owned(), "1".to_owned());
        let seen = function.outcome("\"early\"").await;
        let log = function.log.text();
        assert_eq!(seen, "replied \"@aws-sdk/client-s3\"", "{log}");
        assert_eq!(log.matches("fetching").count(), asks, "{log}");
    }
    // Several that ask at once.
    let functions: Vec<_> = (0..4)
        .map(|_| there.function("nodejs20.x", "index.handler", &files))
        .collect();
    let all = functions
        .iter()
        .map(|function| function.outcome("\"@aws-sdk/client-sns\""));
    for seen in futures_util::future::join_all(all).await {
        assert!(
            seen.starts_with("replied [\"@aws-sdk/client-sns\""),
            "{seen}"
        );
    }
    let expected = ["client-sqs", "", "client-s3", "client-sns"];
    let fetched = fetched(&home);
    assert_eq!(fetched.len(), expected.len(), "{fetched:?}");
    // What a function brings itself goes first, and what a layer does.
    let own = [
        ("index.js", source),
        (
            "node_modules/@aws-sdk/client-s3/index.js",
            "exports.FROM = 'own'",
        ),
    ];
    let mut function = there.function("nodejs20.x", "index.handler", &own);
    let seen = function.outcome("\"@aws-sdk/client-s3\"").await;
    assert_eq!(seen, r#"replied ["own","own",true]"#);
    let layer = [(
        "nodejs/node_modules/@aws-sdk/client-sqs/index.js",
        "exports.FROM = 'layer'",
    )];
    let layer = there.function("nodejs20.x", "", &layer);
    function.layers = vec![layer.code];
    let seen = function.outcome("\"@aws-sdk/client-sqs\"").await;
    assert_eq!(seen, r#"replied ["layer","layer",true]"#);
    forget(&world);
}

async fn an_import_asks_for_what_the_runtime_brings(world: World) {
    for runtime in ["nodejs20.x", "nodejs24.x"] {
        let (there, home) = with_npm(&world, runtime, NPM);
        forget(&world);
        let node = world.processes.interpreter(runtime.parse().unwrap());
        let has_hooks = Command::new(node.unwrap())
            .args([
                "-e",
                "process.exit(require('module').registerHooks ? 0 : 1)",
            ])
            .status()
            .unwrap()
            .success();
        // Nobody has looked at it ahead.
        let deep = "import { FROM } from '@aws-sdk/client-s3'; export const found = FROM;";
        let source = "import { found } from './lib/deep.mjs';
export const handler = async (name) => name ? (await import(name)).FROM : found;";
        let files = [("index.mjs", source), ("lib/deep.mjs", deep)];
        let function = there.function(runtime, "index.handler", &files);
        let name = "\"@aws-sdk/client-sqs\"";
        if world.lite == process::spawner::Lite::Always && !has_hooks {
            let seen = function.outcome("\"\"").await;
            assert!(
                seen.contains("cannot `import` it from where it is"),
                "{seen}"
            );
            forget(&world);
            continue;
        }
        let seen = function.outcome("\"\"").await;
        let log = function.log.text();
        assert_eq!(seen, "replied \"@aws-sdk/client-s3\"", "{log}");
        let told = "fetching @aws-sdk/client-s3, which Lambda's runtime brings, once";
        assert_eq!(log.matches(told).count(), 1, "{log}");
        let seen = function.outcome(name).await;
        if !has_hooks {
            let told = "it was fetched now, and is found the next time";
            assert!(seen.starts_with("failed") && seen.contains(told), "{seen}");
            assert_eq!(function.outcome(name).await, format!("replied {name}"));
        } else {
            assert_eq!(seen, format!("replied {name}"), "{}", function.log.text());
        }
        // It may have been asked for a Node.js, too.
        let mut fetched = fetched(&home);
        fetched.retain(|name| name.starts_with('@'));
        assert_eq!(fetched, ["@aws-sdk/client-s3", "@aws-sdk/client-sqs"]);
        forget(&world);
    }
}

async fn the_old_sdk_comes_to_whoever_needs_it_and_nobody_else(world: World) {
    let (there, home) = with_npm(&world, "nodejs20.x", NPM);
    forget(&world);
    let source = "exports.handler = async (event) => {
  if (event === 'installed') return require('library');
  if (event === 'layer') return require('old-helper').FROM;
  return require(['aws', 'sdk'].join('-') + event).FROM;
}";
    let optional =
        "try { require('aws-sdk'); module.exports = 'found' } catch { module.exports = 'none' }";
    let files = [
        ("index.js", source),
        ("node_modules/library/index.js", optional),
    ];
    let library = "nodejs/node_modules/old-helper/index.js";
    let layer = there.function(
        "nodejs20.x",
        "",
        &[(library, "module.exports = require('aws-sdk')")],
    );
    for (event, expected, fetches) in [
        ("installed", "none", 0),
        ("layer", "aws-sdk", 1),
        ("", "aws-sdk", 0),
        ("/i.js", "aws-sdk", 0),
        // Not even now.
        ("installed", "none", 0),
    ] {
        let mut function = there.function("nodejs20.x", "index.handler", &files);
        function.layers = vec![layer.code.clone()];
        let seen = function.outcome(&format!("{event:?}")).await;
        let log = function.log.text();
        assert_eq!(seen, format!("replied {expected:?}"), "{event}: {log}");
        let told = "fetching aws-sdk, which Lambda's runtimes brought up to nodejs16.x, once";
        assert_eq!(log.matches(told).count(), fetches, "{event}: {log}");
        let warned = log.matches("WARN\taws-sdk (version 2) is loaded").count();
        assert_eq!(warned, usize::from(expected != "none"), "{event}: {log}");
    }
    assert_eq!(fetched(&home), ["aws-sdk"]);
    forget(&world);
}

async fn what_a_function_starts_finds_what_was_fetched(world: World) {
    let (there, _) = with_npm(&world, "nodejs20.x", NPM);
    forget(&world);
    let source = "const { Worker } = require('worker_threads');
const { execFileSync } = require('child_process');
const name = ['@aws-sdk', 'client-s3'].join('/');
const find = `(() => { try { return require('${name}').FROM } catch (error) { return error.code } })()`;
exports.handler = async (event) => {
  if (event) require(name);
  const worker = new Worker(`require('worker_threads').parentPort.postMessage(${find})`, { eval: true });
  const inThread = await new Promise((resolve) => worker.on('message', resolve));
  const program = execFileSync(process.execPath, ['-p', find], { encoding: 'utf8' });
  return [inThread, program.trim()];
};";
    // A layer that brings something of the SDK would be hidden by what is at the root.
    let library = "nodejs/node_modules/@smithy/types/index.js";
    let layer = there.function("nodejs20.x", "", &[(library, "")]);
    for layers in [vec![], vec![layer.code]] {
        forget(&world);
        let files = [("index.js", source)];
        let mut function = there.function("nodejs20.x", "index.handler", &files);
        function.layers = layers;
        let instance = function.instance().await;
        let found = "@aws-sdk/client-s3";
        for (event, expected) in [
            ("false", "MODULE_NOT_FOUND"),
            ("true", found),
            ("false", found),
        ] {
            let seen = again(&*instance, &function, event).await;
            let expected = format!("replied [{expected:?},{expected:?}]");
            assert_eq!(seen, expected, "{event} {}", function.log.text());
        }
        instance.stop().await;
    }
    let runtime = "python3.11";
    let python = world.processes.interpreter(runtime.parse().unwrap());
    publish_boto3(&python.unwrap());
    forget(&world);
    let source = "import importlib, subprocess, sys
def handler(event, context):
    if event:
        importlib.import_module('bo' + 'to3')
    name = 'bo' + 'to3'
    code = 'try: import %s; print(%s.FROM)\\nexcept ImportError as error: print(error)' % (name, name)
    return subprocess.check_output([sys.executable, '-c', code.replace('try: ', 'try:\\n ')], text=True).strip()";
    let mut function = world.function(runtime, "app.handler", &[("app.py", source)]);
    function.timeout = LONG;
    let instance = function.instance().await;
    for (event, expected) in [("false", "No module named 'boto3'"), ("true", "runtime")] {
        let seen = again(&*instance, &function, event).await;
        assert_eq!(
            seen,
            format!("replied {expected:?}"),
            "{}",
            function.log.text()
        );
    }
    instance.stop().await;
    forget(&world);
    withdraw_boto3();
}

async fn a_fetch_takes_none_of_the_functions_time(world: World) {
    let slow = format!("/bin/sleep 2\n{NPM}");
    let (there, _) = with_npm(&world, "nodejs20.x", &slow);
    let source = "const name = (last) => ['@aws-sdk', 'client-' + last].join('/');
if (process.env.EARLY) require(name('s3'));
exports.handler = async (event, context) => {
  const before = context.getRemainingTimeInMillis();
  require(name('sqs'));
  try { require(name('sqs') + '/nothing'); } catch {}
  const after = context.getRemainingTimeInMillis();
  if (event === 'spin') for (;;) try { require(name('none')); } catch {}
  return before > 0 && before <= 1000 && after > 0 && after <= before || [before, after];
}";
    let files = [("index.js", source)];
    for early in [false, true] {
        forget(&world);
        let mut function = there.function("nodejs20.x", "index.handler", &files);
        function.timeout = Duration::from_secs(1);
        if early {
            let environment = &mut function.config.environment;
            environment.insert("EARLY".to_owned(), "1".to_owned());
            function.init_timeout = Duration::from_millis(1500);
        }
        let started = function.start().await;
        let Started::Ready {
            instance,
            start,
            init,
        } = started
        else {
            panic!("{started:?}\n{}", function.log.text());
        };
        let (own, waited) = (Duration::from_millis(1500), Duration::from_secs(2));
        assert_eq!(
            (init < own, start >= waited),
            (true, early),
            "{init:?}, {start:?}"
        );
        let mut call = function.call("1");
        call.deadline_ms = there.clock.now_ms() + 1000;
        let execution = instance.invoke(call).await;
        assert_eq!(shown(&execution), "replied true", "{}", function.log.text());
        assert!(
            execution.timings.handler < function.timeout,
            "{execution:?}"
        );
        assert!(execution.billed <= function.timeout, "{execution:?}");
        // What it does with its own time counts, whatever it asks for meanwhile.
        let execution = instance.invoke(function.call("\"spin\"")).await;
        let seen = shown(&execution);
        assert!(seen.contains("timed out after 1.00 seconds"), "{seen}");
    }
    // The same for Python, whose pip takes longer than that.
    let python = world.processes.interpreter("python3.11".parse().unwrap());
    publish_boto3(&python.unwrap());
    forget(&world);
    let source = "import importlib
def handler(event, context):
    before = context.get_remaining_time_in_millis()
    importlib.import_module('bo' + 'to3')
    after = context.get_remaining_time_in_millis()
    return 0 < after <= before or [before, after]";
    let mut function = world.function("python3.11", "app.handler", &[("app.py", source)]);
    function.timeout = Duration::from_millis(300);
    let instance = function.instance().await;
    let mut call = function.call("1");
    call.deadline_ms = world.clock.now_ms() + 300;
    let execution = instance.invoke(call).await;
    assert_eq!(shown(&execution), "replied true", "{}", function.log.text());
    assert!(
        execution.timings.handler < function.timeout,
        "{execution:?}"
    );
    instance.stop().await;
    forget(&world);
    withdraw_boto3();
}

async fn what_cannot_be_fetched_is_told_with_its_reason(world: World) {
    let offline = "echo x >> ${0%/bin/npm}/fetched; echo 'npm error offline' >&2; exit 1";
    let (there, home) = with_npm(&world, "nodejs20.x", offline);
    forget(&world);
    for (file, source) in [
        ("index.js", "require('@aws-sdk/' + 'client-s3')"),
        ("index.mjs", "import '@aws-sdk/client-s3'"),
        (
            "index.js",
            "exports.handler = async () => require('@aws-sdk/client-s3')",
        ),
        (
            "index.mjs",
            "export const handler = async () => import('@aws-sdk/client-s3')",
        ),
    ] {
        let function = there.function("nodejs20.x", "index.handler", &[(file, source)]);
        let seen = function.outcome("{}").await;
        for part in [
            "failed",
            "'@aws-sdk/client-s3'",
            "Lambda's runtime brings it, but it could not be fetched here: npm: offline",
            "put it into the package",
        ] {
            assert!(seen.contains(part), "{source}: {part} in {seen}");
        }
        // No flaw of the code's.
        if let Ok(Started::Failed { failed, .. }) = function.trial().await {
            assert_eq!(failed.flaw(), None, "{source}");
        }
    }
    assert_eq!(fetched(&home).len(), 1);
    // Python's pip finds nothing at all.
    withdraw_boto3();
    for source in [
        "import importlib\nimportlib.import_module('bo' + 'to3')",
        "import importlib\ndef handler(event, context):\n  importlib.import_module('bo' + 'to3')",
        "import importlib.util\ndef handler(event, context):\n  assert not importlib.util.find_spec('boto3')\n  import boto3",
    ] {
        let mut function = world.function("python3.11", "app.handler", &[("app.py", source)]);
        (function.init_timeout, function.timeout) = (LONG, LONG);
        let seen = function.outcome("{}").await;
        for part in [
            "No module named 'boto3': Lambda's runtime brings it, but it could not be fetched here: pip:",
            "No matching distribution",
            "put it into the package",
        ] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
    }
    forget(&world);
}

async fn whoever_asks_for_more_gets_nothing(world: World) {
    let (there, home) = with_npm(&world, "nodejs20.x", NPM);
    forget(&world);
    // By the launcher, which asks for no other names; and past it.
    let source = "const fs = require('fs');
const frame = (name) => {
  const bytes = Buffer.alloc(24 + name.length);
  bytes.writeUInt32LE(name.length, 0); bytes[4] = 1; bytes[5] = 13; bytes.write(name, 24);
  return bytes;
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
exports.handler = async (event) => {
  if (event === 'flood') {
    for (let i = 0; i < 50; i++) fs.writeSync(3, frame('left-pad'));
    return sleep(200);
  }
  if (event.startsWith('ask ')) {
    fs.writeSync(3, frame(event.slice(4)));
    return sleep(50);
  }
  try { require(event); } catch (error) { return error.message.split('\\n').length < 3 || error.message; }
}";
    let function = there.function("nodejs20.x", "index.handler", &[("index.js", source)]);
    let instance = function.instance().await;
    for event in [
        "left-pad",
        "@aws-sdk",
        "@aws-sdk/",
        "@aws-sdkx/client-s3",
        "@aws-sdk/Client",
        "@aws-sdk/client-s3@3.0.0",
        "aws-sdk-mock",
    ] {
        let seen = again(&*instance, &function, &format!("{event:?}")).await;
        assert!(!seen.contains("Lambda's runtime"), "{event}: {seen}");
        let seen = again(&*instance, &function, &format!("\"ask {event}\"")).await;
        assert_eq!(seen, "replied null", "{event}");
    }
    // However it ends, nothing comes of it.
    again(&*instance, &function, "\"flood\"").await;
    instance.stop().await;
    assert!(fetched(&home).is_empty());
    let days = std::fs::read_dir(world.folder.join("cache/sdk")).unwrap();
    for day in days.map(|day| day.unwrap().path()) {
        assert!(!day.join("node20/packages").exists());
    }
    forget(&world);
}
