//! Tokens of sessions: what they claim, and the seal that proves it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use model::{AccountId, FunctionId, FunctionName, InstanceId, Region};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Identity, Who, base32};

/// Bytes of a seal.
const SEAL_BYTES: usize = 32;
/// Longest token that is looked at, in bytes (ours; the longest that are made have some 600).
const TOKEN_BYTES_MAX: usize = 4096;
/// The form that this program writes.
const VERSION: u8 = 1;

/// What each secret is used for: a seal must say nothing of a secret key.
const TO_SEAL: &[u8] = b"seal/";
const TO_NAME: &[u8] = b"access-key/";
const TO_SIGN: &[u8] = b"secret-key/";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    #[serde(rename = "v")]
    version: u8,
    #[serde(rename = "e")]
    pub(super) epoch: u64,
    /// When it ends, in milliseconds since the Unix epoch.
    #[serde(rename = "t")]
    pub(super) until_ms: u64,
    /// The access key that it was made for, and ends with.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
    #[serde(rename = "a")]
    account: AccountId,
    #[serde(flatten)]
    who: WhoClaim,
    /// Makes two tokens that claim the same differ.
    #[serde(rename = "n")]
    nonce: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "w", rename_all = "snake_case")]
enum WhoClaim {
    Owner,
    Role {
        role: String,
        session: String,
    },
    Instance {
        role: String,
        region: Region,
        function: FunctionName,
        instance: InstanceId,
    },
}

impl Claims {
    pub(super) fn new(identity: &Identity, epoch: u64, until_ms: u64, nonce: [u8; 16]) -> Self {
        let who = match &identity.who {
            Who::Owner => WhoClaim::Owner,
            Who::Role { role, session } => WhoClaim::Role {
                role: role.clone(),
                session: session.clone(),
            },
            Who::Instance {
                role,
                function,
                instance,
            } => WhoClaim::Instance {
                role: role.clone(),
                region: function.region.clone(),
                function: function.name.clone(),
                instance: instance.clone(),
            },
        };
        Self {
            version: VERSION,
            epoch,
            until_ms,
            by: identity.key.clone(),
            account: identity.account.clone(),
            who,
            nonce: URL_SAFE_NO_PAD.encode(nonce),
        }
    }

    /// The token.
    pub(super) fn sealed(&self, secret: &[u8]) -> String {
        // Strings and numbers: there is nothing in it that JSON could not hold.
        let claims = serde_json::to_vec(self).unwrap_or_default();
        let mut bytes = mac(secret, TO_SEAL, &claims).to_vec();
        bytes.extend_from_slice(&claims);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token says, if it was sealed here.
    pub(super) fn read(token: &str, secret: &[u8]) -> Option<Self> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (seal, claims) = bytes.split_at_checked(SEAL_BYTES)?;
        // Compares in constant time.
        keyed(secret, TO_SEAL, claims)?.verify_slice(seal).ok()?;
        let claims: Self = serde_json::from_slice(claims).ok()?;
        (claims.version == VERSION).then_some(claims)
    }

    /// Whom it is of.
    pub(super) fn identity(self) -> Identity {
        let account = self.account;
        let who = match self.who {
            WhoClaim::Owner => Who::Owner,
            WhoClaim::Role { role, session } => Who::Role { role, session },
            WhoClaim::Instance {
                role,
                region,
                function,
                instance,
            } => Who::Instance {
                role,
                function: FunctionId {
                    account: account.clone(),
                    region,
                    name: function,
                },
                instance,
            },
        };
        let key = self.by;
        Identity { account, key, who }
    }
}

/// The access key id that goes with a token.
pub(super) fn access_key(secret: &[u8], token: &str) -> String {
    let mac = mac(secret, TO_NAME, token.as_bytes());
    format!("ASIA{}", base32(&mac[..10]))
}

/// The secret key that goes with a token.
pub(super) fn secret(secret: &[u8], token: &str) -> String {
    let mac = mac(secret, TO_SIGN, token.as_bytes());
    STANDARD.encode(&mac[..30])
}

fn mac(secret: &[u8], purpose: &[u8], message: &[u8]) -> [u8; SEAL_BYTES] {
    keyed(secret, purpose, message)
        .map_or([0; SEAL_BYTES], |mac| mac.finalize().into_bytes().into())
}

fn keyed(secret: &[u8], purpose: &[u8], message: &[u8]) -> Option<Hmac<Sha256>> {
    // Any length of key will do; there is no error to come.
    let mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    Some(mac.chain_update(purpose).chain_update(message))
}
