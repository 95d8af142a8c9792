//! The command line: every verb, its options and what `--help` says of them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Run functions written for AWS Lambda here and now: no Docker, no account.
#[derive(Debug, Parser)]
#[command(name = "dayfly", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where dayfly answers if nothing else is said.
const PORT: u16 = 4566;

const AFTER_HELP: &str = "\
Data goes to stdout, everything else to stderr. Exit codes:
  0  done                            5  refused for now (throttled); try again
  1  the function failed             6  the project could not be read or built
  2  the command line is wrong       7  this host cannot do what was asked
  3  there is no such function      70  the platform failed
  4  no dayfly answers here         130  interrupted again while it was stopping";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a working starter project
    New(New),
    /// Run a project's functions, redeploying them as files change
    Dev(Dev),
    /// Serve functions that are deployed to it, for whoever has a key
    Up(Up),
    /// Build a project here and deploy its functions to a server
    Deploy(Deploy),
    /// Make, list and remove the access keys of a server
    #[command(subcommand)]
    Keys(Keys),
    /// Run a deployed function once and show its answer
    Invoke(Invoke),
    /// Show a function's log
    Logs(Logs),
    /// List deployed functions
    Ls(Ls),
    /// Remove a function
    Rm(Rm),
    /// Tell what isolation, limits and interpreters this host offers
    Doctor(Doctor),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Where a running dayfly is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Endpoint {
    /// Where dayfly answers [default: http://127.0.0.1:PORT]
    #[arg(long, env = "DAYFLY_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// Port where dayfly answers on loopback, as of `dayfly dev`; --endpoint goes before it
    #[arg(long, short, env = "DAYFLY_PORT", default_value_t = PORT)]
    port: u16,
}

