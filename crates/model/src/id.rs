//! Names and identifiers, each valid by construction.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name that does not have the form its kind demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is not a valid {kind}: {rule}")]
pub struct InvalidName {
    /// What was being named, in a user's words.
    pub kind: &'static str,
    /// What was given.
    pub value: String,
    /// The form that was expected.
    pub rule: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(value: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(value) {
                    Ok(Self(value.into()))
                } else {
                    Err(InvalidName { kind: $kind, value: value.chars().take(200).collect(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(value: String) -> Result<Self, InvalidName> {
                value.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl From<$name> for Arc<str> {
            fn from(name: $name) -> Arc<str> {
                name.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

text_id!(
    /// The tenant: twelve digits, as AWS account ids are.
    AccountId,
    "account id",
    "twelve digits",
    |v| v.len() == 12 && v.bytes().all(|b| b.is_ascii_digit())
);

text_id!(
    /// A region, such as `eu-west-1`. Part of every reference.
    Region,
    "region",
    "1 to 32 lower-case letters, digits and hyphens",
    |v| (1..=32).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

text_id!(
    /// A function's name within its account and region.
    FunctionName,
    "function name",
    "1 to 64 letters, digits, hyphens and underscores",
    |v| (1..=64).contains(&v.len()) && v.chars().all(is_name_char)
);

text_id!(
    /// An alias of a function. Never all digits, so that it cannot be taken for a version.
    AliasName,
    "alias",
    "1 to 128 letters, digits, hyphens and underscores, not digits alone",
    |v| (1..=128).contains(&v.len())
        && v.chars().all(is_name_char)
        && !v.bytes().all(|b| b.is_ascii_digit())
);

text_id!(
    /// A layer's name within its account and region.
    LayerName,
    "layer name",
    "1 to 140 letters, digits, hyphens and underscores",
    |v| (1..=140).contains(&v.len()) && v.chars().all(is_name_char)
);

text_id!(
    /// A log group's name within its account and region.
    LogGroupName,
    "log group name",
    "1 to 512 letters, digits and _ - / . #",
    |v| (1..=512).contains(&v.len())
        && v.chars().all(|c| is_name_char(c) || matches!(c, '/' | '.' | '#'))
);

text_id!(
    /// A log stream's name within its group.
    LogStreamName,
    "log stream name",
    "1 to 512 characters without : and *",
    |v| (1..=512).contains(&v.chars().count()) && !v.contains([':', '*'])
);

text_id!(
    /// SHA-256 of some bytes or of a tree's manifest, 64 lower-case hexadecimal digits.
    Digest,
    "digest",
    "64 lower-case hexadecimal digits",
    |v| v.len() == 64 && v.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);

text_id!(
    /// One execution of a function: a UUID in its hyphenated form.
    InvocationId,
    "invocation id",
    "a UUID",
    is_uuid
);

impl InvocationId {
    /// The id made of 16 random bytes, as a version 4 UUID (RFC 9562, section 5.4).
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid_text(bytes).into())
    }
}

text_id!(
    /// One live sandbox: 32 hexadecimal digits, as Lambda's log stream names end in.
    InstanceId,
    "instance id",
    "32 lower-case hexadecimal digits",
    |v| v.len() == 32 && v.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);

impl InstanceId {
    /// The id made of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(hex(&bytes).into())
    }
}

impl Digest {
    /// The digest whose 32 bytes are given.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(hex(&bytes).into())
    }
}

/// A UUID of random bytes, version 4, in its hyphenated form (RFC 9562, section 5.4).
pub fn uuid_text(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        push_hex(&mut text, &[*byte]);
    }
    text
}

/// Whether it has the hyphenated form of a UUID: 8, 4, 4, 4 and 12 digits.
fn is_uuid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

/// Lower-case hexadecimal digits of some bytes.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

/// Appends lower-case hexadecimal digits of some bytes.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// A version of a function: the mutable `$LATEST` or a published number from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VersionId {
    /// The mutable version that deployments change.
    Latest,
    /// An immutable published version.
    Number(u64),
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("$LATEST"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl FromStr for VersionId {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName {
            kind: "version",
            value: value.chars().take(200).collect(),
            rule: "$LATEST or a number from 1",
        };
        if value == "$LATEST" {
            return Ok(Self::Latest);
        }
        let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        match value.parse() {
            Ok(number) if plain && number > 0 => Ok(Self::Number(number)),
            _ => Err(invalid()),
        }
    }
}

impl Serialize for VersionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VersionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What follows a function's name in a reference: nothing, a version or an alias.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Qualifier {
    /// None was given; `$LATEST` is meant, but answers do not repeat it.
    #[default]
    Absent,
    /// A version was given.
    Version(VersionId),
    /// An alias was given.
    Alias(AliasName),
}

impl FromStr for Qualifier {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, InvalidName> {
        if let Ok(version) = value.parse() {
            return Ok(Self::Version(version));
        }
        value.parse().map(Self::Alias).map_err(|_| InvalidName {
            kind: "qualifier",
            value: value.chars().take(200).collect(),
            rule: "$LATEST, a version number or an alias",
        })
    }
}

/// A function in its account and region, whatever its version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FunctionId {
    /// The tenant that owns it.
    pub account: AccountId,
    /// The region it lives in.
    pub region: Region,
    /// Its name there.
    pub name: FunctionName,
}

impl FunctionId {
    /// A reference to this function without a qualifier.
    pub fn unqualified(&self) -> FunctionRef {
        FunctionRef {
            function: self.clone(),
            qualifier: Qualifier::Absent,
        }
    }
}

/// A layer in its account and region, whatever its version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayerId {
    /// The tenant that owns it.
    pub account: AccountId,
    /// The region it lives in.
    pub region: Region,
    /// Its name there.
    pub name: LayerName,
}

impl LogGroupName {
    /// The name of the group of a function whose author chose none.
    pub fn of_function(function: &FunctionName) -> Self {
        Self(format!("{}{function}", crate::log::OF_FUNCTIONS).into())
    }
}

/// A log group in its account and region.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogGroupId {
    /// The tenant that owns it.
    pub account: AccountId,
    /// The region it lives in.
    pub region: Region,
    /// Its name there.
    pub name: LogGroupName,
}

/// One immutable version of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayerVersionId {
    /// The layer.
    pub layer: LayerId,
    /// Its number, from 1.
    pub number: u64,
}

