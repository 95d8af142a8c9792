//! What a jail promises, tried by programs inside one, and what is left of it where there are
//! none. This binary is its own spawner helper. Where it is run as root it runs itself again as
//! an ordinary user, and once more as one to whom control groups are delegated.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "jail/companions.rs"]
mod companions;
#[path = "jail/ends.rs"]
mod ends;
#[path = "jail/keeping.rs"]
mod keeping;
#[path = "jail/limits.rs"]
mod limits;
#[path = "jail/lite.rs"]
mod lite;
#[path = "jail/mishaps.rs"]
mod mishaps;
#[path = "jail/network.rs"]
mod network;
#[path = "jail/world.rs"]
mod world;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use process::spawner::{Config, Error, Exit, Jail, Limits, Lite, Order, Spawner};
use tokio::io::AsyncReadExt as _;

/// The user that the ordinary user's run has.
const NOBODY: u32 = 65534;

type Story = fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A running spawner, and a folder for what its jails are given.
#[derive(Clone)]
struct World {
    spawner: Spawner,
    lite: Lite,
    folder: PathBuf,
}

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    match argument.as_str() {
        "__spawner" => return process::spawner_main(),
        "hold" => {
            let mut rest = std::env::args().skip(2);
            let lite = match rest.next().as_deref() {
                Some("lite") => Lite::Always,
                _ => Lite::Never,
            };
            let folder = PathBuf::from(rest.next().unwrap());
            return block_on(ends::hold(lite, &folder));
        }
        "cannot" => return block_on(mishaps::cannot()),
        "--list" => return ExitCode::SUCCESS,
        _ => {}
    }
    let mut failed = run_all(&argument);
    if rustix::process::getuid().is_root() && std::env::var_os("DAYFLY_AGAIN").is_none() {
        let folder = scratch("again");
        let copy = folder.join("jail-test");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        failed += run_again(&copy, &argument, "ordinary user", &[]);
        let groups = delegate();
        if !groups.is_empty() {
            failed += run_again(
                &copy,
                &argument,
                "ordinary user with control groups",
                &groups,
            );
        }
        for group in groups {
            let _ = std::fs::remove_dir(group);
        }
        let _ = std::fs::remove_dir_all(folder);
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

/// Runs every story whose name holds `filter`, in jails and without; counts the failed.
fn run_all(filter: &str) -> usize {
    let jailed = [
        world::stories(),
        network::stories(),
        companions::stories(),
        limits::stories(),
        ends::stories(),
        mishaps::stories(),
        keeping::stories(),
    ]
    .concat();
    let lite = [lite::stories(), companions::stories(), ends::stories()].concat();
    run_stories(filter, Lite::Never, jailed) + run_stories(filter, Lite::Always, lite)
}

fn run_stories(filter: &str, lite: Lite, stories: Vec<(&'static str, Story)>) -> usize {
    let chosen: Vec<_> = stories
        .into_iter()
        .filter(|(name, _)| filter.starts_with('-') || name.contains(filter))
        .collect();
    let who = std::env::var("DAYFLY_AGAIN").unwrap_or_else(|_| "as we are".to_owned());
    println!("\nrunning {} tests, {who}, lite: {lite:?}", chosen.len());
    let folder = scratch("world");
    let failed = block_on(async {
        let spawner = launch(2, lite, &folder);
        println!("{:?}", spawner.host());
        let mut failed = 0;
        for (name, story) in chosen {
            let world = World {
                spawner: spawner.clone(),
                lite,
                folder: folder.clone(),
            };
            let told = tokio::spawn(story(world)).await;
            println!(
                "test {name} ... {}",
                if told.is_ok() { "ok" } else { "FAILED" }
            );
            failed += usize::from(told.is_err());
        }
        spawner.shutdown().await;
        failed
    });
    let _ = std::fs::remove_dir_all(folder);
    println!("test result: {failed} failed");
    failed
}

fn run_again(copy: &Path, filter: &str, name: &str, groups: &[PathBuf]) -> usize {
    // It inherits our control groups, and cannot move itself.
    let before = enter(groups);
    let status = Command::new(copy)
        .arg(filter)
        .env("DAYFLY_AGAIN", name)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .status();
    enter(&before);
    usize::from(!status.unwrap().success())
}

/// Groups of ours that the ordinary user may make groups in.
fn delegate() -> Vec<PathBuf> {
    ends::own_groups(&["memory", "pids", "freezer"])
        .into_iter()
        .filter_map(|own| {
            let group = own.join(format!("test-{}", std::process::id()));
            std::fs::create_dir(&group).ok()?;
            for path in [
                group.clone(),
                group.join("cgroup.procs"),
                group.join("tasks"),
            ] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).ok()?;
            }
            Some(group)
        })
        .collect()
}

/// Moves us into these groups; returns where we were.
fn enter(groups: &[PathBuf]) -> Vec<PathBuf> {
    let parents = groups
        .iter()
        .filter_map(|group| group.parent().map(Path::to_owned))
        .collect();
    for group in groups {
        std::fs::write(group.join("cgroup.procs"), "0").unwrap();
    }
    parents
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dayfly-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

fn launch(pool: usize, lite: Lite, folder: &Path) -> Spawner {
    try_launch(pool, lite, folder).unwrap()
}

fn try_launch(pool: usize, lite: Lite, folder: &Path) -> Result<Spawner, Error> {
    let config = Config {
        program: std::env::current_exe().unwrap(),
        pool,
        booted: 0,
        runtime_dir: folder.to_owned(),
        endpoint_port: 4566,
        host_ports: Vec::new(),
        tell_refused: false,
        trust: None,
        lite,
        keep: None,
    };
    Spawner::launch(config, Arc::new(store::SystemClock::new()))
}

/// An order to run a script.
fn order(script: &str) -> Order {
    Order {
        argv: vec!["/bin/bash".into(), "-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/var/task".into(),
        binds: vec![],
        overlays: vec![],
        links: vec![],
        files: vec![],
        companions: vec![],
        limits: Limits {
            memory_bytes: 256 << 20,
            cpu_weight_millis: 1000,
            processes: 64,
            open_files: 1024,
            tmp_bytes: 16 << 20,
            tmp_exec: false,
        },
        outside_network: false,
        control: false,
        dialers: 0,
        boot: None,
    }
}

impl World {
    /// Another spawner of the same kind.
    fn launch(&self, pool: usize) -> Spawner {
        launch(pool, self.lite, &self.folder)
    }

    /// Runs a script to its end; returns what it wrote and how it ended.
    async fn run(&self, order: Order) -> (String, Exit) {
        let jail = self.spawner.claim(order).await.unwrap();
        finish(jail).await
    }

    async fn sh(&self, script: &str) -> String {
        self.run(order(script)).await.0
    }
}

async fn finish(mut jail: Jail) -> (String, Exit) {
    let text = read_all(take_output(&mut jail)).await;
    let exit = jail.exited().await;
    jail.kill().await;
    (text, exit)
}

fn take_output(jail: &mut Jail) -> OwnedFd {
    jail.output.try_clone().unwrap()
}

async fn read_all(output: OwnedFd) -> String {
    let mut output = tokio::net::unix::pipe::Receiver::from_owned_fd(output).unwrap();
    let mut all = Vec::new();
    output.read_to_end(&mut all).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// Makes a list of stories out of async functions.
#[macro_export]
macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn stories() -> Vec<(&'static str, $crate::Story)> {
            vec![$((stringify!($name), (|world| Box::pin($name(world))) as $crate::Story)),*]
        }
    };
}
