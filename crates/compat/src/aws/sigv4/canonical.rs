//! The parts of a canonical request: what a client and a server must write alike to arrive at
//! the same signature.

use http::HeaderMap;

use super::super::text;

/// One way to write a path.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) canonical: String,
    /// What the request's path then is, where it is not the one that was sent.
    pub(super) read_as: Option<String>,
}

/// The ways in which clients write a path. Most are one: S3's paths are encoded once, those of
/// other services once more, and of these some clients leave out empty and dotted segments.
pub(super) fn paths(sent: &str, once: bool) -> Vec<Path> {
    let sent = if sent.is_empty() { "/" } else { sent };
    let as_sent = |canonical| Path {
        canonical,
        read_as: None,
    };
    if once {
        let encoded = encoded_path(&text::unescape_bytes(sent, false));
        let mut paths = vec![as_sent(encoded)];
        if paths[0].canonical != sent {
            paths.push(as_sent(sent.to_owned()));
        }
        return paths;
    }
    let mut paths = vec![as_sent(encoded_path(sent.as_bytes()))];
    for normal in normalized(sent) {
        if normal != sent {
            paths.push(Path {
                canonical: encoded_path(normal.as_bytes()),
                read_as: Some(normal),
            });
        }
    }
    paths
}

/// Without empty segments and dots. After a last segment of dots some clients leave a slash and
/// some do not.
fn normalized(path: &str) -> Vec<String> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let plain = format!("/{}", kept.join("/"));
    if kept.is_empty() {
        return vec![plain];
    }
    let slashed = format!("{plain}/");
    match path.rsplit('/').next() {
        Some("") => vec![slashed],
        Some("." | "..") => vec![plain, slashed],
        _ => vec![plain],
    }
}

fn encoded_path(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    encode(path, b"/", &mut text);
    text
}

/// Parameters in order, each escaped as few bytes are not. The signature itself is left out
/// where it is among them.
pub(super) fn query(sent: &str, presigned: bool) -> String {
    let escaped = |part: &str| {
        let mut text = String::with_capacity(part.len());
        encode(&text::unescape_bytes(part, true), b"", &mut text);
        text
    };
    let pairs = sent.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (escaped(name), escaped(value)))
        .filter(|(name, _)| !(presigned && name == "X-Amz-Signature"))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

fn encode(bytes: &[u8], kept: &[u8], text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        let unreserved = byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
        if unreserved || kept.contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// A line for each signed header: its values in the order in which they came, without the spaces
/// around them, and one where there are several.
pub(super) fn headers(sent: &HeaderMap, signed: &[String]) -> Vec<u8> {
    let mut lines = Vec::new();
    for name in signed {
        lines.extend_from_slice(name.as_bytes());
        lines.push(b':');
        for (place, value) in sent.get_all(name.as_str()).iter().enumerate() {
            if place > 0 {
                lines.push(b',');
            }
            let words = value.as_bytes().split(u8::is_ascii_whitespace);
            for (place, word) in words.filter(|word| !word.is_empty()).enumerate() {
                if place > 0 {
                    lines.push(b' ');
                }
                lines.extend_from_slice(word);
            }
        }
        lines.push(b'\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_clients_write_them() {
        let check = |sent: &str, once: bool, expected: &[&str]| {
            let paths = paths(sent, once);
            let shown: Vec<_> = paths.iter().map(|path| path.canonical.as_str()).collect();
            assert_eq!(shown, expected, "{sent}");
        };
        check("", false, &["/"]);
        check("/a%3Ab/c", false, &["/a%253Ab/c"]);
        check("/a%3Ab/c(1)", true, &["/a%3Ab/c%281%29", "/a%3Ab/c(1)"]);
        check("/a//b/./../c/", false, &["/a//b/./../c/", "/a/c/"]);
        check("/a/.", false, &["/a/.", "/a", "/a/"]);
        check("/a//../b", true, &["/a//../b"]);
    }

    #[test]
    fn queries_are_sorted_and_escaped_alike() {
        let check = |sent: &str, expected: &str| assert_eq!(query(sent, true), expected);
        check("b=2&a=1&a=0", "a=0&a=1&b=2");
        check("acl", "acl=");
        check("a=x+y%2bz%7e", "a=x%20y%2Bz~");
        check("&&X-Amz-Signature=00&x=%zz", "x=%25zz");
    }
}
