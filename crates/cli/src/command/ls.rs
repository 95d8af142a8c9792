//! `dayfly ls`: the deployed functions, a row each, or all about each.

use api::wire::{Function, Instance};
use comfy_table::{ContentArrangement, Table, presets};

use crate::args::Ls;
use crate::command::{client, end_of, refused};
use crate::exit::{Code, Failure, OrExit as _};
use crate::terminal;

pub(crate) async fn run(options: &Ls) -> Result<(), Failure> {
    let client = client(&options.endpoint.url())?;
    let functions = client.functions().await.map_err(refused)?;
    if options.json {
        let text = serde_json::to_string_pretty(&functions).or_exit(Code::Platform)?;
        return end_of(terminal::data(&text));
    }
    if functions.is_empty() {
        terminal::note("no functions are deployed; `dayfly dev FOLDER` deploys a folder's");
        return Ok(());
    }
    if options.verbose {
        functions
            .iter()
            .try_for_each(|function| end_of(terminal::data(&described(function))))
    } else {
        end_of(terminal::data(&table(&functions).to_string()))
    }
}

fn table(functions: &[Function]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["NAME", "RUNTIME", "MEMORY", "TIMEOUT", "INSTANCES", "URL"]);
    for function in functions {
        table.add_row([
            function.name.clone(),
            function.runtime.clone(),
            format!("{} MB", function.memory_mb),
            format!("{} s", function.timeout_s),
            function.instances.len().to_string(),
            function.url.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    table
}

/// Everything about one function, a line a fact: a row of it would be wider than terminals are.
fn described(function: &Function) -> String {
    let code = format!(
        "{} KB {}",
        function.code_bytes.div_ceil(1024),
        &function.code_digest[..function.code_digest.len().min(12)]
    );
    let mut facts = vec![
        ("runtime", function.runtime.clone()),
        ("handler", function.handler.clone()),
        (
            "limits",
            format!("{} MB, {} s", function.memory_mb, function.timeout_s),
        ),
        ("code", code),
    ];
    facts.extend(function.url.clone().map(|url| ("url", url)));
    facts.extend(function.host_url.clone().map(|url| ("", url)));
    if !function.versions.is_empty() {
        facts.push(("versions", function.versions.join(" ")));
    }
    for (place, instance) in function.instances.iter().enumerate() {
        let name = if place == 0 { "instances" } else { "" };
        facts.push((name, shown(instance)));
    }
    let mut text = function.name.clone();
    for (name, fact) in facts {
        text += &format!("\n  {name:<9}  {fact}");
    }
    text
}

fn shown(instance: &Instance) -> String {
    let mut text = format!(
        "{} {}",
        &instance.id[..instance.id.len().min(8)],
        instance.state
    );
    if instance.frozen {
        text += ", frozen";
    }
    if let Some(bytes) = instance.memory_bytes {
        text += &format!(", {} MB", bytes >> 20);
    }
    text
}
