//! Answers that are read while they are written: at a function URL and through boto3.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::clients::boto3;
use crate::http::get;
use crate::project::Project;
use crate::test_node::TestNode;

/// Writes, waits for whoever is at `gate`, and goes on as `then` says.
const STREAM: &str = "
exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
  const { gate, then, size, plain } = event.queryStringParameters ?? event;
  if (!plain) {
    stream = awslambda.HttpResponseStream.from(stream, {
      statusCode: 202, headers: { 'Content-Type': 'text/plain', 'X-Kind': 'stream' }, cookies: ['a=1', 'b=2'],
    });
  }
  if (then === 'early') throw new Error('early');
  stream.write('first ');
  const word = gate ? await (await fetch(gate)).text() : 'none';
  if (then === 'fail') throw new Error('half-way');
  if (then === 'exit') process.exit(3);
  if (then === 'hang') await new Promise((resolve) => setTimeout(resolve, 1e6));
  for (let left = Number(size ?? 0); left > 0; left -= 1e6) {
    if (!stream.write(Buffer.alloc(Math.min(left, 1e6), 'x'))) await new Promise((resolve) => stream.once('drain', resolve));
  }
  stream.end('then ' + word);
});
";

const TEMPLATE: &str = "
Resources:
  Stream:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: stream
      CodeUri: stream
      Handler: index.handler
      Runtime: nodejs22.x
      Timeout: 20
      FunctionUrlConfig: {AuthType: NONE, InvokeMode: RESPONSE_STREAM}
  Short:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: short
      CodeUri: stream
      Handler: index.handler
      Runtime: nodejs22.x
      Timeout: 1
      FunctionUrlConfig: {AuthType: NONE, InvokeMode: RESPONSE_STREAM}
  Whole:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: whole
      CodeUri: stream
      Handler: index.handler
      Runtime: nodejs22.x
      FunctionUrlConfig: {AuthType: NONE}
";

fn node() -> TestNode {
    let project = Project::new(&[("template.yaml", TEMPLATE), ("stream/index.js", STREAM)]);
    let data = tempfile::tempdir().expect("a data folder");
    let node = TestNode::start_in(project.path(), data.path(), false, |config| {
        // The gates of these stories are on this host.
        config.allow_host_services = true;
    });
    node.keep((project, data))
}

/// A server that answers one request, when it is told to.
struct Gate(TcpListener);

impl Gate {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    fn url(&self) -> String {
        let address = self.0.local_addr().expect("an address");
        format!("http://host.docker.internal:{}/", address.port())
    }

    fn open(self, word: &str) {
        let (mut stream, _) = self.0.accept().expect("a request");
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).expect("its head");
        let length = word.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{word}"
        );
        stream.write_all(answer.as_bytes()).expect("an answer");
    }
}

#[test]
fn the_first_bytes_are_read_before_the_function_goes_on() {
    let node = node();
    let gate = Gate::new();
    let mut answer = get(&format!("{}?gate={}", node.url("stream"), gate.url())).open();
    assert_eq!(answer.head.status, 202);
    assert_eq!(answer.head.header("content-type"), Some("text/plain"));
    assert_eq!(answer.head.header("x-kind"), Some("stream"));
    let cookies = answer
        .head
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie");
    assert_eq!(cookies.count(), 2);
    assert_eq!(
        answer.next().expect("a chunk").as_deref(),
        Some(&b"first "[..])
    );
    // Only now the function gets what it waits for.
    gate.open("opened");
    let rest = answer.rest().expect("all of it");
    assert_eq!(String::from_utf8_lossy(&rest), "then opened");
}

#[test]
fn large_answers_pass_and_a_buffered_url_answers_at_once() {
    let node = node();
    let large = get(&format!("{}?size=50000000", node.url("stream"))).send();
    assert_eq!(large.body.len(), 50_000_000 + 15);
    assert!(large.body.ends_with(b"then none"));
    let whole = get(&format!("{}?size=100&plain=1", node.url("whole"))).send();
    assert_eq!(whole.status, 200, "{}", whole.text());
    assert!(whole.text().starts_with("first xxx"), "{}", whole.text());
}

