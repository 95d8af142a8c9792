//! `dayfly rm`: removes a function, its instances and its URL.

use crate::args::Rm;
use crate::command::{client, end_of, refused};
use crate::exit::{Code, Failure, OrExit as _};
use crate::terminal;

pub(crate) async fn run(options: &Rm) -> Result<(), Failure> {
    let client = client(&options.endpoint.url())?;
    let removed = client.remove(&options.name).await.map_err(refused)?;
    if options.json {
        let text = serde_json::to_string_pretty(&removed).or_exit(Code::Platform)?;
        return end_of(terminal::data(&text));
    }
    terminal::note(&format!("{} removed", removed.name));
    Ok(())
}
