//! SAM templates: the functions and layers in them, and a warning for all else that they say.

mod function;
mod layer;
mod report;
mod resolve;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::project::{Found, Options};
use report::Report;
use resolve::Resolver;
use yaml::{Entry, Node};

/// The names that templates have, in the order in which they are looked for.
const NAMES: &[&str] = &["template.yaml", "template.yml", "template.json"];
const FUNCTION: &str = "AWS::Serverless::Function";
const LAYER: &str = "AWS::Serverless::LayerVersion";

/// The template of a folder.
pub(crate) fn find(folder: &Path) -> Option<PathBuf> {
    NAMES
        .iter()
        .map(|name| folder.join(name))
        .find(|file| file.is_file())
}

/// Whether a file is one, by its name.
pub(crate) fn is_template(file: &Path) -> bool {
    file.file_name()
        .is_some_and(|name| NAMES.iter().any(|known| name == OsStr::new(known)))
}

/// What the readers of single resources need.
struct Context<'a> {
    folder: &'a Path,
    resolver: Resolver<'a>,
    report: Report,
    layers: BTreeMap<String, crate::project::LayerPlan>,
    /// Layers that are there and cannot be read: whatever uses them is left out.
    faulty_layers: BTreeSet<String>,
    /// What is named and not there; once it is, the template means something else.
    awaited: Vec<PathBuf>,
    globals: Option<&'a Node>,
}

/// One entry of `Resources`.
struct Resource<'a> {
    id: &'a str,
    kind: String,
    node: &'a Node,
    line: usize,
}

/// Reads a template.
pub(crate) fn read(file: &Path, folder: &Path, options: &Options) -> Result<Found, Error> {
    let text = crate::environment::read_bounded(file)?;
    let mut found = read_text(&text, file, folder, options)?;
    found.manifests.push(file.to_owned());
    if found.functions.is_empty() {
        let hint = format!(
            "; {} holds no function that can run here{}",
            file.display(),
            found
                .warnings
                .iter()
                .map(|warning| format!("\n  {warning}"))
                .collect::<String>()
        );
        return Err(Error::NoFunctions {
            folder: folder.to_owned(),
            hint,
        });
    }
    Ok(found)
}

fn read_text(text: &str, file: &Path, folder: &Path, options: &Options) -> Result<Found, Error> {
    let root = yaml::parse(text).map_err(|error| Error::Syntax {
        file: file.to_owned(),
        line: error.line,
        problem: error.problem,
    })?;
    let mut report = Report::new(file);
    let sections = root
        .map()
        .ok_or_else(|| report.error(root.line, "a template is a map with a Resources section"))?;
    check_sections(sections, &mut report);
    let resources = resources(&root, &mut report)?;
    let stack = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let resolver = Resolver::new(
        &root,
        options,
        stack.unwrap_or_else(|| "project".into()),
        &mut report,
    );
    let globals = root
        .get("Globals")
        .and_then(|globals| globals.get("Function"));
    let mut context = Context {
        folder,
        resolver,
        report,
        layers: BTreeMap::new(),
        faulty_layers: BTreeSet::new(),
        awaited: Vec::new(),
        globals,
    };
    context.read(&resources)
}

/// Names what the template says outside of its resources and is not acted on.
fn check_sections(sections: &[Entry], report: &mut Report) {
    for Entry { line, key, value } in sections {
        match key.as_str() {
            "AWSTemplateFormatVersion"
            | "Description"
            | "Metadata"
            | "Parameters"
            | "Mappings"
            | "Conditions"
            | "Resources" => {}
            "Transform" => check_transform(value, report),
            "Globals" => {
                for entry in value
                    .map()
                    .unwrap_or_default()
                    .iter()
                    .filter(|entry| entry.key != "Function")
                {
                    report.unsupported(entry.line, format!("Globals.{}", entry.key), None);
                }
            }
            _ => report.unsupported(*line, format!("the section {key}"), None),
        }
    }
}

fn check_transform(value: &Node, report: &mut Report) {
    let one = std::slice::from_ref(value);
    for transform in value.list().unwrap_or(one) {
        let name = transform.as_text();
        if name.as_deref() != Some("AWS::Serverless-2016-10-31") {
            let name = name.unwrap_or("of its own".into());
            report.unsupported(transform.line, format!("the transform {name}"), None);
        }
    }
}

