//! Function URLs: HTTP in, payload 2.0, HTTP out.

use crate::http::{get, post, request};
use crate::project::Project;
use crate::test_node::TestNode;

const ECHO: &str = "
import json, base64
def handler(event, context):
    query = event.get('queryStringParameters') or {}
    answer = query.get('answer')
    if answer == 'event': return event
    if answer == 'string': return 'bare'
    if answer == 'none': return None
    if answer == 'teapot':
        return {'statusCode': 418, 'headers': {'X-Kind': 'pot'}, 'cookies': ['a=1', 'b=2'], 'body': 'short'}
    if answer == 'binary':
        return {'statusCode': 200, 'headers': {'content-type': 'image/png'}, 'isBase64Encoded': True,
                'body': base64.b64encode(bytes(range(256))).decode()}
    if answer == 'nonsense': return {'statusCode': 'many'}
    if answer == 'same':
        body = event.get('body') or ''
        data = base64.b64decode(body) if event.get('isBase64Encoded') else body.encode()
        return {'statusCode': 200, 'isBase64Encoded': True, 'body': base64.b64encode(data).decode(),
                'headers': {'content-type': 'application/octet-stream', 'x-was-base64': str(event['isBase64Encoded'])}}
";

#[test]
fn requests_and_answers_have_lambdas_shapes() {
    let project = Project::new(&[("echo/app.py", ECHO)]);
    let node = TestNode::with(&project);
    let url = node.url("echo");

    let event = get(&format!("{url}a%20b/c?answer=event&x=1&x=2"))
        .header("Cookie", "k=v; l=w")
        .header("X-Mixed-Case", "Kept")
        .send()
        .json();
    assert_eq!(event["version"], "2.0");
    assert_eq!(event["routeKey"], "$default");
    assert_eq!(event["rawPath"], "/a%20b/c");
    assert_eq!(event["rawQueryString"], "answer=event&x=1&x=2");
    assert_eq!(event["queryStringParameters"]["x"], "1,2");
    assert_eq!(event["headers"]["x-mixed-case"], "Kept");
    assert_eq!(event["cookies"], serde_json::json!(["k=v", "l=w"]));
    assert_eq!(event["requestContext"]["http"]["method"], "GET");
    assert_eq!(event["requestContext"]["stage"], "$default");
    assert_eq!(event["isBase64Encoded"], false);

    assert_eq!(get(&format!("{url}?answer=string")).send().text(), "bare");
    assert_eq!(get(&format!("{url}?answer=none")).send().text(), "null");

    let pot = get(&format!("{url}?answer=teapot")).send();
    assert_eq!(
        (pot.status, pot.text().as_str(), pot.header("x-kind")),
        (418, "short", Some("pot"))
    );
    assert_eq!(
        pot.headers
            .iter()
            .filter(|(name, _)| name == "set-cookie")
            .count(),
        2
    );

    let binary = get(&format!("{url}?answer=binary")).send();
    assert_eq!(binary.header("content-type"), Some("image/png"));
    assert_eq!(binary.body, (0..=255).collect::<Vec<u8>>());

    assert_eq!(get(&format!("{url}?answer=nonsense")).send().status, 502);

    let bytes: Vec<u8> = (0..=255).rev().collect();
    let same = post(&format!("{url}?answer=same"), bytes.clone())
        .header("content-type", "application/octet-stream")
        .send();
    assert_eq!(
        (same.header("x-was-base64"), &same.body),
        (Some("True"), &bytes)
    );
    let same = post(&format!("{url}?answer=same"), "plain")
        .header("content-type", "text/plain")
        .send();
    assert_eq!(
        (same.header("x-was-base64"), same.text().as_str()),
        (Some("False"), "plain")
    );

    let head = request("HEAD", &format!("{url}?answer=string")).send();
    assert_eq!((head.status, head.body.len()), (200, 0));
    let large = post(&format!("{url}?answer=same"), vec![b'x'; 7 << 20]).send();
    assert_eq!(large.status, 413);
}

#[test]
fn pages_whose_name_was_rebound_reach_nothing() {
    let project = Project::new(&[("echo/app.py", ECHO)]);
    let node = TestNode::with(&project);
    let metrics = format!("{}/metrics", node.origin);
    for url in [node.url("echo"), metrics] {
        let rebound = get(&url).header("Host", "evil.example").send();
        assert_eq!(rebound.status, 403, "{url}");
        assert!(rebound.text().contains("--allow-host evil.example"));
        let known = get(&url).header("Host", "localhost").send();
        assert_eq!(known.status, 200, "{url}");
    }
}
