//! Carries the logs of a session's functions into its events.

use engine::Engine;
use model::FunctionId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Event;

/// Follows a function's log until the returned task is aborted.
pub(super) fn follow(
    engine: &Engine,
    function: &FunctionId,
    events: mpsc::Sender<Event>,
) -> JoinHandle<()> {
    let name = function.name.to_string();
    let mut entries = engine.logs().follow(&Engine::log_key(function));
    tokio::spawn(async move {
        loop {
            let event = match entries.recv().await {
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
