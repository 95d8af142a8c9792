//! Answers that Node's launcher passes on while they are written.

use engine::stream::{self, Piece, Streamed};
use expect_test::expect;

use super::*;

const OLD: Runtime = Runtime::Node { major: 20 };
const NEW: Runtime = Runtime::Node { major: 24 };

/// A handler of this body in both of Node's programming models.
fn check(body: &str, expected: Expect) {
    let source = format!(
        "exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {{ {body} }})"
    );
    check_source(&source, expected);
}

fn check_source(source: &str, expected: Expect) {
    let files = [("index.js", source)];
    let seen = [OLD, NEW].map(|runtime| {
        let case = Case::new(runtime, "index.handler", &files);
        block_on(case.with_instance(async |instance, clock, kept| {
            let mut seen = String::new();
            for event in ["1", "2"] {
                let mut streamed = begin(instance, call(event, clock));
                seen += &read(&mut streamed).await;
                seen += &kept.take();
            }
            seen
        }))
    });
    assert_eq!(seen[0], seen[1]);
    expected.assert_eq(&seen[0]);
}

fn block_on<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(story)
}

fn begin(instance: &Arc<dyn Instance>, mut call: Call) -> Streamed {
    let (sink, reader) = stream::open(Arc::new(SystemClock::new()));
    call.sink = Some(sink);
    let instance = Arc::clone(instance);
    reader.of(tokio::spawn(async move { Ok(instance.invoke(call).await) }))
}

/// Reads to the end; what is written within a moment comes in one piece or in several.
async fn read(streamed: &mut Streamed) -> String {
    let mut seen = String::new();
    let mut text = Vec::new();
    while let Some(piece) = streamed.next().await {
        if let Piece::Data(bytes) = piece {
            text.extend_from_slice(&bytes);
            continue;
        }
        if !text.is_empty() {
            let shown: String = String::from_utf8_lossy(&text).chars().take(60).collect();
            seen += &format!("{} bytes: {shown:?}\n", text.len());
            text.clear();
        }
        seen += &match piece {
            Piece::Begin { content_type } => format!("begin {content_type:?}\n"),
            Piece::Whole => "whole\n".to_owned(),
            Piece::End(Ok(execution)) => {
                let outcome = execution.outcome;
                let payload = String::from_utf8_lossy(&outcome.payload).into_owned();
                let payload: String = payload.chars().take(120).collect();
                format!("{} {payload}", outcome.end.as_str())
                    .trim_end()
                    .to_owned()
                    + "\n"
            }
            other => format!("{other:?}\n"),
        };
    }
    seen
}

