//! The server as a value: `Node::new` assembles the rooms, `Node::stop` takes them down in order.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use engine::Engine;
use futures_util::future::BoxFuture;
use gateway::listen::{Limits, Server};
use parking_lot::Mutex;
use process::Processes;
use process::spawner::{Kept, Spawner};
use store::{Clock, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::Config;
use crate::front::{Front, Serve, Service};
use crate::port::{inherited, listen, open, spawner, succeed, visits};
use crate::sandboxes::{Endpoint, processes};
use crate::stop::Stop;
use crate::trust::Trust;
use crate::url_ports::{MovedUrls, PortTable, UrlPorts};

/// How long busy instances may go on when the node stops.
const GRACE: Duration = Duration::from_secs(5);
/// How long answers may still be written once every instance has ended: what goes on longer, such
/// as a log that is followed, would never end (ours).
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long a connection that was accepted may take to send its first request once another process
/// takes over (ours: many times what a client near or far takes).
const LINGER: Duration = Duration::from_secs(1);

/// Lines about what takes long that wait for whoever listens; progress that is older is lost.
const PROGRESS_LINES: usize = 16;

/// A node that could not be started, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The port is taken.
    #[error(
        "listen on {address}: the port is taken{by}; stop what uses it, or choose another with \
         --port (0 takes any free one)"
    )]
    PortTaken {
        /// The address.
        address: SocketAddr,
        /// By what, where that is known.
        by: String,
    },
    /// The address cannot be listened on.
    #[error("listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Another process serves this data folder.
    #[error("serve {folder}: a dayfly does that already", folder = folder.display())]
    Served {
        /// The folder.
        folder: PathBuf,
    },
    /// Nothing can be taken over from the process that serves this data folder.
    #[error("{0}")]
    Succession(String),
    /// A folder cannot be made.
    #[error("make the folder {folder}: {cause}", folder = folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The data folder is no longer there.
    #[error("keep {folder}: it was removed or moved while it was in use", folder = folder.display())]
    DataGone {
        /// The folder.
        folder: PathBuf,
    },
    /// The engine could not begin.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// Sandboxes cannot be given certificates.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// Sandboxes cannot be made.
    #[error("start the spawner of sandboxes: {0}")]
    Spawner(String),
    /// The spawner has ended by itself, and all instances with it.
    #[error("make sandboxes: the spawner that makes them was killed or has failed")]
    SpawnerEnded,
}

impl Error {
    /// Whether something that was asked for is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Engine(engine::Error::NotThere { .. }))
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    engine: Engine,
    /// The engine's.
    store: Arc<store::Sqlite>,
    trees: Arc<store::Trees>,
    processes: Arc<Processes>,
    spawner: Spawner,
    clock: Arc<dyn Clock>,
    trust: Trust,
    address: SocketAddr,
    config: Config,
    urls: UrlPorts,
    endpoint: Endpoint,
    stop: Stop,
    /// What is done for all functions and takes long, such as a fetch of an interpreter.
    progress: broadcast::Sender<String>,
    /// The one port's server and the follower of the catalog; taken, and ended, by `stop`.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Node {
    /// Assembles the rooms and begins to serve.
    pub fn new(config: Config) -> BoxFuture<'static, Result<Self, Error>> {
        Box::pin(Self::begin(config))
    }

    async fn begin(config: Config) -> Result<Self, Error> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut visits = visits(&config, &clock).await?;
        let listener = match inherited(&mut visits, config.listen) {
            Some(listener) => listener,
            None => listen(config.listen).await?,
        };
        let address = listener.local_addr().map_err(|cause| Error::Listen {
            address: config.listen,
            cause,
        })?;
        for folder in [&config.data, &config.cache] {
            std::fs::create_dir_all(folder).map_err(|cause| Error::Folder {
                folder: folder.clone(),
                cause,
            })?;
        }
        let trust = Trust::open(&config.data, &clock)?;
        let spawner = spawner(&config, address, &trust, &clock)?;
        // Whoever has left may be about to close its files.
        let patient = !visits.is_empty();
        let kept = succeed(visits, &spawner, &listener, &clock).await?;
        let assembled = Self::assemble(
            config,
            (listener, address),
            (spawner.clone(), trust),
            (kept, patient),
            clock,
        );
        // What is kept may be of use to the next one.
        assembled.await.inspect_err(|_| spawner.leave())
    }

    async fn assemble(
        config: Config,
        (listener, address): (TcpListener, SocketAddr),
        (spawner, trust): (Spawner, Trust),
        (kept, patient): (Vec<Kept>, bool),
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let (store, logs) = open(&config, patient, &clock).await?;
        let trees = Arc::new(store::Trees::open(&config.data.join("code"))?);
        let endpoint = Endpoint::new(trust.tls.clone(), Arc::clone(&clock));
        let progress = broadcast::Sender::new(PROGRESS_LINES);
        let processes = processes(
            &config,
            address,
            (&spawner, kept),
            &endpoint,
            (&clock, &progress),
        );
        let engine = Engine::open(
            engine_config(&config),
            Arc::clone(&store) as Arc<dyn store::Store>,
            Arc::clone(&trees),
            logs,
            Arc::clone(&clock),
            Arc::clone(&processes) as Arc<dyn engine::port::Runtime>,
        )
        .await?;
        let ports = Arc::new(ArcSwap::from_pointee(std::collections::HashMap::new()));
        let moved = MovedUrls::default();
        let doors = (Arc::clone(&ports), Arc::clone(&moved));
        let (opened, urls_open) = watch::channel(0);
        let intake = intake(&config, &trees)?;
        let front = front(&config, &engine, &clock, address, doors, urls_open, intake);
        let front = Arc::new(front);
        let service: Service = Box::new(move |request| {
            let front = Arc::clone(&front);
            Box::pin(async move { front.answer(request).await })
        });
        let tls = config.tls.clone();
        let server: Serve = Server::with_tls(service, limits(&config), tls, Arc::clone(&clock));
        endpoint.set(server.clone());
        let stop = Stop::new();
        let urls = UrlPorts::new(
            engine.clone(),
            config.account.clone(),
            address,
            server.clone(),
            (ports, moved),
            opened,
            stop.stopping(),
        );
        let node = Self {
            engine,
            store,
            trees,
            processes,
            spawner,
            clock,
            trust,
            address,
            config,
            urls,
            endpoint,
            stop,
            progress,
            tasks: Mutex::default(),
        };
        node.serve(server, listener);
        Ok(node)
    }

    fn serve(&self, server: Serve, listener: TcpListener) {
        let stopping = self.stop.stopping();
        let port = tokio::spawn(async move { server.run(listener, stopping.given()).await });
        self.tasks.lock().push(port);
        if !self.config.url_ports {
            return;
        }
        let (urls, stopping) = (self.urls.clone(), self.stop.stopping());
        let follower = tokio::spawn(async move {
            tokio::select! {
                () = urls.follow() => {}
                () = stopping.given() => {}
            }
        });
        self.tasks.lock().push(follower);
    }
}

