//! Operations that list: functions, versions, aliases and URLs, page by page.

use std::sync::Arc;

use engine::verb::FunctionView;
use http::{Response, StatusCode};
use model::{FunctionRef, Qualifier, VersionId};
use serde::Serialize;
use serde_json::json;

use super::super::Aws;
use super::error::Refusal;
use super::{Ask, configuration, invalid, json};
use crate::Body;

/// Items on a page where the caller asks for no number, and at most (AWS documentation).
const PAGE: usize = 50;
/// Largest number that may be asked for (service model).
const MAX_ITEMS: usize = 10_000;

/// One page of a list: the first item's index, and how many.
struct Page {
    begin: usize,
    count: usize,
}

impl Page {
    /// Reads `MaxItems` and `Marker`; markers are opaque to callers.
    fn of(ask: &Ask<'_>, at_most: usize) -> Result<Self, Refusal> {
        let count = match ask.parameter("MaxItems") {
            None => PAGE,
            Some(text) => match text.parse() {
                Ok(count) if (1..=MAX_ITEMS).contains(&count) => count,
                Ok(0) => {
                    let rule = "Member must have value greater than or equal to 1";
                    return Err(Refusal::constraint(&text, "maxItems", rule));
                }
                _ => {
                    let rule = "Member must have value less than or equal to 10000";
                    return Err(Refusal::constraint(&text, "maxItems", rule));
                }
            },
        };
        let begin = match ask.parameter("Marker") {
            None => 0,
            Some(marker) => marker.parse().map_err(|_| invalid("Invalid Marker"))?,
        };
        Ok(Self {
            begin,
            count: count.min(at_most),
        })
    }

    /// The page of all items, under its name, with the marker of the next.
    fn answer<T: Serialize>(&self, name: &str, items: Vec<T>) -> Result<Response<Body>, Refusal> {
        let end = self.begin.saturating_add(self.count);
        let more = items.len() > end;
        let page: Vec<T> = items
            .into_iter()
            .skip(self.begin)
            .take(self.count)
            .collect();
        let mut answer = json!({ name: page });
        if more {
            answer["NextMarker"] = end.to_string().into();
        }
        json(StatusCode::OK, &answer)
    }
}

fn at_version(function: &FunctionView, version: VersionId) -> FunctionRef {
    FunctionRef {
        function: function.id.clone(),
        qualifier: Qualifier::Version(version),
    }
}

impl Aws {
    pub(super) fn list_functions(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let page = Page::of(ask, PAGE)?;
        let functions = self
            .engine
            .list(&ask.caller.account, Some(&ask.caller.region));
        let all = match ask.parameter("FunctionVersion").as_deref() {
            None => false,
            Some("ALL") => true,
            Some(other) => {
                let rule = "Member must satisfy enum value set: [ALL]";
                return Err(Refusal::constraint(other, "functionVersion", rule));
            }
        };
        if all {
            let versions: Vec<_> = functions
                .iter()
                .flat_map(|function| self.versions(function))
                .collect();
            let shown = versions
                .iter()
                .map(|(view, target)| configuration::listed(view, target));
            return page.answer("Functions", shown.collect());
        }
        let shown = functions
            .iter()
            .map(|function| configuration::listed(function, &function.id.unqualified()));
        page.answer("Functions", shown.collect())
    }

    pub(super) fn list_versions(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let page = Page::of(ask, PAGE)?;
        let function = self.found(ask, &ask.whole()?)?;
        let versions = self.versions(&function);
        let shown = versions
            .iter()
            .map(|(view, target)| configuration::listed(view, target));
        page.answer("Versions", shown.collect())
    }

    /// `$LATEST` and every published version, each with the reference that names it.
    fn versions(&self, latest: &Arc<FunctionView>) -> Vec<(Arc<FunctionView>, FunctionRef)> {
        let mut versions = vec![(latest.clone(), at_version(latest, VersionId::Latest))];
        let published = latest
            .versions
            .iter()
            .filter(|version| **version != VersionId::Latest);
        versions.extend(published.filter_map(|version| {
            let target = at_version(latest, *version);
            // One that is gone since the list was read is simply not shown.
            self.engine.find(&target).ok().map(|view| (view, target))
        }));
        versions
    }

    pub(super) fn list_aliases(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let page = Page::of(ask, MAX_ITEMS)?;
        let function = self.found(ask, &ask.whole()?)?;
        let only = ask.parameter("FunctionVersion");
        let leads_there = |routes: &[(VersionId, f64)]| {
            only.as_ref().is_none_or(|only| {
                routes
                    .iter()
                    .any(|(version, _)| version.to_string() == *only)
            })
        };
        let aliases = function
            .aliases
            .iter()
            .filter(|alias| leads_there(&alias.routes));
        let shown = aliases.map(|alias| configuration::alias(&function, alias));
        page.answer("Aliases", shown.collect())
    }

    pub(super) fn list_function_urls(&self, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
        let page = Page::of(ask, PAGE)?;
        let function = self.found(ask, &ask.whole()?)?;
        let urls = function.url.iter();
        let shown = urls.map(|url| configuration::url(&function, url, &self.settings));
        page.answer("FunctionUrlConfigs", shown.collect())
    }
}
