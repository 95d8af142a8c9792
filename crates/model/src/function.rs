//! What a function is: code, runtime and settings, and which of them are valid.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Digest, FunctionId, LayerVersionId, Region};
use crate::limit;
use crate::runtime::Runtime;

/// Everything a version of a function is made of. Two equal values run alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionConfig {
    /// The runtime it asks for.
    pub runtime: Runtime,
    /// Where the runtime enters the code, such as `app.handler`; `provided` may leave it empty.
    pub handler: String,
    /// What it is for, in its author's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Memory, in MB; CPU share follows from it.
    pub memory_mb: u32,
    /// Longest time one invocation may take; whole seconds.
    pub timeout: Duration,
    /// Size of its /tmp, in MB.
    pub tmp_mb: u32,
    /// The author's environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The code, unpacked at /var/task.
    pub code: Code,
    /// Trees unpacked over each other at /opt, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Code>,
    /// How log lines are written.
    #[serde(default)]
    pub log_format: LogFormat,
    /// Least level that the function's own JSON log records need to be kept; Text keeps all.
    #[serde(default)]
    pub log_level: LogLevel,
    /// What the function may reach outside its sandbox.
    #[serde(default)]
    pub network: Network,
    /// Whether a debugger is to be listened for in the instance; suspends timeouts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inspect: bool,
    /// What its author declared besides.
    #[serde(default, skip_serializing_if = "Declared::is_empty")]
    pub declared: Declared,
}

/// What an author declared of a function that does not change how it runs here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Declared {
    /// Who it is to other services: a role's ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The processors that its code was built for; none is the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// The log group that its log is shown in; none is `/aws/lambda/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_group: Option<String>,
    /// Least level of the platform's own JSON records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_log_level: Option<LogLevel>,
    /// Settings of the vendor's that nothing here reads, told again as they were given: member
    /// and JSON text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, String>,
}

impl Declared {
    /// The role's name: the one that is declared, else one of the function's own.
    pub fn role_name(&self, function: &FunctionId) -> String {
        let declared = self.role.as_deref().and_then(|arn| arn.rsplit('/').next());
        declared.map_or_else(|| format!("{}-role", function.name), str::to_owned)
    }

    /// The role's ARN, likewise.
    pub fn role_arn(&self, function: &FunctionId) -> String {
        self.role.clone().unwrap_or_else(|| {
            let (account, name) = (&function.account, self.role_name(function));
            format!("arn:aws:iam::{account}:role/{name}")
        })
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Processors that code may be built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86,
    /// 64-bit ARM.
    #[serde(rename = "arm64")]
    Arm,
}

impl Architecture {
    /// What this program runs on.
    pub const HOST: Self = if cfg!(target_arch = "aarch64") {
        Self::Arm
    } else {
        Self::X86
    };

    /// Its name, as AWS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "arm64",
        }
    }
}

/// A stored tree of files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Code {
    /// Digest of the tree's manifest, by which the store finds it.
    pub digest: Digest,
    /// Sum of the sizes of its files, in bytes.
    pub size_bytes: u64,
    /// What it was unpacked from, where it came as an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// The layer version that it is, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerVersionId>,
}

impl Code {
    /// A tree that came as a folder.
    pub fn folder(digest: Digest, size_bytes: u64) -> Self {
        Self {
            digest,
            size_bytes,
            archive: None,
            layer: None,
        }
    }
}

/// An archive as it was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Archive {
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// Digest of the stored tree that holds it, as [`Archive::FILE`].
    pub tree: Digest,
}

impl Archive {
    /// The archive's name in its tree.
    pub const FILE: &str = "code.zip";
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum LogFormat {
    /// Lines as Lambda has always written them.
    #[default]
    Text,
    /// One JSON object a line, platform records among them.
    Json,
}

/// Levels of a function's own log records, in rising order of weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// Finest.
    Trace,
    /// Fine.
    Debug,
    /// The default.
    #[default]
    Info,
    /// Something odd.
    Warn,
    /// Something failed.
    Error,
    /// Something failed for good.
    Fatal,
}

impl LogLevel {
    /// The level as environment variables and log records write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// What a function may reach outside its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Network {
    /// The platform's own endpoint and nothing else.
    #[default]
    PlatformOnly,
    /// Also whatever the host can reach, carried by the platform.
    Outside,
}

/// How a function answers at its own URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlConfig {
    /// The host label: 32 lower-case letters and digits, stable for the function's life.
    pub url_id: String,
    /// The loopback port of its own, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What browsers of other origins may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// When its answer is passed on.
    #[serde(default, skip_serializing_if = "InvokeMode::is_default")]
    pub invoke_mode: InvokeMode,
    /// Whom it answers.
    #[serde(default, skip_serializing_if = "UrlAuth::is_default")]
    pub auth: UrlAuth,
    /// When it was made, in milliseconds since the Unix epoch; zero where that is not known.
    #[serde(default)]
    pub created_ms: u64,
    /// When it last changed, in the same unit.
    #[serde(default)]
    pub changed_ms: u64,
}

