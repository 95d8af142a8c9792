//! Changes of the catalog: one transaction each, by compare-and-set, and only then seen by
//! invocations. Instances of what was replaced are drained. A change that has begun is finished,
//! whoever asked for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::principal::{Action, may};
use model::{AliasName, FunctionId, Principal, VersionId};
use store::{Expect, Op, Transaction};

use crate::admission::Gate;
use crate::catalog::{Catalog, Entry, Folders, Revision, digests};
use crate::record::{self, FunctionRecord, RouteRecord, UrlRecord, VersionRecord};
use crate::verb::{Deployed, Deployment};
use crate::{Error, Shared};

/// Letters of a URL's id, as AWS has them.
const URL_ID_LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// What an entry is to become.
struct Change {
    record: FunctionRecord,
    /// A new `$LATEST`, where settings or code changed.
    latest: Option<Option<Folders>>,
    /// A new published version.
    published: Option<VersionRecord>,
}

impl Shared {
    pub(crate) async fn deploy(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        deployment: Deployment,
    ) -> Result<Deployed, Error> {
        self.may_write(who, "deploy", function)?;
        deployment.config.validate()?;
        let folders = self.code_of(&deployment).await?;
        let mut warnings = self
            .runtime
            .examine(&deployment.config, &folders.code, &folders.layers)
            .await?;
        if u64::from(deployment.config.memory_mb) > self.instances.memory_mb_max {
            warnings.push(format!(
                "{name} asks for {asked} MB, but all instances together may have {max} MB here: \
                 every invocation will be refused",
                name = function.name,
                asked = deployment.config.memory_mb,
                max = self.instances.memory_mb_max,
            ));
        }
        let (shared, function) = (Arc::clone(self), function.clone());
        self.finish(async move {
            let deployed = shared.replace(&function, &deployment).await?;
            Ok(Deployed {
                warnings,
                ..deployed
            })
        })
        .await
    }

    async fn replace(
        &self,
        function: &FunctionId,
        deployment: &Deployment,
    ) -> Result<Deployed, Error> {
        let _writing = self.writing.lock().await;
        // Again, now that nothing can be swept away.
        let folders = self.code_of(deployment).await?;
        let before = self.catalog.load().get(function).ok().cloned();
        self.check_reservation(function, deployment)?;
        let change = self.change(before.as_deref(), function, deployment, folders);
        let version = match (&change.published, deployment.publish) {
            (Some(published), _) => VersionId::Number(published.number),
            (None, true) => VersionId::Number(change.record.last_version),
            (None, false) => VersionId::Latest,
        };
        let url = change.record.url_config();
        let same = before
            .as_ref()
            .is_some_and(|before| before.record == change.record);
        if !same {
            self.apply(before, change).await?;
        }
        let digests = digests(&deployment.config);
        self.trees.recorded(digests.iter().map(|it| it.as_str()));
        Ok(Deployed {
            version,
            changed: !same,
            url,
            warnings: Vec::new(),
        })
    }

    /// Where the code and the layers of a deployment are.
    async fn code_of(&self, deployment: &Deployment) -> Result<Folders, Error> {
        let found = self.find_folders(digests(&deployment.config)).await;
        found.map_err(|error| match error {
            store::Error::Missing { digest } => Error::CodeMissing { digest },
            other => Error::Store(other),
        })
    }

