//! Takes up the idle instances that an earlier process of the platform has left: those of versions
//! that are as they were. All others end.

use std::sync::Arc;
use std::time::Duration;

use crate::Shared;
use crate::log::FunctionLog;
use crate::port::{Left, Resume};

impl Shared {
    /// Before anything is served.
    pub(crate) async fn resume_left(self: &Arc<Self>) {
        let mut resumed = 0;
        for left in self.runtime.left() {
            resumed += usize::from(self.resume(left).await);
        }
        self.runtime.end_left();
        if resumed > 0 {
            tracing::info!(resumed, "instances of an earlier process go on");
        }
    }

    async fn resume(self: &Arc<Self>, left: Left) -> bool {
        let catalog = self.catalog.load();
        let Ok(version) = (catalog.get(&left.function)).and_then(|it| it.version(left.version))
        else {
            return false;
        };
        let revision = Arc::clone(&version.revision);
        drop(catalog);
        // A clock that was set back makes it no younger than new.
        let aged = Duration::from_millis(self.clock.now_ms().saturating_sub(left.born_ms));
        let placed = self
            .instances
            .place_left(&revision, left.instance.clone(), aged);
        let Some(live) = placed else {
            return false;
        };
        // As it was named at its start, which was no other day unless that was at midnight.
        let stream = model::log::stream_name(left.born_ms, left.version, &left.instance);
        let log = FunctionLog::new(self, &revision.function, stream.into());
        let resume = Resume {
            instance: left.instance,
            function: left.function,
            version: left.version,
            config: Arc::clone(&revision.config),
            log: Arc::new(log),
        };
        match self.runtime.resume(resume).await {
            Some(instance) => live.resumed(instance),
            None => {
                live.forget();
                return false;
            }
        }
        true
    }
}
