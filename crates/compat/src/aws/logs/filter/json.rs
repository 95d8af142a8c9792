//! Conditions on events that are JSON: `{ $.user.id = 7 && $.errors[0] EXISTS }`.

use serde_json::Value;

use super::Bad;
use super::condition::{Condition, Test};
use super::cursor::Cursor;
use super::value::Comparison;

/// The way from an event to values in it.
#[derive(Debug)]
pub(super) struct Selector(Vec<Step>);

#[derive(Debug)]
enum Step {
    Member(String),
    Item(usize),
    /// All members, or all items.
    Each,
}

/// Reads a condition to the end of the pattern.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Condition<Selector>, Bad> {
    let condition = Condition::read(cursor, |cursor| {
        let selector = Selector::read(cursor)?;
        Ok((selector, read_test(cursor)?))
    })?;
    cursor.skip_space();
    if cursor.is_at_end() {
        Ok(condition)
    } else {
        Err(Bad::pattern("something follows the condition"))
    }
}

fn read_test(cursor: &mut Cursor<'_>) -> Result<Test, Bad> {
    if cursor.take_word("EXISTS") {
        return Ok(Test::Exists(true));
    }
    if cursor.take_word("NOT") {
        if cursor.take_word("EXISTS") {
            return Ok(Test::Exists(false));
        }
        return Err(Bad::pattern("NOT stands before EXISTS only"));
    }
    if cursor.take_word("IS") {
        let words = [
            ("NULL", Test::IsNull),
            ("TRUE", Test::Is(true)),
            ("FALSE", Test::Is(false)),
        ];
        let found = words.into_iter().find(|(word, _)| cursor.take_word(word));
        return match found {
            Some((_, test)) => Ok(test),
            None => Err(Bad::pattern("IS stands before NULL, TRUE or FALSE")),
        };
    }
    let comparison = Comparison::read(cursor)?;
    comparison
        .map(Test::Compares)
        .ok_or_else(|| Bad::pattern("a property is compared with nothing"))
}

/// Whether an event is JSON of which the condition holds.
pub(super) fn matches(condition: &Condition<Selector>, text: &str) -> bool {
    let text = text.trim();
    if !text.starts_with(['{', '[']) {
        return false;
    }
    let Ok(event) = serde_json::from_str::<Value>(text) else {
        return false;
    };
    condition.holds(&|selector, test| {
        let values = selector.values(&event);
        match test {
            Test::Nothing => false,
            Test::Exists(wanted) => values.is_empty() != *wanted,
            Test::IsNull => values.iter().any(|value| value.is_null()),
            Test::Is(truth) => values.iter().any(|value| value.as_bool() == Some(*truth)),
            Test::Compares(comparison) => values.iter().any(|value| comparison.holds_of(value)),
        }
    })
}

impl Selector {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Bad> {
        if !cursor.take_after_space("$") {
            return Err(Bad::pattern("a property selector begins with $"));
        }
        let mut steps = Vec::new();
        while let Some(step) = Step::read(cursor)? {
            steps.push(step);
        }
        if steps.is_empty() {
            return Err(Bad::pattern("a property selector names a property"));
        }
        Ok(Self(steps))
    }

    /// The values it leads to.
    fn values<'a>(&self, event: &'a Value) -> Vec<&'a Value> {
        let mut values = vec![event];
        for step in &self.0 {
            values = match step {
                Step::Member(name) => values.iter().filter_map(|it| it.get(name)).collect(),
                Step::Item(index) => values.iter().filter_map(|it| it.get(index)).collect(),
                Step::Each => values.iter().flat_map(|it| each(it)).collect(),
            };
        }
        values
    }
}

fn each(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    }
}

impl Step {
    fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, Bad> {
        let dot = cursor.take(".");
        if cursor.take("[") {
            let step = Self::read_index(cursor)?;
            return if cursor.take_after_space("]") {
                Ok(Some(step))
            } else {
                Err(Bad::pattern("a ] is missing"))
            };
        }
        if !dot {
            return Ok(None);
        }
        if cursor.take("*") {
            return Ok(Some(Self::Each));
        }
        let name = cursor.take_while(|c| !c.is_whitespace() && !".[](){}=!<>&|\",%*".contains(c));
        if name.is_empty() {
            return Err(Bad::pattern("a property has no name"));
        }
        Ok(Some(Self::Member(name.to_owned())))
    }

    fn read_index(cursor: &mut Cursor<'_>) -> Result<Self, Bad> {
        cursor.skip_space();
        for quote in ['\'', '"'] {
            if cursor.peek() == Some(quote) {
                cursor.take(&quote.to_string());
                return Ok(Self::Member(cursor.take_quoted(quote)?));
            }
        }
        if cursor.take("*") {
            return Ok(Self::Each);
        }
        let digits = cursor.take_while(|c| c.is_ascii_digit());
        let index = digits
            .parse()
            .map_err(|_| Bad::pattern("an index is no number"))?;
        Ok(Self::Item(index))
    }
}
