//! Extensions: programs of layers and parts of the runtime that register to be told of every
//! invocation and of the end. Here is who may do what when, and who is waited for; the processes
//! are the instance's, and HTTP is in `http`.

mod http;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::port::Call;
use parking_lot::Mutex;
use store::Clock;
use tokio::sync::Notify;

use super::telemetry::Telemetry;

/// Extensions that one function may have, of both kinds together.
pub(crate) const EXTENSIONS_MAX: usize = 10;

/// Where layers bring extensions, below `/opt`.
const FOLDER: &str = "extensions";

/// The extensions of a function's layers, by name, in the order in which they are started.
pub(crate) fn find(layers: &[PathBuf]) -> Vec<String> {
    let folders = layers.iter().map(|layer| layer.join(FOLDER));
    let entries = folders.filter_map(|folder| std::fs::read_dir(folder).ok());
    let files = entries.flatten().flatten().filter(|entry| {
        let seen = std::fs::metadata(entry.path());
        seen.is_ok_and(|seen| !seen.is_dir())
    });
    let mut names: Vec<_> = files
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What extensions learn of the function when they register.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) function: String,
    pub(crate) version: String,
    pub(crate) handler: String,
    pub(crate) account: String,
}

/// Why an extension, and so the whole instance, is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fatal {
    /// It could not be started.
    Launch,
    /// It said that it could not initialise.
    Init,
    /// It said that it had to end.
    Exit,
    /// It ended without a word.
    Crash,
}

impl Fatal {
    /// The error's type, as callers see it.
    pub(crate) fn error_type(self) -> &'static str {
        match self {
            Self::Launch => "Extension.LaunchError",
            Self::Init => "Extension.InitError",
            Self::Exit => "Extension.ExitError",
            Self::Crash => "Extension.Crash",
        }
    }
}

/// Why an instance ends, as its extensions are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nobody needs it any more.
    Spindown,
    /// An invocation ran out of time.
    Timeout,
    /// Something in it failed.
    Failure,
}

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Self::Spindown => "spindown",
            Self::Timeout => "timeout",
            Self::Failure => "failure",
        }
    }
}

/// Where an extension is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Started,
    Registered,
    Ready,
    Running,
    InitError,
    ExitError,
    LaunchError,
    Exited,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As they are called in messages and in the log.
        fmt::Debug::fmt(self, f)
    }
}

/// What an extension can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Invoke,
    Shutdown,
}

impl Event {
    fn word(self) -> &'static str {
        match self {
            Self::Invoke => "INVOKE",
            Self::Shutdown => "SHUTDOWN",
        }
    }
}

/// One extension.
#[derive(Debug)]
struct Extension {
    name: String,
    /// What it shows to prove who it is.
    id: String,
    /// Its place among the instance's companions; none for one inside the runtime.
    companion: Option<usize>,
    events: Vec<Event>,
    stage: Stage,
    error_type: Option<String>,
    /// Whether a request of it for the next event is open.
    asking: bool,
    /// The next event, as JSON, until it is taken.
    next: Option<String>,
}

impl Extension {
    fn external(name: &str, companion: usize, clock: &dyn Clock) -> Self {
        Self {
            name: name.to_owned(),
            id: model::id::uuid_text(clock.random_id()),
            companion: Some(companion),
            events: Vec::new(),
            stage: Stage::Started,
            error_type: None,
            asking: false,
            next: None,
        }
    }

    fn takes(&self, event: Event) -> bool {
        self.events.contains(&event)
    }
}

#[derive(Debug)]
struct State {
    extensions: Vec<Extension>,
    /// Whether further ones may register.
    open: bool,
    /// The first that went wrong.
    fatal: Option<Fatal>,
}

/// The extensions of one instance.
#[derive(Debug)]
pub(crate) struct Extensions {
    about: About,
    clock: Arc<dyn Clock>,
    /// What they can subscribe to.
    telemetry: Arc<Telemetry>,
    /// Whether there are any: looked at by every invocation.
    used: AtomicBool,
    state: Mutex<State>,
    /// Something of the state has changed.
    changed: Notify,
}

/// How an extension stands, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) events: Vec<&'static str>,
    pub(crate) error_type: Option<String>,
}

impl Extensions {
    /// Those with these names are programs of their own, in the order of the instance's
    /// companions; they and others may register.
    pub(crate) fn new(
        about: About,
        external: &[String],
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let extensions = (external.iter().enumerate())
            .map(|(index, name)| Extension::external(name, index, &*clock))
            .collect();
        Arc::new(Self {
            about,
            clock,
            telemetry,
            used: AtomicBool::new(!external.is_empty()),
            state: Mutex::new(State {
                extensions,
                open: true,
                fatal: None,
            }),
            changed: Notify::new(),
        })
    }

