//! Carries the logs of a session's functions into its events.

use std::sync::Arc;

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
            // They come many at a time.
            let entry = match entries.try_recv() {
                Ok(entry) => Ok(entry),
                Err(TryRecvError::Lagged(lost)) => Err(RecvError::Lagged(lost)),
                Err(TryRecvError::Closed) => Err(RecvError::Closed),
                Err(TryRecvError::Empty) if last.is_given() => Err(RecvError::Closed),
                Err(TryRecvError::Empty) => tokio::select! {
                    entry = entries.recv() => entry,
                    () = &mut given => continue,
                },
            };
            let event = match entry {
                Ok(entry) => {
                    // Nobody else holds it where nobody else follows.
                    let line = Arc::unwrap_or_clone(entry.line);
                    Event::Log {
                        function: name.clone(),
                        at_ms: line.at_ms,
                        platform: line.platform,
                        text: line.text,
                    }
                }
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
