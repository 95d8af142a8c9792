//! Hosts that programs have wired in: inside a sandbox those of AWS lead to the platform, and
//! ports of the developer's machine lead there where they are named.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use node::dev::Event;

use crate::clients::tool;
use crate::project::Project;
use crate::test_node::TestNode;

/// Runs Python statements inside; what they leave in `answer` is the answer.
const RUN: &str = r#"
import http.client, json, os, socket, ssl, traceback, urllib.error, urllib.request
def kind(do):
    try:
        return do()
    except BaseException as error:
        return type(error).__name__
def handler(event, context):
    scope = dict(globals(), answer=None)
    try:
        exec(event["run"], scope)
    except BaseException:
        return traceback.format_exc()
    return scope["answer"]
"#;

const HELLO: &str = r#"
def handler(event, context):
    headers = event.get("headers", {})
    return {"hello": event.get("name"), "host": headers.get("host"), "over": headers.get("x-forwarded-proto")}
"#;

const TEMPLATE: &str = "
Resources:
  Run:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: run, CodeUri: run, Handler: app.handler, Runtime: python3.11, Timeout: 60, MemorySize: 1024}
  Hello:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: hello, CodeUri: hello, Handler: app.handler, Runtime: python3.11, FunctionUrlConfig: {AuthType: NONE}}
  Web:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: web, CodeUri: web, Handler: index.handler, Runtime: nodejs20.x, Timeout: 60, MemorySize: 512}
";

const WEB: &str = r#"
import https from 'node:https';
import { execFileSync } from 'node:child_process';
const get = (url) => new Promise((resolve, reject) => https.get(url, (answer) => {
  let text = '';
  answer.on('data', (part) => { text += part; }).on('end', () => resolve({ status: answer.statusCode, text }));
}).on('error', (error) => resolve(error.code)));
const child = (source) => execFileSync(process.execPath, ['-e', source]).toString().trim();
export const handler = async (event) =>
  event.child ? child(event.child) : Promise.all(event.urls.map(get));
"#;

fn project() -> Project {
    Project::new(&[
        ("template.yaml", TEMPLATE),
        ("run/app.py", RUN),
        ("hello/app.py", HELLO),
        ("web/index.mjs", WEB),
    ])
}

/// A node with the project, and the folder that its data is in.
fn node(
    project: &Project,
    change: impl FnOnce(&mut node::Config),
) -> (TestNode, tempfile::TempDir) {
    let data = tempfile::tempdir().expect("a data folder");
    let node = TestNode::start_in(project.path(), data.path(), false, change);
    (node, data)
}

fn run(node: &TestNode, script: &str) -> serde_json::Value {
    let event = serde_json::json!({ "run": script }).to_string();
    let answer = node.invoke("run", &event);
    answer["payload"].clone()
}

/// Puts boto3 of the test tools into a package, with the models of a few services.
fn bring_boto3(package: &Path) {
    let script = "import os, boto3; print(os.path.dirname(os.path.dirname(boto3.__file__)))";
    let python = tool("DAYFLY_TEST_PYTHON");
    let found = Command::new(python).args(["-c", script]).output();
    let found = found.expect("Python runs").stdout;
    let from = String::from_utf8(found).expect("a path");
    let from = Path::new(from.trim());
    let names = [
        "boto3",
        "botocore",
        "s3transfer",
        "jmespath",
        "dateutil",
        "urllib3",
        "six.py",
    ];
    for name in names {
        copy(&from.join(name), &package.join(name));
    }
}

const MODELS: [&str; 8] = [
    "lambda",
    "sts",
    "dynamodb",
    "s3",
    "ec2",
    "cloudwatch",
    "sns",
    "route53",
];

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).expect("a copy");
        return;
    }
    std::fs::create_dir_all(to).expect("a folder");
    let all_of_it = !from.ends_with("botocore/data");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let wanted = all_of_it || entry.path().is_file() || MODELS.contains(&name.as_str());
        if wanted && name != "__pycache__" {
            copy(&entry.path(), &to.join(&name));
        }
    }
}

