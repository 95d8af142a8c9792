//! Carries the logs of a session's functions into its events.

use engine::Engine;
use model::FunctionId;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Event;
use crate::stop::Stopping;

/// Follows a function's log until the returned task is aborted, or to the last record that is there
/// when the sign is given.
pub(super) fn follow(
    engine: &Engine,
    function: &FunctionId,
    events: mpsc::Sender<Event>,
    last: Stopping,
) -> JoinHandle<()> {
    let name = function.name.to_string();
    let mut entries = engine.logs().follow(&Engine::log_key(function));
    tokio::spawn(async move {
        let mut given = std::pin::pin!(last.clone().given());
        loop {
            let entry = if last.is_given() {
                entries.try_recv().map_err(|error| match error {
                    TryRecvError::Lagged(lost) => RecvError::Lagged(lost),
                    TryRecvError::Empty | TryRecvError::Closed => RecvError::Closed,
                })
            } else {
                tokio::select! {
                    entry = entries.recv() => entry,
                    () = &mut given => continue,
                }
            };
            let event = match entry {
                Ok(entry) => Event::Log {
                    function: name.clone(),
                    at_ms: entry.line.at_ms,
                    platform: entry.line.platform,
                    text: entry.line.text.clone(),
                },
                Err(RecvError::Lagged(lost)) => Event::Warning {
                    function: Some(name.clone()),
                    text: format!(
                        "{lost} log records came faster than they can be shown here; \
                         `dayfly logs {name}` has them"
                    ),
                },
                Err(RecvError::Closed) => return,
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    })
}
