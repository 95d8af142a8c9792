//! Conditions on fields between spaces: `[ip, user, ..., status = 4*, size > 1000]`.

use super::Bad;
use super::condition::{Condition, Test};
use super::cursor::Cursor;
use super::value::Comparison;

/// What fields an event has, and what is asked of them.
#[derive(Debug)]
pub(super) struct Fields {
    conditions: Vec<Condition<usize>>,
    /// How many of the fields stand before the gap, where there is one.
    gap: Option<usize>,
    count: usize,
}

impl Fields {
    /// Reads fields to the end of the pattern.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Bad> {
        let mut items: Vec<Condition<String>> = Vec::new();
        let mut gap = None;
        loop {
            if cursor.take_after_space("...") {
                if gap.replace(items.len()).is_some() {
                    return Err(Bad::pattern("it has two ellipses"));
                }
            } else {
                items.push(Condition::read(cursor, read_test)?);
            }
            if !cursor.take_after_space(",") {
                break;
            }
        }
        if !cursor.is_at_end() {
            return Err(Bad::pattern("something follows a field"));
        }
        let names: Vec<String> = items.iter().map(first_name).collect();
        let place = |name: &String| {
            let place = names.iter().position(|known| known == name);
            place.ok_or_else(|| Bad::pattern(&format!("no field is called '{name}'")))
        };
        let conditions = items.into_iter().map(|item| item.placed(&place));
        Ok(Self {
            conditions: conditions.collect::<Result<_, _>>()?,
            gap,
            count: names.len(),
        })
    }

    pub(super) fn match_text(&self, text: &str) -> bool {
        let found = split(text);
        let enough = match self.gap {
            None => found.len() == self.count,
            Some(_) => found.len() >= self.count,
        };
        // Fields behind the gap are counted from the end.
        let left_out = found.len().saturating_sub(self.count);
        let field = |place: usize| {
            let behind = self.gap.is_some_and(|gap| place >= gap);
            let at = if behind { place + left_out } else { place };
            found.get(at).copied().unwrap_or_default()
        };
        let holds = |place: &usize, test: &Test| match test {
            Test::Compares(comparison) => comparison.holds_of_field(field(*place)),
            _ => true,
        };
        enough
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(&holds))
    }

    pub(super) fn regexes(&self) -> usize {
        self.conditions.iter().map(Condition::regexes).sum()
    }
}

fn read_test(cursor: &mut Cursor<'_>) -> Result<(String, Test), Bad> {
    cursor.skip_space();
    let name = cursor.take_while(|c| c.is_alphanumeric() || "_-$.:@#/".contains(c));
    if name.is_empty() {
        return Err(Bad::pattern("a field has no name"));
    }
    let comparison = Comparison::read(cursor)?;
    let test = comparison.map_or(Test::Nothing, Test::Compares);
    Ok((name.to_owned(), test))
}

/// The name that a field's condition begins with is the field's.
fn first_name(condition: &Condition<String>) -> String {
    match condition {
        Condition::Any(parts) | Condition::All(parts) => {
            parts.first().map(first_name).unwrap_or_default()
        }
        Condition::Test(name, _) => name.clone(),
    }
}

impl Condition<String> {
    /// The same on fields by their places.
    fn placed(
        self,
        place: &dyn Fn(&String) -> Result<usize, Bad>,
    ) -> Result<Condition<usize>, Bad> {
        let all = |parts: Vec<Self>| {
            let placed = parts.into_iter().map(|part| part.placed(place));
            placed.collect::<Result<Vec<_>, _>>()
        };
        Ok(match self {
            Self::Any(parts) => Condition::Any(all(parts)?),
            Self::All(parts) => Condition::All(all(parts)?),
            Self::Test(name, test) => Condition::Test(place(&name)?, test),
        })
    }
}

/// The fields of an event: between spaces, or between quotes or brackets with spaces inside.
fn split(text: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        let close = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let inside = close.and_then(|close| rest.get(1..)?.split_once(close));
        let (field, after) = match inside {
            Some((field, after)) => (field, after),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        fields.push(field);
        rest = after.trim_start();
    }
    fields
}
