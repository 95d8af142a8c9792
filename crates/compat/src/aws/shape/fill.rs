//! A request's members brought together from its path, its query, its headers and its body, and
//! held against the types of the model. What they may be beyond that is checked elsewhere.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Number, Value};

use super::{Blob, Member, Place, Shape, Taken, check};
use crate::aws::text;

/// What an operation takes.
pub(crate) trait Request: Taken + Default {
    /// Its members and their rules.
    const MEMBERS: &'static [Member];
}

/// Where the members of a request are.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// All over it.
    Rest {
        /// Segments of the path that the caller chose, by their names, escapes resolved.
        labels: &'a [(&'static str, String)],
        query: &'a str,
        headers: &'a HeaderMap,
        /// None for operations that have nothing there.
        body: Option<Bytes>,
    },
    /// In its body, which is JSON.
    Json(Bytes),
    /// In its body, which is a form; a name leads to one value, escapes resolved.
    Form(&'a BTreeMap<String, String>),
}

/// A request whose values have not the types of the model, in the words that the services'
/// framework has for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Misfit {
    /// The body is no JSON, of which the framework says nothing.
    #[error("the body is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The body is a text or a number.
    #[error("the body is not a JSON object")]
    NoObject,
    #[error("Start of list found where not expected")]
    List,
    #[error("Start of structure or map found where not expected.")]
    Structure,
    /// Something else where a list has to be.
    #[error("Expected list or null")]
    NoList,
    /// Something else where a structure or map has to be.
    #[error("Expected null")]
    NoStructure,
    #[error("{found} can not be converted to {wanted}")]
    Value {
        found: &'static str,
        wanted: &'static str,
    },
}

/// A request that was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// Its values are of other types.
    #[error("{0}")]
    Misfit(#[from] Misfit),
    /// Its values break rules, which the message names.
    #[error("{0}")]
    Broken(String),
}

/// The request, its values being of the model's types and keeping the model's rules.
pub(crate) fn read<T: Request>(source: Source<'_>) -> Result<T, Unread> {
    let values = fill(T::MEMBERS, source)?;
    if let Some(message) = check::broken(T::MEMBERS, &values) {
        return Err(Unread::Broken(message));
    }
    let mut request = T::default();
    request.take(Value::Object(values));
    Ok(request)
}

/// The members of a request, each with a value of its type; what the model does not name is gone.
fn fill(members: &[Member], mut source: Source<'_>) -> Result<Map<String, Value>, Misfit> {
    let body = match &mut source {
        Source::Rest { body, .. } => body.take(),
        Source::Json(body) => Some(std::mem::take(body)),
        Source::Form(_) => None,
    };
    let mut body = object(body.unwrap_or_default())?;
    let mut filled = Map::new();
    for member in members {
        let value = match body.remove(member.name) {
            Some(value) if matches!(member.place, Place::Body) => {
                typed_or_null(member.shape, value)?
            }
            _ => from_head(member, &source)?.unwrap_or_default(),
        };
        if !value.is_null() {
            filled.insert(member.name.to_owned(), value);
        }
    }
    Ok(filled)
}

/// The body's members; no body is an empty one. Its bytes are gone then: it may be of code.
fn object(body: Bytes) -> Result<Map<String, Value>, Misfit> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&body)? {
        Value::Object(members) => Ok(members),
        Value::Array(_) => Err(Misfit::List),
        _ => Err(Misfit::NoObject),
    }
}

/// A member that is in no JSON. What is empty there counts as none, as it does with the services.
fn from_head(member: &Member, source: &Source<'_>) -> Result<Option<Value>, Misfit> {
    let shape = member.shape;
    let text = match (source, member.place) {
        (Source::Form(form), _) => return from_form(shape, form, member.name),
        (Source::Rest { query, .. }, Place::Query(there)) => {
            return from_query(shape, query, there);
        }
        (Source::Rest { labels, .. }, Place::Label(there)) => {
            let label = labels.iter().find(|(name, _)| *name == there);
            label.map(|(_, label)| label.clone())
        }
        (Source::Rest { headers, .. }, Place::Header(there)) => {
            let header = headers.get(there).and_then(|header| header.to_str().ok());
            header.map(str::to_owned)
        }
        (Source::Rest { .. } | Source::Json(_), _) => None,
    };
    text.filter(|text| !text.is_empty())
        .map(|text| from_text(shape, text))
        .transpose()
}

