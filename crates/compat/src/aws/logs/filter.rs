//! Filter patterns of CloudWatch Logs: terms, conditions on JSON, and conditions on fields between
//! spaces. Matching an event takes time in proportion to its length, whatever the pattern.

mod condition;
mod cursor;
mod fields;
mod json;
mod regex;
mod terms;
mod value;

use condition::Condition;
use cursor::Cursor;
use fields::Fields;
use json::Selector;
use terms::Terms;

/// Regular expressions in one pattern (AWS quota).
const REGEXES_MAX: usize = 2;

/// A pattern that was understood.
#[derive(Debug)]
pub(super) struct Pattern(Kind);

#[derive(Debug)]
enum Kind {
    Everything,
    Terms(Terms),
    Json(Condition<Selector>),
    Fields(Fields),
}

/// Why a pattern is none, in the service's words as far as it has any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Bad(String);

impl Bad {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    fn pattern(what: &str) -> Self {
        Self(format!("Invalid filter pattern: {what}"))
    }
}

impl Pattern {
    /// Reads a pattern.
    pub(super) fn read(text: &str) -> Result<Self, Bad> {
        let text = text.trim();
        let kind = match text.chars().next() {
            None => Kind::Everything,
            Some('{') => Kind::Json(json::read(&mut Cursor::inside(text, '{', '}')?)?),
            Some('[') => Kind::Fields(Fields::read(&mut Cursor::inside(text, '[', ']')?)?),
            Some(_) => Kind::Terms(Terms::read(&mut Cursor::new(text))?),
        };
        let pattern = Self(kind);
        if pattern.regexes() > REGEXES_MAX {
            return Err(Bad::pattern("it has more than two regular expressions"));
        }
        Ok(pattern)
    }

    /// Whether an event's text is what the pattern wants.
    pub(super) fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Everything => true,
            Kind::Terms(terms) => terms.match_text(text),
            Kind::Json(condition) => json::matches(condition, text),
            Kind::Fields(fields) => fields.match_text(text),
        }
    }

    fn regexes(&self) -> usize {
        match &self.0 {
            Kind::Everything => 0,
            Kind::Terms(terms) => terms.regexes(),
            Kind::Json(condition) => condition.regexes(),
            Kind::Fields(fields) => fields.regexes(),
        }
    }
}

#[cfg(test)]
mod tests;
