//! The rules of the models, held against values, in the words of the services.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{Member, Range, Shape};

/// How many broken rules a message tells of, and how much it repeats of a value: messages must
/// not be larger than requests (ours).
const TOLD_MAX: usize = 50;
const QUOTED_CHARS_MAX: usize = 500;

/// The message that names every rule which a request breaks, where it breaks one.
pub(crate) fn broken(members: &'static [Member], values: &Map<String, Value>) -> Option<String> {
    let mut broken = Vec::new();
    structure(members, values, "", &mut broken);
    if broken.is_empty() {
        return None;
    }
    let plural = if broken.len() == 1 { "" } else { "s" };
    Some(format!(
        "{} validation error{plural} detected: {}",
        broken.len(),
        broken.join("; ")
    ))
}

fn structure(members: &[Member], values: &Map<String, Value>, path: &str, to: &mut Vec<String>) {
    for member in members {
        let path = join(path, &camel(member.name));
        match values.get(member.name) {
            None if member.required => tell(to, "Value null", &path, "Member must not be null"),
            None => {}
            Some(value) => walk(member.shape, value, &path, to),
        }
    }
}

/// Checks a value and all that it holds.
fn walk(shape: &Shape, value: &Value, path: &str, to: &mut Vec<String>) {
    for rule in rules(shape, value) {
        tell(to, &quoted(shape, value), path, &rule);
    }
    match (shape, value) {
        (Shape::Structure(members), Value::Object(values)) => structure(members, values, path, to),
        (Shape::List { item, .. }, Value::Array(items)) if is_whole(item) => {
            for (number, value) in (1..).zip(items) {
                walk(item, value, &join(path, &format!("{number}.member")), to);
            }
        }
        (Shape::List { item, .. }, Value::Array(items))
            if items.iter().any(|value| is_broken(item, value)) =>
        {
            let all = format!("Member must satisfy constraint: [{}]", all_rules(item));
            tell(to, &quoted(shape, value), path, &all);
        }
        (
            Shape::Map {
                key, value: held, ..
            },
            Value::Object(entries),
        ) => {
            let keys = |name: &String| !rules(key, &Value::String(name.clone())).is_empty();
            if entries.keys().any(keys) {
                let all = format!("Map keys must satisfy constraint: [{}]", all_rules(key));
                tell(to, &quoted(shape, value), path, &all);
            }
            if is_whole(held) {
                for (name, value) in entries {
                    walk(held, value, &join(path, &format!("{name}.member")), to);
                }
            } else if entries.values().any(|value| is_broken(held, value)) {
                let all = format!("Map value must satisfy constraint: [{}]", all_rules(held));
                tell(to, &quoted(shape, value), path, &all);
            }
        }
        _ => {}
    }
}

/// Whether a value's own members are told of, and not the value as one.
fn is_whole(shape: &Shape) -> bool {
    matches!(shape, Shape::Structure(_))
}

fn is_broken(shape: &Shape, value: &Value) -> bool {
    if value.is_null() || !rules(shape, value).is_empty() {
        return true;
    }
    match (shape, value) {
        (Shape::List { item, .. }, Value::Array(items)) => {
            items.iter().any(|value| is_broken(item, value))
        }
        _ => false,
    }
}

/// The rules that the value itself breaks.
fn rules(shape: &Shape, value: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    match (shape, value) {
        (
            Shape::Text {
                length, pattern, ..
            },
            Value::String(text),
        ) => {
            broken.extend(range(*length, text.chars().count() as f64, "length", whole));
            // A text that is far too long need not be walked.
            let sensible = length
                .max
                .is_none_or(|max| text.len() as f64 <= max * 4.0 + 4096.0);
            if let Some(pattern) = pattern.filter(|pattern| !sensible || !pattern.matches(text)) {
                broken.push(expression(pattern.text));
            }
        }
        (Shape::Choice(values), Value::String(text)) if !values.contains(&text.as_str()) => {
            broken.push(set(values));
        }
        (Shape::Integer(allowed) | Shape::Long(allowed), Value::Number(number)) => {
            let number = number.as_f64().unwrap_or_default();
            broken.extend(range(*allowed, number, "value", whole));
        }
        (Shape::Double(allowed), Value::Number(number)) => {
            let number = number.as_f64().unwrap_or_default();
            broken.extend(range(*allowed, number, "value", decimal));
        }
        (Shape::Blob { length, .. }, Value::String(text)) => {
            let bytes =
                text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(2);
            broken.extend(range(*length, bytes as f64, "length", whole));
        }
        (Shape::List { length, .. }, Value::Array(items)) => {
            broken.extend(range(*length, items.len() as f64, "length", whole));
        }
        (Shape::Map { length, .. }, Value::Object(entries)) => {
            broken.extend(range(*length, entries.len() as f64, "length", whole));
        }
        _ => {}
    }
    broken
}

