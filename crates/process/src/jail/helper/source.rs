//! What the helper waits for, as the number that the kernel gives back when it is ready.

use crate::jail::message::JailId;

#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Daemon,
    Socket(JailId),
    Process(JailId),
    /// Where visitors come.
    Door,
    Visitor,
    /// Runs out when no other daemon has come.
    Timer,
}

/// The numbers that no jail's sources have: their ids are small.
const DOOR: u64 = u64::MAX;
const VISITOR: u64 = u64::MAX - 1;
const TIMER: u64 = u64::MAX - 2;

impl Source {
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Daemon => 0,
            Self::Socket(id) => id << 1,
            Self::Process(id) => id << 1 | 1,
            Self::Door => DOOR,
            Self::Visitor => VISITOR,
            Self::Timer => TIMER,
        }
    }

    pub(super) fn of(number: u64) -> Self {
        match number {
            DOOR => return Self::Door,
            VISITOR => return Self::Visitor,
            TIMER => return Self::Timer,
            _ => {}
        }
        match (number >> 1, number & 1) {
            (0, _) => Self::Daemon,
            (id, 0) => Self::Socket(id),
            (id, _) => Self::Process(id),
        }
    }
}
