//! A clock that stands still until a test moves it, with random numbers from a seed.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use parking_lot::Mutex;
use store::Clock;
use tokio::sync::oneshot;

/// 2026-01-01, in microseconds since the Unix epoch.
const BEGIN_US: u64 = 1_767_225_600_000_000;

#[derive(Debug)]
pub(crate) struct ManualClock {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Duration,
    /// How far the wall clock was set ahead.
    ahead: Duration,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    sequence: u64,
    random: u64,
}

impl ManualClock {
    pub(crate) fn new(seed: u64) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let sleepers = BTreeMap::new();
        let now = Duration::from_secs(1);
        Self {
            state: Mutex::new(State {
                now,
                ahead: Duration::ZERO,
                sleepers,
                sequence: 0,
                random,
            }),
        }
    }

    /// Moves time on, and lets everything happen on its way that is due.
    pub(crate) async fn advance(&self, by: Duration) {
        let target = self.state.lock().now + by;
        loop {
            settle().await;
            let due = {
                let mut state = self.state.lock();
                match state.sleepers.first_key_value() {
                    Some(((at, _), _)) if *at <= target => {
                        state.now = state.now.max(*at);
                        state.sleepers.pop_first()
                    }
                    _ => {
                        state.now = target;
                        None
                    }
                }
            };
            let Some((_, sleeper)) = due else { break };
            let _ = sleeper.send(());
        }
        settle().await;
    }

    /// Sets the wall clock ahead, as does a machine that wakes up: no other time passes.
    pub(crate) fn set_ahead(&self, by: Duration) {
        self.state.lock().ahead += by;
    }

    pub(crate) fn next_u64(&self) -> u64 {
        let mut state = self.state.lock();
        state.random ^= state.random << 13;
        state.random ^= state.random >> 7;
        state.random ^= state.random << 17;
        state.random
    }
}

/// Lets every task run until none has anything left to do.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> u64 {
        let state = self.state.lock();
        BEGIN_US + u64::try_from((state.now + state.ahead).as_micros()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().now
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        state.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        state.sequence += 1;
        let key = (state.now + duration, state.sequence);
        state.sleepers.insert(key, sender);
        Box::pin(async move { drop(receiver.await) })
    }

    fn random(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.next_u64().to_le_bytes()[3];
        }
    }
}
