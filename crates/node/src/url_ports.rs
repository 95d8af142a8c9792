//! A loopback port of its own for each function URL, the same one every time.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use engine::Engine;
use engine::verb::FunctionView;
use model::{AccountId, FunctionId};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::front::Serve;
use crate::stop::Stopping;

/// How many ports above the node's own are tried for a new URL before the system chooses one.
const PORTS_TRIED: u16 = 400;

/// Which URL each port stands for. Read by every request, changed by every deployment.
pub(crate) type PortTable = Arc<ArcSwap<HashMap<u16, String>>>;

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
    open: Mutex<HashMap<FunctionId, Open>>,
    stopping: Stopping,
}

#[derive(Debug)]
struct Open {
    port: u16,
    url_id: String,
    /// Ends with the listener; ended with this at the latest.
    serving: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl UrlPorts {
    pub(crate) fn new(
        engine: Engine,
        account: AccountId,
        main: SocketAddr,
        server: Serve,
        table: PortTable,
        stopping: Stopping,
    ) -> Self {
        let shared = Shared {
            engine,
            account,
            address: main.ip(),
            first: main.port().saturating_add(1),
            server,
            table,
            open: Mutex::new(HashMap::new()),
            stopping,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Opens ports for URLs that have none and closes those whose URL is gone. What cannot be
    /// opened is answered, with the reason. Once the node stops, nothing is opened any more.
    pub(crate) async fn reconcile(&self) -> Vec<(FunctionId, String)> {
        let mut open = self.shared.open.lock().await;
        if self.shared.stopping.is_given() {
            return Vec::new();
        }
        let functions = self.shared.engine.list(&self.shared.account, None);
        let wanted: HashMap<&FunctionId, &Arc<FunctionView>> = functions
            .iter()
            .filter(|view| view.url.is_some())
            .map(|view| (&view.id, view))
            .collect();
        open.retain(|id, entry| {
            wanted
                .get(id)
                .and_then(|view| view.url.as_ref())
                .is_some_and(|url| url.url_id == entry.url_id)
        });
        let mut taken: HashSet<u16> = functions
            .iter()
            .filter_map(|view| view.url.as_ref()?.port)
            .collect();
        let mut problems = Vec::new();
        for view in &functions {
            let Some(url) = view.url.as_ref().filter(|_| !open.contains_key(&view.id)) else {
                continue;
            };
            match self.open(view, url.port, &taken).await {
                Ok((port, serving)) => {
                    taken.insert(port);
                    let entry = Open {
                        port,
                        url_id: url.url_id.clone(),
                        serving,
                    };
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
        problems
    }

    async fn open(
        &self,
        view: &FunctionView,
        known: Option<u16>,
        taken: &HashSet<u16>,
    ) -> std::io::Result<(u16, JoinHandle<()>)> {
        let listener = self.bind(known, taken).await?;
        let port = listener.local_addr()?.port();
        if known != Some(port) {
            let kept = self.shared.engine.set_url_port(&view.id, port).await;
            kept.map_err(|error| std::io::Error::other(error.to_string()))?;
        }
        let server = self.shared.server.clone();
        let stopping = self.shared.stopping.clone();
        let serving = tokio::spawn(async move {
            server.run(listener, stopping.given()).await;
        });
        Ok((port, serving))
    }

    /// The port it had, else the first after the node's own that nobody has, else any.
    async fn bind(&self, known: Option<u16>, taken: &HashSet<u16>) -> std::io::Result<TcpListener> {
        let last = self.shared.first.saturating_add(PORTS_TRIED);
        let fresh = (self.shared.first..last).filter(|port| !taken.contains(port));
        for port in known.into_iter().chain(fresh) {
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
            for (function, problem) in self.reconcile().await {
                tracing::warn!(%problem, function = %function.name, "no port for a function URL");
            }
        }
    }

    /// Resolves, once the node stops, when all requests in flight have ended. Dropped before that,
    /// it cuts them off.
    pub(crate) async fn ended(&self) {
        self.shared.stopping.clone().given().await;
        let open = std::mem::take(&mut *self.shared.open.lock().await);
        for mut entry in open.into_values() {
            // One that panicked has ended, too.
            let _ = (&mut entry.serving).await;
        }
    }
}

#[cfg(test)]
mod tests;
