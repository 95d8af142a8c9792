//! What the verbs take and answer.

use bytes::Bytes;
use model::{
    AliasName, FunctionConfig, FunctionId, FunctionRef, InvocationId, Principal, UrlConfig,
    VersionId,
};

use crate::port::Warning;
pub use crate::record::EventState;

/// What `deploy` makes `$LATEST` of. Trees it names must be stored already.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Settings and code.
    pub config: FunctionConfig,
    /// Whether the function answers at a URL of its own, without authentication. The engine
    /// keeps the URL's id and port of an earlier deployment.
    pub url: Option<UrlSettings>,
    /// Instances that may be busy at once; none shares the account's.
    pub reserved_concurrency: Option<u32>,
    /// Also publish an immutable version.
    pub publish: bool,
}

/// What a deployment may choose about its URL.
#[derive(Debug, Clone, Default)]
pub struct UrlSettings {
    /// Cross-origin rules.
    pub cors: Option<model::Cors>,
}

/// What a deployment led to.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// `$LATEST`, or the version that was published.
    pub version: VersionId,
    /// Whether anything changed.
    pub changed: bool,
    /// Where it answers, if it does.
    pub url: Option<UrlConfig>,
    /// What its author should know.
    pub warnings: Vec<Warning>,
}

/// A request to run a function now and wait for its outcome.
#[derive(Debug, Clone)]
pub struct Invoke {
    /// Who asks.
    pub principal: Principal,
    /// Whether it came in through the function's own public URL.
    pub public_url: bool,
    /// The function as the caller named it.
    pub target: FunctionRef,
    /// Its id, where the door had to choose one already; else the engine chooses.
    pub id: Option<InvocationId>,
    /// JSON, passed through unread.
    pub payload: Bytes,
    /// Trace header of the caller.
    pub trace: Option<String>,
    /// Client context as JSON text.
    pub client_context: Option<String>,
    /// Whether the last bytes of the log are wanted.
    pub tail: bool,
}

/// An accepted event and what has become of it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// The invocation's id, as `submit` answered it.
    pub id: InvocationId,
    /// What it is for, as the caller named it.
    pub target: FunctionRef,
    /// Where it stands.
    pub state: EventState,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub accepted_ms: u64,
    /// When it came to its end, in the same unit.
    pub ended_ms: Option<u64>,
    /// Attempts so far.
    pub attempts: u32,
    /// How the last of them ended, in words.
    pub reason: Option<String>,
}

/// A function as the catalog holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionView {
    /// Which.
    pub id: FunctionId,
    /// The version that this view is of.
    pub version: VersionId,
    /// Settings and code.
    pub config: std::sync::Arc<FunctionConfig>,
    /// When it last changed, in milliseconds since the Unix epoch.
    pub changed_ms: u64,
    /// Grows with every change.
    pub revision: u64,
    /// Where it answers, if it does.
    pub url: Option<UrlConfig>,
    /// Instances that may be busy at once.
    pub reserved_concurrency: Option<u32>,
    /// Published versions, in order.
    pub versions: Vec<VersionId>,
    /// Aliases and where each leads.
    pub aliases: Vec<(AliasName, Vec<(VersionId, f64)>)>,
}
