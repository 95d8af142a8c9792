//! The one value that a node is assembled from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use compat::aws::Access;
use gateway::tls::Tls;
use model::{AccountId, Region};
use process::spawner::Lite;

/// Everything a node needs to know. There is no other configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the one port is bound; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What is asked of callers.
    pub access: Access,
    /// Whether other users of this machine are let in where nothing is asked of callers.
    pub allow_any_user: bool,
    /// Certificate and key, where the port speaks TLS.
    pub tls: Option<Tls>,
    /// The name by which clients reach the port, where they do not by its address.
    pub domain: Option<String>,
    /// Whether each function URL has a port of its own too.
    pub url_ports: bool,
    /// Whether functions may have an outside network.
    pub outside_network: bool,
    /// Folder that state is kept in; made where missing.
    pub data: PathBuf,
    /// Folder for builds and fetched tools; shared by all projects of a user.
    pub cache: PathBuf,
    /// The `dayfly` program, run again as the spawner.
    pub program: PathBuf,
    /// Account of callers that name none.
    pub account: AccountId,
    /// Region of callers that name none.
    pub region: Region,
    /// Further names that requests on loopback may be addressed to.
    pub allow_hosts: Vec<String>,
    /// Refuse to substitute interpreters.
    pub strict_runtimes: bool,
    /// Have instances listen for a debugger.
    pub inspect: bool,
    /// Let functions with an outside network reach this host too.
    pub allow_host_services: bool,
    /// Ports of this host's loopback that functions reach at the same ports of theirs.
    pub host_ports: Vec<u16>,
    /// Tell functions' logs of connections to their own loopback that were refused, with the option
    /// that forwards a port.
    pub tell_refused: bool,
    /// Let functions reach AWS itself for services that the platform does not have.
    pub aws_passthrough: bool,
    /// Let functions execute what they write to `/tmp`.
    pub allow_exec_tmp: bool,
    /// Whether functions may run without a jail where the host gives none.
    pub lite: Lite,
    /// Generic jails kept ready.
    pub jails_ready: usize,
    /// Kinds of interpreters of which one is kept started, for whichever function comes.
    pub interpreters_ready: usize,
    /// How long instances wait for another process with this data folder once this one is gone;
    /// none where they end with it.
    pub keep: Option<Duration>,
    /// Whether to take over from the process that has this data folder.
    pub replace: bool,
    /// How long requests in flight may go on when another process takes over.
    pub drain: Duration,
    /// Memory that all instances together may have by their settings, in MB.
    pub memory_mb_max: u64,
    /// Instances that are started at once; further starts wait for their turn.
    pub starts_at_once: usize,
    /// Requests of one version at work from which on others are held for a moment, if they are
    /// short.
    pub hold_from: usize,
    /// Instances of one account that may be busy at once.
    pub account_concurrency: u32,
}

impl Config {
    /// A node on loopback with its state in `data`.
    pub fn dev(
        data: PathBuf,
        cache: PathBuf,
        program: PathBuf,
        account: AccountId,
        region: Region,
    ) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4566)),
            access: Access::Anybody,
            allow_any_user: false,
            tls: None,
            domain: None,
            url_ports: true,
            outside_network: true,
            // Sandboxes are made by a process that stands in another folder.
            data: std::path::absolute(&data).unwrap_or(data),
            cache: std::path::absolute(&cache).unwrap_or(cache),
            program,
            account,
            region,
            allow_hosts: Vec::new(),
            strict_runtimes: false,
            inspect: false,
            allow_host_services: false,
            host_ports: Vec::new(),
            tell_refused: true,
            aws_passthrough: false,
            allow_exec_tmp: false,
            lite: Lite::WhereNeeded,
            jails_ready: 4,
            interpreters_ready: 4,
            keep: None,
            replace: false,
            drain: Duration::from_secs(30),
            memory_mb_max: host_memory_mb() * 4 / 5,
            // Starting is work for processors: more at once would all be slower.
            starts_at_once: 2 * processors(),
            hold_from: 2 * processors(),
            account_concurrency: model::limit::ACCOUNT_CONCURRENCY,
        }
    }

    /// A server for whoever has a key, with its state in `data`: nothing runs without a jail, and
    /// functions have no outside network.
    pub fn up(
        data: PathBuf,
        cache: PathBuf,
        program: PathBuf,
        account: AccountId,
        region: Region,
    ) -> Self {
        Self {
            access: Access::Keys,
            url_ports: false,
            outside_network: false,
            tell_refused: false,
            lite: Lite::Never,
            keep: Some(Duration::from_secs(10)),
            ..Self::dev(data, cache, program, account, region)
        }
    }

    /// Where clients reach a port of this address.
    pub(crate) fn endpoint(&self, address: SocketAddr) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match &self.domain {
            Some(domain) => format!("{scheme}://{domain}:{}", address.port()),
            None => format!("{scheme}://{address}"),
        }
    }
}

/// Processors that this process may use; two where that cannot be told.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// Memory of the host, in MB; a small figure where it cannot be read.
fn host_memory_mb() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok());
    kilobytes.map_or(2048, |kb| kb / 1024)
}
