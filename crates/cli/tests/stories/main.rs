//! Stories: what the platform promises, through the doors that promise it.

#![expect(
    clippy::expect_used,
    reason = "a story ends at the first thing that is not as told"
)]

mod aws_cli;
mod builds;
mod clients;
mod contract;
mod credentials;
mod ends;
mod examples;
mod home;
mod http;
mod life;
mod logs;
mod parity;
mod program;
mod project;
mod sandbox;
mod streams;
mod takeover;
mod test_node;
mod up;
mod urls;