/// A value whose parts have names that begin with its own: `Tags.member.1.Key`.
fn from_form(
    shape: &Shape,
    form: &BTreeMap<String, String>,
    name: &str,
) -> Result<Option<Value>, Misfit> {
    match shape {
        Shape::Structure(members) => {
            let mut filled = Map::new();
            for member in *members {
                let part = format!("{name}.{}", member.name);
                if let Some(value) = from_form(member.shape, form, &part)? {
                    filled.insert(member.name.to_owned(), value);
                }
            }
            Ok((!filled.is_empty()).then_some(Value::Object(filled)))
        }
        Shape::List { item, .. } => {
            let mut items = Vec::new();
            while let Some(value) =
                from_form(item, form, &format!("{name}.member.{}", items.len() + 1))?
            {
                items.push(value);
            }
            Ok((!items.is_empty()).then_some(Value::Array(items)))
        }
        Shape::Map(map) => {
            let mut entries = Map::new();
            for number in 1.. {
                let entry = format!("{name}.entry.{number}");
                let Some(key) = form.get(&format!("{entry}.key")) else {
                    break;
                };
                let value = from_form(map.value, form, &format!("{entry}.value"))?;
                entries.insert(key.clone(), value.unwrap_or_default());
            }
            Ok((!entries.is_empty()).then_some(Value::Object(entries)))
        }
        _ => form
            .get(name)
            .map(|text| from_text(shape, text.clone()))
            .transpose(),
    }
}

fn from_query(shape: &Shape, query: &str, name: &str) -> Result<Option<Value>, Misfit> {
    if let Shape::List { item, .. } = shape {
        let items: Vec<Value> = text::parameters(query, name)
            .map(|value| from_text(item, value))
            .collect::<Result<_, _>>()?;
        return Ok((!items.is_empty()).then_some(Value::Array(items)));
    }
    text::parameter(query, name)
        .filter(|value| !value.is_empty())
        .map(|value| from_text(shape, value))
        .transpose()
}

/// A value that is written as text: in a path, a query or a header.
fn from_text(shape: &Shape, text: String) -> Result<Value, Misfit> {
    let value = match shape {
        Shape::Integer(_) | Shape::Long(_) => text.parse().ok().map(|number: i64| number.into()),
        Shape::Double(_) => text
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map(Value::Number),
        Shape::Boolean => text.parse().ok().map(Value::Bool),
        _ => return Ok(Value::String(text)),
    };
    value.ok_or(Misfit::Value {
        found: "STRING_VALUE",
        wanted: wanted(shape),
    })
}

/// The value, known to be of the shape's type, without what the model does not name.
fn typed(shape: &Shape, value: Value) -> Result<Value, Misfit> {
    match (shape, value) {
        (Shape::Structure(members), Value::Object(mut given)) => {
            let mut kept = Map::new();
            for member in *members {
                match given.remove(member.name) {
                    None | Some(Value::Null) => {}
                    Some(value) => {
                        kept.insert(member.name.to_owned(), typed(member.shape, value)?);
                    }
                }
            }
            Ok(Value::Object(kept))
        }
        (Shape::Map(map), Value::Object(entries)) => {
            let mut kept = Map::new();
            for (key, value) in entries {
                kept.insert(key, typed_or_null(map.value, value)?);
            }
            Ok(Value::Object(kept))
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            let items = items.into_iter();
            let kept: Result<Vec<_>, _> = items.map(|value| typed_or_null(item, value)).collect();
            Ok(Value::Array(kept?))
        }
        (Shape::Blob { .. }, Value::String(text)) if Blob::is_one(&text) => Ok(Value::String(text)),
        (Shape::Text { .. } | Shape::Choice(_), value @ Value::String(_))
        | (Shape::Boolean, value @ Value::Bool(_))
        | (Shape::Double(_) | Shape::Timestamp, value @ Value::Number(_)) => Ok(value),
        (Shape::Integer(_), Value::Number(number)) => {
            let whole = whole(&number).filter(|whole| i32::try_from(*whole).is_ok());
            let misfit = misfit(shape, &Value::Number(number));
            whole.map(Value::from).ok_or(misfit)
        }
        (Shape::Long(_), Value::Number(number)) => {
            let misfit = misfit(shape, &Value::Number(number.clone()));
            whole(&number).map(Value::from).ok_or(misfit)
        }
        (shape, value) => Err(misfit(shape, &value)),
    }
}

/// Fractions are dropped, as the framework drops them.
fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let whole = number.as_f64()?.trunc();
        // Beyond it not every whole number is a float.
        (whole.abs() < 2_f64.powi(53)).then_some(whole as i64)
    })
}

/// Nothing is a value of its own in lists and maps, which the rules refuse.
fn typed_or_null(shape: &Shape, value: Value) -> Result<Value, Misfit> {
    if value.is_null() {
        return Ok(value);
    }
    typed(shape, value)
}

fn misfit(shape: &Shape, value: &Value) -> Misfit {
    let found = match value {
        Value::Array(_) => return Misfit::List,
        Value::Object(_) => return Misfit::Structure,
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::Null => "NULL_VALUE",
    };
    match shape {
        Shape::List { .. } => Misfit::NoList,
        Shape::Map(_) | Shape::Structure(_) => Misfit::NoStructure,
        shape => Misfit::Value {
            found,
            wanted: wanted(shape),
        },
    }
}

fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Integer(_) => "an Integer",
        Shape::Long(_) => "a Long",
        Shape::Double(_) => "a Double",
        Shape::Boolean => "a Boolean",
        Shape::Blob { .. } => "a Blob",
        Shape::Timestamp => "a Timestamp",
        _ => "a String",
    }
}
