//! The nouns of the platform, every limit with its unit and reason, and the pure policies.
//! It does no I/O, holds no clock and knows no wire format.

pub mod arn;
pub mod fault;
pub mod function;
pub mod home;
pub mod id;
pub mod invocation;
pub mod limit;
pub mod log;
pub mod metering;
pub mod policy;
pub mod principal;
pub mod retry;
pub mod runtime;
pub mod trace;

pub use fault::Fault;
pub use function::{
    Architecture, Archive, Code, Cors, Declared, FunctionConfig, InvokeMode, LogFormat, LogLevel,
    Network, UrlAuth, UrlConfig, ValidationError,
};
pub use id::{
    AccountId, AliasName, Digest, FunctionId, FunctionName, FunctionRef, InstanceId, InvalidName,
    InvocationId, LayerId, LayerName, LayerVersionId, LogGroupId, LogGroupName, LogStreamName,
    Qualifier, Region, VersionId,
};
pub use invocation::{End, Execution, Outcome, StartKind, Timings};
pub use metering::MeterRecord;
pub use principal::Principal;
pub use runtime::Runtime;
