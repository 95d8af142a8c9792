//! Who a function is when it calls the platform.

use crate::project::Project;
use crate::test_node::TestNode;

/// A function that asks STS who it is, signed with nothing but what Python brings.
pub(crate) const WHO: &str = r#"
import datetime, hashlib, hmac, os, urllib.request, urllib.error

def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

def call(service, method, path, body, target=None):
    host = os.environ['AWS_ENDPOINT_URL'].split('//')[1]
    now = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
    headers = {'host': host, 'x-amz-date': now, 'x-amz-security-token': os.environ['AWS_SESSION_TOKEN']}
    if target:
        headers['x-amz-target'] = target
    names = ';'.join(headers)
    canonical = '\n'.join([method, path, '', *(f'{k}:{v}' for k, v in headers.items()), '', names,
                           hashlib.sha256(body).hexdigest()])
    scope = f"{now[:8]}/{os.environ['AWS_REGION']}/{service}/aws4_request"
    text = '\n'.join(['AWS4-HMAC-SHA256', now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ('AWS4' + os.environ['AWS_SECRET_ACCESS_KEY']).encode()
    for part in scope.split('/'):
        key = sign(key, part)
    headers['Authorization'] = (f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
                                f"SignedHeaders={names}, Signature={sign(key, text).hex()}")
    url = os.environ['AWS_ENDPOINT_URL'] + path
    request = urllib.request.Request(url, body or None, headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()

def handler(event, context):
    return call(*event['call'][:3], event['call'][3].encode(), *event['call'][4:])
"#;

/// What the function is told when it makes a call of its own.
pub(crate) const ASK_WHO: &str =
    r#"{"call": ["sts", "POST", "/", "Action=GetCallerIdentity&Version=2011-06-15"]}"#;

#[test]
fn a_function_is_itself_where_it_calls() {
    let project = Project::new(&[("who/app.py", WHO)]);
    let node = TestNode::with(&project);
    let answer = node.invoke("who", ASK_WHO)["payload"].to_string();
    let arn = "arn:aws:sts::000000000000:assumed-role/who-role/who</Arn>";
    assert!(answer.contains(arn), "{answer}");
}

/// Asks for something as another user, with nothing but a shell.
fn as_nobody(origin: &str, head: &str) -> String {
    use std::os::unix::process::CommandExt as _;
    let port = origin.rsplit(':').next().expect("a port");
    let script = format!(
        "exec 5<>/dev/tcp/127.0.0.1/{port}; printf '{head}\\r\\nHost: 127.0.0.1\\r\\nConnection: close\\r\\n\\r\\n' >&5; cat <&5"
    );
    let output = std::process::Command::new("/bin/bash")
        .args(["-c", &script])
        .uid(65_534)
        .gid(65_534)
        .current_dir("/")
        .output()
        .expect("a shell runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn another_user_of_the_machine_is_not_taken_for_the_owner() {
    if !rustix::process::getuid().is_root() {
        // Nobody else may act as another user.
        return;
    }
    let project = Project::new(&[(
        "who/app.py",
        "def handler(event, context): return 'hello'\n",
    )]);
    let node = TestNode::with(&project);
    let control = "GET /_dayfly/v1/functions HTTP/1.1";
    let refused = as_nobody(&node.origin, control);
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert!(
        refused.contains("user 65534") && refused.contains("--allow-any-user"),
        "{refused}"
    );
    let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00";
    let signed = format!("GET /2015-03-31/functions/ HTTP/1.1\\r\\nAuthorization: {scope}");
    let refused = as_nobody(&node.origin, &signed);
    assert!(refused.contains("user 65534"), "{refused}");
    // What is anybody's stays so.
    assert!(as_nobody(&node.origin, "GET /healthz HTTP/1.1").starts_with("HTTP/1.1 200"));
    let url = node.url("who");
    let url = url.trim_end_matches('/');
    assert!(as_nobody(url, "GET / HTTP/1.1").contains("hello"));
    drop(node);

    let data = tempfile::tempdir().expect("a folder");
    let open = TestNode::start_in(project.path(), data.path(), false, |config| {
        config.allow_any_user = true;
    });
    let let_in = as_nobody(&open.origin, control);
    assert!(let_in.starts_with("HTTP/1.1 200"), "{let_in}");
}