/// Whom a function answers at its URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum UrlAuth {
    /// Anybody.
    #[default]
    #[serde(rename = "NONE")]
    Nobody,
    /// Who signs the request and may invoke the function.
    #[serde(rename = "AWS_IAM")]
    Signed,
}

impl UrlAuth {
    /// As templates and APIs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "NONE",
            Self::Signed => "AWS_IAM",
        }
    }

    /// Whether it is the one where none is given.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// When the answer of a function goes out at its URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InvokeMode {
    /// Once all of it is there.
    #[default]
    Buffered,
    /// While the function writes it.
    ResponseStream,
}

impl InvokeMode {
    /// The mode as templates and APIs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buffered => "BUFFERED",
            Self::ResponseStream => "RESPONSE_STREAM",
        }
    }

    /// Whether it is the one where none is given.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl UrlConfig {
    /// Its address by host name at a node's endpoint, such as `http://127.0.0.1:4566`. Below an
    /// endpoint without a name it is below `localhost`, which browsers and most resolvers take
    /// for this machine.
    pub fn by_name(&self, region: &Region, endpoint: &str) -> String {
        let (scheme, authority) = endpoint.split_once("://").unwrap_or(("http", endpoint));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, format!(":{port}")),
            _ => (authority, String::new()),
        };
        let is_name = host.contains(|c: char| c.is_ascii_alphabetic()) && !host.starts_with('[');
        let domain = if is_name { host } else { "localhost" };
        let id = &self.url_id;
        format!("{scheme}://{id}.lambda-url.{region}.{domain}{port}/")
    }
}

/// Cross-origin rules of a function URL, answered by the platform and never by the function.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cors {
    /// `Access-Control-Allow-Credentials`.
    #[serde(default)]
    pub allow_credentials: bool,
    /// Request headers that may be sent; `*` for any.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Methods that may be used; `*` for any.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Origins that may call; `*` for any.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// Response headers that scripts may read.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// How long a browser may keep the answer to a preflight, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
}

/// A setting that no function may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidationError {
    /// Memory out of range.
    #[error("memory must be {min} to {max} MB, not {given}", min = limit::MEMORY_MB_MIN, max = limit::MEMORY_MB_MAX)]
    Memory {
        /// What was given, in MB.
        given: u32,
    },
    /// Timeout out of range.
    #[error("timeout must be 1 to {max} seconds, not {given:?}", max = limit::TIMEOUT_MAX.as_secs())]
    Timeout {
        /// What was given.
        given: Duration,
    },
    /// /tmp out of range.
    #[error("/tmp must be {min} to {max} MB, not {given}", min = limit::TMP_MB_DEFAULT, max = limit::TMP_MB_MAX)]
    Tmp {
        /// What was given, in MB.
        given: u32,
    },
    /// Too much environment.
    #[error("environment variables are {given} bytes together; at most {max} are allowed", max = limit::ENVIRONMENT_BYTES_MAX)]
    EnvironmentSize {
        /// Keys and values together, in bytes.
        given: usize,
    },
    /// A variable that the platform sets itself, or whose name is malformed.
    #[error("the environment variable '{name}' {problem}")]
    EnvironmentName {
        /// The variable.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No handler, or one too long.
    #[error("a handler of 1 to {max} characters without white space is needed, such as app.handler; not '{given}'", max = limit::HANDLER_BYTES_MAX)]
    Handler {
        /// What was given.
        given: String,
    },
    /// Too many layers.
    #[error("at most {max} layers are allowed, not {given}", max = limit::LAYERS_MAX)]
    Layers {
        /// How many were given.
        given: usize,
    },
    /// Code and layers are too large.
    #[error("code and layers are {given} bytes unpacked; at most {max} are allowed", max = limit::UNPACKED_BYTES_MAX)]
    CodeSize {
        /// Their sum, in bytes.
        given: u64,
    },
}

/// Variables that only the platform sets (AWS: "Reserved environment variables").
const RESERVED_VARIABLES: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
];

/// Whether only the platform sets this environment variable.
pub fn is_reserved_variable(name: &str) -> bool {
    RESERVED_VARIABLES.contains(&name)
}

