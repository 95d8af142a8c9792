//! What the verbs take and answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{
    AliasName, Code, FunctionConfig, FunctionId, FunctionRef, InvocationId, LayerId,
    LayerVersionId, Principal, UrlConfig, VersionId,
};

use crate::port::Warning;
pub use crate::record::EventState;

/// What `deploy` makes `$LATEST` of. Trees it names must be stored already.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Settings and code.
    pub config: FunctionConfig,
    /// Whether the function answers at a URL of its own. The engine keeps the URL's id and port of
    /// an earlier deployment, and has the function's policy let everybody in where it asks for no
    /// signature.
    pub url: Option<UrlSettings>,
    /// Instances that may be busy at once; none shares the account's.
    pub reserved_concurrency: Option<u32>,
    /// Also publish an immutable version.
    pub publish: bool,
}

/// What a deployment may choose about its URL.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UrlSettings {
    /// Cross-origin rules.
    pub cors: Option<model::Cors>,
    /// When its answer is passed on.
    pub invoke_mode: model::InvokeMode,
    /// Whom it answers.
    pub auth: model::UrlAuth,
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
    /// Whom the function URL answers that it came in through, if it did.
    pub url: Option<model::UrlAuth>,
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

/// A URL and what answers at it.
#[derive(Debug, Clone, PartialEq)]
pub struct UrlView {
    /// The function.
    pub function: std::sync::Arc<FunctionView>,
    /// What runs: the function, or one of its aliases.
    pub target: FunctionRef,
    /// The URL.
    pub url: UrlConfig,
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
    pub aliases: Vec<Alias>,
    /// Labels that its owner gave it.
    pub tags: std::sync::Arc<BTreeMap<String, String>>,
}

/// A name that leads to one version or to two.
#[derive(Debug, Clone, PartialEq)]
pub struct Alias {
    /// The name.
    pub name: AliasName,
    /// Versions with the part of the invocations that each gets.
    pub routes: Vec<(VersionId, f64)>,
    /// What it is for, in its author's words.
    pub description: String,
    /// Grows with every change.
    pub revision: u64,
}

/// What must be so for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expected {
    /// Nothing.
    #[default]
    Anything,
    /// It is not there yet.
    Absent,
    /// It is there.
    Present,
    /// It is there and this is its revision.
    Revision(u64),
}

/// What makes a new function.
#[derive(Debug, Clone)]
pub struct Creation {
    /// Settings and code. Trees it names must be stored already.
    pub config: FunctionConfig,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Also publish a version.
    pub publish: Option<Publication>,
}

/// What changes a function's `$LATEST`.
pub struct Update {
    /// What the function must be.
    pub expected: Expected,
    /// The change.
    pub edit: Box<dyn FnOnce(&mut FunctionConfig) + Send>,
    /// Also publish a version.
    pub publish: Option<Publication>,
    /// Only see whether it could be done.
    pub dry_run: bool,
}

impl std::fmt::Debug for Update {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Update")
            .field("expected", &self.expected)
            .field("publish", &self.publish)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// What a published version says of itself.
#[derive(Debug, Clone, Default)]
pub struct Publication {
    /// In the author's words; none is the function's own.
    pub description: Option<String>,
}

/// What a creation or an update led to.
#[derive(Debug, Clone)]
pub struct Changed {
    /// `$LATEST`, or the version that was published.
    pub view: std::sync::Arc<FunctionView>,
    /// What its author should know.
    pub warnings: Vec<Warning>,
}

/// What to change of an alias.
#[derive(Debug, Clone, Default)]
pub struct AliasChange {
    /// What the alias must be.
    pub expected: Expected,
    /// Where it leads from now on; none leaves that.
    pub routes: Option<Vec<(VersionId, f64)>>,
    /// Its description from now on; none leaves that.
    pub description: Option<String>,
}

/// One statement of a policy: who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its id within the policy.
    pub id: String,
    /// JSON text, passed through unread.
    pub text: String,
}

/// A policy: who else may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// In the order in which they were added. Never empty.
    pub statements: Vec<Statement>,
    /// Grows with every change.
    pub revision: u64,
}

/// How accepted events are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retries {
    /// Retries after a function error; none is the default.
    pub retries_max: Option<u8>,
    /// Age at which an event is given up, in seconds; none is the default.
    pub age_max_s: Option<u32>,
    /// When it last changed, in milliseconds since the Unix epoch.
    pub changed_ms: u64,
}

/// What makes a new version of a layer.
#[derive(Debug, Clone)]
pub struct LayerPublication {
    /// The layer.
    pub layer: LayerId,
    /// Its files, stored already.
    pub code: Code,
    /// What it is for.
    pub description: String,
    /// Its licence.
    pub license: Option<String>,
    /// Runtimes it was made for, as the vendor writes them.
    pub runtimes: Vec<String>,
    /// Processors it was made for, as the vendor writes them.
    pub architectures: Vec<String>,
}

/// One version of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerView {
    /// Which.
    pub id: LayerVersionId,
    /// Its files.
    pub code: Code,
    /// What it is for.
    pub description: String,
    /// Its licence.
    pub license: Option<String>,
    /// Runtimes it was made for, as the vendor writes them.
    pub runtimes: Vec<String>,
    /// Processors it was made for, as the vendor writes them.
    pub architectures: Vec<String>,
    /// When it was published, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Who else may use it.
    pub policy: Option<Policy>,
}
