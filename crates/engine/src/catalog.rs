//! What is deployed, as one immutable snapshot that invocations read without a lock. Changes
//! make a new snapshot; see `deploy`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use model::{
    AccountId, AliasName, Code, Digest, FunctionConfig, FunctionId, FunctionRef, Qualifier, Region,
    VersionId,
};
use parking_lot::RwLock;
use store::{Clock, Store};

use crate::Error;
use crate::admission::{Account, Gate};
use crate::deliver::Wake;
use crate::pool::Pool;
use crate::record::{self, FunctionRecord, VersionRecord};
use crate::verb::{FunctionView, UrlView};

/// Every function of every account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    functions: HashMap<FunctionId, Arc<Entry>>,
    /// What answers at URLs, by their ids.
    urls: HashMap<String, Arc<UrlView>>,
    accounts: HashMap<AccountId, Arc<Account>>,
    /// Told by accounts and functions that delivery may go on.
    pub(crate) wake: Arc<Wake>,
    /// Regions that ever had a function; asked when a function is missing.
    regions: BTreeSet<Region>,
}

/// One function.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As it is stored.
    pub(crate) record: FunctionRecord,
    /// The store's revision of that record, for compare-and-set.
    pub(crate) stored: u64,
    /// Its concurrency; the same over all changes.
    pub(crate) gate: Arc<Gate>,
    /// `$LATEST`.
    pub(crate) latest: Version,
    /// Published versions, by number.
    pub(crate) published: BTreeMap<u64, Version>,
    /// What the policies let everybody invoke through a function URL, by the keys of qualifiers:
    /// weighed once, as every request there asks for it.
    pub(crate) open_urls: BTreeSet<String>,
}

/// One version of a function, to be shown and to be run.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) view: Arc<FunctionView>,
    pub(crate) revision: Arc<Revision>,
}

/// Settings and code that instances run. A deployment that changes either makes a new one.
#[derive(Debug)]
pub(crate) struct Revision {
    pub(crate) function: FunctionId,
    pub(crate) version: VersionId,
    pub(crate) config: Arc<FunctionConfig>,
    pub(crate) gate: Arc<Gate>,
    /// Where its code and layers are, once that is known.
    pub(crate) folders: RwLock<Option<Folders>>,
    /// Its instances.
    pub(crate) pool: Pool,
}

/// Folders of unpacked code; immutable.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    pub(crate) code: PathBuf,
    pub(crate) layers: Vec<PathBuf>,
}

impl Revision {
    pub(crate) fn new(
        function: &FunctionId,
        version: VersionId,
        config: Arc<FunctionConfig>,
        gate: &Arc<Gate>,
        folders: Option<Folders>,
    ) -> Arc<Self> {
        Arc::new(Self {
            function: function.clone(),
            version,
            config,
            gate: Arc::clone(gate),
            folders: RwLock::new(folders),
            pool: Pool::default(),
        })
    }

    /// Digests of the code and the layers, in order.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        digests(&self.config)
    }
}

/// Digests of a function's code and layers, in order.
pub(crate) fn digests(config: &FunctionConfig) -> Vec<Digest> {
    let code = std::iter::once(&config.code);
    code.chain(&config.layers)
        .map(|code| code.digest.clone())
        .collect()
}

/// Digests of all trees that settings name: code, layers, and the archives they came as.
pub(crate) fn trees(config: &FunctionConfig) -> Vec<Digest> {
    let code = std::iter::once(&config.code).chain(&config.layers);
    code.flat_map(code_trees).collect()
}

/// Digests of the trees that code names: its files, and the archive that they came as.
pub(crate) fn code_trees(code: &Code) -> Vec<Digest> {
    let archive = code.archive.as_ref().map(|archive| archive.tree.clone());
    std::iter::once(code.digest.clone())
        .chain(archive)
        .collect()
}

