//! Values as the messages repeat them: as Java prints them, and not at all where they are
//! sensitive.

use serde_json::{Map, Value};

use crate::aws::shape::{Blob, Shape};

/// How much a message repeats of a value: it must not become larger than the request (ours).
const SHOWN_CHARS_MAX: usize = 500;

/// `Value '[a, b]'`, or only `Value`.
pub(super) fn shown(shape: &Shape, value: &Value) -> String {
    if shape.is_sensitive() {
        return "Value".to_owned();
    }
    let mut text = String::new();
    show(Some(shape), value, &mut text);
    let text: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("Value '{text}'")
}

fn show(shape: Option<&Shape>, value: &Value, to: &mut String) {
    // Enough, whatever the characters' width.
    if to.len() > 4 * SHOWN_CHARS_MAX {
        return;
    }
    match (value, shape) {
        (Value::String(text), Some(Shape::Blob { .. })) => {
            let size = Blob::size(text);
            to.push_str(&format!(
                "java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]"
            ));
        }
        (Value::String(text), _) => to.extend(text.chars().take(SHOWN_CHARS_MAX)),
        (Value::Array(items), shape) => {
            let item = shape.and_then(|shape| match shape {
                Shape::List { item, .. } => Some(*item),
                _ => None,
            });
            to.push('[');
            for (at, value) in items.iter().enumerate() {
                to.push_str(if at == 0 { "" } else { ", " });
                show(item, value, to);
            }
            to.push(']');
        }
        (Value::Object(entries), shape) => {
            let held = shape.and_then(|shape| match shape {
                Shape::Map(map) => Some(map.value),
                _ => None,
            });
            object(entries, held, to);
        }
        (other, _) => to.push_str(&other.to_string()),
    }
}

fn object(entries: &Map<String, Value>, held: Option<&Shape>, to: &mut String) {
    to.push('{');
    for (at, (key, value)) in entries.iter().enumerate() {
        to.push_str(if at == 0 { "" } else { ", " });
        to.extend(key.chars().take(SHOWN_CHARS_MAX));
        to.push('=');
        show(held, value, to);
    }
    to.push('}');
}
