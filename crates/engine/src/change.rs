//! Makes functions and changes them in parts, publishes versions and removes them.

use std::sync::Arc;

use model::{FunctionConfig, FunctionId, Principal, VersionId};

use crate::apply::{Change, check_expected};
use crate::catalog::{Entry, Folders};
use crate::port::Warning;
use crate::record::{FunctionRecord, VersionRecord};
use crate::settings::check_tags;
use crate::verb::{Changed, Creation, Expected, FunctionView, Publication, Update};
use crate::{Error, Shared};

/// What a thing is called in errors that name a function.
const FUNCTION: &str = "function";

/// Settings that were looked at, and where their code is.
struct Examined {
    config: FunctionConfig,
    folders: Folders,
    warnings: Vec<Warning>,
}

impl Shared {
    pub(crate) async fn create(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        creation: Creation,
    ) -> Result<Changed, Error> {
        self.may_write(who, "create", function)?;
        check_tags(creation.tags.len())?;
        // Before the code is looked at; again below, where nothing can come between.
        check_expected(
            Expected::Absent,
            self.found(function),
            FUNCTION,
            function.name.as_str(),
        )?;
        let examined = self.look_at(function, creation.config).await?;
        let (shared, function) = (Arc::clone(self), function.clone());
        let (tags, publish) = (creation.tags, creation.publish);
        self.finish(async move {
            let _writing = shared.writing.lock().await;
            check_expected(
                Expected::Absent,
                shared.found(&function),
                FUNCTION,
                function.name.as_str(),
            )?;
            // Nothing can be swept away now, but it may have been before.
            shared.code_of(&examined.config).await?;
            let mut record = FunctionRecord::new(&function, Arc::new(examined.config));
            record.tags = tags;
            shared
                .make(
                    None,
                    record,
                    Some(examined.folders),
                    publish,
                    examined.warnings,
                )
                .await
        })
        .await
    }

    pub(crate) async fn update(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        update: Update,
    ) -> Result<Changed, Error> {
        self.may_write(who, "update", function)?;
        let Update {
            expected,
            edit,
            publish,
            dry_run,
        } = update;
        let before = Arc::clone(self.catalog.load().get(function)?);
        let name = function.name.as_str();
        check_expected(expected, Some(before.record.revision), FUNCTION, name)?;
        let mut config = FunctionConfig::clone(&before.record.config);
        edit(&mut config);
        let examined = self.look_at(function, config).await?;
        if dry_run {
            let view = before.latest.view.with(examined.config);
            return Ok(Changed {
                view: Arc::new(view),
                warnings: examined.warnings,
            });
        }
        let shared = Arc::clone(self);
        self.finish(async move {
            let _writing = shared.writing.lock().await;
            let now = Arc::clone(shared.catalog.load().get(&before.record.id)?);
            let id = &now.record.id;
            check_expected(
                expected,
                Some(now.record.revision),
                FUNCTION,
                id.name.as_str(),
            )?;
            // Whoever changed the settings or the code meanwhile saw none of this change, and
            // this change saw none of that.
            if now.record.config != before.record.config {
                return Err(Error::Conflict {
                    function: id.clone(),
                });
            }
            shared.code_of(&examined.config).await?;
            let mut record = now.record.clone();
            let same = *record.config == examined.config;
            if !same {
                record.config = Arc::new(examined.config);
            }
            let folders = (!same).then_some(examined.folders);
            shared
                .make(Some(now), record, folders, publish, examined.warnings)
                .await
        })
        .await
    }

