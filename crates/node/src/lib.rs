//! Assembles the rooms from one config value into a server, and runs development sessions on it.
//!
//! What takes all the rooms is handed out as a boxed future: an `async fn` is compiled where it is
//! awaited, and the rooms would be once more with every program that awaits it.

mod config;
pub mod deploy;
pub mod dev;
pub mod doctor;
#[cfg(test)]
#[path = "../../engine/tests/door/fixture.rs"]
mod fixture;
mod front;
pub mod keys;
mod node;
mod port;
mod profile;
mod sandboxes;
mod stop;
mod trust;
pub mod up;
mod url_ports;

pub use compat::aws::Access;
pub use config::Config;
pub use gateway::tls;
pub use node::{Error, Node};
pub use process::spawner::Lite;
pub use profile::{Key, key_of_environment, region_of_environment};
pub use stacks::starter;
pub use trust::Error as TrustError;

/// The hidden first argument that makes the program the spawner.
pub const SPAWNER_VERB: &str = "__spawner";

/// Runs the spawner: for a `main` that has started no thread, when its first argument is
/// [`SPAWNER_VERB`].
pub fn spawner_main() -> std::process::ExitCode {
    process::spawner_main()
}

/// Wall time, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    use store::Clock as _;
    store::SystemClock::new().now_ms()
}

/// Resolves at each signal of one kind, by which a server is told something.
#[derive(Debug)]
pub struct Told(Option<tokio::signal::unix::Signal>);

impl Told {
    /// SIGHUP: to read its files again. From now on it does not end the program.
    pub fn to_reload() -> Self {
        Self::by(tokio::signal::unix::SignalKind::hangup())
    }

    /// SIGUSR2: to let go of everything, for another process to take over.
    pub fn to_leave() -> Self {
        Self::by(tokio::signal::unix::SignalKind::user_defined2())
    }

    fn by(kind: tokio::signal::unix::SignalKind) -> Self {
        Self(tokio::signal::unix::signal(kind).ok())
    }

    /// The next one.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Resolves when the user or the system asks a server to end: Ctrl-C or SIGTERM.
pub async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without handlers the signals keep their own effect, which is to end the program.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Resolves when the user or the system asks the program to end: Ctrl-C, SIGTERM or SIGHUP.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        // Without handlers the signals keep their own effect, which is to end the program.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
