//! `dayfly keys`: the access keys of a server, through its data folder or while it runs.

use anyhow::anyhow;
use api::wire::{CreatedKey, Key, NewKey};
use comfy_table::{ContentArrangement, Table, presets};
use node::keys::KeyFolder;

use crate::args::{KeyPlace, Keys};
use crate::command::{client, data_folder, end_of, refused};
use crate::exit::{Code, Failure, OrExit as _};
use crate::terminal;

pub(crate) async fn run(verb: &Keys) -> Result<(), Failure> {
    match verb {
        Keys::Create {
            label,
            account,
            place,
        } => {
            let created = create(label, account, place).await?;
            show_created(&created, place.json)
        }
        Keys::Ls { place } => show(&list(place).await?, place.json),
        Keys::Rm { id, place } => {
            let removed = remove(id, place).await?;
            if place.json {
                let text = serde_json::to_string_pretty(&removed).or_exit(Code::Platform)?;
                return end_of(terminal::data(&text));
            }
            terminal::note(&format!("{} removed", removed.id));
            Ok(())
        }
    }
}

async fn create(label: &str, account: &str, place: &KeyPlace) -> Result<CreatedKey, Failure> {
    if let Some(endpoint) = &place.endpoint {
        let label = label.to_owned();
        let created = client(endpoint)?.create_key(&NewKey { label }).await;
        return created.map_err(refused);
    }
    let account = account.parse().or_exit(Code::Usage)?;
    let created = folder(place).await?.create(&account, label).await;
    created.map_err(failure)
}

async fn list(place: &KeyPlace) -> Result<Vec<Key>, Failure> {
    match &place.endpoint {
        Some(endpoint) => client(endpoint)?.keys().await.map_err(refused),
        None => Ok(folder(place).await?.list()),
    }
}

async fn remove(id: &str, place: &KeyPlace) -> Result<Key, Failure> {
    match &place.endpoint {
        Some(endpoint) => client(endpoint)?.remove_key(id).await.map_err(refused),
        None => folder(place).await?.remove(id).await.map_err(failure),
    }
}

async fn folder(place: &KeyPlace) -> Result<KeyFolder, Failure> {
    let data = data_folder(place.data.as_ref())?;
    KeyFolder::open(&data).await.map_err(|error| {
        let hint = "while a server runs, name it with --endpoint";
        Failure::new(Code::Host, anyhow!("{error}; {hint}"))
    })
}

fn failure(error: node::Error) -> Failure {
    let code = if error.is_missing() {
        Code::NotFound
    } else {
        Code::Platform
    };
    Failure::new(code, anyhow!("{error}"))
}

fn show_created(created: &CreatedKey, json: bool) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(created).or_exit(Code::Platform)?;
        return end_of(terminal::data(&text));
    }
    terminal::note("its secret is shown this once:");
    end_of(terminal::data(&format!(
        "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}",
        created.key.id, created.secret
    )))
}

fn show(keys: &[Key], json: bool) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(keys).or_exit(Code::Platform)?;
        return end_of(terminal::data(&text));
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["KEY", "ACCOUNT", "LABEL"]);
    for key in keys {
        table.add_row([&key.id, &key.account, &key.label]);
    }
    end_of(terminal::data(&table.to_string()))
}
