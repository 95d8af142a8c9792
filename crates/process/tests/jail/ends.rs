//! How jails end, and that nothing is left of them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use process::host::CgroupKind;
use process::spawner::{Error, Exit, Lite, Spawner, Status};
use store::Clock as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{World, order, read_all, stories};

/// How long the kernel may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

stories![
    exit_codes_and_signals_are_told,
    the_end_of_the_program_ends_the_jail,
    a_kill_ends_the_whole_tree,
    a_dropped_jail_is_killed,
    a_frozen_jail_stops_and_goes_on,
    a_frozen_jail_can_be_killed,
    hundreds_of_jails_leave_nothing,
    a_burst_is_served,
    shutdown_leaves_nothing,
    a_dropped_spawner_leaves_nothing,
    nothing_outlives_a_killed_daemon,
    nothing_outlives_a_killed_helper,
];

async fn exit_codes_and_signals_are_told(world: World) {
    for (script, status) in [
        ("exit 0", Status::Code(0)),
        ("exit 42", Status::Code(42)),
        ("kill -SEGV $$", Status::Signal(11)),
        ("kill -TERM $$", Status::Signal(15)),
    ] {
        let (_, exit) = world.run(order(script)).await;
        assert_eq!(
            exit,
            Exit {
                status,
                out_of_memory: false
            },
            "{script}"
        );
    }
}

async fn the_end_of_the_program_ends_the_jail(world: World) {
    let jail = world
        .spawner
        .claim(order("sleep 4711.1 & setsid sleep 4711.1 & exit 3"))
        .await;
    let jail = jail.unwrap();
    assert_eq!(jail.exited().await.status, Status::Code(3));
    // Once more, after the fact.
    assert_eq!(jail.exited().await.status, Status::Code(3));
    jail.kill().await;
    assert!(processes_with("4711.1").is_empty());
}

async fn a_kill_ends_the_whole_tree(world: World) {
    let script = "trap '' TERM INT HUP; (setsid sleep 4711.2 &); sleep 4711.2 & echo up; wait";
    let jail = world.spawner.claim(order(script)).await.unwrap();
    let mut output =
        tokio::net::unix::pipe::Receiver::from_owned_fd(jail.output.try_clone().unwrap()).unwrap();
    output.read_exact(&mut [0; 3]).await.unwrap();
    jail.kill().await;
    assert!(processes_with("4711.2").is_empty());
    assert_eq!(jail.exited().await.status, Status::Signal(9));
    let mut rest = String::new();
    output.read_to_string(&mut rest).await.unwrap();
    // A second kill has nothing to do.
    jail.kill().await;
}

async fn a_dropped_jail_is_killed(world: World) {
    let jail = world
        .spawner
        .claim(order("exec sleep 4711.3"))
        .await
        .unwrap();
    let exited = jail.exited();
    let output = jail.output.try_clone().unwrap();
    drop(jail);
    assert_eq!(exited.await.status, Status::Signal(9));
    assert_eq!(read_all(output).await, "");
}

async fn a_frozen_jail_stops_and_goes_on(world: World) {
    let mut order = order("exec -a 4711.4 cat <&3 >&3");
    order.control = true;
    let mut jail = world.spawner.claim(order).await.unwrap();
    let control = tokio::net::UnixStream::from_std(jail.control.take().unwrap().socket);
    let mut control = control.unwrap();
    let mut byte = [0];
    for _ in 0..3 {
        control.write_all(b"x").await.unwrap();
        control.read_exact(&mut byte).await.unwrap();
        jail.freeze().await;
        let processes = found("4711.4").await;
        assert_eq!(processes.len(), 1);
        until(|| matches!(state_of(&processes[0]), 'D' | 'T')).await;
        control.write_all(b"y").await.unwrap();
        assert!(control.try_read(&mut byte).is_err());
        jail.thaw().await;
        control.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"y");
    }
    jail.kill().await;
}

