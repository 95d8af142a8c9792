//! Stories of extensions, which run beside the runtime and inside it.

use std::time::Duration;

use process::spawner::Lite;

use crate::stories::{Story, stories};
use crate::world::{Function, World, shown};

pub(crate) const STORIES: &[(&str, Story)] = stories![
    an_extension_is_told_of_everything,
    an_answer_does_not_wait_for_extensions,
    extensions_go_wrong_at_the_start,
    extensions_go_wrong_later,
    an_extension_has_its_time_to_end,
    an_extension_inside_the_runtime_is_told_too,
    extensions_watch_a_bootstrap,
    telemetry_comes_to_who_asks_for_it,
    a_flood_of_telemetry_ends,
];

/// An extension that does as its function's `MODE` says.
pub(crate) const EXTENSION: &str = r#"#!/usr/bin/env python3
import http.client, json, os, signal, sys, time
MODE = os.environ.get('MODE', '')
NAME = os.path.basename(__file__)
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
def ask(method, path, body='', **headers):
    headers = {name.replace('_', '-'): value for name, value in headers.items()}
    api.request(method, '/2020-01-01/extension/' + path, body, headers)
    response = api.getresponse()
    text = response.read().decode()
    return response, text
if MODE == 'silent': time.sleep(600)
if MODE == 'gone': sys.exit(3)
events = ['INVOKE'] if 'deaf' in MODE else ['INVOKE', 'SHUTDOWN']
response, text = ask('POST', 'register', json.dumps({'events': events}),
    Lambda_Extension_Name=NAME, Lambda_Extension_Accept_Feature='accountId')
print(NAME, 'registered', response.status, text, flush=True)
me = {'Lambda_Extension_Identifier': response.headers['Lambda-Extension-Identifier']}
if MODE == 'unable':
    print(ask('POST', 'init/error', '{}', Lambda_Extension_Function_Error_Type='Extension.Mine', **me)[1])
    sys.exit(4)
if MODE == 'stuck': time.sleep(600)
while True:
    response, text = ask('GET', 'event/next', **me)
    event = json.loads(text)
    print(NAME, event['eventType'], event.get('shutdownReason', event.get('invokedFunctionArn')), flush=True)
    if event['eventType'] == 'SHUTDOWN':
        if MODE == 'clinging': time.sleep(600)
        print(NAME, 'is done', flush=True)
        sys.exit(0)
    if MODE == 'slow': time.sleep(0.4)
    if MODE == 'endless': time.sleep(600)
    if MODE == 'crash' and NAME == 'watch': os.kill(os.getpid(), signal.SIGSEGV)
    if MODE == 'late crash' and NAME == 'watch': time.sleep(0.3); sys.exit(5)
    if MODE == 'leave': ask('POST', 'exit/error', '{}', Lambda_Extension_Function_Error_Type='Extension.Mine', **me); sys.exit(6)
"#;

const PYTHON: &str = "import time
def handler(event, context):
    time.sleep(event.get('sleep', 0))
    return 'answer'";

fn watched(world: &World, mode: &str, names: &[&str]) -> Function {
    let mut function = world.function("python3.11", "app.handler", &[("app.py", PYTHON)]);
    let paths: Vec<_> = names
        .iter()
        .map(|name| format!("extensions/{name}"))
        .collect();
    let files: Vec<_> = paths
        .iter()
        .map(|path| (path.as_str(), EXTENSION))
        .collect();
    let layer = world.function("python3.11", "", &files);
    function.layers = vec![layer.code];
    let variables = &mut function.config.environment;
    variables.insert("MODE".to_owned(), mode.to_owned());
    function
}

async fn an_extension_is_told_of_everything(world: World) {
    let function = watched(&world, "", &["watch", "deaf one"]);
    let instance = function.instance().await;
    for _ in 0..2 {
        let execution = instance.invoke(function.call("{}")).await;
        assert_eq!(
            shown(&execution),
            "replied \"answer\"",
            "{}",
            function.log.text()
        );
        assert!(instance.settling().is_none());
    }
    instance.freeze().await;
    instance.stop().await;
    let log = function.log.text();
    for (part, times) in [
        (
            "watch registered 200 {\"accountId\":\"000000000000\",\"functionName\":\"greet\",\"functionVersion\":\"$LATEST\",\"handler\":\"app.handler\"}\n",
            1,
        ),
        (
            "EXTENSION\tName: watch\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n",
            1,
        ),
        (
            "watch INVOKE arn:aws:lambda:eu-west-1:000000000000:function:greet\n",
            2,
        ),
        ("deaf one INVOKE", 2),
        ("watch SHUTDOWN spindown\n", 1),
        ("watch is done\n", 1),
        ("REPORT RequestId", 2),
    ] {
        assert_eq!(log.matches(part).count(), times, "{part}: {log}");
    }
}

