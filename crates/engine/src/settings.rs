//! What is decided of a function beside its settings and code: aliases, reserved concurrency,
//! tags, policies, how accepted events are tried, and what its vendor's tools want kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{AliasName, FunctionId, FunctionRef, Principal, Qualifier, VersionId};
use model::{limit, policy, retry};

use crate::apply::{Change, check_expected};
use crate::catalog::Entry;
use crate::event;
use crate::layer::{PolicyChange, changed_policy};
use crate::record::{
    FunctionRecord, InvocationRecord, PolicyRecord, RetryRecord, RouteRecord, StatementRecord,
};
use crate::verb::{Alias, AliasChange, Expected, Policy, Retries, Statement};
use crate::{Error, Shared};

/// Refuses more tags than a function may have.
pub(crate) fn check_tags(given: usize) -> Result<(), Error> {
    if given > limit::TAGS_MAX {
        return Err(Error::TooMany {
            what: "tags",
            given,
            max: limit::TAGS_MAX,
        });
    }
    Ok(())
}

impl Shared {
    pub(crate) async fn set_alias(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        name: &AliasName,
        change: AliasChange,
    ) -> Result<Alias, Error> {
        let name = name.clone();
        self.amend(who, "promote", function, move |entry, record| {
            let before = record.aliases.get(&name);
            let revision = before.map(|alias| alias.revision);
            check_expected(change.expected, revision, "alias", name.as_str())?;
            let mut alias = before.cloned().unwrap_or_default();
            if let Some(routes) = change.routes {
                check_routes(entry, &name, &routes)?;
                let lead = |(version, weight)| RouteRecord { version, weight };
                alias.routes = routes.into_iter().map(lead).collect();
            }
            if let Some(description) = change.description {
                alias.description = description;
            }
            alias.revision += 1;
            let view = alias.view(&name);
            record.aliases.insert(name, alias);
            record.revision += 1;
            Ok(view)
        })
        .await
    }

