//! Python's launcher.

use expect_test::expect;

use super::*;

const RUNTIME: Runtime = Runtime::Python { minor: 11 };

fn check(source: &str, expected: Expect) {
    Case::new(RUNTIME, "app.handler", &[("app.py", source)]).check(expected);
}

fn check_load(handler: &str, files: &[(&str, &str)], expected: Expect) {
    Case::new(RUNTIME, handler, files).check(expected);
}

#[test]
fn a_handler_answers_with_json() {
    check(
        "def handler(event, context): return {'a': [1, 2.5, None, True, 'é']}",
        expect![[r#"
            replied {"a": [1, 2.5, null, true, "\u00e9"]}
        "#]],
    );
    check(
        "def handler(event, context): pass",
        expect![[r#"
        replied null
    "#]],
    );
    check(
        "from decimal import Decimal\ndef handler(e, c): return {'price': Decimal('1.10'), 'raw': b'x'}",
        expect![[r#"
            replied {"price": 1.10, "raw": "x"}
        "#]],
    );
    check(
        "async def handler(event, context): return 1",
        expect![[r#"
        failed {"errorMessage": "Unable to marshal response: Object of type coroutine is not JSON serializable", "errorType": "Runtime.MarshalError", "requestId": "ID", "stackTrace": []}
        | [ERROR] Runtime.MarshalError: Unable to marshal response: Object of type coroutine is not JSON serializable
        : Traceback (most recent call last):
    "#]],
    );
    check(
        "def handler(event, context): return {1, 2}",
        expect![[r#"
        failed {"errorMessage": "Unable to marshal response: Object of type set is not JSON serializable", "errorType": "Runtime.MarshalError", "requestId": "ID", "stackTrace": []}
        | [ERROR] Runtime.MarshalError: Unable to marshal response: Object of type set is not JSON serializable
        : Traceback (most recent call last):
    "#]],
    );
    check(
        "def handler(event, context):\n a = []; a.append(a); return a",
        expect![[r#"
            failed {"errorMessage": "Unable to marshal response: Circular reference detected", "errorType": "Runtime.MarshalError", "requestId": "ID", "stackTrace": []}
            | [ERROR] Runtime.MarshalError: Unable to marshal response: Circular reference detected
            : Traceback (most recent call last):
        "#]],
    );
    check(
        "def handler(event, context): return b'raw'",
        expect![[r#"
        replied raw
    "#]],
    );
}

#[test]
fn what_a_handler_raises_is_its_error() {
    check(
        "def handler(event, context):\n    raise ValueError('no such thing')",
        expect![[r#"
            failed {"errorMessage": "no such thing", "errorType": "ValueError", "requestId": "ID", "stackTrace": ["  File \"/var/task/app.py\", line 2, in handler\n    raise ValueError('no such thing')\n"]}
            | [ERROR] ValueError: no such thing
            : Traceback (most recent call last):
            :   File "/var/task/app.py", line 2, in handler
            :     raise ValueError('no such thing')
        "#]],
    );
    check(
        "class Odd(Exception): pass\ndef inner(): raise Odd()\ndef handler(event, context):\n    inner()",
        expect![[r#"
            failed {"errorMessage": "", "errorType": "Odd", "requestId": "ID", "stackTrace": ["  File \"/var/task/app.py\", line 4, in handler\n    inner()\n", "  File \"/var/task/app.py\", line 2, in inner\n    def inner(): raise Odd()\n"]}
            | [ERROR] Odd
            : Traceback (most recent call last):
            :   File "/var/task/app.py", line 4, in handler
            :     inner()
            :   File "/var/task/app.py", line 2, in inner
            :     def inner(): raise Odd()
        "#]],
    );
}

#[test]
fn what_ends_the_process_ends_the_invocation() {
    check(
        "import sys\ndef handler(event, context): sys.exit(0)",
        expect![[r#"
            crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited without providing a reason"}
        "#]],
    );
    check(
        "def handler(event, context): exit(3)",
        expect![[r#"
        crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited with error: exit status 3"}
    "#]],
    );
    check(
        "import os\ndef handler(event, context): os._exit(127)",
        expect![[r#"
            crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited with error: exit status 127"}
        "#]],
    );
    check(
        "import os\ndef handler(event, context): os.kill(os.getpid(), 9)",
        expect![[r#"
            crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited with error: signal: killed"}
        "#]],
    );
    check(
        "import os\ndef handler(event, context): os.close(3)",
        expect![[r#"
            crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited without providing a reason"}
        "#]],
    );
}

#[test]
fn a_hostile_function_ends_alone() {
    check(
        "import os\ndef handler(event, context): os.write(3, b'x' * 100)",
        expect![[r#"
            crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited without providing a reason"}
        "#]],
    );
    check(
        "import os,struct\ndef handler(event, context):\n os.write(3, struct.pack('<IBBH16s', 2**31, 1, 6, 0, b''))",
        expect![[r#"
            crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited without providing a reason"}
        "#]],
    );
}

#[test]
fn answers_have_a_size() {
    let mut case = Case::new(
        RUNTIME,
        "app.handler",
        &[(
            "app.py",
            "def handler(e, c): return len(e) if isinstance(e, str) else 'x' * e",
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
        "import os\n\
         def handler(event, c):\n    \
         print(c.function_name, c.function_version, c.memory_limit_in_mb, c.invoked_function_arn, c.log_group_name)\n    \
         print(c.aws_request_id, c.tenant_id, c.identity.cognito_identity_id, c.client_context.custom, c.client_context.client.app_title)\n    \
         print(0 < c.get_remaining_time_in_millis() <= 20000, c.log_stream_name.startswith('20'), os.environ['_X_AMZN_TRACE_ID'])\n    \
         print(os.environ['GREETING'], os.environ['AWS_REGION'], os.environ['AWS_EXECUTION_ENV'], os.environ['AWS_ACCESS_KEY_ID'][:4])",
        expect![[r#"
            replied null
            | greet $LATEST 128 arn:aws:lambda:eu-west-1:000000000000:function:greet /aws/lambda/greet
            | ID None None {'k': 'v'} t
            | True True Root=1-00000001-000000000000000000000002
            | hello eu-west-1 AWS_Lambda_python3.11 ASIA
        "#]],
    );
}

#[test]
fn the_log_keeps_records_whole() {
    check(
        "import logging\nlogging.warning('at import')\n\
         def handler(event, context):\n    \
         print('one'); print('two', end='')\n    \
         logging.getLogger().setLevel('INFO'); logging.info('first\\nsecond'); logging.debug('never')",
        expect![[r#"
            replied null
            | [WARNING]	TIME		at import
            | one
            | two
            | [INFO]	TIME	ID	first
            : second
        "#]],
    );
}

#[test]
fn the_log_is_json_where_asked() {
    let source = "import logging\nlog = logging.getLogger('mine')\ndef handler(event, context):\n    \
        log.info('hello', extra={'order': 7}); log.debug('never')\n    \
        try: 1/0\n    \
        except Exception: log.exception('oh')\n    \
        raise KeyError('k')";
    let files = [("app.py", source)];
    let mut case = Case::new(RUNTIME, "app.handler", &files);
    case.log_format = LogFormat::Json;
    case.check(expect![[r#"
        failed {"errorMessage": "'k'", "errorType": "KeyError", "requestId": "ID", "stackTrace": ["  File \"/var/task/app.py\", line 7, in handler\n    raise KeyError('k')\n"]}
        | {"timestamp": "TIME", "level": "INFO", "message": "hello", "logger": "mine", "requestId": "ID", "order": 7}
        | {"timestamp": "TIME", "level": "ERROR", "message": "oh", "logger": "mine", "stackTrace": ["  File \"/var/task/app.py\", line 5, in handler\n    try: 1/0\n         ~^~\n"], "errorType": "ZeroDivisionError", "errorMessage": "division by zero", "requestId": "ID", "location": "/var/task/app.py:handler:6"}
        | {"timestamp": "TIME", "level": "ERROR", "errorMessage": "'k'", "errorType": "KeyError", "requestId": "ID", "stackTrace": ["  File \"/var/task/app.py\", line 7, in handler\n    raise KeyError('k')\n"]}
    "#]]);
}

#[test]
fn handlers_are_found_where_they_are_named() {
    check_load(
        "pkg.mod.func",
        &[("pkg/mod.py", "def func(e, c): return 'dotted'")],
        expect![[r#"
            replied "dotted"
        "#]],
    );
    check_load(
        "pkg/mod.func",
        &[("pkg/mod.py", "def func(e, c): return 'slashed'")],
        expect![[r#"
            replied "slashed"
        "#]],
    );
    check_load(
        "app.missing",
        &[("app.py", "")],
        expect![[r#"
        failed {"errorMessage": "Handler 'missing' missing on module 'app'", "errorType": "Runtime.HandlerNotFound", "requestId": "", "stackTrace": []}
        | [ERROR] Runtime.HandlerNotFound: Handler 'missing' missing on module 'app'
        : Traceback (most recent call last):
    "#]],
    );
    check_load(
        "nothing.handler",
        &[],
        expect![[r#"
        failed {"errorMessage": "Unable to import module 'nothing': No module named 'nothing'", "errorType": "Runtime.ImportModuleError", "requestId": "", "stackTrace": []}
        | [ERROR] Runtime.ImportModuleError: Unable to import module 'nothing': No module named 'nothing'
        : Traceback (most recent call last):
    "#]],
    );
    check_load(
        "app.handler",
        &[("app.py", "import not_there")],
        expect![[r#"
            failed {"errorMessage": "Unable to import module 'app': No module named 'not_there'", "errorType": "Runtime.ImportModuleError", "requestId": "", "stackTrace": []}
            | [ERROR] Runtime.ImportModuleError: Unable to import module 'app': No module named 'not_there'
            : Traceback (most recent call last):
        "#]],
    );
    check_load(
        "app.handler",
        &[("app.py", "def handler(:")],
        expect![[r#"
        failed {"errorMessage": "Syntax error in module 'app': invalid syntax (app.py, line 1)", "errorType": "Runtime.UserCodeSyntaxError", "requestId": "", "stackTrace": ["  File \"/var/task/app.py\" Line 1\n    def handler(:"]}
        | [ERROR] Runtime.UserCodeSyntaxError: Syntax error in module 'app': invalid syntax (app.py, line 1)
        : Traceback (most recent call last):
        :   File "/var/task/app.py" Line 1
        :     def handler(:
    "#]],
    );
    check_load(
        "handler",
        &[("app.py", "")],
        expect![[r#"
        failed {"errorMessage": "Bad handler 'handler': not enough values to unpack (expected 2, got 1)", "errorType": "Runtime.MalformedHandlerName", "requestId": "", "stackTrace": []}
        | [ERROR] Runtime.MalformedHandlerName: Bad handler 'handler': not enough values to unpack (expected 2, got 1)
        : Traceback (most recent call last):
    "#]],
    );
    check_load(
        "sys.exit",
        &[],
        expect![[r#"
        failed {"errorMessage": "Cannot use built-in module sys as a handler module", "errorType": "Runtime.BuiltInModuleConflict", "requestId": "", "stackTrace": []}
        | [ERROR] Runtime.BuiltInModuleConflict: Cannot use built-in module sys as a handler module
        : Traceback (most recent call last):
    "#]],
    );
    check_load(
        "app.handler",
        &[("app.py", "raise RuntimeError('at start')")],
        expect![[r#"
            failed {"errorMessage": "at start", "errorType": "RuntimeError", "requestId": "", "stackTrace": ["  File \"<frozen importlib._bootstrap>\", line 1206, in _gcd_import\n", "  File \"<frozen importlib._bootstrap>\", line 1178, in _find_and_load\n", "  File \"<frozen importlib._bootstrap>\", line 1149, in _find_and_load_unlocked\n", "  File \"<frozen importlib._bootstrap>\", line 690, in _load_unlocked\n", "  File \"<frozen importlib._bootstrap_external>\", line 940, in exec_module\n", "  File \"<frozen importlib._bootstrap>\", line 241, in _call_with_frames_removed\n", "  File \"/var/task/app.py\", line 1, in <module>\n    raise RuntimeError('at start')\n"]}
            | [ERROR] RuntimeError: at start
            : Traceback (most recent call last):
            :   File "<frozen importlib._bootstrap>", line 1206, in _gcd_import
            :   File "<frozen importlib._bootstrap>", line 1178, in _find_and_load
            :   File "<frozen importlib._bootstrap>", line 1149, in _find_and_load_unlocked
            :   File "<frozen importlib._bootstrap>", line 690, in _load_unlocked
            :   File "<frozen importlib._bootstrap_external>", line 940, in exec_module
            :   File "<frozen importlib._bootstrap>", line 241, in _call_with_frames_removed
            :   File "/var/task/app.py", line 1, in <module>
            :     raise RuntimeError('at start')
        "#]],
    );
    check_load(
        "app.handler",
        &[("app.py", "import sys; sys.exit(2)")],
        expect![[r#"
            crashed {"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited with error: exit status 2"}
        "#]],
    );
}

#[test]
fn an_instance_keeps_its_state() {
    let source = "n = 0\ndef handler(e, c):\n    global n; n += 1\n    if e == 'bad': raise Exception('x')\n    return n";
    let files = [("app.py", source)];
    let mut case = Case::new(RUNTIME, "app.handler", &files);
    case.events = &["1", "\"bad\"", " {\"a\": 1}\n"];
    case.check(expect![[r#"
        replied 1
        failed {"errorMessage": "x", "errorType": "Exception", "requestId": "ID", "stackTrace": ["  File \"/var/task/app.py\", line 4, in handler\n    if e == 'bad': raise Exception('x')\n"]}
        | [ERROR] Exception: x
        : Traceback (most recent call last):
        :   File "/var/task/app.py", line 4, in handler
        :     if e == 'bad': raise Exception('x')
        replied 3
    "#]]);
}

#[test]
fn every_python_of_this_host_runs_it() {
    for minor in 9..=14 {
        if FINDER.has(Language::Python(minor.into())) {
            let runtime = Runtime::Python { minor };
            let source = "import logging, json\ndef handler(e, c):\n    logging.error('x'); return {'é': json.dumps(e)}";
            let files = [("app.py", source)];
            let case = Case::new(runtime, "app.handler", &files);
            let expected = if minor < 12 {
                "replied {\"\\u00e9\": \"{}\"}"
            } else {
                "replied {\"é\": \"{}\"}"
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let seen = runtime.block_on(case.run());
            assert_eq!(
                seen,
                format!("{expected}\n| [ERROR]\tTIME\tID\tx\n"),
                "python3.{minor}"
            );
        }
    }
}

#[test]
fn an_error_of_any_size_ends_the_invocation() {
    let files = [(
        "app.py",
        "def handler(event, context):\n    if event: raise Exception('y' * event)\n    return 'well'",
    )];
    let mut case = Case::new(RUNTIME, "app.handler", &files);
    case.events = &["9000000", "0"];
    case.ends_too_large_then_well();
}
