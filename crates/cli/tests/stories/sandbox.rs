//! What a function can see and do from inside its sandbox, and what it cannot.

use crate::project::Project;
use crate::test_node::TestNode;

/// Runs Python expressions inside and answers each one's value or error.
const PROBE: &str = r#"
import os, socket, subprocess, urllib.request
def handler(event, context):
    answers = {}
    for source in event["try"]:
        try:
            answers[source] = eval(source)
        except BaseException as error:
            answers[source] = type(error).__name__
    return answers
"#;

fn node() -> (Project, TestNode) {
    let project = Project::new(&[("probe/app.py", PROBE), ("other/app.py", PROBE)]);
    let node = TestNode::with(&project);
    (project, node)
}

fn probe(node: &TestNode, sources: &[&str]) -> Vec<serde_json::Value> {
    let event = serde_json::json!({"try": sources}).to_string();
    let answer = node.invoke("probe", &event);
    let payload = &answer["payload"];
    sources
        .iter()
        .map(|source| {
            payload
                .get(*source)
                .cloned()
                .unwrap_or_else(|| panic!("{answer}"))
        })
        .collect()
}

#[test]
fn the_host_is_not_there() {
    let (project, node) = node();
    let here = format!("os.listdir({:?})", project.path());
    let sources = [
        "os.listdir('/boot')",
        "os.listdir('/home')",
        "open('/etc/shadow').read()",
        "os.listdir('/sys')",
        "open('/proc/1/environ').read()",
        here.as_str(),
    ];
    for (source, answer) in sources.iter().zip(probe(&node, &sources)) {
        let refused = ["FileNotFoundError", "PermissionError"]
            .iter()
            .any(|error| answer == *error);
        assert!(refused, "{source}: {answer}");
    }
}

#[test]
fn code_is_immutable_and_tmp_is_its_own() {
    let (_project, node) = node();
    let answers = probe(
        &node,
        &[
            "open('/var/task/app.py', 'a')",
            "open('/usr/bin/x', 'w')",
            "open('/tmp/mine', 'w').write('x')",
            "os.listdir('/tmp')",
            "os.getcwd()",
            "os.environ['LAMBDA_TASK_ROOT']",
        ],
    );
    for refused in &answers[..2] {
        assert!(
            refused
                .as_str()
                .is_some_and(|error| error.ends_with("Error")),
            "{answers:?}"
        );
    }
    assert_eq!(answers[2], 1);
    assert_eq!(answers[3], serde_json::json!(["mine"]));
    assert_eq!(answers[4], "/var/task");
    assert_eq!(answers[5], "/var/task");
    let event = serde_json::json!({"try": ["os.listdir('/tmp')"]}).to_string();
    let other = node.invoke("other", &event);
    assert_eq!(
        other["payload"]["os.listdir('/tmp')"],
        serde_json::json!([])
    );
}

#[test]
fn it_holds_no_power() {
    let (_project, node) = node();
    let answers = probe(
        &node,
        &[
            "os.getuid() != 0",
            "[l.split()[1] for l in open('/proc/self/status') if l.startswith('CapEff')][0].strip('0')",
            "[l.split()[1] for l in open('/proc/self/status') if l.startswith('CapBnd')][0].strip('0')",
            "[l.split()[1] for l in open('/proc/self/status') if l.startswith('NoNewPrivs')][0]",
            "[l.split()[1] for l in open('/proc/self/status') if l.startswith('Seccomp:')][0]",
            "len([p for p in os.listdir('/proc') if p.isdigit()]) <= 3",
            "os.unshare(0x10000000)",
            "os.mknod('/tmp/dev', 0o20666, os.makedev(1, 3))",
            "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
            "socket.socket(38, socket.SOCK_SEQPACKET)",
        ],
    );
    assert_eq!(answers[0], true, "{answers:?}");
    assert_eq!(answers[1], "", "{answers:?}");
    assert_eq!(answers[2], "", "{answers:?}");
    assert_eq!(answers[3], "1");
    assert_eq!(answers[4], "2");
    assert_eq!(answers[5], true);
    for denied in &answers[6..] {
        assert!(
            denied.as_str().is_some_and(|e| e.ends_with("Error")),
            "{answers:?}"
        );
    }
}

