//! The daemon's side of the spawner helper: starts it, claims jails from its pool, and ends
//! them. Safe and asynchronous; everything that needs rights happens in the helper.

mod jail;
mod keep;
mod link;
mod memory;
mod order;
mod shelf;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit};

pub use self::jail::{Control, Doors, Jail, Keeper};
pub use self::keep::{Inherited, Keep, Kept, Visits};
pub use self::order::{Bind, Boot, Companion, CompanionEnd, Exit, Limits, Order, Status};

use self::keep::Door;
use self::link::{Link, Prepared};
use self::shelf::Shelf;
use crate::contract::lambda::environment::Trusted;
use crate::host::{Host, Isolation};
use crate::jail::message::{Common, Notice, Request, Settings};
use crate::jail::plan::{Plan, Sealed};
use crate::jail::wire::{self, MESSAGE_BYTES_MAX};
use crate::jail::{HOME_PORTS, PORTS};

/// The argument that makes this program the spawner helper.
pub const HELPER_ARGUMENT: &str = "__spawner";

/// How long the helper may take to look at the host.
const BEGIN_LIMIT: Timespec = Timespec {
    tv_sec: 15,
    tv_nsec: 0,
};

/// How long a claim may take; a healthy one takes about a millisecond.
const CLAIM_LIMIT: Duration = Duration::from_secs(30);

/// Ports of this host that are forwarded: each is a listener in every sandbox (ours).
pub const HOST_PORTS_MAX: usize = 16;

/// How a spawner is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// This program; run again as the helper.
    pub program: PathBuf,
    /// Generic jails kept ready.
    pub pool: usize,
    /// Kinds of interpreters of which one is kept started ahead.
    pub booted: usize,
    /// An existing folder. Jails use it on hosts without `/sys` only; where there are none,
    /// instances write below it.
    pub runtime_dir: PathBuf,
    /// Where the platform's endpoint is inside jails.
    pub endpoint_port: u16,
    /// Ports of the loopback of jails that lead to the same of this host's.
    pub host_ports: Vec<u16>,
    /// Whether connections to the loopback of jails that were refused are told of.
    pub tell_refused: bool,
    /// A folder with the certificates that programs in jails are to trust: `ca.pem`, those of the
    /// platform, and where the host has any `ca-bundle.pem`, all. They are at `/etc/dayfly` inside.
    pub trust: Option<PathBuf>,
    /// Whether functions may run without a jail.
    pub lite: Lite,
    /// Whether instances outlive this process for a while, for another to take over; they end with
    /// it where there is nothing here.
    pub keep: Option<Keep>,
}

/// When functions run behind filters only, among the host's processes and on its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lite {
    /// Never: where jails cannot be made nothing runs.
    Never,
    /// Where jails cannot be made.
    WhereNeeded,
    /// Even where they can; for tests.
    Always,
}

