//! Streamed answers: when their first byte is there, while the function still writes.

use anyhow::Result;

use super::Bench;
use crate::machine;
use crate::platform::{Content, Platform, Project};
use crate::report::{Aim, Row};
use crate::sample::Samples;

/// How long the function goes on after its first words, in milliseconds.
const GOES_ON_MS: u64 = 100;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let template = format!(
        "Resources:\n{}{}",
        function("streamed", "RESPONSE_STREAM")?,
        function("buffered", "BUFFERED")?
    );
    let code = format!(
        "exports.handler = awslambda.streamifyResponse(async (event, stream) => {{\n  \
         stream.write('first');\n  \
         await new Promise((done) => setTimeout(done, {GOES_ON_MS}));\n  \
         stream.end('last');\n}});\n"
    );
    let whole = "exports.handler = async () => 'first and last';\n".to_owned();
    let files = [
        ("template.yaml", Content::Text(template)),
        ("streamed/index.js", Content::Text(code)),
        ("buffered/index.js", Content::Text(whole)),
    ];
    let project = Project::of(&bench.scratch, "stream", &files)?;
    let platform = Platform::start(&project)?;
    let (streamed, buffered) = (platform.url("streamed")?, platform.url("buffered")?);
    let [mut first, mut whole, mut floor] = [(); 3].map(|()| Samples::default());
    let times = bench.times(100, 20);
    // The first of each is a cold start.
    for time in 0..=times {
        let ours = bench.runtime.block_on(streamed.first_byte())?;
        let (took, _) = bench.runtime.block_on(streamed.ask_once())?;
        let (bare, _) = bench.runtime.block_on(buffered.ask_once())?;
        if time > 0 {
            first.push(ours);
            whole.push(took);
            floor.push(bare);
        }
    }
    platform.stop()?;
    let row = |what, value: &Samples| Row::new("stream", what, (value.p50_ms(), "ms"), times);
    Ok(vec![
        row("first byte p50", &first)
            .floor(floor.p50_ms(), "buffered answer")
            .aim(Aim::AtMost(2.0)),
        row(
            "whole answer p50, of which the function takes 100 ms",
            &whole,
        ),
    ])
}

fn function(name: &str, mode: &str) -> Result<String> {
    let runtime = machine::node_runtime()?;
    Ok(format!(
        "  {name}:\n    Type: AWS::Serverless::Function\n    Properties:\n      \
         FunctionName: {name}\n      CodeUri: {name}\n      Handler: index.handler\n      \
         Runtime: {runtime}\n      \
         FunctionUrlConfig: {{ AuthType: NONE, InvokeMode: {mode} }}\n"
    ))
}