    /// Writes a function whose settings are decided. Only while `writing` is held.
    async fn make(
        &self,
        before: Option<Arc<Entry>>,
        mut record: FunctionRecord,
        folders: Option<Folders>,
        publish: Option<Publication>,
        warnings: Vec<Warning>,
    ) -> Result<Changed, Error> {
        let published = publish
            .as_ref()
            .and_then(|how| self.next_version(before.as_deref(), &mut record, how));
        let version = match publish {
            Some(_) => VersionId::Number(record.last_version),
            None => VersionId::Latest,
        };
        // An update is a change even where it leaves everything as it was.
        record.revision += 1;
        record.changed_ms = self.clock.now_ms();
        let function = record.id.clone();
        let config = Arc::clone(&record.config);
        let change = Change {
            record,
            latest: folders.map(Some),
            published,
            removed: None,
        };
        self.apply(before, change).await?;
        self.record_trees(&config);
        let view = self.view_of(&function, version)?;
        Ok(Changed { view, warnings })
    }

    pub(crate) async fn publish(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        expected: Expected,
        publication: Publication,
    ) -> Result<Arc<FunctionView>, Error> {
        self.may_write(who, "publish", function)?;
        let (shared, function) = (Arc::clone(self), function.clone());
        self.finish(async move {
            let _writing = shared.writing.lock().await;
            let before = Arc::clone(shared.catalog.load().get(&function)?);
            let revision = Some(before.record.revision);
            check_expected(expected, revision, FUNCTION, function.name.as_str())?;
            let mut record = before.record.clone();
            let published = shared.next_version(Some(&before), &mut record, &publication);
            let version = VersionId::Number(record.last_version);
            if published.is_some() {
                record.revision += 1;
                shared
                    .apply(Some(before), published_only(record, published))
                    .await?;
            }
            shared.view_of(&function, version)
        })
        .await
    }

    /// Removes one published version; none that an alias leads to.
    pub(crate) async fn remove_version(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        number: u64,
    ) -> Result<(), Error> {
        self.may_write(who, "remove", function)?;
        let (shared, function) = (Arc::clone(self), function.clone());
        self.finish(async move {
            let _writing = shared.writing.lock().await;
            let before = Arc::clone(shared.catalog.load().get(&function)?);
            let version = VersionId::Number(number);
            before.version(version)?;
            let leads = |route: &crate::record::RouteRecord| route.version == version;
            let mut aliases = before.record.aliases.iter();
            if let Some((alias, _)) = aliases.find(|(_, alias)| alias.routes.iter().any(leads)) {
                return Err(Error::InUse {
                    thing: "version",
                    name: format!("{}:{number}", function.name),
                    by: format!("alias {alias}"),
                });
            }
            let mut record = before.record.clone();
            let qualifier = number.to_string();
            record.policies.remove(&qualifier);
            record.retries.remove(&qualifier);
            record.revision += 1;
            let change = Change {
                removed: Some(number),
                ..Change::of(record)
            };
            shared.apply(Some(before), change).await
        })
        .await
    }

    /// Checks settings and looks at their code.
    async fn look_at(
        &self,
        function: &FunctionId,
        config: FunctionConfig,
    ) -> Result<Examined, Error> {
        config.validate()?;
        let folders = self.code_of(&config).await?;
        let warnings = self.examine(function, &config, &folders).await?;
        Ok(Examined {
            config,
            folders,
            warnings,
        })
    }

    /// The function's revision, if there is one.
    fn found(&self, function: &FunctionId) -> Option<u64> {
        let catalog = self.catalog.load();
        catalog
            .get(function)
            .ok()
            .map(|entry| entry.record.revision)
    }

    fn view_of(
        &self,
        function: &FunctionId,
        version: VersionId,
    ) -> Result<Arc<FunctionView>, Error> {
        let catalog = self.catalog.load();
        let version = catalog.get(function)?.version(version)?;
        Ok(Arc::clone(&version.view))
    }
}

fn published_only(record: FunctionRecord, published: Option<VersionRecord>) -> Change {
    Change {
        published,
        ..Change::of(record)
    }
}

impl FunctionView {
    /// The same with other settings, as they would be.
    fn with(&self, config: FunctionConfig) -> Self {
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }
}
