//! A line as bytes in a segment: length, checksum, then time, flags, invocation, what the flags
//! say is there besides, and text.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Line, Seen};
use crate::checksum::crc;

/// Longest text kept, in bytes: what CloudWatch Logs keeps of one event.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Says that a text was longer.
const CUT: &str = "[cut]";

/// Bytes before the content: its length and its checksum.
pub(super) const HEAD_BYTES: usize = 8;

/// Longest content that a record of ours can have; a larger length is damage.
const CONTENT_BYTES_MAX: usize = TEXT_BYTES_MAX + 1024;

/// The platform wrote it.
const PLATFORM: u8 = 1;
/// After the invocation stands the source: a byte of length and text.
const SOURCE: u8 = 2;
/// Then the time that the writer gave, as eight bytes.
const STAMP: u8 = 4;

/// Appends the record of a line.
pub(super) fn encode(line: &Line, to: &mut Vec<u8>) {
    let start = to.len();
    to.extend_from_slice(&[0; HEAD_BYTES]);
    to.extend_from_slice(&line.at_ms.to_le_bytes());
    let flag = |there: bool, flag: u8| if there { flag } else { 0 };
    to.push(
        flag(line.platform, PLATFORM)
            | flag(line.source.is_some(), SOURCE)
            | flag(line.stamp_ms.is_some(), STAMP),
    );
    name(line.invocation.as_deref().unwrap_or_default(), to);
    if let Some(source) = &line.source {
        name(source, to);
    }
    if let Some(stamp_ms) = line.stamp_ms {
        to.extend_from_slice(&stamp_ms.to_le_bytes());
    }
    if line.text.len() > TEXT_BYTES_MAX {
        to.extend_from_slice(cut(&line.text, TEXT_BYTES_MAX).as_bytes());
        to.extend_from_slice(CUT.as_bytes());
    } else {
        to.extend_from_slice(line.text.as_bytes());
    }
    let content = to.get(start + HEAD_BYTES..).unwrap_or_default();
    let (length, sum) = (content.len() as u32, crc(content));
    if let Some(head) = to.get_mut(start..start + HEAD_BYTES) {
        let (length_at, sum_at) = head.split_at_mut(4);
        length_at.copy_from_slice(&length.to_le_bytes());
        sum_at.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Appends a short text behind its length; what is longer than the length can tell is cut.
fn name(text: &str, to: &mut Vec<u8>) {
    let text = cut(text, 255);
    to.push(text.len() as u8);
    to.extend_from_slice(text.as_bytes());
}

/// The longest part of the text that has at most this many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes))
        .unwrap_or_default()
}

/// The whole content of the first record and the bytes after it. None at the end, which is also
/// where the first record is that is torn or damaged.
pub(super) fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > CONTENT_BYTES_MAX {
        return None;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    // No record is empty, but a hole that the file system left reads as zeros.
    (length > 0 && crc(content) == u32::from_le_bytes(*sum)).then_some((content, rest))
}

/// When the first record's line came, and the bytes after the record, which is not looked at any
/// further: what is damaged ends a log a record later then.
pub(super) fn pass(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (content, rest) = rest
        .get(4..)?
        .split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((at_ms(content)?, rest))
}

/// When a record's line was written, in milliseconds since the Unix epoch.
pub(super) fn at_ms(content: &[u8]) -> Option<u64> {
    content.first_chunk().copied().map(u64::from_le_bytes)
}

/// The line of a record.
pub(super) fn decode(content: &[u8]) -> Option<Line> {
    let seen = view(content, 0)?;
    Some(Line {
        at_ms: seen.at_ms,
        stamp_ms: seen.stamp_ms,
        platform: seen.platform,
        invocation: seen.invocation.map(|invocation| Arc::from(&*invocation)),
        source: seen.source.map(|source| Arc::from(&*source)),
        text: seen.text.into_owned(),
    })
}

/// The same, copied no further than it must be.
pub(super) fn view(content: &[u8], position: u64) -> Option<Seen<'_>> {
    let (at_ms, rest) = content.split_first_chunk()?;
    let (flags, rest) = rest.split_first()?;
    let (invocation, mut rest) = split_name(rest)?;
    let mut source = None;
    if flags & SOURCE != 0 {
        let (named, after) = split_name(rest)?;
        (source, rest) = (Some(String::from_utf8_lossy(named)), after);
    }
    let mut stamp_ms = None;
    if flags & STAMP != 0 {
        let (stamp, after) = rest.split_first_chunk()?;
        (stamp_ms, rest) = (Some(u64::from_le_bytes(*stamp)), after);
    }
    let text = |bytes| -> Cow<'_, str> { String::from_utf8_lossy(bytes) };
    Some(Seen {
        position,
        at_ms: u64::from_le_bytes(*at_ms),
        stamp_ms,
        platform: flags & PLATFORM != 0,
        invocation: (!invocation.is_empty()).then(|| text(invocation)),
        source,
        text: text(rest),
    })
}

fn split_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            at_ms: 1_700_000_000_123,
            stamp_ms: None,
            platform: true,
            invocation: Some("id".into()),
            source: None,
            text: text.into(),
        }
    }

    #[test]
    fn a_line_comes_back_as_it_was() {
        let mut bytes = Vec::new();
        for text in ["", "one", "zwei\nDrei"] {
            encode(&line(text), &mut bytes);
        }
        let mut rest = bytes.as_slice();
        for text in ["", "one", "zwei\nDrei"] {
            let (content, after) = next(rest).unwrap();
            assert_eq!(decode(content).unwrap(), line(text));
            rest = after;
        }
        assert!(next(rest).is_none());
    }

    /// A stored form.
    #[test]
    fn the_form_of_a_record_never_changes() {
        let mut bytes = Vec::new();
        encode(&line("hi"), &mut bytes);
        expect_test::expect!["[0e, 00, 00, 00, 4d, 2e, 67, 4e, 7b, 68, e5, cf, 8b, 01, 00, 00, 01, 02, 69, 64, 68, 69]"].assert_eq(&format!("{bytes:02x?}"));
    }

    #[test]
    fn a_line_with_a_source_and_a_stamp_comes_back_too() {
        let mut bytes = Vec::new();
        let full = Line {
            stamp_ms: Some(1_600_000_000_000),
            source: Some("2026/01/01/[$LATEST]abc".into()),
            ..line("hi")
        };
        encode(&full, &mut bytes);
        assert_eq!(decode(next(&bytes).unwrap().0).unwrap(), full);
        let mut short = Vec::new();
        let full = Line {
            invocation: None,
            source: Some("s".into()),
            ..full
        };
        encode(&full, &mut short);
        expect_test::expect!["[16, 00, 00, 00, fc, 92, e5, 59, 7b, 68, e5, cf, 8b, 01, 00, 00, 07, 00, 01, 73, 00, 80, 6e, 87, 74, 01, 00, 00, 68, 69]"].assert_eq(&format!("{short:02x?}"));
    }

    #[test]
    fn damage_and_torn_ends_are_seen() {
        let mut whole = Vec::new();
        encode(&line("some text"), &mut whole);
        for end in 0..whole.len() {
            assert!(next(&whole[..end]).is_none(), "torn at {end}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            assert!(next(&damaged).is_none(), "damaged at {at}");
        }
        assert!(next(&[0; 64]).is_none());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut bytes = Vec::new();
        encode(&line(&"ü".repeat(600 << 10)), &mut bytes);
        let kept = decode(next(&bytes).unwrap().0).unwrap().text;
        assert!(kept.ends_with("ü[cut]"));
        assert!(kept.len() <= TEXT_BYTES_MAX + CUT.len());
    }
}
