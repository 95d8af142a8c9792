//! AWS Lambda's inner contract: launchers of ours over framed sockets, the Runtime API for
//! functions that bring their own client, the environment and the log lines of both.

pub(crate) mod bootstrap;
pub(crate) mod environment;
pub(crate) mod extensions;
pub(crate) mod frame;
pub(crate) mod order;
pub(crate) mod report;
pub(crate) mod runtime_api;
pub(crate) mod telemetry;
pub(crate) mod wire;
pub(crate) mod words;
