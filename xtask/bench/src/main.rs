//! The benchmark: each figure of the platform beside a floor measured in the same run, the two
//! taking turns. It measures from outside, through doors that a user has.

mod arguments;
mod floor;
mod http;
mod load;
mod machine;
mod measure;
mod platform;
mod report;
mod sample;
mod scratch;
mod stopwatch;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use arguments::Arguments;
use measure::{Bench, MEASURES};
use report::{Report, table};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("__floor", rest)) = words
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        return floor::main(rest);
    }
    run(&Arguments::parse(&words)?)
}

fn run(arguments: &Arguments) -> Result<()> {
    let bench = Bench::new(arguments.quick)?;
    let mut report = Report {
        machine: machine::facts(),
        at_unix_seconds: stopwatch::unix_seconds(),
        quick: arguments.quick,
        load_before: machine::load_average(),
        load_after: Vec::new(),
        rows: Vec::new(),
    };
    println!("{}", report.machine);
    println!("load average before: {:?}", report.load_before);
    let mut failed = Vec::new();
    for measure in MEASURES.iter().filter(|measure| arguments.wants(measure)) {
        println!("\n{}: {}", measure.name, measure.about);
        match (measure.run)(&bench) {
            Ok(rows) => {
                print!("{}", table(&rows));
                report.rows.extend(rows);
            }
            Err(error) => {
                // One that cannot be measured must not cost the others.
                eprintln!("error: {}: {error:#}", measure.name);
                failed.push(measure.name);
            }
        }
    }
    report.load_after = machine::load_average();
    println!("\nload average after: {:?}", report.load_after);
    for place in report.write(&results()?, arguments.json.as_deref())? {
        println!("written: {}", place.display());
    }
    if !failed.is_empty() {
        bail!("could not measure {}", failed.join(", "));
    }
    Ok(())
}

/// `target/bench`, two folders up from this program's own.
fn results() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program's file")?;
    let target = own
        .parent()
        .and_then(|folder| folder.parent())
        .context("find the target folder")?;
    Ok(target.join("bench"))
}
