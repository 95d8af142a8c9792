//! How an instance is let go of, and goes on in another process of the platform.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::port::Resume;
use model::LogFormat;
use store::Clock;
use tokio::sync::{Mutex, OnceCell, watch};

use super::output::Output;
use super::own::OwnTime;
use super::start::tend;
use super::{LambdaInstance, Link, Memory, Sandbox, Shared, Tasks};
use crate::contract::lambda::extensions::{About, Extensions};
use crate::contract::lambda::runtime_api::{RuntimeApi, Waiting};
use crate::contract::lambda::telemetry::{Source, Telemetry};
use crate::contract::lambda::wire::Wire;
use crate::keeping::Note;
use crate::sdk::Brings;
use crate::spawner::Control;

/// What an instance goes on with.
#[derive(Debug)]
pub(crate) struct Going {
    pub(crate) sandbox: Arc<dyn Sandbox>,
    pub(crate) control: Option<Control>,
    pub(crate) output: OwnedFd,
    pub(crate) runtime_api: std::net::TcpListener,
    pub(crate) connections: Vec<Waiting>,
    pub(crate) note: Note,
    pub(crate) resume: Resume,
    /// Through which a launcher asks for what Lambda's runtime brings.
    pub(crate) brings: Option<Brings>,
    /// Tasks that live as long as it does.
    pub(crate) tasks: Tasks,
}

/// What is noted of an instance, once it has initialised.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// None where no other process could go on with it.
    begun: Option<Note>,
    note: OnceLock<Note>,
}

impl Kept {
    pub(super) fn new(begun: Option<Note>) -> Self {
        Self {
            begun,
            note: OnceLock::new(),
        }
    }

    /// One that was noted before.
    fn again(note: Note) -> Self {
        Self {
            begun: Some(note.clone()),
            note: OnceLock::from(note),
        }
    }

    fn is_wanted(&self) -> bool {
        self.begun.is_some()
    }
}

impl Shared {
    /// It has initialised: it is made known to a process that may come next.
    pub(super) fn begin_keeping(self: &Arc<Self>) {
        if !self.kept.is_wanted() || self.extensions.are_used() {
            return;
        }
        self.mark_idle();
        let shared = Arc::downgrade(self);
        tokio::spawn(async move {
            let noted = shared.upgrade().and_then(|shared| {
                let note = shared.note()?.write();
                Some(shared.sandbox.note(note))
            });
            if let Some(noted) = noted {
                noted.await;
            }
        });
    }

    /// Looks at its settings, which takes too long for the way of a start.
    fn note(&self) -> Option<&Note> {
        let begun = self.kept.begun.as_ref()?;
        let born = || begun.clone().born(self.clock.now_ms(), &self.config);
        Some(self.kept.note.get_or_init(born))
    }

    /// Marks it idle, if all that its process has said was heard. A client of the function's own
    /// would lose its connections, and an extension what it was told.
    pub(super) fn mark_idle(&self) {
        if !self.kept.is_wanted() {
            return;
        }
        if let Link::Launcher(wire) = &self.link {
            let heard = wire.try_lock().is_ok_and(|wire| wire.is_read());
            self.sandbox.mark(heard && !self.extensions.are_used());
        }
    }

    pub(super) fn mark_busy(&self) {
        if self.kept.is_wanted() {
            self.sandbox.mark(false);
        }
    }

    /// Lets go of it where it is idle and all of it can be handed on. Whether that was done.
    pub(super) async fn leave(&self) -> bool {
        let Some(note) = self.note() else {
            return false;
        };
        let ours = !self.patient && !self.extensions.are_used() && self.is_alive();
        if !ours || self.busy.swap(true, Ordering::AcqRel) {
            return false;
        }
        let connections = match &self.link {
            Link::Launcher(wire) => wire.lock().await.is_read().then(Vec::new),
            Link::Api(api) => api.leave(&*self.clock).await,
        };
        let left = match connections {
            Some(connections) => {
                self.drain();
                let note = note.with(&connections).write();
                let connections = connections.into_iter().map(|(stream, _)| stream);
                self.sandbox.leave(note, connections.collect()).await
            }
            None => false,
        };
        self.busy.store(left, Ordering::Release);
        left
    }
}

/// Has an instance go on that another process has left, thawed.
pub(crate) fn resume(mut going: Going, clock: &Arc<dyn Clock>) -> io::Result<Arc<LambdaInstance>> {
    let resume = &going.resume;
    let config = Arc::clone(&resume.config);
    let json_lines = config.log_format == LogFormat::Json;
    let telemetry = Telemetry::new(Vec::new(), json_lines, Arc::clone(clock));
    let about = About {
        function: resume.function.name.to_string(),
        version: resume.version.to_string(),
        handler: config.handler.clone(),
        account: resume.function.account.to_string(),
    };
    let extensions = Extensions::new(about, &[], Arc::clone(&telemetry), Arc::clone(clock));
    extensions.close_registration();
    telemetry.close();
    let (log, tap) = (Arc::clone(&resume.log), (Source::Function, telemetry));
    let output = Output::new(going.output, log, tap, Arc::clone(clock))?;
    // Nothing is running, so nothing of what is read belongs to an invocation.
    output.end([]);
    let control = going.control.take().filter(|_| going.note.launcher);
    let api = match &control {
        Some(_) => RuntimeApi::without_client(None),
        None => RuntimeApi::going(),
    };
    api.extend(Arc::clone(&extensions));
    let served = Arc::clone(&api).serve_on(going.connections, going.runtime_api, Arc::clone(clock));
    going.tasks.spawn(async move {
        let Err(error) = served.await;
        tracing::warn!(%error, "cannot serve a Runtime API");
    });
    let (link, control) = match control {
        Some(Control { socket, requests }) => {
            let wire = Wire::new(socket.try_clone()?, requests)?;
            (Link::Launcher(Box::new(Mutex::new(wire))), Some(socket))
        }
        None => (Link::Api(api), None),
    };
    let shared = Arc::new(Shared {
        sandbox: going.sandbox,
        link,
        output,
        extensions,
        extensions_output: None,
        shutdown: OnceCell::new(),
        clock: Arc::clone(clock),
        config,
        patient: false,
        control,
        busy: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        frozen: Mutex::new(false),
        gone: watch::Sender::new(false),
        memory: Memory::default(),
        kept: Kept::again(going.note),
        brings: going.brings.take(),
        own: OwnTime::new(clock),
    });
    shared.mark_idle();
    going.tasks.spawn(tend(Arc::clone(&shared)));
    Ok(Arc::new(LambdaInstance {
        shared,
        settles: parking_lot::Mutex::default(),
        _tasks: going.tasks,
    }))
}
