//! `dayfly up`: serves whoever has a key, until it is told to stop.

use anyhow::{Context as _, anyhow};
use node::tls::Tls;
use node::up::{Error, Up as Server};
use serde_json::json;

use crate::args::Up;
use crate::command::{broken_words, cache_folder, data_folder, end_of};
use crate::exit::{Code, Failure, OrExit as _};
use crate::terminal::{self, Paint, Style};

pub(crate) async fn run(options: Up) -> Result<(), Failure> {
    let config = config(&options)?;
    let (mut hangups, mut leaves) = (node::Told::to_reload(), node::Told::to_leave());
    let server = Server::start(config, options.insecure_http);
    let server = server.await.map_err(|error| failure(&error))?;
    show(&server, &options)?;
    let mut stop = std::pin::pin!(node::terminated());
    let mut failed = std::pin::pin!(server.node().broken());
    let mut succeeded = std::pin::pin!(server.node().succeeded());
    let broken = loop {
        tokio::select! {
            () = &mut stop => break None,
            error = &mut failed => break Some(broken_words(&error)),
            () = &mut succeeded => return leave(server, "another dayfly takes over").await,
            () = leaves.next() => return leave(server, "told to make room for another dayfly").await,
            () = hangups.next() => match server.reload() {
                Ok(()) => terminal::note("the certificate was read again"),
                Err(error) => warn(&format!("the certificate stays as it was: {error}")),
            },
        }
    };
    terminal::note("stopping");
    tokio::select! {
        // First, so that it listens before anything is stopped.
        biased;
        () = node::terminated() => {
            // Nothing is waited for: the spawner ends what is left, as it does after a SIGKILL.
            std::process::exit(Code::Interrupted as i32);
        }
        () = server.stop() => {}
    }
    broken.map_or(Ok(()), |error| Err(Failure::new(Code::Platform, error)))
}

/// Lets go of everything but what is in flight, and answers that.
async fn leave(server: Server, why: &str) -> Result<(), Failure> {
    terminal::note(&format!("{why}: answering what is in flight"));
    tokio::select! {
        biased;
        () = node::terminated() => {
            // Nothing is waited for: what is busy ends, as it does after a SIGKILL.
            std::process::exit(Code::Interrupted as i32);
        }
        () = server.leave() => {}
    }
    terminal::note("left");
    Ok(())
}

fn config(options: &Up) -> Result<node::Config, Failure> {
    let region = match &options.region {
        Some(region) => region.clone(),
        None => node::region_of_environment().unwrap_or_else(|| "us-east-1".to_owned()),
    };
    let program = std::env::current_exe().context("find this program's own file");
    let mut config = node::Config::up(
        data_folder(options.data.as_ref())?,
        cache_folder()?,
        program.or_exit(Code::Host)?,
        options.account.parse().or_exit(Code::Usage)?,
        region.parse().or_exit(Code::Usage)?,
    );
    config.listen = options.listen;
    config.domain.clone_from(&options.domain);
    config.allow_hosts.clone_from(&options.allow_host);
    config.outside_network = options.outside_network;
    config.strict_runtimes = options.strict_runtimes;
    let keep = std::time::Duration::from_secs(options.keep);
    config.keep = Some(keep).filter(|keep| !keep.is_zero());
    config.drain = std::time::Duration::from_secs(options.drain);
    config.replace = options.replace;
    if let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) {
        config.tls = Some(Tls::load(certificate, key).or_exit(Code::Usage)?);
    }
    Ok(config)
}

fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::Insecure { .. } => Code::Usage,
        Error::NoJails { .. } | Error::Served { .. } | Error::Node(_) => Code::Host,
    };
    Failure::new(code, anyhow!("{error}"))
}

fn show(server: &Server, options: &Up) -> Result<(), Failure> {
    let paint = Paint::stderr();
    let origin = server.node().origin();
    if options.insecure_http {
        warn("it listens without TLS: everybody on the way can read what is sent");
    }
    for warning in server.warnings() {
        warn(&warning);
    }
    if let Some(created) = server.first_key() {
        let account = &created.key.account;
        terminal::note(&format!(
            "the first access key, of account {account}; its secret is shown this once:"
        ));
        terminal::note(&format!("  AWS_ACCESS_KEY_ID={}", created.key.id));
        terminal::note(&format!("  AWS_SECRET_ACCESS_KEY={}", created.secret));
    }
    terminal::note(&format!("{} {origin}", paint.paint(Style::Bold, "dayfly")));
    if options.json {
        let line = json!({"event": "listening", "origin": origin});
        return end_of(terminal::data(&line.to_string()));
    }
    Ok(())
}

fn warn(text: &str) {
    let paint = Paint::stderr();
    let mark = paint.paint(Style::Yellow, "!");
    terminal::note(&format!("{mark} {}", paint.harmless(text)));
}
