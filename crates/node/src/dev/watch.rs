//! Tells when a project's files have settled after a change. What a change means is decided by
//! `stacks`, before anything is kept of it.

mod folders;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::event::ModifyKind;
use notify::{EventKind, Watcher as _};
use parking_lot::Mutex;
use store::Clock;
use tokio::sync::Notify;

use self::folders::Folders;
use super::Watching;

/// Quiet time after the last change before it is acted on: an editor's save is several events,
/// and all of them fall within a few milliseconds.
const SETTLE: Duration = Duration::from_millis(25);
/// Longest time that changes may keep a reaction waiting.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// Time between two looks at a drive that tells of no changes.
const POLL: Duration = Duration::from_secs(1);
/// Paths that may wait to be looked at; with more, everything is looked at (ours).
const PENDING_MAX: usize = 1024;

/// Watches the folders that a project is made of.
#[derive(Debug)]
pub(super) struct Watch {
    heard: Arc<Heard>,
    // Dropped with the watch, which ends the watching.
    folders: Arc<Mutex<Folders>>,
    watching: Watching,
}

/// A burst of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Changed {
    /// These paths, each of which matters.
    Paths(BTreeSet<PathBuf>),
    /// More than could be told: anything may have changed.
    Anything,
}

/// A burst of changes and when it began.
#[derive(Debug)]
pub(super) struct Burst {
    pub(super) changed: Changed,
    pub(super) began: Duration,
}

/// What the thread that hears of changes shares with the watch.
#[derive(Debug)]
struct Heard {
    project: ArcSwap<stacks::Watch>,
    pending: Mutex<Pending>,
    /// Notified when something is pending.
    news: Notify,
}

/// Changes that nobody has looked at yet.
#[derive(Debug, Default)]
struct Pending {
    /// Those that matter.
    paths: BTreeSet<PathBuf>,
    /// Folders that have appeared and are to be watched.
    folders: BTreeSet<PathBuf>,
    /// Whether some were lost.
    lost: bool,
}

impl Watch {
    /// Begins to watch. `polling` is for drives that tell of no changes.
    pub(super) async fn start(
        project: stacks::Watch,
        polling: bool,
    ) -> Result<Self, notify::Error> {
        let heard = Arc::new(Heard {
            project: ArcSwap::from_pointee(project),
            pending: Mutex::default(),
            news: Notify::new(),
        });
        let hearing = Arc::clone(&heard);
        let watcher: Box<dyn notify::Watcher + Send> = if polling {
            let config = notify::Config::default().with_poll_interval(POLL);
            // What could not be looked at now will be again in a second.
            let handler =
                move |event: notify::Result<_>| event.into_iter().for_each(|e| hearing.hear(e));
            Box::new(notify::PollWatcher::new(handler, config)?)
        } else {
            let handler = move |event| match event {
                Ok(event) => hearing.hear(event),
                Err(error) => {
                    tracing::debug!(%error, "changes were not told");
                    hearing.lose();
                }
            };
            Box::new(notify::RecommendedWatcher::new(
                handler,
                notify::Config::default(),
            )?)
        };
        let watch = Self {
            heard,
            folders: Arc::new(Mutex::new(Folders::new(watcher))),
            watching: if polling {
                Watching::Polling
            } else {
                Watching::Notified
            },
        };
        watch.follow_all().await?;
        Ok(watch)
    }

    /// How it is done.
    pub(super) fn watching(&self) -> Watching {
        self.watching
    }

    /// Goes on with what the project is made of now.
    pub(super) async fn follow(&self, project: stacks::Watch) -> Result<(), notify::Error> {
        self.heard.project.store(Arc::new(project));
        self.follow_all().await
    }

    async fn follow_all(&self) -> Result<(), notify::Error> {
        self.on_folders(|folders, project| folders.follow(project))
            .await
    }

    /// The next burst of changes that matter, once it is over. An error means that some can no
    /// longer be told: another watch is needed.
    pub(super) async fn next(&self, clock: &dyn Clock) -> Result<Burst, notify::Error> {
        let mut changed = Changed::none();
        while changed == Changed::none() {
            self.heard.news.notified().await;
            self.take(&mut changed).await?;
        }
        let began = clock.monotonic();
        while clock.monotonic().saturating_sub(began) <= SETTLE_MAX {
            tokio::select! {
                () = self.heard.news.notified() => self.take(&mut changed).await?,
                () = clock.sleep(SETTLE) => break,
            }
        }
        Ok(Burst { changed, began })
    }

    /// Adds what is pending. The files that a new folder holds already have changed, too: they
    /// may have been there before it was watched.
    async fn take(&self, changed: &mut Changed) -> Result<(), notify::Error> {
        let pending = std::mem::take(&mut *self.heard.pending.lock());
        if pending.lost {
            *changed = Changed::Anything;
            return self.follow_all().await;
        }
        changed.add(pending.paths);
        if !pending.folders.is_empty() {
            let appeared = pending.folders;
            let held = self.on_folders(move |folders, project| folders.enter(&appeared, project));
            changed.add(held.await?);
        }
        Ok(())
    }

    /// Does something with the folders where waiting for a disk holds nobody up.
    async fn on_folders<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Folders, &stacks::Watch) -> T + Send + 'static,
    ) -> T {
        let folders = Arc::clone(&self.folders);
        let project = self.heard.project.load_full();
        let done = tokio::task::spawn_blocking(move || work(&mut folders.lock(), &project));
        match done.await {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

impl Changed {
    pub(super) fn none() -> Self {
        Self::Paths(BTreeSet::new())
    }

    /// Both of them.
    pub(super) fn and(mut self, other: Self) -> Self {
        match other {
            Self::Paths(paths) => self.add(paths),
            Self::Anything => self = Self::Anything,
        }
        self
    }

    fn add(&mut self, more: BTreeSet<PathBuf>) {
        let Self::Paths(paths) = self else { return };
        paths.extend(more);
        if paths.len() > PENDING_MAX {
            *self = Self::Anything;
        }
    }
}

impl Heard {
    fn hear(&self, event: notify::Event) {
        if event.need_rescan() {
            return self.lose();
        }
        let appeared = match event.kind {
            EventKind::Access(_) => return,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_)) => true,
            _ => false,
        };
        for path in event.paths {
            self.note(path, appeared);
        }
    }

    /// Keeps a change if it matters. What does not wakes nobody, so that a log that is written
    /// beside the code puts off no reaction.
    fn note(&self, path: PathBuf, appeared: bool) {
        let project = self.project.load();
        let is_new_folder = appeared && project.enters(&path) && is_folder(&path);
        let matters = project.relevant(&path).is_some();
        if !is_new_folder && !matters {
            return;
        }
        let mut pending = self.pending.lock();
        if is_new_folder {
            pending.folders.insert(path.clone());
        }
        if matters {
            pending.paths.insert(path);
        }
        let too_many = pending.paths.len().max(pending.folders.len()) > PENDING_MAX;
        drop(pending);
        if too_many {
            self.lose();
        } else {
            self.news.notify_one();
        }
    }

    fn lose(&self) {
        *self.pending.lock() = Pending {
            lost: true,
            ..Pending::default()
        };
        self.news.notify_one();
    }
}

/// A link to a folder is none: packages keep links as they are.
fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

#[cfg(test)]
mod tests;