async fn an_answer_does_not_wait_for_extensions(world: World) {
    let function = watched(&world, "slow", &["watch"]);
    let instance = function.instance().await;
    let mut call = function.call("{}");
    call.tail = false;
    let execution = instance.invoke(call).await;
    assert_eq!(shown(&execution), "replied \"answer\"");
    assert!(
        execution.timings.handler < Duration::from_millis(400),
        "{execution:?}"
    );
    assert!(!function.log.text().contains("REPORT"));
    let busy = instance.invoke(function.call("{}")).await;
    assert!(shown(&busy).starts_with("fault"), "{busy:?}");
    let settled = instance.settling().unwrap().await.unwrap();
    assert!(settled.handler >= Duration::from_millis(400), "{settled:?}");
    assert!(settled.billed >= Duration::from_millis(400), "{settled:?}");
    assert_eq!(function.log.text().matches("\nREPORT").count(), 1);
    // Whoever wants the end of the log waits for it.
    let execution = instance.invoke(function.call("{}")).await;
    assert!(
        execution.timings.handler >= Duration::from_millis(400),
        "{execution:?}"
    );
    let tail = String::from_utf8(execution.log_tail.unwrap().to_vec()).unwrap();
    assert!(tail.contains("\nREPORT"), "{tail}");
    instance.stop().await;
}

