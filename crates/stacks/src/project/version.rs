//! The runtime of a function that names none: the newest that its project allows.

use std::path::Path;

use model::Runtime;

use super::Options;
use crate::environment::{read_bounded, read_toml};
use crate::error::Error;

/// Taken where neither the project nor the host decides.
const PYTHON_DEFAULT: Runtime = Runtime::Python { minor: 13 };
const NODE_DEFAULT: Runtime = Runtime::Node { major: 22 };

/// The Python of a folder: `.python-version`, then `requires-python`.
pub(super) fn python(
    folder: &Path,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Runtime, Error> {
    let minor = |runtime: &Runtime| match runtime {
        Runtime::Python { minor } => Some(vec![3, u32::from(*minor)]),
        _ => None,
    };
    if let Some(wanted) = first_line(&folder.join(".python-version")) {
        let wanted = wanted
            .trim_start_matches("cpython-")
            .trim_start_matches("python");
        return Ok(
            choose(&format!("=={wanted}.*"), PYTHON_DEFAULT, &minor, options).unwrap_or_else(
                || unfit(folder, ".python-version", wanted, PYTHON_DEFAULT, warnings),
            ),
        );
    }
    let rule = requires_python(folder)?.unwrap_or_default();
    Ok(choose(&rule, PYTHON_DEFAULT, &minor, options)
        .unwrap_or_else(|| unfit(folder, "pyproject.toml", &rule, PYTHON_DEFAULT, warnings)))
}

/// The Node of a folder: `.nvmrc` or `.node-version`, then `engines.node`.
pub(super) fn node(
    folder: &Path,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Runtime, Error> {
    let major = |runtime: &Runtime| match runtime {
        Runtime::Node { major } => Some(vec![u32::from(*major)]),
        _ => None,
    };
    for file in [".nvmrc", ".node-version"] {
        let wanted = first_line(&folder.join(file));
        // Names such as `lts/*` leave the choice open.
        if let Some(wanted) = wanted.filter(|line| {
            line.trim_start_matches('v')
                .starts_with(|c: char| c.is_ascii_digit())
        }) {
            return Ok(choose(
                wanted.trim_start_matches('v'),
                NODE_DEFAULT,
                &major,
                options,
            )
            .unwrap_or_else(|| unfit(folder, file, &wanted, NODE_DEFAULT, warnings)));
        }
    }
    let rule = engines_node(folder).unwrap_or_default();
    Ok(choose(&rule, NODE_DEFAULT, &major, options)
        .unwrap_or_else(|| unfit(folder, "package.json", &rule, NODE_DEFAULT, warnings)))
}

/// The newest runtime of the host that fits, else the default if it fits, else the newest.
fn choose(
    rule: &str,
    default: Runtime,
    version: &dyn Fn(&Runtime) -> Option<Vec<u32>>,
    options: &Options,
) -> Option<Runtime> {
    let fits = |runtime: &Runtime| version(runtime).is_some_and(|version| allows(rule, &version));
    let mut fitting: Vec<_> = Runtime::ALL.into_iter().filter(fits).collect();
    fitting.sort_by_key(|runtime| std::cmp::Reverse(version(runtime)));
    let here = fitting.iter().find(|runtime| (options.has)(**runtime));
    here.or_else(|| fitting.iter().find(|runtime| **runtime == default))
        .or_else(|| fitting.first())
        .copied()
}

fn unfit(
    folder: &Path,
    file: &str,
    rule: &str,
    default: Runtime,
    warnings: &mut Vec<String>,
) -> Runtime {
    warnings.push(format!(
        "{}: no runtime is '{}'; {default} is used",
        folder.join(file).display(),
        rule.trim()
    ));
    default
}

fn first_line(file: &Path) -> Option<String> {
    let text = read_bounded(file).ok()?;
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    Some(line.to_owned())
}

fn requires_python(folder: &Path) -> Result<Option<String>, Error> {
    let file = folder.join("pyproject.toml");
    if !file.is_file() {
        return Ok(None);
    }
    let table = read_toml(&file)?;
    let project = table
        .get("project")
        .and_then(|project| project.get("requires-python"));
    let poetry = || {
        table
            .get("tool")?
            .get("poetry")?
            .get("dependencies")?
            .get("python")
    };
    let rule = project.or_else(poetry).and_then(toml::Value::as_str);
    Ok(rule.map(str::to_owned))
}

fn engines_node(folder: &Path) -> Option<String> {
    let text = read_bounded(&folder.join("package.json")).ok()?;
    let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(manifest.get("engines")?.get("node")?.as_str()?.to_owned())
}

/// Whether a rule of Python's or npm's form allows some release of a version of which only the
/// first numbers are given. Commas and white space join, `||` separates.
fn allows(rule: &str, version: &[u32]) -> bool {
    let rule = rule.trim();
    rule.is_empty() || rule.split("||").any(|part| allows_all(part, version))
}

fn allows_all(part: &str, version: &[u32]) -> bool {
    // `>= 18` is one term, though there is a space in it.
    let mut joined = String::new();
    for word in part.split([',', ' ']).filter(|word| !word.is_empty()) {
        if !joined.ends_with(['<', '>', '=', '~', '^', '!']) {
            joined.push(' ');
        }
        joined.push_str(word);
    }
    let words: Vec<&str> = joined.split_whitespace().collect();
    if let [low, "-", high] = words.as_slice() {
        return allows_term(&format!(">={low}"), version)
            && allows_term(&format!("<={high}"), version);
    }
    words.iter().all(|term| allows_term(term, version))
}

fn allows_term(term: &str, version: &[u32]) -> bool {
    let split = term
        .find(|c: char| c.is_ascii_digit() || c == 'v' || c == '*' || c == 'x')
        .unwrap_or(term.len());
    let (operator, number) = term.split_at(split);
    let wanted: Vec<u32> = number
        .trim_start_matches('v')
        .split('.')
        .map_while(|part| {
            part.trim_end_matches(|c: char| !c.is_ascii_digit())
                .parse()
                .ok()
        })
        .collect();
    let Some(head) = wanted.get(..wanted.len().min(version.len())) else {
        return true;
    };
    let own = version.get(..head.len()).unwrap_or(version);
    let exact = wanted.len() <= version.len();
    match operator {
        ">=" => own >= head,
        // Some release of 3.9 comes after 3.9.1, but none after "3.9" or "<3.9".
        ">" => own > head || (own == head && !exact),
        "<=" => own <= head,
        "<" => {
            own < head || (own == head && !exact && wanted.iter().skip(head.len()).any(|n| *n > 0))
        }
        "!=" => own != head || !exact,
        // The last number may grow, in Python's and in npm's sense, the others may not.
        "~=" | "^" => own.first() == head.first() && own >= head,
        _ => own == head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_both_worlds() {
        let check = |rule: &str, version: &[u32], allowed: bool| {
            assert_eq!(allows(rule, version), allowed, "{rule} {version:?}");
        };
        check("", &[3, 12], true);
        check(">=3.10", &[3, 12], true);
        check(">=3.10", &[3, 9], false);
        check(">=3.9,<3.12", &[3, 12], false);
        check(">=3.9,<3.12", &[3, 11], true);
        check(">=3.9, <4.0", &[3, 14], true);
        check("~=3.10", &[3, 13], true);
        check("^3.11", &[3, 10], false);
        check("==3.12.*", &[3, 12], true);
        check("==3.12.1.*", &[3, 12], true);
        check("==3.12.1.*", &[3, 13], false);
        check("!=3.11", &[3, 11], false);
        check("<3.12.4", &[3, 12], true);
        check("<3.12.0", &[3, 12], false);
        check(">=18", &[24], true);
        check(">= 18 < 22", &[22], false);
        check("18.x || 20.x", &[20], true);
        check("18.x || 20.x", &[22], false);
        check("18 - 20", &[20], true);
        check("v20.11.1", &[20], true);
        check("*", &[20], true);
        check("nonsense", &[20], true);
    }
}