    /// What a deployment changes of the function. An unchanged one leaves the record equal.
    fn change(
        &self,
        before: Option<&Entry>,
        function: &FunctionId,
        deployment: &Deployment,
        folders: Folders,
    ) -> Change {
        let mut record = before.map_or_else(
            || FunctionRecord {
                id: function.clone(),
                config: Arc::new(deployment.config.clone()),
                changed_ms: 0,
                revision: 0,
                reserved_concurrency: None,
                url_id: None,
                url_port: None,
                url: None,
                last_version: 0,
                aliases: BTreeMap::new(),
            },
            |before| before.record.clone(),
        );
        let new_code = before.is_none() || *record.config != deployment.config;
        if new_code {
            record.config = Arc::new(deployment.config.clone());
        }
        record.reserved_concurrency = deployment.reserved_concurrency;
        record.url = deployment.url.as_ref().map(|url| UrlRecord {
            cors: url.cors.clone(),
        });
        if record.url.is_some() && record.url_id.is_none() {
            record.url_id = Some(self.url_id());
        }
        let published = deployment
            .publish
            .then(|| self.next_version(before, &mut record))
            .flatten();
        if before.is_none_or(|before| before.record != record) {
            record.revision += 1;
            record.changed_ms = self.clock.now_ms();
        }
        Change {
            record,
            latest: new_code.then_some(Some(folders)),
            published,
        }
    }

    /// The version that publishing `record` makes; none where the last one is the same.
    fn next_version(
        &self,
        before: Option<&Entry>,
        record: &mut FunctionRecord,
    ) -> Option<VersionRecord> {
        let last = before.and_then(|entry| entry.published.get(&record.last_version));
        if last.is_some_and(|last| last.revision.config == record.config) {
            return None;
        }
        record.last_version += 1;
        Some(VersionRecord {
            function: record.id.clone(),
            number: record.last_version,
            config: Arc::clone(&record.config),
            published_ms: self.clock.now_ms(),
        })
    }

    pub(crate) async fn publish(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
    ) -> Result<VersionId, Error> {
        self.may_write(who, "publish", function)?;
        let (shared, function) = (Arc::clone(self), function.clone());
        self.finish(async move { shared.publish_latest(&function).await })
            .await
    }

    async fn publish_latest(&self, function: &FunctionId) -> Result<VersionId, Error> {
        let _writing = self.writing.lock().await;
        let before = Arc::clone(self.catalog.load().get(function)?);
        let mut record = before.record.clone();
        let published = self.next_version(Some(&before), &mut record);
        let number = record.last_version;
        if published.is_some() {
            record.revision += 1;
            self.apply(
                Some(before),
                Change {
                    record,
                    latest: None,
                    published,
                },
            )
            .await?;
        }
        Ok(VersionId::Number(number))
    }

    pub(crate) async fn promote(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        alias: &AliasName,
        routes: Vec<(VersionId, f64)>,
    ) -> Result<(), Error> {
        self.may_write(who, "promote", function)?;
        let (shared, function, alias) = (Arc::clone(self), function.clone(), alias.clone());
        self.finish(async move { shared.lead(&function, &alias, routes).await })
            .await
    }

    /// Has an alias lead where these routes say.
    async fn lead(
        &self,
        function: &FunctionId,
        alias: &AliasName,
        routes: Vec<(VersionId, f64)>,
    ) -> Result<(), Error> {
        let _writing = self.writing.lock().await;
        let before = Arc::clone(self.catalog.load().get(function)?);
        check_routes(&before, alias, &routes)?;
        let mut record = before.record.clone();
        let lead = |(version, weight)| RouteRecord { version, weight };
        record
            .aliases
            .insert(alias.clone(), routes.into_iter().map(lead).collect());
        record.revision += 1;
        self.apply(
            Some(before),
            Change {
                record,
                latest: None,
                published: None,
            },
        )
        .await
    }

    pub(crate) async fn set_url_port(
        self: &Arc<Self>,
        function: &FunctionId,
        port: u16,
    ) -> Result<(), Error> {
        let (shared, function) = (Arc::clone(self), function.clone());
        self.finish(async move { shared.keep_url_port(&function, port).await })
            .await
    }

    async fn keep_url_port(&self, function: &FunctionId, port: u16) -> Result<(), Error> {
        let _writing = self.writing.lock().await;
        let before = Arc::clone(self.catalog.load().get(function)?);
        if before.record.url_port == Some(port) {
            return Ok(());
        }
        let mut record = before.record.clone();
        record.url_port = Some(port);
        self.apply(
            Some(before),
            Change {
                record,
                latest: None,
                published: None,
            },
        )
        .await
    }

