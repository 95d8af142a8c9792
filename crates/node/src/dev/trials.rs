//! Trial starts of what was deployed, so that a handler that is not there is told of before anybody
//! asks for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{FunctionId, Principal};
use store::Clock;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Event;
use crate::node::Node;

/// How long after its deployment a function is tried (ours): who waits for the new code comes first,
/// and what it then logs says the same.
const AFTER: Duration = Duration::from_secs(1);

/// The trials under way, at most one of each function; ended when dropped.
#[derive(Debug, Default)]
pub(super) struct Trials(HashMap<FunctionId, AbortHandle>);

impl Trials {
    /// Tries a function that was just deployed, in place of what was deployed before.
    pub(super) fn begin(
        &mut self,
        id: &FunctionId,
        node: &Arc<Node>,
        events: &mpsc::Sender<Event>,
        clock: &Arc<dyn Clock>,
    ) {
        let (function, node, events) = (id.clone(), Arc::clone(node), events.clone());
        let clock = Arc::clone(clock);
        let trial = tokio::spawn(async move {
            clock.sleep(AFTER).await;
            let engine = node.engine();
            if !engine.instances(&function).is_empty() {
                return;
            }
            let who = Principal::Account(function.account.clone());
            // One that was removed in the meantime needs no telling.
            let Ok(Some(flaw)) = engine.trial(&who, &function).await else {
                return;
            };
            let event = Event::Warning {
                function: Some(function.name.to_string()),
                text: format!("it cannot start: {flaw}"),
            };
            // Nobody listens any more when the session is about to be dropped.
            let _ = events.send(event).await;
        });
        self.0.retain(|_, trial| !trial.is_finished());
        if let Some(before) = self.0.insert(id.clone(), trial.abort_handle()) {
            before.abort();
        }
    }

    /// Ends them all.
    pub(super) fn end(&mut self) {
        for (_, trial) in self.0.drain() {
            trial.abort();
        }
    }
}

impl Drop for Trials {
    fn drop(&mut self) {
        self.end();
    }
}