    /// Whether there are any.
    pub(crate) fn are_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Whether any is a program of its own.
    pub(crate) fn are_external(&self) -> bool {
        let state = self.state.lock();
        state.extensions.iter().any(|one| one.companion.is_some())
    }

    /// Resolves once there are any.
    pub(crate) async fn come(&self) {
        self.until(|state| !state.extensions.is_empty()).await;
    }

    /// Resolves once every program of its own has registered.
    pub(crate) async fn registered(&self) {
        let all = |state: &State| {
            let mut external = state.extensions.iter();
            external.all(|one| one.stage != Stage::Started)
        };
        self.until(all).await;
    }

    /// Lets no further one register.
    pub(crate) fn close_registration(&self) {
        self.state.lock().open = false;
    }

    /// What they can subscribe to.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Resolves once every one has done with what it was told, and asks for more.
    pub(crate) async fn ready(&self) {
        let all = |state: &State| {
            let mut extensions = state.extensions.iter();
            extensions.all(|one| one.stage == Stage::Ready && one.next.is_none())
        };
        self.until(all).await;
    }

    /// Resolves once one has said that it failed.
    pub(crate) async fn failed(&self) -> Fatal {
        self.until(|state| state.fatal.is_some()).await;
        self.state.lock().fatal.unwrap_or(Fatal::Crash)
    }

    /// Tells those who want to know of an invocation.
    pub(crate) fn begin(&self, call: &Call, arn: &str) {
        let event = http::invoke_event(call, arn);
        self.give(Event::Invoke, &event);
    }

    /// Tells those who want to know of the instance's end, which has to be over by then.
    pub(crate) fn shut_down(&self, reason: Reason, deadline_ms: u64) {
        let event = http::shutdown_event(reason, deadline_ms);
        self.give(Event::Shutdown, &event);
    }

