//! What a group keeps, and for how long: events past its retention are not shown, and go with the
//! segments that hold nothing younger; groups that were there for a function alone go with its log.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use model::limit;

use super::read::ms;
use super::record::{GROUPS, GroupRecord, put_key};
use crate::{Engine, Error, Shared};

/// How often old events are looked for (ours; what is too old is not shown in any case).
const ROUND: Duration = Duration::from_secs(3600);
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Removes old events until it is dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(ROUND).await;
        if let Err(error) = shared.expire_logs().await {
            tracing::warn!(%error, "remove old log events");
        }
    }
}

impl GroupRecord {
    /// Events of an earlier time are not shown any more.
    pub(super) fn expired_ms(&self, now_ms: u64) -> u64 {
        let days = self.retention_days.map_or(u64::MAX, u64::from);
        now_ms.saturating_sub(days.saturating_mul(DAY_MS))
    }
}

impl Shared {
    async fn groups(&self) -> Result<Vec<GroupRecord>, Error> {
        let records = crate::record::all(&*self.store, GROUPS).await?;
        let read = |it: &store::Record| crate::record::read(&it.key, &it.value);
        records.iter().map(read).collect()
    }

    async fn expire_logs(&self) -> Result<(), Error> {
        for group in self.groups().await? {
            if group.retention_days.is_none() {
                continue;
            }
            let expired_ms = group.expired_ms(self.clock.now_ms());
            for function in self.functions_of(&group.id) {
                let key = Engine::log_key(&function);
                self.logs.expire(&key, expired_ms).await?;
            }
            // These may be ahead of the time at which they came.
            let put_ms = expired_ms.saturating_sub(ms(limit::LOG_EVENT_AHEAD_MAX));
            self.logs.expire(&put_key(&group.id), put_ms).await?;
        }
        Ok(())
    }

    /// Removes the groups that were there for the logs of functions that are gone, and nothing else.
    /// Answers the names of the logs that belong to the others. `in_use` names those of functions.
    pub(crate) async fn groups_in_use(
        &self,
        in_use: &HashSet<String>,
    ) -> Result<HashSet<String>, Error> {
        let mut keep = HashSet::new();
        for group in self.groups().await? {
            let shown = self.functions_of(&group.id);
            let needed = !group.automatic
                || group.streams > 0
                || shown.iter().any(|it| in_use.contains(&Engine::log_key(it)));
            if needed {
                keep.insert(put_key(&group.id));
                continue;
            }
            let _writing = self.groups.writing.lock().await;
            // As it may have become something else meanwhile.
            let (now, _) = self.group(&group.id).await?;
            if now == group {
                self.remove_group(&group.id).await?;
            } else {
                keep.insert(put_key(&group.id));
            }
        }
        Ok(keep)
    }
}
