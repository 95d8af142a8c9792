//! The server: who is let in, who is not, and what each is told.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

use crate::clients::tool;
use crate::credentials::{ASK_WHO, WHO};
use crate::http::{get, request};
use crate::program::{dayfly, stderr, stdout};
use crate::project::Project;

/// `dayfly up --json` on a free port, ended when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) origin: String,
    /// What it said on stderr until it listened.
    said: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl Server {
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        let data = data.to_str().expect("a UTF-8 path");
        let mut child = dayfly(&["up", "--data", data, "--listen", "127.0.0.1:0", "--json"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (say, said) = mpsc::channel();
        let words = BufReader::new(child.stderr.take().expect("its words"));
        std::thread::spawn(move || {
            for line in words.lines().map_while(Result::ok) {
                eprintln!("up: {line}");
                // Nobody listens any more once it listens itself.
                let _ = say.send(line);
            }
        });
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("its output"));
        lines.read_line(&mut line).expect("a line");
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let origin = event["origin"].as_str().expect("an origin").to_owned();
        // Where it listens is the last that it says of its start.
        let mut text = String::new();
        while !text.contains(&origin) {
            text += &said.recv().expect("more words");
            text.push('\n');
        }
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
            line.unwrap_or_default().to_owned()
        };
        Self {
            key: value("AWS_ACCESS_KEY_ID="),
            secret: value("AWS_SECRET_ACCESS_KEY="),
            child,
            origin,
            said: text,
        }
    }

    /// A command of the program at this server, with a key.
    pub(crate) fn command(&self, arguments: &[&str], key: &str, secret: &str) -> Output {
        let mut command = dayfly(arguments);
        command
            .env("DAYFLY_ENDPOINT", &self.origin)
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_REGION", "us-east-1")
            .env_remove("AWS_SESSION_TOKEN");
        command.output().expect("the program runs")
    }

    /// The same with the first key; it has to succeed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments, &self.key, &self.secret);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        stdout(&output)
    }

    /// Runs a Python script with the vendor's client; its assertions are the story's.
    pub(crate) fn boto3(&self, script: &str) {
        let script = format!("import boto3, botocore, json\n{script}");
        let output = Command::new(tool("DAYFLY_TEST_PYTHON"))
            .args(["-c", &script])
            .env("AWS_ENDPOINT_URL", &self.origin)
            .env("AWS_ACCESS_KEY_ID", &self.key)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env_remove("AWS_SESSION_TOKEN")
            .output()
            .expect("Python runs");
        assert!(output.status.success(), "{}", stderr(&output));
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal("TERM");
        let _ = self.child.wait();
    }
}