impl Endpoint {
    pub(crate) fn url(&self) -> String {
        let known = self.endpoint.clone();
        known.unwrap_or_else(|| format!("http://127.0.0.1:{}", self.port))
    }
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// Folder to make; its name is the project's
    pub(crate) folder: PathBuf,
    /// Language of the starter
    #[arg(long, short, value_enum, default_value_t = Language::Python)]
    pub(crate) language: Language,
    /// Print what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Language {
    Python,
    Node,
    Rust,
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The project: a folder with a function, with folders of functions, or with a template.yaml
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Port for AWS APIs, function URLs and the control API, on loopback; 0 for any free one
    #[arg(long, short, env = "DAYFLY_PORT", default_value_t = PORT)]
    pub(crate) port: u16,
    /// Where state is kept [default: .dayfly in the project folder]
    #[arg(long, env = "DAYFLY_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Region of the functions [default: us-east-1]
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// Account of the functions, twelve digits
    #[arg(long, default_value = "000000000000", value_name = "ID")]
    pub(crate) account: String,
    /// Environment variables by function, in the JSON form of `sam local --env-vars`
    #[arg(long, value_name = "FILE")]
    pub(crate) env_vars: Option<PathBuf>,
    /// Let debuggers attach to Node and Python instances, at ports that are told, and suspend timeouts
    #[arg(long)]
    pub(crate) inspect: bool,
    /// Refuse to run a function on another interpreter version than it asks for
    #[arg(long)]
    pub(crate) strict_runtimes: bool,
    /// Give functions no network but the platform's own endpoint
    #[arg(long)]
    pub(crate) no_network: bool,
    /// Let functions reach this machine: at its addresses, and its loopback as
    /// host.docker.internal
    #[arg(long, conflicts_with = "no_network")]
    pub(crate) allow_host_services: bool,
    /// Port of this machine's loopback, such as a database's, that functions reach at the same port
    /// of theirs: 127.0.0.1:PORT or localhost:PORT. May be given several times, and goes with
    /// --no-network too
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) host_port: Vec<u16>,
    /// Let hosts of AWS services that dayfly does not have be AWS's own in functions. AWS knows
    /// nothing of the credentials in their environment, which are dayfly's: clients for those
    /// services must be made with some of yours, given under names of their own (--env-vars)
    #[arg(long, conflicts_with = "no_network")]
    pub(crate) aws_passthrough: bool,
    /// Let functions execute what they write to /tmp, as on Lambda: some layers unpack programs
    /// there
    #[arg(long)]
    pub(crate) allow_exec_tmp: bool,
    /// Further host name that requests may be addressed to
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// Let every user of this machine use it, and not only the one who runs it
    #[arg(long)]
    pub(crate) allow_any_user: bool,
    /// Do not watch the folder for changes
    #[arg(long)]
    pub(crate) no_watch: bool,
    /// Print events and log records as JSON lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where state is kept [default: ~/.local/share/dayfly]
    #[arg(long, env = "DAYFLY_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where to listen: an address and a port, 0 for any free one
    #[arg(long, default_value = "127.0.0.1:4566", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Account of the first key, twelve digits
    #[arg(long, default_value = "000000000000", value_name = "ID")]
    pub(crate) account: String,
    /// Region of calls that name none [default: us-east-1]
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// Name by which clients reach it; function URLs are names below it
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: Option<String>,
    /// Certificate to speak TLS with, in PEM, those that lead to its root behind it; read again at
    /// SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Listen beyond this machine without TLS
    #[arg(long, conflicts_with = "tls_cert")]
    pub(crate) insecure_http: bool,
    /// Let functions reach outside their sandbox
    #[arg(long)]
    pub(crate) outside_network: bool,
    /// Refuse to run a function on another interpreter version than it asks for
    #[arg(long)]
    pub(crate) strict_runtimes: bool,
    /// Further host name that function URLs on loopback may be addressed to
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// Take over from the dayfly that serves this data folder, as for an upgrade: warm instances go
    /// on, requests in flight are answered by the old one, and new ones wait until it has gone
    #[arg(long)]
    pub(crate) replace: bool,
    /// How long requests in flight may go on when another dayfly takes over from this one, in
    /// seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=1000))]
    pub(crate) drain: u64,
    /// How long idle instances and the port wait for the next start, in seconds, if this dayfly is
    /// killed or leaves at SIGUSR2; with 0 they end with it, and nothing can be taken over
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=3600))]
    pub(crate) keep: u64,
    /// Print where it listens as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The project: a folder with a function, with folders of functions, or with a template.yaml
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Environment variables by function, in the JSON form of `sam local --env-vars`
    #[arg(long, value_name = "FILE")]
    pub(crate) env_vars: Option<PathBuf>,
    /// Print each deployed function as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key; its secret is shown once
    Create {
        /// What to call it
        #[arg(long, default_value = "", value_name = "TEXT")]
        label: String,
        /// Account of the key, twelve digits; in a data folder only
        #[arg(long, default_value = "000000000000", value_name = "ID")]
        account: String,
        #[command(flatten)]
        place: KeyPlace,
    },
    /// List keys, without their secrets
    Ls {
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Remove a key; it ends at once
    Rm {
        /// The key's id
        id: String,
        #[command(flatten)]
        place: KeyPlace,
    },
}

/// Where keys are: in the data folder of a server that does not run, or at one that does.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeyPlace {
    /// Data folder of a server that does not run [default: ~/.local/share/dayfly]
    #[arg(long, env = "DAYFLY_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// A running server, asked with one of its keys
    #[arg(long, env = "DAYFLY_ENDPOINT", value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Invoke {
    /// Name, `name:qualifier` or ARN of the function
    pub(crate) name: String,
    /// The event: JSON, @FILE, or - for standard input
    #[arg(long, short, default_value = "{}", value_name = "JSON|@FILE|-")]
    pub(crate) data: String,
    /// Also show the end of the invocation's log
    #[arg(long)]
    pub(crate) tail: bool,
    /// Print the whole outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Name of the function
    pub(crate) name: String,
    /// Go on showing records as they are written
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only records of this last while, such as 90s, 15m, 2h or 1d
    #[arg(long, value_name = "WHILE")]
    pub(crate) since: Option<String>,
    /// Print each record as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Also show instances, versions and settings
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Name of the function
    pub(crate) name: String,
    /// Print what was removed as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
