//! Access keys in a data folder that no server has open.

use std::path::Path;
use std::sync::Arc;

use api::wire::{CreatedKey, Key};
use engine::keys::Keys;
use model::AccountId;
use store::{Clock, SystemClock};

use crate::node::Error;

/// The keys of a data folder.
#[derive(Debug)]
pub struct KeyFolder {
    keys: Keys,
}

impl KeyFolder {
    /// Opens a data folder, made where it is not there. One process at a time can have it open.
    pub async fn open(data: &Path) -> Result<Self, Error> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = store::Sqlite::open(data, Arc::clone(&clock))?;
        let keys = Keys::open(Arc::new(store), clock).await?;
        Ok(Self { keys })
    }

    /// The keys of all accounts.
    pub fn list(&self) -> Vec<Key> {
        self.keys.list_all().into_iter().map(Key::from).collect()
    }

    /// Makes a key.
    pub async fn create(&self, account: &AccountId, label: &str) -> Result<CreatedKey, Error> {
        create(&self.keys, account, label).await
    }

    /// Removes a key, whosever it is.
    pub async fn remove(&self, id: &str) -> Result<Key, Error> {
        let of = |key: &engine::keys::AccessKey| key.id == id;
        let found = self.keys.list_all().into_iter().find(of);
        let missing = || engine::Error::NotThere {
            thing: "access key",
            name: id.to_owned(),
        };
        let account = found.ok_or_else(missing)?.account;
        Ok(self.keys.remove(&account, id).await?.into())
    }
}

pub(crate) async fn create(
    keys: &Keys,
    account: &AccountId,
    label: &str,
) -> Result<CreatedKey, Error> {
    let (key, secret) = keys.create(account, label).await?;
    Ok(CreatedKey {
        key: key.into(),
        secret: secret.reveal().to_owned(),
    })
}