impl Node {
    /// Answers what is in flight, for as long as that may take, and lets go of everything for
    /// another process: the port goes on listening, and idle instances wait.
    pub async fn leave(&self) {
        let began = self.clock.monotonic();
        self.stop.give();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        let aborts: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        let served = async {
            for task in tasks {
                // One that panicked has ended, too.
                let _ = task.await;
            }
            self.urls.ended().await;
        };
        // What goes on after every invocation, such as a log that is followed, would never end.
        let idle = async {
            self.clock.sleep(LINGER).await;
            self.engine.idle().await;
            self.clock.sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            () = served => {}
            () = idle => {}
            () = self.clock.sleep(self.config.drain) => {}
        }
        let spent = self.clock.monotonic().saturating_sub(began);
        self.engine
            .leave(self.config.drain.saturating_sub(spent))
            .await;
        aborts.iter().for_each(AbortHandle::abort);
        self.engine.logs().flush().await;
        self.endpoint.clear();
        self.spawner.leave();
    }

    /// Resolves once another process waits to take over.
    pub fn succeeded(&self) -> impl Future<Output = ()> + Send + use<> {
        self.spawner.succeeded()
    }

    /// Stops serving, lets busy instances end for a while, and ends every sandbox.
    pub async fn stop(&self) {
        self.stop.give();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        let aborts: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        {
            let served = async {
                for task in tasks {
                    // One that panicked has ended, too.
                    let _ = task.await;
                }
                self.urls.ended().await;
            };
            let mut served = std::pin::pin!(served);
            let mut ended = std::pin::pin!(self.engine.stop(GRACE));
            tokio::select! {
                () = &mut served => ended.await,
                () = &mut ended => tokio::select! {
                    () = served => {}
                    () = self.clock.sleep(LAST_ANSWERS) => {}
                },
            }
        }
        aborts.iter().for_each(AbortHandle::abort);
        self.spawner.shutdown().await;
        self.endpoint.clear();
    }

    /// Resolves when the store has failed or its folder is gone, and with it every promise to keep something, or when
    /// nothing can be run any more: the node is then to be stopped and its process to end. Only a
    /// fresh look at the disk tells what is on it, and only a process without threads can start
    /// the spawner.
    pub fn broken(&self) -> impl Future<Output = Error> + Send + use<> {
        let (broken, ended) = (self.store.broken(), self.spawner.ended());
        async move {
            tokio::select! {
                error = broken => match error {
                    store::Error::Gone { path } => Error::DataGone { folder: path },
                    error => Error::Store(error),
                },
                () = ended => Error::SpawnerEnded,
            }
        }
    }

