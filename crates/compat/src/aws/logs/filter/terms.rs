//! Terms that an event's text holds or not: `ERROR "not found" -debug`, `?one ?other`, `%4\d\d%`.

use super::Bad;
use super::cursor::Cursor;
use super::regex::Regex;

/// Terms of a pattern.
#[derive(Debug)]
pub(super) struct Terms {
    /// One of these is there, where there are any.
    any: Vec<Term>,
    /// All of these are there.
    all: Vec<Term>,
    /// None of these is.
    none: Vec<Term>,
}

#[derive(Debug)]
enum Term {
    Text(String),
    Regex(Regex),
}

impl Terms {
    /// Reads terms to the end of the pattern.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Bad> {
        let (mut any, mut all, mut none) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            cursor.skip_space();
            if cursor.is_at_end() {
                break;
            }
            if cursor.take("?") {
                any.push(Term::read(cursor)?);
            } else if cursor.take("-") {
                none.push(Term::read(cursor)?);
            } else {
                all.push(Term::read(cursor)?);
            }
        }
        // Optional terms say nothing beside others; so the service has it.
        if !all.is_empty() || !none.is_empty() {
            any.clear();
        }
        Ok(Self { any, all, none })
    }

    pub(super) fn match_text(&self, text: &str) -> bool {
        let there = |term: &Term| term.is_in(text);
        (self.any.is_empty() || self.any.iter().any(there))
            && self.all.iter().all(there)
            && !self.none.iter().any(there)
    }

    pub(super) fn regexes(&self) -> usize {
        let terms = self.any.iter().chain(&self.all).chain(&self.none);
        terms.filter(|term| matches!(term, Term::Regex(_))).count()
    }
}

impl Term {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Bad> {
        let term = if cursor.take("\"") {
            Self::Text(cursor.take_quoted('"')?)
        } else if cursor.take("%") {
            Self::Regex(Regex::read(cursor.take_until('%')?)?)
        } else {
            let word = cursor.take_while(|c| !c.is_whitespace());
            let plain = |c: char| c.is_alphanumeric() || c == '_';
            if word.is_empty() || !word.chars().all(plain) {
                return Err(Bad::new(format!("Invalid character(s) in term '{word}'")));
            }
            Self::Text(word.to_owned())
        };
        Ok(term)
    }

    fn is_in(&self, text: &str) -> bool {
        match self {
            Self::Text(term) => text.contains(term.as_str()),
            Self::Regex(regex) => regex.is_in(text),
        }
    }
}
