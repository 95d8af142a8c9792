//! Removes what nobody needs any more: code that no version names and no instance runs, and logs
//! of functions that are gone with all their instances, with the groups made for them alone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{code_trees, trees};
use crate::{Engine, Error, Shared};

/// How long changes gather before what they left is looked for (ours: whoever saves a file every
/// few seconds is not to wait for a sweep each time).
const GATHER: Duration = Duration::from_secs(30);

/// Sweeps after the start, and then after changes, until it is dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(GATHER).await;
        if let Err(error) = shared.sweep().await {
            tracing::warn!(%error, "remove unused code and logs");
        }
        shared.instances.left_over.notified().await;
    }
}

impl Shared {
    async fn sweep(&self) -> Result<(), Error> {
        // To the end: a deployment meanwhile might name what is just being removed.
        let _writing = self.writing.lock().await;
        let (keep, mut logs) = (self.trees_in_use(), self.logs_in_use());
        logs.extend(self.groups_in_use(&logs).await?);
        let trees = Arc::clone(&self.trees);
        let removed = self
            .block("remove unused code", move || {
                trees.remove_unreferenced(&keep)
            })
            .await?;
        let silent = self.logs.remove_unreferenced(&logs).await?;
        if removed + silent > 0 {
            tracing::debug!(trees = removed, logs = silent, "removed what was unused");
        }
        Ok(())
    }

    /// Names of the streams of functions that are deployed or still running, and of the meter's.
    fn logs_in_use(&self) -> HashSet<String> {
        let catalog = self.catalog.load();
        let deployed = catalog.entries().map(|entry| &entry.record.id);
        let running = self.instances.all();
        let running = running.iter().map(|live| &live.revision.function);
        let functions = deployed.chain(running).map(Engine::log_key);
        functions.chain([Engine::METER_KEY.to_owned()]).collect()
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
            .flat_map(|config| trees(&config))
            .chain(self.layers.load().code().flat_map(code_trees))
            .map(|digest| digest.to_string())
            .collect()
    }
}
