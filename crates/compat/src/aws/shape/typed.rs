//! The types of requests and answers. A derive of serde for each of the models' structures would
//! take far longer to build than these forms, which need a line a member.

use std::collections::BTreeMap;

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// What is made of a value that has kept the rules.
pub(crate) trait Taken: Sized {
    /// None for a value of another type, which the rules let through nowhere.
    fn take(value: Value) -> Option<Self>;

    /// What a member is that is not there.
    fn absent() -> Option<Self> {
        None
    }
}

/// What is written as a member of an answer.
pub(crate) trait Given: Serialize {
    /// Whether the member is left out.
    fn is_absent(&self) -> bool {
        false
    }
}

/// The members of a structure, taken one by one.
#[derive(Debug)]
pub(crate) struct Taking(Map<String, Value>);

impl Taking {
    pub(crate) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self(members)),
            _ => None,
        }
    }

    pub(crate) fn member<T: Taken>(&mut self, name: &str) -> Option<T> {
        match self.0.remove(name) {
            None | Some(Value::Null) => T::absent(),
            Some(value) => T::take(value),
        }
    }
}

/// Writes a member that is there.
pub(crate) fn put<M: SerializeMap>(
    to: &mut M,
    name: &'static str,
    member: &impl Given,
) -> Result<(), M::Error> {
    if member.is_absent() {
        return Ok(());
    }
    to.serialize_entry(name, member)
}

impl<T: Taken> Taken for Option<T> {
    fn take(value: Value) -> Option<Self> {
        T::take(value).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Given> Given for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Taken> Taken for Vec<T> {
    fn take(value: Value) -> Option<Self> {
        match value {
            Value::Array(items) => items.into_iter().map(T::take).collect(),
            _ => None,
        }
    }
}

impl<T: Given> Given for Vec<T> {}

impl<T: Taken> Taken for BTreeMap<String, T> {
    fn take(value: Value) -> Option<Self> {
        let Value::Object(entries) = value else {
            return None;
        };
        let entries = entries.into_iter();
        entries
            .map(|(key, value)| Some((key, T::take(value)?)))
            .collect()
    }
}

impl<T: Given> Given for BTreeMap<String, T> {}

impl Taken for String {
    fn take(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl Given for String {}

impl Taken for i32 {
    fn take(value: Value) -> Option<Self> {
        value.as_i64().and_then(|number| number.try_into().ok())
    }
}

impl Given for i32 {}

impl Taken for i64 {
    fn take(value: Value) -> Option<Self> {
        value.as_i64()
    }
}

impl Given for i64 {}

impl Taken for f64 {
    fn take(value: Value) -> Option<Self> {
        value.as_f64()
    }
}

impl Given for f64 {}

impl Taken for bool {
    fn take(value: Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Given for bool {}

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
    fn take(value: Value) -> Option<Self> {
        let Value::String(text) = value else {
            return None;
        };
        let bytes = BASE64.decode(text).ok()?;
        Some(Self(bytes.into()))
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(&self.0))
    }
}

impl Given for Blob {}

/// A moment, which JSON has in seconds since 1970 with fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timestamp {
    pub(crate) ms: i64,
}

impl Taken for Timestamp {
    fn take(value: Value) -> Option<Self> {
        let seconds = value.as_f64()?;
        Some(Self {
            ms: (seconds * 1000.0).round() as i64,
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.ms as f64 / 1000.0)
    }
}

impl Given for Timestamp {}

/// A moment, which the query protocol has as a calendar date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) ms: i64,
}

impl Taken for Date {
    fn take(value: Value) -> Option<Self> {
        let time: jiff::Timestamp = value.as_str()?.parse().ok()?;
        Some(Self {
            ms: time.as_millisecond(),
        })
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let time = jiff::Timestamp::from_millisecond(self.ms).unwrap_or_default();
        to.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

impl Given for Date {}

/// Texts of a few values. Answers may hold others, which the rules refuse in requests.
macro_rules! choices {
    ($($name:ident { $($variant:ident = $value:literal,)* })*) => {$(
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) enum $name {
            $($variant,)*
            Other(String),
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

        impl $crate::aws::shape::Taken for $name {
            fn take(value: serde_json::Value) -> Option<Self> {
                String::take(value).map(Self::from)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl $crate::aws::shape::Given for $name {}
    )*};
}

/// Structures that requests hold.
macro_rules! requests {
    ($($(#[$meta:meta])* $name:ident { $($field:ident $wire:literal: $kind:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) struct $name {
            $(pub(crate) $field: $kind,)*
        }

        impl $crate::aws::shape::Taken for $name {
            fn take(value: serde_json::Value) -> Option<Self> {
                #[allow(unused_mut, reason = "some have no members")]
                let mut members = $crate::aws::shape::Taking::of(value)?;
                let _ = &members;
                Some(Self { $($field: members.member($wire)?,)* })
            }
        }
    )*};
}

/// Structures that answers hold.
macro_rules! answers {
    ($($(#[$meta:meta])* $name:ident { $($field:ident $wire:literal: $kind:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) struct $name {
            $(pub(crate) $field: $kind,)*
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let mut members = to.serialize_map(None)?;
                $($crate::aws::shape::put(&mut members, $wire, &self.$field)?;)*
                serde::ser::SerializeMap::end(members)
            }
        }

        impl $crate::aws::shape::Given for $name {}
    )*};
}

/// Structures that both hold.
macro_rules! exchanged {
    ($($(#[$meta:meta])* $name:ident { $($field:ident $wire:literal: $kind:ty,)* })*) => {
        $crate::aws::shape::requests! { $($(#[$meta])* $name { $($field $wire: $kind,)* })* }
        $(
            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    let mut members = to.serialize_map(None)?;
                    $($crate::aws::shape::put(&mut members, $wire, &self.$field)?;)*
                    serde::ser::SerializeMap::end(members)
                }
            }

            impl $crate::aws::shape::Given for $name {}
        )*
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

pub(crate) use {answers, choices, exchanged, heads, inputs, requests};
