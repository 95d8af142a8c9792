//! `dayfly dev`: starts a session and shows what happens in it until Ctrl-C.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::args::Dev;
use crate::command::{broken_words, cache_folder};
use crate::exit::{Code, Failure, OrExit as _};
use crate::terminal::{self, Paint, Style};
use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use node::dev::{Event, Options, Session, SessionError, Watching};

pub(crate) async fn run(options: Dev) -> Result<(), Failure> {
    let folder = options.folder.canonicalize().with_context(|| {
        format!(
            "open {}: it is not a folder that can be read",
            options.folder.display()
        )
    });
    let folder = folder.or_exit(Code::Project)?;
    if !folder.is_dir() {
        let error = anyhow!(
            "open {}: it is a file; name the folder that it is in",
            folder.display()
        );
        return Err(Failure::new(Code::Project, error));
    }
    let config = config(&options, &folder)?;
    let wanted = Options {
        folder,
        env_vars: options.env_vars.clone(),
        outside_network: !options.no_network,
        watch: !options.no_watch,
    };
    let mut screen = Screen::new(options.json, config.region.to_string());
    let (session, mut events) = Session::start(config, wanted)
        .await
        .map_err(|error| failure(&error))?;
    let mut stop = std::pin::pin!(node::interrupted());
    let mut failed = std::pin::pin!(session.node().broken());
    let mut came = Vec::new();
    let broken = loop {
        tokio::select! {
            () = &mut stop => break None,
            error = &mut failed => break Some(broken_words(&error)),
            count = events.recv_many(&mut came, EVENTS_AT_ONCE) => {
                if count == 0 {
                    break Some(anyhow!("the session ended by itself; run it again with DAYFLY_LOG=info to see why"));
                }
                came.drain(..).for_each(|event| screen.show(&event));
                if events.is_empty() {
                    screen.flush();
                }
            }
        }
    };
    screen.stopping();
    // Events still under way are drained, so that the session is never held up by the screen.
    let drained = async {
        while let Some(event) = events.recv().await {
            screen.show(&event);
        }
        screen.flush();
    };
    let ended = async { tokio::join!(session.stop(), drained) };
    tokio::select! {
        // First, so that it listens before anything is stopped.
        biased;
        () = node::interrupted() => {
            // Nothing is waited for: the spawner ends what is left, as it does after a SIGKILL.
            std::process::exit(Code::Interrupted as i32);
        }
        _ = ended => {}
    }
    broken.map_or(Ok(()), |error| Err(Failure::new(Code::Platform, error)))
}

fn config(options: &Dev, folder: &Path) -> Result<node::Config, Failure> {
    let region = match &options.region {
        Some(region) => region.clone(),
        None => node::region_of_environment().unwrap_or_else(|| "us-east-1".to_owned()),
    };
    let data = options
        .data
        .clone()
        .unwrap_or_else(|| folder.join(".dayfly"));
    let program = std::env::current_exe().context("find this program's own file");
    let mut config = node::Config::dev(
        data,
        cache_folder()?,
        program.or_exit(Code::Host)?,
        options.account.parse().or_exit(Code::Usage)?,
        region.parse().or_exit(Code::Usage)?,
    );
    config.listen.set_port(options.port);
    config.allow_hosts.clone_from(&options.allow_host);
    config.allow_any_user = options.allow_any_user;
    config.strict_runtimes = options.strict_runtimes;
    config.inspect = options.inspect;
    config.allow_host_services = options.allow_host_services;
    config.host_ports = host_ports(&options.host_port);
    config.aws_passthrough = options.aws_passthrough;
    config.allow_exec_tmp = options.allow_exec_tmp;
    Ok(config)
}

/// Each once, whatever was given twice.
fn host_ports(given: &[u16]) -> Vec<u16> {
    let ports: BTreeSet<u16> = given.iter().copied().collect();
    ports.into_iter().collect()
}

fn failure(error: &SessionError) -> Failure {
    let code = match error {
        SessionError::Project(_) => Code::Project,
        SessionError::Node(_) => Code::Host,
    };
    Failure::new(code, anyhow!("{error}"))
}

/// What the session looks like: progress and news on stderr, logs on stdout.
struct Screen {
    json: bool,
    region: String,
    out: Paint,
    err: Paint,
    build: Option<ProgressBar>,
    /// Functions that are being built, as far as it was told; none for all that need it.
    building: BTreeSet<Option<String>>,
    names: Vec<String>,
    origin: String,
    /// Lines for stdout that are not written yet: one system call each is too dear.
    pending: String,
}

/// Events that are shown before it is looked whether the session is to end.
const EVENTS_AT_ONCE: usize = 256;

/// Pending lines that are written without waiting for more, in bytes.
const PENDING_BYTES_MAX: usize = 64 * 1024;

