//! Interpreters that were started ahead, each in a jail that is nobody's yet: of those kinds that
//! were asked for last, one each. A claim takes one; what it was claimed for is its only use.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::link::{Link, Prepared};
use super::{Boot, Error};
use crate::jail::message::Request;
use crate::jail::plan::{Plan, Sealed};

/// Nothing is started ahead before starts have paused for this long: whoever waits for one goes
/// first.
const QUIET: Duration = Duration::from_millis(30);

/// Pauses that are waited for, at most: where starts never pause, this is better than none.
const PAUSES_MAX: u32 = 30;

/// How long an interpreter may take to be started; it takes some milliseconds.
const BOOT_LIMIT: Duration = Duration::from_secs(10);

/// The shelf.
#[derive(Debug)]
pub(super) struct Shelf {
    /// Kinds that are kept.
    kinds_max: usize,
    state: Mutex<State>,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Those that were asked for last come first.
    kinds: VecDeque<Kind>,
    /// Grows each time that one is asked for.
    asked: u64,
}

#[derive(Debug)]
struct Kind {
    boot: Arc<Boot>,
    ready: Option<Prepared>,
}

impl Shelf {
    pub(super) fn new(kinds_max: usize) -> Arc<Self> {
        Arc::new(Self {
            kinds_max,
            state: Mutex::default(),
            wanted: Notify::new(),
        })
    }

    /// An interpreter of this kind, if there is one. Another is started soon in any case.
    pub(super) fn take(&self, boot: &Arc<Boot>) -> Option<Prepared> {
        if self.kinds_max == 0 {
            return None;
        }
        let mut gone = None;
        let taken = {
            let mut state = self.state.lock();
            state.asked += 1;
            let at = state.kinds.iter().position(|kind| kind.boot == *boot);
            let mut kind = at.and_then(|at| state.kinds.remove(at));
            let taken = kind.as_mut().and_then(|kind| kind.ready.take());
            state.kinds.push_front(kind.unwrap_or_else(|| Kind {
                boot: Arc::clone(boot),
                ready: None,
            }));
            if state.kinds.len() > self.kinds_max {
                gone = state.kinds.pop_back();
            }
            taken
        };
        // Its jail is killed when the lock is free again.
        drop(gone);
        self.wanted.notify_one();
        taken.filter(|prepared| !prepared.keeper.has_ended())
    }

    /// How many there are.
    pub(super) fn ready(&self) -> usize {
        let state = self.state.lock();
        let ready = state.kinds.iter().filter_map(|kind| kind.ready.as_ref());
        ready.filter(|ready| !ready.keeper.has_ended()).count()
    }

    /// Has one of each kind be there, whenever starts pause. Ends with the helper.
    pub(super) async fn keep_full(self: Arc<Self>, link: Arc<Link>) {
        let mut ended = link.ended.subscribe();
        loop {
            tokio::select! {
                () = self.wanted.notified() => {}
                _ = ended.wait_for(|ended| *ended) => break,
            }
            self.pause(&link).await;
            while let Some(boot) = self.missing() {
                let booted = tokio::select! {
                    booted = start(&link, &boot) => booted,
                    () = link.clock.sleep(BOOT_LIMIT) => Err(Error::Late),
                };
                self.put(&boot, booted);
            }
        }
        self.state.lock().kinds.clear();
    }

    /// Resolves once nobody has asked for a while.
    async fn pause(&self, link: &Link) {
        for _ in 0..PAUSES_MAX {
            let before = self.state.lock().asked;
            link.clock.sleep(QUIET).await;
            if self.state.lock().asked == before {
                return;
            }
        }
    }

    fn missing(&self) -> Option<Arc<Boot>> {
        let state = self.state.lock();
        let mut kinds = state.kinds.iter();
        let missing = kinds.find(|kind| match &kind.ready {
            Some(ready) => ready.keeper.has_ended(),
            None => true,
        });
        missing.map(|kind| Arc::clone(&kind.boot))
    }

    /// Keeps what was started. A kind that cannot be is forgotten until it is asked for again.
    fn put(&self, boot: &Arc<Boot>, booted: Result<Prepared, Error>) {
        let before = {
            let mut state = self.state.lock();
            let at = state.kinds.iter().position(|kind| kind.boot == *boot);
            match (at, booted) {
                (Some(at), Ok(prepared)) => {
                    let kind = state.kinds.get_mut(at);
                    kind.and_then(|kind| kind.ready.replace(prepared))
                }
                (Some(at), Err(error)) => {
                    tracing::warn!(%error, "an interpreter could not be started ahead");
                    state.kinds.remove(at).and_then(|kind| kind.ready)
                }
                // It was asked for so long ago that it is not kept.
                (None, booted) => booted.ok(),
            }
        };
        drop(before);
    }
}

/// Starts an interpreter in a jail of the pool.
async fn start(link: &Arc<Link>, boot: &Boot) -> Result<Prepared, Error> {
    let prepared = link.prepared().await?;
    let id = prepared.keeper.id();
    let started = link.expect_start(id)?;
    let sealed = boot.program().seal();
    let plan = Plan {
        trees: boot.trees(),
        limits: boot.limits.clone(),
        outside_network: true,
        control: true,
        dialers: 0,
        program: Sealed(&sealed),
    };
    let sent = link.send(&Request::Boot(id, plan), &[]).await;
    sent.map_err(|_| Error::Ended)?;
    started.await.unwrap_or(Err(Error::Ended))?;
    link.refill_soon();
    Ok(prepared)
}
