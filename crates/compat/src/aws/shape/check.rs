//! The rules of the models, held against values, in the words of the services.

mod show;

use std::fmt;

use serde_json::{Map, Value};

use super::pattern::Pattern;
use super::{Blob, Member, Range, Shape};
use show::shown;

/// How many broken rules a message tells of (ours).
const TOLD_MAX: usize = 50;

/// Texts up to this size are held against a pattern where the model knows no largest, in bytes; a
/// larger one counts as broken (ours).
const WALKED_BYTES_MAX: f64 = 65_536.0;

/// The message that names every rule which a request breaks, where it breaks one.
pub(super) fn broken(members: &[Member], values: &Map<String, Value>) -> Option<String> {
    let mut broken = Vec::new();
    structure(members, values, None, &mut broken);
    let plural = match broken.len() {
        0 => return None,
        1 => "",
        _ => "s",
    };
    let (count, all) = (broken.len(), broken.join("; "));
    Some(format!("{count} validation error{plural} detected: {all}"))
}

/// Where a value is: written out only where it breaks a rule, which few do.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Member(&'a str),
    Item(usize),
    Entry(&'a str),
}

fn structure(
    members: &[Member],
    values: &Map<String, Value>,
    parent: Option<&Path<'_>>,
    to: &mut Vec<String>,
) {
    for member in members {
        let path = Path {
            parent,
            step: Step::Member(member.name),
        };
        match values.get(member.name) {
            Some(value) => walk(member.shape, value, &path, to),
            None if member.required => tell(to, "Value null", &path, NOT_NULL),
            None => {}
        }
    }
}

/// Checks a value and all that it holds.
fn walk(shape: &Shape, value: &Value, path: &Path<'_>, to: &mut Vec<String>) {
    let mut say = |rule: String| tell(to, &shown(shape, value), path, &rule);
    own(shape, value).into_iter().for_each(&mut say);
    // Items and entries are told of as one, and only structures each by a path of its own.
    match (shape, value) {
        (Shape::List { item, .. }, Value::Array(items))
            if !item.is_structure() && items.iter().any(|value| is_broken(item, value)) =>
        {
            say(format!("Member must satisfy constraint: [{}]", all(item)));
        }
        (Shape::Map(map), Value::Object(entries)) => {
            let key = |name: &String| own(map.key, &Value::String(name.clone())).is_empty();
            if !entries.keys().all(key) {
                let rules = rules(map.key).join(", ");
                say(format!("Map keys must satisfy constraint: [{rules}]"));
            }
            if !map.value.is_structure() && entries.values().any(|held| is_broken(map.value, held))
            {
                let rules = all(map.value);
                say(format!("Map value must satisfy constraint: [{rules}]"));
            }
        }
        _ => {}
    }
    let inner = |step| Path {
        parent: Some(path),
        step,
    };
    match (shape, value) {
        (Shape::Structure(members), Value::Object(values)) => {
            structure(members, values, Some(path), to);
        }
        (Shape::List { item, .. }, Value::Array(items)) if item.is_structure() => {
            for (number, held) in (1..).zip(items) {
                walk(item, held, &inner(Step::Item(number)), to);
            }
        }
        (Shape::Map(map), Value::Object(entries)) if map.value.is_structure() => {
            for (key, held) in entries {
                walk(map.value, held, &inner(Step::Entry(key)), to);
            }
        }
        _ => {}
    }
}

/// Whether an item breaks a rule, those of its own items included.
fn is_broken(shape: &Shape, value: &Value) -> bool {
    let inside = match (shape, value) {
        (Shape::List { item, .. }, Value::Array(items)) => {
            items.iter().any(|value| is_broken(item, value))
        }
        _ => false,
    };
    inside || value.is_null() || !own(shape, value).is_empty()
}

