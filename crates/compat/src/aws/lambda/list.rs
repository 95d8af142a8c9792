//! Operations that list: functions, versions, aliases and URLs, page by page.

use std::sync::Arc;

use engine::verb::FunctionView;
use model::{FunctionRef, Qualifier, VersionId};

use super::error::Refusal;
use super::shapes::choice::FunctionVersion;
use super::shapes::*;
use super::{Ask, configuration, invalid};
use crate::aws::Aws;

/// Items on a page where the caller asks for no number, and at most (AWS documentation).
const PAGE: usize = 50;
/// Aliases on a page at most, which is how many may be asked for (service model).
const MAX_ITEMS: usize = 10_000;

/// One page of a list: the first item's index, and how many.
pub(super) struct Page {
    begin: usize,
    count: usize,
}

impl Page {
    /// Reads `MaxItems` and `Marker`; markers are opaque to callers.
    pub(super) fn of(
        items: Option<i32>,
        marker: Option<&str>,
        at_most: usize,
    ) -> Result<Self, Refusal> {
        let count = items.map_or(PAGE, |items| usize::try_from(items).unwrap_or(1));
        let begin = match marker {
            None => 0,
            Some(marker) => marker.parse().map_err(|_| invalid("Invalid Marker"))?,
        };
        Ok(Self {
            begin,
            count: count.min(at_most),
        })
    }

    /// The page's items of all, and the marker of the next page.
    pub(super) fn cut<T>(&self, items: Vec<T>) -> (Option<Vec<T>>, Option<String>) {
        let end = self.begin.saturating_add(self.count);
        let marker = (items.len() > end).then(|| end.to_string());
        let page = items.into_iter().skip(self.begin).take(self.count);
        (Some(page.collect()), marker)
    }
}

fn at_version(function: &FunctionView, version: VersionId) -> FunctionRef {
    FunctionRef {
        function: function.id.clone(),
        qualifier: Qualifier::Version(version),
    }
}

impl Aws {
    pub(super) fn list_functions(
        &self,
        ask: &Ask<'_>,
        request: ListFunctionsRequest,
    ) -> Result<ListFunctionsResponse, Refusal> {
        let page = Page::of(request.max_items, request.marker.as_deref(), PAGE)?;
        let functions = self
            .engine
            .list(&ask.caller.account, Some(&ask.caller.region));
        let found: Vec<_> = if request.function_version == Some(FunctionVersion::All) {
            let versions = functions
                .iter()
                .flat_map(|function| self.versions(function));
            versions.collect()
        } else {
            let functions = functions.into_iter();
            functions
                .map(|function| (Arc::clone(&function), function.id.unqualified()))
                .collect()
        };
        // What is on the page only: the shape of each costs more than finding all.
        let (found, next_marker) = page.cut(found);
        let listed = found.into_iter().flatten();
        let functions = listed.map(|(view, target)| configuration::listed(&view, &target));
        Ok(ListFunctionsResponse {
            next_marker,
            functions: Some(functions.collect()),
        })
    }

    pub(super) fn list_versions(
        &self,
        ask: &Ask<'_>,
        request: ListVersionsByFunctionRequest,
    ) -> Result<ListVersionsByFunctionResponse, Refusal> {
        let page = Page::of(request.max_items, request.marker.as_deref(), PAGE)?;
        let function = self.found(ask, &ask.whole(&request.function_name)?)?;
        let versions = self.versions(&function);
        let shown = versions
            .iter()
            .map(|(view, target)| configuration::listed(view, target));
        let (versions, next_marker) = page.cut(shown.collect());
        Ok(ListVersionsByFunctionResponse {
            next_marker,
            versions,
        })
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

    pub(super) fn list_aliases(
        &self,
        ask: &Ask<'_>,
        request: ListAliasesRequest,
    ) -> Result<ListAliasesResponse, Refusal> {
        let page = Page::of(request.max_items, request.marker.as_deref(), MAX_ITEMS)?;
        let function = self.found(ask, &ask.whole(&request.function_name)?)?;
        let leads_there = |routes: &[(VersionId, f64)]| {
            request.function_version.as_ref().is_none_or(|only| {
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
        let (aliases, next_marker) = page.cut(shown.collect());
        Ok(ListAliasesResponse {
            next_marker,
            aliases,
        })
    }
}