impl Catalog {
    /// Reads everything that is stored.
    pub(crate) async fn load(store: &dyn Store, account_concurrency: u32) -> Result<Self, Error> {
        let mut catalog = Self::default();
        let mut published = record::versions(store).await?;
        for (record, stored) in record::functions(store).await? {
            let account = catalog.account(&record.id.account, account_concurrency);
            let versions = published.remove(&record.id).unwrap_or_default();
            catalog.put(Entry::load(record, stored, &account, versions));
        }
        catalog.count_reservations();
        Ok(catalog)
    }

    pub(crate) fn len(&self) -> usize {
        self.functions.len()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.functions.values()
    }

    /// The function, or the error that says where it is instead.
    pub(crate) fn get(&self, function: &FunctionId) -> Result<&Arc<Entry>, Error> {
        self.functions.get(function).ok_or_else(|| Error::NotFound {
            function: function.clone(),
            region_that_has_it: self.other_region(function),
        })
    }

    pub(crate) fn by_url(&self, url_id: &str) -> Option<&Arc<UrlView>> {
        self.urls.get(url_id)
    }

    fn other_region(&self, function: &FunctionId) -> Option<Region> {
        let there = |region: &&Region| {
            let id = FunctionId {
                region: (*region).clone(),
                ..function.clone()
            };
            self.functions.contains_key(&id)
        };
        self.regions.iter().find(there).cloned()
    }

    /// The account's concurrency, shared by all its functions.
    pub(crate) fn account(&mut self, account: &AccountId, limit: u32) -> Arc<Account> {
        let fresh = || Arc::new(Account::new(limit, &self.wake));
        Arc::clone(self.accounts.entry(account.clone()).or_insert_with(fresh))
    }

    /// What the account's functions reserve together, without one of them.
    pub(crate) fn reserved(&self, account: &AccountId, without: Option<&FunctionId>) -> u32 {
        let of = |entry: &&Arc<Entry>| {
            entry.record.id.account == *account && Some(&entry.record.id) != without
        };
        let reserved = self
            .entries()
            .filter(of)
            .filter_map(|it| it.record.reserved_concurrency);
        reserved.fold(0, u32::saturating_add)
    }

    /// Has every account know what its functions reserve.
    fn count_reservations(&self) {
        for (id, account) in &self.accounts {
            account.set_reserved(self.reserved(id, None));
        }
    }

    /// Adds or replaces a function.
    pub(crate) fn put(&mut self, entry: Entry) {
        let id = entry.record.id.clone();
        self.drop_url(&id);
        for (target, url) in entry.record.urls() {
            let view = UrlView {
                function: Arc::clone(&entry.latest.view),
                target,
                url,
            };
            self.urls.insert(view.url.url_id.clone(), Arc::new(view));
        }
        self.regions.insert(id.region.clone());
        self.functions.insert(id, Arc::new(entry));
    }

    pub(crate) fn remove(&mut self, function: &FunctionId) {
        self.drop_url(function);
        self.functions.remove(function);
    }

    fn drop_url(&mut self, function: &FunctionId) {
        let urls = self
            .functions
            .get(function)
            .map(|entry| entry.record.urls());
        for (_, url) in urls.into_iter().flatten() {
            self.urls.remove(&url.url_id);
        }
    }
}

impl Entry {
    fn load(
        record: FunctionRecord,
        stored: u64,
        account: &Arc<Account>,
        versions: BTreeMap<u64, VersionRecord>,
    ) -> Self {
        let gate = Arc::new(Gate::new(Arc::clone(account), record.reserved_concurrency));
        let fresh = |version, config| Revision::new(&record.id, version, config, &gate, None);
        let latest = fresh(VersionId::Latest, Arc::clone(&record.config));
        let published = versions
            .into_iter()
            .map(|(number, version)| {
                let revision = fresh(VersionId::Number(number), version.config);
                (number, (revision, version.published_ms))
            })
            .collect();
        Self::assemble(record, stored, gate, latest, published)
    }

