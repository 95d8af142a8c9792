//! The stories.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use engine::port::{Runtime as _, Started};
use process::spawner::Lite;

use crate::streams::answers_are_streamed;
use crate::world::{World, shown};
use crate::{ahead, brought, clients, extensions};

pub(crate) type Story = fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), |world| Box::pin($name(world)))),*]
    };
}

pub(crate) use stories;

const STORIES: &[(&str, Story)] = stories![
    python_answers,
    node_answers,
    a_bootstrap_answers,
    a_bootstrap_of_a_layer_answers,
    time_runs_out,
    memory_runs_out,
    initialisation_goes_wrong,
    a_missing_bootstrap_is_named,
    an_instance_is_frozen_and_thawed,
    layers_are_seen,
    a_wrapper_starts_the_runtime,
    the_runtimes_sdk_comes_last,
    node_loads_the_runtimes_packages,
    a_layer_with_binaries_for_another_version_is_named,
    a_flood_of_output_ends,
    answers_are_streamed,
];

/// What takes namespaces.
const IN_JAILS: &[(&str, Story)] = stories![
    connections_to_the_outside_are_carried,
    a_trial_has_nothing_to_call_with,
    a_home_with_interpreters_in_it_is_not_seen,
    node_sees_its_machine,
    the_network_cannot_be_changed,
];

/// Runs the stories whose name holds `filter`, in jails and without; how many failed.
pub(crate) async fn run(filter: &str, clients: Option<&Path>) -> usize {
    if clients.is_none() {
        println!("lambda: the public clients are not tried; `cargo xtask test` sets them up");
    }
    run_in(filter, Lite::Never, clients).await + run_in(filter, Lite::Always, clients).await
}

async fn run_in(filter: &str, lite: Lite, clients: Option<&Path>) -> usize {
    let mut world = World::new(lite);
    world.clients = clients.map(Path::to_owned);
    let with_clients = clients.map_or(&[][..], |_| clients::STORIES);
    let mut failed = 0;
    let in_jails = if lite == Lite::Never { IN_JAILS } else { &[] };
    let ahead = if lite == Lite::Never {
        ahead::STORIES
    } else {
        &[]
    };
    let stories = STORIES
        .iter()
        .chain(ahead)
        .chain(extensions::STORIES)
        .chain(brought::STORIES)
        .chain(with_clients)
        .chain(in_jails);
    for (name, story) in stories.filter(|(name, _)| name.contains(filter)) {
        let ran = tokio::spawn(story(world.clone())).await;
        println!(
            "lambda, lite {lite:?}: {name} ... {}",
            if ran.is_ok() { "ok" } else { "FAILED" }
        );
        failed += usize::from(ran.is_err());
    }
    world.end().await;
    failed
}

const PYTHON: &str =
    "def handler(event, context):\n    print('hi')\n    return {'hello': event['name']}";
const NODE: &str =
    "exports.handler = async (event) => { console.log('hi'); return { hello: event.name } }";
