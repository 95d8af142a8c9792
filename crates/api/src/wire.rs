//! The JSON forms of the control API, written by the server and read by the client. They are
//! never stored and no other room's types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What answers at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The program's version.
    pub version: String,
    /// Region of callers that name none.
    pub region: String,
    /// Account of callers that name none.
    pub account: String,
    /// Where clients reach it, such as `http://127.0.0.1:4566`.
    pub endpoint: String,
}

/// A deployed function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The version that is shown: `$LATEST` or a number.
    pub version: String,
    /// Its runtime, such as `python3.12`.
    pub runtime: String,
    /// Where the runtime enters the code.
    pub handler: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Memory setting, in MB.
    pub memory_mb: u32,
    /// Timeout, in seconds.
    pub timeout_s: u64,
    /// Size of /tmp, in MB.
    pub tmp_mb: u32,
    /// Its environment variables.
    pub environment: BTreeMap<String, String>,
    /// Size of the unpacked code, in bytes.
    pub code_bytes: u64,
    /// Digest of the code.
    pub code_digest: String,
    /// When it last changed, in milliseconds since the Unix epoch.
    pub changed_ms: u64,
    /// Where it answers over HTTP, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where it answers by host name on the one port, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_url: Option<String>,
    /// Instances that may be busy at once, where it has a limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_concurrency: Option<u32>,
    /// Published versions, in order.
    pub versions: Vec<String>,
    /// Aliases by name: the versions each leads to, with their weights.
    pub aliases: BTreeMap<String, Vec<Target>>,
    /// Its live instances.
    pub instances: Vec<Instance>,
}

/// One version that an alias leads to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The version.
    pub version: String,
    /// Its share of the invocations, 0 to 1.
    pub weight: f64,
}

/// A live instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// The function's name.
    pub function: String,
    /// The version that it runs.
    pub version: String,
    /// `starting`, `idle`, `busy` or `draining`.
    pub state: String,
    /// Whether it is frozen, using no CPU.
    pub frozen: bool,
    /// Requests it is serving.
    pub in_flight: u32,
    /// Its memory setting, in MB.
    pub memory_mb: u32,
    /// Private memory it uses, in bytes, where the host can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// How an invocation ended and what there is to show for it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Invoked {
    /// The invocation's id.
    pub id: String,
    /// How it ended: `replied`, `failed`, `timed_out`, `crashed`, `out_of_memory`,
    /// `response_too_large` or `fault`.
    pub outcome: String,
    /// The answer or the error, as the function's contract gives it. An answer that is no JSON
    /// is shown as a JSON string.
    pub payload: Box<RawValue>,
    /// The end of its log, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Where its instance came from: `warm`, `parked`, `template` or `plain`.
    pub start: String,
    /// Whether it waited for an instance to start.
    pub cold: bool,
    /// Where its time went.
    pub timings: Timings,
    /// Billed time, in milliseconds.
    pub billed_ms: u64,
    /// Memory setting of the version that `$LATEST` or the qualifier named, in MB.
    pub memory_mb: u32,
    /// Most memory its instance has used, in MB.
    pub memory_used_mb: u32,
}

impl Invoked {
    /// Whether the function answered.
    pub fn is_reply(&self) -> bool {
        self.outcome == model::End::Replied.as_str()
    }
}

/// Parts of an invocation's time that do not overlap, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From arrival to having a place to run.
    pub queue_us: u64,
    /// Sandbox and interpreter; zero when warm.
    pub start_us: u64,
    /// The function's own initialisation; zero when warm.
    pub init_us: u64,
    /// The handler.
    pub handler_us: u64,
}

/// One record of a function's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Whether the platform wrote it (START, END, REPORT) or the function.
    pub platform: bool,
    /// The invocation it belongs to, where one was running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<String>,
    /// Text without its line end; may hold several lines.
    pub text: String,
}

/// Code that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCode {
    /// Digest of what it holds.
    pub digest: String,
    /// Sum of the sizes of its files, in bytes.
    pub size_bytes: u64,
}

/// A function as a client wants it. Its code is stored first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its runtime, such as `python3.12`.
    pub runtime: String,
    /// Where the runtime enters the code.
    pub handler: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Memory setting, in MB.
    pub memory_mb: u32,
    /// Timeout, in seconds.
    pub timeout_s: u64,
    /// Size of /tmp, in MB.
    pub tmp_mb: u32,
    /// Its environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Digest of its code.
    pub code: String,
    /// Digests of its layers, in order.
    #[serde(default)]
    pub layers: Vec<String>,
    /// `Text` or `Json`.
    pub log_format: String,
    /// Least level of its own JSON records, such as `INFO`.
    pub log_level: String,
    /// How it answers over HTTP, if it does.
    #[serde(default)]
    pub url: Option<Url>,
    /// Instances that may be busy at once, where it has a limit of its own.
    #[serde(default)]
    pub reserved_concurrency: Option<u32>,
}

/// How a function answers over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Url {
    /// Cross-origin rules.
    #[serde(default)]
    pub cors: Option<Cors>,
    /// `BUFFERED` or `RESPONSE_STREAM`; none is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoke_mode: Option<String>,
    /// `NONE` or `AWS_IAM`; none is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
}

/// Cross-origin rules of a function URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Whether credentials may be sent.
    #[serde(default)]
    pub allow_credentials: bool,
    /// Request headers that may be sent.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Methods that may be used.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Origins that may ask.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// Response headers that pages may read.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// How long browsers may remember this, in seconds.
    #[serde(default)]
    pub max_age_s: Option<u32>,
}

/// What a deployment led to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// The function.
    pub function: Function,
    /// Whether anything changed.
    pub changed: bool,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// An access key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub account: String,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// A key that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// What its owner calls it.
    #[serde(default)]
    pub label: String,
}

/// A key that was made, with the secret that is told this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedKey {
    /// The key.
    #[serde(flatten)]
    pub key: Key,
    /// Its secret.
    pub secret: String,
}

impl std::fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What happened.
    pub error: ErrorDetail,
}

/// What a refusal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// One word for programs, such as `not_found`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}
