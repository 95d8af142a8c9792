//! The benchmark's command line; `cargo xtask bench --help` explains it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::measure::{MEASURES, Measure};

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) quick: bool,
    pub(crate) only: Vec<String>,
    pub(crate) json: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let mut arguments = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let mut value = || {
                let next = value.clone().or_else(|| words.next().cloned());
                next.with_context(|| format!("{name} needs a value"))
            };
            match name {
                "--quick" => arguments.quick = true,
                "--only" => arguments.only.push(known(value()?)?),
                "--json" => arguments.json = Some(value()?.into()),
                _ => bail!("no option {word}; `cargo xtask bench --help` lists them"),
            }
        }
        Ok(arguments)
    }

    pub(crate) fn wants(&self, measure: &Measure) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == measure.name)
    }
}

fn known(name: String) -> Result<String> {
    let names: Vec<&str> = MEASURES.iter().map(|measure| measure.name).collect();
    if !names.contains(&name.as_str()) {
        bail!("no measurement {name}; there are {}", names.join(", "));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_both_forms() {
        let parse =
            |line: &str| Arguments::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let expected = Arguments {
            quick: true,
            only: vec!["warm".into(), "cold".into()],
            json: Some("a.json".into()),
        };
        assert_eq!(
            parse("--quick --only warm --only=cold --json a.json").unwrap(),
            expected
        );
        assert!(parse("--only speed").is_err());
        assert!(parse("--json").is_err());
        assert!(parse("--fast").is_err());
    }
}
