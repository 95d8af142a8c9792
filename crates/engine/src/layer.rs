//! Layers: folders of files that functions share, in immutable versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::principal::may_use;
use model::{Code, LayerId, LayerVersionId, Principal, limit};
use serde::{Deserialize, Serialize};
use store::{Expect, Op, Store, Transaction};

use crate::apply::check_expected;
use crate::catalog::code_trees;
use crate::record::{self, PolicyRecord, StatementRecord};
use crate::verb::{Expected, LayerPublication, LayerView, Statement};
use crate::{Error, Shared};

/// Layers, each with the number of its last version, which no other version ever gets.
const LAYERS: &str = "layers";
/// Versions of layers.
const VERSIONS: &str = "layer_versions";

/// What a version of a layer is called in errors.
const THING: &str = "layer version";

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LayerRecord {
    id: LayerId,
    last_version: u64,
}

/// A version of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LayerVersionRecord {
    id: LayerVersionId,
    code: Code,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    license: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    runtimes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    architectures: Vec<String>,
    created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyRecord>,
}

/// Every layer of every account, as one immutable snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers {
    known: BTreeMap<LayerId, Layer>,
}

#[derive(Debug, Clone, Default)]
struct Layer {
    last_version: u64,
    /// The store's revision of the layer's record; none is not stored yet.
    stored: Option<u64>,
    versions: BTreeMap<u64, (Arc<LayerView>, u64)>,
}

impl Layers {
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, Error> {
        let mut layers = Self::default();
        for stored in record::all(store, LAYERS).await? {
            let layer: LayerRecord = record::read(&stored.key, &stored.value)?;
            let known = layers.known.entry(layer.id).or_default();
            (known.last_version, known.stored) = (layer.last_version, Some(stored.revision));
        }
        for stored in record::all(store, VERSIONS).await? {
            let version: LayerVersionRecord = record::read(&stored.key, &stored.value)?;
            let known = layers.known.entry(version.id.layer.clone()).or_default();
            let number = version.id.number;
            known
                .versions
                .insert(number, (Arc::new(version.view()), stored.revision));
        }
        Ok(layers)
    }

    fn version(&self, id: &LayerVersionId) -> Result<&(Arc<LayerView>, u64), Error> {
        let layer = self.known.get(&id.layer);
        let found = layer.and_then(|layer| layer.versions.get(&id.number));
        found.ok_or_else(|| Error::NotThere {
            thing: THING,
            name: model::arn::layer_version(id),
        })
    }

    /// Code of all versions.
    pub(crate) fn code(&self) -> impl Iterator<Item = &Code> {
        let versions = self
            .known
            .values()
            .flat_map(|layer| layer.versions.values());
        versions.map(|(version, _)| &version.code)
    }
}

impl Shared {
    pub(crate) async fn publish_layer(
        self: &Arc<Self>,
        who: &Principal,
        publication: LayerPublication,
    ) -> Result<Arc<LayerView>, Error> {
        self.may_write_layer(who, "publish", &publication.layer)?;
        if publication.code.size_bytes > limit::UNPACKED_BYTES_MAX {
            let given = publication.code.size_bytes;
            return Err(model::ValidationError::CodeSize { given }.into());
        }
        let shared = Arc::clone(self);
        self.finish(async move { shared.add_layer_version(publication).await })
            .await
    }

    async fn add_layer_version(
        &self,
        publication: LayerPublication,
    ) -> Result<Arc<LayerView>, Error> {
        let _writing = self.writing.lock().await;
        let id = publication.layer.clone();
        let before = self
            .layers
            .load()
            .known
            .get(&id)
            .cloned()
            .unwrap_or_default();
        let number = before.last_version + 1;
        let version = LayerVersionRecord {
            id: LayerVersionId {
                layer: id.clone(),
                number,
            },
            code: publication.code,
            description: publication.description,
            license: publication.license,
            runtimes: publication.runtimes,
            architectures: publication.architectures,
            created_ms: self.clock.now_ms(),
            policy: None,
        };
        let layer = LayerRecord {
            id: id.clone(),
            last_version: number,
        };
        let key = layer_key(&id);
        let put_layer = Op::Put {
            collection: LAYERS,
            value: record::write(&key, &layer)?,
            key,
            expect: before.stored.map_or(Expect::Absent, Expect::Revision),
        };
        let put_version = put(&version, Expect::Absent)?;
        let transaction = Transaction::of(put_layer).and(put_version);
        let revisions = self.store.commit(transaction).await?;
        let revision = |at: usize| revisions.get(at).copied().unwrap_or_default();
        let view = Arc::new(version.view());
        self.swap_layers(|layers| {
            let known = layers.known.entry(id).or_default();
            (known.last_version, known.stored) = (number, Some(revision(0)));
            known
                .versions
                .insert(number, (Arc::clone(&view), revision(1)));
        });
        self.trees
            .recorded(code_trees(&view.code).iter().map(|it| it.as_str()));
        Ok(view)
    }

