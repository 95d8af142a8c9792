//! How a change of a function is made: one transaction by compare-and-set, and only then seen by
//! invocations. Instances of what was replaced are drained. A change that has begun is finished,
//! whoever asked for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::principal::may_use;
use model::{FunctionId, Principal, VersionId};
use store::{Expect, Op, Transaction};

use crate::admission::Gate;
use crate::catalog::{Catalog, Entry, Folders, Revision};
use crate::record::{self, FunctionRecord, VersionRecord};
use crate::verb::Expected;
use crate::{Error, Shared};

/// What an entry is to become.
pub(crate) struct Change {
    pub(crate) record: FunctionRecord,
    /// A new `$LATEST`, where settings or code changed.
    pub(crate) latest: Option<Option<Folders>>,
    /// A new published version.
    pub(crate) published: Option<VersionRecord>,
    /// A published version that goes.
    pub(crate) removed: Option<u64>,
}

impl Change {
    /// One that leaves settings, code and versions as they are.
    pub(crate) fn of(record: FunctionRecord) -> Self {
        Self {
            record,
            latest: None,
            published: None,
            removed: None,
        }
    }
}

impl Shared {
    /// Changes what is kept of a function beside its settings, code and versions. An edit that
    /// changes nothing writes nothing.
    pub(crate) async fn amend<T: Send + 'static>(
        self: &Arc<Self>,
        who: &Principal,
        doing: &'static str,
        function: &FunctionId,
        edit: impl FnOnce(&Entry, &mut FunctionRecord) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.may_write(who, doing, function)?;
        let (shared, function) = (Arc::clone(self), function.clone());
        self.finish(async move {
            let _writing = shared.writing.lock().await;
            let before = Arc::clone(shared.catalog.load().get(&function)?);
            let mut record = before.record.clone();
            let answer = edit(&before, &mut record)?;
            if record != before.record {
                shared.apply(Some(before), Change::of(record)).await?;
            }
            Ok(answer)
        })
        .await
    }

    /// Writes a change, shows it to invocations and drains what it replaced. Only while
    /// `writing` is held.
    pub(crate) async fn apply(
        &self,
        before: Option<Arc<Entry>>,
        change: Change,
    ) -> Result<(), Error> {
        let Change {
            record,
            latest,
            published,
            removed,
        } = change;
        let function = record.id.clone();
        let stored = self
            .write(before.as_deref(), &record, published.as_ref(), removed)
            .await?;
        let gate = match &before {
            Some(before) => Arc::clone(&before.gate),
            None => self.new_gate(&function),
        };
        gate.reserve(record.reserved_concurrency);
        let fresh =
            |version, config, folders| Revision::new(&function, version, config, &gate, folders);
        let (new, folders) = match latest {
            Some(folders) => (true, folders),
            None => (before.is_none(), None),
        };
        let current = match &before {
            Some(before) if !new => Arc::clone(&before.latest.revision),
            _ => fresh(VersionId::Latest, Arc::clone(&record.config), folders),
        };
        let mut versions = before
            .as_ref()
            .map_or_else(BTreeMap::new, |before| before.published());
        let removed = removed.and_then(|number| versions.remove(&number));
        if let Some(published) = published {
            let folders = current.folders.read().clone();
            let version = VersionId::Number(published.number);
            let revision = fresh(version, published.config, folders);
            versions.insert(published.number, (revision, published.published_ms));
        }
        let entry = Entry::assemble(record, stored, Arc::clone(&gate), current, versions);
        self.swap(|catalog| catalog.put(entry));
        self.count_reservations(&gate, &function);
        let replaced = before.filter(|_| new);
        let replaced = replaced.map(|before| Arc::clone(&before.latest.revision));
        for gone in replaced.into_iter().chain(removed.map(|(gone, _)| gone)) {
            gone.pool.close();
            self.instances.left_over.notify_one();
        }
        Ok(())
    }

    async fn write(
        &self,
        before: Option<&Entry>,
        record: &FunctionRecord,
        published: Option<&VersionRecord>,
        removed: Option<u64>,
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
        if let Some(number) = removed {
            transaction = transaction.and(Op::Delete {
                collection: record::VERSIONS,
                key: record::version_key(&record.id, number),
                expect: Expect::Present,
            });
        }
        let revisions = self.commit(&record.id, transaction).await?;
        Ok(revisions.first().copied().unwrap_or_default())
    }

    pub(crate) async fn commit(
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
    pub(crate) fn swap(&self, change: impl FnOnce(&mut Catalog)) {
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
    pub(crate) fn count_reservations(&self, gate: &Gate, function: &FunctionId) {
        gate.account()
            .set_reserved(self.catalog.load().reserved(&function.account, None));
        self.events.wake.freed();
    }

    pub(crate) fn may_write(
        &self,
        who: &Principal,
        doing: &'static str,
        function: &FunctionId,
    ) -> Result<(), Error> {
        if self.in_flight.is_stopping() {
            return Err(Error::Stopping);
        }
        if may_use(who, &function.account) {
            return Ok(());
        }
        Err(Error::Denied {
            doing,
            function: function.clone(),
        })
    }
}

/// Checks what a change expects of a thing with this revision, or of one that is not there.
/// `thing` and `name` say which.
pub(crate) fn check_expected(
    expected: Expected,
    found: Option<u64>,
    thing: &'static str,
    name: &str,
) -> Result<(), Error> {
    let name = || name.to_owned();
    match (expected, found) {
        (Expected::Absent, Some(_)) => Err(Error::AlreadyThere {
            thing,
            name: name(),
        }),
        (Expected::Present | Expected::Revision(_), None) => Err(Error::NotThere {
            thing,
            name: name(),
        }),
        (Expected::Revision(wanted), Some(found)) if wanted != found => Err(Error::Stale {
            thing,
            name: name(),
        }),
        _ => Ok(()),
    }
}