    fn give(&self, event: Event, text: &str) {
        let mut state = self.state.lock();
        for one in state.extensions.iter_mut().filter(|one| one.takes(event)) {
            one.next = Some(text.to_owned());
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A companion has ended, or was never started. What it said before is why.
    pub(crate) fn ended(&self, companion: usize, started: bool) -> Fatal {
        let mut state = self.state.lock();
        let of = state
            .extensions
            .iter_mut()
            .find(|one| one.companion == Some(companion));
        if let Some(one) = of {
            match one.stage {
                Stage::InitError | Stage::ExitError => {}
                _ if started => one.stage = Stage::Exited,
                _ => one.stage = Stage::LaunchError,
            }
        }
        let fatal = if started { Fatal::Crash } else { Fatal::Launch };
        *state.fatal.get_or_insert(fatal)
    }

    /// The companions that are told of the end, by their places.
    pub(crate) fn companions_told(&self) -> Vec<usize> {
        let state = self.state.lock();
        let told = state
            .extensions
            .iter()
            .filter(|one| one.takes(Event::Shutdown));
        told.filter_map(|one| one.companion).collect()
    }

    /// How each stands.
    pub(crate) fn standing(&self) -> Vec<Standing> {
        let state = self.state.lock();
        let standing = |one: &Extension| Standing {
            name: one.name.clone(),
            state: one.stage.to_string(),
            events: one.events.iter().map(|event| event.word()).collect(),
            error_type: one.error_type.clone(),
        };
        state.extensions.iter().map(standing).collect()
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(&self.state.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Registers the extension of this name for these events; answers with its id.
    fn register(&self, name: &str, events: &[String]) -> Result<String, Refusal> {
        let mut state = self.state.lock();
        let known = (state.extensions.iter()).position(|one| one.name == name);
        let external = known.is_some_and(|index| {
            let one = state.extensions.get(index);
            one.is_some_and(|one| one.companion.is_some())
        });
        let events = read_events(events, external)?;
        let (open, count) = (state.open, state.extensions.len());
        let id = match known.and_then(|index| state.extensions.get_mut(index)) {
            Some(one) if one.companion.is_none() => return Err(Refusal::taken()),
            Some(one) if one.stage == Stage::Started => {
                one.stage = Stage::Registered;
                one.events = events;
                one.id.clone()
            }
            Some(one) => return Err(Refusal::transition(one.stage, Stage::Registered, name)),
            None if !open => return Err(Refusal::closed()),
            None if count >= EXTENSIONS_MAX => return Err(Refusal::too_many()),
            None => {
                let mut one = Extension::external(name, 0, &*self.clock);
                one.companion = None;
                one.stage = Stage::Registered;
                one.events = events;
                let id = one.id.clone();
                state.extensions.push(one);
                id
            }
        };
        drop(state);
        self.used.store(true, Ordering::Release);
        self.changed.notify_waiters();
        Ok(id)
    }

    /// Waits for the next event of this one.
    async fn next(&self, id: &str) -> Result<String, Refusal> {
        {
            let mut state = self.state.lock();
            let one = state.of(id)?;
            let may = matches!(one.stage, Stage::Registered | Stage::Running | Stage::Ready);
            if !may || one.asking {
                return Err(Refusal::transition(one.stage, Stage::Ready, id));
            }
            one.stage = Stage::Ready;
            one.asking = true;
        }
        self.changed.notify_waiters();
        let _asking = Asking { of: self, id };
        let is_there = |state: &State| {
            let mut extensions = state.extensions.iter();
            extensions.any(|one| one.id == id && one.next.is_some())
        };
        loop {
            self.until(is_there).await;
            let mut state = self.state.lock();
            let one = state.of(id)?;
            if one.stage != Stage::Ready {
                return Err(Refusal::transition(one.stage, Stage::Ready, id));
            }
            if let Some(event) = one.next.take() {
                one.stage = Stage::Running;
                return Ok(event);
            }
        }
    }

    /// One says that it failed, with an error of this type.
    fn report(&self, id: &str, fatal: Fatal, error_type: &str) -> Result<(), Refusal> {
        let to = match fatal {
            Fatal::Init => Stage::InitError,
            _ => Stage::ExitError,
        };
        let mut state = self.state.lock();
        let one = state.of(id)?;
        let may = match fatal {
            Fatal::Init => one.stage == Stage::Registered,
            _ => matches!(one.stage, Stage::Registered | Stage::Ready | Stage::Running),
        };
        if !may && one.stage != to {
            return Err(Refusal::transition(one.stage, to, id));
        }
        if may {
            one.stage = to;
            one.error_type = Some(error_type.to_owned());
        }
        state.fatal.get_or_insert(fatal);
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// The name of the extension that shows this id.
    fn name_of(&self, id: &str) -> Result<String, Refusal> {
        Ok(self.state.lock().of(id)?.name.clone())
    }
}

impl State {
    fn of(&mut self, id: &str) -> Result<&mut Extension, Refusal> {
        let one = self.extensions.iter_mut().find(|one| one.id == id);
        // Who has not registered does not know its id.
        let one = one.filter(|one| one.stage != Stage::Started);
        one.ok_or_else(|| Refusal::unknown(id))
    }
}

/// Notes that a request for the next event is over, however it ended.
struct Asking<'a> {
    of: &'a Extensions,
    id: &'a str,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Ok(one) = self.of.state.lock().of(self.id) {
            one.asking = false;
        }
    }
}

/// Why a request is refused: the error's type and message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    error_type: &'static str,
    message: String,
}

impl Refusal {
    fn new(error_type: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            error_type,
            message,
        }
    }

    fn unknown(id: &str) -> Self {
        let error_type = "Extension.UnknownExtensionIdentifier";
        Self::new(error_type, format!("Unknown extension {id}"))
    }

    fn transition(from: Stage, to: Stage, who: &str) -> Self {
        let message = format!(
            "State transition from {from} to {to} failed for extension {who}. \
             Error: State transition is not allowed"
        );
        Self::new("Extension.InvalidExtensionState", message)
    }

    fn taken() -> Self {
        let message = "Extension with this name already registered";
        Self::new("Extension.InvalidExtensionState", message)
    }

    fn closed() -> Self {
        let message = "Extension registration closed already";
        Self::new("Extension.RegistrationClosed", message)
    }

    fn too_many() -> Self {
        let message = format!("Extension limit ({EXTENSIONS_MAX}) reached");
        Self::new("Extension.TooManyExtensions", message)
    }
}

fn read_events(events: &[String], external: bool) -> Result<Vec<Event>, Refusal> {
    let mut read = Vec::new();
    for word in events {
        let event = match word.as_str() {
            "INVOKE" => Event::Invoke,
            // What is inside the runtime ends with it.
            "SHUTDOWN" if external => Event::Shutdown,
            _ => {
                let message = format!("{word}: ErrorInvalidEventType");
                return Err(Refusal::new("Extension.InvalidEventType", message));
            }
        };
        if !read.contains(&event) {
            read.push(event);
        }
    }
    Ok(read)
}
