//! Tells when a project's files have settled after a change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use store::Clock;
use tokio::sync::mpsc;

use super::Watching;

/// Quiet time after the last change before it is acted on: an editor's save is several events,
/// and all of them fall within a few milliseconds.
const SETTLE: Duration = Duration::from_millis(25);
/// Longest time that changes may keep a reaction waiting.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// Time between two looks at a drive that tells of no changes.
const POLL: Duration = Duration::from_secs(1);
/// Changes that may wait to be looked at; what comes beyond them is part of the same burst.
const BACKLOG: usize = 1024;

/// Watches a folder and everything below it.
pub(super) struct Watch {
    changes: mpsc::Receiver<PathBuf>,
    watching: Watching,
    // Dropped with the watch, which ends the watching.
    _watcher: Box<dyn notify::Watcher + Send>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("watching", &self.watching)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// Begins to watch. `polling` is for drives that tell of no changes.
    pub(super) fn start(roots: &[PathBuf], polling: bool) -> Result<Self, notify::Error> {
        let (send, changes) = mpsc::channel(BACKLOG);
        let handler = move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if matches!(event.kind, notify::EventKind::Access(_)) {
                return;
            }
            for path in event.paths {
                // A full channel means that a reaction is due already.
                let _ = send.try_send(path);
            }
        };
        let mut watcher: Box<dyn notify::Watcher + Send> = if polling {
            let config = notify::Config::default().with_poll_interval(POLL);
            Box::new(notify::PollWatcher::new(handler, config)?)
        } else {
            Box::new(notify::RecommendedWatcher::new(
                handler,
                notify::Config::default(),
            )?)
        };
        for root in roots {
            watcher.watch(root, RecursiveMode::Recursive)?;
        }
        let watching = if polling {
            Watching::Polling
        } else {
            Watching::Notified
        };
        Ok(Self {
            changes,
            watching,
            _watcher: watcher,
        })
    }

    /// How it is done.
    pub(super) fn watching(&self) -> Watching {
        self.watching
    }

    /// The paths of the next burst of changes that matter, once it is over.
    pub(super) async fn next(
        &mut self,
        clock: &Arc<dyn Clock>,
        relevant: impl Fn(&Path) -> bool,
    ) -> Option<Vec<PathBuf>> {
        let mut burst = Vec::new();
        loop {
            let path = self.changes.recv().await?;
            if relevant(&path) {
                burst.push(path);
                break;
            }
        }
        let began = clock.monotonic();
        loop {
            tokio::select! {
                path = self.changes.recv() => match path {
                    Some(path) if relevant(&path) => burst.push(path),
                    Some(_) => {}
                    None => return Some(burst),
                },
                () = clock.sleep(SETTLE) => return Some(burst),
            }
            if clock.monotonic().saturating_sub(began) > SETTLE_MAX {
                return Some(burst);
            }
        }
    }
}