/// A function as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FunctionRef {
    /// The function.
    pub function: FunctionId,
    /// The version or alias that was asked for.
    pub qualifier: Qualifier,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_form() {
        assert!("hello-World_1".parse::<FunctionName>().is_ok());
        assert!("".parse::<FunctionName>().is_err());
        assert!("a/b".parse::<FunctionName>().is_err());
        assert!("x".repeat(65).parse::<FunctionName>().is_err());
        assert!("000000000000".parse::<AccountId>().is_ok());
        assert!("00000000000x".parse::<AccountId>().is_err());
        assert!("123".parse::<AliasName>().is_err());
    }

    #[test]
    fn qualifiers_tell_versions_from_aliases() {
        assert_eq!("$LATEST".parse(), Ok(Qualifier::Version(VersionId::Latest)));
        assert_eq!("7".parse(), Ok(Qualifier::Version(VersionId::Number(7))));
        assert!(matches!("live".parse(), Ok(Qualifier::Alias(_))));
        assert!("0".parse::<Qualifier>().is_err());
        assert!("+7".parse::<VersionId>().is_err());
    }

    #[test]
    fn uuids_carry_version_and_variant() {
        let id = InvocationId::from_random([0xff; 16]);
        assert_eq!(id.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert!(id.as_str().parse::<InvocationId>().is_ok());
        for wrong in [
            "-".repeat(36),
            "f".repeat(36),
            id.as_str().replace("4f", "-f"),
        ] {
            assert!(wrong.parse::<InvocationId>().is_err(), "{wrong}");
        }
    }
}
