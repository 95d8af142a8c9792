//! Functions as processes, and where their connections to the platform go.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use compat::aws::SERVED;
use gateway::listen::Peer;
use gateway::tls::Tls;
use process::Processes;
use process::interpreter::Surroundings;
use process::spawner::{Kept, Spawner};
use store::Clock;
use tokio::sync::broadcast;

use crate::config::Config;
use crate::front::Serve;

/// Where connections out of sandboxes go: to the one port's server, once there is one.
///
/// The server holds the engine, which holds the processes, which hold this: it lets go of the
/// server when the node stops, or nothing of the node would ever be dropped.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    server: Arc<ArcSwapOption<Serve>>,
    /// For those who take the platform for a host of the cloud's.
    tls: Tls,
    clock: Arc<dyn Clock>,
}

/// Where clients speak TLS, if they do not say otherwise.
const HTTPS_PORT: u16 = 443;
/// The first byte of whoever does (RFC 8446, section 5.1: a handshake); no method begins with it.
const HANDSHAKE: u8 = 22;
/// How long it may take to come; as long as a head.
const FIRST_BYTE_LIMIT: Duration = Duration::from_secs(10);

impl Endpoint {
    pub(crate) fn new(tls: Tls, clock: Arc<dyn Clock>) -> Self {
        Self {
            server: Arc::default(),
            tls,
            clock,
        }
    }

    pub(crate) fn set(&self, server: Serve) {
        self.server.store(Some(Arc::new(server)));
    }

    pub(crate) fn clear(&self) {
        self.server.store(None);
    }

    async fn serve(&self, from: process::InstanceIdentity, stream: tokio::net::TcpStream) {
        let (Some(server), Ok(remote), Ok(local)) = (
            self.server.load_full(),
            stream.peer_addr(),
            stream.local_addr(),
        ) else {
            return;
        };
        // The endpoint's own port may be this one, and without TLS.
        let secure = local.port() == HTTPS_PORT && self.begins_with_handshake(&stream).await;
        let peer = Peer {
            remote,
            local,
            secure,
            instance: Some(from.instance),
        };
        if secure {
            server.serve_secured(stream, peer, &self.tls).await;
        } else {
            server.serve_stream(stream, peer).await;
        }
    }

    async fn begins_with_handshake(&self, stream: &tokio::net::TcpStream) -> bool {
        let mut first = [0];
        tokio::select! {
            seen = stream.peek(&mut first) => matches!(seen, Ok(1)) && first == [HANDSHAKE],
            () = self.clock.sleep(FIRST_BYTE_LIMIT) => false,
        }
    }
}

/// Functions as processes.
pub(crate) fn processes(
    config: &Config,
    address: SocketAddr,
    (spawner, kept): (&Spawner, Vec<Kept>),
    endpoint: &Endpoint,
    (clock, progress): (&Arc<dyn Clock>, &broadcast::Sender<String>),
) -> Arc<Processes> {
    let (endpoint, progress) = (endpoint.clone(), progress.clone());
    Arc::new(Processes::new(process::Config {
        spawner: spawner.clone(),
        kept,
        cache: runtimes_folder(&config.cache),
        endpoint: Arc::new(move |from, stream| {
            let endpoint = endpoint.clone();
            Box::pin(async move { endpoint.serve(from, stream).await })
        }),
        endpoint_port: address.port(),
        strict_runtimes: config.strict_runtimes,
        inspect: config.inspect,
        reach: match (config.outside_network, config.allow_host_services) {
            (false, _) => process::Reach::Nowhere,
            (true, true) => process::Reach::Host,
            (true, false) => process::Reach::Others,
        },
        cloud: if config.aws_passthrough {
            process::CloudHosts::Of(&SERVICES)
        } else {
            process::CloudHosts::Home
        },
        tmp_exec: config.allow_exec_tmp,
        surroundings: Surroundings::of_this_process(),
        progress: Arc::new(move |line| {
            // An error says that nobody listens.
            let _ = progress.send(line.to_owned());
        }),
        clock: Arc::clone(clock),
    }))
}

/// The services of AWS that are here.
static SERVICES: [process::CloudService; SERVED.len()] = {
    let mut services = [process::CloudService {
        name: "",
        variable: "",
    }; SERVED.len()];
    let mut at = 0;
    while at < SERVED.len() {
        let (name, variable) = SERVED[at];
        services[at] = process::CloudService { name, variable };
        at += 1;
    }
    services
};

/// Where fetched interpreters are kept, in the user's cache.
pub(crate) fn runtimes_folder(cache: &Path) -> PathBuf {
    cache.join("runtimes")
}
