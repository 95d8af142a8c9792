//! The place of an event in its group: its time, and what tells it from others of that time.

use std::fmt;
use std::str::FromStr;

/// Orders the events of a group and names each of them. As text it is 56 digits, as the service's
/// ids are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey {
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When it came, in the same unit.
    pub ingested_ms: u64,
    /// The log that it stands in.
    pub source: u32,
    /// Where it stands there.
    pub position: u64,
}

/// Digits of each part, in order.
const WIDTHS: [usize; 4] = [13, 13, 10, 20];

impl EventKey {
    /// Greater than every event of an earlier time, and less than all others.
    pub fn at(at_ms: u64) -> Self {
        Self {
            at_ms,
            ingested_ms: 0,
            source: 0,
            position: 0,
        }
    }

    /// The least that is greater.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            position: self.position.saturating_add(1),
            ..self
        }
    }

    /// One that is less, with no event of a real log between the two.
    #[must_use]
    pub fn previous(self) -> Self {
        if let Some(position) = self.position.checked_sub(1) {
            return Self { position, ..self };
        }
        if let Some(source) = self.source.checked_sub(1) {
            let position = u64::MAX;
            return Self {
                source,
                position,
                ..self
            };
        }
        Self {
            ingested_ms: self.ingested_ms.saturating_sub(1),
            source: u32::MAX,
            position: u64::MAX,
            ..self
        }
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [at, ingested, source, position] = WIDTHS;
        write!(
            f,
            "{:0at$}{:0ingested$}{:0source$}{:0position$}",
            self.at_ms, self.ingested_ms, self.source, self.position
        )
    }
}

/// A text that is no key of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no key of an event")]
pub struct NoKey;

impl FromStr for EventKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let long_enough = text.len() == WIDTHS.iter().sum::<usize>();
        if !long_enough || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoKey);
        }
        let mut rest = text;
        let mut part = |width| {
            let (part, after) = rest.split_at(width);
            rest = after;
            part.parse::<u64>().map_err(|_| NoKey)
        };
        let [at, ingested, source, position] = WIDTHS;
        Ok(Self {
            at_ms: part(at)?,
            ingested_ms: part(ingested)?,
            source: u32::try_from(part(source)?).map_err(|_| NoKey)?,
            position: part(position)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_written_and_stand_in_order() {
        let key = EventKey {
            at_ms: 1_767_225_600_000,
            ingested_ms: 1_767_225_600_001,
            source: u32::MAX,
            position: 12_345,
        };
        assert_eq!(key.to_string().len(), 56);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!(EventKey::at(key.at_ms) < key && key < EventKey::at(key.at_ms + 1));
        for key in [key, EventKey { position: 0, ..key }] {
            assert!(key.previous() < key && key < key.next());
        }
        let first = EventKey {
            source: 0,
            position: 0,
            ..key
        };
        assert!(first.previous() < first && first.previous() > EventKey::at(key.at_ms));
        for wrong in ["", "x", &"9".repeat(56), &"1".repeat(55), &"é".repeat(28)] {
            assert_eq!(wrong.parse::<EventKey>(), Err(NoKey), "{wrong}");
        }
    }
}
