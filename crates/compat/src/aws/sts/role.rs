//! Roles as callers name them.

use model::AccountId;

use crate::aws::query::{QueryError, VALIDATION};

/// A role, by its ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) account: AccountId,
    /// Without its path.
    pub(super) name: String,
}

impl Role {
    /// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`.
    pub(super) fn read(arn: &str) -> Result<Self, QueryError> {
        let invalid = || QueryError::new(VALIDATION, format!("{arn} is invalid"));
        let parts: Vec<_> = arn.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account, role] = parts[..] else {
            return Err(invalid());
        };
        let name = role
            .strip_prefix("role/")
            .and_then(|path| path.rsplit('/').next());
        let name =
            name.filter(|name| (1..=64).contains(&name.len()) && name.chars().all(is_letter));
        match (account.parse(), name) {
            (Ok(account), Some(name)) if partition.starts_with("aws") => Ok(Self {
                arn: arn.to_owned(),
                account,
                name: name.to_owned(),
            }),
            _ => Err(invalid()),
        }
    }
}

/// What names of roles are made of.
fn is_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter)
}
