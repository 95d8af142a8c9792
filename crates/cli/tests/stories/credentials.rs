//! Who a function is when it calls the platform.

use crate::project::Project;
use crate::test_node::TestNode;

/// A function that asks STS who it is, signed with nothing but what Python brings.
pub(crate) const WHO: &str = r#"
import datetime, hashlib, hmac, os, urllib.request, urllib.error

def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

def call(service, method, path, body):
    host = os.environ['AWS_ENDPOINT_URL'].split('//')[1]
    now = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
    headers = {'host': host, 'x-amz-date': now, 'x-amz-security-token': os.environ['AWS_SESSION_TOKEN']}
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
    return call(*event['call'][:3], event['call'][3].encode())
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
