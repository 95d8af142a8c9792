//! Who is asking, and whether they may.

use crate::id::{AccountId, FunctionId};

/// The authenticated caller of a verb.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// The owner of an account, or a key of theirs.
    Account(AccountId),
    /// Whoever calls a public function URL; may invoke that function and nothing else.
    Public,
    /// The platform itself, delivering an accepted event.
    Platform,
}

/// What a principal wants to do with a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Run it.
    Invoke,
    /// Read its settings, code or logs.
    Read,
    /// Change or remove it.
    Write,
}

/// Whether the principal may do anything at all with what an account has, unless a policy says
/// so.
pub fn may_use(principal: &Principal, owner: &AccountId) -> bool {
    match principal {
        Principal::Platform => true,
        Principal::Account(account) => account == owner,
        Principal::Public => false,
    }
}

/// Whether the principal may do this to the function. `public_url` tells that the request came
/// in through the function's own URL and that URL asks for no authentication.
pub fn may(principal: &Principal, action: Action, function: &FunctionId, public_url: bool) -> bool {
    match principal {
        Principal::Platform => true,
        Principal::Account(account) => *account == function.account,
        Principal::Public => action == Action::Invoke && public_url,
    }
}
