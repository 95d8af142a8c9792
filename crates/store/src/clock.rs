//! The only source of time, delay and randomness.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time, delay and randomness, so that a simulation can choose all three.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Wall time, in microseconds since the Unix epoch.
    fn now_us(&self) -> u64;

    /// Time since some fixed moment; never runs backwards. For deadlines and durations.
    fn monotonic(&self) -> Duration;

    /// Resolves once this much monotonic time has passed.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Fills the buffer with random bytes, fit for secrets.
    fn random(&self, buffer: &mut [u8]);

    /// Wall time, in milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }

    /// Sixteen random bytes: what an id is made of.
    fn random_id(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.random(&mut bytes);
        bytes
    }
}

/// The machine's own clocks and random source.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that the others are told to use"
    )]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that the others are told to use"
    )]
    fn now_us(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self, buffer: &mut [u8]) {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                // The call has no other failure on a kernel that has it; without it there is
                // no safe identifier to be had, and none may be invented.
                Err(error) => panic!("getrandom: {error}"),
            }
        }
    }
}
