//! Which events this process is delivering, so that it begins none twice.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use store::Lease;

/// The newest lease of each event under way. As many as there are places for deliveries.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay {
    leases: Arc<Mutex<HashMap<String, Newest>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    epoch: u64,
    attempt: u32,
}

/// An event under way, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    under_way: UnderWay,
    /// Empty once it has ended.
    id: String,
}

impl UnderWay {
    /// Notes that a delivery begins. Where one is under way already, it is that one's lease from
    /// now on, and none is to begin.
    pub(super) fn begin(&self, lease: &Lease) -> Option<Held> {
        let newest = Newest {
            epoch: lease.epoch,
            attempt: lease.attempt,
        };
        let before = self.leases.lock().insert(lease.id.clone(), newest);
        before.is_none().then(|| Held {
            under_way: self.clone(),
            id: lease.id.clone(),
        })
    }
}

impl Held {
    /// Under which the event is leased now.
    pub(super) fn epoch(&self) -> u64 {
        self.newest().epoch
    }

    /// How often it has been leased by now.
    pub(super) fn attempt(&self) -> u32 {
        self.newest().attempt
    }

    /// The delivery has ended under this epoch. Answers the newer one where the event was leased
    /// again since.
    pub(super) fn end(mut self, epoch: u64) -> Option<u64> {
        let id = std::mem::take(&mut self.id);
        let newest = self.under_way.leases.lock().remove(&id)?;
        (newest.epoch != epoch).then_some(newest.epoch)
    }

    fn newest(&self) -> Newest {
        let leases = self.under_way.leases.lock();
        leases.get(&self.id).copied().unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // By now it may be another's that began after the end of this one.
        if !self.id.is_empty() {
            self.under_way.leases.lock().remove(&self.id);
        }
    }
}
