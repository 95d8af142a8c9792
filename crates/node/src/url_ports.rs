//! A loopback port of its own for each function URL, the same one every time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use engine::Engine;
use engine::verb::FunctionView;
use model::{AccountId, FunctionId, UrlConfig};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::front::Serve;
use crate::stop::{Stop, Stopping};

/// How many ports above the node's own are tried for a new URL before the system chooses one.
const PORTS_TRIED: u16 = 400;

/// Which URL each port stands for. Read by every request, changed by every deployment.
pub(crate) type PortTable = Arc<ArcSwap<HashMap<u16, String>>>;

/// The ports of those URLs, by their ids, whose own is taken. They keep their own for the next time.
pub(crate) type MovedUrls = Arc<ArcSwap<HashMap<String, u16>>>;

/// The listeners of the function URLs. A handle.
#[derive(Debug, Clone)]
pub(crate) struct UrlPorts {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    account: AccountId,
    address: IpAddr,
    first: u16,
    server: Serve,
    table: PortTable,
    moved: MovedUrls,
    /// Up to which change of the catalog all is open.
    opened: watch::Sender<u64>,
    ports: Mutex<Ports>,
    stopping: Stopping,
}

#[derive(Debug, Default)]
struct Ports {
    open: HashMap<FunctionId, Open>,
    /// Ports set aside for URLs that are still to be made.
    reserved: HashMap<FunctionId, u16>,
    /// Those whose URL is gone and whose last requests are still answered, for as long as the
    /// server grants them; ended with this at the latest.
    closing: JoinSet<()>,
}

#[derive(Debug)]
struct Open {
    port: u16,
    url_id: String,
    close: Stop,
    /// The one task of the listener; ended with this at the latest.
    serving: JoinSet<()>,
}

impl Open {
    /// Resolves when its requests in flight have ended.
    async fn ended(mut self) {
        // One that panicked has ended, too.
        while self.serving.join_next().await.is_some() {}
    }
}

impl UrlPorts {
    pub(crate) fn new(
        engine: Engine,
        account: AccountId,
        main: SocketAddr,
        server: Serve,
        (table, moved): (PortTable, MovedUrls),
        opened: watch::Sender<u64>,
        stopping: Stopping,
    ) -> Self {
        let shared = Shared {
            engine,
            account,
            address: main.ip(),
            first: main.port().saturating_add(1),
            server,
            table,
            moved,
            opened,
            ports: Mutex::default(),
            stopping,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Opens ports for URLs that have none and closes those whose URL is gone, where requests in
    /// flight may still end. What cannot be
    /// opened is answered, with the reason. Once the node stops, nothing is opened any more.
    pub(crate) async fn reconcile(&self) -> Vec<(FunctionId, String)> {
        let mut ports = self.shared.ports.lock().await;
        let Ports {
            open,
            reserved,
            closing,
        } = &mut *ports;
        while closing.try_join_next().is_some() {}
        if self.shared.stopping.is_given() {
            return Vec::new();
        }
        let functions = self.shared.engine.list(&self.shared.account, None);
        let wanted: HashMap<&FunctionId, &Arc<FunctionView>> = functions
            .iter()
            .filter(|view| view.url.is_some())
            .map(|view| (&view.id, view))
            .collect();
        let gone = open.extract_if(|id, entry| {
            let url = wanted.get(id).and_then(|view| view.url.as_ref());
            url.is_none_or(|url| url.url_id != entry.url_id)
        });
        for (_, entry) in gone {
            entry.close.give();
            closing.spawn(entry.ended());
        }
        let mut taken: HashSet<u16> = functions
            .iter()
            .filter_map(|view| view.url.as_ref()?.port)
            .chain(reserved.values().copied())
            .collect();
        let mut problems = Vec::new();
        for view in &functions {
            let Some(url) = view.url.as_ref().filter(|_| !open.contains_key(&view.id)) else {
                continue;
            };
            let own = url.port.or(reserved.get(&view.id).copied());
            match self.open(view, url, own, &taken).await {
                Ok(entry) => {
                    taken.insert(entry.port);
                    if let Some(own) = url.port.filter(|own| *own != entry.port) {
                        let text = format!(
                            "port {own} is taken; its URL is at port {} for this run",
                            entry.port
                        );
                        problems.push((view.id.clone(), text));
                    }
                    open.insert(view.id.clone(), entry);
                }
                Err(error) => problems.push((view.id.clone(), error.to_string())),
            }
        }
        let table = open
            .values()
            .map(|entry| (entry.port, entry.url_id.clone()))
            .collect();
        self.shared.table.store(Arc::new(table));
        let moved = functions.iter().filter_map(|view| {
            let url = view.url.as_ref()?;
            let port = open.get(&view.id)?.port;
            (url.port.is_some_and(|own| own != port)).then(|| (url.url_id.clone(), port))
        });
        self.shared.moved.store(Arc::new(moved.collect()));
        problems
    }

    /// Sets ports aside for those of these functions that have none, in the order of their names:
    /// which one a URL gets does not depend on whose deployment ends first. What was set aside for
    /// others is free again.
    pub(crate) async fn reserve(&self, functions: &BTreeSet<FunctionId>) {
        let mut ports = self.shared.ports.lock().await;
        let reserved = &mut ports.reserved;
        reserved.retain(|id, _| functions.contains(id));
        let known = self.shared.engine.list(&self.shared.account, None);
        let known: HashMap<&FunctionId, u16> = known
            .iter()
            .filter_map(|view| Some((&view.id, view.url.as_ref()?.port?)))
            .collect();
        let mut taken: HashSet<u16> = known.values().copied().collect();
        taken.extend(reserved.values());
        for id in functions {
            if known.contains_key(id) || reserved.contains_key(id) {
                continue;
            }
            if let Some(port) = self.first_free(&taken).await {
                taken.insert(port);
                reserved.insert(id.clone(), port);
            }
        }
    }

    /// One that nobody has at this moment; it is bound when its URL is made.
    async fn first_free(&self, taken: &HashSet<u16>) -> Option<u16> {
        for port in self.fresh(taken) {
            if TcpListener::bind((self.shared.address, port)).await.is_ok() {
                return Some(port);
            }
        }
        None
    }

    /// The ports after the node's own that no function has.
    fn fresh<'a>(&self, taken: &'a HashSet<u16>) -> impl Iterator<Item = u16> + use<'a> {
        let last = self.shared.first.saturating_add(PORTS_TRIED);
        (self.shared.first..last).filter(|port| !taken.contains(port))
    }