#[test]
fn boto3_is_let_in_with_a_key_and_told_why_not() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path(), &[]);
    server.boto3(
        r#"
import datetime, urllib.request
def refused(code, call, status=403):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        got = error.response['Error']['Code'], error.response['ResponseMetadata']['HTTPStatusCode']
        assert got == (code, status), (got, error)
    else:
        raise SystemExit(f'no {code}')

sts, lambda_ = boto3.client('sts'), boto3.client('lambda')
assert sts.get_caller_identity()['Arn'] == 'arn:aws:iam::000000000000:root'
assert lambda_.list_functions()['Functions'] == []
# What is not signed by design is refused for what it is, and what should be signed for that.
refused('NotImplemented', lambda: sts.assume_role_with_web_identity(
    RoleArn='arn:aws:iam::000000000000:role/any', RoleSessionName='session', WebIdentityToken='token'), 501)
refused('NotImplemented', lambda: sts.assume_role_with_saml(
    RoleArn='arn:aws:iam::000000000000:role/any', SAMLAssertion='abcd',
    PrincipalArn='arn:aws:iam::000000000000:saml-provider/any'), 501)
unsigned = boto3.client('sts', config=botocore.config.Config(signature_version=botocore.UNSIGNED))
refused('MissingAuthenticationToken', unsigned.get_caller_identity)

wrong = dict(aws_secret_access_key='wrong', aws_access_key_id=boto3.Session().get_credentials().access_key)
refused('SignatureDoesNotMatch', boto3.client('sts', **wrong).get_caller_identity)
refused('InvalidSignatureException', boto3.client('lambda', **wrong).list_functions)
refused('InvalidSignatureException', boto3.client('dynamodb', **wrong).list_tables, 400)
refused('SignatureDoesNotMatch', boto3.client('s3', **wrong).list_buckets)
unknown = dict(aws_access_key_id='AKIAAAAAAAAAAAAAAAAA', aws_secret_access_key='any')
refused('InvalidClientTokenId', boto3.client('sts', **unknown).get_caller_identity)
refused('UnrecognizedClientException', boto3.client('lambda', **unknown).list_functions)
refused('InvalidAccessKeyId', boto3.client('s3', **unknown).list_buckets)

session = sts.assume_role(RoleArn='arn:aws:iam::000000000000:role/r', RoleSessionName='me')['Credentials']
def as_session(service, **more):
    given = dict(aws_access_key_id=session['AccessKeyId'], aws_secret_access_key=session['SecretAccessKey'],
                 aws_session_token=session['SessionToken'])
    return boto3.client(service, **{**given, **more})
assert as_session('sts').get_caller_identity()['Arn'].endswith(':assumed-role/r/me')
assert as_session('lambda').list_functions()['Functions'] == []
other = session['SessionToken'][:-1] + ('A' if session['SessionToken'][-1] != 'A' else 'B')
refused('InvalidClientTokenId', as_session('sts', aws_session_token='x' + other).get_caller_identity)
refused('UnrecognizedClientException', as_session('lambda', aws_session_token='x' + other).list_functions)

url = sts.generate_presigned_url('get_caller_identity', ExpiresIn=60, HttpMethod='GET')
assert b':root</Arn>' in urllib.request.urlopen(url).read()
s3 = boto3.client('s3', config=botocore.config.Config(signature_version='s3v4', s3={'addressing_style': 'path'}))
url = s3.generate_presigned_url('get_object', Params={'Bucket': 'b', 'Key': 'a b/c(1)+ü'}, ExpiresIn=60)
for url, status in [(url, 501), (url.replace('c%281', 'd%281'), 403)]:
    try:
        urllib.request.urlopen(url)
    except urllib.error.HTTPError as error:
        assert error.code == status, (url, error.read())

import botocore.auth
botocore.auth.get_current_datetime = lambda: datetime.datetime.utcnow() - datetime.timedelta(minutes=20)
refused('SignatureDoesNotMatch', boto3.client('sts').get_caller_identity)
refused('RequestTimeTooSkewed', boto3.client('s3').list_buckets)
refused('InvalidSignatureException', boto3.client('lambda').list_functions)
"#,
    );
    let unsigned = get(&format!("{}/2015-03-31/functions/", server.origin)).send();
    assert_eq!(unsigned.status, 403);
    assert!(
        unsigned.text().contains("Missing Authentication Token"),
        "{}",
        unsigned.text()
    );
}

#[test]
fn function_urls_are_made_changed_and_removed_at_a_server() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path(), &[]);
    server.boto3(
        r#"
import io, zipfile
lambda_ = boto3.client('lambda', config=botocore.config.Config(read_timeout=20))
code = io.BytesIO()
with zipfile.ZipFile(code, 'w') as archive:
    archive.writestr('app.py', 'def handler(event, context): return 1')
lambda_.create_function(
    FunctionName='f', Runtime='python3.13', Handler='app.handler', Code={'ZipFile': code.getvalue()},
    Role='arn:aws:iam::000000000000:role/r')
made = lambda_.create_function_url_config(FunctionName='f', AuthType='AWS_IAM')
changed = lambda_.update_function_url_config(FunctionName='f', AuthType='NONE')
assert changed['FunctionUrl'] == made['FunctionUrl']
lambda_.delete_function_url_config(FunctionName='f')
assert lambda_.list_function_url_configs(FunctionName='f')['FunctionUrlConfigs'] == []
"#,
    );
}

#[test]
fn a_key_is_shown_once_and_ends_when_it_is_removed() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path().to_str().expect("a UTF-8 path");
    let (key, secret) = {
        let server = Server::start(data.path(), &[]);
        assert_eq!(
            (server.key.len(), server.secret.len()),
            (20, 40),
            "{}",
            server.said
        );
        server.run(&["ls"]);
        // A running server's folder is its own.
        let taken = dayfly(&["keys", "ls", "--data", folder])
            .output()
            .expect("it runs");
        assert!(stderr(&taken).contains("--endpoint"), "{}", stderr(&taken));
        let made = server.run(&["keys", "create", "--label", "ci", "--json"]);
        let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        let (second, its_secret) = (text("id"), text("secret"));
        assert!(
            server
                .command(&["ls"], &second, &its_secret)
                .status
                .success()
        );
        let list = server.run(&["keys", "ls"]);
        assert!(list.contains(&second) && list.contains("ci"), "{list}");
        assert!(!list.contains(&its_secret));
        server.run(&["keys", "rm", &second]);
        let gone = server.command(&["ls"], &second, &its_secret);
        assert!(stderr(&gone).contains("invalid"), "{}", stderr(&gone));
        (server.key.clone(), server.secret.clone())
    };
    let server = Server::start(data.path(), &[]);
    assert!(!server.said.contains("SECRET"), "{}", server.said);
    assert!(server.command(&["ls"], &key, &secret).status.success());
    drop(server);
    let list = dayfly(&["keys", "ls", "--json", "--data", folder]).output();
    let list = stdout(&list.expect("it runs"));
    assert!(list.contains(&key) && !list.contains(&secret), "{list}");
    let removed = dayfly(&["keys", "rm", &key, "--data", folder]).output();
    assert!(removed.expect("it runs").status.success());
    let again = dayfly(&["keys", "rm", &key, "--data", folder]).output();
    assert_eq!(again.expect("it runs").status.code(), Some(3));
}

