//! Rules and types over a service of our own: an order of cakes.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::pattern::{Category, Node, Pattern};
use super::*;

choices! {
    Glaze { Plain = "plain", DarkChocolate = "dark-chocolate", }
}

requests! {
    OrderRequest {
        shop "Shop": String,
        count "Count": Option<i32>,
        total "Total": Option<i64>,
        share "Share": Option<f64>,
        gift "Gift": Option<bool>,
        due "Due": Option<Timestamp>,
        photo "Photo": Option<Blob>,
        glaze "Glaze": Option<Glaze>,
        names "Names": Option<Vec<String>>,
        secrets "Secrets": Option<std::collections::BTreeMap<String, String>>,
        weights "Weights": Option<std::collections::BTreeMap<String, f64>>,
        layers "Layers": Option<Vec<Layer>>,
    }
}

exchanged! {
    Layer {
        kind "Kind": String,
        height "HeightMM": Option<i32>,
    }
}

static LOWER: Pattern = Pattern {
    text: "[a-z]+",
    tree: Node::Repeat(&Node::Class(&[(0x61, 0x7a)], &[]), 1, u32::MAX),
};
static NAME: Shape = Shape::Text {
    length: Range {
        min: Some(1.0),
        max: Some(5.0),
    },
    pattern: Some(&LOWER),
    sensitive: false,
};
static KIND: Shape = Shape::Structure(&[body("Kind", &NAME).required(), body("HeightMM", &HEIGHT)]);
static HEIGHT: Shape = Shape::Integer(Range {
    min: Some(1.0),
    max: Some(90.0),
});
static SHARE: Shape = Shape::Double(Range {
    min: Some(0.0),
    max: Some(1.0),
});
static TEXT: Shape = Shape::TEXT;
static ORDER: &[Member] = &[
    label("Shop", "Shop", &NAME).required(),
    query("Count", "count", &HEIGHT),
    body("Total", &Shape::Long(Range::ANY)),
    body("Share", &SHARE),
    header("Gift", "x-gift", &Shape::Boolean),
    body("Due", &Shape::Timestamp),
    body(
        "Photo",
        &Shape::Blob {
            length: Range {
                min: None,
                max: Some(4.0),
            },
            sensitive: false,
        },
    ),
    body("Glaze", &Shape::Choice(Glaze::VALUES)),
    body(
        "Names",
        &Shape::List {
            item: &NAME,
            length: Range {
                min: None,
                max: Some(2.0),
            },
        },
    ),
    body(
        "Secrets",
        &Shape::Map(Entries {
            key: &NAME,
            value: &TEXT,
            length: Range::ANY,
            sensitive: true,
        }),
    ),
    body(
        "Weights",
        &Shape::Map(Entries {
            key: &TEXT,
            value: &SHARE,
            length: Range::ANY,
            sensitive: false,
        }),
    ),
    body(
        "Layers",
        &Shape::List {
            item: &KIND,
            length: Range::ANY,
        },
    ),
];

inputs! {
    OrderRequest: ORDER;
}

/// What becomes of a request to the shop `main` with this body.
fn order(body: &[u8]) -> Result<OrderRequest, Unread> {
    read(Source::Rest {
        labels: &[("Shop", "main".to_owned())],
        query: "",
        headers: &http::HeaderMap::new(),
        body: Some(bytes::Bytes::copy_from_slice(body)),
    })
}

fn check(body: &str, expected: Expect) {
    let told = match order(body.as_bytes()) {
        Ok(_) => "fine".to_owned(),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&told);
}

