//! What a value is compared with, and how.

use serde_json::Value;

use super::Bad;
use super::cursor::Cursor;
use super::regex::Regex;

/// A comparison with something that the pattern names.
#[derive(Debug)]
pub(super) struct Comparison {
    operator: Operator,
    wanted: Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// In this order: the longer of two comes first.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::IsNot),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Is),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

#[derive(Debug)]
enum Wanted {
    /// Texts with anything between them.
    Text(Vec<String>),
    /// A number, which may stand in a text as it is written.
    Number(f64, String),
    Regex(Regex),
}

impl Comparison {
    /// Reads an operator and what follows, if an operator comes next.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, Bad> {
        cursor.skip_space();
        let found = OPERATORS.iter().find(|(text, _)| cursor.take(text));
        let Some((_, operator)) = found else {
            return Ok(None);
        };
        let wanted = Wanted::read(cursor)?;
        let ordered = !matches!(operator, Operator::Is | Operator::IsNot);
        if ordered && !matches!(wanted, Wanted::Number(..)) {
            return Err(Bad::pattern("only numbers are less or greater"));
        }
        let operator = *operator;
        Ok(Some(Self { operator, wanted }))
    }

    /// Whether a value that is there compares so. What is no text, number or truth value is
    /// different from everything.
    pub(super) fn holds_of(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.holds(text, None),
            Value::Number(number) => self.holds(&number.to_string(), number.as_f64()),
            Value::Bool(truth) => self.holds(if *truth { "true" } else { "false" }, None),
            Value::Null | Value::Array(_) | Value::Object(_) => self.operator == Operator::IsNot,
        }
    }

    /// The same of a field of a text, which is a number if it can be read as one.
    pub(super) fn holds_of_field(&self, text: &str) -> bool {
        self.holds(text, text.parse().ok())
    }

    fn holds(&self, text: &str, number: Option<f64>) -> bool {
        match self.operator {
            Operator::Is => self.wanted.is(text, number),
            Operator::IsNot => !self.wanted.is(text, number),
            ordered => {
                let (Some(number), Wanted::Number(wanted, _)) = (number, &self.wanted) else {
                    return false;
                };
                match ordered {
                    Operator::Less => number < *wanted,
                    Operator::LessOrEqual => number <= *wanted,
                    Operator::Greater => number > *wanted,
                    _ => number >= *wanted,
                }
            }
        }
    }

    pub(super) fn regexes(&self) -> usize {
        usize::from(matches!(self.wanted, Wanted::Regex(_)))
    }
}

impl Wanted {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Bad> {
        cursor.skip_space();
        if cursor.take("\"") {
            return Ok(Self::text(&cursor.take_quoted('"')?));
        }
        if cursor.take("%") {
            return Ok(Self::Regex(Regex::read(cursor.take_until('%')?)?));
        }
        let bare = cursor.take_while(|c| !c.is_whitespace() && !"()[]{}&|,=<>!\"%".contains(c));
        if bare.is_empty() {
            return Err(Bad::pattern("a comparison has nothing to compare with"));
        }
        // Words such as `nan` are none.
        let is_number = bare.bytes().any(|byte| byte.is_ascii_digit());
        match bare.parse::<f64>() {
            Ok(number) if is_number => Ok(Self::Number(number, bare.to_owned())),
            _ => Ok(Self::text(bare)),
        }
    }

    fn text(text: &str) -> Self {
        Self::Text(text.split('*').map(str::to_owned).collect())
    }

    #[expect(clippy::float_cmp, reason = "the same number, as both were written")]
    fn is(&self, text: &str, number: Option<f64>) -> bool {
        match self {
            Self::Text(parts) => is_made_of(text, parts),
            Self::Number(wanted, written) => {
                number.map_or_else(|| text == written, |number| number == *wanted)
            }
            Self::Regex(regex) => regex.is_in(text),
        }
    }
}

/// Whether a text is these parts, in order, with anything between them. Each is taken where it
/// first stands, so that none is looked for twice at one place.
fn is_made_of(text: &str, parts: &[String]) -> bool {
    let [first, between @ .., last] = parts else {
        return parts.first().is_some_and(|whole| whole == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else {
        return false;
    };
    for part in between {
        let Some((_, after)) = rest.split_once(part.as_str()) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last.as_str())
}
