//! What this host offers and what to do about what is missing: the facts behind `dayfly doctor`.

use std::path::Path;

use futures_util::future::BoxFuture;
pub use process::host::{Finding, State};

use crate::sandboxes::runtimes_folder;

/// Looks at the host. `data` is the folder that state would be kept in, `cache` the one of builds
/// and fetched interpreters.
pub fn examine<'a>(
    program: &'a Path,
    data: &'a Path,
    cache: &'a Path,
) -> BoxFuture<'a, Vec<Finding>> {
    Box::pin(async move {
        let mut findings = process::host::examine(program, data).await;
        findings.extend(interpreters(cache).await);
        findings
    })
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
