//! The platform under measurement: `dayfly dev` on a project of the benchmark's own, driven as a
//! user drives it: by files, function URLs and the control API.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::floor::{Language, runtime_api};
use crate::http::{Connection, call, request};
use crate::load::Target;
use crate::machine;
use crate::scratch::Scratch;
use crate::stopwatch::Stopwatch;

/// How long the platform may take to be ready before the run gives up; builds included.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// How long it may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Events kept until they are looked at.
const EVENTS_MAX: usize = 10_000;

/// What a file of a project holds.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Text(String),
    Program(&'a Path),
}

/// A project with one function in each language, and where its state is kept.
#[derive(Debug)]
pub(crate) struct Project {
    folder: PathBuf,
    data: PathBuf,
    log: PathBuf,
    /// How often each function's settings were changed.
    rounds: Cell<[u32; 3]>,
}

impl Project {
    /// Writes the project.
    pub(crate) fn write(scratch: &Scratch) -> Result<Self> {
        let folder = scratch.path().join("project");
        let project = Self {
            data: scratch.path().join("data"),
            log: scratch.path().join("dayfly.log"),
            folder,
            rounds: Cell::default(),
        };
        project.write_template()?;
        for language in [Language::Python, Language::Node] {
            project.write_answer(language, "hello")?;
        }
        let bootstrap = project.folder.join("native/bootstrap");
        fs::create_dir_all(project.folder.join("native"))?;
        // The permission to execute comes with the copy.
        fs::copy(runtime_api::bootstrap()?, &bootstrap).context("copy the native function")?;
        Ok(project)
    }

    /// A project of these files, some of which may be programs that are copied.
    pub(crate) fn of(scratch: &Scratch, name: &str, files: &[(&str, Content<'_>)]) -> Result<Self> {
        let folder = scratch.path().join(name);
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            match content {
                Content::Text(text) => fs::write(&path, text)?,
                // The permission to execute comes with the copy.
                Content::Program(program) => drop(fs::copy(program, &path)?),
            }
        }
        Ok(Self {
            data: scratch.path().join(format!("{name}-data")),
            log: scratch.path().join(format!("{name}.log")),
            folder,
            rounds: Cell::default(),
        })
    }

    /// Changes a setting of one function, which has it deployed again. Answers the new value.
    fn change(&self, language: Language) -> Result<String> {
        let mut rounds = self.rounds.get();
        let round = &mut rounds[language as usize];
        *round += 1;
        let value = format!("round-{round}");
        self.rounds.set(rounds);
        self.write_template()?;
        Ok(value)
    }

    fn write_template(&self) -> Result<()> {
        let [python, node, native] = self.rounds.get().map(|round| format!("round-{round}"));
        let template = include_str!("platform/template.yaml")
            .replace("PYTHON_RUNTIME", &machine::python_runtime()?)
            .replace("NODE_RUNTIME", &machine::node_runtime()?)
            .replace("PYTHON_ROUND", &python)
            .replace("NODE_ROUND", &node)
            .replace("NATIVE_ROUND", &native);
        // In one step, so that no half of it is ever read.
        let new = self.data.with_file_name("template.new");
        fs::create_dir_all(&self.folder)?;
        fs::write(&new, template)?;
        fs::rename(&new, self.folder.join("template.yaml")).context("write the template")
    }

    /// Saves a function's code so that it answers something else.
    pub(crate) fn write_answer(&self, language: Language, answer: &str) -> Result<()> {
        let (path, text) = match language {
            Language::Python => ("python/app.py", include_str!("platform/app.py")),
            Language::Node => ("node/index.mjs", include_str!("platform/index.mjs")),
            Language::Native => bail!("the native function is a program, not a text"),
        };
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        let text = text.replace("\"hello\"", &format!("{answer:?}"));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}

/// How long a start took until it said so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    /// The one port listens.
    pub(crate) listening: Duration,
    /// Every function is deployed.
    pub(crate) deployed: Duration,
}

/// A platform that is up. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Platform {
    child: Child,
    control: SocketAddr,
    urls: HashMap<String, Target>,
    pub(crate) ready: Ready,
    /// Some programs stop when their input ends; ours must not.
    _input: Option<ChildStdin>,
}

