//! `AWS::Serverless::Function`: its properties over those of `Globals.Function`.

mod reader;
mod settings;
mod source;

use std::collections::HashMap;

use super::report::Report;
use super::resolve::Resolver;
use super::yaml::{Entry, Node, Value};
use super::{Context, Resource};
use crate::error::Error;
use crate::project::FunctionPlan;
use reader::Reader;

/// Properties that are acted on.
const KNOWN: &[&str] = &[
    "Architectures",
    "CodeUri",
    "Description",
    "Environment",
    "EphemeralStorage",
    "FunctionName",
    "FunctionUrlConfig",
    "Handler",
    "InlineCode",
    "Layers",
    "LoggingConfig",
    "MemorySize",
    "PackageType",
    "ReservedConcurrentExecutions",
    "Runtime",
    "Timeout",
];

/// The function's name: as given, else the resource's, as SAM's own local tools have it.
pub(super) fn name(
    resource: &Resource<'_>,
    resolver: &Resolver<'_>,
    report: &mut Report,
) -> String {
    resource
        .node
        .get("Properties")
        .and_then(|properties| properties.get("FunctionName"))
        .and_then(|name| resolver.resolve(name, report))
        .and_then(|name| name.as_text().map(|text| text.into_owned()))
        .unwrap_or_else(|| resource.id.to_owned())
}

/// Reads a function; none if it cannot run here, which is reported.
pub(super) fn read(
    resource: &Resource<'_>,
    context: &mut Context<'_>,
) -> Result<Option<FunctionPlan>, Error> {
    let own = resource.node.get("Properties");
    report_unknown(resource, own, context);
    let own = own.cloned().unwrap_or(Node {
        line: resource.line,
        value: Value::Map(Vec::new()),
    });
    let mut merged = match context.globals {
        Some(globals) => merge(globals, &own),
        None => own,
    };
    if let Value::Map(entries) = &mut merged.value {
        entries.retain(|entry| KNOWN.contains(&entry.key.as_str()));
    }
    let Some(resolved) = context.resolver.resolve(&merged, &mut context.report) else {
        return Ok(None);
    };
    let mut reader = Reader {
        resource,
        properties: &resolved,
        context,
    };
    reader.read()
}

fn report_unknown(resource: &Resource<'_>, own: Option<&Node>, context: &mut Context<'_>) {
    let entries = |node: Option<&Node>| node.and_then(Node::map).unwrap_or_default().to_vec();
    for entry in entries(own) {
        if entry.key == "Events" {
            for event in entry.value.map().unwrap_or_default() {
                let kind = event
                    .value
                    .get("Type")
                    .and_then(Node::as_text)
                    .unwrap_or("without a type".into());
                context.report.unsupported(
                    event.line,
                    format!("the event type {kind}"),
                    Some(resource.id),
                );
            }
        } else if !KNOWN.contains(&entry.key.as_str()) {
            let what = format!("{} of {}", entry.key, resource.kind);
            context
                .report
                .unsupported(entry.line, what, Some(resource.id));
        }
    }
    for entry in entries(context.globals) {
        if !KNOWN.contains(&entry.key.as_str()) {
            context.report.unsupported(
                entry.line,
                format!("{} of Globals.Function", entry.key),
                None,
            );
        }
    }
}

/// Maps are merged, lists follow each other, everything else is replaced: as SAM does it.
fn merge(global: &Node, own: &Node) -> Node {
    let value = match (&global.value, &own.value) {
        (Value::Map(global), Value::Map(mine)) if !is_intrinsic(global) && !is_intrinsic(mine) => {
            let mut entries = global.clone();
            let places = global.iter().enumerate();
            let places: HashMap<&str, usize> = places
                .map(|(place, entry)| (entry.key.as_str(), place))
                .collect();
            for entry in mine {
                let place = places.get(entry.key.as_str());
                match place.and_then(|place| entries.get_mut(*place)) {
                    Some(other) => {
                        let value = merge(&other.value, &entry.value);
                        *other = Entry {
                            value,
                            ..entry.clone()
                        };
                    }
                    None => entries.push(entry.clone()),
                }
            }
            Value::Map(entries)
        }
        (Value::List(global), Value::List(mine)) => {
            Value::List(global.iter().chain(mine).cloned().collect())
        }
        _ => own.value.clone(),
    };
    Node {
        line: own.line,
        value,
    }
}

fn is_intrinsic(entries: &[Entry]) -> bool {
    matches!(entries, [only] if only.key == "Ref" || only.key.starts_with("Fn::"))
}