    /// An entry whose views agree with its record.
    pub(crate) fn assemble(
        record: FunctionRecord,
        stored: u64,
        gate: Arc<Gate>,
        latest: Arc<Revision>,
        published: BTreeMap<u64, (Arc<Revision>, u64)>,
    ) -> Self {
        let numbers: Vec<VersionId> = published.keys().copied().map(VersionId::Number).collect();
        let view = |revision: Arc<Revision>, changed_ms| Version {
            view: Arc::new(record.view(&revision, changed_ms, &numbers)),
            revision,
        };
        let latest = view(latest, record.changed_ms);
        let published = published
            .into_iter()
            .map(|(number, (revision, at_ms))| (number, view(revision, at_ms)))
            .collect();
        Self {
            open_urls: record.open_urls(),
            record,
            stored,
            gate,
            latest,
            published,
        }
    }

    /// Published versions with the time of each, to assemble a changed entry from.
    pub(crate) fn published(&self) -> BTreeMap<u64, (Arc<Revision>, u64)> {
        let keep = |version: &Version| (Arc::clone(&version.revision), version.view.changed_ms);
        self.published
            .iter()
            .map(|(number, version)| (*number, keep(version)))
            .collect()
    }

    /// All its versions.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.latest).chain(self.published.values())
    }

    /// The version that an invocation of this reference runs; of an alias with two, either, by
    /// weight.
    pub(crate) fn route(&self, target: &FunctionRef, clock: &dyn Clock) -> Result<&Version, Error> {
        match &target.qualifier {
            Qualifier::Absent => Ok(&self.latest),
            Qualifier::Version(version) => self.version(*version),
            Qualifier::Alias(alias) => {
                let routes = self.routes(alias)?;
                let [first, .., last] = routes else {
                    return self.only(routes, alias);
                };
                let lot = unit(clock);
                self.version(if lot < first.1 { first.0 } else { last.0 })
            }
        }
    }

    /// The version to show for this reference; of an alias with two, the heavier.
    pub(crate) fn show(&self, target: &FunctionRef) -> Result<&Version, Error> {
        match &target.qualifier {
            Qualifier::Absent => Ok(&self.latest),
            Qualifier::Version(version) => self.version(*version),
            Qualifier::Alias(alias) => {
                let routes = self.routes(alias)?;
                let heavier = routes.iter().max_by(|a, b| a.1.total_cmp(&b.1));
                self.only(heavier.map_or(&[], std::slice::from_ref), alias)
            }
        }
    }

    fn only(&self, routes: &[(VersionId, f64)], alias: &AliasName) -> Result<&Version, Error> {
        let route = routes.first().ok_or_else(|| Error::AliasNotFound {
            function: self.record.id.clone(),
            alias: alias.clone(),
        })?;
        self.version(route.0)
    }

    fn routes(&self, alias: &AliasName) -> Result<&[(VersionId, f64)], Error> {
        let missing = || Error::AliasNotFound {
            function: self.record.id.clone(),
            alias: alias.clone(),
        };
        let found = self
            .latest
            .view
            .aliases
            .iter()
            .find(|known| known.name == *alias);
        found
            .map(|known| known.routes.as_slice())
            .ok_or_else(missing)
    }

    pub(crate) fn version(&self, version: VersionId) -> Result<&Version, Error> {
        let found = match version {
            VersionId::Latest => Some(&self.latest),
            VersionId::Number(number) => self.published.get(&number),
        };
        found.ok_or_else(|| Error::VersionNotFound {
            function: self.record.id.clone(),
            version,
        })
    }
}

impl FunctionRecord {
    fn view(&self, revision: &Revision, changed_ms: u64, versions: &[VersionId]) -> FunctionView {
        FunctionView {
            id: self.id.clone(),
            version: revision.version,
            config: Arc::clone(&revision.config),
            changed_ms,
            revision: self.revision,
            url: self.url_of(&Qualifier::Absent),
            reserved_concurrency: self.reserved_concurrency,
            versions: versions.to_vec(),
            aliases: self.aliases(),
            tags: Arc::new(self.tags.clone()),
        }
    }
}

/// A random number from zero up to, but not including, one.
fn unit(clock: &dyn Clock) -> f64 {
    let mut bytes = [0; 4];
    clock.random(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}
