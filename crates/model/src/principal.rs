//! Who is asking, and whether they may.

use crate::id::{AccountId, FunctionId, InstanceId};

/// The authenticated caller of a verb.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// The owner of an account, or a key of theirs.
    Account(AccountId),
    /// Somebody in a role of an account; may do what the account may, but not have the platform
    /// itself controlled.
    Role {
        /// The account.
        account: AccountId,
        /// The role's name.
        role: String,
        /// What they call the session.
        session: String,
    },
    /// An instance of a function, by credentials of its own; may do what its account may, but not
    /// have the platform itself controlled.
    Instance {
        /// Which function, and so which account.
        function: FunctionId,
        /// Which of its instances.
        instance: InstanceId,
    },
    /// Whoever comes in through a function URL that asks for no signature; may do what a policy
    /// lets everybody do, and nothing else.
    Public,
    /// The platform itself, delivering an accepted event.
    Platform,
}

impl Principal {
    /// The account on whose behalf it asks, where there is one.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Account(account) | Self::Role { account, .. } => Some(account),
            Self::Instance { function, .. } => Some(&function.account),
            Self::Public | Self::Platform => None,
        }
    }
}

/// Whether the principal may do anything at all with what an account has, unless a policy says
/// so.
pub fn may_use(principal: &Principal, owner: &AccountId) -> bool {
    match principal {
        Principal::Platform => true,
        Principal::Public => false,
        Principal::Account(_) | Principal::Role { .. } | Principal::Instance { .. } => {
            principal.account() == Some(owner)
        }
    }
}

/// Whether the principal may use a log group of an account that shows the logs of these functions.
/// What runs in an instance may write and read groups that show none, and those of its own.
pub fn may_use_logs(principal: &Principal, owner: &AccountId, shown: &[FunctionId]) -> bool {
    let own = match principal {
        Principal::Instance { function, .. } => shown.iter().all(|shown| shown == function),
        _ => true,
    };
    own && may_use(principal, owner)
}

/// Whether the principal may use the platform's own control API. What runs in an instance is code
/// that nobody vouches for: it calls as on Lambda, and no more, also in a role that it took on.
pub fn may_control(principal: &Principal) -> bool {
    matches!(principal, Principal::Account(_) | Principal::Platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(account: &str) -> FunctionId {
        FunctionId {
            account: account.parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
            name: "hello".parse().unwrap(),
        }
    }

    #[test]
    fn an_instance_may_what_its_account_may_but_control() {
        let (own, other) = (function("000000000000"), function("111111111111"));
        let instance = Principal::Instance {
            function: own.clone(),
            instance: InstanceId::from_random([1; 16]),
        };
        assert!(may_use(&instance, &own.account) && !may_use(&instance, &other.account));
        let mut neighbour = own.clone();
        neighbour.name = "neighbour".parse().unwrap();
        let logs = |shown: &[&FunctionId]| {
            let shown: Vec<_> = shown.iter().map(|it| (*it).clone()).collect();
            may_use_logs(&instance, &own.account, &shown)
        };
        assert!(logs(&[]) && logs(&[&own]));
        assert!(!logs(&[&neighbour]) && !logs(&[&own, &neighbour]));
        let role = Principal::Role {
            account: own.account.clone(),
            role: "r".to_owned(),
            session: "s".to_owned(),
        };
        assert!(may_use(&role, &own.account) && !may_use(&role, &other.account));
        assert!(!may_use(&Principal::Public, &own.account));
        for nobody in [&instance, &role, &Principal::Public] {
            assert!(!may_control(nobody), "{nobody:?}");
        }
        assert!(may_control(&Principal::Account(own.account)));
    }
}