#[test]
fn sdks_that_know_hosts_by_name_reach_the_platform() {
    let project = project();
    bring_boto3(&project.path().join("run"));
    let (node, _data) = node(&project, |_| {});
    let script = r#"
import boto3, botocore.exceptions
for name in [name for name in os.environ if name.startswith('AWS_ENDPOINT_URL')]:
    del os.environ[name]
hello = dict(FunctionName='hello', Payload=b'{"name": "you"}')
answer = {}
for name, arguments in {
    'default': {},
    'given': dict(endpoint_url='https://lambda.us-east-1.amazonaws.com'),
    'plain': dict(endpoint_url='http://lambda.us-east-1.amazonaws.com'),
    'dual': dict(config=boto3.session.Config(use_dualstack_endpoint=True)),
}.items():
    client = boto3.client('lambda', **arguments)
    answer[name] = [client.meta.endpoint_url, json.load(client.invoke(**hello)['Payload'])['hello']]
for name, host in {'sts': 'https://sts.amazonaws.com', 'regional': None}.items():
    answer[name] = boto3.client('sts', endpoint_url=host).get_caller_identity()['Arn']
def refused(service, operation, **arguments):
    try:
        getattr(boto3.client(service), operation)(**arguments)
    except botocore.exceptions.ClientError as error:
        said = error.response
        return f"{said['ResponseMetadata']['HTTPStatusCode']} {said['Error']['Code']}: {said['Error']['Message']}"
answer['not here'] = [
    refused('dynamodb', 'list_tables'), refused('s3', 'list_objects_v2', Bucket='some.bucket'),
    refused('ec2', 'describe_instances'), refused('sns', 'list_topics'),
    refused('route53', 'list_hosted_zones'), refused('cloudwatch', 'list_metrics'),
]
"#;
    let answer = run(&node, script);
    for (name, host) in [
        ("default", "https://lambda.us-east-1.amazonaws.com"),
        ("given", "https://lambda.us-east-1.amazonaws.com"),
        ("plain", "http://lambda.us-east-1.amazonaws.com"),
        ("dual", "https://lambda.us-east-1.api.aws"),
    ] {
        assert_eq!(answer[name], serde_json::json!([host, "you"]), "{answer}");
    }
    // Whoever calls is the instance, however it comes.
    for name in ["sts", "regional"] {
        let arn = "arn:aws:sts::000000000000:assumed-role/run-role/run";
        assert_eq!(answer[name], arn, "{answer}");
    }
    let services = ["dynamodb", "s3", "ec2", "sns", "route53", "monitoring"];
    for (service, said) in services
        .iter()
        .zip(answer["not here"].as_array().expect("a list"))
    {
        let said = said.as_str().unwrap_or_default();
        let words = format!("the service {service} is not served here yet");
        assert!(
            said.starts_with("501 ") && said.contains(&words),
            "{answer}"
        );
        assert!(said.contains("--aws-passthrough"), "{answer}");
    }
}

