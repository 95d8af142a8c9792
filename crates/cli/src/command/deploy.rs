//! `dayfly deploy`: builds a project here and deploys its functions to a server.

use anyhow::{Context as _, anyhow};
use api::client::Client;
use api::wire::Deployed;
use node::deploy::{Error, Options, Project, Ready};
use serde_json::json;

use crate::args::Deploy;
use crate::command::{cache_folder, client, end_of, refused};
use crate::exit::{Code, Failure, OrExit as _};
use crate::terminal::{self, Paint, Style};

pub(crate) async fn run(options: &Deploy) -> Result<(), Failure> {
    let folder = options.folder.canonicalize().with_context(|| {
        format!(
            "open {}: it is not a folder that can be read",
            options.folder.display()
        )
    });
    let wanted = Options {
        folder: folder.or_exit(Code::Project)?,
        env_vars: options.env_vars.clone(),
        cache: cache_folder()?,
    };
    let client = client(&options.endpoint.url())?;
    let place = client.info().await.map_err(refused)?;
    let project = Project::read(&wanted, &place).await.map_err(failure)?;
    for warning in &project.warnings {
        warn(warning);
    }
    let names: Vec<String> = project.names().map(str::to_owned).collect();
    let mut failed = None;
    for (place, name) in names.iter().enumerate() {
        // One that fails holds up no other.
        match one(&client, &project, place, name).await {
            Ok(deployed) => show(&deployed, options.json)?,
            Err(failure) => {
                let mark = Paint::stderr().paint(Style::Red, "✗");
                terminal::note(&format!("{mark} {name}: {failure}"));
                failed = Some(failure.code);
            }
        }
    }
    match failed {
        Some(code) => Err(Failure::new(
            code,
            anyhow!("not all functions were deployed"),
        )),
        None => Ok(()),
    }
}

async fn one(
    client: &Client,
    project: &Project,
    place: usize,
    name: &str,
) -> Result<Deployed, Failure> {
    let paint = Paint::stderr();
    let tell = |line: &str| {
        let line = paint.harmless(line);
        terminal::note(&paint.paint(Style::Dim, format!("  {name}: {line}")));
    };
    let built = project.build(place, &tell).await.map_err(failure)?;
    let Some(Ready {
        deployment,
        mut warnings,
        ..
    }) = built
    else {
        return Err(Failure::new(Code::Project, anyhow!("{name} is not there")));
    };
    for digest in deployment.layers.iter().chain([&deployment.code]) {
        if !client.has_code(digest).await.map_err(refused)? {
            tell("sending code");
            let archive = project.archive(digest).await.map_err(failure)?;
            client.send_code(digest, &archive).await.map_err(refused)?;
        }
    }
    let deployed = client.deploy(name, &deployment).await.map_err(refused)?;
    warnings.extend(deployed.warnings.iter().cloned());
    for warning in warnings {
        warn(&format!("{name}: {warning}"));
    }
    Ok(deployed)
}

fn show(deployed: &Deployed, json: bool) -> Result<(), Failure> {
    let function = &deployed.function;
    if json {
        let line = json!({
            "event": "deployed", "function": function.name, "arn": function.arn,
            "url": function.url, "runtime": function.runtime, "changed": deployed.changed,
        });
        return end_of(terminal::data(&line.to_string()));
    }
    let paint = Paint::stderr();
    let mark = paint.paint(Style::Green, "✓");
    let word = if deployed.changed {
        "deployed"
    } else {
        "as it was"
    };
    let place = function
        .url
        .as_deref()
        .unwrap_or("no URL; use `dayfly invoke`");
    let name = paint.paint(Style::Bold, &function.name);
    terminal::note(&format!("{mark} {name} {word}  {place}"));
    Ok(())
}

fn failure(error: Error) -> Failure {
    let code = match &error {
        Error::Project(_) => Code::Project,
        _ => Code::Host,
    };
    Failure::new(code, anyhow!("{error}"))
}

fn warn(text: &str) {
    let paint = Paint::stderr();
    let mark = paint.paint(Style::Yellow, "!");
    terminal::note(&format!("{mark} {}", paint.harmless(text)));
}
