//! How functions, versions and invocations are stored: JSON forms that later programs can read,
//! and the keys they are found by.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::retry::Policy;
use model::{AliasName, Cors, FunctionConfig, FunctionId, InvokeMode, UrlAuth, VersionId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::{Record, Store};

use crate::Error;
use crate::verb::Alias;

/// Functions with `$LATEST` and their aliases.
pub(crate) const FUNCTIONS: &str = "functions";
/// Published versions; never changed.
pub(crate) const VERSIONS: &str = "versions";
/// What became of each accepted event.
pub(crate) const INVOCATIONS: &str = "invocations";
/// Events that were given up, whole.
pub(crate) const DEAD_LETTERS: &str = "dead_letters";
/// Records read at once.
const PAGE: usize = 500;

/// A function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FunctionRecord {
    pub(crate) id: FunctionId,
    pub(crate) config: Arc<FunctionConfig>,
    pub(crate) changed_ms: u64,
    /// Grows with every change.
    pub(crate) revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reserved_concurrency: Option<u32>,
    /// Kept while the function has no URL too, so that it gets the same one again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url_port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<UrlRecord>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) alias_urls: BTreeMap<AliasName, AliasUrlRecord>,
    /// Number of the version that was published last; zero where none was.
    #[serde(default)]
    pub(crate) last_version: u64,
    /// What the function was described as then, where that version is described otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) aliases: BTreeMap<AliasName, AliasRecord>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    /// Who else may do what, by the qualifier that the statements are for; empty is none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) policies: BTreeMap<String, PolicyRecord>,
    /// How accepted events are tried, by qualifier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) retries: BTreeMap<String, RetryRecord>,
    /// Settings of the vendor's that nothing here reads, by their name: JSON text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) kept: BTreeMap<String, String>,
}

/// An alias.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "AliasForm")]
pub(crate) struct AliasRecord {
    pub(crate) routes: Vec<RouteRecord>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// Grows with every change.
    pub(crate) revision: u64,
}

/// Earlier programs kept the routes alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum AliasForm {
    Routes(Vec<RouteRecord>),
    Whole {
        routes: Vec<RouteRecord>,
        #[serde(default)]
        description: String,
        revision: u64,
    },
}

impl From<AliasForm> for AliasRecord {
    fn from(form: AliasForm) -> Self {
        match form {
            AliasForm::Routes(routes) => Self {
                routes,
                ..Self::default()
            },
            AliasForm::Whole {
                routes,
                description,
                revision,
            } => Self {
                routes,
                description,
                revision,
            },
        }
    }
}

/// Statements of a policy, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct PolicyRecord {
    pub(crate) statements: Vec<StatementRecord>,
    /// Grows with every change.
    pub(crate) revision: u64,
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatementRecord {
    pub(crate) id: String,
    /// JSON text.
    pub(crate) text: String,
}

/// How accepted events are tried.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct RetryRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retries_max: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) age_max_s: Option<u32>,
    pub(crate) changed_ms: u64,
}

/// A function's URL, as its author chose it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct UrlRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<Cors>,
    #[serde(default, skip_serializing_if = "InvokeMode::is_default")]
    pub(crate) invoke_mode: InvokeMode,
    #[serde(default, skip_serializing_if = "UrlAuth::is_default")]
    pub(crate) auth: UrlAuth,
    /// Zero where an earlier program made it.
    #[serde(default)]
    pub(crate) created_ms: u64,
    #[serde(default)]
    pub(crate) changed_ms: u64,
}

/// An alias's URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AliasUrlRecord {
    pub(crate) url_id: String,
    pub(crate) url: UrlRecord,
}

/// Where an alias leads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct RouteRecord {
    pub(crate) version: VersionId,
    pub(crate) weight: f64,
}

/// A published version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    pub(crate) function: FunctionId,
    pub(crate) number: u64,
    pub(crate) config: Arc<FunctionConfig>,
    pub(crate) published_ms: u64,
}

/// An accepted event and what has become of it so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InvocationRecord {
    pub(crate) function: FunctionId,
    /// Version or alias, where the caller named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) qualifier: Option<String>,
    pub(crate) accepted_ms: u64,
    pub(crate) state: EventState,
    /// Attempts so far, those included that the platform did not survive.
    #[serde(default)]
    pub(crate) attempts: u32,
    /// Those of them that the function failed.
    #[serde(default)]
    pub(crate) failures: u32,
    /// Those at the end, in a row, that did not count: refused, or failed by the platform.
    #[serde(default)]
    pub(crate) uncounted: u32,
    /// How the last attempt ended, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_ms: Option<u64>,
}

