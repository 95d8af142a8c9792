//! Removes what nobody needs any more: code that no version names and no instance runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::digests;
use crate::{Error, Shared};

/// How long changes gather before what they left is looked for (ours: whoever saves a file every
/// few seconds is not to wait for a sweep each time).
const GATHER: Duration = Duration::from_secs(30);

/// Sweeps after the start, and then after changes, until it is dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(GATHER).await;
        if let Err(error) = shared.sweep().await {
            tracing::warn!(%error, "remove unused code");
        }
        shared.instances.left_over.notified().await;
    }
}

impl Shared {
    async fn sweep(&self) -> Result<(), Error> {
        // To the end: a deployment meanwhile might name what is just being removed.
        let _writing = self.writing.lock().await;
        let keep = self.trees_in_use();
        let trees = Arc::clone(&self.trees);
        let removed = self
            .block("remove unused code", move || {
                trees.remove_unreferenced(&keep)
            })
            .await?;
        if removed > 0 {
            tracing::debug!(removed, "removed unused code");
        }
        Ok(())
    }

    /// Digests of all code and layers that a version names or an instance still runs. Only while
    /// `writing` is held.
    fn trees_in_use(&self) -> HashSet<String> {
        let catalog = self.catalog.load();
        let versions = catalog.entries().flat_map(|entry| entry.versions());
        let deployed = versions.map(|version| Arc::clone(&version.revision.config));
        let running = self.instances.all();
        let running = running.iter().map(|live| Arc::clone(&live.revision.config));
        deployed
            .chain(running)
            .flat_map(|config| digests(&config))
            .map(|digest| digest.to_string())
            .collect()
    }
}
