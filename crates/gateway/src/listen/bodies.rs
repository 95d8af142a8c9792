//! Bodies that are on their way, over all connections: so many, of so many bytes together, and
//! no more. What a door has taken is the door's to limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The bodies of a server.
#[derive(Debug)]
pub(super) struct Bodies {
    count_max: usize,
    bytes_max: u64,
    count: AtomicUsize,
    bytes: AtomicU64,
}

impl Bodies {
    pub(super) fn new(count_max: usize, bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            count_max,
            bytes_max,
            count: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    /// Room for a body that announces so many bytes. They are counted as they come only: who
    /// announces and sends nothing takes nothing from others.
    pub(super) fn begin(self: &Arc<Self>, announced: u64) -> Option<Share> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let share = Share {
            bodies: Arc::clone(self),
            bytes: 0,
            is_kept: true,
        };
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(announced);
        (count < self.count_max && bytes <= self.bytes_max).then_some(share)
    }
}

/// What one body takes; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    bodies: Arc<Bodies>,
    bytes: u64,
    is_kept: bool,
}

impl Share {
    /// Counts no more of the body, as nobody keeps what comes of it.
    pub(super) fn let_go(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.bodies.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.is_kept = false;
    }

    /// Counts bytes that have come. False where there is no room for them.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        if !self.is_kept {
            return true;
        }
        self.bytes += bytes;
        let before = self.bodies.bytes.fetch_add(bytes, Ordering::Relaxed);
        before.saturating_add(bytes) <= self.bodies.bytes_max
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bodies.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bodies.count.fetch_sub(1, Ordering::Relaxed);
    }
}
