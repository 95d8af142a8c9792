//! What can go wrong when the engine is asked for something. A function that fails is none of
//! these: that is an outcome.

use std::fmt;
use std::time::Duration;

use model::{AliasName, Fault, FunctionId, Region, ValidationError, VersionId};

use crate::port::{CannotRun, StartError};

/// A verb that was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such function in that account and region.
    #[error("find function {name} in {region}: it is not deployed there{elsewhere}",
        name = function.name, region = function.region, elsewhere = Elsewhere(region_that_has_it))]
    NotFound {
        /// What was asked for.
        function: FunctionId,
        /// Another region in which the account has a function of this name.
        region_that_has_it: Option<Region>,
    },
    /// The function has no such version.
    #[error("find version {version} of function {name}: it was never published", name = function.name)]
    VersionNotFound {
        /// The function.
        function: FunctionId,
        /// The version.
        version: VersionId,
    },
    /// The function has no such alias.
    #[error("find alias {alias} of function {name}: it does not exist", name = function.name)]
    AliasNotFound {
        /// The function.
        function: FunctionId,
        /// The alias.
        alias: AliasName,
    },
    /// The principal may not do this.
    #[error("{doing} function {name}: the caller is not allowed to", name = function.name)]
    Denied {
        /// What was asked for, as a verb.
        doing: &'static str,
        /// The function.
        function: FunctionId,
    },
    /// The principal may not do this with something that is no function.
    #[error("{doing} {name}: the caller is not allowed to")]
    NotAllowed {
        /// What was asked for, as a verb.
        doing: &'static str,
        /// With what.
        name: String,
    },
    /// A setting breaks a rule.
    #[error("deploy: {0}")]
    Invalid(#[from] ValidationError),
    /// Code that the deployment names is not stored.
    #[error("deploy: no code is stored under {digest}; store it first")]
    CodeMissing {
        /// Digest of the missing tree.
        digest: String,
    },
    /// An archive of code cannot be unpacked.
    #[error("unpack the archive: {0}")]
    BadArchive(#[from] store::trees::BadArchive),
    /// The reservation would leave too little for functions that reserve nothing.
    #[error(
        "reserve {given} concurrent invocations: at most {max} can be reserved, so that \
         functions without a reservation keep their share"
    )]
    ReservationTooLarge {
        /// What was asked for.
        given: u32,
        /// What this function could have.
        max: u32,
    },
    /// The routes of an alias break a rule.
    #[error("promote alias {alias}: {problem}")]
    InvalidRoutes {
        /// The alias.
        alias: AliasName,
        /// Which rule.
        problem: &'static str,
    },
    /// The function cannot run on this host.
    #[error("deploy: {0}")]
    CannotRun(#[from] CannotRun),
    /// The payload is larger than payloads may be.
    #[error("invoke: the payload has {given} bytes; at most {max} are allowed")]
    PayloadTooLarge {
        /// Its size, in bytes.
        given: usize,
        /// Largest size, in bytes.
        max: usize,
    },
    /// A limit is reached; nothing was run.
    #[error("invoke: {reason}")]
    Throttled {
        /// Which limit.
        reason: ThrottleReason,
    },
    /// No instance could be started, through no fault of the function's initialisation.
    #[error("invoke: {0}")]
    CannotStart(#[from] StartError),
    /// Somebody else changed the same thing at the same time; nothing was changed here.
    #[error("change function {name}: it was changed at the same time; read it and try again",
        name = function.name)]
    Conflict {
        /// The function.
        function: FunctionId,
    },
    /// A thing that was to be new is there already.
    #[error("make {thing} {name}: it is there already")]
    AlreadyThere {
        /// What it is.
        thing: &'static str,
        /// Its name.
        name: String,
    },
    /// A thing that was to be changed, or told of, is not there.
    #[error("find {thing} {name}: there is none")]
    NotThere {
        /// What it is.
        thing: &'static str,
        /// Its name.
        name: String,
    },
    /// A thing is no longer what the caller last saw of it.
    #[error("change {thing} {name}: it has changed since it was read; read it and try again")]
    Stale {
        /// What it is.
        thing: &'static str,
        /// Its name.
        name: String,
    },
    /// A thing cannot go while another needs it.
    #[error("remove {thing} {name}: {by} leads to it")]
    InUse {
        /// What it is.
        thing: &'static str,
        /// Its name.
        name: String,
        /// What needs it.
        by: String,
    },
    /// More of something than is allowed.
    #[error("{what}: {given} given; at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many, or how much.
        given: usize,
        /// Most that is allowed.
        max: usize,
    },
    /// Events of a log, or what is wanted of a log group, break a rule.
    #[error("log: {0}")]
    UnfitLog(#[from] crate::log_group::Unfit),
    /// There is no room for something now.
    #[error("{doing}: there is no room for them now; try again later")]
    NoRoom {
        /// What was asked for, as a verb.
        doing: &'static str,
    },
    /// A record was written in a form that this program does not know.
    #[error("read record {key}: {detail}")]
    UnknownForm {
        /// Collection and key.
        key: String,
        /// What is odd about it.
        detail: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The engine is stopping and takes nothing new.
    #[error("the platform is stopping; try again when it runs")]
    Stopping,
}

impl Error {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotFound { .. }
            | Self::VersionNotFound { .. }
            | Self::AliasNotFound { .. }
            | Self::Denied { .. }
            | Self::Invalid(_)
            | Self::CodeMissing { .. }
            | Self::BadArchive(_)
            | Self::ReservationTooLarge { .. }
            | Self::InvalidRoutes { .. }
            | Self::PayloadTooLarge { .. }
            | Self::NotAllowed { .. }
            | Self::AlreadyThere { .. }
            | Self::NotThere { .. }
            | Self::Stale { .. }
            | Self::InUse { .. }
            | Self::TooMany { .. }
            | Self::UnfitLog(_)
            | Self::Conflict { .. } => Fault::Caller,
            Self::CannotRun(_) => Fault::Function,
            Self::CannotStart(error) => error.fault(),
            Self::Throttled { .. } | Self::NoRoom { .. } | Self::Stopping => Fault::Busy,
            Self::UnknownForm { .. } | Self::Store(_) => Fault::Ours,
        }
    }

    /// Whether the store itself logs it, once for many: on a full disk every change fails, and a
    /// door need not say so of each.
    pub fn is_told(&self) -> bool {
        matches!(self, Self::Store(store::Error::Full { .. }))
    }

    /// When it may help to ask again, where that can be told.
    pub fn retry_after(&self) -> Option<Duration> {
        (self.fault() == Fault::Busy).then_some(Duration::from_secs(1))
    }
}

