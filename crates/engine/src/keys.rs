//! Who callers are: access keys of accounts, which are records, and temporary credentials, which
//! are none. A session's token says itself whose it is and until when, under a seal that only a
//! holder of the store's secret can make, and its secret key follows from it: every node over
//! the same store can verify it. How a request is signed is not known here.

mod session;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{AccountId, FunctionId, InstanceId, Principal, limit};
use serde::{Deserialize, Serialize};
use store::{Clock, Expect, Op, Store, Transaction};

use crate::Error;
use crate::record::{all, read, write};
use session::Claims;

/// Access keys, by their ids.
const ACCESS_KEYS: &str = "access_keys";
/// What seals the tokens of sessions.
const SESSIONS: &str = "sessions";
/// Key of the one record there.
const SEAL: &str = "seal";

/// The access keys, and what makes and reads temporary credentials. A cheap handle.
#[derive(Debug, Clone)]
pub struct Keys {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    known: ArcSwap<Known>,
    /// Held by whoever changes what is known, so that changes are seen in the order they are kept.
    writing: tokio::sync::Mutex<()>,
}

/// All that requests are checked against, in memory.
#[derive(Debug, Clone)]
struct Known {
    keys: BTreeMap<String, KeyRecord>,
    seal: SealRecord,
}

/// An access key as it is stored. The secret is kept as it is: whoever verifies a signature needs
/// what it was made with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyRecord {
    id: String,
    secret: String,
    account: AccountId,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    label: String,
    created_ms: u64,
}

/// What seals the tokens of sessions.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SealRecord {
    /// 32 random bytes, as base64.
    secret: String,
    /// Grows when all sessions are ended.
    epoch: u64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the store, which may hold in memory what nobody is to see.
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRecord")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SealRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealRecord")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// A secret key. It is shown by nothing but [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret key that was told.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text, for whoever signs, verifies, or hands it to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An access key as its owner sees it later: without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id, as `AKIA` and sixteen more.
    pub id: String,
    /// Whose it is.
    pub account: AccountId,
    /// What its owner calls it; may be empty.
    pub label: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// Credentials that end by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Their access key id, as `ASIA` and sixteen more.
    pub access_key: String,
    /// Their secret key.
    pub secret: Secret,
    /// What has to be sent along.
    pub token: String,
    /// When they end, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// Whom credentials are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// The access key that it began with, if with one: what is given to them ends with it.
    pub key: Option<String>,
    /// Who in the account.
    pub who: Who,
}

/// Who in an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Its owner, by an access key or without any where none is asked for.
    Owner,
    /// Somebody who took on a role.
    Role {
        /// The role's name.
        role: String,
        /// What they call the session.
        session: String,
    },
    /// An instance of a function, in the function's role.
    Instance {
        /// The role's name.
        role: String,
        /// Which function.
        function: FunctionId,
        /// Which of its instances.
        instance: InstanceId,
    },
}

impl Identity {
    /// The owner of an account.
    pub fn owner(account: AccountId) -> Self {
        Self {
            account,
            key: None,
            who: Who::Owner,
        }
    }

    /// What verbs are asked as.
    pub fn principal(&self) -> Principal {
        match &self.who {
            Who::Owner => Principal::Account(self.account.clone()),
            Who::Role { role, session } => Principal::Role {
                account: self.account.clone(),
                role: role.clone(),
                session: session.clone(),
            },
            Who::Instance {
                function, instance, ..
            } => Principal::Instance {
                function: function.clone(),
                instance: instance.clone(),
            },
        }
    }
}

/// Why credentials are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such access key, or the token is another's.
    #[error("there is no such access key")]
    UnknownKey,
    /// The token was not made here, or was taken back.
    #[error("the session token is invalid")]
    InvalidToken,
    /// The session has ended.
    #[error("the session has ended")]
    Expired,
}