    pub(crate) async fn remove(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
    ) -> Result<(), Error> {
        self.may_write(who, "remove", function)?;
        let (shared, function) = (Arc::clone(self), function.clone());
        self.finish(async move { shared.delete(&function).await })
            .await
    }

    async fn delete(&self, function: &FunctionId) -> Result<(), Error> {
        let _writing = self.writing.lock().await;
        let before = Arc::clone(self.catalog.load().get(function)?);
        let key = record::function_key(function);
        let expect = Expect::Revision(before.stored);
        let mut transaction = Transaction::of(Op::Delete {
            collection: record::FUNCTIONS,
            key,
            expect,
        });
        for number in before.published.keys() {
            let key = record::version_key(function, *number);
            let expect = Expect::Any;
            transaction = transaction.and(Op::Delete {
                collection: record::VERSIONS,
                key,
                expect,
            });
        }
        self.commit(function, transaction).await?;
        self.swap(|catalog| catalog.remove(function));
        self.count_reservations(&before.gate, function);
        before
            .versions()
            .for_each(|version| version.revision.pool.close());
        self.instances.left_over.notify_one();
        Ok(())
    }

    /// Writes a change, shows it to invocations and drains what it replaced. Only while
    /// `writing` is held.
    async fn apply(&self, before: Option<Arc<Entry>>, change: Change) -> Result<(), Error> {
        let Change {
            record,
            latest,
            published,
        } = change;
        let function = record.id.clone();
        let stored = self
            .write(before.as_deref(), &record, published.as_ref())
            .await?;
        let gate = match &before {
            Some(before) => Arc::clone(&before.gate),
            None => self.new_gate(&function),
        };
        gate.reserve(record.reserved_concurrency);
        let fresh = |version, folders| {
            Revision::new(
                &function,
                version,
                Arc::clone(&record.config),
                &gate,
                folders,
            )
        };
        let (new, folders) = match latest {
            Some(folders) => (true, folders),
            None => (before.is_none(), None),
        };
        let current = match &before {
            Some(before) if !new => Arc::clone(&before.latest.revision),
            _ => fresh(VersionId::Latest, folders),
        };
        let mut versions = before
            .as_ref()
            .map_or_else(BTreeMap::new, |before| before.published());
        if let Some(published) = published {
            let folders = current.folders.read().clone();
            let revision = fresh(VersionId::Number(published.number), folders);
            versions.insert(published.number, (revision, published.published_ms));
        }
        let entry = Entry::assemble(record, stored, Arc::clone(&gate), current, versions);
        self.swap(|catalog| catalog.put(entry));
        self.count_reservations(&gate, &function);
        if let Some(before) = before.filter(|_| new) {
            before.latest.revision.pool.close();
            self.instances.left_over.notify_one();
        }
        Ok(())
    }

    async fn write(
        &self,
        before: Option<&Entry>,
        record: &FunctionRecord,
        published: Option<&VersionRecord>,
    ) -> Result<u64, Error> {
        let key = record::function_key(&record.id);
        let value = record::write(&key, record)?;
        let expect = before.map_or(Expect::Absent, |before| Expect::Revision(before.stored));
        let put = Op::Put {
            collection: record::FUNCTIONS,
            key,
            value,
            expect,
        };
        let mut transaction = Transaction::of(put);
        if let Some(published) = published {
            let key = record::version_key(&record.id, published.number);
            let value = record::write(&key, published)?;
            let expect = Expect::Absent;
            let collection = record::VERSIONS;
            transaction = transaction.and(Op::Put {
                collection,
                key,
                value,
                expect,
            });
        }
        let revisions = self.commit(&record.id, transaction).await?;
        Ok(revisions.first().copied().unwrap_or_default())
    }

    async fn commit(
        &self,
        function: &FunctionId,
        transaction: Transaction,
    ) -> Result<Vec<u64>, Error> {
        self.store
            .commit(transaction)
            .await
            .map_err(|error| match error {
                store::Error::Conflict { .. } => Error::Conflict {
                    function: function.clone(),
                },
                other => Error::Store(other),
            })
    }

