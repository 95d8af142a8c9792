//! The handler of a source file that nobody named: looked for in the text, never run.

use std::path::Path;

use crate::environment::read_text;
use crate::error::Error;

/// Bytes of a source file that are looked through (ours; bundles have some megabytes).
const SOURCE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Names that handlers have in the vendor's own starters, in the order of preference.
const PYTHON: &[&str] = &["lambda_handler", "handler"];
const NODE: &[&str] = &["handler", "lambdaHandler"];

/// The handler of a Python module at `relative` in its folder.
pub(super) fn python(file: &Path, relative: &str) -> Result<String, Error> {
    let text = read_text(file, SOURCE_BYTES_MAX)?;
    let name = PYTHON
        .iter()
        .find(|name| text.lines().any(|line| defines_python(line, name)));
    let module = relative.trim_end_matches(".py").replace('/', ".");
    match name {
        Some(name) => Ok(format!("{module}.{name}")),
        None => Err(Error::NoHandler {
            file: file.to_owned(),
            looked_for: "lambda_handler(event, context) or handler(event, context) at its top level",
        }),
    }
}

/// Whether a line of Python binds a name at the top level of its module.
fn defines_python(line: &str, name: &str) -> bool {
    if line.starts_with([' ', '\t', '#']) {
        return false;
    }
    let after = |prefix: &str| {
        line.strip_prefix(prefix)
            .map(str::trim_start)
            .and_then(|rest| rest.strip_prefix(name))
    };
    let defined = after("def ")
        .or_else(|| after("async def "))
        .or_else(|| after("class "));
    if defined.is_some_and(|rest| rest.trim_start().starts_with(['(', ':'])) {
        return true;
    }
    let bound = after("").map(str::trim_start);
    let bound = bound.is_some_and(|rest| {
        (rest.starts_with('=') && !rest.starts_with("==")) || rest.starts_with(": ")
    });
    bound || ((line.starts_with("from ") || line.starts_with("import ")) && imports(line, name))
}

fn imports(line: &str, name: &str) -> bool {
    let Some((_, imported)) = line.split_once("import ") else {
        return false;
    };
    imported
        .trim_matches(['(', ')', ' '])
        .split(',')
        .any(|item| item.split_whitespace().next_back() == Some(name))
}

/// The handler of a Node module at `relative` in its folder.
pub(super) fn node(file: &Path, relative: &str) -> Result<String, Error> {
    let text = read_text(file, SOURCE_BYTES_MAX)?;
    let stem = relative.rsplit_once('.').map_or(relative, |(stem, _)| stem);
    match NODE.iter().find(|name| exports(&text, name)) {
        Some(name) => Ok(format!("{stem}.{name}")),
        None => Err(Error::NoHandler {
            file: file.to_owned(),
            looked_for: "an export named handler or lambdaHandler",
        }),
    }
}

/// Whether a module exports a name, in any of the forms of ES modules and CommonJS.
fn exports(text: &str, name: &str) -> bool {
    words(text, name).any(|at| {
        let before = text.get(..at).unwrap_or("");
        let line = before.rsplit('\n').next().unwrap_or("").trim_start();
        let commented = line.starts_with("//") || line.starts_with('*') || line.starts_with("/*");
        let before = before.trim_end();
        !commented
            && (before.ends_with("exports.")
                || ["exports[\"", "exports['"]
                    .iter()
                    .any(|form| before.ends_with(form))
                || is_declared_export(before)
                || is_in_export_list(before))
    })
}

/// Where a name stands in a text as a word of its own.
fn words<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(name)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = text.get(..*at).and_then(|text| text.chars().next_back());
            let after = text
                .get(at + name.len()..)
                .and_then(|text| text.chars().next());
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

/// `export const`, `export async function`, `export class` and their like, right before a name.
fn is_declared_export(before: &str) -> bool {
    let mut words = before
        .split_whitespace()
        .rev()
        .map(|word| word.trim_end_matches('*'));
    words
        .by_ref()
        .take_while(|word| {
            matches!(
                *word,
                "const" | "let" | "var" | "function" | "async" | "class" | "" | "export"
            )
        })
        .any(|word| word == "export")
}

/// Whether the text ends within the braces of `export { ...` or `module.exports = { ...`.
fn is_in_export_list(before: &str) -> bool {
    let Some(open) = before.rfind('{') else {
        return false;
    };
    let (head, inside) = before.split_at(open);
    let head = head.trim_end();
    let opened =
        head.ends_with("export") || head.ends_with("exports =") || head.ends_with("exports=");
    // In `{ handler as other }` the name that is exported is the other one; `{ a: handler }`
    // exports a.
    opened && !inside.contains('}') && !inside.trim_end().ends_with(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_handlers_are_found_at_the_top_level() {
        let check =
            |line: &str, found: bool| assert_eq!(defines_python(line, "handler"), found, "{line}");
        check("def handler(event, context):", true);
        check("async def handler (event, context):", true);
        check("handler = Mangum(app)", true);
        check("handler: Handler = make()", true);
        check("from .routes import api, handler", true);
        check("from .routes import serve as handler", true);
        check("    def handler(self):", false);
        check("# handler = 1", false);
        check("def handler_of(event):", false);
        check("handler == 1", false);
    }

    #[test]
    fn node_handlers_are_found_in_every_form_of_export() {
        let check = |text: &str, found: bool| assert_eq!(exports(text, "handler"), found, "{text}");
        check("export const handler = async () => {}", true);
        check("export async function handler(event) {}", true);
        check("export function* handler(event) {}", true);
        check("exports.handler = () => {}", true);
        check("module.exports.handler = f", true);
        check("module.exports = { other, handler }", true);
        check("module.exports = {\n  handler: async () => 1,\n}", true);
        check("const handler = 1\nexport { handler }", true);
        check("export { run as handler }", true);
        check("export const handler: Handler = async () => {}", true);
        check("const handler = 1", false);
        check("// exports.handler = 1", false);
        check("export const handlers = []", false);
        check("module.exports = { other: handler }", false);
    }
}
