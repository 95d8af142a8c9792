//! Regular expressions between percent signs: a part of the usual syntax, and no more states than
//! keep matching quick.

use std::fmt;

use regex_automata::meta;
use regex_automata::util::syntax;

use super::Bad;

/// Size of what an expression is made into, in bytes (ours: some hundred states).
const SIZE_BYTES_MAX: usize = 32 * 1024;

/// An expression that may match anywhere in a text.
pub(super) struct Regex(meta::Regex);

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Regex(..)")
    }
}

impl Regex {
    pub(super) fn read(text: &str) -> Result<Self, Bad> {
        let bad = |what: &str| Bad::pattern(&format!("the regular expression '{text}' {what}"));
        check(text).map_err(|wrong| bad(&format!("has an unsupported '{wrong}'")))?;
        let bytes = syntax::Config::new().unicode(false).utf8(false);
        let size = meta::Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(SIZE_BYTES_MAX));
        let built = meta::Builder::new()
            .syntax(bytes)
            .configure(size)
            .build(text);
        built.map(Self).map_err(|error| {
            if error.size_limit().is_some() {
                bad("is too large")
            } else {
                bad("cannot be read")
            }
        })
    }

    pub(super) fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// Whether only those characters are in it that the service allows; else the first other.
fn check(text: &str) -> Result<(), char> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            match chars.next() {
                Some('d' | 'D' | 's' | 'S' | 'w' | 'W' | 'x') => {}
                Some(symbol) if symbol.is_ascii_punctuation() => {}
                Some(other) => return Err(other),
                None => return Err(c),
            }
        } else if !c.is_ascii_alphanumeric() && !" :_#=@/;,-^$?[]{}|*+.".contains(c) {
            return Err(c);
        }
    }
    Ok(())
}
