//! The types of requests and answers: a line a member. Values are taken and given through tables
//! of members, because the models have some two hundred structures: derives of serde would take
//! the build longer than all else in this room.

use std::collections::BTreeMap;
use std::io::Write as _;

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use bytes::Bytes;
use serde_json::Value;

/// What is filled with a value that has kept the rules.
pub(crate) trait Taken {
    /// A value of another type, which the rules let through nowhere, leaves it as it is.
    fn take(&mut self, value: Value);
}

/// What is written as a part of an answer.
pub(crate) trait Given {
    /// Whether a member is left out.
    fn is_absent(&self) -> bool {
        false
    }

    /// Writes it as JSON.
    fn give(&self, to: &mut Vec<u8>);
}

/// An answer, or a part of one, as JSON.
pub(crate) fn json(answer: &dyn Given) -> String {
    let mut json = Vec::new();
    answer.give(&mut json);
    // Texts go in only as texts.
    String::from_utf8(json).unwrap_or_default()
}

/// Fills the members of a structure.
pub(crate) fn take(value: Value, members: &mut [(&'static str, &mut dyn Taken)]) {
    let Value::Object(mut values) = value else {
        return;
    };
    for (name, member) in members {
        if let Some(value) = values.remove(*name).filter(|value| !value.is_null()) {
            member.take(value);
        }
    }
}

/// Writes those members of a structure that are there.
pub(crate) fn give(to: &mut Vec<u8>, members: &[(&str, &dyn Given)]) {
    let present = members.iter().filter(|(_, member)| !member.is_absent());
    let mut mark = b'{';
    for (name, member) in present {
        to.push(mark);
        mark = b',';
        text(to, name);
        to.push(b':');
        member.give(to);
    }
    if mark == b'{' {
        to.push(mark);
    }
    to.push(b'}');
}

/// Writes a text as JSON.
pub(crate) fn text(to: &mut Vec<u8>, text: &str) {
    // A vector takes all that it is given.
    let _ = serde_json::to_writer(to, text);
}

fn show(to: &mut Vec<u8>, value: impl std::fmt::Display) {
    let _ = write!(to, "{value}");
}

impl<T: Given> Given for &T {
    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }

    fn give(&self, to: &mut Vec<u8>) {
        (**self).give(to);
    }
}

impl<T: Taken + Default> Taken for Option<T> {
    fn take(&mut self, value: Value) {
        self.insert(T::default()).take(value);
    }
}

impl<T: Given> Given for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn give(&self, to: &mut Vec<u8>) {
        match self {
            Some(value) => value.give(to),
            None => to.extend(b"null"),
        }
    }
}

impl<T: Taken + Default> Taken for Vec<T> {
    fn take(&mut self, value: Value) {
        if let Value::Array(items) = value {
            self.extend(items.into_iter().map(taken));
        }
    }
}

impl<T: Given> Given for Vec<T> {
    fn give(&self, to: &mut Vec<u8>) {
        to.push(b'[');
        for (at, item) in self.iter().enumerate() {
            if at > 0 {
                to.push(b',');
            }
            item.give(to);
        }
        to.push(b']');
    }
}

impl<T: Taken + Default> Taken for BTreeMap<String, T> {
    fn take(&mut self, value: Value) {
        if let Value::Object(entries) = value {
            self.extend(entries.into_iter().map(|(key, value)| (key, taken(value))));
        }
    }
}

impl<T: Given> Given for BTreeMap<String, T> {
    fn give(&self, to: &mut Vec<u8>) {
        let members: Vec<(&str, &dyn Given)> = self
            .iter()
            .map(|(key, value)| (key.as_str(), value as &dyn Given))
            .collect();
        give(to, &members);
    }
}

/// What a value becomes that has kept the rules.
pub(crate) fn taken<T: Taken + Default>(value: Value) -> T {
    let mut taken = T::default();
    taken.take(value);
    taken
}

impl Taken for String {
    fn take(&mut self, value: Value) {
        if let Value::String(text) = value {
            *self = text;
        }
    }
}

impl Given for String {
    fn give(&self, to: &mut Vec<u8>) {
        text(to, self);
    }
}

/// Numbers and truth values, by what a JSON value tells of them.
macro_rules! plain {
    ($($kind:ty: $of:expr;)*) => {$(
        impl Taken for $kind {
            fn take(&mut self, value: Value) {
                let of: fn(&Value) -> Option<$kind> = $of;
                if let Some(plain) = of(&value) {
                    *self = plain;
                }
            }
        }

        impl Given for $kind {
            fn give(&self, to: &mut Vec<u8>) {
                show(to, Value::from(*self));
            }
        }
    )*};
}

plain! {
    i32: |value| value.as_i64()?.try_into().ok();
    i64: Value::as_i64;
    f64: Value::as_f64;
    bool: Value::as_bool;
}

/// Bytes, which JSON has in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Bytes);