/// Colours of the functions' names in the log, in turn.
const NAME_STYLES: [Style; 4] = [Style::Cyan, Style::Magenta, Style::Blue, Style::Green];

impl Screen {
    fn new(json: bool, region: String) -> Self {
        let (out, err) = (Paint::stdout(), Paint::stderr());
        Self {
            json,
            region,
            out,
            err,
            build: None,
            building: BTreeSet::new(),
            names: Vec::new(),
            origin: String::new(),
            pending: String::new(),
        }
    }

    fn show(&mut self, event: &Event) {
        if self.json {
            match event {
                // Most events by far, of which no value is made first.
                Event::Log {
                    function,
                    at_ms,
                    platform,
                    text,
                } => self.json_log(function, *at_ms, *platform, text),
                event => {
                    if let Some(line) = as_json(event) {
                        self.data(&line);
                    }
                }
            }
            return;
        }
        if !matches!(event, Event::Building { .. } | Event::Log { .. }) {
            self.flush();
        }
        self.follow_builds(event);
        match self.build.clone() {
            Some(bar) if !matches!(event, Event::Building { .. }) => {
                bar.suspend(|| self.print(event))
            }
            _ => self.print(event),
        }
    }

    /// Progress is shown for as long as something is built.
    fn follow_builds(&mut self, event: &Event) {
        match event {
            Event::Building { function, .. } => {
                self.building.insert(function.clone());
                return;
            }
            Event::Log { .. } => return,
            Event::Deployed { function, .. }
            | Event::Broken { function, .. }
            | Event::Unchanged { function }
            | Event::Removed { function } => {
                self.building.remove(&Some(function.clone()));
            }
            _ => {}
        }
        self.building.remove(&None);
        if self.building.is_empty() {
            self.end_build();
        }
    }

    fn print(&mut self, event: &Event) {
        match event {
            Event::Listening { origin, took } => {
                self.origin.clone_from(origin);
                let took = self
                    .err
                    .paint(Style::Dim, format!("in {}", terminal::duration(*took)));
                terminal::note(&format!(
                    "{} {origin} {took}",
                    self.err.paint(Style::Bold, "dayfly")
                ));
            }
            Event::Warning { function, text } => self.warn(function.as_deref(), text),
            Event::Building { function, line } => self.building(function.as_deref(), line),
            Event::Broken {
                function,
                error,
                url,
            } => {
                let mark = self.err.paint(Style::Red, "✗");
                terminal::note(&format!("{mark} {function}: {}", self.err.harmless(error)));
                if let Some(url) = url {
                    terminal::note(&format!("  {function} goes on as it was  {url}"));
                }
            }
            Event::Deployed { .. } => self.deployed(event),
            Event::Removed { function } => terminal::note(&format!("- {function} removed")),
            Event::Ready {
                functions,
                planned,
                took,
                watching,
            } => self.ready((*functions, *planned), *took, *watching),
            Event::Log {
                function,
                platform,
                text,
                ..
            } => self.log(function, *platform, text),
            _ => {}
        }
    }

    fn warn(&self, function: Option<&str>, text: &str) {
        let mark = self.err.paint(Style::Yellow, "!");
        let about = function.map(|name| format!("{name}: ")).unwrap_or_default();
        terminal::note(&format!("{mark} {about}{}", self.err.harmless(text)));
    }

    fn building(&mut self, function: Option<&str>, line: &str) {
        let bar = self.build.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {elapsed}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_prefix(function.unwrap_or_default().to_owned());
        let line = self.err.harmless(line);
        if bar.is_hidden() {
            let about = function.map(|name| format!("{name}: ")).unwrap_or_default();
            terminal::note(&format!("  {about}{line}"));
        } else {
            bar.set_message(line.into_owned());
        }
    }

    fn end_build(&mut self) {
        if let Some(bar) = self.build.take() {
            bar.finish_and_clear();
        }
    }

    fn deployed(&self, event: &Event) {
        let Event::Deployed {
            function,
            url,
            runtime,
            took,
            again,
            ..
        } = event
        else {
            return;
        };
        let mark = self.err.paint(Style::Green, "✓");
        let name = self.err.paint(Style::Bold, function);
        let place = url.as_deref().unwrap_or("no URL; use `dayfly invoke`");
        let word = if *again { "redeployed" } else { "deployed" };
        let facts = format!("{runtime}, {word} in {}", terminal::duration(*took));
        terminal::note(&format!(
            "{mark} {name}  {place}  {}",
            self.err.paint(Style::Dim, facts)
        ));
    }

