//! Logs as those follow them who watch a function: the aws CLI's `logs tail --follow`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::clients::boto3;
use crate::project::Project;
use crate::test_node::TestNode;

const APP: &str = "
def handler(event, context):
    print('said', event.get('n'))
";

/// What the CLI's version 2 does for `logs tail --follow`: reads whole pages, then begins again with
/// the time of the newest event and drops what it has seen of that time.
const FOLLOWS: &str = r#"
logs, functions = boto3.client('logs'), boto3.client('lambda')
asked = {'logGroupName': '/aws/lambda/hello', 'interleaved': True, 'startTime': 0}
seen, told = {}, []
for n in range(1, 6):
    functions.invoke(FunctionName='hello', Payload=json.dumps({'n': n}))
    while True:
        answer = logs.filter_log_events(**asked, limit=3)
        for event in answer['events']:
            ids = seen.setdefault(event['timestamp'], set())
            if event['eventId'] not in ids:
                ids.add(event['eventId'])
                told.append(event['message'])
        seen = {at: ids for at, ids in seen.items() if at == max(seen)}
        if 'nextToken' not in answer:
            break
        asked['nextToken'] = answer['nextToken']
    asked.pop('nextToken', None)
    asked['startTime'] = max(seen)
    assert [it for it in told if it.startswith('said')] == [f'said {k}' for k in range(1, n + 1)], told
    assert sum(it.startswith('REPORT') for it in told) == n, told
"#;

#[test]
fn who_polls_for_new_events_sees_each_once() {
    let project = Project::new(&[("hello/app.py", APP)]);
    let node = TestNode::with(&project);
    boto3(&node, FOLLOWS);
}

struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        // It follows until somebody ends it; that it has ended by itself is told by its output.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_aws_cli_follows_a_functions_log() {
    let Ok(aws) = std::env::var("DAYFLY_TEST_AWS_2") else {
        println!("no aws CLI of version 2 on this host: left out");
        return;
    };
    let project = Project::new(&[("hello/app.py", APP)]);
    let node = TestNode::with(&project);
    node.invoke("hello", r#"{"n": 1}"#);
    let tail = Command::new(aws)
        .args(["--endpoint-url", &node.origin, "logs", "tail", "--follow"])
        .args(["--format", "short", "--filter-pattern", "said"])
        .arg("/aws/lambda/hello")
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("PYTHONUNBUFFERED", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the aws CLI runs");
    let mut tail = Tail(tail);
    let mut lines = BufReader::new(tail.0.stdout.take().expect("its output")).lines();
    for n in 1..4 {
        let line = lines.next().expect("a line").expect("text");
        assert!(line.ends_with(&format!(" said {n}")), "{line}");
        node.invoke("hello", &format!(r#"{{"n": {}}}"#, n + 1));
    }
}
