//! What patterns match, one line for each, and what holds of all of them; not how they are read.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(pattern: &str, matching: &[&str], others: &[&str]) {
    let read = Pattern::read(pattern).unwrap_or_else(|bad| panic!("{pattern}: {bad}"));
    for text in matching {
        assert!(read.matches(text), "{pattern} matches {text}");
    }
    for text in others {
        assert!(!read.matches(text), "{pattern} does not match {text}");
    }
}

#[track_caller]
fn bad(pattern: &str, expected: &str) {
    let told = Pattern::read(pattern).map_err(|bad| bad.to_string());
    let told = told.map_or_else(|told| told, |read| format!("{read:?}"));
    assert!(told.starts_with(expected), "{pattern}: {told}");
}

#[test]
fn terms() {
    check("", &["anything", ""], &[]);
    check("ERROR", &["[ERROR 400] BAD"], &["error", "ERR OR"]);
    check(
        "ERROR ARGUMENTS",
        &["ERROR x ARGUMENTS"],
        &["ERROR", "ARGUMENTS"],
    );
    check("?ERROR ?WARN", &["an ERROR", "a WARN"], &["INFO"]);
    check("ERROR -debug", &["ERROR"], &["ERROR debug", "INFO"]);
    check("-debug", &["ERROR"], &["debug"]);
    check("?A B", &["B"], &["A"]);
    check(
        r#""not found" x"#,
        &["x not found"],
        &["found not x", "not found"],
    );
    check(r#"-"not found""#, &["found"], &["not found"]);
    check(r#""a \"b\" \\ c\d""#, &[r#"a "b" \ c\d"#], &["a b"]);
    check("größe", &["die größe"], &["die groesse"]);
    bad("foo=bar", "Invalid character(s) in term 'foo=bar'");
    bad("a -", "Invalid character(s) in term ''");
    bad("\"open", "Invalid filter pattern: a \" is missing");
}

#[test]
fn regular_expressions() {
    check("%AUTHORIZED%", &["UNAUTHORIZED"], &["AUTHORISED"]);
    check(r"%4\d{2}%", &["a 404"], &["a 4x4"]);
    check("%^[hc]at%", &["hat", "cat x"], &["a hat"]);
    check("%gray|grey%", &["grey", "gray"], &["gruy"]);
    check("%colou?r$%", &["color", "colour"], &["colours"]);
    check(
        r"%\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}%",
        &["at 10.0.0.1"],
        &["10.0.0"],
    );
    check(r"%\x28x\x29%", &["(x)"], &["x"]);
    check("ERROR %x+%", &["ERROR xx"], &["ERROR", "xx"]);
    for wrong in [
        "%(a)%",
        "%a!%",
        r"%\bword%",
        r"%\pL%",
        "%ü%",
        "%[%",
        "%a{9999}{9999}%",
        "%a",
    ] {
        bad(wrong, "Invalid filter pattern");
    }
    bad(
        "%a% %b% %c%",
        "Invalid filter pattern: it has more than two",
    );
}

#[test]
fn json() {
    let event = r#"{"a": {"b": "xyz", "n": 7}, "list": [{"k": 1}, {"k": "two"}], "nil": null,
        "yes": true, "no": false, "num": 404, "a.b": "dotted", "text": "42"}"#;
    for holds in [
        r#"{ $.a.b = "xyz" }"#,
        "{$.a.b=xyz}",
        r#"{ $.a.b = "x*" }"#,
        r#"{ $.a.b = "*y*" }"#,
        r#"{ $.a.b = "*" }"#,
        r#"{ $.a.b != "y" }"#,
        "{ $.a.n > 5 }",
        "{ $.a.n >= 7 && $.a.n <= 7 }",
        "{ $.a.n = 7.0 }",
        "{ $.num = 4* }",
        "{ $.num = 4.04e2 }",
        "{ $.text = 42 }",
        "{ $.nil IS NULL }",
        "{ $.yes IS TRUE && $.no is false }",
        "{ $.missing NOT EXISTS }",
        "{ $.nil EXISTS }",
        "{ $.list[0].k = 1 }",
        r#"{ $.list[*].k = "two" }"#,
        "{ $.a.* = 7 }",
        r#"{ $.['a.b'] = "dotted" }"#,
        r#"{ $["a.b"] = "dotted" }"#,
        r#"{ $.a.b = %^x.z$% }"#,
        "{ $.missing = 1 || $.num = 404 }",
        "{ ($.missing = 1 || $.num = 404) && $.yes IS TRUE }",
        "{ $.yes = true }",
    ] {
        check(holds, &[event], &["no JSON"]);
    }
    for fails in [
        r#"{ $.a.b = "x" }"#,
        r#"{ $.a.b = "*x" }"#,
        r#"{ $.missing != "x" }"#,
        "{ $.a.n > 7 }",
        "{ $.text > 1 }",
        "{ $.a = 7 }",
        "{ $.missing IS NULL }",
        "{ $.nil NOT EXISTS }",
        "{ $.num = 404 && $.num = 405 }",
        "{ $.missing = 1 || $.num = 405 }",
        "{ $.list[2] EXISTS }",
        "{ $.yes IS FALSE }",
    ] {
        check(fails, &[], &[event]);
    }
    check(
        "{ $.a = 1 || $.b = 1 && $.c = 1 }",
        &[r#"{"a":1}"#],
        &[r#"{"b":1}"#],
    );
    for wrong in [
        "{",
        "{}",
        "{ $.a }",
        "{ a = 1 }",
        "{ $ = 1 }",
        "{ $.a = }",
        "{ $.a = 1 && }",
        "{ ($.a = 1 }",
        "{ $.a = 1) }",
        "{ $.a IS 1 }",
        "{ $.a NOT 1 }",
        "{ $.a > x }",
        "{ $.a[x] = 1 }",
        "{ $.a[0 = 1 }",
        "{ $. = 1 }",
        "{ $.a = 1 } x",
        "{ $.a = %a% && $.a = %a% && $.a = %a% }",
    ] {
        let starts = if wrong.ends_with('}') {
            "Invalid filter"
        } else {
            "If a filter"
        };
        bad(wrong, starts);
    }
    let deep = format!("{{ {}$.a = 1{} }}", "(".repeat(100), ")".repeat(100));
    bad(&deep, "Invalid filter pattern: too many parentheses");
}

#[test]
fn fields() {
    let event =
        r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#;
    for holds in [
        "[ip, id, user, time, request, status, size]",
        "[ip, id, user, time, request, status = 4*, size]",
        "[ip, id, user, time, request, status = 404, size > 1000]",
        r#"[ip, id, user, time, request = "*index.html*", status, size]"#,
        "[ip, ...]",
        "[..., size = 1534]",
        "[ip = 127.*, ..., status = 4* || status = 5*, size]",
        "[ip != 10.*&&ip!=11.*, ...]",
        "[ip, id, user = %^fr%, ...]",
        "[..., (status >= 400 && status < 500), size]",
        "[...]",
    ] {
        check(holds, &[event], &[]);
    }
    for fails in [
        "[ip, id]",
        "[ip, id, user, time, request, status = 5*, size]",
        "[..., size < 1000]",
        "[a, b, c, d, e, f, g, h, ...]",
        "[ip > 5, ...]",
    ] {
        check(fails, &[], &[event]);
    }
    check("[a, b]", &["\"open b", "x [y z]"], &["x y z"]);
    for wrong in [
        "[",
        "[]",
        "[a,]",
        "[a b]",
        "[..., a, ...]",
        "[a = 1 || b = 2]",
        "[=1]",
        "[a > x]",
    ] {
        let starts = if wrong.ends_with(']') {
            "Invalid filter"
        } else {
            "If a filter"
        };
        bad(wrong, starts);
    }
}

proptest! {
    /// Whatever is written as a pattern, reading it ends, and so does matching.
    #[test]
    fn nothing_breaks_the_reader(pattern in "\\PC{0,80}", text in "\\PC{0,200}") {
        if let Ok(read) = Pattern::read(&pattern) {
            read.matches(&text);
        }
    }

    /// The same of what looks like a pattern.
    #[test]
    fn nothing_like_a_pattern_breaks_it_either(
        parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", "(", ")", "$", ".a", "[0]", "[*]", ".*", "=", "!=", "<", ">=", "&&",
            "||", "IS", "NULL", "NOT", "EXISTS", "TRUE", "\"x*\"", "*", "4*", "%a+%", "%", "\"", "?",
            "-", "term", ",", "...", "1e9", " ", "\\",
        ]), 0..24),
    ) {
        let pattern = parts.concat();
        for text in [pattern.as_str(), r#"{"a": [1, "x", null, {"a": true}]}"#, "a b c"] {
            if let Ok(read) = Pattern::read(&pattern) {
                read.matches(text);
            }
        }
    }

    /// A term matches exactly the texts that hold it, and its negation the others.
    #[test]
    fn terms_and_their_negation_share_all_texts(term in "[a-c]{1,3}", text in "[a-d ]{0,12}") {
        let matches = |pattern: &str| Pattern::read(pattern).unwrap().matches(&text);
        prop_assert_eq!(matches(&term), text.contains(&term));
        prop_assert_eq!(matches(&format!("-{term}")), !text.contains(&term));
        prop_assert_eq!(matches(&format!("?{term} ?zzz")), text.contains(&term));
        prop_assert_eq!(matches(&format!("%{term}%")), text.contains(&term));
    }

    /// Wildcards are what a slow and simple matcher says.
    #[test]
    fn wildcards(glob in "[ab*]{1,8}", text in "[ab]{0,10}") {
        fn simple(glob: &[u8], text: &[u8]) -> bool {
            match glob.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|at| simple(rest, &text[at..])),
                Some((first, rest)) => text.first() == Some(first) && simple(rest, &text[1..]),
            }
        }
        let pattern = Pattern::read(&format!("{{ $.v = \"{glob}\" }}")).unwrap();
        let event = format!("{{\"v\": \"{text}\"}}");
        prop_assert_eq!(pattern.matches(&event), simple(glob.as_bytes(), text.as_bytes()));
    }

    /// Numbers compare as numbers.
    #[test]
    fn numbers(value in -50..50_i32, wanted in -50..50_i32) {
        let event = format!("{{\"n\": {value}}}");
        for (operator, expected) in [
            ("=", value == wanted), ("!=", value != wanted), ("<", value < wanted),
            ("<=", value <= wanted), (">", value > wanted), (">=", value >= wanted),
        ] {
            let pattern = Pattern::read(&format!("{{ $.n {operator} {wanted} }}")).unwrap();
            prop_assert_eq!(pattern.matches(&event), expected, "{} {} {}", value, operator, wanted);
        }
    }
}
