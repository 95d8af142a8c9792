//! Where a function's code is and what it needs to become a package.

use std::path::{Path, PathBuf};

use model::Runtime;

use super::reader::Reader;
use crate::error::Error;
use crate::project::BuildKind;
use crate::template::is_remote;
use crate::template::yaml::Node;

impl Reader<'_, '_> {
    pub(super) fn source(
        &mut self,
        runtime: Runtime,
        handler: &str,
    ) -> Result<Option<(PathBuf, BuildKind)>, Error> {
        if let Some(text) = self.text("InlineCode") {
            let stem = handler.rsplit_once('.').map_or("index", |(stem, _)| stem);
            let file = match runtime {
                Runtime::Python { .. } => format!("{stem}.py"),
                Runtime::Node { .. } => format!("{stem}.js"),
                _ => return Err(self.error("InlineCode", "InlineCode is for Python and Node only")),
            };
            if file.contains(['/', '\\']) {
                return Err(self.error(
                    "Handler",
                    "the handler of InlineCode is in no folder, such as index.handler",
                ));
            }
            return Ok(Some((
                self.context.folder.to_owned(),
                BuildKind::Inline { file, text },
            )));
        }
        let here = Node::text(self.resource.line, ".");
        let uri = self
            .properties
            .get("CodeUri")
            .filter(|uri| !uri.is_null())
            .unwrap_or(&here);
        if uri.as_text().is_none_or(|text| is_remote(&text)) {
            return Ok(self.leave_out("CodeUri", "its code is not beside the template"));
        }
        let Some(source) = self.context.source(uri, "CodeUri")? else {
            return Ok(None);
        };
        let build = self.build(runtime, handler, &source);
        Ok(Some((source, build)))
    }

    pub(super) fn build(&mut self, runtime: Runtime, handler: &str, source: &Path) -> BuildKind {
        let metadata = self.resource.node.get("Metadata");
        let property = |name: &str| metadata?.get("BuildProperties")?.get(name);
        for entry in metadata
            .and_then(|all| all.get("BuildProperties")?.map())
            .unwrap_or_default()
        {
            if entry.key != "Binary" && entry.key != "EntryPoints" {
                let what = format!("BuildProperties.{}", entry.key);
                self.context
                    .report
                    .unsupported(entry.line, what, Some(self.resource.id));
            }
        }
        let method = metadata.and_then(|all| all.get("BuildMethod"));
        match method.and_then(Node::as_text).as_deref() {
            Some("esbuild") => {
                let entries = property("EntryPoints")
                    .and_then(Node::list)
                    .unwrap_or_default();
                let entry = entries
                    .iter()
                    .filter_map(Node::as_text)
                    .find(|entry| is_entry_of(entry, handler));
                BuildKind::TypeScript {
                    entry: entry.map(|entry| entry.into_owned()),
                }
            }
            Some("rust-cargolambda") => {
                let binary = property("Binary").and_then(Node::as_text);
                BuildKind::Rust {
                    binary: binary.map(|name| name.into_owned()),
                }
            }
            Some("makefile") => BuildKind::Make {
                target: self.resource.id.to_owned(),
            },
            Some(other) if other.parse::<Runtime>().is_err() => {
                let line = method.map_or(self.resource.line, |node| node.line);
                self.context.report.unsupported(
                    line,
                    format!("BuildMethod {other}"),
                    Some(self.resource.id),
                );
                guess_build(runtime, handler, source)
            }
            _ => guess_build(runtime, handler, source),
        }
    }
}

/// Whether esbuild makes of this entry the file that the handler names.
fn is_entry_of(entry: &str, handler: &str) -> bool {
    let file = handler.rsplit_once('.').map_or(handler, |(file, _)| file);
    let stem = entry
        .rsplit_once('.')
        .map_or(entry, |(stem, _)| stem)
        .trim_start_matches("./");
    stem == file || stem.rsplit('/').next() == file.rsplit('/').next()
}

/// What a source needs, where the template does not say.
fn guess_build(runtime: Runtime, handler: &str, source: &Path) -> BuildKind {
    let stem = handler.rsplit_once('.').map_or(handler, |(stem, _)| stem);
    let has = |extensions: &[&str]| {
        extensions
            .iter()
            .any(|extension| source.join(format!("{stem}.{extension}")).is_file())
    };
    match runtime {
        Runtime::Python { .. } => BuildKind::Python,
        Runtime::Node { .. } if !has(&["js", "mjs", "cjs"]) && has(&["ts", "mts", "cts"]) => {
            BuildKind::TypeScript { entry: None }
        }
        Runtime::Node { .. } => BuildKind::Node,
        _ if source.join("Cargo.toml").is_file() => BuildKind::Rust { binary: None },
        _ => BuildKind::Copy,
    }
}
