//! `dayfly new`: a working starter in a folder of its own.

use anyhow::anyhow;
use serde_json::json;

use crate::args::{Language, New};
use crate::command::end_of;
use crate::exit::{Code, Failure};
use crate::terminal;

pub(crate) fn run(options: &New) -> Result<(), Failure> {
    let language = match options.language {
        Language::Python => node::starter::Language::Python,
        Language::Node => node::starter::Language::Node,
        Language::Rust => node::starter::Language::Rust,
    };
    let folder = &options.folder;
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| {
        Failure::new(
            Code::Usage,
            anyhow!("{} has no name; give a new folder's", folder.display()),
        )
    })?;
    let files = node::starter::write(folder, &name, language)
        .map_err(|error| Failure::new(Code::Project, anyhow!("{error}")))?;
    if options.json {
        return end_of(terminal::data(
            &json!({"folder": folder, "files": files}).to_string(),
        ));
    }
    for file in &files {
        terminal::note(&format!("wrote {}", file.display()));
    }
    terminal::note(&format!("now: dayfly dev {}", folder.display()));
    Ok(())
}
