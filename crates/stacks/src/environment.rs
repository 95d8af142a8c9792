//! Environment variables from beside the code: `.env` files and the JSON form of SAM's
//! `--env-vars`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Error;

/// Bytes of a settings file that are read (ours; a function may have 4 KB of variables).
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// What SAM's env-vars file says: variables of single functions and of all.
#[derive(Debug, Clone, Default)]
pub struct EnvVars {
    all: Variables,
    functions: BTreeMap<String, Variables>,
}

impl EnvVars {
    /// Reads `{"FunctionName": {"KEY": "value"}, "Parameters": {"KEY": "for all"}}`.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let text = read_bounded(file)?;
        Self::parse(&text).map_err(|(line, problem)| Error::Syntax {
            file: file.to_owned(),
            line,
            problem,
        })
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        type Form = BTreeMap<String, BTreeMap<String, serde_json::Value>>;
        let form: Form = serde_json::from_str(text).map_err(|error| {
            (
                error.line(),
                format!("expected {{\"FunctionName\": {{\"KEY\": \"value\"}}}}: {error}"),
            )
        })?;
        let mut vars = Self::default();
        for (name, variables) in form {
            let variables = variables
                .into_iter()
                .filter_map(|(key, value)| scalar(value).map(|value| (key, value)))
                .collect();
            if name == "Parameters" {
                vars.all = variables;
            } else {
                vars.functions.insert(name, variables);
            }
        }
        Ok(vars)
    }

    /// Sets what the file says about a function, known by any of these names.
    pub(crate) fn apply(&self, names: &[&str], variables: &mut Variables) {
        let own = names.iter().filter_map(|name| self.functions.get(*name));
        for (key, value) in std::iter::once(&self.all).chain(own).flatten() {
            variables.insert(key.clone(), value.clone());
        }
    }

    /// The names of functions that it speaks of.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }
}

fn scalar(value: serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Some(value.to_string()),
        // As with SAM, a null leaves the variable as it is.
        _ => None,
    }
}

/// The variables of a `.env` file, empty where there is none, and what was not understood in it.
pub(crate) fn read_dotenv(file: &Path, warnings: &mut Vec<String>) -> Result<Variables, Error> {
    if !file.is_file() {
        return Ok(Variables::new());
    }
    let text = read_bounded(file)?;
    Ok(parse_dotenv(&text, &file.display().to_string(), warnings))
}

fn parse_dotenv(text: &str, file: &str, warnings: &mut Vec<String>) -> Variables {
    let mut variables = Variables::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut warn = |what: &str| warnings.push(format!("{file}:{}: {what}", index + 1));
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((key, value)) = line.split_once('=') else {
            warn("not of the form KEY=VALUE; left out");
            continue;
        };
        let key = key.trim();
        match (check_name(key), unquote(value.trim())) {
            (Some(problem), _) => warn(&format!("{key} {problem}; left out")),
            (None, None) => warn(&format!(
                "the quotes around the value of {key} do not end; left out"
            )),
            (None, Some(value)) => drop(variables.insert(key.to_owned(), value)),
        }
    }
    variables
}

/// What is wrong with a variable's name, if anything is. `.env` files often hold credentials for
/// other tools, which must not keep a function from being deployed.
fn check_name(name: &str) -> Option<&'static str> {
    let shaped = name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if model::function::is_reserved_variable(name) {
        Some("is set by the platform")
    } else if !shaped {
        Some(
            "is no name that Lambda allows: two or more letters, digits and underscores, a letter first",
        )
    } else {
        None
    }
}

/// The value without its quotes and the comment after it; none if a quote does not end.
fn unquote(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        return rest
            .find('\'')
            .and_then(|end| rest.get(..end))
            .map(str::to_owned);
    }
    let Some(rest) = value.strip_prefix('"') else {
        let end = value.find(" #").unwrap_or(value.len());
        return Some(value.get(..end).unwrap_or(value).trim_end().to_owned());
    };
    let mut text = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// A file of settings, as text.
pub(crate) fn read_bounded(file: &Path) -> Result<String, Error> {
    read_text(file, FILE_BYTES_MAX)
}

/// A file in TOML.
pub(crate) fn read_toml(file: &Path) -> Result<toml::Table, Error> {
    let text = read_bounded(file)?;
    text.parse().map_err(|error: toml::de::Error| {
        let before = error
            .span()
            .and_then(|span| text.as_bytes().get(..span.start));
        Error::Syntax {
            file: file.to_owned(),
            line: before.map_or(0, |before| {
                1 + before.iter().filter(|byte| **byte == b'\n').count()
            }),
            problem: error.message().to_owned(),
        }
    })
}

/// A file as text, if it has no more than these bytes.
pub(crate) fn read_text(file: &Path, bytes_max: u64) -> Result<String, Error> {
    let size = std::fs::metadata(file)
        .map_err(Error::io("read", file))?
        .len();
    if size > bytes_max {
        return Err(Error::Syntax {
            file: file.to_owned(),
            line: 0,
            problem: format!("it is {size} bytes long; at most {bytes_max} are read"),
        });
    }
    let bytes = std::fs::read(file).map_err(Error::io("read", file))?;
    String::from_utf8(bytes).map_err(|error| {
        let before = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or(&[]);
        Error::Syntax {
            file: file.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            problem: "it is not UTF-8 text".into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let mut warnings = Vec::new();
        let variables = parse_dotenv(text, ".env", &mut warnings);
        expected.assert_eq(&format!("{variables:?} {warnings:?}"));
    }

    #[test]
    fn lines_of_dotenv() {
        check("KEY=value", expect![[r#"{"KEY": "value"} []"#]]);
        check(
            "export KEY = value # why",
            expect![[r#"{"KEY": "value"} []"#]],
        );
        check("KEY='a # b' # c", expect![[r#"{"KEY": "a # b"} []"#]]);
        check(r#"KEY="a\n\"b\"""#, expect![[r#"{"KEY": "a\n\"b\""} []"#]]);
        check(
            "# none\n\nURL=http://a/?b=c",
            expect![[r#"{"URL": "http://a/?b=c"} []"#]],
        );
        check(
            "\nnonsense",
            expect![[r#"{} [".env:2: not of the form KEY=VALUE; left out"]"#]],
        );
        check(
            "AWS_REGION=x",
            expect![[r#"{} [".env:1: AWS_REGION is set by the platform; left out"]"#]],
        );
        check(
            "KEY=\"a",
            expect![[r#"{} [".env:1: the quotes around the value of KEY do not end; left out"]"#]],
        );
    }

    #[test]
    fn a_function_s_own_variables_beat_those_for_all() {
        let vars = EnvVars::parse(
            r#"{"Parameters": {"A1": "all", "B1": 1}, "Fn": {"A1": "own", "C1": null}}"#,
        );
        let vars = vars.unwrap();
        let mut variables = Variables::from([("C1".into(), "kept".into())]);
        vars.apply(&["Fn", "other"], &mut variables);
        expect![[r#"{"A1": "own", "B1": "1", "C1": "kept"}"#]].assert_eq(&format!("{variables:?}"));
        assert!(EnvVars::parse("[1]").is_err());
    }
}