#[test]
fn lambdas_paths_are_there() {
    let (_project, node) = node();
    let answers = probe(
        &node,
        &[
            "subprocess.run(['/bin/sh', '-c', 'set -o pipefail; echo sh'], capture_output=True).stdout.decode()",
            "subprocess.run(['/bin/bash', '-c', 'echo bash'], capture_output=True).stdout.decode()",
            "subprocess.run(['ls', '/var'], capture_output=True).stdout.decode().split()",
            "os.access('/var/lang/bin/python3', os.X_OK) and os.access('/var/lang/bin/python', os.X_OK)",
            "os.path.isdir('/opt') and os.path.isdir('/var/runtime')",
            "socket.gethostbyname('sandbox.localdomain')",
            "len(open('/etc/ssl/certs/ca-certificates.crt').read()) > 1000",
        ],
    );
    assert_eq!(answers[0], "sh\n", "{answers:?}");
    assert_eq!(answers[1], "bash\n", "{answers:?}");
    assert_eq!(answers[2], serde_json::json!(["lang", "runtime", "task"]));
    assert_eq!(answers[3], true);
    assert_eq!(answers[4], true);
    assert_eq!(answers[5], "127.0.0.1");
    assert_eq!(answers[6], true);
}

#[test]
fn the_platforms_endpoint_is_reachable_and_nothing_else_of_the_host_is() {
    let (_project, node) = node();
    // A neighbour's URL is a port of the host's loopback; the sandbox has a loopback of its own.
    let port = node
        .url("other")
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .map(str::to_owned);
    let other = format!(
        "socket.create_connection(('127.0.0.1', {}), 2)",
        port.expect("a port")
    );
    let answers = probe(
        &node,
        &[
            "urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/healthz', timeout=5).status",
            &other,
            "socket.create_connection(('169.254.169.254', 80), 2).recv(1)",
        ],
    );
    assert_eq!(answers[0], 200, "{answers:?}");
    assert_eq!(answers[1], "ConnectionRefusedError", "{answers:?}");
    let metadata = answers[2].as_str().unwrap_or_default();
    assert!(
        metadata.is_empty() || metadata.ends_with("Error"),
        "{answers:?}"
    );
}

#[test]
fn functions_may_not_use_the_control_api() {
    let (_project, node) = node();
    let ask = |method: &str, path: &str| {
        format!(
            "urllib.request.urlopen(urllib.request.Request(os.environ['AWS_ENDPOINT_URL'] + \
             '/_dayfly/v1/{path}', method='{method}'), timeout=5).status"
        )
    };
    let sources = [
        ask("GET", "functions"),
        ask("DELETE", "functions/other"),
        ask("GET", "functions/other/logs"),
    ];
    for source in sources {
        assert_eq!(probe(&node, &[&source]), ["HTTPError"], "{source}");
    }
    assert_eq!(node.invoke("other", r#"{"try": []}"#)["outcome"], "replied");
}

#[test]
fn limits_hold() {
    let template = "
Resources:
  Probe:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: probe, CodeUri: probe, Handler: app.handler, Runtime: python3.11, MemorySize: 1024, Timeout: 30}
";
    let project = Project::new(&[("template.yaml", template), ("probe/app.py", PROBE)]);
    let node = TestNode::with(&project);
    let answers = probe(
        &node,
        &[
            "[open('/tmp/big', 'ab').write(b'x' * (64 << 20)) for _ in range(9)]",
            "[os.open('/dev/null', os.O_RDONLY) for _ in range(2000)]",
        ],
    );
    for answer in &answers {
        assert_eq!(answer, "OSError", "{answers:?}");
    }
}

#[test]
fn without_sandboxes_functions_run_and_it_is_said() {
    let hello = "export const handler = async (event) => `hello ${event.name}`";
    let project = Project::new(&[
        ("probe/app.py", PROBE),
        ("greet/index.mjs", hello),
        ("secret", "word"),
    ]);
    let data = tempfile::tempdir().expect("a data folder");
    let node = TestNode::start_in(project.path(), data.path(), false, |config| {
        config.lite = node::Lite::Always;
    });
    let said = node.events();
    let warned = |event: &node::dev::Event| match event {
        node::dev::Event::Warning { text, .. } => text.contains("WITHOUT ISOLATION"),
        _ => false,
    };
    assert!(said.iter().any(warned), "{said:?}");
    let secret = format!("open({:?}).read()", project.path().join("secret"));
    let written = format!("open({:?}, 'w')", project.path().join("written"));
    let sources = [
        secret.as_str(),
        written.as_str(),
        "open('/tmp/mine', 'w')",
        "os.getcwd() == os.environ['LAMBDA_TASK_ROOT']",
        "open(os.path.join(os.environ['TMPDIR'], 'mine'), 'w').write('x')",
        "subprocess.check_output(['sh', '-c', 'echo child'], text=True)",
    ];
    let answers = probe(&node, &sources);
    assert_eq!(answers[..3], ["PermissionError"; 3], "{answers:?}");
    assert_eq!(answers[3], true);
    assert_eq!(answers[4], 1);
    assert_eq!(answers[5], "child\n");
    let answer = node.invoke("greet", r#"{"name": "you"}"#);
    assert_eq!(answer["payload"], "hello you", "{answer}");
    drop(node);
    assert!(!data.path().join("lite").exists());
}
