//! How an invocation ends: each end has Lambda's payload, log lines and clean-up.

use expect_test::{Expect, expect};
use node::dev::Event;

use crate::http::{get, post};
use crate::project::Project;
use crate::test_node::TestNode;

const TEMPLATE: &str = "
Globals:
  Function:
    Timeout: 60
    MemorySize: 128
    FunctionUrlConfig: {AuthType: NONE}
Resources:
  Python:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: py, CodeUri: py, Handler: app.handler, Runtime: python3.11}
  Node:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: js, CodeUri: js, Handler: index.handler, Runtime: nodejs20.x}
  ShortPython:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: py-short, CodeUri: py, Handler: app.handler, Runtime: python3.11, Timeout: 1}
  ShortNode:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: js-short, CodeUri: js, Handler: index.handler, Runtime: nodejs20.x, Timeout: 1}
  BrokenPython:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: py-init, CodeUri: py-init, Handler: app.handler, Runtime: python3.11}
  BrokenNode:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: js-init, CodeUri: js-init, Handler: index.handler, Runtime: nodejs20.x}
  NoHandler:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: py-none, CodeUri: py, Handler: app.missing, Runtime: python3.11}
";

const PYTHON: &str = r#"
import os, sys, time
hoard = []
def handler(event, context):
    act = event.get("act")
    if act == "raise": raise ValueError("no good")
    if act == "hang": time.sleep(600)
    if act == "exit": os._exit(7)
    if act == "sysexit": sys.exit(0)
    if act == "segv": os.kill(os.getpid(), 11)
    if act == "hog":
        while True: hoard.append(bytearray(b"x" * (8 << 20)))
    if act == "large": return "x" * (7 << 20)
    if act == "unserialisable": return object()
    print("did nothing")
    return {"act": act}
"#;

const NODE: &str = r#"
const hoard = [];
exports.handler = async (event) => {
  switch (event.act) {
    case "raise": throw new RangeError("no good");
    case "hang": await new Promise((r) => setTimeout(r, 600000)); break;
    case "exit": process.exit(7);
    case "segv": process.kill(process.pid, "SIGSEGV"); await new Promise((r) => setTimeout(r, 600000)); break;
    case "hog": for (;;) hoard.push(Buffer.alloc(8 << 20, 1));
    case "large": return "x".repeat(7 << 20);
  }
  console.log("did nothing");
  return { act: event.act };
};
"#;

fn project() -> Project {
    Project::new(&[
        ("template.yaml", TEMPLATE),
        ("py/app.py", PYTHON),
        ("js/index.js", NODE),
        ("py-init/app.py", "raise RuntimeError('cannot begin')\n"),
        ("js-init/index.js", "throw new Error('cannot begin');\n"),
    ])
}

