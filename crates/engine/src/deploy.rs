//! Makes of a function what a project says of it, whole, and removes functions.

use std::sync::Arc;

use model::{FunctionConfig, FunctionId, Principal, Qualifier, VersionId};
use store::{Expect, Op, Transaction};

use crate::apply::Change;
use crate::catalog::{Entry, Folders, digests, trees};
use crate::port::Warning;
use crate::record::{self, FunctionRecord, VersionRecord};
use crate::verb::{Deployed, Deployment, Publication};
use crate::{Error, Shared};

/// Letters of a URL's id, as AWS has them.
const URL_ID_LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

impl Shared {
    pub(crate) async fn deploy(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        deployment: Deployment,
    ) -> Result<Deployed, Error> {
        self.may_write(who, "deploy", function)?;
        deployment.config.validate()?;
        let folders = self.code_of(&deployment.config).await?;
        let warnings = self.examine(function, &deployment.config, &folders).await?;
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
        let folders = self.code_of(&deployment.config).await?;
        let before = self.catalog.load().get(function).ok().cloned();
        self.check_reservation(function, deployment.reserved_concurrency)?;
        let change = self.change(before.as_deref(), function, deployment, folders)?;
        let version = match (&change.published, deployment.publish) {
            (Some(published), _) => VersionId::Number(published.number),
            (None, true) => VersionId::Number(change.record.last_version),
            (None, false) => VersionId::Latest,
        };
        let url = change.record.url_of(&Qualifier::Absent);
        let same = before
            .as_ref()
            .is_some_and(|before| before.record == change.record);
        if !same {
            self.apply(before, change).await?;
        }
        self.record_trees(&deployment.config);
        Ok(Deployed {
            version,
            changed: !same,
            url,
            warnings: Vec::new(),
        })
    }

    /// What the runtime and this node have to say of settings and code.
    pub(crate) async fn examine(
        &self,
        function: &FunctionId,
        config: &FunctionConfig,
        folders: &Folders,
    ) -> Result<Vec<Warning>, Error> {
        let examined = self.runtime.examine(config, &folders.code, &folders.layers);
        let mut warnings = examined.await?;
        if u64::from(config.memory_mb) > self.instances.memory_mb_max {
            warnings.push(format!(
                "{name} asks for {asked} MB, but all instances together may have {max} MB here: \
                 every invocation will be refused",
                name = function.name,
                asked = config.memory_mb,
                max = self.instances.memory_mb_max,
            ));
        }
        Ok(warnings)
    }

    /// Where the code and the layers are that settings name.
    pub(crate) async fn code_of(&self, config: &FunctionConfig) -> Result<Folders, Error> {
        let found = self.find_folders(digests(config)).await;
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
    ) -> Result<Change, Error> {
        let mut record = before.map_or_else(
            || FunctionRecord::new(function, Arc::new(deployment.config.clone())),
            |before| before.record.clone(),
        );
        let new_code = before.is_none() || *record.config != deployment.config;
        if new_code {
            record.config = Arc::new(deployment.config.clone());
        }
        record.reserved_concurrency = deployment.reserved_concurrency;
        let url = deployment.url.as_ref();
        record.url = url.map(|url| self.url_of(record.url.as_ref(), url));
        if record.url.is_some() && record.url_id.is_none() {
            record.url_id = Some(self.url_id());
        }
        record.agree_on_url()?;
        let published = deployment
            .publish
            .then(|| self.next_version(before, &mut record, &Publication::default()))
            .flatten();
        if before.is_none_or(|before| before.record != record) {
            record.revision += 1;
            record.changed_ms = self.clock.now_ms();
        }
        Ok(Change {
            record,
            latest: new_code.then_some(Some(folders)),
            published,
            removed: None,
        })
    }

    /// The version that publishing `record` makes; none where nothing but what a version says of
    /// itself would differ from the last one.
    pub(crate) fn next_version(
        &self,
        before: Option<&Entry>,
        record: &mut FunctionRecord,
        publication: &Publication,
    ) -> Option<VersionRecord> {
        let last = before.and_then(|entry| entry.published.get(&record.last_version));
        if last.is_some_and(|last| record.was_published_as(&last.revision.config)) {
            return None;
        }
        let mut config = Arc::clone(&record.config);
        record.last_description = None;
        if let Some(description) = &publication.description
            && *description != config.description
        {
            let of_version = Arc::make_mut(&mut config);
            let own = std::mem::replace(&mut of_version.description, description.clone());
            record.last_description = Some(own);
        }
        record.last_version += 1;
        Some(VersionRecord {
            function: record.id.clone(),
            number: record.last_version,
            config,
            published_ms: self.clock.now_ms(),
        })
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
        self.apply(Some(before), Change::of(record)).await
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

    pub(crate) fn check_reservation(
        &self,
        function: &FunctionId,
        reserved: Option<u32>,
    ) -> Result<(), Error> {
        let Some(given) = reserved else {
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

    /// Has the trees be known as used from now on.
    pub(crate) fn record_trees(&self, config: &FunctionConfig) {
        let trees = trees(config);
        self.trees.recorded(trees.iter().map(|it| it.as_str()));
    }

    /// A new id for a function's URL: 32 letters and digits, each as likely as any other.
    pub(crate) fn url_id(&self) -> String {
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

impl FunctionRecord {
    /// Whether these settings of the last version came of what the function is now.
    fn was_published_as(&self, last: &FunctionConfig) -> bool {
        match &self.last_description {
            None => *self.config == *last,
            Some(own) => {
                let described = FunctionConfig {
                    description: own.clone(),
                    ..last.clone()
                };
                *self.config == described
            }
        }
    }
}
