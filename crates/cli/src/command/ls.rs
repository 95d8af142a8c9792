//! `dayfly ls`: the deployed functions, a row each.

use api::client::Client;
use api::wire::Function;
use comfy_table::{ContentArrangement, Table, presets};

use crate::args::Ls;
use crate::command::{end_of, refused};
use crate::exit::{Code, Failure, OrExit as _};
use crate::terminal;

pub(crate) async fn run(options: &Ls) -> Result<(), Failure> {
    let client = Client::new(&options.endpoint.endpoint).map_err(refused)?;
    let functions = client.functions().await.map_err(refused)?;
    if options.json {
        let text = serde_json::to_string_pretty(&functions).or_exit(Code::Platform)?;
        return end_of(terminal::data(&text));
    }
    if functions.is_empty() {
        terminal::note("no functions are deployed; `dayfly dev FOLDER` deploys a folder's");
        return Ok(());
    }
    end_of(terminal::data(
        &table(&functions, options.verbose).to_string(),
    ))
}

fn table(functions: &[Function], verbose: bool) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    let mut header = vec!["NAME", "RUNTIME", "MEMORY", "TIMEOUT", "INSTANCES", "URL"];
    if verbose {
        header.extend([
            "HANDLER",
            "CODE",
            "VERSIONS",
            "BY HOST NAME",
            "EACH INSTANCE",
        ]);
    }
    table.set_header(header);
    for function in functions {
        table.add_row(row(function, verbose));
    }
    table
}

fn row(function: &Function, verbose: bool) -> Vec<String> {
    let mut row = vec![
        function.name.clone(),
        function.runtime.clone(),
        format!("{} MB", function.memory_mb),
        format!("{} s", function.timeout_s),
        function.instances.len().to_string(),
        function.url.clone().unwrap_or_else(|| "-".into()),
    ];
    if verbose {
        let instances = function.instances.iter().map(|instance| {
            let memory = instance
                .memory_bytes
                .map(|bytes| format!(" {} MB", bytes >> 20));
            format!(
                "{} {}{}",
                &instance.id[..instance.id.len().min(8)],
                instance.state,
                memory.unwrap_or_default()
            )
        });
        row.extend([
            function.handler.clone(),
            format!(
                "{} KB {}",
                function.code_bytes.div_ceil(1024),
                &function.code_digest[..function.code_digest.len().min(12)]
            ),
            function.versions.join(" "),
            function.host_url.clone().unwrap_or_else(|| "-".into()),
            instances.collect::<Vec<_>>().join(", "),
        ]);
    }
    row
}
