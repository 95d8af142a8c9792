//! Says what was being attempted when a system call failed.

use std::fmt::Display;
use std::io;

pub(super) trait Context<T> {
    /// Puts `what` before the error's own words.
    fn context(self, what: impl Display) -> io::Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl Display) -> io::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            io::Error::new(error.kind(), format!("{what}: {error}"))
        })
    }
}