    /// Removes a version; functions that have it keep it.
    pub(crate) async fn remove_layer(
        self: &Arc<Self>,
        who: &Principal,
        id: &LayerVersionId,
    ) -> Result<(), Error> {
        self.may_write_layer(who, "remove", &id.layer)?;
        let (shared, id) = (Arc::clone(self), id.clone());
        self.finish(async move {
            let _writing = shared.writing.lock().await;
            if shared.layers.load().version(&id).is_err() {
                return Ok(());
            }
            let delete = Op::Delete {
                collection: VERSIONS,
                key: version_key(&id),
                expect: Expect::Any,
            };
            shared.store.commit(Transaction::of(delete)).await?;
            shared.swap_layers(|layers| {
                if let Some(layer) = layers.known.get_mut(&id.layer) {
                    layer.versions.remove(&id.number);
                }
            });
            shared.instances.left_over.notify_one();
            Ok(())
        })
        .await
    }

    /// Adds a statement to a version's policy, or removes one.
    pub(crate) async fn change_layer_policy(
        self: &Arc<Self>,
        who: &Principal,
        id: &LayerVersionId,
        expected: Expected,
        change: PolicyChange,
    ) -> Result<(), Error> {
        self.may_write_layer(who, "change the policy of", &id.layer)?;
        let (shared, id) = (Arc::clone(self), id.clone());
        self.finish(async move {
            let _writing = shared.writing.lock().await;
            let (view, stored) = shared.layers.load().version(&id)?.clone();
            let mut version = LayerVersionRecord::of(&view);
            let revision = version.policy.as_ref().map(|policy| policy.revision);
            if expected != Expected::Anything {
                check_expected(
                    expected,
                    revision,
                    "policy",
                    &model::arn::layer_version(&id),
                )?;
            }
            version.policy = changed_policy(version.policy, change)?;
            let transaction = Transaction::of(put(&version, Expect::Revision(stored))?);
            let revisions = shared.store.commit(transaction).await?;
            let revision = revisions.first().copied().unwrap_or_default();
            shared.swap_layers(|layers| {
                if let Some(layer) = layers.known.get_mut(&id.layer) {
                    let view = Arc::new(version.view());
                    layer.versions.insert(id.number, (view, revision));
                }
            });
            Ok(())
        })
        .await
    }

    pub(crate) fn layer(
        &self,
        who: &Principal,
        id: &LayerVersionId,
    ) -> Result<Arc<LayerView>, Error> {
        let layers = self.layers.load();
        let (view, _) = layers.version(id)?;
        let asked = model::policy::Asked {
            account: who.account(),
            action: "lambda:GetLayerVersion",
            url: None,
        };
        let shared = view.policy.as_ref().is_some_and(|policy| {
            let mut texts = policy.statements.iter();
            texts.any(|it| model::policy::allows(&it.text, &asked))
        });
        if !shared {
            self.may_use_layer(who, "use", &id.layer)?;
        }
        Ok(Arc::clone(view))
    }

    pub(crate) fn layer_versions(
        &self,
        who: &Principal,
        id: &LayerId,
    ) -> Result<Vec<Arc<LayerView>>, Error> {
        self.may_use_layer(who, "list", id)?;
        let layers = self.layers.load();
        let versions = layers.known.get(id).map(|layer| layer.versions.values());
        Ok(versions
            .into_iter()
            .flatten()
            .rev()
            .map(|(view, _)| Arc::clone(view))
            .collect())
    }

    /// The newest version of each of the account's layers in a region, by name.
    pub(crate) fn newest_layers(
        &self,
        account: &model::AccountId,
        region: &model::Region,
    ) -> Vec<Arc<LayerView>> {
        let layers = self.layers.load();
        let of = |id: &LayerId| id.account == *account && id.region == *region;
        let known = layers.known.iter().filter(|(id, _)| of(id));
        let newest = known.filter_map(|(_, layer)| layer.versions.values().next_back());
        newest.map(|(view, _)| Arc::clone(view)).collect()
    }

    fn may_write_layer(
        &self,
        who: &Principal,
        doing: &'static str,
        layer: &LayerId,
    ) -> Result<(), Error> {
        if self.in_flight.is_stopping() {
            return Err(Error::Stopping);
        }
        self.may_use_layer(who, doing, layer)
    }

    fn may_use_layer(
        &self,
        who: &Principal,
        doing: &'static str,
        layer: &LayerId,
    ) -> Result<(), Error> {
        if may_use(who, &layer.account) {
            return Ok(());
        }
        Err(Error::NotAllowed {
            doing,
            name: model::arn::layer(layer),
        })
    }