pub(crate) const BOOTSTRAP: &str = r#"#!/bin/bash
address=${AWS_LAMBDA_RUNTIME_API%%/*}
base=${AWS_LAMBDA_RUNTIME_API#"$address"}/2018-06-01/runtime
exec 5<>"/dev/tcp/${address/://}"
ask() {
    printf '%s\r\nHost: a\r\nContent-Length: %s\r\n\r\n%s' "$1 HTTP/1.1" "${#2}" "$2" >&5
    length=0
    while IFS= read -r line <&5; do
        line=${line%$'\r'}
        case "${line,,}" in
            content-length:*) length=${line#*: } ;;
            lambda-runtime-aws-request-id:*) id=${line#*: } ;;
            '') break ;;
        esac
    done
    body=
    [ "$length" = 0 ] || IFS= read -r -N "$length" body <&5
}
while true; do
    ask "GET $base/invocation/next" ''
    echo "working on $id"
    ask "POST $base/invocation/$id/response" "$body"
done
"#;

async fn python_answers(world: World) {
    answers(
        &world,
        "python3.11",
        "app.handler",
        &[("app.py", PYTHON)],
        "\"hello\": \"you\"",
    )
    .await;
}

async fn node_answers(world: World) {
    answers(
        &world,
        "nodejs20.x",
        "index.handler",
        &[("index.js", NODE)],
        "\"hello\":\"you\"",
    )
    .await;
}

async fn a_bootstrap_answers(world: World) {
    answers(
        &world,
        "provided.al2023",
        "",
        &[("bootstrap", BOOTSTRAP)],
        "\"name\": \"you\"",
    )
    .await;
}

async fn a_bootstrap_of_a_layer_answers(world: World) {
    let mut function = world.function("provided.al2023", "app.handler", &[("app.sh", "")]);
    let last = BOOTSTRAP.replace("working on", "the last layer's, working on");
    for text in [BOOTSTRAP, &last] {
        let layer = world.function("provided.al2023", "", &[("bootstrap", text)]);
        function.layers.push(layer.code);
    }
    assert_eq!(function.outcome("5").await, "replied 5");
    let log = function.log.text();
    assert!(log.contains("the last layer's, working on"), "{log}");
}

async fn answers(
    world: &World,
    runtime: &str,
    handler: &str,
    files: &[(&str, &str)],
    expected: &str,
) {
    let function = world.function(runtime, handler, files);
    let instance = function.instance().await;
    for _ in 0..3 {
        let execution = instance.invoke(function.call(r#"{"name": "you"}"#)).await;
        let seen = shown(&execution);
        assert!(
            seen.starts_with("replied") && seen.contains(expected),
            "{seen}\n{}",
            function.log.text()
        );
        let tail = String::from_utf8(execution.log_tail.unwrap().to_vec()).unwrap();
        let lines: Vec<_> = tail
            .lines()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(
            (lines.first(), lines.len(), lines.last()),
            (Some(&"START"), 4, Some(&"REPORT")),
            "{tail}"
        );
    }
    assert!(instance.memory_bytes().is_none_or(|bytes| bytes > 0));
    assert!(instance.is_alive());
    instance.stop().await;
    assert!(!instance.is_alive());
}

async fn time_runs_out(world: World) {
    let mut function = world.function(
        "python3.11",
        "app.handler",
        &[(
            "app.py",
            "import time\ndef handler(e, c):\n    print('busy'); time.sleep(60)",
        )],
    );
    function.timeout = Duration::from_secs(1);
    let seen = function.outcome("{}").await;
    assert_eq!(
        seen,
        r#"timed_out {"errorType":"Sandbox.Timedout","errorMessage":"RequestId: ID Error: Task timed out after 1.00 seconds"}"#
    );
    let log = function.log.text();
    assert!(
        log.contains("\nbusy\n") && log.contains("Task timed out after 1.00 seconds\nEND "),
        "{log}"
    );
    assert!(
        log.contains("\tDuration: 1000.00 ms\tBilled Duration: 1000 ms\t")
            && log.contains("\tStatus: timeout\n"),
        "{log}"
    );
}

async fn memory_runs_out(world: World) {
    let function = world.function(
        "python3.11",
        "app.handler",
        &[(
            "app.py",
            "def handler(e, c):\n    x = bytearray(400 << 20)\n    return len(x)",
        )],
    );
    let seen = function.outcome("{}").await;
    let log = function.log.text();
    assert!(
        seen.starts_with("out_of_memory") && seen.contains("signal: killed"),
        "{seen}\n{log}"
    );
    assert!(
        log.contains("Max Memory Used: 128 MB\tStatus: error\tError Type: Runtime.OutOfMemory\n"),
        "{log}"
    );
}

async fn initialisation_goes_wrong(world: World) {
    let check = async |source: &str, expected: &str, logged: &str| {
        let mut function = world.function("python3.11", "app.handler", &[("app.py", source)]);
        function.init_timeout = Duration::from_secs(2);
        let seen = function.outcome("{}").await;
        assert!(seen.starts_with(expected), "{seen}");
        let log = function.log.text();
        assert!(log.contains(logged), "{log}");
    };
    check(
        "import nothing_such",
        "failed {\"errorMessage\": \"Unable to import",
        "Phase: init\tStatus: error\tError Type: Runtime.ImportModuleError",
    )
    .await;
    // Within an invocation it is its time.
    let mut function = world.function(
        "python3.11",
        "app.handler",
        &[("app.py", "import nothing_such")],
    );
    function.in_invocation = true;
    let seen = function.outcome("{}").await;
    assert!(seen.contains("Unable to import"), "{seen}");
    let log = function.log.text();
    let phase = "Phase: invoke\tStatus: error\tError Type: Runtime.ImportModuleError";
    assert!(log.contains(phase) && !log.contains("INIT_START"), "{log}");
    assert!(!log.contains("\tDuration: 0.00 ms"), "{log}");
    check(
        "import os; os._exit(3)",
        "crashed {\"errorType\":\"Runtime.ExitError\"",
        "Phase: init\tStatus: error\tError Type: Runtime.ExitError",
    )
    .await;
    check(
        "while True: pass",
        r#"timed_out {"errorType":"Sandbox.Timedout","errorMessage":"RequestId: ID Error: Task timed out after 3.00 seconds"}"#,
        "Task timed out after 3.00 seconds\nEND RequestId",
    )
    .await;
    check(
        "import os; os.write(3, b'#' * 64)",
        "crashed",
        "Error Type: Runtime.ExitError",
    )
    .await;
}

async fn a_missing_bootstrap_is_named(world: World) {
    let seen = world
        .function("provided.al2023", "", &[])
        .outcome("{}")
        .await;
    assert_eq!(
        seen,
        r#"crashed {"errorType":"Runtime.InvalidEntrypoint","errorMessage":"RequestId: ID Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"}"#
    );
    let seen = world
        .function("provided.al2", "", &[("bootstrap", "#!/bin/sh\nexit 127")])
        .outcome("{}")
        .await;
    assert!(seen.contains("exit status 127"), "{seen}");
}

async fn an_instance_is_frozen_and_thawed(world: World) {
    let function = world.function("python3.11", "app.handler", &[("app.py", PYTHON)]);
    let instance = function.instance().await;
    instance.freeze().await;
    instance.freeze().await;
    let execution = instance.invoke(function.call(r#"{"name": "you"}"#)).await;
    assert!(
        shown(&execution).starts_with("replied"),
        "{}",
        shown(&execution)
    );
    instance.freeze().await;
    instance.stop().await;
    instance.gone().await;
}

/// It initialises without credentials, network and extensions, and what its code lacks is named.
async fn a_trial_has_nothing_to_call_with(world: World) {
    let flaw = async |code: &str| {
        let mut function = world.function("python3.11", "app.handler", &[("app.py", code)]);
        function.config.network = model::Network::Outside;
        match function.trial().await.unwrap() {
            Started::Ready { instance, .. } => {
                instance.stop().await;
                Ok(())
            }
            Started::Failed { failed, .. } | Started::TimedOut { failed } => Err(failed.flaw()),
        }
    };
    let alone = r#"
import os, socket
assert not [name for name in os.environ if name.startswith(('AWS_SECRET', 'AWS_ACCESS', 'AWS_SESSION'))]
for address in [('127.0.0.1', 4566), ('192.0.2.1', 80), ('192.0.0.8', 80)]:
    try:
        socket.create_connection(address, 5)
        raise SystemExit(f'reached {address}')
    except OSError as error:
        assert not isinstance(error, TimeoutError), error
def handler(event, context): pass
"#;
    assert_eq!(flaw(alone).await, Ok(()));
    let missing = flaw("def handel(event, context): pass").await;
    let missing = missing.unwrap_err().unwrap();
    assert!(
        missing.starts_with("Runtime.HandlerNotFound: "),
        "{missing}"
    );
    let module = flaw("import nowhere").await.unwrap_err().unwrap();
    assert!(
        module.starts_with("Runtime.ImportModuleError: "),
        "{module}"
    );
    let syntax = flaw("def handler(:").await.unwrap_err().unwrap();
    assert!(
        syntax.starts_with("Runtime.UserCodeSyntaxError: "),
        "{syntax}"
    );
    for import in ["nowhere", "./nowhere.mjs"] {
        let code = format!("import x from '{import}'; export const handler = async () => 1;");
        let files = [("index.mjs", code.as_str())];
        let function = world.function("nodejs20.x", "index.handler", &files);
        let Started::Failed { failed, .. } = function.trial().await.unwrap() else {
            panic!("{import} was found");
        };
        let told = failed.flaw().unwrap();
        assert!(told.starts_with("Error: Cannot find "), "{told}");
    }
    // What it missed may only be what a trial does not have.
    assert_eq!(flaw("raise OSError('no network')").await, Err(None));
    assert_eq!(flaw("raise SystemExit(1)").await, Err(None));
}

async fn layers_are_seen(world: World) {
    // Without a jail the layers are elsewhere.
    let source = "import mine, os, sys\nOPT = os.path.dirname(os.environ['NOTE'])\n\
        def handler(e, c): return [mine.NAME, open(os.environ['NOTE']).read(), \
        sys.path[0] == os.environ['LAMBDA_TASK_ROOT'], \
        [path.replace(OPT, '/opt') for path in sys.path[1:3]]]";
    let mut function = world.function("python3.11", "app.handler", &[("app.py", source)]);
    let first = world.function(
        "python3.11",
        "x.x",
        &[("python/mine.py", "NAME = 'first'"), ("note", "one")],
    );
    let second = world.function(
        "python3.11",
        "x.x",
        &[
            ("python/lib/python3.11/site-packages/other.py", ""),
            ("note", "two"),
        ],
    );
    function.layers = vec![first.code, second.code];
    function
        .config
        .environment
        .insert("NOTE".to_owned(), "/opt/note".to_owned());
    let seen = function.outcome("{}").await;
    assert_eq!(
        seen,
        r#"replied ["first", "two", true, ["/opt/python/lib/python3.11/site-packages", "/opt/python"]]"#
    );
}

async fn a_wrapper_starts_the_runtime(world: World) {
    let wrapper = "#!/bin/bash
export WRAPPED=\"$(basename \"$1\")\" PYTHONPATH=${0%/*}/more:$PYTHONPATH
exec \"$@\"";
    let custom = "import os; os.environ['CUSTOM'] = 'yes'";
    let layer = world.function(
        "nodejs20.x",
        "",
        &[("wrap", wrapper), ("more/sitecustomize.py", custom)],
    );
    let check = async |runtime: &str, handler: &str, files: &[(&str, &str)], wrapper, expected| {
        let mut function = world.function(runtime, handler, files);
        function.layers = vec![layer.code.clone()];
        let variables = &mut function.config.environment;
        variables.insert("AWS_LAMBDA_EXEC_WRAPPER".to_owned(), String::from(wrapper));
        let seen = function.outcome("{}").await;
        assert_eq!(seen, expected, "{}", function.log.text());
        function.log.text()
    };
    let python =
        "import os\ndef handler(e, c): return [os.environ['WRAPPED'], os.environ['CUSTOM']]";
    let python = ("app.py", python);
    let (name, handler) = ("python3.11", "app.handler");
    let expected = r#"replied ["python3.11", "yes"]"#;
    check(name, handler, &[python], "/opt/wrap", expected).await;
    let node = "exports.handler = async () => process.env.WRAPPED";
    let node = [("index.js", node), ("bin/wrap", wrapper)];
    let wrapper = "/var/task/bin/wrap";
    check(
        "nodejs20.x",
        "index.handler",
        &node,
        wrapper,
        "replied \"node\"",
    )
    .await;
    let plain = layer.code.join("more/sitecustomize.py");
    std::fs::set_permissions(&plain, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let exited = |status| {
        format!(
            r#"crashed {{"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited with error: exit status {status}"}}"#
        )
    };
    let (missing, unable) = (exited(127), exited(126));
    let log = check(name, handler, &[python], "/opt/none", &missing).await;
    assert!(log.contains("/none: does not exist\n"), "{log}");
    let log = check(
        name,
        handler,
        &[python],
        "/opt/more/sitecustomize.py",
        &unable,
    )
    .await;
    assert!(
        log.contains("sitecustomize.py: is not an executable\n"),
        "{log}"
    );
    // Whoever brings a runtime decides by itself.
    let bootstrap = ("bootstrap", BOOTSTRAP);
    let log = check("provided.al2", "", &[bootstrap], "/opt/none", "replied {}").await;
    assert!(!log.contains("does not exist"), "{log}");
}

async fn the_runtimes_sdk_comes_last(world: World) {
    let source = "import sys
def handler(event, context):
    import importlib.util
    there = importlib.util.find_spec('boto3') is not None
    import boto3
    return [there, boto3.FROM, sys.path.index(boto3.__path__[0].rpartition('/')[0]) == len(sys.path) - 1, '_DAYFLY_SDK' in __import__('os').environ]";
    let function = world.function("python3.11", "app.handler", &[("app.py", source)]);
    let today = world.clock.now_ms() / (24 * 60 * 60 * 1000);
    let cache = format!("cache/sdk/day-{today}/python3.11/packages/boto3");
    let cache = world.folder.join(cache);
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("__init__.py"), "FROM = 'runtime'").unwrap();
    let seen = function.outcome("{}").await;
    assert_eq!(
        seen,
        r#"replied [true, "runtime", true, false]"#,
        "{}",
        function.log.text()
    );
    let own = [("app.py", source), ("boto3/__init__.py", "FROM = 'own'")];
    let function = world.function("python3.11", "app.handler", &own);
    let seen = function.outcome("{}").await;
    assert!(seen.starts_with(r#"replied [true, "own""#), "{seen}");
    std::fs::remove_dir_all(world.folder.join("cache/sdk")).unwrap();
}

async fn node_loads_the_runtimes_packages(world: World) {
    let own = |kind: &str| match kind {
        "mjs" => {
            "import { FROM } from '@aws-sdk/client-s3';\nexport const handler = async () => FROM;"
        }
        _ => "const { FROM } = require('@aws-sdk/client-s3'); exports.handler = async () => FROM;",
    };
    // Without a jail only what goes by NODE_PATH is found.
    let kinds = if world.lite == Lite::Never {
        &["js", "mjs"][..]
    } else {
        &["js"]
    };
    for kind in kinds {
        let name = format!("index.{kind}");
        let mut function = world.function("nodejs20.x", "index.handler", &[(&name, own(kind))]);
        let examined = async |function: &crate::world::Function| {
            let (config, code) = (&function.config, &function.code);
            world.processes.examine(config, code, &[]).await.unwrap()
        };
        // A host without npm's registry: the folder is filled by hand.
        let home = world.folder.join("npm-home");
        std::fs::create_dir_all(home.join("bin")).unwrap();
        let npm = "#!/bin/sh
p=$3/node_modules/@aws-sdk/client-s3; mkdir -p $p
echo '{\"name\": \"@aws-sdk/client-s3\", \"main\": \"i.js\"}' > $p/package.json
echo \"exports.FROM = 'runtime'\" > $p/i.js";
        let node = world
            .processes
            .interpreter("nodejs20.x".parse().unwrap())
            .unwrap();
        let _ = std::os::unix::fs::symlink(&node, home.join("bin/node"));
        std::fs::write(home.join("bin/npm"), npm).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(home.join("bin/npm"), mode).unwrap();
        for folder in ["/usr/bin", "/bin"] {
            let mkdir = Path::new(folder).join("mkdir");
            let _ = std::os::unix::fs::symlink(mkdir, home.join("bin/mkdir"));
        }
        let there = world.at_home(&home);
        let (config, code) = (&function.config, &function.code);
        let warnings = there.processes.examine(config, code, &[]).await.unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        function.config.description = "the same code".to_owned();
        let seen = function.outcome("{}").await;
        assert_eq!(seen, "replied \"runtime\"", "{}", function.log.text());
        assert!(examined(&function).await.is_empty());
        std::fs::remove_dir_all(world.folder.join("cache/sdk")).unwrap();
    }
}

async fn a_home_with_interpreters_in_it_is_not_seen(world: World) {
    // Not below `/tmp`, from which nothing can be executed inside, and where anybody may write.
    let home = Path::new("/var/tmp").join(format!("dayfly-home-{}", std::process::id()));
    let bin = home.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::create_dir_all(home.join("lib")).unwrap();
    std::fs::write(home.join("secret"), "seen").unwrap();
    let here = |runtime: &str| {
        world
            .processes
            .interpreter(runtime.parse().unwrap())
            .unwrap()
    };
    std::fs::copy(here("nodejs20.x"), bin.join("node")).unwrap();
    let python = here("python3.11");
    let program = bin.join(python.file_name().unwrap());
    std::fs::copy(&python, program).unwrap();
    for entry in std::fs::read_dir(python.parent().unwrap().join("../lib"))
        .unwrap()
        .flatten()
    {
        let name = entry.file_name();
        if name.to_string_lossy().contains("python3") {
            std::os::unix::fs::symlink(
                entry.path().canonicalize().unwrap(),
                home.join("lib").join(name),
            )
            .unwrap();
        }
    }
    let world = world.at_home(&home);
    let secret = home.join("secret");
    for (runtime, handler, file, source) in [
        (
            "nodejs20.x",
            "index.handler",
            "index.js",
            "const fs = require('fs');
             const look = (path) => { try { return fs.readFileSync(path, 'utf8') } catch (e) { return e.code } };
             exports.handler = async (path) => [process.execPath, look(path)];",
        ),
        (
            "python3.11",
            "app.handler",
            "app.py",
            "import ctypes, hashlib, os, sqlite3, ssl, sys
def handler(path, context):
    try:
        seen = open(path).read()
    except OSError as error:
        seen = 'ENOENT' if error.errno == 2 else str(error)
    return [os.path.realpath(sys.executable), seen]",
        ),
    ] {
        let function = world.function(runtime, handler, &[(file, source)]);
        let path = serde_json::to_string(&secret).unwrap();
        let seen = function.outcome(&path).await;
        assert!(
            seen.starts_with(&format!("replied [\"{}/", bin.display())) && seen.contains("\"ENOENT\""),
            "{seen}\n{}",
            function.log.text()
        );
    }
    std::fs::remove_dir_all(home).unwrap();
}

async fn a_layer_with_binaries_for_another_version_is_named(world: World) {
    let home = world.folder.join("other-home");
    std::fs::create_dir_all(home.join("bin")).unwrap();
    let python = world
        .processes
        .interpreter("python3.11".parse().unwrap())
        .unwrap();
    std::os::unix::fs::symlink(python, home.join("bin/python3")).unwrap();
    let world = world.at_home(&home);
    let function = world.function("python3.9", "app.handler", &[("app.py", PYTHON)]);
    let layer = world.function(
        "python3.9",
        "",
        &[("python/_x.cpython-39-x86_64-linux-gnu.so", "")],
    );
    let examine = async |layers: &[std::path::PathBuf]| {
        let examined = world
            .processes
            .examine(&function.config, &function.code, layers);
        examined.await.map_err(|cannot| cannot.reason)
    };
    assert_eq!(examine(&[]).await.unwrap().len(), 1);
    let refused = examine(&[layer.code]).await.unwrap_err();
    assert!(
        refused.contains("python/_x.cpython-39-x86_64-linux-gnu.so"),
        "{refused}"
    );
}

async fn node_sees_its_machine(world: World) {
    let source = "const os = require('os'), dns = require('dns');
        exports.handler = async () => {
          const lo = os.networkInterfaces().lo.map((one) => one.address);
          const { address } = await dns.promises.lookup('localhost', { family: 4, hints: dns.ADDRCONFIG });
          return [lo.includes('127.0.0.1'), address, os.cpus().length === os.availableParallelism()];
        };";
    let function = world.function("nodejs20.x", "index.handler", &[("index.js", source)]);
    let seen = function.outcome("{}").await;
    assert_eq!(
        seen,
        r#"replied [true,"127.0.0.1",true]"#,
        "{}",
        function.log.text()
    );
}

async fn the_network_cannot_be_changed(world: World) {
    // Loopback down, then a dump of the interfaces.
    let source = "import errno, socket, struct
def ask(kind, flags, body):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
        s.send(struct.pack('=IHHII', 16 + len(body), kind, flags, 1, 0) + body)
        answer = s.recv(65536)
    kind = struct.unpack_from('=H', answer, 4)[0]
    return errno.errorcode.get(-struct.unpack_from('=i', answer, 16)[0]) if kind == 2 else 'told'
def handler(event, context):
    link = struct.pack('=BxHiII', 0, 0, 1, 0, 1)
    return [ask(16, 5, link), ask(18, 0x301, link)]";
    let function = world.function("python3.11", "app.handler", &[("app.py", source)]);
    let seen = function.outcome("{}").await;
    assert_eq!(
        seen,
        r#"replied ["EPERM", "told"]"#,
        "{}",
        function.log.text()
    );
}

async fn a_flood_of_output_ends(world: World) {
    let mut function = world.function(
        "python3.11",
        "app.handler",
        &[(
            "app.py",
            "import os\ndef handler(e, c):\n    while True: os.write(1, b'spam\\n' * 4000)",
        )],
    );
    function.timeout = Duration::from_secs(2);
    let started = function.start().await;
    let Started::Ready { instance, .. } = started else {
        panic!("{started:?}")
    };
    let execution = instance.invoke(function.call("{}")).await;
    assert!(shown(&execution).starts_with("timed_out"));
    let log = function.log.text();
    assert!(log.len() < 40 << 20, "{} bytes of log", log.len());
    assert!(log.contains("were dropped"));
    instance.stop().await;
}

const CLIENT: &str = r#"
import socket
def attempt(action):
    try:
        return action()
    except OSError as error:
        return type(error).__name__
def talk(address):
    with socket.create_connection(address, 5) as connection:
        connection.sendall(b'hello')
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(100).decode()
def handler(port, context):
    return [
        attempt(lambda: socket.gethostbyname('host.docker.internal')),
        attempt(lambda: socket.gethostbyname('x.lambda-url.eu-west-1.localhost')),
        attempt(lambda: talk(('host.docker.internal', port))),
        attempt(lambda: talk(('169.254.169.254', 80))),
        attempt(lambda: socket.getaddrinfo('host.docker.internal', 80, socket.AF_INET6)),
    ]
"#;

async fn connections_to_the_outside_are_carried(world: World) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        stream.write_all(b"heard ").await.unwrap();
        stream.write_all(&heard).await.unwrap();
    });
    let mut function = world.function("python3.11", "app.handler", &[("app.py", CLIENT)]);
    function.config.network = model::Network::Outside;
    let seen = function.outcome(&port).await;
    assert_eq!(
        seen,
        r#"replied ["192.0.0.8", "127.0.0.1", "heard hello", "ConnectionResetError", "gaierror"]"#
    );
    server.await.unwrap();
    let log = function.log.text();
    assert!(
        log.contains("network: connect to 169.254.169.254:80: functions may not reach link-local"),
        "{log}"
    );

    function.config.network = model::Network::PlatformOnly;
    let seen = function.outcome(&port).await;
    assert!(
        !seen.contains("heard") && !seen.contains("192.0.0.8"),
        "{seen}"
    );
}