    /// Where clients reach it, such as `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        self.config.endpoint(self.address)
    }

    /// What it was assembled from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The only decider.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine's store.
    pub(crate) fn store(&self) -> Arc<dyn store::Store> {
        Arc::clone(&self.store) as Arc<dyn store::Store>
    }

    /// The stored code.
    pub(crate) fn trees(&self) -> &store::Trees {
        &self.trees
    }

    /// What its user should know of the host before anything runs.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.processes.warnings();
        if !self.trust.has_hosts {
            warnings.push(
                "this host has no file of the certificates that it trusts (package \
                 ca-certificates): in functions, only Node.js trusts dayfly where it stands in for \
                 hosts of AWS's"
                    .to_owned(),
            );
        }
        warnings
    }

    /// Lines about what is done for all functions and takes long.
    pub(crate) fn progress(&self) -> broadcast::Receiver<String> {
        self.progress.subscribe()
    }

    /// Whether this host has the very interpreter of a runtime.
    pub(crate) fn has(&self) -> stacks::Has {
        let processes = Arc::clone(&self.processes);
        Arc::new(move |runtime| processes.has(runtime))
    }

    /// What builds need of this host, but for the places in which they go on.
    pub(crate) fn build_host(&self) -> stacks::Host {
        let processes = Arc::clone(&self.processes);
        stacks::Host {
            cache: self.config.cache.join("build"),
            interpreter: Arc::new(move |runtime| processes.interpreter(runtime)),
            clock: Arc::clone(&self.clock),
            turns: stacks::Turns::default(),
            places: Arc::new(tokio::sync::Semaphore::new(1)),
        }
    }

    /// Sets ports aside for the URLs of functions that are to be deployed, in their order.
    pub(crate) async fn reserve_urls(&self, functions: &BTreeSet<model::FunctionId>) {
        self.urls.reserve(functions).await;
    }

    /// Gives every function URL its port; what could not be given one is answered.
    pub(crate) async fn open_urls(&self) -> Vec<(model::FunctionId, String)> {
        self.urls.reconcile().await
    }

    /// Where a function answers: at its port, and by host name on the one port.
    pub(crate) fn urls_of(&self, id: &model::FunctionId) -> (Option<String>, Option<String>) {
        let Ok(view) = self.engine.find(&id.unqualified()) else {
            return (None, None);
        };
        let Some(url) = &view.url else {
            return (None, None);
        };
        let by_port = self
            .urls
            .port_of(url)
            .map(|port| format!("http://{}:{port}/", self.address.ip()));
        (by_port, Some(url.by_name(&id.region, &self.origin())))
    }
}

/// Those of every node, and room for code that is deployed to it.
fn limits(config: &Config) -> Limits {
    let limits = Limits::default();
    let keeps = config.keep.is_some();
    Limits {
        drain: if keeps { config.drain } else { limits.drain },
        linger: if keeps { LINGER } else { limits.linger },
        body_bytes_max: limits.body_bytes_max.max(api::archive::ARCHIVE_BYTES_MAX),
        ..limits
    }
}

/// Where code goes that is deployed to this node.
fn intake(config: &Config, trees: &Arc<store::Trees>) -> Result<api::Intake, Error> {
    let folder = config.data.join("incoming");
    let network = if config.outside_network {
        model::Network::Outside
    } else {
        model::Network::PlatformOnly
    };
    let intake = api::Intake::new(Arc::clone(trees), folder.clone(), network);
    intake.map_err(|cause| Error::Folder { folder, cause })
}

fn engine_config(config: &Config) -> engine::Config {
    engine::Config {
        account_concurrency: config.account_concurrency,
        memory_mb_max: config.memory_mb_max,
        starts_at_once: config.starts_at_once,
        hold_from: config.hold_from,
        keep_alive: model::limit::KEEP_ALIVE,
        freeze_after: model::limit::FREEZE_AFTER,
    }
}

fn front(
    config: &Config,
    engine: &Engine,
    clock: &Arc<dyn Clock>,
    address: SocketAddr,
    (ports, moved_urls): (PortTable, MovedUrls),
    urls_open: watch::Receiver<u64>,
    intake: api::Intake,
) -> Front {
    let endpoint = config.endpoint(address);
    let api = api::Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        account: config.account.clone(),
        region: config.region.clone(),
        endpoint: endpoint.clone(),
        moved_urls: Arc::clone(&moved_urls),
    };
    let aws = compat::aws::Settings {
        access: config.access,
        account: config.account.clone(),
        region: config.region.clone(),
        network: if config.outside_network {
            model::Network::Outside
        } else {
            model::Network::PlatformOnly
        },
        account_concurrency: config.account_concurrency,
        endpoint,
        moved_urls,
        // Nobody would tell of ports where there are none.
        urls_open: config.url_ports.then_some(urls_open),
    };
    Front {
        urls: gateway::url::FunctionUrls::new(engine.clone(), Arc::clone(clock)),
        api: api::Api::new(engine.clone(), Arc::clone(clock), api).taking_code(intake),
        aws: compat::aws::Aws::new(engine.clone(), Arc::clone(clock), aws),
        ports,
        access: config.access,
        allow_any_user: config.allow_any_user,
        account: config.account.clone(),
        allow_hosts: config
            .allow_hosts
            .iter()
            .chain(&config.domain)
            .cloned()
            .collect(),
    }
}