    /// Shows a changed catalog to everybody. Only while `writing` is held.
    fn swap(&self, change: impl FnOnce(&mut Catalog)) {
        let mut catalog = Catalog::clone(&self.catalog.load());
        change(&mut catalog);
        self.catalog.store(Arc::new(catalog));
        self.generation.send_modify(|generation| *generation += 1);
        // Events that are held back may have more room now, or nothing left to wait for.
        self.events.wake.freed();
    }

    /// The concurrency of a function that is deployed for the first time.
    fn new_gate(&self, function: &FunctionId) -> Arc<Gate> {
        let mut catalog = Catalog::clone(&self.catalog.load());
        let account = catalog.account(&function.account, self.config.account_concurrency);
        self.catalog.store(Arc::new(catalog));
        Arc::new(Gate::new(account, None))
    }

    /// Recounts what the account's functions reserve together.
    fn count_reservations(&self, gate: &Gate, function: &FunctionId) {
        gate.account()
            .set_reserved(self.catalog.load().reserved(&function.account, None));
        self.events.wake.freed();
    }

    fn check_reservation(
        &self,
        function: &FunctionId,
        deployment: &Deployment,
    ) -> Result<(), Error> {
        let Some(given) = deployment.reserved_concurrency else {
            return Ok(());
        };
        let others = self
            .catalog
            .load()
            .reserved(&function.account, Some(function));
        let max = crate::admission::reservable(self.config.account_concurrency, others);
        // What is reserved already may stay, whatever the limits have become since.
        let before = self.catalog.load().get(function).ok().cloned();
        let kept = before.and_then(|entry| entry.record.reserved_concurrency) == Some(given);
        if given > max && !kept {
            return Err(Error::ReservationTooLarge { given, max });
        }
        Ok(())
    }

    fn may_write(
        &self,
        who: &Principal,
        doing: &'static str,
        function: &FunctionId,
    ) -> Result<(), Error> {
        if self.in_flight.is_stopping() {
            return Err(Error::Stopping);
        }
        if may(who, Action::Write, function, false) {
            return Ok(());
        }
        Err(Error::Denied {
            doing,
            function: function.clone(),
        })
    }

    /// A new id for a function's URL: 32 letters and digits, each as likely as any other.
    fn url_id(&self) -> String {
        let mut id = String::with_capacity(32);
        while id.len() < 32 {
            let even = |byte: &u8| *byte < 252;
            let letters = self.clock.random_id().into_iter().filter(even);
            let letters = letters.filter_map(|byte| URL_ID_LETTERS.get(usize::from(byte % 36)));
            id.extend(
                letters
                    .map(|letter| char::from(*letter))
                    .take(32 - id.len()),
            );
        }
        id
    }
}

fn check_routes(
    entry: &Entry,
    alias: &AliasName,
    routes: &[(VersionId, f64)],
) -> Result<(), Error> {
    let refuse = |problem| {
        Err(Error::InvalidRoutes {
            alias: alias.clone(),
            problem,
        })
    };
    if routes.is_empty() || routes.len() > 2 {
        return refuse("an alias leads to one version or to two");
    }
    for (version, weight) in routes {
        entry.version(*version)?;
        if !(0.0..=1.0).contains(weight) {
            return refuse("each weight must be from 0 to 1");
        }
    }
    let sum: f64 = routes.iter().map(|(_, weight)| weight).sum();
    if (sum - 1.0).abs() > 1e-6 {
        return refuse("the weights must sum to 1");
    }
    let latest = |(version, _): &(VersionId, f64)| *version == VersionId::Latest;
    if routes.len() == 2 && routes.iter().any(latest) {
        return refuse("$LATEST cannot share an alias with another version; publish it first");
    }
    if let [first, second] = routes
        && first.0 == second.0
    {
        return refuse("the two versions must differ");
    }
    Ok(())
}
