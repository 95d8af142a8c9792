//! A development session: a project folder, deployed and kept deployed while its files change.
//! It tells what happens as events and prints nothing.

mod deploy;
mod deploying;
mod logs;
mod owned;
mod session;
mod trials;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

pub use session::{Session, SessionError};

/// What a session is asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The project.
    pub folder: PathBuf,
    /// Environment variables by function, in the JSON form of SAM.
    pub env_vars: Option<PathBuf>,
    /// Whether functions may reach outside their sandbox.
    pub outside_network: bool,
    /// Whether to redeploy as files change.
    pub watch: bool,
}

/// One thing that happened in a session, in the order it happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The port is bound.
    Listening {
        /// `http://127.0.0.1:PORT`.
        origin: String,
        /// Since the session began.
        took: Duration,
    },
    /// Something the user should know and may act on.
    Warning {
        /// The function it is about, if it is about one.
        function: Option<String>,
        /// In words.
        text: String,
    },
    /// A build has begun or goes on.
    Building {
        /// Which function; none where it is for all that need it.
        function: Option<String>,
        /// What the build says: its phase or a line of a tool's output.
        line: String,
    },
    /// A function could not be built or deployed; what was deployed before goes on serving.
    Broken {
        /// Which function.
        function: String,
        /// Why, and what to do.
        error: String,
        /// Where what was deployed before answers, if something was.
        url: Option<String>,
    },
    /// A function is deployed.
    Deployed {
        /// Which function.
        function: String,
        /// Where it answers, at a port of its own.
        url: Option<String>,
        /// Where it answers by name, on the one port.
        host_url: Option<String>,
        /// What it runs on.
        runtime: String,
        /// From the change, or from the session's begin, to here.
        took: Duration,
        /// Whether it was deployed before.
        again: bool,
    },
    /// A deployment has ended and left its function as it was, or was given up.
    Unchanged {
        /// Which function.
        function: String,
    },
    /// A function is no longer in the project and was removed.
    Removed {
        /// Which function.
        function: String,
    },
    /// Everything is deployed that can be; changes are waited for.
    Ready {
        /// Functions that are deployed.
        functions: usize,
        /// Functions that the project has.
        planned: usize,
        /// Since the session began.
        took: Duration,
        /// Whether files are watched, and how.
        watching: Watching,
    },
    /// A record of a function's log.
    Log {
        /// Which function.
        function: String,
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// Whether the platform wrote it.
        platform: bool,
        /// The text, without its line end.
        text: String,
    },
}

/// How files are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watching {
    /// They are not.
    Off,
    /// The kernel tells of changes.
    Notified,
    /// The files are looked at again and again: their drive tells of no changes.
    Polling,
}
