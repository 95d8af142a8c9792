//! What this host offers and what to do about what is missing: the facts behind `dayfly doctor`.

use std::path::Path;

use crate::node::runtimes_folder;

/// One fact about the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it, where there is something to do.
    pub advice: Option<String>,
}

/// How a fact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Good,
    /// Works, with less.
    Degraded,
    /// Missing: something will not work.
    Missing,
}

/// Looks at the host. `data` is the folder that state would be kept in, `cache` the one of builds
/// and fetched interpreters.
pub async fn examine(program: &Path, data: &Path, cache: &Path) -> Vec<Finding> {
    let mut findings: Vec<Finding> = process::host::examine(program, data)
        .await
        .into_iter()
        .map(|finding| Finding {
            what: finding.what,
            state: match finding.state {
                process::host::State::Good => State::Good,
                process::host::State::Degraded => State::Degraded,
                process::host::State::Missing => State::Missing,
            },
            detail: finding.detail,
            advice: finding.advice,
        })
        .collect();
    findings.extend(interpreters(cache).await);
    findings
}

/// A line for each runtime.
async fn interpreters(cache: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (runtime, found) in process::interpreter::survey(runtimes_folder(cache)).await {
        findings.push(match found {
            process::interpreter::Found::Exact(path) => Finding {
                what: runtime.to_string(),
                state: State::Good,
                detail: path.display().to_string(),
                advice: None,
            },
            process::interpreter::Found::Fetchable => Finding {
                what: runtime.to_string(),
                state: State::Good,
                detail: "fetched with npm, once, by the first deployment that needs it".into(),
                advice: None,
            },
            process::interpreter::Found::Substitute(path, version) => Finding {
                what: runtime.to_string(),
                state: State::Degraded,
                detail: format!("runs on {version} ({})", path.display()),
                advice: Some(format!(
                    "install {runtime}'s own interpreter for the same behaviour as on Lambda"
                )),
            },
            process::interpreter::Found::Nothing(advice) => Finding {
                what: runtime.to_string(),
                state: State::Missing,
                detail: "no interpreter".into(),
                advice: Some(advice),
            },
        });
    }
    findings
}
