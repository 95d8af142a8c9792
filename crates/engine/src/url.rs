//! URLs of functions and of their aliases.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{FunctionId, FunctionRef, Principal, Qualifier, UrlAuth, UrlConfig, policy};

use crate::apply::check_expected;
use crate::layer::{PolicyChange, changed_policy};
use crate::record::{AliasUrlRecord, FunctionRecord, PolicyRecord, UrlRecord};
use crate::verb::{Expected, Statement, UrlSettings};
use crate::{Error, Shared};

impl Shared {
    /// Gives a function or an alias a URL, changes it, or takes it away. Answers the URL.
    pub(crate) async fn set_url(
        self: &Arc<Self>,
        who: &Principal,
        target: &FunctionRef,
        expected: Expected,
        settings: Option<UrlSettings>,
    ) -> Result<Option<UrlConfig>, Error> {
        let (shared, target) = (Arc::clone(self), target.clone());
        let function = target.function.clone();
        self.amend(who, "change the URL of", &function, move |entry, record| {
            entry.show(&target)?;
            let name = model::arn::reference(&target);
            let before = record.url_of(&target.qualifier);
            let revision = before.as_ref().map(|_| 0);
            check_expected(expected, revision, "function URL", &name)?;
            match &target.qualifier {
                Qualifier::Absent => {
                    let before = record.url.as_ref();
                    record.url = settings.map(|settings| shared.url_of(before, &settings));
                    if record.url.is_some() && record.url_id.is_none() {
                        record.url_id = Some(shared.url_id());
                    }
                }
                Qualifier::Alias(alias) => match settings {
                    Some(settings) => {
                        let before = record.alias_urls.get(alias);
                        let url = shared.url_of(before.map(|it| &it.url), &settings);
                        let url_id = before.map(|it| it.url_id.clone());
                        let url_id = url_id.unwrap_or_else(|| shared.url_id());
                        let made = AliasUrlRecord { url_id, url };
                        record.alias_urls.insert(alias.clone(), made);
                    }
                    None => drop(record.alias_urls.remove(alias)),
                },
                Qualifier::Version(_) => {
                    let thing = "function URL";
                    return Err(Error::NotThere { thing, name });
                }
            }
            Ok(record.url_of(&target.qualifier))
        })
        .await
    }

    /// A URL as its settings have it, which keeps what was before it.
    pub(crate) fn url_of(&self, before: Option<&UrlRecord>, settings: &UrlSettings) -> UrlRecord {
        let now_ms = self.clock.now_ms();
        let made = UrlRecord {
            cors: settings.cors.clone(),
            invoke_mode: settings.invoke_mode,
            auth: settings.auth,
            created_ms: before.map_or(now_ms, |before| before.created_ms),
            changed_ms: before.map_or(now_ms, |before| before.changed_ms),
        };
        if before.is_none_or(|before| *before == made) {
            return made;
        }
        UrlRecord {
            changed_ms: now_ms,
            ..made
        }
    }
}

impl FunctionRecord {
    /// Where the function, or an alias of it, answers, if it does.
    pub(crate) fn url_of(&self, qualifier: &Qualifier) -> Option<UrlConfig> {
        match qualifier {
            Qualifier::Absent => {
                let url = self.url.as_ref()?;
                Some(url.config(self.url_id.clone()?, self.url_port))
            }
            Qualifier::Alias(alias) => {
                let own = self.alias_urls.get(alias)?;
                Some(own.url.config(own.url_id.clone(), None))
            }
            Qualifier::Version(_) => None,
        }
    }

    /// What its policies let everybody invoke through a URL, by the keys of qualifiers.
    pub(crate) fn open_urls(&self) -> BTreeSet<String> {
        let asked = policy::Asked {
            account: None,
            action: policy::INVOKE_URL,
            url: Some(UrlAuth::Nobody),
        };
        let open = |policy: &PolicyRecord| policy.allows(&asked);
        let policies = self.policies.iter().filter(|(_, policy)| open(policy));
        policies.map(|(key, _)| key.clone()).collect()
    }

    /// Has the function's policy agree with what a project says of its URL: it lets everybody in
    /// where no signature is asked for, and else nobody whom it let in for that.
    pub(crate) fn agree_on_url(&mut self) -> Result<(), Error> {
        let public = self
            .url
            .as_ref()
            .is_some_and(|url| url.auth == UrlAuth::Nobody);
        let key = String::new();
        let mut before = self.policies.get(&key).cloned();
        let is_there = |policy: &PolicyRecord| policy.has(policy::PUBLIC_URL);
        let there = before.as_ref().is_some_and(is_there);
        if there == public && (!public || self.open_urls().contains(&key)) {
            return Ok(());
        }
        if there {
            let gone = PolicyChange::Remove(policy::PUBLIC_URL.to_owned());
            before = changed_policy(before, gone)?;
        }
        let after = if public {
            let statement = Statement {
                id: policy::PUBLIC_URL.to_owned(),
                text: policy::public_url(&model::arn::function(&self.id)),
            };
            changed_policy(before, PolicyChange::Add(statement))?
        } else {
            before
        };
        match after {
            Some(policy) => drop(self.policies.insert(key, policy)),
            None => drop(self.policies.remove(&key)),
        }
        Ok(())
    }

    /// All of them.
    pub(crate) fn urls(&self) -> Vec<(FunctionRef, UrlConfig)> {
        let aliases = self.alias_urls.keys().cloned().map(Qualifier::Alias);
        let qualifiers = std::iter::once(Qualifier::Absent).chain(aliases);
        let url = |qualifier| {
            let url = self.url_of(&qualifier)?;
            Some((reference(&self.id, qualifier), url))
        };
        qualifiers.filter_map(url).collect()
    }
}

fn reference(function: &FunctionId, qualifier: Qualifier) -> FunctionRef {
    FunctionRef {
        function: function.clone(),
        qualifier,
    }
}

impl UrlRecord {
    fn config(&self, url_id: String, port: Option<u16>) -> UrlConfig {
        UrlConfig {
            url_id,
            port,
            cors: self.cors.clone(),
            invoke_mode: self.invoke_mode,
            auth: self.auth,
            created_ms: self.created_ms,
            changed_ms: self.changed_ms,
        }
    }
}