impl Platform {
    pub(crate) fn start(project: &Project) -> Result<Self> {
        let program = program()?;
        let watch = Stopwatch::start();
        let mut child = Command::new(&program)
            .arg("dev")
            .arg(&project.folder)
            .args(["--port", "0", "--json", "--data"])
            .arg(&project.data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&project.log)?)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let events = events(&mut child)?;
        let mut platform = Self {
            _input: child.stdin.take(),
            child,
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
            urls: HashMap::new(),
            ready: Ready {
                listening: Duration::ZERO,
                deployed: Duration::ZERO,
            },
        };
        platform
            .wait_until_ready(watch, &events)
            .with_context(|| platform.said(&project.log))?;
        Ok(platform)
    }

    fn wait_until_ready(&mut self, watch: Stopwatch, events: &mpsc::Receiver<Value>) -> Result<()> {
        loop {
            let left = READY_TIMEOUT.saturating_sub(watch.elapsed());
            let event = events
                .recv_timeout(left)
                .context("wait for dayfly to be ready")?;
            match event["event"].as_str().unwrap_or_default() {
                "listening" => {
                    self.ready.listening = watch.elapsed();
                    self.control = address(&event["origin"])?;
                }
                "deployed" => {
                    let name = event["function"].as_str().unwrap_or_default().to_owned();
                    self.urls.insert(name, Target::new(address(&event["url"])?));
                }
                "broken" => bail!(
                    "{} could not be deployed: {}",
                    event["function"],
                    event["error"]
                ),
                "ready" => {
                    self.ready.deployed = watch.elapsed();
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    fn said(&self, log: &Path) -> String {
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(10).collect();
        let last: Vec<&str> = lines.into_iter().rev().collect();
        format!("dayfly said:\n{}", last.join("\n"))
    }

    /// A function's URL.
    pub(crate) fn target(&self, language: Language) -> Result<Target> {
        self.url(&function(language))
    }

    /// The Invoke API for a function, with the event that its URL would give least of.
    pub(crate) fn invoke_api(&self, language: Language) -> Target {
        let path = format!("/2015-03-31/functions/{}/invocations", function(language));
        self.lambda("POST", &path, "{}")
    }

    /// A call of the Lambda API.
    pub(crate) fn lambda(&self, method: &str, path: &str, body: &str) -> Target {
        let request = call(method, &self.control.to_string(), path, body);
        Target::with(self.control, request)
    }

    /// The URL of a function by its name.
    pub(crate) fn url(&self, name: &str) -> Result<Target> {
        self.urls
            .get(name)
            .cloned()
            .with_context(|| format!("{name} has no URL"))
    }

    /// Has nothing of a function running: deploys it again with another setting, and waits for
    /// the instances of the old one to be gone.
    pub(crate) async fn stop_instances(&self, project: &Project, language: Language) -> Result<()> {
        let wanted = project.change(language)?;
        let watch = Stopwatch::start();
        loop {
            let function = self.function(language).await?;
            let is_new = function["environment"]["ROUND"] == wanted.as_str();
            if is_new && function["instances"].as_array().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            if watch.elapsed() > STOP_TIMEOUT {
                bail!("instances of {language:?} still there {STOP_TIMEOUT:?} after a deployment");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many instances of a function live.
    pub(crate) async fn instances(&self, language: Language) -> Result<usize> {
        let function = self.function(language).await?;
        Ok(function["instances"].as_array().map_or(0, Vec::len))
    }

    /// What the control API says of a function.
    async fn function(&self, language: Language) -> Result<Value> {
        let path = format!("/_dayfly/v1/functions/{}", function(language));
        self.control("GET", &path).await
    }

    async fn control(&self, method: &str, path: &str) -> Result<Value> {
        let host = self.control.to_string();
        let answer = Connection::open(self.control)
            .await?
            .ask(&request(method, &host, path))
            .await?;
        if !(200..300).contains(&answer.status) {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            bail!("{method} {path}: status {}: {said}", answer.status);
        }
        Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    /// The platform's processes, instances included.
    pub(crate) fn processes(&self) -> Vec<u32> {
        machine::tree(self.child.id())
    }

    /// Stops it as Ctrl-C does and waits for its end.
    pub(crate) fn stop(mut self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .context("interrupt dayfly")?;
        let watch = Stopwatch::start();
        while self.child.try_wait()?.is_none() {
            if watch.elapsed() > STOP_TIMEOUT {
                bail!("dayfly did not stop within {STOP_TIMEOUT:?} of an interrupt");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // Its spawner ends everything that it leaves behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, built beside this one.
pub(crate) fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program's file")?;
    let program = own.with_file_name("dayfly");
    if !program.exists() {
        bail!(
            "{} is not there; run the benchmark by `cargo xtask bench`",
            program.display()
        );
    }
    Ok(program)
}

fn function(language: Language) -> String {
    format!("bench-{}", language.name())
}

/// What the session prints until it is ready. What it prints later (logs) is read, so that it
/// never blocks, and not looked at, so that looking costs the measurement nothing.
fn events(child: &mut Child) -> Result<mpsc::Receiver<Value>> {
    let stdout = child.stdout.take().context("dayfly's output")?;
    let (sender, receiver) = mpsc::sync_channel(EVENTS_MAX);
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|count| count > 0) {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let ready = event["event"] == "ready";
            if sender.try_send(event).is_err() || ready {
                break;
            }
            line.clear();
        }
        drop(sender);
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    });
    Ok(receiver)
}

fn address(url: &Value) -> Result<SocketAddr> {
    let text = url.as_str().unwrap_or_default();
    let host = text
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default();
    host.parse()
        .with_context(|| format!("dayfly gave {url} as an address"))
}