#[test]
fn lengths_and_values_have_limits() {
    check("{}", expect!["fine"]);
    check("", expect!["fine"]);
    check(
        r#"{"Names": ["a", "b"], "Share": 1, "Photo": "AAAAAA=="}"#,
        expect!["fine"],
    );
    check(
        r#"{"Names": ["a", "b", "c"]}"#,
        expect![
            "1 validation error detected: Value '[a, b, c]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 2"
        ],
    );
    check(
        r#"{"Share": 1.5}"#,
        expect![
            "1 validation error detected: Value '1.5' at 'share' failed to satisfy constraint: Member must have value less than or equal to 1.0"
        ],
    );
    check(
        r#"{"Photo": "AAAAAAAA"}"#,
        expect![
            "1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=6 cap=6]' at 'photo' failed to satisfy constraint: Member must have length less than or equal to 4"
        ],
    );
}

#[test]
fn items_and_entries_are_told_of_as_one() {
    check(
        r#"{"Names": ["a", "B"]}"#,
        expect![
            "1 validation error detected: Value '[a, B]' at 'names' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 5, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [a-z]+, Member must not be null]"
        ],
    );
    check(
        r#"{"Names": [null]}"#,
        expect![
            "1 validation error detected: Value '[null]' at 'names' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 5, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [a-z]+, Member must not be null]"
        ],
    );
    check(
        r#"{"Secrets": {"KEY": "pass"}}"#,
        expect![
            "1 validation error detected: Value at 'secrets' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 5, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [a-z]+]"
        ],
    );
    check(
        r#"{"Weights": {"1": 0.5, "2": 2}}"#,
        expect![
            "1 validation error detected: Value '{1=0.5, 2=2}' at 'weights' failed to satisfy constraint: Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, Member must not be null]"
        ],
    );
}

#[test]
fn members_of_structures_have_paths() {
    check(
        r#"{"Layers": [{"Kind": "nut"}, {"Kind": "NUT"}]}"#,
        expect![
            "1 validation error detected: Value 'NUT' at 'layers.2.member.kind' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"
        ],
    );
    check(
        r#"{"Layers": [{"HeightMM": 0}]}"#,
        expect![
            "2 validation errors detected: Value null at 'layers.1.member.kind' failed to satisfy constraint: Member must not be null; Value '0' at 'layers.1.member.heightMM' failed to satisfy constraint: Member must have value greater than or equal to 1"
        ],
    );
}

