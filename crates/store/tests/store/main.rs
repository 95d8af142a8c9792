//! What the store promises, through its public doors.
#![expect(clippy::unwrap_used, reason = "what a test expects is what it tests")]

mod conformance;
mod crash;
mod history;
mod logs;
mod sqlite;
mod trees;