async fn a_frozen_jail_can_be_killed(world: World) {
    let jail = world
        .spawner
        .claim(order("exec sleep 4711.5"))
        .await
        .unwrap();
    jail.freeze().await;
    jail.kill().await;
    assert!(processes_with("4711.5").is_empty());
}

async fn hundreds_of_jails_leave_nothing(world: World) {
    let helper = helper_of(std::process::id());
    let own = descriptors_of(std::process::id());
    let settle = |spawner: Spawner| async move {
        // The pool is full again when a claim has gone through it and come back.
        let jail = spawner.claim(order("true")).await.unwrap();
        jail.kill().await;
    };
    settle(world.spawner.clone()).await;
    let before = jails_of(helper).len();
    for _ in 0..30 {
        let mut running = tokio::task::JoinSet::new();
        for index in 0..10 {
            let spawner = world.spawner.clone();
            running.spawn(async move {
                let jail = spawner.claim(order("echo x; sleep 100")).await.unwrap();
                if index % 2 == 0 {
                    jail.kill().await;
                }
            });
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
    }
    settle(world.spawner.clone()).await;
    until(|| jails_of(helper).len() <= before.max(3)).await;
    until(|| groups_of(helper).iter().all(|base| folders_in(base) <= 3)).await;
    // Two for each jail of the pool, and a handful of its own.
    until(|| descriptors_of(helper) <= 20).await;
    until(|| descriptors_of(std::process::id()) <= own + 30).await;
}

async fn a_burst_is_served(world: World) {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let world = world.clone();
        running.spawn(async move { world.sh("echo here").await });
    }
    while let Some(text) = running.join_next().await {
        assert_eq!(text.unwrap(), "here\n");
    }
}

async fn shutdown_leaves_nothing(world: World) {
    let spawner = world.launch(2);
    let jail = spawner.claim(order("exec sleep 4711.6")).await.unwrap();
    let helper = helper_with(found("4711.6").await[0]);
    spawner.shutdown().await;
    assert!(is_over(helper));
    assert!(processes_with("4711.6").is_empty());
    assert!(groups_of(helper).is_empty());
    assert_eq!(jail.exited().await.status, Status::Signal(9));
    jail.kill().await;
    assert!(matches!(
        spawner.claim(order("true")).await,
        Err(Error::Ended)
    ));
}

async fn a_dropped_spawner_leaves_nothing(world: World) {
    let spawner = world.launch(1);
    let jail = spawner.claim(order("exec sleep 4711.7")).await.unwrap();
    let helper = helper_with(found("4711.7").await[0]);
    drop(spawner);
    jail.exited().await;
    until(|| is_over(helper)).await;
    assert!(groups_of(helper).is_empty());
}

async fn nothing_outlives_a_killed_daemon(world: World) {
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .arg("hold")
        .arg(if world.lite == Lite::Always {
            "lite"
        } else {
            "jail"
        })
        .arg(&world.folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 5];
    std::io::Read::read_exact(daemon.stdout.as_mut().unwrap(), &mut word).unwrap();
    let helper = helper_of(daemon.id());
    found("4711.8").await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    until(|| is_over(helper)).await;
    until(|| processes_with("4711.8").is_empty()).await;
    assert!(groups_of(helper).is_empty());
}

/// What the killed daemon of the story above does.
pub(crate) async fn hold(lite: Lite, folder: &Path) -> ExitCode {
    let spawner = crate::launch(2, lite, folder);
    let _first = spawner
        .claim(order("sleep 4711.8 & sleep 4711.8"))
        .await
        .unwrap();
    let second = spawner.claim(order("exec sleep 4711.8")).await.unwrap();
    println!("ready");
    second.exited().await;
    ExitCode::FAILURE
}

