//! The access keys of the caller's account.

use engine::keys::AccessKey;

use crate::body::collect;
use crate::error::Refusal;
use crate::{Api, Body, wire};

/// Largest description of a key, in bytes (ours).
const NEW_KEY_BYTES_MAX: usize = 16 * 1024;

impl Api {
    pub(crate) fn keys(&self) -> Vec<wire::Key> {
        let keys = self.engine.keys().list(&self.settings.account);
        keys.into_iter().map(wire::Key::from).collect()
    }

    pub(crate) async fn create_key(&self, body: Body) -> Result<wire::CreatedKey, Refusal> {
        let text = collect(body, NEW_KEY_BYTES_MAX).await?;
        let new: wire::NewKey = match &*text {
            b"" => wire::NewKey::default(),
            text => serde_json::from_slice(text)
                .map_err(|error| Refusal::invalid(&format!("the key is no JSON: {error}")))?,
        };
        let keys = self.engine.keys();
        let (key, secret) = keys.create(&self.settings.account, &new.label).await?;
        Ok(wire::CreatedKey {
            key: key.into(),
            secret: secret.reveal().to_owned(),
        })
    }

    pub(crate) async fn remove_key(&self, id: &str) -> Result<wire::Key, Refusal> {
        let keys = self.engine.keys();
        Ok(keys.remove(&self.settings.account, id).await?.into())
    }
}

impl From<AccessKey> for wire::Key {
    fn from(key: AccessKey) -> Self {
        Self {
            id: key.id,
            account: key.account.to_string(),
            label: key.label,
            created_ms: key.created_ms,
        }
    }
}
