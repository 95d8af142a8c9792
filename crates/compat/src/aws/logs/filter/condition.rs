//! Conditions joined by `&&`, `||` and parentheses, whatever they are on.

use super::Bad;
use super::cursor::Cursor;
use super::value::Comparison;

/// Parentheses inside each other (ours).
const DEPTH_MAX: usize = 64;

/// A condition on things that `S` selects.
#[derive(Debug)]
pub(super) enum Condition<S> {
    Any(Vec<Self>),
    All(Vec<Self>),
    Test(S, Test),
}

/// What is asked of a thing.
#[derive(Debug)]
pub(super) enum Test {
    /// Nothing: it stands for itself.
    Nothing,
    Compares(Comparison),
    IsNull,
    Is(bool),
    Exists(bool),
}

/// Reads a single test.
type ReadTest<S> = fn(&mut Cursor<'_>) -> Result<(S, Test), Bad>;

impl<S> Condition<S> {
    /// Reads a condition to its end, where a closing parenthesis, a comma or nothing follows.
    pub(super) fn read(cursor: &mut Cursor<'_>, read_test: ReadTest<S>) -> Result<Self, Bad> {
        Self::read_any(cursor, read_test, DEPTH_MAX)
    }

    fn read_any(
        cursor: &mut Cursor<'_>,
        read_test: ReadTest<S>,
        depth: usize,
    ) -> Result<Self, Bad> {
        let mut any = vec![Self::read_all(cursor, read_test, depth)?];
        while cursor.take_after_space("||") {
            any.push(Self::read_all(cursor, read_test, depth)?);
        }
        Ok(one_or(any, Self::Any))
    }

    fn read_all(
        cursor: &mut Cursor<'_>,
        read_test: ReadTest<S>,
        depth: usize,
    ) -> Result<Self, Bad> {
        let mut all = vec![Self::read_one(cursor, read_test, depth)?];
        while cursor.take_after_space("&&") {
            all.push(Self::read_one(cursor, read_test, depth)?);
        }
        Ok(one_or(all, Self::All))
    }

    fn read_one(
        cursor: &mut Cursor<'_>,
        read_test: ReadTest<S>,
        depth: usize,
    ) -> Result<Self, Bad> {
        if !cursor.take_after_space("(") {
            let (selected, test) = read_test(cursor)?;
            return Ok(Self::Test(selected, test));
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Bad::pattern("too many parentheses inside each other"));
        };
        let inside = Self::read_any(cursor, read_test, depth)?;
        if !cursor.take_after_space(")") {
            return Err(Bad::pattern("a ) is missing"));
        }
        Ok(inside)
    }

    /// Whether it holds, where `holds` says so of a single test.
    pub(super) fn holds(&self, holds: &dyn Fn(&S, &Test) -> bool) -> bool {
        match self {
            Self::Any(any) => any.iter().any(|one| one.holds(holds)),
            Self::All(all) => all.iter().all(|one| one.holds(holds)),
            Self::Test(selected, test) => holds(selected, test),
        }
    }

    pub(super) fn regexes(&self) -> usize {
        match self {
            Self::Any(parts) | Self::All(parts) => parts.iter().map(Self::regexes).sum(),
            Self::Test(_, Test::Compares(comparison)) => comparison.regexes(),
            Self::Test(..) => 0,
        }
    }
}

/// The only condition, or several as one.
fn one_or<S>(
    mut conditions: Vec<Condition<S>>,
    join: fn(Vec<Condition<S>>) -> Condition<S>,
) -> Condition<S> {
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        Some(last) => {
            conditions.push(last);
            join(conditions)
        }
        None => join(conditions),
    }
}