#[test]
fn parts_come_as_they_are_written() {
    check(
        "stream.setContentType('text/plain'); stream.write('a'); await new Promise(r => setTimeout(r, 5)); stream.write({ b: event }); stream.end('c')",
        expect![[r#"
            begin Some("text/plain")
            9 bytes: "a{\"b\":1}c"
            whole
            replied
            begin Some("text/plain")
            9 bytes: "a{\"b\":2}c"
            whole
            replied
        "#]],
    );
    check(
        "stream.end()",
        expect![[r#"
            begin Some("application/octet-stream")
            whole
            replied
            begin Some("application/octet-stream")
            whole
            replied
        "#]],
    );
    check(
        "stream.write(''); stream.end(Buffer.from([0, 255]))",
        expect![[r#"
            begin Some("application/octet-stream")
            2 bytes: "\0�"
            whole
            replied
            begin Some("application/octet-stream")
            2 bytes: "\0�"
            whole
            replied
        "#]],
    );
}

#[test]
fn http_metadata_goes_first() {
    check(
        "stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { a: 'b' } }); stream.write('body'); stream.end()",
        expect![[r#"
            begin Some("application/vnd.awslambda.http-integration-response")
            50 bytes: "{\"statusCode\":201,\"headers\":{\"a\":\"b\"}}\0\0\0\0\0\0\0\0body"
            whole
            replied
            begin Some("application/vnd.awslambda.http-integration-response")
            50 bytes: "{\"statusCode\":201,\"headers\":{\"a\":\"b\"}}\0\0\0\0\0\0\0\0body"
            whole
            replied
        "#]],
    );
}

#[test]
fn pipelines_of_any_size_pass() {
    check(
        "const { pipeline } = require('stream/promises'); const { Readable } = require('stream');\
         await pipeline(Readable.from((function* () { for (let n = 0; n < 40; n += 1) yield Buffer.alloc(300000, 'x') })()), stream)",
        expect![[r#"
            begin Some("application/octet-stream")
            12000000 bytes: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
            whole
            replied
            begin Some("application/octet-stream")
            12000000 bytes: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
            whole
            replied
        "#]],
    );
    check(
        "stream.end(Buffer.alloc(20000000, 'y'))",
        expect![[r#"
            begin Some("application/octet-stream")
            20000000 bytes: "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
            whole
            replied
            begin Some("application/octet-stream")
            20000000 bytes: "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
            whole
            replied
        "#]],
    );
}

#[test]
fn a_handler_that_does_not_stream_is_passed_on_whole() {
    check_source(
        "exports.handler = async (event) => ({ event })",
        expect![[r#"
            begin None
            11 bytes: "{\"event\":1}"
            replied
            begin None
            11 bytes: "{\"event\":2}"
            replied
        "#]],
    );
}

#[test]
fn python_does_not_stream_and_is_passed_on_whole() {
    let source = "def handler(event, context):\n    if event == 2: raise ValueError('no')\n    return [event]";
    let files = [("app.py", source)];
    let case = Case::new(Runtime::Python { minor: 11 }, "app.handler", &files);
    let seen = block_on(case.with_instance(async |instance, clock, _| {
        let first = read(&mut begin(instance, call("1", clock))).await;
        first + &read(&mut begin(instance, call("2", clock))).await
    }));
    assert!(
        seen.starts_with("begin None\n3 bytes: \"[1]\"\nreplied\nfailed {\"errorMessage\": \"no\""),
        "{seen}"
    );
}

#[test]
fn errors_come_before_and_after_the_first_byte() {
    check(
        "const e = new Error('early'); e.stack = 'S'; throw e",
        expect![[r#"
            failed {"errorType":"Error","errorMessage":"early","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"early","stack":["S"]}
            failed {"errorType":"Error","errorMessage":"early","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"early","stack":["S"]}
        "#]],
    );
    check(
        "stream.write('some'); const e = new Error('late'); e.stack = 'S'; throw e",
        expect![[r#"
            begin Some("application/octet-stream")
            4 bytes: "some"
            failed {"errorType":"Error","errorMessage":"late","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"late","stack":["S"]}
            begin Some("application/octet-stream")
            4 bytes: "some"
            failed {"errorType":"Error","errorMessage":"late","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"late","stack":["S"]}
        "#]],
    );
    check(
        "stream.write('some'); const e = new Error('y'.repeat(1000000)); e.stack = 'S'; console.error = () => {}; throw e",
        expect![[r#"
            begin Some("application/octet-stream")
            4 bytes: "some"
            failed {"errorType":"Error","errorMessage":"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
            begin Some("application/octet-stream")
            4 bytes: "some"
            failed {"errorType":"Error","errorMessage":"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
        "#]],
    );
    check(
        "const { pipeline } = require('stream/promises'); const { Readable } = require('stream');\
         await pipeline(Readable.from((function* () { yield 'some'; const e = new Error('source'); e.stack = 'S'; throw e })()), stream)",
        expect![[r#"
            begin Some("application/octet-stream")
            4 bytes: "some"
            failed {"errorType":"Error","errorMessage":"source","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"source","stack":["S"]}
            begin Some("application/octet-stream")
            4 bytes: "some"
            failed {"errorType":"Error","errorMessage":"source","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"source","stack":["S"]}
        "#]],
    );
    check(
        "stream.write('some'); const e = new Error('own'); e.stack = 'S'; stream.destroy(e)",
        expect![[r#"
            begin Some("application/octet-stream")
            4 bytes: "some"
            failed {"errorType":"Error","errorMessage":"own","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"own","stack":["S"]}
            begin Some("application/octet-stream")
            4 bytes: "some"
            failed {"errorType":"Error","errorMessage":"own","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"own","stack":["S"]}
        "#]],
    );
    check(
        "stream.end('all'); await new Promise(r => setTimeout(r, 5)); const e = new Error('after'); e.stack = 'S'; throw e",
        expect![[r#"
            begin Some("application/octet-stream")
            3 bytes: "all"
            whole
            replied
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"after","stack":["S"]}
            begin Some("application/octet-stream")
            3 bytes: "all"
            whole
            replied
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"after","stack":["S"]}
        "#]],
    );
    check(
        "stream.write('a'); try { stream.setContentType('b') } catch (e) { e.stack = 'S'; throw e }",
        expect![[r#"
            begin Some("application/octet-stream")
            1 bytes: "a"
            failed {"errorType":"Runtime.InvalidStreamingOperation","errorMessage":"Cannot set content-type, too late.","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Runtime.InvalidStreamingOperation","errorMessage":"Cannot set content-type, too late.","stack":["S"]}
            begin Some("application/octet-stream")
            1 bytes: "a"
            failed {"errorType":"Runtime.InvalidStreamingOperation","errorMessage":"Cannot set content-type, too late.","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Runtime.InvalidStreamingOperation","errorMessage":"Cannot set content-type, too late.","stack":["S"]}
        "#]],
    );
}

#[test]
fn a_stream_that_nobody_ends_has_failed() {
    let source = "exports.handler = awslambda.streamifyResponse(async (event, stream) => { stream.write('a') })";
    let files = [("index.js", source)];
    let case = Case::new(OLD, "index.handler", &files);
    let seen = block_on(case.with_instance(async |instance, clock, _| {
        read(&mut begin(instance, call("1", clock))).await
    }));
    expect![[r#"
        begin Some("application/octet-stream")
        1 bytes: "a"
        failed {"errorType":"Error","errorMessage":"Response stream is not finished.","trace":["Error: Response stream is not finished.
    "#]].assert_eq(&seen);
}

#[test]
fn a_slow_reader_slows_the_function_down_and_its_time_runs_all_the_same() {
    let source = "let wrote = 0; exports.handler = awslambda.streamifyResponse(async (event, stream) => {\
                  if (event === 'wrote') { stream.end(String(wrote)); return }\
                  for (;;) { wrote += 1; if (!stream.write(Buffer.alloc(100000))) await new Promise(r => stream.once('drain', r)) } })";
    let files = [("index.js", source)];
    let case = Case::new(OLD, "index.handler", &files);
    block_on(case.with_instance(async |instance, clock, _| {
        let mut endless = call("1", clock);
        endless.timeout = Duration::from_millis(500);
        let mut streamed = begin(instance, endless);
        let Some(Piece::Begin { .. }) = streamed.next().await else {
            panic!("it does not begin");
        };
        // Nothing is read until its time is up.
        instance.gone().await;
        let seen = read(&mut streamed).await;
        let bytes: usize = seen.split(' ').next().unwrap().parse().unwrap();
        assert!(bytes < 4 * 1024 * 1024, "{bytes}");
        assert!(seen.contains("timed_out "), "{seen}");
        seen
    }));
}

#[test]
fn a_function_goes_on_when_its_reader_goes_away() {
    let source = "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\
                  if (event === 'small') { stream.end('still here'); return }\
                  for (let n = 0; n < 100; n += 1) { if (!stream.write(Buffer.alloc(100000))) await new Promise(r => stream.once('drain', r)) }\
                  stream.end(); console.log('done') })";
    let files = [("index.js", source)];
    let case = Case::new(OLD, "index.handler", &files);
    block_on(case.with_instance(async |instance, clock, kept| {
        let (sink, reader) = stream::open(Arc::new(SystemClock::new()));
        let mut large = call("1", clock);
        large.sink = Some(sink);
        drop(reader);
        let execution = instance.invoke(large).await;
        assert_eq!(execution.outcome.end, model::End::Replied);
        assert!(kept.take().contains("done"));
        let seen = read(&mut begin(instance, call("\"small\"", clock))).await;
        assert!(seen.contains("still here"), "{seen}");
        seen
    }));
}

#[test]
fn an_answer_beyond_its_limit_ends_the_instance() {
    let source = "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\
                  const part = Buffer.alloc(1 << 20); for (;;) { if (!stream.write(part)) await new Promise(r => stream.once('drain', r)) } })";
    let files = [("index.js", source)];
    let case = Case::new(OLD, "index.handler", &files);
    let seen = block_on(case.with_instance(async |instance, clock, _| {
        let seen = read(&mut begin(instance, call("1", clock))).await;
        assert!(!instance.is_alive());
        seen
    }));
    let expected = "response_too_large {\"errorMessage\":\"Response payload size exceeded maximum \
                    allowed payload size (209715200 bytes).\"";
    assert!(seen.contains(expected), "{seen}");
}
