//! What one process at a time has of a node: the port, the data folder and, on them, the instances.
//! Had anew, or from the process that had it before.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use process::spawner::{Error as SpawnerError, Keep, Kept, Spawner, Visits};
use store::Clock;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::node::Error;
use crate::trust::Trust;

/// How long a process that has let go of everything may take to close its files (ours: it writes
/// its log back, and a disk can be slow).
const CLOSE_LIMIT: Duration = Duration::from_secs(20);
/// How long another start may take to take over before this one gives way to it (ours: many times
/// what it takes).
const TAKER_LIMIT: Duration = Duration::from_secs(2);
/// How often to look whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Where the spawners are heard whose instances can be taken over.
fn kept_folder(data: &Path) -> PathBuf {
    data.join("kept")
}

/// Finds the spawners of earlier processes. One whose process still serves is only for whoever is
/// to take over.
pub(crate) async fn visits(config: &Config, clock: &Arc<dyn Clock>) -> Result<Visits, Error> {
    let folder = kept_folder(&config.data);
    let until = clock.monotonic() + TAKER_LIMIT;
    let visits = loop {
        match Visits::make(&folder, &**clock).await {
            // It may have been killed as it took over, and its spawner not know of it yet.
            Err(SpawnerError::Taken) if !config.replace && clock.monotonic() < until => {
                clock.sleep(LOOK_AGAIN).await;
            }
            visits => break visits.map_err(|error| Error::Succession(error.to_string()))?,
        }
    };
    if visits.served && !config.replace {
        return Err(Error::Served {
            folder: config.data.clone(),
        });
    }
    Ok(visits)
}

/// The listener of an earlier process, if it is at this address.
pub(crate) fn inherited(visits: &mut Visits, address: SocketAddr) -> Option<TcpListener> {
    let is_there = |listener: &std::net::TcpListener| {
        let at = listener.local_addr();
        at.is_ok_and(|at| at.ip() == address.ip() && [at.port(), 0].contains(&address.port()))
    };
    let index = visits.listeners.iter().position(is_there)?;
    let listener = visits.listeners.swap_remove(index);
    listener.set_nonblocking(true).ok()?;
    TcpListener::from_std(listener).ok()
}

/// Listens at an address.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(cause) if cause.kind() == std::io::ErrorKind::AddrInUse => {
            let by = who_listens(address).await;
            Err(Error::PortTaken { address, by })
        }
        Err(cause) => Err(Error::Listen { address, cause }),
    }
}

/// Says so where it is one of us that has the port.
async fn who_listens(address: SocketAddr) -> String {
    let Ok(client) = api::client::Client::new(&format!("http://{address}")) else {
        return String::new();
    };
    match client.info().await {
        Ok(info) => format!(" by another dayfly (version {})", info.version),
        Err(_) => String::new(),
    }
}

/// A spawner of this process's own.
pub(crate) fn spawner(
    config: &Config,
    address: SocketAddr,
    trust: &Trust,
    clock: &Arc<dyn Clock>,
) -> Result<Spawner, Error> {
    let spawner = Spawner::launch(
        process::spawner::Config {
            program: config.program.clone(),
            pool: config.jails_ready,
            booted: config.interpreters_ready,
            runtime_dir: config.data.clone(),
            endpoint_port: address.port(),
            host_ports: config.host_ports.clone(),
            tell_refused: config.tell_refused,
            trust: Some(trust.folder.clone()),
            lite: config.lite,
            keep: config.keep.map(|grace| Keep {
                folder: kept_folder(&config.data),
                grace,
            }),
        },
        Arc::clone(clock),
    );
    spawner.map_err(|error| Error::Spawner(error.to_string()))
}

/// Takes over from an earlier process, once it has gone; answers the instances that it left. From
/// then on the port listens whatever becomes of this one.
pub(crate) async fn succeed(
    visits: Visits,
    spawner: &Spawner,
    listener: &TcpListener,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Kept>, Error> {
    let inherited = visits.succeed(Arc::clone(clock)).await;
    let inherited =
        inherited.map_err(|error: SpawnerError| Error::Succession(error.to_string()))?;
    let kept = spawner.inherit(inherited);
    spawner.hold(listener.as_fd()).await;
    Ok(kept)
}

/// Opens the data folder. With patience where the process that had it may be about to close it, as it
/// has let go of everything else.
pub(crate) async fn open(
    config: &Config,
    patient: bool,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<store::Sqlite>, store::Logs), Error> {
    let until = clock.monotonic() + CLOSE_LIMIT;
    let mut store = None;
    loop {
        let opened = open_once(config, clock, &mut store);
        let wait = patient && clock.monotonic() < until;
        match opened {
            Err(store::Error::InUse { .. }) if wait => clock.sleep(LOOK_AGAIN).await,
            opened => {
                let (store, logs) = opened?;
                return Ok((store, logs));
            }
        }
    }
}

fn open_once(
    config: &Config,
    clock: &Arc<dyn Clock>,
    kept: &mut Option<Arc<store::Sqlite>>,
) -> Result<(Arc<store::Sqlite>, store::Logs), store::Error> {
    let store = match kept {
        Some(store) => Arc::clone(store),
        None => Arc::clone(kept.insert(Arc::new(store::Sqlite::open(
            &config.data,
            Arc::clone(clock),
        )?))),
    };
    let logs = store::Logs::open(&config.data.join("logs"), Arc::clone(clock))?;
    Ok((store, logs))
}