#[test]
fn several_broken_rules_are_all_told() {
    check(
        r#"{"Glaze": "icing", "Layers": [{"Kind": ""}]}"#,
        expect![
            "3 validation errors detected: Value 'icing' at 'glaze' failed to satisfy constraint: Member must satisfy enum value set: [plain, dark-chocolate]; Value '' at 'layers.1.member.kind' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+; Value '' at 'layers.1.member.kind' failed to satisfy constraint: Member must have length greater than or equal to 1"
        ],
    );
    let many = format!(r#"{{"Layers": [{}]}}"#, vec!["{}"; 1000].join(","));
    let Err(Unread::Broken(message)) = order(many.as_bytes()) else {
        panic!("a layer without a kind");
    };
    assert!(message.starts_with("50 validation errors detected: "));
}

#[test]
fn types_are_told_in_the_frameworks_words() {
    check(
        r#"{"Total": "1"}"#,
        expect!["STRING_VALUE can not be converted to a Long"],
    );
    check(
        r#"{"Total": true}"#,
        expect!["TRUE_VALUE can not be converted to a Long"],
    );
    check(
        r#"{"Glaze": 1}"#,
        expect!["NUMBER_VALUE can not be converted to a String"],
    );
    check(
        r#"{"Glaze": ["plain"]}"#,
        expect!["Start of list found where not expected"],
    );
    check(
        r#"{"Glaze": {}}"#,
        expect!["Start of structure or map found where not expected."],
    );
    check(r#"{"Names": "a"}"#, expect!["Expected list or null"]);
    check(
        r#"{"Names": {}}"#,
        expect!["Start of structure or map found where not expected."],
    );
    check(r#"{"Layers": [1]}"#, expect!["Expected null"]);
    check(r#"{"Secrets": 1}"#, expect!["Expected null"]);
    check("[]", expect!["Start of list found where not expected"]);
    check("1", expect!["the body is not a JSON object"]);
    check(
        "{",
        expect!["the body is not valid JSON: EOF while parsing an object at line 1 column 1"],
    );
    check(
        r#"{"Photo": "="}"#,
        expect!["STRING_VALUE can not be converted to a Blob"],
    );
}

#[test]
fn nothing_is_absent_and_what_is_unknown_is_left_out() {
    check(
        r#"{"Glaze": null, "Layers": null, "Colour": "red"}"#,
        expect!["fine"],
    );
    check(
        r#"{"Layers": [{"Kind": "nut", "HeightMM": null, "Nuts": [1]}]}"#,
        expect!["fine"],
    );
}

#[test]
fn members_are_taken_from_all_places() {
    let mut headers = http::HeaderMap::new();
    headers.insert("x-gift", http::HeaderValue::from_static("true"));
    let read = |labels: &[(&'static str, String)], query, body: &str| {
        read::<OrderRequest>(Source::Rest {
            labels,
            query,
            headers: &headers,
            body: Some(body.to_owned().into()),
        })
    };
    let main = [("Shop", "main".to_owned())];
    let body = r#"{"Shop": "other", "Total": 7.9, "Due": 1.5, "Photo": "aGk=", "Glaze": "plain",
        "Layers": [{"Kind": "nut"}], "Weights": {"a": 0.25}}"#;
    let order = read(&main, "count=3&other=1", body).unwrap();
    assert_eq!(order.shop, "main");
    assert_eq!(
        (order.count, order.total, order.share),
        (Some(3), Some(7), None)
    );
    assert_eq!(
        (order.gift, order.due),
        (Some(true), Some(Timestamp { ms: 1500 }))
    );
    assert_eq!(order.photo, Some(Blob("hi".into())));
    assert_eq!(order.glaze, Some(Glaze::Plain));
    assert_eq!((order.names, order.secrets), (None, None));
    assert_eq!(order.weights.unwrap()["a"], 0.25);
    let layers = order.layers.unwrap();
    assert_eq!((layers[0].kind.as_str(), layers[0].height), ("nut", None));
    let told = |query| read(&main, query, "").unwrap_err().to_string();
    assert_eq!(
        told("count=few"),
        "STRING_VALUE can not be converted to an Integer"
    );
    assert_eq!(
        told("count=91"),
        "1 validation error detected: Value '91' at 'count' failed to satisfy constraint: Member must have value less than or equal to 90"
    );
    assert!(read(&main, "count=", "").unwrap().count.is_none());
    let nowhere = read(&[], "", "").unwrap_err().to_string();
    assert_eq!(
        nowhere,
        "1 validation error detected: Value null at 'shop' failed to satisfy constraint: Member must not be null"
    );
}

#[test]
fn forms_have_lists_structures_and_maps() {
    let form = crate::aws::text::form(
        "Shop=main&Names.member.1=a&Names.member.2=b&Layers.member.1.Kind=nut\
         &Layers.member.1.HeightMM=4&Weights.entry.1.key=x&Weights.entry.1.value=0.5&Action=Order",
    );
    let order: OrderRequest = read(Source::Form(&form)).unwrap();
    assert_eq!(order.names.unwrap(), ["a", "b"]);
    assert_eq!(order.layers.unwrap()[0].height, Some(4));
    assert_eq!(order.weights.unwrap()["x"], 0.5);
}

#[test]
fn answers_have_what_is_there() {
    let check = |answer: &dyn Given, expected: &str| {
        assert_eq!(json(answer), expected);
    };
    let layer = |height| Layer {
        kind: "n\"t".into(),
        height,
    };
    check(&layer(None), r#"{"Kind":"n\"t"}"#);
    check(
        &vec![layer(Some(3)), layer(None)],
        r#"[{"Kind":"n\"t","HeightMM":3},{"Kind":"n\"t"}]"#,
    );
    check(&std::collections::BTreeMap::<String, f64>::new(), "{}");
    check(&Glaze::DarkChocolate, r#""dark-chocolate""#);
    check(&Glaze::from("icing".to_owned()), r#""icing""#);
    check(&Timestamp { ms: 1500 }, "1.5");
    check(&Date { ms: 1500 }, r#""1970-01-01T00:00:01Z""#);
    check(&Blob("hi".into()), r#""aGk=""#);
    check(&f64::NAN, "null");
}

fn check_pattern(tree: Node, matching: &[&str], others: &[&str]) {
    let pattern = Pattern { text: "", tree };
    for text in matching {
        assert!(pattern.matches(text), "{:?} {text}", pattern.tree);
    }
    for text in others {
        assert!(!pattern.matches(text), "{:?} {text}", pattern.tree);
    }
}

#[test]
fn patterns_match_whole_texts() {
    use Node::*;
    const AB: Node = Choice(&[Literal("a"), Literal("ab")]);
    const DIGIT: Node = Class(&[(0x30, 0x39)], &[]);
    check_pattern(
        Sequence(&[AB, Literal("c")]),
        &["ac", "abc"],
        &["a", "abcd", ""],
    );
    check_pattern(Repeat(&AB, 0, u32::MAX), &["", "aaba", "ab"], &["b", "abb"]);
    check_pattern(Repeat(&DIGIT, 2, 3), &["12", "123"], &["1", "1234"]);
    check_pattern(
        Repeat(&Repeat(&DIGIT, 0, 1), 0, u32::MAX),
        &["", "12345"],
        &["a"],
    );
    let no_number = Ahead(&Sequence(&[Repeat(&DIGIT, 1, u32::MAX), End]), true);
    const ANY: Node = Repeat(&Class(&[(0x0, 0x10_ffff)], &[]), 1, u32::MAX);
    check_pattern(no_number, &[], &["a"]);
    const NO_NUMBER: Node = Ahead(&Sequence(&[Start, Repeat(&DIGIT, 1, u32::MAX), End]), true);
    check_pattern(Sequence(&[NO_NUMBER, ANY]), &["a", "1a", "ü"], &["1", "12"]);
    check_pattern(Sequence(&[ANY, Behind(".", true)]), &["a.b"], &["a."]);
    let letters = Repeat(
        &Class(&[], &[Category::Letter, Category::Separator]),
        0,
        u32::MAX,
    );
    check_pattern(letters, &["aé ß"], &["1", "-"]);
}

#[test]
fn no_text_keeps_a_pattern_busy() {
    use Node::*;
    const RUN: Node = Repeat(&Class(&[(0x61, 0x61)], &[]), 1, u32::MAX);
    let nested = Pattern {
        text: "(a+)+b",
        tree: Sequence(&[Repeat(&RUN, 1, u32::MAX), Literal("b")]),
    };
    assert!(!nested.matches(&"a".repeat(2_000)));
}

proptest! {
    #[test]
    fn base64_is_told_before_it_is_read(text in "[a+/9=]{0,9}") {
        let mut bytes = Blob::default();
        bytes.take(text.clone().into());
        prop_assert!(!Blob::is_one(&text) || bytes.0.len() == Blob::size(&text), "{}", text);
    }

    #[test]
    fn no_body_panics(body in any::<Vec<u8>>()) {
        let _ = order(&body);
    }

    #[test]
    fn no_json_panics(
        member in "Shop|Count|Total|Share|Gift|Due|Photo|Glaze|Names|Secrets|Weights|Layers|Kind",
        value in any_json(),
    ) {
        let _ = order(format!("{{\"{member}\": {value}}}").as_bytes());
    }
}

/// JSON of any form, often one that some member takes.
pub(crate) fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| format!("{value:e}")),
        "[a-z=.é😀]{0,6}".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(("Kind|HeightMM|a|B", inner), 0..4).prop_map(|members| {
                let members = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}