async fn extensions_go_wrong_at_the_start(world: World) {
    let check = async |function: &Function, expected: &str, logged: &str| {
        let seen = function.outcome("{}").await;
        assert_eq!(seen, expected, "{}", function.log.text());
        let log = function.log.text();
        assert!(log.contains(logged), "{log}");
    };
    let failed = |kind: &str, why: &str| {
        format!(
            r#"crashed {{"errorType":"Extension.{kind}","errorMessage":"RequestId: ID Error: {why}"}}"#
        )
    };
    let expected = failed("Crash", "exit status 3");
    let function = watched(&world, "gone", &["watch"]);
    check(
        &function,
        &expected,
        "EXTENSION\tName: watch\tState: Exited\tEvents: []",
    )
    .await;
    let expected = failed("InitError", "exit status 4");
    let function = watched(&world, "unable", &["watch"]);
    let logged = "State: InitError\tEvents: [INVOKE, SHUTDOWN]\tError Type: Extension.Mine";
    check(&function, &expected, logged).await;
    let timed_out = r#"timed_out {"errorType":"Sandbox.Timedout","errorMessage":"RequestId: ID Error: Task timed out after 3.00 seconds"}"#;
    for (mode, state) in [("silent", "Started"), ("stuck", "Registered")] {
        let mut function = watched(&world, mode, &["watch"]);
        function.init_timeout = Duration::from_secs(2);
        check(&function, timed_out, &format!("State: {state}")).await;
    }
    let function = watched(&world, "", &["watch"]);
    let path = function.layers[0].join("extensions/watch");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let seen = function.outcome("{}").await;
    assert!(
        seen.contains("Extension.LaunchError") && seen.contains("ermission denied"),
        "{seen}"
    );
    let names: Vec<_> = (0..11).map(|number| format!("e{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let expected = failed("LaunchError", "Extension limit (10) reached");
    check(&watched(&world, "", &names), &expected, "").await;
}

async fn extensions_go_wrong_later(world: World) {
    // In the middle of an invocation, before the answer.
    let function = watched(&world, "crash", &["watch", "witness"]);
    let instance = function.instance().await;
    let execution = instance.invoke(function.call(r#"{"sleep": 5}"#)).await;
    let seen = shown(&execution);
    assert!(
        seen.starts_with(r#"crashed {"errorType":"Extension.Crash","errorMessage":"RequestId: "#)
            && seen.ends_with(r#" Error: signal: segmentation fault"}"#),
        "{seen}"
    );
    assert!(!instance.is_alive());
    let log = function.log.text();
    assert!(
        log.contains("witness SHUTDOWN failure\nwitness is done\n"),
        "{log}"
    );
    assert!(
        log.contains("\tStatus: error\tError Type: Extension.Crash\n"),
        "{log}"
    );
    instance.stop().await;
    // After the answer, which stays what it is.
    for (mode, logged) in [
        ("late crash", "Error: exit status 5\nExtension.Crash\nEND"),
        ("leave", "Error: exit status 6\nExtension.ExitError\nEND"),
        ("endless", "Task timed out after 1.00 seconds\nEND"),
    ] {
        let mut function = watched(&world, mode, &["watch"]);
        function.timeout = Duration::from_secs(1);
        let instance = function.instance().await;
        let execution = instance.invoke(function.call("{}")).await;
        let log = function.log.text();
        assert_eq!(shown(&execution), "replied \"answer\"", "{log}");
        assert!(log.contains(logged), "{mode}: {log}");
        instance.gone().await;
    }
    // While nothing is asked of it.
    let function = watched(&world, "late crash", &["watch", "witness"]);
    let instance = function.instance().await;
    let mut call = function.call("{}");
    call.tail = false;
    instance.invoke(call).await;
    instance.gone().await;
    instance.stop().await;
}

async fn an_extension_has_its_time_to_end(world: World) {
    let mut function = watched(&world, "", &["watch"]);
    function.timeout = Duration::from_secs(1);
    let instance = function.instance().await;
    let execution = instance.invoke(function.call(r#"{"sleep": 60}"#)).await;
    let log = function.log.text();
    assert!(shown(&execution).starts_with("timed_out"), "{log}");
    assert!(
        log.contains("watch SHUTDOWN timeout\nwatch is done\n"),
        "{log}"
    );
    let function = watched(&world, "clinging", &["watch"]);
    let instance = function.instance().await;
    let began = world.clock.monotonic();
    instance.stop().await;
    let took = world.clock.monotonic() - began;
    assert!(took >= Duration::from_secs(2), "{took:?}");
}

const INSIDE: &str = r#"
import http.client, json, os, signal, sys, threading
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
def ask(method, path, body='', headers={}):
    api.request(method, '/2020-01-01/extension/' + path, body, headers)
    response = api.getresponse()
    return response, response.read().decode()
response, text = ask('POST', 'register', '{"events": ["INVOKE"]}', {'Lambda-Extension-Name': 'inside'})
me = {'Lambda-Extension-Identifier': response.headers['Lambda-Extension-Identifier']}
seen = []
def watch():
    while True:
        seen.append(json.loads(ask('GET', 'event/next', headers=me)[1])['eventType'])
threading.Thread(target=watch, daemon=True).start()
def end(*_):
    print('asked to end', flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
def handler(event, context):
    return 'answer'
"#;

async fn an_extension_inside_the_runtime_is_told_too(world: World) {
    let function = world.function("python3.11", "app.handler", &[("app.py", INSIDE)]);
    let instance = function.instance().await;
    for _ in 0..2 {
        let execution = instance.invoke(function.call("{}")).await;
        assert_eq!(
            shown(&execution),
            "replied \"answer\"",
            "{}",
            function.log.text()
        );
    }
    instance.stop().await;
    let log = function.log.text();
    assert!(
        log.contains("EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]\n"),
        "{log}"
    );
    assert!(log.contains("asked to end\n"), "{log}");
}

async fn extensions_watch_a_bootstrap(world: World) {
    let mut function = watched(&world, "", &["watch"]);
    let python = world
        .processes
        .interpreter("python3.11".parse().unwrap())
        .unwrap();
    let text = EXTENSION.replace("/usr/bin/env python3", &python.display().to_string());
    // The interpreter is the host's, and is seen where it is among the host's own programs.
    if !python.starts_with("/usr") && world.lite == Lite::Never {
        return;
    }
    let bootstrap = [("bootstrap", crate::stories::BOOTSTRAP)];
    function.code = world.function("provided.al2023", "", &bootstrap).code;
    std::fs::write(function.layers[0].join("extensions/watch"), text).unwrap();
    function.config.runtime = "provided.al2023".parse().unwrap();
    let instance = function.instance().await;
    let execution = instance.invoke(function.call("7")).await;
    assert_eq!(shown(&execution), "replied 7", "{}", function.log.text());
    instance.stop().await;
    let log = function.log.text();
    assert!(
        log.contains("watch INVOKE") && log.contains("watch is done"),
        "{log}"
    );
}

/// An extension that tells at the end what it was told.
const LISTENER: &str = r#"#!/usr/bin/env python3
import http.client, http.server, json, os, sys, threading, time
MODE = os.environ.get('MODE', '')
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
def ask(method, path, body='', headers={}):
    api.request(method, path, body, headers)
    response = api.getresponse()
    return response, response.read().decode()
records = []
class Taker(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        records.extend(body)
        if MODE == 'slow taker': time.sleep(600)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
host = 'sandbox.localdomain' if os.path.dirname(__file__) == '/opt/extensions' else '127.0.0.1'
server = http.server.ThreadingHTTPServer((host, 0), Taker)
threading.Thread(target=server.serve_forever, daemon=True).start()
response, _ = ask('POST', '/2020-01-01/extension/register', '{"events": ["INVOKE", "SHUTDOWN"]}', {'Lambda-Extension-Name': 'listen'})
me = {'Lambda-Extension-Identifier': response.headers['Lambda-Extension-Identifier']}
def subscribe(path, version, **changes):
    wanted = {'schemaVersion': version, 'types': ['platform', 'function', 'extension'],
        'buffering': {'maxItems': 1000, 'maxBytes': 262144, 'timeoutMs': 100},
        'destination': {'protocol': 'HTTP', 'URI': 'http://sandbox.localdomain:%d' % server.server_port}}
    wanted.update(changes)
    response, text = ask('PUT', path, json.dumps(wanted), me)
    return [response.status, text]
print(subscribe('/2022-07-01/telemetry', 'never'), flush=True)
print(subscribe('/2022-07-01/telemetry', '2022-12-13'), flush=True)
while True:
    event = json.loads(ask('GET', '/2020-01-01/extension/event/next', headers=me)[1])
    if event['eventType'] == 'SHUTDOWN':
        time.sleep(0.5)
        print('TOLD', json.dumps([[r['type'], r['record']] for r in records]), flush=True)
        sys.exit(0)
"#;

fn listened(world: &World, mode: &str, source: &str) -> Function {
    let mut function = world.function("python3.11", "app.handler", &[("app.py", source)]);
    let layer = world.function("python3.11", "", &[("extensions/listen", LISTENER)]);
    function.layers = vec![layer.code];
    let variables = &mut function.config.environment;
    variables.insert("MODE".to_owned(), mode.to_owned());
    function
}

async fn telemetry_comes_to_who_asks_for_it(world: World) {
    let source =
        "print('loading')\ndef handler(event, context):\n    print('working')\n    return 'answer'";
    let function = listened(&world, "", source);
    let instance = function.instance().await;
    for _ in 0..2 {
        let execution = instance.invoke(function.call("{}")).await;
        assert_eq!(
            shown(&execution),
            "replied \"answer\"",
            "{}",
            function.log.text()
        );
        instance.freeze().await;
    }
    instance.stop().await;
    let log = function.log.text();
    assert!(
        log.contains("[400, '{\"errorMessage\":\"schemaVersion must be"),
        "{log}"
    );
    assert!(log.contains("[200, '\"OK\"']\n"), "{log}");
    let told = log
        .lines()
        .find_map(|line| line.strip_prefix("TOLD "))
        .unwrap();
    let told: Vec<(String, serde_json::Value)> = serde_json::from_str(told).unwrap();
    let kinds: Vec<_> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    let invocation = [
        "platform.start",
        "function",
        "platform.runtimeDone",
        "platform.report",
    ];
    let start = [
        "platform.initStart",
        "extension",
        "platform.telemetrySubscription",
        "extension",
        "function",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
    ];
    let mut expected = [&start[..], &invocation, &invocation].concat();
    // Two streams come in no order of their own.
    let sorted = |mut kinds: Vec<&str>| {
        kinds.sort_unstable();
        kinds.join(" ")
    };
    assert_eq!(sorted(kinds.clone()), sorted(expected.clone()), "{kinds:?}");
    expected.retain(|kind| kind.starts_with("platform."));
    let platform: Vec<_> = kinds
        .into_iter()
        .filter(|kind| kind.starts_with("platform."))
        .collect();
    assert_eq!(platform, expected);
    let report = &told
        .iter()
        .rfind(|(kind, _)| kind == "platform.report")
        .unwrap()
        .1;
    assert!(
        report["metrics"]["billedDurationMs"].as_u64().unwrap() >= 1,
        "{report}"
    );
    let lines: Vec<_> = told.iter().filter(|(kind, _)| kind == "function").collect();
    assert_eq!(lines[0].1, "loading");
    assert_eq!(lines[1].1, "working");
}

async fn a_flood_of_telemetry_ends(world: World) {
    let flood = "import os\ndef handler(event, context):\n    os.write(1, b'spam\\n' * 200000)\n    return 'answer'";
    let function = listened(&world, "slow taker", flood);
    let instance = function.instance().await;
    let execution = instance.invoke(function.call("{}")).await;
    assert_eq!(shown(&execution), "replied \"answer\"");
    instance.stop().await;
    let log = function.log.text();
    // What was not taken in time comes again, and never more than there is room for.
    let told = log
        .lines()
        .find_map(|line| line.strip_prefix("TOLD "))
        .unwrap();
    assert!(told.len() < 2 << 20, "{} bytes", told.len());
}
