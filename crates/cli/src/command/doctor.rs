//! `dayfly doctor`: what the host offers, a line a fact, each with what to do about it.

use std::path::Path;

use anyhow::Context as _;
use node::doctor::{Finding, State};
use serde_json::json;

use crate::args::Doctor;
use crate::command::{cache_folder, end_of};
use crate::exit::{Code, Failure, OrExit as _};
use crate::terminal::{self, Paint, Style};

pub(crate) async fn run(options: &Doctor) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .context("find this program's own file")
        .or_exit(Code::Host)?;
    let findings = node::doctor::examine(&program, Path::new("."), &cache_folder()?).await;
    if options.json {
        let text = serde_json::to_string_pretty(&findings.iter().map(as_json).collect::<Vec<_>>());
        return end_of(terminal::data(&text.or_exit(Code::Platform)?));
    }
    let paint = Paint::stdout();
    let width = findings
        .iter()
        .map(|finding| finding.what.len())
        .max()
        .unwrap_or(0);
    for finding in &findings {
        let mark = match finding.state {
            State::Good => paint.paint(Style::Green, "✓"),
            State::Degraded => paint.paint(Style::Yellow, "!"),
            State::Missing => paint.paint(Style::Red, "✗"),
        };
        end_of(terminal::data(&format!(
            "{mark} {:width$}  {}",
            finding.what, finding.detail
        )))?;
        if let Some(advice) = &finding.advice {
            end_of(terminal::data(&format!(
                "  {:width$}  {}",
                "",
                paint.paint(Style::Dim, advice)
            )))?;
        }
    }
    Ok(())
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let state = match finding.state {
        State::Good => "good",
        State::Degraded => "degraded",
        State::Missing => "missing",
    };
    json!({"what": finding.what, "state": state, "detail": finding.detail, "advice": finding.advice})
}
