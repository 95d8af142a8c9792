//! What an external extension adds to warm invocations and to a cold start. The extension is the
//! barest there can be: it registers for every event and asks for the next.

use anyhow::{Context, Result};

use super::warm::{Turns, turn};
use super::{Bench, settle};
use crate::floor::runtime_api;
use crate::platform::{Content, Platform, Project};
use crate::report::Row;
use crate::sample::{Samples, median};

const TEMPLATE: &str = r#"
Resources:
  Watcher:
    Type: AWS::Serverless::LayerVersion
    Properties: { ContentUri: watcher }
  Plain:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: plain
      CodeUri: native
      Handler: bootstrap
      Runtime: provided.al2023
      FunctionUrlConfig: { AuthType: NONE }
  Watched:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: watched
      CodeUri: native
      Handler: bootstrap
      Runtime: provided.al2023
      FunctionUrlConfig: { AuthType: NONE }
      Layers: [!Ref Watcher]
"#;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let bootstrap = runtime_api::bootstrap()?;
    let extension = bootstrap.with_file_name("bench-extension");
    let files = [
        ("template.yaml", Content::Text(TEMPLATE.to_owned())),
        ("native/bootstrap", Content::Program(&bootstrap)),
        ("watcher/extensions/watcher", Content::Program(&extension)),
    ];
    let project = Project::of(&bench.scratch, "extensions", &files)?;
    let [mut cold, mut cold_plain] = [(); 2].map(|()| Samples::default());
    let [mut ours, mut floor] = [(); 2].map(|()| Turns::default());
    let times = bench.times(10, 3);
    for round in 0..times {
        // A platform that has just started has no instance of anything.
        let platform = Platform::start(&project)?;
        settle();
        let (plain, watched) = (platform.url("plain")?, platform.url("watched")?);
        cold_plain.push(bench.runtime.block_on(plain.ask_once()).context("plain")?.0);
        cold.push(
            bench
                .runtime
                .block_on(watched.ask_once())
                .context("watched")?
                .0,
        );
        if round < bench.times(3, 1) {
            floor.add(&turn(bench, &plain, 1)?);
            ours.add(&turn(bench, &watched, 1)?);
            floor.add(&turn(bench, &plain, 1)?);
        }
        platform.stop()?;
    }
    let row = |what, value, n| Row::new("extensions", what, value, n);
    Ok(vec![
        row("cold p50", (cold.p50_ms(), "ms"), times).floor(cold_plain.p50_ms(), "without"),
        row(
            "warm p50, 1 connection",
            (median(&ours.p50_us), "us"),
            ours.requests,
        )
        .floor(median(&floor.p50_us), "without"),
    ])
}
