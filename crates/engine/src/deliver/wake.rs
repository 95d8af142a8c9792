//! What wakes delivery: something to deliver, room to deliver it, or a place in the concurrency
//! that it had waited for.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Wakes delivery.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    notify: Notify,
    /// Whether what was held back may have a place now.
    freed: AtomicBool,
}

impl Wake {
    /// There may be something to deliver, or room to deliver it.
    pub(crate) fn notify_one(&self) {
        self.notify.notify_one();
    }

    /// There may be a place for what was held back.
    pub(crate) fn freed(&self) {
        self.freed.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }

    pub(super) fn take_freed(&self) -> bool {
        self.freed.swap(false, Ordering::SeqCst)
    }

    pub(super) fn notified(&self) -> Notified<'_> {
        self.notify.notified()
    }
}