async fn nothing_outlives_a_killed_helper(world: World) {
    let spawner = world.launch(2);
    let jail = spawner
        .claim(order("(setsid sleep 4711.9 &); sleep 4711.9"))
        .await
        .unwrap();
    until(|| processes_with("4711.9").len() >= 2).await;
    let helper = helper_with(found("4711.9").await[0]);
    let pid = rustix::process::Pid::from_raw(helper.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(jail.exited().await.status, Status::Signal(9));
    jail.kill().await;
    assert!(matches!(
        spawner.claim(order("true")).await,
        Err(Error::Ended)
    ));
    spawner.shutdown().await;
    until(|| processes_with("4711.9").is_empty()).await;
    if spawner.host().cgroups != CgroupKind::None {
        assert!(groups_of(helper).is_empty());
    }
}

/// Waits for something that the kernel does in its own time, which on a busy host may be long.
pub(crate) async fn until(mut done: impl FnMut() -> bool) {
    let clock = store::SystemClock::new();
    let begun = clock.monotonic();
    while !done() {
        assert!(clock.monotonic() - begun < PATIENCE, "it did not come true");
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
}

fn processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Processes, seen from the host, of whose arguments one is this word.
pub(crate) fn processes_with(word: &str) -> Vec<u32> {
    let mut found = processes();
    found.retain(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0)
            .any(|argument| argument == word.as_bytes())
    });
    found
}

/// The same, once there is one: a shell takes its time to become what it executes.
pub(crate) async fn found(word: &str) -> Vec<u32> {
    until(|| !processes_with(word).is_empty()).await;
    processes_with(word)
}

/// Fields of `/proc/PID/stat` after the name.
fn stat_of(pid: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().map(str::to_owned).collect()
}

fn state_of(pid: &u32) -> char {
    stat_of(*pid)
        .first()
        .and_then(|state| state.chars().next())
        .unwrap_or('?')
}

/// Whether nothing runs of it any more; who is to reap it is not ours to say.
fn is_over(pid: u32) -> bool {
    matches!(state_of(&pid), '?' | 'Z' | 'X')
}

pub(crate) fn parent_of(pid: u32) -> u32 {
    stat_of(pid)
        .get(1)
        .and_then(|parent| parent.parse().ok())
        .unwrap_or(0)
}

/// The first spawner helper that is a child of this process.
fn helper_of(daemon: u32) -> u32 {
    let mut helpers = processes_with("__spawner");
    helpers.retain(|&pid| parent_of(pid) == daemon);
    helpers.into_iter().min().unwrap()
}

/// The spawner helper in one of whose jails this process is.
pub(crate) fn helper_with(mut pid: u32) -> u32 {
    while parent_of(pid) != std::process::id() {
        pid = parent_of(pid);
        assert!(pid > 1);
    }
    pid
}

fn jails_of(helper: u32) -> Vec<u32> {
    let mut all = processes();
    all.retain(|&pid| parent_of(pid) == helper);
    all
}

fn descriptors_of(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Our own group under each of these controllers of version 1.
pub(crate) fn own_groups(controllers: &[&str]) -> Vec<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let find = |name: &&str| {
        let line = own
            .lines()
            .find(|line| line.split(':').nth(1) == Some(*name))?;
        let group = line.split(':').nth(2)?.trim_start_matches('/');
        let folder = Path::new("/sys/fs/cgroup").join(name).join(group);
        folder.is_dir().then_some(folder)
    };
    controllers.iter().filter_map(find).collect()
}

/// Groups left of a helper.
pub(crate) fn groups_of(helper: u32) -> Vec<PathBuf> {
    let own = own_groups(&["memory", "pids", "cpu", "freezer"]);
    let bases = own
        .into_iter()
        .map(|own| own.join(format!("dayfly-{helper}")));
    bases.filter(|base| base.exists()).collect()
}

/// Groups of helpers that are no more.
pub(crate) fn left_groups() -> Vec<PathBuf> {
    let own = own_groups(&["memory", "pids", "cpu", "freezer"]);
    let entries = own.iter().flat_map(|own| std::fs::read_dir(own).unwrap());
    let left = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let id = name.strip_prefix("dayfly-").map(str::parse);
        matches!(id, Some(Ok(id)) if is_over(id))
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(left)
        .collect()
}

fn folders_in(base: &Path) -> usize {
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}