/// Why a spawner or a jail is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The helper could not be started.
    #[error("start the spawner helper: {0}")]
    Launch(#[source] io::Error),
    /// The endpoint's port is one that every sandbox needs for something else.
    #[error("make sandboxes: port {port} is in use inside each of them; choose another port")]
    Port {
        /// The endpoint's.
        port: u16,
    },
    /// A port of the host's is one that every sandbox needs for something else.
    #[error(
        "forward port {port} of this machine: in sandboxes the platform has that port for itself; \
         have the service listen at another"
    )]
    HostPort {
        /// The host's.
        port: u16,
    },
    /// More ports of the host's than sandboxes forward.
    #[error("forward {given} ports of this machine: at most {max} are forwarded", max = HOST_PORTS_MAX)]
    HostPorts {
        /// How many were asked for.
        given: usize,
    },
    /// The helper cannot make jails on this host.
    #[error("make sandboxes on this host: {reason}; `dayfly doctor` says how to allow it")]
    Host {
        /// In the helper's words.
        reason: String,
    },
    /// No generic jail could be made.
    #[error("prepare a sandbox: {reason}")]
    Prepare {
        /// In the helper's words.
        reason: String,
    },
    /// The jail could not be filled as ordered, or its program not be started.
    #[error("start the program in its sandbox: {reason}")]
    Refused {
        /// In the helper's or the jail's words.
        reason: String,
    },
    /// The order does not fit into one message.
    #[error(
        "start the program in its sandbox: its arguments, environment and files are \
         {bytes} bytes, more than {} can be",
        MESSAGE_BYTES_MAX
    )]
    TooLarge {
        /// What they are together.
        bytes: usize,
    },
    /// Too many claims wait for a jail.
    #[error("claim a sandbox: too many are being started; try again later")]
    TooMany,
    /// It took too long.
    #[error("claim a sandbox: it was not ready in {} s", CLAIM_LIMIT.as_secs())]
    Late,
    /// The helper is gone.
    #[error("claim a sandbox: the spawner has ended; restart dayfly")]
    Ended,
    /// What is kept for another daemon could not be made ready.
    #[error("make ready what another dayfly could take over, in {folder}: {cause}", folder = folder.display())]
    Door {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The spawner of an earlier daemon did not answer as it should.
    #[error("take over from an earlier dayfly: {0}")]
    Visit(#[source] io::Error),
    /// Another start was quicker.
    #[error("take over from the dayfly that runs: another start does so already")]
    Taken,
}

/// A running spawner helper; cheap to clone. When the last one is dropped, every jail and the
/// helper end.
#[derive(Debug, Clone)]
pub struct Spawner {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: Host,
    trusted: Trusted,
    link: Arc<Link>,
    shelf: Arc<Shelf>,
    /// To the helpers of earlier daemons, which make no jails.
    inherited: parking_lot::Mutex<Vec<Arc<Link>>>,
    clock: Arc<dyn store::Clock>,
    runtime: tokio::runtime::Handle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        for link in std::mem::take(self.inherited.get_mut()) {
            self.end(link);
        }
        self.end(self.link.clone());
    }
}

impl Shared {
    fn end(&self, link: Arc<Link>) {
        self.runtime.spawn(async move {
            let _ = link.send(&Request::Shutdown, &[]).await;
            link.drain();
        });
    }
}