/// Which limit refused an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThrottleReason {
    /// The function's own reservation.
    ReservedConcurrency,
    /// What the account's functions without a reservation share.
    AccountConcurrency,
    /// The node's memory for instances.
    NodeMemory,
    /// The function fails to initialise again and again; starts are spaced out.
    FailingStarts,
    /// As many accepted events wait as the platform keeps.
    WaitingEvents,
}

impl ThrottleReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::ReservedConcurrency,
        Self::AccountConcurrency,
        Self::NodeMemory,
        Self::FailingStarts,
        Self::WaitingEvents,
    ];

    /// The word that metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReservedConcurrency => "reserved_concurrency",
            Self::AccountConcurrency => "account_concurrency",
            Self::NodeMemory => "node_memory",
            Self::FailingStarts => "failing_starts",
            Self::WaitingEvents => "waiting_events",
        }
    }
}

impl fmt::Display for ThrottleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedConcurrency => "the function's reserved concurrency is all in use",
            Self::AccountConcurrency => "the account's concurrency is all in use",
            Self::NodeMemory => "the node's memory for instances is all in use",
            Self::FailingStarts => {
                "the function fails to initialise again and again, so starts are spaced out; \
                 its log says why"
            }
            Self::WaitingEvents => "as many accepted events wait as the platform keeps",
        })
    }
}

/// Where a missing function is, as the end of a sentence.
struct Elsewhere<'a>(&'a Option<Region>);

impl fmt::Display for Elsewhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(region) => write!(f, "; {region} has one of that name"),
            None => Ok(()),
        }
    }
}
