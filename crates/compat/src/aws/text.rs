//! Escapes of paths, queries, forms and XML.

use std::collections::BTreeMap;

/// Resolves `%XX` and, in queries and forms, `+`; what is no escape stays as it is.
pub(super) fn unescape_bytes(text: &str, plus_is_space: bool) -> Vec<u8> {
    let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        match byte {
            b'+' if plus_is_space => plain.push(b' '),
            b'%' => match (hex(ahead.next()), hex(ahead.next())) {
                (Some(high), Some(low)) => {
                    plain.push((high * 16 + low) as u8);
                    rest = ahead;
                }
                _ => plain.push(b'%'),
            },
            other => plain.push(other),
        }
    }
    plain
}

fn unescape(text: &str, plus_is_space: bool) -> String {
    String::from_utf8_lossy(&unescape_bytes(text, plus_is_space)).into_owned()
}

/// A segment of a path, its escapes resolved.
pub(super) fn segment(text: &str) -> String {
    unescape(text, false)
}

/// The values of a parameter of a query or form, their escapes resolved.
pub(super) fn parameters(query: &str, name: &str) -> impl Iterator<Item = String> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| unescape(value, true))
}

/// The first of them.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    parameters(query, name).next()
}

/// The parameters of a form by their names, their escapes resolved; of several values the last.
pub(super) fn form(form: &str) -> BTreeMap<String, String> {
    form.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (unescape(name, true), unescape(value, true)))
        .collect()
}

/// Text as XML content.
pub(super) fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved_and_broken_ones_kept() {
        assert_eq!(segment("a%3Alive+b"), "a:live+b");
        assert_eq!(segment("100%"), "100%");
        assert_eq!(segment("%zz%ff"), "%zz\u{fffd}");
        assert_eq!(
            parameter("a=1&Qualifier=%24LATEST+x", "Qualifier").as_deref(),
            Some("$LATEST x")
        );
        assert_eq!(parameter("List", "List").as_deref(), Some(""));
        assert_eq!(parameter("a=1", "b"), None);
        assert_eq!(
            form("a.1=x%20y&b=&&c"),
            BTreeMap::from(
                [("a.1", "x y"), ("b", ""), ("c", "")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
            )
        );
        assert_eq!(xml("<a&b>"), "&lt;a&amp;b&gt;");
    }
}