    fn swap_layers(&self, change: impl FnOnce(&mut Layers)) {
        let mut layers = Layers::clone(&self.layers.load());
        change(&mut layers);
        self.layers.store(Arc::new(layers));
    }
}

/// A change of a policy.
#[derive(Debug)]
pub(crate) enum PolicyChange {
    Add(Statement),
    Remove(String),
}

/// The policy after a change; none where nothing is left of it.
pub(crate) fn changed_policy(
    before: Option<PolicyRecord>,
    change: PolicyChange,
) -> Result<Option<PolicyRecord>, Error> {
    let mut policy = before.unwrap_or_default();
    let thing = "statement";
    match change {
        PolicyChange::Add(Statement { id, text }) => {
            if policy.statements.iter().any(|known| known.id == id) {
                return Err(Error::AlreadyThere { thing, name: id });
            }
            policy.statements.push(StatementRecord { id, text });
            let given = policy.statements.iter().map(|it| it.text.len() + 1).sum();
            if given > limit::POLICY_BYTES_MAX {
                let what = "bytes of policy";
                let max = limit::POLICY_BYTES_MAX;
                return Err(Error::TooMany { what, given, max });
            }
        }
        PolicyChange::Remove(id) => {
            let before = policy.statements.len();
            policy.statements.retain(|known| known.id != id);
            if policy.statements.len() == before {
                return Err(Error::NotThere { thing, name: id });
            }
        }
    }
    policy.revision += 1;
    Ok((!policy.statements.is_empty()).then_some(policy))
}

impl LayerVersionRecord {
    fn view(&self) -> LayerView {
        LayerView {
            id: self.id.clone(),
            code: self.code.clone(),
            description: self.description.clone(),
            license: self.license.clone(),
            runtimes: self.runtimes.clone(),
            architectures: self.architectures.clone(),
            created_ms: self.created_ms,
            policy: self.policy.as_ref().map(PolicyRecord::view),
        }
    }

    fn of(view: &LayerView) -> Self {
        Self {
            id: view.id.clone(),
            code: view.code.clone(),
            description: view.description.clone(),
            license: view.license.clone(),
            runtimes: view.runtimes.clone(),
            architectures: view.architectures.clone(),
            created_ms: view.created_ms,
            policy: view.policy.as_ref().map(PolicyRecord::of),
        }
    }
}

fn put(version: &LayerVersionRecord, expect: Expect) -> Result<Op, Error> {
    let key = version_key(&version.id);
    Ok(Op::Put {
        collection: VERSIONS,
        value: record::write(&key, version)?,
        key,
        expect,
    })
}

fn layer_key(id: &LayerId) -> String {
    format!("{}/{}/{}", id.account, id.region, id.name)
}

/// In byte order, versions stand in their order.
fn version_key(id: &LayerVersionId) -> String {
    format!("{}/{:020}", layer_key(&id.layer), id.number)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use model::Digest;

    use super::*;

    #[test]
    fn the_stored_form() {
        let layer = LayerId {
            account: "000000000000".parse().unwrap(),
            region: "eu-west-1".parse().unwrap(),
            name: "tools".parse().unwrap(),
        };
        let id = LayerVersionId { layer, number: 3 };
        let digest = Digest::from_bytes([1; 32]);
        let version = LayerVersionRecord {
            code: Code {
                archive: Some(model::Archive {
                    sha256: digest.clone(),
                    size_bytes: 9,
                    tree: digest.clone(),
                }),
                layer: Some(id.clone()),
                ..Code::folder(digest, 10)
            },
            id,
            description: "tools".into(),
            license: Some("MIT".into()),
            runtimes: vec!["python3.12".into()],
            architectures: vec!["arm64".into()],
            created_ms: 1_767_225_600_000,
            policy: Some(PolicyRecord {
                statements: vec![StatementRecord {
                    id: "all".into(),
                    text: "{}".into(),
                }],
                revision: 1,
            }),
        };
        let stored = record::write("key", &version).unwrap();
        expect![[r#"{"id":{"layer":{"account":"000000000000","region":"eu-west-1","name":"tools"},"number":3},"code":{"digest":"0101010101010101010101010101010101010101010101010101010101010101","size_bytes":10,"archive":{"sha256":"0101010101010101010101010101010101010101010101010101010101010101","size_bytes":9,"tree":"0101010101010101010101010101010101010101010101010101010101010101"},"layer":{"layer":{"account":"000000000000","region":"eu-west-1","name":"tools"},"number":3}},"description":"tools","license":"MIT","runtimes":["python3.12"],"architectures":["arm64"],"created_ms":1767225600000,"policy":{"statements":[{"id":"all","text":"{}"}],"revision":1}}"#]].assert_eq(&String::from_utf8_lossy(&stored));
        let read: LayerVersionRecord = record::read("key", &stored).unwrap();
        assert_eq!(read, version);
    }
}