    /// Removes an alias with everything that is its own; none that is not there.
    pub(crate) async fn remove_alias(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        name: &AliasName,
    ) -> Result<(), Error> {
        let name = name.clone();
        self.amend(who, "remove", function, move |_, record| {
            if record.aliases.remove(&name).is_some() {
                record.policies.remove(name.as_str());
                record.retries.remove(name.as_str());
                record.alias_urls.remove(&name);
                record.revision += 1;
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn reserve(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        reserved: Option<u32>,
    ) -> Result<(), Error> {
        self.may_write(who, "change", function)?;
        let (shared, function) = (Arc::clone(self), function.clone());
        self.finish(async move {
            let _writing = shared.writing.lock().await;
            let before = Arc::clone(shared.catalog.load().get(&function)?);
            shared.check_reservation(&function, reserved)?;
            let mut record = before.record.clone();
            record.reserved_concurrency = reserved;
            shared.apply(Some(before), Change::of(record)).await
        })
        .await
    }

    pub(crate) async fn tag(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        add: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<(), Error> {
        self.amend(who, "tag", function, move |_, record| {
            record.tags.retain(|name, _| !remove.contains(name));
            record.tags.extend(add);
            check_tags(record.tags.len())?;
            Ok(())
        })
        .await
    }

    /// Adds a statement to the policy of a function, a version or an alias.
    pub(crate) async fn permit(
        self: &Arc<Self>,
        who: &Principal,
        target: &FunctionRef,
        expected: Expected,
        statement: Statement,
    ) -> Result<(), Error> {
        let target = target.clone();
        let function = target.function.clone();
        self.amend(
            who,
            "change the policy of",
            &function,
            move |entry, record| {
                edit_policy(
                    entry,
                    record,
                    &target,
                    expected,
                    PolicyChange::Add(statement),
                )
            },
        )
        .await
    }

    /// Removes a statement.
    pub(crate) async fn forbid(
        self: &Arc<Self>,
        who: &Principal,
        target: &FunctionRef,
        expected: Expected,
        id: &str,
    ) -> Result<(), Error> {
        let (target, id) = (target.clone(), id.to_owned());
        let function = target.function.clone();
        self.amend(
            who,
            "change the policy of",
            &function,
            move |entry, record| {
                edit_policy(entry, record, &target, expected, PolicyChange::Remove(id))
            },
        )
        .await
    }

    /// How accepted events of a function, a version or an alias are tried; none is the default.
    pub(crate) async fn set_retries(
        self: &Arc<Self>,
        who: &Principal,
        target: &FunctionRef,
        edit: impl FnOnce(Option<Retries>) -> Result<Option<Retries>, Error> + Send + 'static,
    ) -> Result<Option<Retries>, Error> {
        let target = target.clone();
        let function = target.function.clone();
        let now_ms = self.clock.now_ms();
        self.amend(who, "change", &function, move |entry, record| {
            entry.show(&target)?;
            let key = qualifier_key(&target.qualifier);
            let before = record.retries.get(&key).map(RetryRecord::view);
            let Some(mut retries) = edit(before)? else {
                record.retries.remove(&key);
                return Ok(None);
            };
            retries.changed_ms = now_ms;
            record.retries.insert(key, RetryRecord::of(retries));
            Ok(Some(retries))
        })
        .await
    }

    /// How an accepted event is tried, as things are now.
    pub(crate) fn retry_policy(&self, event: &InvocationRecord) -> retry::Policy {
        let catalog = self.catalog.load();
        let qualifier = match event.qualifier.as_deref() {
            Some("$LATEST") | None => "",
            Some(other) => other,
        };
        let entry = catalog.get(&event.function);
        entry.map_or_else(
            |_| retry::Policy::default(),
            |entry| entry.record.retry_policy(qualifier),
        )
    }

    /// The least age at which an event of this queue may be given up.
    pub(crate) fn least_age_max(&self, queue: &str) -> Duration {
        let catalog = self.catalog.load();
        let entry = event::function_of(queue).and_then(|id| catalog.get(&id).ok());
        let keys = entry
            .into_iter()
            .flat_map(|it| it.record.retries.keys().map(move |key| (it, key)));
        let least = keys
            .map(|(it, key)| it.record.retry_policy(key).age_max)
            .min();
        least.map_or(retry::Policy::default().age_max, |least| {
            least.min(retry::Policy::default().age_max)
        })
    }

    /// Keeps or forgets a setting of the vendor's that nothing here reads.
    pub(crate) async fn keep(
        self: &Arc<Self>,
        who: &Principal,
        function: &FunctionId,
        name: String,
        value: Option<String>,
    ) -> Result<(), Error> {
        self.amend(who, "change", function, move |_, record| {
            match value {
                Some(value) => drop(record.kept.insert(name, value)),
                None => drop(record.kept.remove(&name)),
            }
            Ok(())
        })
        .await
    }
}

impl RetryRecord {
    pub(crate) fn view(&self) -> Retries {
        Retries {
            retries_max: self.retries_max,
            age_max_s: self.age_max_s,
            changed_ms: self.changed_ms,
        }
    }

    fn of(retries: Retries) -> Self {
        Self {
            retries_max: retries.retries_max,
            age_max_s: retries.age_max_s,
            changed_ms: retries.changed_ms,
        }
    }
}

impl PolicyRecord {
    pub(crate) fn of(policy: &Policy) -> Self {
        let statement = |it: &Statement| StatementRecord {
            id: it.id.clone(),
            text: it.text.clone(),
        };
        Self {
            statements: policy.statements.iter().map(statement).collect(),
            revision: policy.revision,
        }
    }

    /// Whether any statement lets somebody do this.
    pub(crate) fn allows(&self, asked: &policy::Asked<'_>) -> bool {
        let mut texts = self.statements.iter().map(|statement| &statement.text);
        texts.any(|text| policy::allows(text, asked))
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.statements.iter().any(|statement| statement.id == id)
    }

    pub(crate) fn view(&self) -> Policy {
        let statement = |it: &StatementRecord| Statement {
            id: it.id.clone(),
            text: it.text.clone(),
        };
        Policy {
            statements: self.statements.iter().map(statement).collect(),
            revision: self.revision,
        }
    }
}

/// The key under which things of a qualifier are kept; `$LATEST` and none are one.
pub(crate) fn qualifier_key(qualifier: &Qualifier) -> String {
    match qualifier {
        Qualifier::Absent | Qualifier::Version(VersionId::Latest) => String::new(),
        Qualifier::Version(version) => version.to_string(),
        Qualifier::Alias(alias) => alias.to_string(),
    }
}

fn edit_policy(
    entry: &Entry,
    record: &mut FunctionRecord,
    target: &FunctionRef,
    expected: Expected,
    change: PolicyChange,
) -> Result<(), Error> {
    entry.show(target)?;
    let key = qualifier_key(&target.qualifier);
    let before = record.policies.remove(&key);
    if expected != Expected::Anything {
        let revision = before.as_ref().map(|policy| policy.revision);
        check_expected(expected, revision, "policy", target.function.name.as_str())?;
    }
    let after = changed_policy(before, change)?;
    record.policies.extend(after.map(|policy| (key, policy)));
    Ok(())
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