#[test]
fn control_calls_are_signed_or_refused() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path(), &[]);
    let unsigned = get(&format!("{}/_dayfly/v1/functions", server.origin)).send();
    assert_eq!(unsigned.status, 401, "{}", unsigned.text());
    let wrong = server.command(&["ls"], &server.key, "wrong");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        stderr(&wrong).contains("does not match"),
        "{}",
        stderr(&wrong)
    );
    let nobody = dayfly(&["ls", "--endpoint", &server.origin])
        .env_remove("AWS_ACCESS_KEY_ID")
        .env("AWS_SHARED_CREDENTIALS_FILE", "none")
        .env("AWS_CONFIG_FILE", "none")
        .output()
        .expect("the program runs");
    assert_eq!(nobody.status.code(), Some(2));
    assert!(
        stderr(&nobody).contains("AWS_ACCESS_KEY_ID"),
        "{}",
        stderr(&nobody)
    );
    assert_eq!(
        get(&format!("{}/healthz", server.origin)).send().status,
        200
    );
    let evil = request("GET", &format!("{}/metrics", server.origin)).header("host", "evil.example");
    assert_eq!(evil.send().status, 403);
}

#[test]
fn beyond_this_machine_it_speaks_tls_or_says_why_not() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path().to_str().expect("a UTF-8 path");
    let plain = dayfly(&["up", "--data", folder, "--listen", "0.0.0.0:0"]).output();
    let plain = plain.expect("the program runs");
    assert_eq!(plain.status.code(), Some(2));
    assert!(
        stderr(&plain).contains("--insecure-http"),
        "{}",
        stderr(&plain)
    );
}

/// Writes a certificate for localhost and its key, each signed by itself.
fn certify(folder: &Path) -> Vec<u8> {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("a file");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("a file");
    made.cert.der().to_vec()
}

#[test]
fn tls_is_spoken_with_a_certificate_that_can_be_renewed() {
    let data = tempfile::tempdir().expect("a folder");
    let first = certify(data.path());
    let path = |name: &str| data.path().join(name).to_str().expect("UTF-8").to_owned();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let state = data.path().join("state");
    let more = [
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--domain",
        "localhost",
    ];
    let server = Server::start(&state, &more);
    assert!(
        server.origin.starts_with("https://localhost:"),
        "{}",
        server.origin
    );
    let ls = |trusted: &str| {
        dayfly(&["ls", "--endpoint", &server.origin])
            .env("AWS_CA_BUNDLE", trusted)
            .env("AWS_ACCESS_KEY_ID", &server.key)
            .env("AWS_SECRET_ACCESS_KEY", &server.secret)
            .output()
            .expect("the program runs")
    };
    let listed = ls(&certificate);
    assert!(listed.status.success(), "{}", stderr(&listed));
    let other = tempfile::tempdir().expect("a folder");
    certify(other.path());
    let other = other.path().join("cert.pem");
    let distrusted = ls(other.to_str().expect("UTF-8"));
    assert_eq!(distrusted.status.code(), Some(4), "{}", stderr(&distrusted));
    let plain = server.origin.replace("https://", "http://");
    let plain = server.command(&["ls", "--endpoint", &plain], &server.key, &server.secret);
    assert!(!plain.status.success());

    let script = format!(
        "import ssl\nprint(ssl.get_server_certificate(('localhost', {})))",
        server.origin.rsplit(':').next().expect("a port")
    );
    let seen = || {
        let output = Command::new("python3").args(["-c", &script]).output();
        stdout(&output.expect("Python runs"))
    };
    let before = seen();
    let second = certify(data.path());
    assert_ne!(first, second);
    server.signal("HUP");
    // The signal may be handled after the next connection.
    for _ in 0..100 {
        if seen() != before {
            return;
        }
    }
    panic!("the certificate is still the first");
}

const ECHO: &str = "
import os, urllib.request
def handler(event, context):
    if event.get('reach'):
        try:
            return urllib.request.urlopen('http://192.0.2.1/', timeout=5).status
        except Exception as error:
            return str(error)
    return {'event': event, 'stage': os.environ.get('STAGE')}