fn resources<'a>(root: &'a Node, report: &mut Report) -> Result<Vec<Resource<'a>>, Error> {
    let entries = root
        .get("Resources")
        .and_then(Node::map)
        .ok_or_else(|| report.error(root.line, "the Resources section is missing"))?;
    let mut resources = Vec::new();
    for entry in entries {
        if entry.key.starts_with("Fn::") {
            report.unsupported(entry.line, entry.key.clone(), None);
            continue;
        }
        let kind = entry
            .value
            .get("Type")
            .and_then(Node::as_text)
            .ok_or_else(|| {
                report.error(
                    entry.line,
                    &format!("the resource {} has no Type", entry.key),
                )
            })?;
        check_attributes(&entry.value, &kind, &entry.key, report);
        resources.push(Resource {
            id: &entry.key,
            kind: kind.into_owned(),
            node: &entry.value,
            line: entry.line,
        });
    }
    Ok(resources)
}

/// What stands beside the properties: that some is made, updated or removed in an order matters
/// only where it is made at all.
fn check_attributes(resource: &Node, kind: &str, id: &str, report: &mut Report) {
    const KNOWN: &[&str] = &[
        "Type",
        "Properties",
        "Condition",
        "Metadata",
        "DependsOn",
        "DeletionPolicy",
        "UpdateReplacePolicy",
    ];
    let made = kind == FUNCTION || kind == LAYER;
    let entries = resource.map().unwrap_or_default().iter();
    for entry in entries.filter(|entry| made && !KNOWN.contains(&entry.key.as_str())) {
        report.unsupported(entry.line, format!("{} of {kind}", entry.key), Some(id));
    }
}

impl Context<'_> {
    fn read(&mut self, resources: &[Resource<'_>]) -> Result<Found, Error> {
        let resources: Vec<&Resource<'_>> = resources
            .iter()
            .filter(|resource| self.is_wanted(resource))
            .collect();
        for resource in &resources {
            let name = match resource.kind.as_str() {
                FUNCTION => function::name(resource, &self.resolver, &mut self.report),
                _ => resource.id.to_owned(),
            };
            self.resolver
                .add_resource(resource.id, &resource.kind, name);
        }
        let mut found = Found::default();
        for resource in resources.iter().filter(|resource| resource.kind == LAYER) {
            match layer::read(resource, self) {
                Ok(Some(layer)) => {
                    self.layers.insert(resource.id.to_owned(), layer);
                }
                Ok(None) => {}
                Err(error) => {
                    self.leave_out(resource, error)?;
                    self.faulty_layers.insert(resource.id.to_owned());
                }
            }
        }
        for resource in &resources {
            match resource.kind.as_str() {
                FUNCTION => match function::read(resource, self) {
                    Ok(Some(function)) => found
                        .functions
                        .push((function, vec![resource.id.to_owned()])),
                    Ok(None) => {}
                    Err(error) => {
                        self.leave_out(resource, error)?;
                        let name = function::name(resource, &self.resolver, &mut self.report);
                        found.left_out.extend(name.parse().ok());
                    }
                },
                LAYER => {}
                kind => self
                    .report
                    .unsupported_type(resource.line, kind, resource.id),
            }
        }
        found.warnings = self.report.take();
        found.manifests.append(&mut self.awaited);
        Ok(found)
    }

    /// Says what is wrong with one resource, so that the others go on.
    fn leave_out(&mut self, resource: &Resource<'_>, error: Error) -> Result<(), Error> {
        match error {
            Error::Template { line, problem, .. } => {
                let text = format!("{} is left out: {problem}", resource.id);
                self.report.warn(line, text);
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Whether a resource's condition holds, if it has one.
    fn is_wanted(&mut self, resource: &Resource<'_>) -> bool {
        let Some(condition) = resource.node.get("Condition") else {
            return true;
        };
        match condition.as_text() {
            Some(name) => self
                .resolver
                .condition(&name, condition.line, &mut self.report),
            None => true,
        }
    }

    /// A folder that a template names, relative to its own.
    fn source(&mut self, named: &Node, property: &str) -> Result<Option<PathBuf>, Error> {
        let Some(text) = named.as_text() else {
            return Ok(None);
        };
        let path = self.folder.join(text.as_ref());
        let folder = path.canonicalize().ok().filter(|folder| folder.is_dir());
        match folder {
            Some(folder) => Ok(Some(folder)),
            None if path.is_file() => Err(self.report.error(
                named.line,
                &format!("{property} names the file {text}; unpack it, and name the folder"),
            )),
            None => {
                self.awaited.extend(first_missing(&path));
                Err(self.report.error(
                    named.line,
                    &format!("{property} names {text}, which is no folder beside the template"),
                ))
            }
        }
    }
}

/// The first part of a path that is not there, in the folder that is.
fn first_missing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|missing| {
        let there = missing.parent()?.canonicalize().ok()?;
        Some(there.join(missing.file_name()?))
    })
}

/// Whether text names something in a bucket and not a folder.
fn is_remote(text: &str) -> bool {
    text.starts_with("s3://") || text.starts_with("https://") || text.starts_with("http://")
}

#[cfg(test)]
mod tests;