impl FunctionConfig {
    /// The first setting that breaks a rule, if any does.
    pub fn validate(&self) -> Result<(), ValidationError> {
        if !(limit::MEMORY_MB_MIN..=limit::MEMORY_MB_MAX).contains(&self.memory_mb) {
            return Err(ValidationError::Memory {
                given: self.memory_mb,
            });
        }
        if self.timeout < Duration::from_secs(1)
            || self.timeout > limit::TIMEOUT_MAX
            || self.timeout.subsec_nanos() != 0
        {
            return Err(ValidationError::Timeout {
                given: self.timeout,
            });
        }
        if !(limit::TMP_MB_DEFAULT..=limit::TMP_MB_MAX).contains(&self.tmp_mb) {
            return Err(ValidationError::Tmp { given: self.tmp_mb });
        }
        if self.layers.len() > limit::LAYERS_MAX {
            return Err(ValidationError::Layers {
                given: self.layers.len(),
            });
        }
        let unpacked = self
            .layers
            .iter()
            .map(|layer| layer.size_bytes)
            .fold(0, u64::saturating_add);
        let unpacked = unpacked.saturating_add(self.code.size_bytes);
        if unpacked > limit::UNPACKED_BYTES_MAX {
            return Err(ValidationError::CodeSize { given: unpacked });
        }
        self.validate_handler()?;
        self.validate_environment()
    }

    fn validate_handler(&self) -> Result<(), ValidationError> {
        let optional = self.runtime.is_provided() && self.handler.is_empty();
        let shaped = (1..=limit::HANDLER_BYTES_MAX).contains(&self.handler.len())
            && !self
                .handler
                .contains(|c: char| c.is_whitespace() || c.is_control());
        if optional || shaped {
            Ok(())
        } else {
            Err(ValidationError::Handler {
                given: self.handler.chars().take(200).collect(),
            })
        }
    }

    fn validate_environment(&self) -> Result<(), ValidationError> {
        let size = self
            .environment
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if size > limit::ENVIRONMENT_BYTES_MAX {
            return Err(ValidationError::EnvironmentSize { given: size });
        }
        for (name, value) in &self.environment {
            let problem = if is_reserved_variable(name) {
                "is set by the platform and cannot be chosen"
            } else if !is_variable_name(name) {
                "must begin with a letter and hold letters, digits and underscores, two at least"
            } else if value.contains('\0') {
                "holds a NUL character"
            } else {
                continue;
            };
            return Err(ValidationError::EnvironmentName {
                name: name.clone(),
                problem,
            });
        }
        Ok(())
    }
}

/// The form that the service model gives variable names: `[a-zA-Z]([a-zA-Z0-9_])+`.
fn is_variable_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> FunctionConfig {
        FunctionConfig {
            runtime: Runtime::Python { minor: 12 },
            handler: "app.handler".into(),
            description: String::new(),
            memory_mb: 128,
            timeout: Duration::from_secs(3),
            tmp_mb: 512,
            environment: BTreeMap::new(),
            code: Code::folder(Digest::from_bytes([0; 32]), 10),
            layers: Vec::new(),
            log_format: LogFormat::Text,
            log_level: LogLevel::Info,
            network: Network::Outside,
            inspect: false,
            declared: Declared::default(),
        }
    }

    #[test]
    fn addresses_by_name_are_below_the_endpoint() {
        let url = UrlConfig {
            url_id: "abc".into(),
            port: None,
            cors: None,
            invoke_mode: InvokeMode::Buffered,
            auth: UrlAuth::Nobody,
            created_ms: 0,
            changed_ms: 0,
        };
        let check = |endpoint: &str, end: &str| {
            let region = "us-east-1".parse().unwrap();
            assert_eq!(url.by_name(&region, endpoint), end, "{endpoint}");
        };
        let local = "http://abc.lambda-url.us-east-1.localhost:4566/";
        check("http://127.0.0.1:4566", local);
        check("http://[::1]:4566", local);
        let named = "https://abc.lambda-url.us-east-1.fn.example";
        check("https://fn.example:4566", &format!("{named}:4566/"));
        check("https://fn.example", &format!("{named}/"));
    }

    #[test]
    fn each_rule_is_held() {
        assert_eq!(config().validate(), Ok(()));
        let broken = |change: fn(&mut FunctionConfig)| {
            let mut config = config();
            change(&mut config);
            assert!(config.validate().is_err(), "{config:?}");
        };
        broken(|c| c.memory_mb = 64);
        broken(|c| c.timeout = Duration::from_millis(1500));
        broken(|c| c.timeout = Duration::from_secs(901));
        broken(|c| c.tmp_mb = 0);
        broken(|c| c.handler.clear());
        broken(|c| c.handler = "a b".into());
        broken(|c| c.code.size_bytes = u64::MAX);
        broken(|c| c.layers = vec![c.code.clone(); 6]);
        broken(|c| {
            c.layers = vec![c.code.clone(); 2];
            c.layers
                .iter_mut()
                .for_each(|it| it.size_bytes = 1 + u64::MAX / 2);
        });
        broken(|c| drop(c.environment.insert("AWS_REGION".into(), "x".into())));
        broken(|c| drop(c.environment.insert("A".into(), "x".into())));
        broken(|c| drop(c.environment.insert("BIG".into(), "x".repeat(5000))));
        broken(|c| drop(c.environment.insert("NUL".into(), "\0".into())));
    }
}