#[test]
fn function_urls_are_reached_at_their_hosts() {
    let project = project();
    let (node, _data) = node(&project, |_| {});
    let id = url_id(&node);
    let urls = [
        format!("https://{id}.lambda-url.us-east-1.on.aws/"),
        format!("https://{id}.lambda-url.us-east-1.localhost/"),
        "https://localhost/healthz".to_owned(),
        "https://checkip.amazonaws.com/metrics".to_owned(),
        "https://app.localhost/_dayfly/v1/functions".to_owned(),
    ];
    let event = serde_json::json!({ "urls": urls }).to_string();
    let answer = &node.invoke("web", &event)["payload"];
    // Programs that it starts trust the same.
    let url = &urls[0];
    let source = format!("fetch('{url}').then((answer) => console.log(answer.status))");
    let event = serde_json::json!({ "child": source }).to_string();
    assert_eq!(node.invoke("web", &event)["payload"], "200");
    let text = |place: usize| answer[place]["text"].as_str().unwrap_or_default();
    for (place, end) in [(0, "on.aws"), (1, "localhost")] {
        assert_eq!(answer[place]["status"], 200, "{answer}");
        let host = format!(r#""host": "{id}.lambda-url.us-east-1.{end}""#);
        let over = r#""over": "https""#;
        assert!(
            text(place).contains(&host) && text(place).contains(over),
            "{answer}"
        );
    }
    assert_eq!(text(2), "ok\n", "{answer}");
    assert_eq!(answer[3]["status"], 501, "{answer}");
    assert_eq!(answer[4]["status"], 403, "{answer}");
}

/// The id in the host of a function's URL.
fn url_id(node: &TestNode) -> String {
    let host = node.wait(|event| match event {
        Event::Deployed {
            function, host_url, ..
        } if function == "hello" => host_url.clone(),
        _ => None,
    });
    let start = host.trim_start_matches("http://");
    start.split('.').next().unwrap_or_default().to_owned()
}

#[test]
fn a_function_that_stays_inside_reaches_the_platform_and_nothing_else() {
    let project = project();
    let (node, _data) = node(&project, |config| config.outside_network = false);
    let script = r#"
def status(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
answer = [
    status('https://lambda.us-east-1.amazonaws.com/2015-03-31/functions'),
    status('http://sts.amazonaws.com/'),
    status('https://app.localhost/healthz'),
    kind(lambda: socket.getaddrinfo('example.org', 443)),
    kind(lambda: socket.getaddrinfo('sts.amazonaws.com.example.org', 443)),
    kind(lambda: socket.create_connection(('192.0.2.1', 443), 5)),
]
"#;
    let answer = run(&node, script);
    let expected = serde_json::json!([
        403,
        403,
        200,
        "gaierror",
        "gaierror",
        "ConnectionRefusedError"
    ]);
    assert_eq!(answer, expected);
}

#[test]
fn certificates_are_for_names_that_lead_home_only() {
    let project = project();
    let (node, data) = node(&project, |_| {});
    let script = r#"
def shown(name, address='127.0.0.1'):
    context = ssl.create_default_context()
    with socket.create_connection((address, 443), 5) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            return secure.version() and dict(secure.getpeercert()['subjectAltName'])['DNS']
answer = [kind(lambda: shown(name)) for name in
          ('sts.amazonaws.com', 'a.b.localhost', 'example.org', 'evilamazonaws.com', 'amazonaws.com.evil.org')]
answer.append(kind(lambda: shown('127.0.0.1')))
answer.append([os.path.join(at, name) for top in ('/etc', '/var', '/opt', '/tmp')
               for at, _, names in os.walk(top) for name in names
               if 'dayfly' in at and b'PRIVATE' in open(os.path.join(at, name), 'rb').read()])
"#;
    let answer = run(&node, script);
    let expected = serde_json::json!([
        "sts.amazonaws.com",
        "a.b.localhost",
        "SSLError",
        "SSLError",
        "SSLError",
        "localhost",
        []
    ]);
    assert_eq!(answer, expected);
    assert!(data.path().join("authority/key.pem").exists());
}

#[test]
fn what_an_author_trusts_goes_before() {
    let template = TEMPLATE.replacen(
        "MemorySize: 1024",
        "MemorySize: 1024, Environment: {Variables: {SSL_CERT_FILE: /nowhere, NODE_EXTRA_CA_CERTS: /var/runtime/ca-cert.pem}}",
        1,
    );
    let project = project();
    project.write("template.yaml", &template);
    let (node, _data) = node(&project, |_| {});
    let names = "('SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS', 'AWS_CA_BUNDLE', 'REQUESTS_CA_BUNDLE')";
    let script = format!(
        "answer = [os.environ[name] for name in {names}]\n\
         answer.append('BEGIN CERTIFICATE' in open(answer[1]).read())"
    );
    let bundle = "/etc/dayfly/ca-bundle.pem";
    let expected =
        serde_json::json!(["/nowhere", "/var/runtime/ca-cert.pem", bundle, bundle, true]);
    assert_eq!(run(&node, &script), expected);
}

#[test]
fn questions_for_names_cannot_break_the_resolver() {
    let project = project();
    let (node, _data) = node(&project, |_| {});
    let script = r#"
def question(labels, kind=1, head=b'\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00', end=b'\x00'):
    name = b''.join(bytes([len(label)]) + label for label in labels)
    return head + name + end + kind.to_bytes(2, 'big') + b'\x00\x01'
def ask(message, tries=4):
    # As every resolver does: a datagram may be lost where many are on their way.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        for left in reversed(range(tries)):
            s.sendto(message, ('127.0.0.1', 53))
            try:
                return s.recv(4096)
            except TimeoutError:
                if left == 0: raise
home = (b'lambda', b'us-east-1', b'amazonaws', b'com')
broken = [b'', b'\x00', os.urandom(12), os.urandom(512), question(home)[:-3], question(home, end=b'\xc0\x0c'),
    question((b'x' * 63,) * 5), question((b'sts.amazonaws', b'com')), question(home, head=b'\x00' * 12),
    question((b'\xff\xfe', b'amazonaws', b'com')), question(home, head=b'\xab\xcd\x81\x00\x00\x01' + b'\x00' * 6)]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for message in broken * 20:
        s.sendto(message, ('127.0.0.1', 53))
with socket.create_connection(('127.0.0.1', 53)) as s:
    s.sendall(b'\xff\xff' + b'x' * 100)
def over_tcp(message):
    with socket.create_connection(('127.0.0.1', 53), 5) as s:
        s.sendall(len(message).to_bytes(2, 'big') + message)
        s.shutdown(socket.SHUT_WR)
        return s.makefile('rb').read()[2:]
mixed = ask(question((b'LamBda', b'us-east-1', b'AMAZONAWS', b'cOm')))
answer = [
    # The question comes back in its own case.
    b'LamBda' in mixed and socket.inet_ntoa(mixed[-4:]),
    socket.inet_ntoa(over_tcp(question(home))[-4:]),
    ask(question(home, 28))[6:8] == b'\x00\x00',
    ask(question(home, 65))[3] & 15,
    [kind(lambda: socket.gethostbyname(name)) for name in (
        'sts.amazonaws.com.', 'STS.AmazonAWS.com', 'x.y.on.aws', 'a.localhost.', 'localhost')],
    kind(lambda: socket.getaddrinfo('sts.amazonaws.com', 443, socket.AF_INET6)),
    'gaierror' == kind(lambda: socket.gethostbyname('evilamazonaws.invalid')),
    kind(lambda: socket.gethostbyname('amazonaws.com.evil.invalid')),
]
"#;
    let answer = run(&node, script);
    let expected = serde_json::json!([
        "127.0.0.2",
        "127.0.0.2",
        true,
        0,
        [
            "127.0.0.2",
            "127.0.0.2",
            "127.0.0.2",
            "127.0.0.1",
            "127.0.0.1"
        ],
        "gaierror",
        true,
        "gaierror"
    ]);
    assert_eq!(answer, expected);
}

#[test]
fn named_ports_of_this_machine_are_reached_and_no_others() {
    let service = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = |listener: &TcpListener| listener.local_addr().expect("its address").port();
    let (named, unnamed) = (port(&service), port(&other));
    std::thread::spawn(move || {
        for stream in service.incoming() {
            let mut stream = stream.expect("a connection");
            let mut word = [0; 4];
            stream.read_exact(&mut word).expect("a word");
            stream.write_all(&word).expect("its echo");
        }
    });
    let project = project();
    // Whether a function may go outside is another question.
    let (node, _data) = node(&project, |config| {
        config.host_ports = vec![named];
        config.outside_network = false;
    });
    let script = format!(
        "def echo(host, port):
    with socket.create_connection((host, port), 5) as s:
        s.sendall(b'ping')
        return s.makefile('rb').read().decode()
answer = [kind(lambda: echo(*place)) for place in
          (('127.0.0.1', {named}), ('localhost', {named}), ('127.0.0.1', {unnamed}), ('127.0.0.2', {named}))]"
    );
    let expected = serde_json::json!([
        "ping",
        "ping",
        "ConnectionRefusedError",
        "ConnectionRefusedError"
    ]);
    assert_eq!(run(&node, &script), expected);
    let hint = format!("`dayfly dev --host-port {unnamed}` makes it port {unnamed}");
    node.wait(|event| match event {
        Event::Log {
            function,
            platform: true,
            text,
            ..
        } if function == "run" => text.contains(&hint).then_some(()),
        _ => None,
    });
}

#[test]
fn hosts_of_services_that_are_not_here_may_be_awss_own() {
    let project = project();
    bring_boto3(&project.path().join("run"));
    let (node, _data) = node(&project, |config| config.aws_passthrough = true);
    let script = r#"
import boto3
answer = [
    sorted(name for name in os.environ if name.startswith('AWS_ENDPOINT_URL')),
    socket.gethostbyname('lambda.us-east-1.amazonaws.com'),
    socket.gethostbyname('x.lambda-url.us-east-1.on.aws'),
    kind(lambda: socket.gethostbyname('no-such-service.us-east-1.amazonaws.com.')) != '127.0.0.2',
    json.load(boto3.client('lambda').invoke(FunctionName='hello', Payload=b'{"name": 1}')['Payload'])['hello'],
    boto3.client('sts').get_caller_identity()['Account'],
    boto3.client('dynamodb').meta.endpoint_url,
]
"#;
    let answer = run(&node, script);
    let expected = serde_json::json!([
        [
            "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
            "AWS_ENDPOINT_URL_LAMBDA",
            "AWS_ENDPOINT_URL_STS"
        ],
        "127.0.0.2",
        "127.0.0.2",
        true,
        1,
        "000000000000",
        "https://dynamodb.us-east-1.amazonaws.com"
    ]);
    assert_eq!(answer, expected);
}
