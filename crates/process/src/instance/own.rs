//! The time of an instance's own: it stands still while the platform fetches something that the
//! instance waits for, for as long as that is allowed. Deadlines and what is billed go by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use store::Clock;
use tokio::sync::Notify;

/// How long it may stand in one start, and in one invocation, however often something is asked for:
/// as long as one who asks is kept waiting (ours). A function cannot stop its own time for longer,
/// though it may go on working in it.
pub(crate) const STANDS_MAX: Duration = Duration::from_secs(120);

/// An instance's time.
#[derive(Debug)]
pub(crate) struct OwnTime {
    clock: Arc<dyn Clock>,
    /// Whether it ever stood; until then it is the clock's.
    stood: AtomicBool,
    state: Mutex<State>,
    goes: Notify,
}

#[derive(Debug)]
struct State {
    /// How long it has stood, up to `since` or now.
    stood: Duration,
    /// How long it may still stand from `since` on, or once it stands.
    left: Duration,
    /// Since when it stands, if it does, on the monotonic clock.
    since: Option<Duration>,
}

impl State {
    /// How long it has stood since `since`.
    fn standing(&self, now: Duration) -> Duration {
        let since = self.since.unwrap_or(now);
        now.saturating_sub(since).min(self.left)
    }

    /// Takes what it stood since `since` into account.
    fn settle(&mut self, now: Duration) {
        let standing = self.standing(now);
        self.stood += standing;
        self.left -= standing;
        self.since = self.since.map(|_| now);
    }
}

/// Keeps the time from going on until it is dropped.
#[derive(Debug)]
pub(crate) struct Standing(Arc<OwnTime>);

impl Drop for Standing {
    fn drop(&mut self) {
        let own = &self.0;
        let mut state = own.state.lock();
        state.settle(own.clock.monotonic());
        state.since = None;
        drop(state);
        own.goes.notify_waiters();
    }
}

impl OwnTime {
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(clock),
            stood: AtomicBool::new(false),
            state: Mutex::new(State {
                stood: Duration::ZERO,
                left: STANDS_MAX,
                since: None,
            }),
            goes: Notify::new(),
        })
    }

    /// The time; never runs backwards.
    pub(crate) fn now(&self) -> Duration {
        if !self.stood.load(Ordering::Acquire) {
            return self.clock.monotonic();
        }
        let state = self.state.lock();
        let now = self.clock.monotonic();
        now.saturating_sub(state.stood + state.standing(now))
    }

    /// An invocation begins, in which it may stand for as long as in any.
    pub(crate) fn renew(&self) {
        if self.stood.load(Ordering::Acquire) {
            let mut state = self.state.lock();
            state.settle(self.clock.monotonic());
            state.left = STANDS_MAX;
        }
    }

    /// Has it stand still. Nothing asks for a second thing before the first is answered.
    pub(crate) fn stand(self: &Arc<Self>) -> Standing {
        let mut state = self.state.lock();
        self.stood.store(true, Ordering::Release);
        state.settle(self.clock.monotonic());
        state.since = Some(self.clock.monotonic());
        drop(state);
        Standing(Arc::clone(self))
    }

    /// Resolves at this time of it.
    pub(crate) async fn reach(&self, until: Duration) {
        loop {
            // Before the look, so that its end is not missed.
            let goes = self.goes.notified();
            let left = until.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            match self.may_stand() {
                None => self.clock.sleep(left).await,
                Some(longest) => tokio::select! {
                    () = goes => {}
                    () = self.clock.sleep(longest) => {}
                },
            }
        }
    }

    /// How long it stands from now at most; None where it goes on.
    fn may_stand(&self) -> Option<Duration> {
        if !self.stood.load(Ordering::Acquire) {
            return None;
        }
        let state = self.state.lock();
        state.since?;
        let left = state.left - state.standing(self.clock.monotonic());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use super::*;

    /// Moves only when somebody sleeps, at once and all the way.
    #[derive(Debug, Default)]
    struct Steps(Mutex<Duration>);

    impl Steps {
        fn pass(&self, seconds: u64) {
            *self.0.lock() += Duration::from_secs(seconds);
        }
    }

    impl Clock for Steps {
        fn now_us(&self) -> u64 {
            0
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock()
        }

        fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            *self.0.lock() += duration;
            Box::pin(std::future::ready(()))
        }

        fn random(&self, _buffer: &mut [u8]) {}
    }

    fn own() -> (Arc<Steps>, Arc<OwnTime>) {
        let clock = Arc::new(Steps::default());
        clock.pass(1);
        let as_clock: Arc<dyn Clock> = clock.clone();
        (clock, OwnTime::new(&as_clock))
    }

    fn seconds(own: &OwnTime) -> u64 {
        own.now().as_secs()
    }

    #[tokio::test]
    async fn it_stands_while_it_is_held() {
        let (clock, own) = own();
        clock.pass(2);
        assert_eq!(seconds(&own), 3);
        let standing = own.stand();
        clock.pass(10);
        assert_eq!(seconds(&own), 3);
        drop(standing);
        clock.pass(1);
        assert_eq!(seconds(&own), 4);
        let again = own.stand();
        clock.pass(5);
        drop(again);
        assert_eq!(seconds(&own), 4);
        own.reach(Duration::from_secs(6)).await;
        assert_eq!(clock.monotonic().as_secs(), 21);
    }

    #[tokio::test]
    async fn it_stands_for_so_long_and_no_longer_however_often() {
        let (clock, own) = own();
        let most = STANDS_MAX.as_secs();
        for _ in 0..2 {
            let before = seconds(&own);
            for _ in 0..most {
                let _standing = own.stand();
                clock.pass(2);
            }
            assert_eq!(seconds(&own), before + most);
            own.renew();
        }
        // What stands when an invocation begins goes on to stand, by the time of that.
        let _standing = own.stand();
        clock.pass(most + 10);
        let before = seconds(&own);
        own.renew();
        clock.pass(5);
        assert_eq!(seconds(&own), before);
        own.reach(own.now() + Duration::from_secs(1)).await;
        assert_eq!(seconds(&own), before + 1);
    }

    #[tokio::test]
    async fn a_deadline_is_met_once_it_goes_on() {
        let clock: Arc<dyn Clock> = Arc::new(store::SystemClock::new());
        let own = OwnTime::new(&clock);
        let until = own.now() + Duration::from_millis(20);
        let standing = own.stand();
        let waits = clock.sleep(Duration::from_millis(60));
        let mut reached = std::pin::pin!(own.reach(until));
        tokio::select! {
            biased;
            () = &mut reached => panic!("it went on"),
            () = waits => {}
        }
        drop(standing);
        reached.await;
        assert!(own.now() >= until);
    }
}