#[test]
fn an_answer_that_breaks_off_is_cut_short_and_the_next_one_is_not() {
    let node = node();
    for (name, then) in [("stream", "fail"), ("stream", "exit"), ("short", "hang")] {
        let mut answer = get(&format!("{}?then={then}", node.url(name))).open();
        assert_eq!(
            answer.next().expect("a chunk").as_deref(),
            Some(&b"first "[..])
        );
        assert!(answer.rest().is_err(), "{then}: the end is missing");
        let well = get(&node.url(name)).send();
        assert_eq!(well.text(), "first then none");
    }
    let early = get(&format!("{}?then=early", node.url("stream"))).send();
    assert_eq!(
        (early.status, early.text().as_str()),
        (502, "Internal Server Error")
    );
}

#[test]
fn a_client_that_goes_away_costs_nothing_but_its_answer() {
    let node = node();
    let url = node.url("stream");
    for _ in 0..3 {
        let mut answer = get(&format!("{url}?size=100000000")).open();
        answer.next().expect("a chunk");
        drop(answer);
    }
    let well = get(&url).send();
    assert_eq!(well.text(), "first then none");
}

#[test]
fn boto3_reads_events_as_they_come() {
    let node = node();
    boto3(
        &node,
        r#"
import socket
client = boto3.client('lambda')
gate = socket.create_server(('127.0.0.1', 0))
url = 'http://host.docker.internal:%d/' % gate.getsockname()[1]
answer = client.invoke_with_response_stream(FunctionName='stream', LogType='Tail',
    Payload=json.dumps({'gate': url, 'plain': 1}))
assert answer['StatusCode'] == 200 and answer['ExecutedVersion'] == '$LATEST', answer
events = iter(answer['EventStream'])
first = next(events)
assert first == {'PayloadChunk': {'Payload': b'first '}}, first
# Only now the function gets what it waits for.
stream, _ = gate.accept()
stream.recv(4096)
stream.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nopened')
rest = list(events)
payload = b''.join(event['PayloadChunk']['Payload'] for event in rest[:-1])
assert payload == b'then opened', rest
complete = rest[-1]['InvokeComplete']
assert 'ErrorCode' not in complete, complete
assert 'REPORT RequestId' in base64.b64decode(complete['LogResult']).decode(), complete

def end(name, **event):
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event))
    events = list(answer['EventStream'])
    payload = b''.join(event['PayloadChunk']['Payload'] for event in events[:-1])
    complete = events[-1]['InvokeComplete']
    return payload, complete.get('ErrorCode'), json.loads(complete.get('ErrorDetails', 'null'))

payload, code, details = end('stream', then='fail', plain=1)
assert (payload, code, details['errorMessage']) == (b'first ', 'Unhandled', 'half-way'), (payload, code, details)
payload, code, details = end('stream', then='exit', plain=1)
assert (payload, code) == (b'first ', 'Runtime.TruncatedResponse'), (payload, code, details)
payload, code, details = end('short', then='hang', plain=1)
assert (payload, code, details['errorType']) == (b'first ', 'Sandbox.Timedout', 'Sandbox.Timedout'), (payload, code, details)
payload, code, details = end('stream', then='early')
assert (payload, code, details['errorMessage']) == (b'', 'Unhandled', 'early'), (payload, code, details)
payload, code, details = end('stream', size=20000000, plain=1)
assert (len(payload), code) == (20000000 + 15, None), (len(payload), code, details)
payload, _, _ = end('stream')
head, rest = payload.split(bytes(8), 1)
assert json.loads(head)['statusCode'] == 202 and rest == b'first then none', payload

# Invoke has no stream: it answers whole.
whole = client.invoke(FunctionName='stream', Payload=b'{"plain": 1}')
assert whole['Payload'].read() == b'first then none'

dry = client.invoke_with_response_stream(FunctionName='stream', InvocationType='DryRun')
assert dry['StatusCode'] == 204, dry
try:
    client.invoke_with_response_stream(FunctionName='missing')
    raise SystemExit('no error')
except client.exceptions.ResourceNotFoundException:
    pass
assert client.get_function_url_config(FunctionName='stream')['InvokeMode'] == 'RESPONSE_STREAM'
"#,
    );
}
