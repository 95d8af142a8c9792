//! The result: rows with a floor and an aim beside each figure, as a table and as JSON.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// What a ratio to the floor, or a figure without one, should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The measurement it belongs to.
    pub(crate) measure: &'static str,
    /// What was measured.
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    /// What the machine allows without a platform, in the same run, and its name.
    pub(crate) floor: Option<(f64, &'static str)>,
    pub(crate) aim: Option<Aim>,
    /// How many samples stand behind it.
    pub(crate) samples: usize,
}

impl Row {
    pub(crate) fn new(
        measure: &'static str,
        what: impl Into<String>,
        (value, unit): (f64, &'static str),
        samples: usize,
    ) -> Self {
        Self {
            measure,
            what: what.into(),
            unit,
            value,
            floor: None,
            aim: None,
            samples,
        }
    }

    pub(crate) fn floor(self, value: f64, name: &'static str) -> Self {
        Self {
            floor: Some((value, name)),
            ..self
        }
    }

    pub(crate) fn aim(self, aim: Aim) -> Self {
        Self {
            aim: Some(aim),
            ..self
        }
    }

    /// How many times the floor it is.
    fn ratio(&self) -> Option<f64> {
        self.floor.map(|(floor, _)| self.value / floor)
    }

    /// Whether the aim is met. It is about the ratio where there is a floor.
    fn is_met(&self) -> Option<bool> {
        let figure = self.ratio().unwrap_or(self.value);
        self.aim.map(|aim| match aim {
            Aim::AtMost(most) => figure <= most,
            Aim::AtLeast(least) => figure >= least,
        })
    }

    fn json(&self) -> Value {
        json!({
            "measure": self.measure,
            "what": self.what,
            "unit": self.unit,
            "value": self.value,
            "floor": self.floor.map(|(value, name)| json!({"name": name, "value": value})),
            "ratio": self.ratio(),
            "aim": self.aim.map(|aim| match aim {
                Aim::AtMost(most) => json!({"at_most": most}),
                Aim::AtLeast(least) => json!({"at_least": least}),
            }),
            "met": self.is_met(),
            "samples": self.samples,
        })
    }

    fn cells(&self) -> [String; 7] {
        let aim = self.aim.map_or(String::new(), |aim| {
            let times = if self.floor.is_some() { "x" } else { "" };
            match aim {
                Aim::AtMost(most) => format!("<= {}{times}", figure(most)),
                Aim::AtLeast(least) => format!(">= {}{times}", figure(least)),
            }
        });
        let met = match self.is_met() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        [
            self.what.clone(),
            format!("{} {}", figure(self.value), self.unit),
            self.floor.map_or(String::new(), |(value, name)| {
                format!("{} {name}", figure(value))
            }),
            self.ratio()
                .map_or(String::new(), |ratio| format!("{}x", figure(ratio))),
            aim,
            met.to_owned(),
            format!("n={}", self.samples),
        ]
    }
}

/// The table, a line a row, for a person.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = ["", "figure", "floor", "ratio", "aim", "met", ""].map(str::to_owned);
    let lines: Vec<[String; 7]> = std::iter::once(head)
        .chain(rows.iter().map(Row::cells))
        .collect();
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..7).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The whole result.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Value,
    pub(crate) at_unix_seconds: u64,
    pub(crate) quick: bool,
    pub(crate) load_before: Vec<f64>,
    pub(crate) load_after: Vec<f64>,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Writes it under `folder`, and to `also` where given; answers every place.
    pub(crate) fn write(&self, folder: &Path, also: Option<&Path>) -> Result<Vec<PathBuf>> {
        let text = serde_json::to_string_pretty(&json!({
            "version": 1,
            "at_unix_seconds": self.at_unix_seconds,
            "quick": self.quick,
            "machine": self.machine,
            "load_average": {"before": self.load_before, "after": self.load_after},
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        }))?;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let own = folder.join(format!("{}.json", self.at_unix_seconds));
        let places: Vec<PathBuf> = std::iter::once(own)
            .chain(also.map(Path::to_path_buf))
            .collect();
        for place in &places {
            fs::write(place, &text).with_context(|| format!("write {}", place.display()))?;
        }
        Ok(places)
    }
}

/// Three figures that matter.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_are_about_ratios_where_there_is_a_floor() {
        let row = Row::new("warm", "python", (100.0, "us"), 3);
        assert_eq!(
            row.clone()
                .floor(60.0, "frames")
                .aim(Aim::AtMost(2.0))
                .is_met(),
            Some(true)
        );
        assert_eq!(row.clone().aim(Aim::AtMost(2.0)).is_met(), Some(false));
        assert_eq!(
            row.clone()
                .floor(120.0, "x")
                .aim(Aim::AtLeast(0.9))
                .is_met(),
            Some(false)
        );
        assert_eq!(row.is_met(), None);
    }

    #[test]
    fn the_table_lines_up() {
        let rows = [
            Row::new("warm", "python, 1 connection", (0.1, "ms"), 3).floor(0.05, "frames"),
            Row::new("burst", "errors", (0.0, ""), 100).aim(Aim::AtMost(0.0)),
        ];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("2.00x"), "{text}");
        assert!(lines[2].contains("yes"), "{text}");
        assert_eq!(lines[0].find("figure"), lines[2].find("0 "));
    }
}
