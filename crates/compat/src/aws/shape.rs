//! What requests and answers of AWS's services hold: the forms in which `cargo xtask shapes`
//! writes the public service models, as tables for the rules and as types for handlers. It knows
//! no service.

mod check;
mod fill;
pub(crate) mod pattern;
mod typed;

use http::StatusCode;

pub(crate) use fill::{Request, Source, Unread, read};
pub(crate) use typed::{Blob, Date, Given, Taken, Timestamp, give, json, take, taken, text};
pub(crate) use typed::{answers, choices, exchanged, heads, inputs, requests, structures};

use pattern::Pattern;

/// One operation of a service, which `N` names.
#[derive(Debug)]
pub(crate) struct Operation<N: 'static> {
    pub(crate) is: N,
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    /// Path with `{Label}` for a segment that a caller chooses.
    pub(crate) path: &'static str,
    /// A query parameter that tells it from another operation at the same path.
    pub(crate) query: &'static str,
    /// Status of an answer that is no error.
    pub(crate) status: u16,
}

impl<N> Operation<N> {
    /// Status of an answer that is no error.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or_default()
    }
}

/// An error of a service, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    status: u16,
    /// `Message` or `message`: the services are not of one mind.
    pub(crate) key: &'static str,
    /// Whether it carries `Type`.
    pub(crate) typed: bool,
}

impl Kind {
    pub(crate) const fn new(
        name: &'static str,
        status: u16,
        key: &'static str,
        typed: bool,
    ) -> Self {
        Self {
            name,
            status,
            key,
            typed,
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// A member of a structure.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    shape: &'static Shape,
    required: bool,
    place: Place,
}

/// Where a request has a member.
#[derive(Debug, Clone, Copy)]
enum Place {
    Body,
    /// A segment of the path, by its name in the operation's path.
    Label(&'static str),
    Query(&'static str),
    /// A header, in small letters.
    Header(&'static str),
}

pub(crate) const fn body(name: &'static str, shape: &'static Shape) -> Member {
    member(name, shape, Place::Body)
}

pub(crate) const fn label(
    name: &'static str,
    there: &'static str,
    shape: &'static Shape,
) -> Member {
    member(name, shape, Place::Label(there))
}

pub(crate) const fn query(
    name: &'static str,
    there: &'static str,
    shape: &'static Shape,
) -> Member {
    member(name, shape, Place::Query(there))
}

pub(crate) const fn header(
    name: &'static str,
    there: &'static str,
    shape: &'static Shape,
) -> Member {
    member(name, shape, Place::Header(there))
}

const fn member(name: &'static str, shape: &'static Shape, place: Place) -> Member {
    Member {
        name,
        shape,
        required: false,
        place,
    }
}

impl Member {
    pub(crate) const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }
}

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Shape {
    Text {
        length: Range,
        pattern: Option<&'static Pattern>,
        sensitive: bool,
    },
    Choice(&'static [&'static str]),
    Integer(Range),
    Long(Range),
    Double(Range),
    Boolean,
    /// Bytes, in base64.
    Blob {
        length: Range,
        sensitive: bool,
    },
    /// Seconds since 1970.
    Timestamp,
    List {
        item: &'static Shape,
        length: Range,
    },
    Map(Entries),
    Structure(&'static [Member]),
}

/// What a map holds.
#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) key: &'static Shape,
    pub(crate) value: &'static Shape,
    pub(crate) length: Range,
    pub(crate) sensitive: bool,
}

impl Shape {
    /// A text of which the model says nothing, or nothing that the service's framework checks.
    pub(crate) const TEXT: Self = Self::Text {
        length: Range::ANY,
        pattern: None,
        sensitive: false,
    };

    fn is_structure(&self) -> bool {
        matches!(self, Self::Structure(_))
    }

    /// Whether the value is repeated to nobody.
    fn is_sensitive(&self) -> bool {
        match self {
            Self::Text { sensitive, .. } | Self::Blob { sensitive, .. } => *sensitive,
            Self::Map(map) => map.sensitive,
            _ => false,
        }
    }

    /// What its value or its length may be.
    fn range(&self) -> Range {
        match self {
            Self::Text { length, .. } | Self::Blob { length, .. } | Self::List { length, .. } => {
                *length
            }
            Self::Integer(range) | Self::Long(range) | Self::Double(range) => *range,
            Self::Map(map) => map.length,
            Self::Choice(_) | Self::Boolean | Self::Timestamp | Self::Structure(_) => Range::ANY,
        }
    }
}

/// The least and the most that a value or a length may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
}

impl Range {
    pub(crate) const ANY: Self = Self {
        min: None,
        max: None,
    };
}

#[cfg(test)]
pub(crate) mod tests;