";

const TEMPLATE: &str = "
Resources:
  Echo:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: echo, CodeUri: echo, Handler: app.handler, Runtime: python3.11, MemorySize: 256,
                 Environment: {Variables: {STAGE: first}}, FunctionUrlConfig: {AuthType: NONE}}
  Who:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: who, CodeUri: who, Handler: app.handler, Runtime: python3.11}
";

#[test]
fn a_project_is_deployed_to_a_server_and_used_there() {
    let project = Project::new(&[
        ("template.yaml", TEMPLATE),
        ("echo/app.py", ECHO),
        ("who/app.py", WHO),
    ]);
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path(), &[]);
    let folder = project.path().to_str().expect("UTF-8");
    let deploy = || -> Vec<serde_json::Value> {
        let lines = server.run(&["deploy", folder, "--json"]);
        let line = |line: &str| serde_json::from_str(line).expect("JSON");
        lines.lines().map(line).collect()
    };
    let deployed = deploy();
    assert_eq!(deployed.len(), 2, "{deployed:?}");
    let url = deployed[0]["url"].as_str().expect("a URL").to_owned();
    assert!(url.contains(".lambda-url.us-east-1.localhost:"), "{url}");

    let echo = server.run(&["invoke", "echo", "-d", r#"{"n": 1}"#]);
    assert!(
        echo.contains(r#""n": 1"#) && echo.contains("first"),
        "{echo}"
    );
    let host = url
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let by_url = get(&server.origin).header("host", &host).send();
    assert_eq!(by_url.status, 200, "{}", by_url.text());
    let list = server.run(&["ls"]);
    assert!(
        list.contains("echo") && list.contains("who") && list.contains("256 MB"),
        "{list}"
    );
    let logs = server.run(&["logs", "echo"]);
    assert!(logs.contains("REPORT RequestId"), "{logs}");
    server.boto3(
        r#"
answer = boto3.client('lambda').invoke(FunctionName='echo', Payload=b'{"n": 2}')
assert json.loads(answer['Payload'].read())['event'] == {'n': 2}
"#,
    );

    // A function calls with its own credentials, whose signature is verified here.
    let who = server.run(&["invoke", "who", "-d", ASK_WHO]);
    assert!(who.contains("assumed-role/who-role/who</Arn>"), "{who}");
    let call = r#"{"call": ["dayfly", "GET", "/_dayfly/v1/keys", ""]}"#;
    let control = server.run(&["invoke", "who", "-d", call]);
    assert!(control.contains("403"), "{control}");
    let read = |of: &str| {
        let body = format!(r#"{{\"logGroupName\": \"/aws/lambda/{of}\"}}"#);
        let target = "Logs_20140328.FilterLogEvents";
        let call = format!(r#"{{"call": ["logs", "POST", "/", "{body}", "{target}"]}}"#);
        server.run(&["invoke", "who", "-d", &call])
    };
    let (own, other) = (read("who"), read("echo"));
    assert!(own.contains("START RequestId"), "{own}");
    assert!(other.contains("AccessDeniedException"), "{other}");
    let reach = server.run(&["invoke", "echo", "-d", r#"{"reach": true}"#]);
    assert!(!reach.contains("200"), "{reach}");

    let again = deploy();
    assert!(again.iter().all(|one| one["changed"] == false), "{again:?}");
    project.write("echo/app.py", "def handler(event, context): return 'new'\n");
    let changed = deploy();
    assert_eq!(
        (&changed[0]["changed"], &changed[1]["changed"]),
        (&true.into(), &false.into())
    );
    assert_eq!(server.run(&["invoke", "echo"]).trim(), r#""new""#);
    let broken = "import nowhere\ndef handler(event, context): return 'new'\n";
    project.write("echo/app.py", broken);
    let warned = stderr(&server.command(&["deploy", folder], &server.key, &server.secret));
    let flaw = "it cannot start: Runtime.ImportModuleError";
    assert!(warned.contains(flaw), "{warned}");
    project.write("echo/app.py", "def handler(event, context): return 'new'\n");
    let warned = stderr(&server.command(&["deploy", folder], &server.key, &server.secret));
    assert!(!warned.contains(flaw), "{warned}");
    server.run(&["rm", "who"]);
    assert!(!server.run(&["ls"]).contains("who"));

    let nobody = server.command(&["deploy", folder], "AKIAAAAAAAAAAAAAAAAA", "any");
    assert_eq!(nobody.status.code(), Some(2), "{}", stderr(&nobody));
    drop(server);
    let server = Server::start(data.path(), &[]);
    let by_url = get(&server.origin).header("host", &host).send();
    assert_eq!(by_url.text(), "new", "it is there after a restart");
}
