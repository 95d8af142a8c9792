//! The most memory that an instance has used, as its report states it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::sandbox::Sandbox;

/// How often memory is looked at, at most: a system call for each invocation is too dear.
const MEMORY_EVERY: Duration = Duration::from_millis(100);

/// Most memory seen so far.
#[derive(Debug, Default)]
pub(super) struct Memory {
    peak_mb: AtomicU32,
    /// When it was looked at last, in milliseconds of monotonic time; zero is never.
    looked_ms: AtomicU64,
}

impl Memory {
    /// How much it was, looked at now if it has to be or was not for a while.
    pub(super) fn used_mb(
        &self,
        sandbox: &dyn Sandbox,
        now: Duration,
        look: bool,
        limit_mb: u32,
    ) -> u32 {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(1);
        let looked_ms = self.looked_ms.load(Ordering::Relaxed);
        let due =
            looked_ms == 0 || now_ms.saturating_sub(looked_ms) >= MEMORY_EVERY.as_millis() as u64;
        if look || due {
            self.looked_ms.store(now_ms, Ordering::Relaxed);
            let bytes = sandbox.memory_peak_bytes().unwrap_or_default();
            let peak_mb = u32::try_from(bytes.div_ceil(1024 * 1024)).unwrap_or(u32::MAX);
            self.peak_mb
                .fetch_max(peak_mb.min(limit_mb), Ordering::Relaxed);
        }
        self.peak_mb.load(Ordering::Relaxed)
    }
}