impl Keys {
    /// Loads what there is; makes the seal where there is none.
    pub async fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let seal = seal(&*store, &*clock).await?;
        let mut keys = BTreeMap::new();
        for record in all(&*store, ACCESS_KEYS).await? {
            let key: KeyRecord = read(&record.key, &record.value)?;
            keys.insert(record.key, key);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                store,
                clock,
                known: ArcSwap::from_pointee(Known { keys, seal }),
                writing: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// Makes a key of an account. Its secret is told here and never again.
    pub async fn create(
        &self,
        account: &AccountId,
        label: &str,
    ) -> Result<(AccessKey, Secret), Error> {
        let _writing = self.shared.writing.lock().await;
        let given = self.list(account).len() + 1;
        if given > limit::ACCESS_KEYS_MAX {
            return Err(Error::TooMany {
                what: "access keys",
                given,
                max: limit::ACCESS_KEYS_MAX,
            });
        }
        let label: String = label.chars().take(limit::LABEL_CHARS_MAX).collect();
        let (mut id, mut secret) = ([0; 10], [0; 30]);
        self.shared.clock.random(&mut id);
        self.shared.clock.random(&mut secret);
        let key = KeyRecord {
            id: format!("AKIA{}", base32(&id)),
            secret: STANDARD.encode(secret),
            account: account.clone(),
            label,
            created_ms: self.shared.clock.now_ms(),
        };
        let put = Op::Put {
            collection: ACCESS_KEYS,
            key: key.id.clone(),
            value: write(&key.id, &key)?,
            expect: Expect::Absent,
        };
        self.shared.store.commit(Transaction::of(put)).await?;
        self.learn(|known| drop(known.keys.insert(key.id.clone(), key.clone())));
        Ok((key.view(), Secret(key.secret)))
    }

    /// The keys of an account, by id.
    pub fn list(&self, account: &AccountId) -> Vec<AccessKey> {
        let known = self.shared.known.load();
        let own = known.keys.values().filter(|key| key.account == *account);
        own.map(KeyRecord::view).collect()
    }

    /// The keys of all accounts, by id.
    pub fn list_all(&self) -> Vec<AccessKey> {
        let known = self.shared.known.load();
        known.keys.values().map(KeyRecord::view).collect()
    }

    /// Removes a key of an account. It ends at once, and with it the sessions that began with it.
    pub async fn remove(&self, account: &AccountId, id: &str) -> Result<AccessKey, Error> {
        let _writing = self.shared.writing.lock().await;
        let missing = || Error::NotThere {
            thing: "access key",
            name: id.chars().take(100).collect(),
        };
        let known = self.shared.known.load_full();
        let key = known.keys.get(id).filter(|key| key.account == *account);
        let key = key.ok_or_else(missing)?;
        let delete = Op::Delete {
            collection: ACCESS_KEYS,
            key: key.id.clone(),
            expect: Expect::Any,
        };
        self.shared.store.commit(Transaction::of(delete)).await?;
        self.learn(|known| drop(known.keys.remove(id)));
        Ok(key.view())
    }

    /// Ends all sessions, those of instances too.
    pub async fn end_sessions(&self) -> Result<(), Error> {
        let _writing = self.shared.writing.lock().await;
        let mut seal = self.shared.known.load().seal.clone();
        seal.epoch += 1;
        let put = Op::Put {
            collection: SESSIONS,
            key: SEAL.to_owned(),
            value: write(SEAL, &seal)?,
            expect: Expect::Any,
        };
        self.shared.store.commit(Transaction::of(put)).await?;
        self.learn(|known| known.seal = seal);
        Ok(())
    }

    /// Credentials that end after a while, and before that with the access key that they began
    /// with.
    pub fn issue(&self, identity: &Identity, lasts: Duration) -> Credentials {
        let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = self.shared.clock.now_ms().saturating_add(lasts_ms);
        let known = self.shared.known.load();
        let nonce = self.shared.clock.random_id();
        let claims = Claims::new(identity, known.seal.epoch, expires_ms, nonce);
        let token = claims.sealed(known.seal.secret.as_bytes());
        Credentials {
            access_key: session::access_key(known.seal.secret.as_bytes(), &token),
            secret: Secret(session::secret(known.seal.secret.as_bytes(), &token)),
            token,
            expires_ms,
        }
    }

    /// Whom an access key, and the token that came with it, are of, and the secret that they must
    /// be signed with.
    pub fn find(
        &self,
        access_key: &str,
        token: Option<&str>,
    ) -> Result<(Identity, Secret), Refused> {
        let known = self.shared.known.load();
        let Some(token) = token else {
            let key = known.keys.get(access_key).ok_or(Refused::UnknownKey)?;
            let identity = Identity {
                key: Some(key.id.clone()),
                ..Identity::owner(key.account.clone())
            };
            return Ok((identity, Secret(key.secret.clone())));
        };
        let identity = self.session(token)?;
        let seal = known.seal.secret.as_bytes();
        if session::access_key(seal, token) != access_key {
            return Err(Refused::UnknownKey);
        }
        Ok((identity, Secret(session::secret(seal, token))))
    }

    /// Whom a session's token is of.
    pub fn session(&self, token: &str) -> Result<Identity, Refused> {
        let known = self.shared.known.load();
        let claims = Claims::read(token, known.seal.secret.as_bytes());
        let claims = claims.ok_or(Refused::InvalidToken)?;
        let gone = |by: &String| !known.keys.contains_key(by);
        if claims.epoch != known.seal.epoch || claims.by.as_ref().is_some_and(gone) {
            return Err(Refused::InvalidToken);
        }
        if claims.until_ms <= self.shared.clock.now_ms() {
            return Err(Refused::Expired);
        }
        Ok(claims.identity())
    }

    fn learn(&self, change: impl FnOnce(&mut Known)) {
        let mut known = Known::clone(&self.shared.known.load());
        change(&mut known);
        self.shared.known.store(Arc::new(known));
    }
}

impl KeyRecord {
    fn view(&self) -> AccessKey {
        AccessKey {
            id: self.id.clone(),
            account: self.account.clone(),
            label: self.label.clone(),
            created_ms: self.created_ms,
        }
    }
}

/// The store's seal, made where it has none. Of several nodes that make one the first wins.
async fn seal(store: &dyn Store, clock: &dyn Clock) -> Result<SealRecord, Error> {
    if let Some(record) = store.get(SESSIONS, SEAL).await? {
        return read(SEAL, &record.value);
    }
    let mut secret = [0; 32];
    clock.random(&mut secret);
    let seal = SealRecord {
        secret: STANDARD.encode(secret),
        epoch: 0,
    };
    let put = Op::Put {
        collection: SESSIONS,
        key: SEAL.to_owned(),
        value: write(SEAL, &seal)?,
        expect: Expect::Absent,
    };
    match store.commit(Transaction::of(put)).await {
        Ok(_) => Ok(seal),
        Err(error) => match store.get(SESSIONS, SEAL).await? {
            Some(record) => read(SEAL, &record.value),
            None => Err(error.into()),
        },
    }
}

/// Capital letters and digits, five bits each (RFC 4648, without padding).
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let letter = |first: usize| {
        let place = (first..first + 5).fold(0, |value, at| value << 1 | bit(at));
        char::from(LETTERS[usize::from(place)])
    };
    (0..bytes.len() * 8).step_by(5).map(letter).collect()
}

#[cfg(test)]
mod tests;