    async fn open(
        &self,
        view: &FunctionView,
        url: &UrlConfig,
        own: Option<u16>,
        taken: &HashSet<u16>,
    ) -> std::io::Result<Open> {
        let listener = self.bind(own, taken).await?;
        let port = listener.local_addr()?.port();
        if url.port.is_none() {
            let kept = self.shared.engine.set_url_port(&view.id, port).await;
            kept.map_err(|error| std::io::Error::other(error.to_string()))?;
        }
        let server = self.shared.server.clone();
        let close = Stop::new();
        let (stopping, closing) = (self.shared.stopping.clone(), close.stopping());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let either = async {
                tokio::select! {
                    () = stopping.given() => {}
                    () = closing.given() => {}
                }
            };
            server.run(listener, either).await;
        });
        Ok(Open {
            port,
            url_id: url.url_id.clone(),
            close,
            serving,
        })
    }

    /// Where a URL answers now.
    pub(crate) fn port_of(&self, url: &UrlConfig) -> Option<u16> {
        let moved = self.shared.moved.load();
        moved.get(&url.url_id).copied().or(url.port)
    }

    /// The port it had or that was set aside for it, else the first after the node's own that nobody has, else any.
    async fn bind(&self, known: Option<u16>, taken: &HashSet<u16>) -> std::io::Result<TcpListener> {
        for port in known.into_iter().chain(self.fresh(taken)) {
            if let Ok(listener) = TcpListener::bind((self.shared.address, port)).await {
                return Ok(listener);
            }
        }
        TcpListener::bind((self.shared.address, 0)).await
    }

    /// Follows the catalog until the engine is gone, so that a URL made by any door gets its port.
    pub(crate) async fn follow(&self) {
        let mut catalog = self.shared.engine.watch();
        while catalog.changed().await.is_ok() {
            let generation = *catalog.borrow_and_update();
            for (function, problem) in self.reconcile().await {
                tracing::warn!(%problem, function = %function.name, "the port of a function URL");
            }
            self.shared.opened.send_replace(generation);
        }
    }

    /// Resolves, once the node stops, when all requests in flight have ended. Dropped before that,
    /// it cuts them off.
    pub(crate) async fn ended(&self) {
        self.shared.stopping.clone().given().await;
        let mut ports = std::mem::take(&mut *self.shared.ports.lock().await);
        for entry in ports.open.into_values() {
            entry.ended().await;
        }
        while ports.closing.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests;
