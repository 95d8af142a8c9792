//! Answers of functions and the responses they become.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn check(payload: &str, expected: Expect) {
    let shown = match read(&Bytes::copy_from_slice(payload.as_bytes())) {
        Err(malformed) => format!("502: {malformed}"),
        Ok(reply) => {
            let mut lines: Vec<_> = reply
                .headers
                .iter()
                .map(|(name, value)| {
                    format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
                })
                .collect();
            lines.sort();
            let body = String::from_utf8_lossy(&reply.body);
            format!("{}\n{}{body}", reply.status.as_u16(), lines.concat())
        }
    };
    expected.assert_eq(&shown);
}

#[test]
fn answers_in_the_form_of_a_response() {
    check(
        r#"{"statusCode":201,"headers":{"Content-Type":"text/html","X-A":"1","x-n":5,"x-b":true,"x-null":null},
            "cookies":["a=1; Path=/","b=2"],"body":"<p>\u00e9</p>"}"#,
        expect![[r#"
            201
            content-type: text/html
            set-cookie: a=1; Path=/
            set-cookie: b=2
            x-a: 1
            x-b: true
            x-n: 5
            <p>é</p>"#]],
    );
    check(
        r#"{"statusCode":"200","body":"aGVsbG8=","isBase64Encoded":true}"#,
        expect![[r#"
            200
            content-type: application/json
            hello"#]],
    );
    check(
        r#"{"statusCode":200,"body":{"a": 1}}"#,
        expect![[r#"
            200
            content-type: application/json
            {"a": 1}"#]],
    );
    check(
        r#"{"statusCode":204,"body":"ignored","headers":null,"cookies":null}"#,
        expect![[r#"
            204
            content-type: application/json
        "#]],
    );
}

#[test]
fn anything_else_is_a_json_body() {
    check(
        r#"{"ok": true}"#,
        expect![[r#"
            200
            content-type: application/json
            {"ok": true}"#]],
    );
    check(
        r#""bare \"text\"""#,
        expect![[r#"
            200
            content-type: application/json
            bare "text""#]],
    );
    for payload in ["null", "[1, 2]", "3.5"] {
        let reply = read(&Bytes::copy_from_slice(payload.as_bytes())).unwrap();
        assert_eq!(
            (reply.status.as_u16(), &reply.body[..]),
            (200, payload.as_bytes())
        );
    }
}

#[test]
fn headers_of_the_connection_do_not_go_out() {
    check(
        r#"{"statusCode":401,"headers":{"Connection":"close","Content-Length":"99","Transfer-Encoding":"chunked",
            "Date":"now","WWW-Authenticate":"Basic"}}"#,
        expect![[r#"
            401
            content-type: application/json
            x-amzn-remapped-connection: close
            x-amzn-remapped-content-length: 99
            x-amzn-remapped-date: now
            x-amzn-remapped-www-authenticate: Basic
        "#]],
    );
}

#[test]
fn malformed_answers_are_told_apart() {
    check(
        r#"{"statusCode":99}"#,
        expect!["502: statusCode must be a number from 200 to 599, not 99"],
    );
    check(
        r#"{"statusCode":"ok"}"#,
        expect![[r#"502: statusCode must be a number from 200 to 599, not "ok""#]],
    );
    check(
        r#"{"statusCode":200,"headers":{"a":["b"]}}"#,
        expect!["502: headers must be an object whose values are strings, numbers or booleans"],
    );
    check(
        r#"{"statusCode":200,"headers":{"a":"b\r\nc: d"}}"#,
        expect!["502: the header 'a' holds what no header may hold"],
    );
    check(
        r#"{"statusCode":200,"cookies":"a=1"}"#,
        expect!["502: cookies must be a list of strings"],
    );
    check(
        r#"{"statusCode":200,"body":"*","isBase64Encoded":true}"#,
        expect!["502: the body is not valid base64, though isBase64Encoded is true"],
    );
    check(
        r#"{"statusCode":200"#,
        expect!["502: the answer is not valid JSON"],
    );
}

#[test]
fn heads_that_no_client_takes_are_malformed() {
    let headers = |count: usize| {
        let fields: Vec<_> = (0..count).map(|n| format!("\"x-{n}\":1")).collect();
        format!(r#"{{"statusCode":200,"headers":{{{}}}}}"#, fields.join(","))
    };
    check(
        &headers(40_000),
        expect!["502: there may be 1000 headers and cookies at most"],
    );
    let cookies = vec![r#""a=1""#; 40_000].join(",");
    check(
        &format!(r#"{{"statusCode":200,"cookies":[{cookies}]}}"#),
        expect!["502: there may be 1000 headers and cookies at most"],
    );
    let long = "y".repeat(HEAD_BYTES_MAX);
    check(
        &format!(r#"{{"statusCode":200,"headers":{{"x":"{long}"}}}}"#),
        expect!["502: headers and cookies may have 131072 bytes at most"],
    );
    let reply = read(&Bytes::from(headers(900))).unwrap();
    assert_eq!(reply.headers.len(), 901);
}

#[test]
fn half_characters_become_the_replacement_character() {
    check(
        r#"{"statusCode":200,"body":"a\ud800b\udc00\ud83d\ude00"}"#,
        expect![[r#"
            200
            content-type: application/json
            a�b�😀"#]],
    );
    check(
        r#""\ud800!""#,
        expect![[r#"
            200
            content-type: application/json
            �!"#]],
    );
}

proptest! {
    #[test]
    fn no_answer_panics(payload in any::<Vec<u8>>(), json in r#"\{("(statusCode|headers|body|cookies|isBase64Encoded)":([0-9]{1,4}|"[^"\\]*"|\{\}|\[\]|null),?){0,5}\}"#) {
        let _ = read(&Bytes::from(payload));
        let _ = read(&Bytes::from(json));
    }
}