impl Spawner {
    /// Starts the helper and waits until it has looked at the host (some milliseconds). Must be
    /// called inside a tokio runtime.
    pub fn launch(config: Config, clock: Arc<dyn store::Clock>) -> Result<Self, Error> {
        let port = config.endpoint_port;
        if PORTS.contains(&port) {
            return Err(Error::Port { port });
        }
        check_host_ports(&config)?;
        raise_open_files();
        let trusted = Trusted::of(config.trust.as_deref());
        let door = config.keep.as_ref().map(|keep| {
            let name = model::id::hex(&clock.random_id());
            Door::open(keep, &name).map_err(|cause| Error::Door {
                folder: keep.folder.clone(),
                cause,
            })
        });
        let door = door.transpose()?;
        let (socket, mut child, host) = start(&config, door.as_ref())?;
        let marks = door.map(|door| door.marks);
        // It is a packet socket, but readiness is all that this type is used for.
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true).map_err(Error::Launch)?;
        let socket = tokio::net::UnixStream::from_std(socket).map_err(Error::Launch)?;
        let link = Link::new(socket, config.pool, marks, clock.clone());
        tokio::spawn(link.clone().keep_full());
        tokio::spawn(link.clone().keep_killing());
        let listening = link.clone();
        tokio::spawn(async move {
            listening.clone().listen().await;
            if listening.is_leaving() {
                return;
            }
            let buried = tokio::task::spawn_blocking(move || bury(&mut child, &config.program));
            let _ = buried.await;
            listening.ended.send_replace(true);
        });
        link.refill_soon();
        let booted = match host.isolation {
            Isolation::Jail => config.booted,
            Isolation::Lite => 0,
        };
        let shelf = Shelf::new(booted);
        tokio::spawn(Arc::clone(&shelf).keep_full(Arc::clone(&link)));
        let runtime = tokio::runtime::Handle::current();
        Ok(Self {
            shared: Arc::new(Shared {
                host,
                trusted,
                link,
                shelf,
                inherited: parking_lot::Mutex::default(),
                clock,
                runtime,
            }),
        })
    }

    /// What was found out about this host at the launch.
    pub fn host(&self) -> &Host {
        &self.shared.host
    }

    /// Whose certificates programs in jails are to trust.
    pub(crate) fn trusted(&self) -> Trusted {
        self.shared.trusted
    }

    /// Takes a generic jail, fills it as ordered and starts the program. Resolves once the
    /// program runs, or its companions where it has any.
    pub async fn claim(&self, order: Order) -> Result<Jail, Error> {
        tokio::select! {
            biased;
            claimed = self.claim_now(&order) => claimed,
            () = self.shared.clock.sleep(CLAIM_LIMIT) => Err(Error::Late),
        }
    }

    async fn claim_now(&self, order: &Order) -> Result<Jail, Error> {
        if let Some(boot) = &order.boot
            && let Some(booted) = self.shared.shelf.take(boot)
        {
            match self.fill(order, booted, Some(boot)).await {
                // Its interpreter ended while nobody needed it.
                Err(Error::Refused { .. } | Error::Ended) => {}
                filled => return filled,
            }
        }
        let prepared = self.shared.link.prepared().await?;
        self.fill(order, prepared, None).await
    }

    /// Fills a jail as ordered and starts the program, unless that runs already.
    async fn fill(
        &self,
        order: &Order,
        mut prepared: Prepared,
        booted: Option<&Boot>,
    ) -> Result<Jail, Error> {
        let link = &self.shared.link;
        let sealed = order.program(booted).seal();
        let id = prepared.keeper.id();
        let started = link.expect_start(id)?;
        if !order.outside_network {
            // Before the program runs: without a listener the kernel refuses what is redirected
            // to it.
            prepared.doors.egress = None;
        }
        let plan = Plan {
            trees: order.trees(booted),
            limits: order.limits.clone(),
            outside_network: order.outside_network,
            control: order.control,
            dialers: order.dialers,
            program: Sealed(&sealed),
        };
        let sent = link.send(&Request::Claim(id, plan), &[]).await;
        sent.map_err(|error| match error.raw_os_error() {
            Some(code) if code == libc::EMSGSIZE => Error::TooLarge {
                bytes: sealed.len(),
            },
            _ => Error::Ended,
        })?;
        let started = started.await.unwrap_or(Err(Error::Ended));
        link.refill_soon();
        let mut started = started?;
        prepared.keeper.begin(started.first);
        let beside = !order.companions.is_empty();
        let companions_output = if beside { started.dialers.pop() } else { None };
        Ok(Jail {
            control: order.control.then_some(prepared.control),
            output: prepared.output,
            companions_output,
            doors: prepared.doors,
            dialers: started.dialers,
            first: started.first,
            booted: booted.is_some(),
            keeper: prepared.keeper,
        })
    }

    /// Interpreters that were started ahead and are nobody's yet.
    pub fn started_ahead(&self) -> usize {
        self.shared.shelf.ready()
    }

    /// Whether instances outlive this process for a while.
    pub fn keeps(&self) -> bool {
        self.shared.link.marks.is_some()
    }

    /// Takes the helpers of earlier daemons on, to end with this one; answers the jails that they
    /// kept.
    pub fn inherit(&self, inherited: Inherited) -> Vec<Kept> {
        self.shared.inherited.lock().extend(inherited.links);
        inherited.jails
    }

    /// Has the helper hold a listener, so that it goes on listening whatever becomes of this process,
    /// until another one takes over or does not come. Nothing where nothing is kept.
    pub async fn hold(&self, listener: BorrowedFd<'_>) {
        if self.keeps() {
            let _ = self.shared.link.send(&Request::Hold, &[listener]).await;
        }
    }

    /// Resolves once another process waits to take over.
    pub fn succeeded(&self) -> impl Future<Output = ()> + Send + use<> {
        let links = self.links();
        let waits = links.map(|link| {
            let mut successor = link.successor.subscribe();
            Box::pin(async move {
                if successor.wait_for(|waits| *waits).await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        });
        let waits: Vec<_> = waits.collect();
        async move {
            futures_util::future::select_all(waits).await;
        }
    }

    /// Lets go of the helpers and of everything they keep, for another process to take over. What
    /// was not left by itself ends.
    pub fn leave(&self) {
        for link in self.links() {
            link.leave();
        }
    }

    fn links(&self) -> impl Iterator<Item = Arc<Link>> + use<> {
        let inherited = self.shared.inherited.lock().clone();
        [self.shared.link.clone()].into_iter().chain(inherited)
    }

    /// Ends every jail and the helper; resolves when nothing is left.
    pub async fn shutdown(&self) {
        for link in self.links() {
            let _ = link.send(&Request::Shutdown, &[]).await;
        }
        for link in self.links() {
            let mut ended = link.ended.subscribe();
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    /// Resolves when the helper has ended, asked to or not, and nothing of it is left.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.shared.link.ended.subscribe();
        async move {
            // An error says that the spawner was dropped, which ends it.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }
}

fn check_host_ports(config: &Config) -> Result<(), Error> {
    let ports = &config.host_ports;
    if ports.len() > HOST_PORTS_MAX {
        let given = ports.len();
        return Err(Error::HostPorts { given });
    }
    let taken = |port: u16| {
        let platforms = PORTS.contains(&port) || HOME_PORTS.contains(&port);
        platforms || port == config.endpoint_port || port == 0
    };
    match ports.iter().find(|port| taken(**port)) {
        Some(&port) => Err(Error::HostPort { port }),
        None => Ok(()),
    }
}

/// What a spawner would find on this host; nothing is left of it.
pub(crate) fn probe(program: &Path, runtime_dir: &Path) -> Result<Host, Error> {
    let config = Config {
        program: program.to_owned(),
        pool: 0,
        booted: 0,
        // It may be one that is yet to be made, which is not for a probe to do.
        runtime_dir: if runtime_dir.is_dir() {
            std::path::absolute(runtime_dir).map_err(Error::Launch)?
        } else {
            std::env::temp_dir()
        },
        endpoint_port: 4566,
        host_ports: Vec::new(),
        tell_refused: false,
        trust: None,
        lite: Lite::WhereNeeded,
        keep: None,
    };
    let (socket, mut child, host) = start(&config, None)?;
    // The helper ends with its socket.
    drop(socket);
    child.wait().map_err(Error::Launch)?;
    Ok(host)
}

/// Starts a helper that makes jails, or one that does without where that is allowed.
fn start(config: &Config, door: Option<&Door>) -> Result<(OwnedFd, Child, Host), Error> {
    let reason = match config.lite {
        Lite::Always => "it was asked for".to_owned(),
        lite => match start_helper(config, None, door) {
            Err(Error::Host { reason }) if lite == Lite::WhereNeeded => reason,
            started => return started,
        },
    };
    start_helper(config, Some(reason), None)
}

/// `lite` is why it is to do without jails, if it is.
fn start_helper(
    config: &Config,
    lite: Option<String>,
    door: Option<&Door>,
) -> Result<(OwnedFd, Child, Host), Error> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| Error::Launch(error.into()))?;
    let mut command = Command::new(&config.program);
    command
        .arg(HELPER_ARGUMENT)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .current_dir("/");
    let mut child = command.spawn().map_err(Error::Launch)?;
    // Its copy of the helper's end would keep the socket open.
    drop(command);
    match begin(&ours, config, lite, door) {
        Ok(host) => Ok((ours, child, host)),
        Err(error) => {
            let _ = child.kill();
            bury(&mut child, &config.program);
            Err(error)
        }
    }
}

/// Tells the helper what it needs, and hears what it found.
fn begin(
    socket: &OwnedFd,
    config: &Config,
    lite: Option<String>,
    door: Option<&Door>,
) -> Result<Host, Error> {
    let keep = config.keep.as_ref().filter(|_| door.is_some());
    let keep_ms = keep.map_or(0, |keep| keep.grace.as_millis());
    let settings = Settings {
        common: Common {
            endpoint_port: config.endpoint_port,
            host_ports: config.host_ports.clone(),
            tell_refused: config.tell_refused,
        },
        runtime_dir: config.runtime_dir.clone(),
        trust: config.trust.clone(),
        lite,
        keep_ms: u64::try_from(keep_ms).unwrap_or(u64::MAX),
        door: door
            .map(|door| door.name.clone().into())
            .unwrap_or_default(),
    };
    let request = Request::Begin(settings).write();
    let more = door.map(Door::descriptors);
    let more: Vec<_> = more.into_iter().flatten().collect();
    wire::send(socket, &[&request], &more, SendFlags::DONTWAIT).map_err(Error::Launch)?;
    let mut answered = [PollFd::new(socket, PollFlags::IN)];
    let ready = rustix::event::poll(&mut answered, Some(&BEGIN_LIMIT));
    if ready.map_err(|error| Error::Launch(error.into()))? == 0 {
        return Err(Error::Launch(io::ErrorKind::TimedOut.into()));
    }
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let (length, _) =
        wire::receive(socket, &mut buffer, RecvFlags::DONTWAIT).map_err(Error::Launch)?;
    match Notice::read(buffer.get(..length).unwrap_or_default()) {
        Ok(Notice::Host(host)) => Ok(*host),
        Ok(Notice::Unprepared(reason)) => Err(Error::Host { reason }),
        // Not that jails cannot be made here: something is wrong with the helper.
        _ => Err(Error::Launch(io::Error::other("it ended at once"))),
    }
}

/// Waits for the helper's end. If that was not in order, it has a new one remove what the old
/// one could not.
fn bury(helper: &mut Child, program: &Path) {
    if helper.wait().is_ok_and(|status| status.success()) {
        return;
    }
    let swept = Command::new(program)
        .arg(HELPER_ARGUMENT)
        .env_clear()
        .stdin(Stdio::null())
        .current_dir("/")
        .status();
    if let Err(error) = swept {
        tracing::warn!(%error, "control groups of the ended spawner may be left");
    }
}

/// Every jail takes about ten descriptors of ours, and the usual soft limit is 1024.
fn raise_open_files() {
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    let _ = rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_sandboxes_need_is_refused_in_words() {
        for endpoint_port in [53, 9001, 15001] {
            let config = Config {
                endpoint_port,
                ..config()
            };
            let refused = Spawner::launch(config, Arc::new(store::SystemClock::new()));
            assert!(matches!(refused, Err(Error::Port { .. })), "{refused:?}");
        }
    }

    #[test]
    fn ports_of_the_host_that_sandboxes_need_are_refused_in_words() {
        for port in [0, 53, 80, 443, 4566, 9001, 15001] {
            let config = Config {
                host_ports: vec![5432, port],
                ..config()
            };
            let refused = Spawner::launch(config, Arc::new(store::SystemClock::new()));
            assert!(
                matches!(refused, Err(Error::HostPort { port: told }) if told == port),
                "{refused:?}"
            );
        }
        let config = Config {
            host_ports: (6000..6017).collect(),
            ..config()
        };
        let refused = Spawner::launch(config, Arc::new(store::SystemClock::new()));
        assert!(matches!(refused, Err(Error::HostPorts { given: 17 })));
    }

    fn config() -> Config {
        Config {
            program: "/no/such/program".into(),
            pool: 0,
            booted: 0,
            runtime_dir: "/".into(),
            endpoint_port: 4566,
            host_ports: Vec::new(),
            tell_refused: false,
            trust: None,
            lite: Lite::Never,
            keep: None,
        }
    }
}