/// Where an accepted event stands. All but the first are ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventState {
    /// It is kept and will be tried, or tried again.
    Accepted,
    /// The function replied.
    Succeeded,
    /// The function failed as often as it may, or can no longer be found.
    DeadLettered,
    /// It grew too old.
    Expired,
}

impl FunctionRecord {
    /// A function of which nothing is decided but its settings and code.
    pub(crate) fn new(id: &FunctionId, config: Arc<FunctionConfig>) -> Self {
        Self {
            id: id.clone(),
            config,
            changed_ms: 0,
            revision: 0,
            reserved_concurrency: None,
            url_id: None,
            url_port: None,
            url: None,
            alias_urls: BTreeMap::new(),
            last_version: 0,
            last_description: None,
            aliases: BTreeMap::new(),
            tags: BTreeMap::new(),
            policies: BTreeMap::new(),
            retries: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Its aliases and where each leads.
    pub(crate) fn aliases(&self) -> Vec<Alias> {
        let aliases = self.aliases.iter();
        aliases.map(|(name, alias)| alias.view(name)).collect()
    }

    /// How accepted events of this qualifier are tried.
    pub(crate) fn retry_policy(&self, qualifier: &str) -> Policy {
        let default = Policy::default();
        let Some(retries) = self.retries.get(qualifier) else {
            return default;
        };
        let age_max = retries.age_max_s.map(|age| Duration::from_secs(age.into()));
        Policy {
            retries_max: retries.retries_max.unwrap_or(default.retries_max),
            age_max: age_max.unwrap_or(default.age_max),
        }
    }
}

impl AliasRecord {
    pub(crate) fn view(&self, name: &AliasName) -> Alias {
        let routes = self.routes.iter();
        Alias {
            name: name.clone(),
            routes: routes.map(|route| (route.version, route.weight)).collect(),
            description: self.description.clone(),
            revision: self.revision,
        }
    }
}

/// The key of a function's record.
pub(crate) fn function_key(id: &FunctionId) -> String {
    format!("{}/{}/{}", id.account, id.region, id.name)
}

/// The key of a version's record: in byte order, versions stand in their order.
pub(crate) fn version_key(id: &FunctionId, number: u64) -> String {
    format!("{}/{number:020}", function_key(id))
}

/// The key of a dead letter: a function's stand together.
pub(crate) fn dead_letter_key(id: &FunctionId, invocation: &str) -> String {
    format!("{}/{invocation}", function_key(id))
}

/// The key of what is left of an event of which not even the function is known.
pub(crate) fn unreadable_key(invocation: &str) -> String {
    format!("unreadable/{invocation}")
}

/// A value's stored form.
pub(crate) fn write<T: Serialize>(key: &str, value: &T) -> Result<Bytes, Error> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| unknown(key, &error))
}

/// A value from its stored form.
pub(crate) fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|error| unknown(key, &error))
}

fn unknown(key: &str, error: &serde_json::Error) -> Error {
    Error::UnknownForm {
        key: key.to_owned(),
        detail: error.to_string(),
    }
}

/// All functions, with the store's revision of each.
pub(crate) async fn functions(store: &dyn Store) -> Result<Vec<(FunctionRecord, u64)>, Error> {
    let records = all(store, FUNCTIONS).await?;
    let known = |record: Record| Ok((read(&record.key, &record.value)?, record.revision));
    records.into_iter().map(known).collect()
}

/// All published versions, by function and number.
pub(crate) async fn versions(
    store: &dyn Store,
) -> Result<HashMap<FunctionId, BTreeMap<u64, VersionRecord>>, Error> {
    let mut versions: HashMap<FunctionId, BTreeMap<u64, VersionRecord>> = HashMap::new();
    for record in all(store, VERSIONS).await? {
        let version: VersionRecord = read(&record.key, &record.value)?;
        versions
            .entry(version.function.clone())
            .or_default()
            .insert(version.number, version);
    }
    Ok(versions)
}

pub(crate) async fn all(store: &dyn Store, collection: &str) -> Result<Vec<Record>, Error> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let after = records.last().map(|record| record.key.clone());
        let page = store.list(collection, "", after.as_deref(), PAGE).await?;
        let last = page.len() < PAGE;
        records.extend(page);
        if last {
            return Ok(records);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