/// Every rule of a shape, as lists and maps quote those of what they hold.
fn all_rules(shape: &Shape) -> String {
    let both = |range: Range, noun, shown: fn(f64) -> String| {
        let most = range.max.map(|max| at_most(max, noun, shown));
        let least = range.min.map(|min| at_least(min, noun, shown));
        most.into_iter().chain(least).collect::<Vec<_>>()
    };
    let mut rules = match shape {
        Shape::Text {
            length, pattern, ..
        } => {
            let mut rules = both(*length, "length", whole);
            rules.extend(pattern.map(|pattern| expression(pattern.text)));
            rules
        }
        Shape::Choice(values) => vec![set(values)],
        Shape::Integer(range) | Shape::Long(range) => both(*range, "value", whole),
        Shape::Double(range) => both(*range, "value", decimal),
        Shape::Blob { length, .. } => both(*length, "length", whole),
        Shape::List { item, length } => {
            let mut rules = both(*length, "length", whole);
            rules.push(format!(
                "Member must satisfy constraint: [{}]",
                all_rules(item)
            ));
            rules
        }
        Shape::Map { length, .. } => both(*length, "length", whole),
        Shape::Boolean | Shape::Timestamp | Shape::Structure(_) => Vec::new(),
    };
    rules.push("Member must not be null".to_owned());
    rules.join(", ")
}

fn range(range: Range, found: f64, noun: &str, shown: fn(f64) -> String) -> Option<String> {
    let over = range.max.filter(|max| found > *max);
    let under = range.min.filter(|min| found < *min);
    over.map(|max| at_most(max, noun, shown))
        .or(under.map(|min| at_least(min, noun, shown)))
}

fn at_most(max: f64, noun: &str, shown: fn(f64) -> String) -> String {
    format!(
        "Member must have {noun} less than or equal to {}",
        shown(max)
    )
}

fn at_least(min: f64, noun: &str, shown: fn(f64) -> String) -> String {
    format!(
        "Member must have {noun} greater than or equal to {}",
        shown(min)
    )
}

fn whole(number: f64) -> String {
    number.to_string()
}

fn decimal(number: f64) -> String {
    format!("{number:?}")
}

fn expression(pattern: &str) -> String {
    format!("Member must satisfy regular expression pattern: {pattern}")
}

fn set(values: &[&str]) -> String {
    format!(
        "Member must satisfy enum value set: [{}]",
        values.join(", ")
    )
}

fn tell(to: &mut Vec<String>, value: &str, path: &str, rule: &str) {
    if to.len() < TOLD_MAX {
        to.push(format!(
            "{value} at '{path}' failed to satisfy constraint: {rule}"
        ));
    }
}

/// The value as messages repeat it: not at all where it is sensitive.
fn quoted(shape: &Shape, value: &Value) -> String {
    let sensitive = match shape {
        Shape::Text { sensitive, .. }
        | Shape::Blob { sensitive, .. }
        | Shape::Map { sensitive, .. } => *sensitive,
        _ => false,
    };
    if sensitive {
        return "Value".to_owned();
    }
    let mut text = String::new();
    show(shape, value, &mut text);
    let text: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    format!("Value '{text}'")
}

/// Values as Java prints them.
fn show(shape: &Shape, value: &Value, to: &mut String) {
    if to.len() > 4 * QUOTED_CHARS_MAX {
        return;
    }
    match (shape, value) {
        (Shape::Blob { .. }, Value::String(text)) => {
            let length = STANDARD.decode(text).map_or(0, |bytes| bytes.len());
            to.push_str(&format!(
                "java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]"
            ));
        }
        (_, Value::String(text)) => to.extend(text.chars().take(QUOTED_CHARS_MAX)),
        (Shape::List { item, .. }, Value::Array(items)) => {
            to.push('[');
            for (at, value) in items.iter().enumerate() {
                if at > 0 {
                    to.push_str(", ");
                }
                show(item, value, to);
            }
            to.push(']');
        }
        (Shape::Map { value: held, .. }, Value::Object(entries)) => {
            to.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                if at > 0 {
                    to.push_str(", ");
                }
                to.push_str(key);
                to.push('=');
                show(held, value, to);
            }
            to.push('}');
        }
        (_, other) => to.push_str(&other.to_string()),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// `FunctionName` as `functionName`.
fn camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}
