//! What the helper waits for, as the number that the kernel gives back when it is ready.

use crate::jail::message::JailId;

#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Daemon,
    Socket(JailId),
    Process(JailId),
}

impl Source {
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Daemon => 0,
            Self::Socket(id) => id << 1,
            Self::Process(id) => id << 1 | 1,
        }
    }

    pub(super) fn of(number: u64) -> Self {
        match (number >> 1, number & 1) {
            (0, _) => Self::Daemon,
            (id, 0) => Self::Socket(id),
            (id, _) => Self::Process(id),
        }
    }
}
