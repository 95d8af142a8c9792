//! The runtimes that functions name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::InvalidName;

/// A runtime identifier, as deployments write it (`python3.12`, `nodejs22.x`, `provided.al2023`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Runtime {
    /// CPython 3 of this minor version.
    Python {
        /// 9 to 14.
        minor: u8,
    },
    /// Node.js of this major version.
    Node {
        /// 18, 20, 22 or 24.
        major: u8,
    },
    /// An executable `bootstrap`, on Amazon Linux 2 names.
    ProvidedAl2,
    /// An executable `bootstrap`, on Amazon Linux 2023 names.
    ProvidedAl2023,
}

impl Runtime {
    /// Every runtime that can be deployed, newest of each kind last.
    pub const ALL: [Self; 12] = [
        Self::Python { minor: 9 },
        Self::Python { minor: 10 },
        Self::Python { minor: 11 },
        Self::Python { minor: 12 },
        Self::Python { minor: 13 },
        Self::Python { minor: 14 },
        Self::Node { major: 18 },
        Self::Node { major: 20 },
        Self::Node { major: 22 },
        Self::Node { major: 24 },
        Self::ProvidedAl2,
        Self::ProvidedAl2023,
    ];

    /// Whether the function brings its own executable `bootstrap`.
    pub fn is_provided(self) -> bool {
        matches!(self, Self::ProvidedAl2 | Self::ProvidedAl2023)
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python { minor } => write!(f, "python3.{minor}"),
            Self::Node { major } => write!(f, "nodejs{major}.x"),
            Self::ProvidedAl2 => f.write_str("provided.al2"),
            Self::ProvidedAl2023 => f.write_str("provided.al2023"),
        }
    }
}

impl FromStr for Runtime {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, InvalidName> {
        Self::ALL
            .into_iter()
            .find(|runtime| runtime.to_string() == value)
            .ok_or_else(|| InvalidName {
                kind: "runtime",
                value: value.chars().take(200).collect(),
                rule: "python3.9 to python3.14, nodejs18.x, nodejs20.x, nodejs22.x, nodejs24.x, \
                       provided.al2 or provided.al2023",
            })
    }
}

impl TryFrom<String> for Runtime {
    type Error = InvalidName;

    fn try_from(value: String) -> Result<Self, InvalidName> {
        value.parse()
    }
}

impl From<Runtime> for String {
    fn from(runtime: Runtime) -> String {
        runtime.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_round_trip() {
        for runtime in Runtime::ALL {
            assert_eq!(runtime.to_string().parse(), Ok(runtime));
        }
        assert!("python2.7".parse::<Runtime>().is_err());
        assert!("nodejs19.x".parse::<Runtime>().is_err());
    }
}
