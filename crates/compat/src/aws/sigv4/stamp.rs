//! Times of signatures, to the second, as text and as numbers.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A time of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Stamp {
    /// Since the Unix epoch.
    seconds: i64,
}

impl Stamp {
    /// `YYYYMMDDTHHMMSSZ`.
    pub(super) fn basic(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let digits = |from: usize, to: usize| -> Option<i16> {
            let part = bytes.get(from..to)?;
            let value = |sum: i16, byte: &u8| sum * 10 + i16::from(byte - b'0');
            let sound = part.iter().all(u8::is_ascii_digit);
            sound.then(|| part.iter().fold(0, value))
        };
        let small = |from: usize| digits(from, from + 2).and_then(|value| i8::try_from(value).ok());
        if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let time = DateTime::new(
            digits(0, 4)?,
            small(4)?,
            small(6)?,
            small(9)?,
            small(11)?,
            small(13)?,
            0,
        );
        let at = TimeZone::UTC.to_timestamp(time.ok()?).ok()?;
        Some(Self {
            seconds: at.as_second(),
        })
    }

    /// As in a `Date` header.
    pub(super) fn rfc2822(text: &str) -> Option<Self> {
        let at = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(Self {
            seconds: at.timestamp().as_second(),
        })
    }

    pub(super) fn of_ms(ms: u64) -> Self {
        Self {
            seconds: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        }
    }

    /// Whether this is later than `other` by more than `by`.
    pub(super) fn is_after(self, other: Self, by: Duration) -> bool {
        let by = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        self.seconds.saturating_sub(other.seconds) > by
    }

    /// This time and some more.
    pub(super) fn plus(self, more: Duration) -> Self {
        let more = i64::try_from(more.as_secs()).unwrap_or(i64::MAX);
        Self {
            seconds: self.seconds.saturating_add(more),
        }
    }

    /// This time less some.
    pub(super) fn minus(self, less: Duration) -> Self {
        let less = i64::try_from(less.as_secs()).unwrap_or(i64::MAX);
        Self {
            seconds: self.seconds.saturating_sub(less),
        }
    }

    /// `YYYYMMDD`.
    pub(super) fn day(self) -> String {
        self.text().chars().take(8).collect()
    }

    /// `YYYYMMDDTHHMMSSZ`.
    pub(super) fn text(self) -> String {
        self.iso().replace(['-', ':'], "")
    }

    /// `YYYY-MM-DDTHH:MM:SSZ`.
    pub(super) fn iso(self) -> String {
        let at = Timestamp::from_second(self.seconds).unwrap_or(Timestamp::MAX);
        format!("{at:.0}")
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let check = |text: &str, expected: Option<&str>| {
            let shown = Stamp::basic(text).map(Stamp::iso);
            assert_eq!(shown.as_deref(), expected, "{text}");
        };
        check("20260228T235959Z", Some("2026-02-28T23:59:59Z"));
        check("00010101T000000Z", Some("0001-01-01T00:00:00Z"));
        for wrong in [
            "",
            "20260229T000000Z",
            "20260101T250000Z",
            "20260101 000000Z",
            "2026010aT000000Z",
            "-0260101T000000Z",
            "20260101T000000Zé",
        ] {
            check(wrong, None);
        }
        let date = Stamp::rfc2822("Sat, 28 Feb 2026 23:59:59 GMT").map(Stamp::text);
        assert_eq!(date.as_deref(), Some("20260228T235959Z"));
        assert_eq!(Stamp::of_ms(u64::MAX).day().len(), 8);
    }
}