/// Takes what clients leave out at the end, or put there in other bits.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Blob {
    /// Whether a text is base64, told without the room that its bytes take.
    pub(crate) fn is_one(text: &str) -> bool {
        let digits = Self::digits(text);
        let padded = digits.len() == text.len() || text.len().is_multiple_of(4);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        padded && digits.len() % 4 != 1 && digits.bytes().all(plain)
    }

    /// How many bytes a text is of.
    pub(crate) fn size(text: &str) -> usize {
        Self::digits(text).len() * 3 / 4
    }

    /// The text without what fills it up.
    fn digits(text: &str) -> &str {
        let text = text.strip_suffix('=').unwrap_or(text);
        text.strip_suffix('=').unwrap_or(text)
    }
}

impl Taken for Blob {
    fn take(&mut self, value: Value) {
        let text = value.as_str().unwrap_or_default();
        if let Ok(bytes) = BASE64.decode(text) {
            self.0 = bytes.into();
        }
    }
}

impl Given for Blob {
    fn give(&self, to: &mut Vec<u8>) {
        text(to, &BASE64.encode(&self.0));
    }
}

/// A moment, which JSON has in seconds since 1970 with fractions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timestamp {
    pub(crate) ms: i64,
}

impl Taken for Timestamp {
    fn take(&mut self, value: Value) {
        let seconds = value.as_f64().unwrap_or_default();
        self.ms = (seconds * 1000.0).round() as i64;
    }
}

impl Given for Timestamp {
    fn give(&self, to: &mut Vec<u8>) {
        show(to, Value::from(self.ms as f64 / 1000.0));
    }
}

/// A moment, which the query protocol has as a calendar date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) ms: i64,
}

impl Given for Date {
    fn give(&self, to: &mut Vec<u8>) {
        let time = jiff::Timestamp::from_millisecond(self.ms).unwrap_or_default();
        text(to, &time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
}

/// Texts of a few values. Answers may hold others, which the rules refuse in requests.
macro_rules! choices {
    ($($name:ident { $($variant:ident = $value:literal,)* })*) => {$(
        #[derive(Clone)]
        pub(crate) enum $name {
            $($variant,)*
            Other(String),
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $name {
            pub(crate) const VALUES: &'static [&'static str] = &[$($value),*];

            pub(crate) fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $value,)*
                    Self::Other(value) => value,
                }
            }
        }

        impl From<String> for $name {
            fn from(value: String) -> Self {
                match value.as_str() {
                    $($value => Self::$variant,)*
                    _ => Self::Other(value),
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        impl $crate::aws::shape::Taken for $name {
            fn take(&mut self, value: serde_json::Value) {
                if let serde_json::Value::String(text) = value {
                    *self = text.into();
                }
            }
        }

        impl $crate::aws::shape::Given for $name {
            fn give(&self, to: &mut Vec<u8>) {
                $crate::aws::shape::text(to, self.as_str());
            }
        }
    )*};
}

/// Structures. None shows what it holds where it is printed: that may be a secret.
macro_rules! structures {
    ($($name:ident { $($field:ident $wire:literal: $kind:ty,)* })*) => {$(
        #[derive(Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: $kind,)*
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

/// Structures that requests hold.
macro_rules! requests {
    ($($name:ident { $($field:ident $wire:literal: $kind:ty,)* })*) => {
        $crate::aws::shape::structures! { $($name { $($field $wire: $kind,)* })* }
        $(impl $crate::aws::shape::Taken for $name {
            fn take(&mut self, value: serde_json::Value) {
                $crate::aws::shape::take(value, &mut [$(($wire, &mut self.$field)),*]);
            }
        })*
    };
}

/// Structures that answers hold.
macro_rules! answers {
    ($($name:ident { $($field:ident $wire:literal: $kind:ty,)* })*) => {
        $crate::aws::shape::structures! { $($name { $($field $wire: $kind,)* })* }
        $(impl $crate::aws::shape::Given for $name {
            fn give(&self, to: &mut Vec<u8>) {
                $crate::aws::shape::give(to, &[$(($wire, &self.$field)),*]);
            }
        })*
    };
}

/// Structures that both hold.
macro_rules! exchanged {
    ($($name:ident { $($field:ident $wire:literal: $kind:ty,)* })*) => {
        $crate::aws::shape::requests! { $($name { $($field $wire: $kind,)* })* }
        $(impl $crate::aws::shape::Given for $name {
            fn give(&self, to: &mut Vec<u8>) {
                $crate::aws::shape::give(to, &[$(($wire, &self.$field)),*]);
            }
        })*
    };
}

/// What answers hold in headers, their bodies being something else.
macro_rules! heads {
    ($($name:ident { $($field:ident $header:literal,)* })*) => {$(
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: Option<String>,)*
        }

        impl $name {
            /// Sets the headers that are there.
            pub(crate) fn set(self, headers: &mut http::HeaderMap) {
                for (name, value) in [$(($header, self.$field),)*] {
                    let value = value.and_then(|value| http::HeaderValue::try_from(value).ok());
                    if let Some(value) = value {
                        headers.insert(name, value);
                    }
                }
            }
        }
    )*};
}

/// Which structures are what operations take, and the rules that they keep.
macro_rules! inputs {
    ($($name:ident: $members:path;)*) => {$(
        impl $crate::aws::shape::Request for $name {
            const MEMBERS: &'static [$crate::aws::shape::Member] = $members;
        }
    )*};
}

pub(crate) use {answers, choices, exchanged, heads, inputs, requests, structures};