/// The rules that the value itself breaks.
fn own(shape: &Shape, value: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    match (shape, value) {
        (Shape::Text { pattern, .. }, Value::String(text)) => {
            let max = shape.range().max;
            let walked = max.map_or(WALKED_BYTES_MAX, |max| max * 4.0 + 4096.0);
            let fits = |pattern: &Pattern| text.len() as f64 <= walked && pattern.matches(text);
            let pattern = pattern.filter(|pattern| !fits(pattern));
            broken.extend(pattern.map(expression));
        }
        (Shape::Choice(values), Value::String(text)) if !values.contains(&text.as_str()) => {
            broken.push(set(values));
        }
        _ => {}
    }
    if let Some(size) = size(shape, value) {
        let Range { min, max } = shape.range();
        if let Some(max) = max.filter(|max| size > *max) {
            broken.push(at_most(shape, max));
        } else if let Some(min) = min.filter(|min| size < *min) {
            broken.push(at_least(shape, min));
        }
    }
    broken
}

/// What the value's range limits.
fn size(shape: &Shape, value: &Value) -> Option<f64> {
    match value {
        Value::String(text) if matches!(shape, Shape::Blob { .. }) => Some(Blob::size(text) as f64),
        Value::String(text) => Some(text.chars().count() as f64),
        Value::Number(number) => number.as_f64(),
        Value::Array(items) => Some(items.len() as f64),
        Value::Object(entries) => Some(entries.len() as f64),
        Value::Null | Value::Bool(_) => None,
    }
}

/// Every rule of what a list or map holds. That there is something is one of them.
fn all(shape: &Shape) -> String {
    let mut rules = rules(shape);
    rules.push(NOT_NULL.to_owned());
    rules.join(", ")
}

/// Every rule of a shape.
fn rules(shape: &Shape) -> Vec<String> {
    let Range { min, max } = shape.range();
    let most = max.map(|max| at_most(shape, max));
    let mut rules: Vec<String> = most.into_iter().collect();
    rules.extend(min.map(|min| at_least(shape, min)));
    match shape {
        Shape::Text { pattern, .. } => rules.extend(pattern.map(expression)),
        Shape::Choice(values) => rules.push(set(values)),
        Shape::List { item, .. } => {
            rules.push(format!("Member must satisfy constraint: [{}]", all(item)));
        }
        _ => {}
    }
    rules
}

const NOT_NULL: &str = "Member must not be null";

fn at_most(shape: &Shape, max: f64) -> String {
    format!(
        "Member must have {} less than or equal to {}",
        noun(shape),
        bound(shape, max)
    )
}

fn at_least(shape: &Shape, min: f64) -> String {
    format!(
        "Member must have {} greater than or equal to {}",
        noun(shape),
        bound(shape, min)
    )
}

fn noun(shape: &Shape) -> &'static str {
    match shape {
        Shape::Integer(_) | Shape::Long(_) | Shape::Double(_) => "value",
        _ => "length",
    }
}

fn bound(shape: &Shape, bound: f64) -> String {
    match shape {
        Shape::Double(_) => format!("{bound:?}"),
        _ => bound.to_string(),
    }
}

fn expression(pattern: &Pattern) -> String {
    format!(
        "Member must satisfy regular expression pattern: {}",
        pattern.text
    )
}

fn set(values: &[&str]) -> String {
    format!(
        "Member must satisfy enum value set: [{}]",
        values.join(", ")
    )
}

fn tell(to: &mut Vec<String>, value: &str, path: &Path<'_>, rule: &str) {
    if to.len() < TOLD_MAX {
        to.push(format!(
            "{value} at '{path}' failed to satisfy constraint: {rule}"
        ));
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        match self.step {
            // `FunctionName` as `functionName`.
            Step::Member(name) => {
                let mut letters = name.chars();
                let first = letters.next().map(|first| first.to_ascii_lowercase());
                write!(f, "{}{}", first.unwrap_or_default(), letters.as_str())
            }
            Step::Item(number) => write!(f, "{number}.member"),
            Step::Entry(key) => write!(f, "{key}.member"),
        }
    }
}