/// Invokes with `{"act": act}` and compares end, payload and whether the log tail reports.
fn check(node: &TestNode, function: &str, act: &str, expected: Expect) {
    let answer = node.invoke(function, &format!(r#"{{"act": "{act}"}}"#));
    let id = answer["id"].as_str().expect("an id").to_owned();
    let mut text = format!(
        "{}\n{}",
        answer["outcome"].as_str().unwrap_or("?"),
        answer["payload"]
    );
    for key in ["stackTrace", "trace"] {
        // Where the code lies in its file is no promise.
        if let Some(at) = text.find(&format!("\"{key}\":[")) {
            let end = text[at..].find(']').map_or(text.len(), |end| at + end + 1);
            text.replace_range(at..end, &format!("\"{key}\":[..]"));
        }
    }
    expected.assert_eq(&text.replace(&id, "<id>"));
    let tail = answer["log"].as_str().unwrap_or_default();
    assert!(tail.contains(&format!("REPORT RequestId: {id}")), "{tail}");
}

#[test]
fn every_end_has_lambdas_own_payload() {
    let project = project();
    let node = TestNode::with(&project);
    check(
        &node,
        "py",
        "nothing",
        expect![[r#"
        replied
        {"act":"nothing"}"#]],
    );
    check(
        &node,
        "py",
        "raise",
        expect![[r#"
        failed
        {"errorMessage":"no good","errorType":"ValueError","requestId":"<id>","stackTrace":[..]}"#]],
    );
    check(
        &node,
        "py-short",
        "hang",
        expect![[r#"
        timed_out
        {"errorMessage":"RequestId: <id> Error: Task timed out after 1.00 seconds","errorType":"Sandbox.Timedout"}"#]],
    );
    check(
        &node,
        "py",
        "exit",
        expect![[r#"
        crashed
        {"errorMessage":"RequestId: <id> Error: Runtime exited with error: exit status 7","errorType":"Runtime.ExitError"}"#]],
    );
    check(
        &node,
        "py",
        "sysexit",
        expect![[r#"
        crashed
        {"errorMessage":"RequestId: <id> Error: Runtime exited without providing a reason","errorType":"Runtime.ExitError"}"#]],
    );
    check(
        &node,
        "py",
        "segv",
        expect![[r#"
        crashed
        {"errorMessage":"RequestId: <id> Error: Runtime exited with error: signal: segmentation fault","errorType":"Runtime.ExitError"}"#]],
    );
    check(
        &node,
        "py",
        "hog",
        expect![[r#"
        out_of_memory
        {"errorMessage":"RequestId: <id> Error: Runtime exited with error: signal: killed","errorType":"Runtime.ExitError"}"#]],
    );
    check(
        &node,
        "py",
        "large",
        expect![[r#"
        response_too_large
        {"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}"#]],
    );
    check(
        &node,
        "py",
        "unserialisable",
        expect![[r#"
        failed
        {"errorMessage":"Unable to marshal response: Object of type object is not JSON serializable","errorType":"Runtime.MarshalError","requestId":"<id>","stackTrace":[..]}"#]],
    );
    check(
        &node,
        "py",
        "nothing",
        expect![[r#"
        replied
        {"act":"nothing"}"#]],
    );
    check(
        &node,
        "js",
        "nothing",
        expect![[r#"
        replied
        {"act":"nothing"}"#]],
    );
    check(
        &node,
        "js",
        "raise",
        expect![[r#"
        failed
        {"errorMessage":"no good","errorType":"RangeError","trace":[..]}"#]],
    );
    check(
        &node,
        "js-short",
        "hang",
        expect![[r#"
        timed_out
        {"errorMessage":"RequestId: <id> Error: Task timed out after 1.00 seconds","errorType":"Sandbox.Timedout"}"#]],
    );
    check(
        &node,
        "js",
        "exit",
        expect![[r#"
        crashed
        {"errorMessage":"RequestId: <id> Error: Runtime exited with error: exit status 7","errorType":"Runtime.ExitError"}"#]],
    );
    check(
        &node,
        "js",
        "segv",
        expect![[r#"
        crashed
        {"errorMessage":"RequestId: <id> Error: Runtime exited with error: signal: segmentation fault","errorType":"Runtime.ExitError"}"#]],
    );
    check(
        &node,
        "js",
        "hog",
        expect![[r#"
        out_of_memory
        {"errorMessage":"RequestId: <id> Error: Runtime exited with error: signal: killed","errorType":"Runtime.ExitError"}"#]],
    );
    check(
        &node,
        "js",
        "large",
        expect![[r#"
        response_too_large
        {"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}"#]],
    );
    check(
        &node,
        "py-init",
        "nothing",
        expect![[r#"
        failed
        {"errorMessage":"cannot begin","errorType":"RuntimeError","requestId":"","stackTrace":[..]}"#]],
    );
    check(
        &node,
        "js-init",
        "nothing",
        expect![[r#"
        failed
        {"errorMessage":"cannot begin","errorType":"Error","trace":[..]}"#]],
    );
    check(
        &node,
        "py-none",
        "nothing",
        expect![[r#"
        failed
        {"errorMessage":"Handler 'missing' missing on module 'app'","errorType":"Runtime.HandlerNotFound","requestId":"","stackTrace":[..]}"#]],
    );
}

#[test]
fn a_failed_initialisation_is_tried_once_more_in_the_invocation() {
    let project = project();
    let node = TestNode::with(&project);
    node.invoke("js-init", "{}");
    let report = node.wait(|event| match event {
        Event::Log { function, text, .. } => {
            (function == "js-init" && text.starts_with("REPORT")).then(|| text.clone())
        }
        _ => None,
    });
    // As AWS's own logs have it: the second try is the invocation's, and no INIT beside it.
    assert!(
        report.contains("\tDuration: ") && !report.contains("Init Duration"),
        "{report}"
    );
    assert!(!report.contains("\tDuration: 0.0"), "{report}");
    let events = node.events();
    let lines = events.iter().filter_map(|event| match event {
        Event::Log { function, text, .. } if function == "js-init" => Some(text.as_str()),
        _ => None,
    });
    let told = lines.filter_map(|line| {
        let words = [
            "INIT_START",
            "Phase: init",
            "Phase: invoke",
            "START",
            "END",
            "REPORT",
        ];
        words.into_iter().find(|word| line.contains(word))
    });
    let told: Vec<_> = told.collect();
    assert_eq!(
        told,
        [
            "INIT_START",
            "Phase: init",
            "Phase: invoke",
            "START",
            "END",
            "REPORT"
        ]
    );
}

#[test]
fn a_failing_function_is_a_bad_gateway_at_its_url() {
    let project = project();
    let node = TestNode::with(&project);
    let answer = get(&node.url("py-init")).send();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (502, "Internal Server Error")
    );
}

#[test]
fn broken_json_is_the_callers_fault() {
    let project = project();
    let node = TestNode::with(&project);
    let url = format!("{}/2015-03-31/functions/py/invocations", node.origin);
    let signature = "AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/lambda/aws4_request, \
                     SignedHeaders=host, Signature=0";
    let answer = post(&url, "{").header("authorization", signature).send();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(
        answer.header("x-amzn-errortype"),
        Some("InvalidRequestContentException")
    );
}