    fn ready(&self, (functions, planned): (usize, usize), took: Duration, watching: Watching) {
        let watch = match watching {
            Watching::Off => "",
            Watching::Notified => "; watching for changes",
            Watching::Polling => {
                "; looking for changes every second, as this drive does not tell of them"
            }
        };
        let count = match (functions, planned) {
            (1, 1) => "1 function".to_owned(),
            _ if functions < planned => format!("{functions} of {planned} functions"),
            _ => format!("{functions} functions"),
        };
        let line = format!(
            "{count} ready in {}{watch}. Ctrl-C stops.",
            terminal::duration(took)
        );
        terminal::note(&self.err.paint(Style::Bold, line));
        if functions > 0 {
            self.hints();
        }
    }

    /// What to paste so that SDKs and CLIs come here.
    fn hints(&self) {
        let has = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let mut exports = vec![format!("AWS_ENDPOINT_URL={}", self.origin)];
        let given = has("AWS_ACCESS_KEY_ID") && has("AWS_SECRET_ACCESS_KEY");
        if !given && !has("AWS_PROFILE") {
            exports.push("AWS_ACCESS_KEY_ID=dayfly AWS_SECRET_ACCESS_KEY=dayfly".into());
        }
        // Some tools look at the one only, boto3 and the aws CLI's version 1 at the other.
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            if !has(name) {
                exports.push(format!("{name}={}", self.region));
            }
        }
        let line = format!("For AWS tools: export {}", exports.join(" "));
        terminal::note(&self.err.paint(Style::Dim, line));
    }

    fn log(&mut self, function: &str, platform: bool, text: &str) {
        let place = self
            .names
            .iter()
            .position(|name| name == function)
            .unwrap_or_else(|| {
                self.names.push(function.to_owned());
                self.names.len() - 1
            });
        let name = self
            .out
            .paint(NAME_STYLES[place % NAME_STYLES.len()], function);
        for line in text.lines() {
            let line = self.out.harmless(line);
            if platform {
                let line = self.out.paint(Style::Dim, line);
                self.data(&format_args!("{name} {line}"));
            } else {
                self.data(&format_args!("{name} {line}"));
            }
        }
    }

    /// The same as all other events are written, members in their order.
    fn json_log(&mut self, function: &str, at_ms: u64, platform: bool, text: &str) {
        let line = &mut self.pending;
        // Writing into a string cannot fail.
        let _ = write!(line, r#"{{"at_ms":{at_ms},"event":"log","function":""#);
        terminal::push_escaped(line, function);
        line.push_str(r#"","platform":"#);
        line.push_str(if platform { "true" } else { "false" });
        line.push_str(r#","text":""#);
        terminal::push_escaped(line, text);
        line.push_str("\"}\n");
        self.flush_full();
    }

    /// A line for stdout, written with the others that are at hand.
    fn data(&mut self, line: &dyn std::fmt::Display) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.pending, "{line}");
        self.flush_full();
    }

    fn flush_full(&mut self) {
        if self.pending.len() >= PENDING_BYTES_MAX {
            self.flush();
        }
    }

    /// Writes what is pending; a closed stdout is nobody's loss.
    fn flush(&mut self) {
        if !self.pending.is_empty() {
            let lines = self.pending.strip_suffix('\n').unwrap_or(&self.pending);
            let _ = match &self.build {
                Some(bar) => bar.suspend(|| terminal::data(lines)),
                None => terminal::data(lines),
            };
            self.pending.clear();
        }
    }

    fn stopping(&mut self) {
        self.flush();
        self.end_build();
        if !self.json {
            terminal::note("stopping; Ctrl-C again ends it at once");
        }
    }
}

/// An event that is no record of a log.
fn as_json(event: &Event) -> Option<serde_json::Value> {
    use serde_json::json;
    let ms = |took: &Duration| took.as_micros() as f64 / 1e3;
    Some(match event {
        Event::Listening { origin, took } => {
            json!({"event": "listening", "origin": origin, "took_ms": ms(took)})
        }
        Event::Warning { function, text } => {
            json!({"event": "warning", "function": function, "text": text})
        }
        Event::Building { function, line } => {
            json!({"event": "building", "function": function, "line": line})
        }
        Event::Broken {
            function,
            error,
            url,
        } => json!({"event": "broken", "function": function, "error": error, "url": url}),
        Event::Deployed {
            function,
            url,
            host_url,
            runtime,
            took,
            again,
        } => json!({
            "event": "deployed", "function": function, "url": url, "host_url": host_url,
            "runtime": runtime, "took_ms": ms(took), "again": again,
        }),
        Event::Unchanged { function } => json!({"event": "unchanged", "function": function}),
        Event::Removed { function } => json!({"event": "removed", "function": function}),
        Event::Ready {
            functions,
            planned,
            took,
            watching,
        } => json!({
            "event": "ready", "functions": functions, "planned": planned, "took_ms": ms(took),
            "watching": *watching != Watching::Off,
        }),
        _ => return None,
    })
}
