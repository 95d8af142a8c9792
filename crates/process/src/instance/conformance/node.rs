//! Node's launcher, up to nodejs22.x and from nodejs24.x.

use expect_test::expect;

use super::*;

const OLD: Runtime = Runtime::Node { major: 20 };
const NEW: Runtime = Runtime::Node { major: 24 };

fn check(source: &str, expected: Expect) {
    Case::new(OLD, "index.handler", &[("index.js", source)]).check(expected);
}

fn check_new(source: &str, expected: Expect) {
    Case::new(NEW, "index.handler", &[("index.js", source)]).check(expected);
}

fn check_load(handler: &str, files: &[(&str, &str)], expected: Expect) {
    Case::new(OLD, handler, files).check(expected);
}

#[test]
fn a_handler_answers_with_json() {
    check(
        "exports.handler = async (event) => ({ a: [1, 2.5, null, 'é'] })",
        expect![[r#"
            replied {"a":[1,2.5,null,"é"]}
        "#]],
    );
    check(
        "exports.handler = async () => {}",
        expect![[r#"
        replied null
    "#]],
    );
    check(
        "exports.handler = async () => new Promise(r => setTimeout(() => r('later'), 5))",
        expect![[r#"
            replied "later"
        "#]],
    );
    check(
        "exports.handler = async () => { const a = {}; a.a = a; return a }",
        expect![[r#"
            failed {"errorType":"Error","errorMessage":"Unable to stringify response body","trace":["Error: Unable to stringify response body"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"Unable to stringify response body","stack":["Error: Unable to stringify response body"]}
        "#]],
    );
    check_new(
        "exports.handler = async () => { const a = {}; a.a = a; return a }",
        expect![[r#"
            failed {"errorType":"Runtime.JSONStringifyError","errorMessage":"Unable to stringify response body","trace":["Runtime.JSONStringifyError: Unable to stringify response body"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Runtime.JSONStringifyError","errorMessage":"Unable to stringify response body","stack":["Runtime.JSONStringifyError: Unable to stringify response body"]}
        "#]],
    );
    check(
        "exports.handler = () => new Promise(() => {})",
        expect![[r#"
        replied null
    "#]],
    );
    check_new(
        "exports.handler = () => new Promise(() => {})",
        expect![[r#"
        crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited without providing a reason"}
    "#]],
    );
}

#[test]
fn callbacks_answer_on_the_old_ones() {
    check(
        "exports.handler = (e, c, callback) => callback(null, 1)",
        expect![[r#"
            replied 1
        "#]],
    );
    check(
        "exports.handler = (e, c, callback) => callback(new TypeError('bad'))",
        expect![[r#"
            failed {"errorType":"TypeError","errorMessage":"bad","trace":["TypeError: bad","    at exports.handler (/var/task/index.js:1:48)"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"TypeError","errorMessage":"bad","stack":["TypeError: bad","    at exports.handler (/var/task/index.js:1:48)"]}
        "#]],
    );
    check(
        "exports.handler = (e, c, callback) => callback('words')",
        expect![[r#"
            failed {"errorType":"string","errorMessage":"words","trace":[]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"words","stack":["Error: words","    at exports.handler (/var/task/index.js:1:39)"]}
        "#]],
    );
    check(
        "exports.handler = (e, c, callback) => { callback(null, 'first'); setTimeout(() => console.log('after'), 5) }",
        expect![[r#"
            replied "first"
            | TIME	ID	INFO	after
        "#]],
    );
    check(
        "exports.handler = (e, c, callback) => { c.callbackWaitsForEmptyEventLoop = false; setTimeout(() => {}, 100000); callback(null, 'now') }",
        expect![[r#"
            replied "now"
        "#]],
    );
    check(
        "exports.handler = (e, c) => c.succeed('s')",
        expect![[r#"
        replied "s"
    "#]],
    );
    check(
        "exports.handler = (e, c) => c.fail('f')",
        expect![[r#"
        failed {"errorType":"string","errorMessage":"f","trace":[]}
        | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"f","stack":["Error: f","    at exports.handler (/var/task/index.js:1:31)"]}
    "#]],
    );
    check(
        "exports.handler = (e, c) => c.done(null, 'd')",
        expect![[r#"
        replied "d"
    "#]],
    );
    check(
        "exports.handler = (e, c) => 'ignored'",
        expect![[r#"
        replied null
    "#]],
    );
    check_new(
        "exports.handler = (e, c, callback) => callback(null, 1)",
        expect![[r#"
            failed {"errorType":"Runtime.CallbackHandlerDeprecated","errorMessage":"ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to modify this function to use a supported handler signature to use Node.js 24 or later. For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.","trace":["Runtime.CallbackHandlerDeprecated: ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to modify this function to use a supported handler signature to use Node.js 24 or later. For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html."]}
            | TIME	-	ERROR	Init Error 	{"errorType":"Runtime.CallbackHandlerDeprecated","errorMessage":"ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to modify this function to use a supported handler signature to use Node.js 24 or later. For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.","stack":["Runtime.CallbackHandlerDeprecated: ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to modify this function to use a supported handler signature to use Node.js 24 or later. For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html."]}
        "#]],
    );
}

#[test]
fn what_a_handler_throws_is_its_error() {
    check(
        "exports.handler = async () => { const e = new RangeError('far'); e.stack = 'S'; e.code = 7; throw e }",
        expect![[r#"
            failed {"errorType":"RangeError","errorMessage":"far","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"RangeError","errorMessage":"far","code":7,"stack":["S"]}
        "#]],
    );
    check(
        "exports.handler = async () => { throw 'words' }",
        expect![[r#"
            failed {"errorType":"string","errorMessage":"words","trace":[]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"words","stack":["Error: words"]}
        "#]],
    );
    check(
        "exports.handler = () => { const e = new Error('sync'); e.stack = 'S'; throw e }",
        expect![[r#"
            failed {"errorType":"Error","errorMessage":"sync","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"sync","stack":["S"]}
        "#]],
    );
    check_new(
        "exports.handler = () => { const e = new Error('sync'); e.stack = 'S'; throw e }",
        expect![[r#"
            failed {"errorType":"Error","errorMessage":"sync","trace":["S"]}
            | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"sync","stack":["S"]}
        "#]],
    );
}

#[test]
fn what_ends_the_process_ends_the_invocation() {
    check(
        "exports.handler = async () => process.exit(0)",
        expect![[r#"
        crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited without providing a reason"}
    "#]],
    );
    check(
        "exports.handler = async () => process.exit(9)",
        expect![[r#"
        crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited with error: exit status 9"}
    "#]],
    );
    check(
        "exports.handler = async () => { setTimeout(() => { const e = new Error('loose'); e.stack = 'S'; throw e }, 1); await new Promise(r => setTimeout(r, 1000)) }",
        expect![[r#"
            failed {"errorType":"Error","errorMessage":"loose","trace":["S"]}
            | TIME	ID	ERROR	Uncaught Exception 	{"errorType":"Error","errorMessage":"loose","stack":["S"]}
        "#]],
    );
    check(
        "exports.handler = async () => { Promise.reject('left'); await new Promise(r => setTimeout(r, 1000)) }",
        expect![[r#"
            failed {"errorType":"Runtime.UnhandledPromiseRejection","errorMessage":"left","trace":["Runtime.UnhandledPromiseRejection: left"]}
            | TIME	ID	ERROR	Unhandled Promise Rejection 	{"errorType":"Runtime.UnhandledPromiseRejection","errorMessage":"left","reason":"left","stack":["Runtime.UnhandledPromiseRejection: left"]}
        "#]],
    );
}

#[test]
fn answers_have_a_size() {
    let mut case = Case::new(
        OLD,
        "index.handler",
        &[(
            "index.js",
            "exports.handler = async (e) => typeof e === 'string' ? e.length : 'x'.repeat(e)",
        )],
    );
    case.events = &["6291555", "3"];
    case.check(expect![[r#"
        response_too_large {"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}
        replied "xxx"
    "#]]);
    let large = format!("\"{}\"", "y".repeat(6 * 1024 * 1024 - 2));
    let events = [large.as_str()];
    case.events = &events;
    case.check(expect![[r#"
        replied 6291454
    "#]]);
}

#[test]
fn the_context_is_whole() {
    check(
        "exports.handler = async (e, c) => {\n\
         console.log(c.functionName, c.functionVersion, c.memoryLimitInMB, c.invokedFunctionArn, c.logGroupName)\n\
         console.log(c.awsRequestId, c.tenantId, c.identity, c.clientContext, c.logStreamName.startsWith('20'))\n\
         console.log(c.getRemainingTimeInMillis() > 0, process.env._X_AMZN_TRACE_ID, process.env.GREETING, process.env.AWS_ACCESS_KEY_ID.slice(0, 4))\n\
         return Object.keys(c) }",
        expect![[r#"
            replied ["callbackWaitsForEmptyEventLoop","succeed","fail","done","functionVersion","functionName","memoryLimitInMB","logGroupName","logStreamName","clientContext","identity","invokedFunctionArn","awsRequestId","tenantId","getRemainingTimeInMillis"]
            | TIME	ID	INFO	greet $LATEST 128 arn:aws:lambda:eu-west-1:000000000000:function:greet /aws/lambda/greet
            | TIME	ID	INFO	ID undefined undefined { custom: { k: 'v' }, env: {}, client: { app_title: 't' } } true
            | TIME	ID	INFO	true Root=1-00000001-000000000000000000000002 hello ASIA
        "#]],
    );
}

#[test]
fn what_a_function_starts_knows_the_trace() {
    check(
        "const { execSync } = require('child_process')\n\
         exports.handler = async () => [execSync('echo $_X_AMZN_TRACE_ID').toString().trim(),\n\
         '_X_AMZN_TRACE_ID' in process.env, Object.hasOwn(process.env, '_X_AMZN_TRACE_ID')]",
        expect![[r#"
            replied ["Root=1-00000001-000000000000000000000002",true,false]
        "#]],
    );
}

#[test]
fn the_log_keeps_records_whole() {
    check(
        "console.log('at import')\nexports.handler = async () => { console.warn('first\\nsecond', { a: 1 }); process.stdout.write('raw\\n'); console.debug('d') }",
        expect![[r#"
            replied null
            | TIME	undefined	INFO	at import
            | TIME	ID	WARN	first
            : second { a: 1 }
            | raw
            | TIME	ID	DEBUG	d
        "#]],
    );
    check_new(
        "console.log('at import')\nexports.handler = async () => {}",
        expect![[r#"
            replied null
            | TIME	-	INFO	at import
        "#]],
    );
}

#[test]
fn the_log_is_json_where_asked() {
    let source = "exports.handler = async () => { console.info('hello'); console.log({ a: 1 }); console.debug('never'); \
        const e = new Error('inner'); e.stack = 'S'; console.error('oh', e); throw e }";
    let files = [("index.js", source)];
    let mut case = Case::new(OLD, "index.handler", &files);
    case.log_format = LogFormat::Json;
    case.check(expect![[r#"
        failed {"errorType":"Error","errorMessage":"inner","trace":["S"]}
        | {"timestamp":"TIME","level":"INFO","requestId":"ID","message":"hello"}
        | {"timestamp":"TIME","level":"INFO","requestId":"ID","message":{"a":1}}
        | {"timestamp":"TIME","level":"ERROR","requestId":"ID","message":"oh [S]","errorType":"Error","errorMessage":"inner","stackTrace":["S"]}
        | {"timestamp":"TIME","level":"ERROR","requestId":"ID","message":{"errorType":"Error","errorMessage":"inner","stackTrace":["S"]}}
    "#]]);
}

#[test]
fn handlers_are_found_where_they_are_named() {
    check_load(
        "index.handler",
        &[(
            "index.mjs",
            "const x = await 'top'; export const handler = async () => x",
        )],
        expect![[r#"
            replied "top"
        "#]],
    );
    check_load(
        "index.handler",
        &[("index.cjs", "exports.handler = async () => 'cjs'")],
        expect![[r#"
            replied "cjs"
        "#]],
    );
    check_load(
        "index.handler",
        &[
            ("index.js", "export const handler = async () => 'typed'"),
            ("package.json", r#"{"type":"module"}"#),
        ],
        expect![[r#"
            replied "typed"
        "#]],
    );
    check_load(
        "src/deep/index.a.b",
        &[(
            "src/deep/index.js",
            "exports.a = { b: async () => 'nested' }",
        )],
        expect![[r#"
            replied "nested"
        "#]],
    );
    check_load(
        "index.missing",
        &[("index.js", "")],
        expect![[r#"
        failed {"errorType":"Runtime.HandlerNotFound","errorMessage":"index.missing is undefined or not exported","trace":["Runtime.HandlerNotFound: index.missing is undefined or not exported"]}
        | TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.HandlerNotFound","errorMessage":"index.missing is undefined or not exported","stack":["Runtime.HandlerNotFound: index.missing is undefined or not exported"]}
    "#]],
    );
    check_load(
        "index.handler",
        &[("index.js", "exports.handler = 1")],
        expect![[r#"
            failed {"errorType":"Runtime.HandlerNotFound","errorMessage":"index.handler is not a function","trace":["Runtime.HandlerNotFound: index.handler is not a function"]}
            | TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.HandlerNotFound","errorMessage":"index.handler is not a function","stack":["Runtime.HandlerNotFound: index.handler is not a function"]}
        "#]],
    );
    check_load(
        "nothing",
        &[("index.js", "")],
        expect![[r#"
        failed {"errorType":"Runtime.MalformedHandlerName","errorMessage":"Bad handler","trace":["Runtime.MalformedHandlerName: Bad handler"]}
        | TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.MalformedHandlerName","errorMessage":"Bad handler","stack":["Runtime.MalformedHandlerName: Bad handler"]}
    "#]],
    );
    check_load(
        "../index.handler",
        &[("index.js", "")],
        expect![[r#"
        failed {"errorType":"Runtime.MalformedHandlerName","errorMessage":"'../index.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names.","trace":["Runtime.MalformedHandlerName: '../index.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names."]}
        | TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.MalformedHandlerName","errorMessage":"'../index.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names.","stack":["Runtime.MalformedHandlerName: '../index.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names."]}
    "#]],
    );
}

#[test]
fn what_a_module_imports_is_missing() {
    let first_lines = |source: &str| {
        let files = [("index.js", source)];
        let case = Case::new(OLD, "index.handler", &files);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let seen = runtime.block_on(case.run());
        let error: serde_json::Value =
            serde_json::from_str(seen.lines().next().unwrap().split_once(' ').unwrap().1).unwrap();
        format!(
            "{}: {}",
            error["errorType"].as_str().unwrap(),
            error["errorMessage"].as_str().unwrap()
        )
    };
    expect![[r#"
        Runtime.ImportModuleError: Error: Cannot find module 'not-there'
        Require stack:
        - /var/task/index.js
        - /var/runtime/index.mjs"#]]
    .assert_eq(&first_lines("require('not-there')"));
    expect!["Runtime.UserCodeSyntaxError: SyntaxError: Unexpected token '=>'"]
        .assert_eq(&first_lines("exports.handler = async ( => 1"));
}

#[test]
fn streamed_answers_come_whole() {
    check(
        "exports.handler = awslambda.streamifyResponse(async (e, stream, c) => { stream.write('a'); await new Promise(r => setTimeout(r, 1)); stream.write('b'); stream.end() })",
        expect![[r#"
            replied ab
        "#]],
    );
}

#[test]
fn an_instance_keeps_its_state() {
    let source = "let n = 0; exports.handler = async (e) => { n += 1; if (e === 'bad') { const x = new Error('x'); x.stack = 'S'; throw x }; return n }";
    let files = [("index.js", source)];
    let mut case = Case::new(OLD, "index.handler", &files);
    case.events = &["1", "\"bad\"", " {\"a\": 1}\n"];
    case.check(expect![[r#"
        replied 1
        failed {"errorType":"Error","errorMessage":"x","trace":["S"]}
        | TIME	ID	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"x","stack":["S"]}
        replied 3
    "#]]);
}

#[test]
fn an_error_of_any_size_ends_the_invocation() {
    let files = [(
        "index.js",
        "exports.handler = async (event) => { if (event) throw new Error('y'.repeat(event)); return 'well' }",
    )];
    let mut case = Case::new(OLD, "index.handler", &files);
    case.events = &["9000000", "0"];
    case.ends_too_large_then_well();
}
