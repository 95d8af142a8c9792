//! The place in a pattern at which reading is.

use super::Bad;

/// A text and what of it is not read yet.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// What stands between the first character and its counterpart at the end.
    pub(super) fn inside(text: &'a str, first: char, last: char) -> Result<Self, Bad> {
        let inside = text
            .strip_prefix(first)
            .and_then(|it| it.strip_suffix(last));
        inside.map(Self::new).ok_or_else(|| {
            Bad::new(format!(
                "If a filter pattern starts with '{first}' it must end with '{last}'"
            ))
        })
    }

    pub(super) fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Passes this text if it comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// The same after space.
    pub(super) fn take_after_space(&mut self, text: &str) -> bool {
        self.skip_space();
        self.take(text)
    }

    /// Passes this word, in any case, if it comes next and ends there.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let Some((head, after)) = self.rest.split_at_checked(word.len()) else {
            return false;
        };
        let ends = after
            .chars()
            .next()
            .is_none_or(|next| !next.is_alphanumeric());
        let there = head.eq_ignore_ascii_case(word) && ends;
        if there {
            self.rest = after;
        }
        there
    }

    /// The characters that come next and are such.
    pub(super) fn take_while(&mut self, such: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !such(c)).unwrap_or(self.rest.len());
        let (taken, after) = self.rest.split_at(end);
        self.rest = after;
        taken
    }

    /// The text up to a closing character, which is passed, with what its backslashes mean. The
    /// opening one is passed already.
    pub(super) fn take_quoted(&mut self, close: char) -> Result<String, Bad> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            if c == close {
                self.rest = self.rest.get(at + c.len_utf8()..).unwrap_or_default();
                return Ok(text);
            }
            match c {
                '\\' => match chars.next() {
                    Some((_, escaped)) if escaped == close || escaped == '\\' => text.push(escaped),
                    Some((_, other)) => text.extend(['\\', other]),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(Bad::pattern(&format!("a {close} is missing")))
    }

    /// The text up to a closing character, which is passed, as it stands.
    pub(super) fn take_until(&mut self, close: char) -> Result<&'a str, Bad> {
        let (text, after) = (self.rest.split_once(close))
            .ok_or_else(|| Bad::pattern(&format!("a {close} is missing")))?;
        self.rest = after;
        Ok(text)
    }
}
