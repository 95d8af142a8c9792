//! A loopback port of its own for each function URL, the same one every time.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use engine::Engine;
use engine::verb::FunctionView;
use model::{AccountId, FunctionId};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use crate::front::Serve;

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
    stop: Arc<Notify>,
}

#[derive(Debug)]
struct Open {
    port: u16,
    url_id: String,
    /// Ends with the listener; aborted when the URL goes.
    serving: JoinHandle<()>,
}

impl UrlPorts {
    pub(crate) fn new(
        engine: Engine,
        account: AccountId,
        main: SocketAddr,
        server: Serve,
        table: PortTable,
    ) -> Self {
        let shared = Shared {
            engine,
            account,
            address: main.ip(),
            first: main.port().saturating_add(1),
            server,
            table,
            open: Mutex::new(HashMap::new()),
            stop: Arc::new(Notify::new()),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Opens ports for URLs that have none and closes those whose URL is gone. What cannot be
    /// opened is answered, with the reason.
    pub(crate) async fn reconcile(&self) -> Vec<(FunctionId, String)> {
        let mut open = self.shared.open.lock().await;
        let functions = self.shared.engine.list(&self.shared.account, None);
        let wanted: HashMap<&FunctionId, &Arc<FunctionView>> = functions
            .iter()
            .filter(|view| view.url.is_some())
            .map(|view| (&view.id, view))
            .collect();
        open.retain(|id, entry| {
            let same = wanted
                .get(id)
                .and_then(|view| view.url.as_ref())
                .is_some_and(|url| url.url_id == entry.url_id);
            if !same {
                entry.serving.abort();
            }
            same
        });
        let mut problems = Vec::new();
        for view in &functions {
            let Some(url) = view.url.as_ref().filter(|_| !open.contains_key(&view.id)) else {
                continue;
            };
            match self.open(view, url.port).await {
                Ok((port, serving)) => {
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
    ) -> std::io::Result<(u16, JoinHandle<()>)> {
        let listener = self.bind(known).await?;
        let port = listener.local_addr()?.port();
        if known != Some(port) {
            let kept = self.shared.engine.set_url_port(&view.id, port).await;
            kept.map_err(|error| std::io::Error::other(error.to_string()))?;
        }
        let server = self.shared.server.clone();
        let stop = Arc::clone(&self.shared.stop);
        let serving = tokio::spawn(async move {
            server.run(listener, stop.notified()).await;
        });
        Ok((port, serving))
    }

    /// The port it had, else the first free one after the node's own, else any.
    async fn bind(&self, known: Option<u16>) -> std::io::Result<TcpListener> {
        let taken: Vec<u16> = self
            .shared
            .engine
            .list(&self.shared.account, None)
            .iter()
            .filter_map(|view| view.url.as_ref().and_then(|url| url.port))
            .collect();
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

    /// Stops listening; requests in flight end.
    pub(crate) async fn stop(&self) {
        self.shared.stop.notify_waiters();
        let open: Vec<Open> = self
            .shared
            .open
            .lock()
            .await
            .drain()
            .map(|(_, entry)| entry)
            .collect();
        for entry in open {
            // A listener's task ends by the notice above; one that panicked has ended too.
            let _ = entry.serving.await;
        }
    }
}
