//! What the figures were measured on: the machine, its tools and how busy it was.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Facts that stay the same for a run.
pub(crate) fn facts() -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "processor": cpuinfo("model name"),
        "cores": cores,
        "memory_mb": meminfo_kb("MemTotal").map(|kb| kb / 1024),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "distribution": os_release(),
        "rustc": output(Command::new("rustc").arg("--version")),
        "python": python().ok().and_then(|program| output(Command::new(program).arg("--version"))),
        "node": output(Command::new("node").arg("--version")),
        "commit": output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"])),
        "changed": output(Command::new("git").args(["status", "--porcelain"])).map(|text| !text.is_empty()),
        "profile": std::env::var("DAYFLY_BENCH_PROFILE").ok(),
        "root": output(Command::new("id").arg("-u")).map(|id| id == "0"),
    })
}

/// The load averages over 1, 5 and 15 minutes.
pub(crate) fn load_average() -> Vec<f64> {
    let text = read("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .take(3)
        .filter_map(|figure| figure.parse().ok())
        .collect()
}

/// The interpreter itself: a shim in front of it would be measured too.
pub(crate) fn python() -> Result<PathBuf> {
    output(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]))
        .map(PathBuf::from)
        .context("find python3: it is not on the PATH")
}

/// `python3.11` and the like, for the interpreter of [`python`].
pub(crate) fn python_runtime() -> Result<String> {
    let ask = "import sys; print('python%d.%d' % sys.version_info[:2])";
    output(Command::new(python()?).args(["-c", ask])).context("ask python3 for its version")
}

/// `nodejs20.x` and the like, for the `node` on the PATH.
pub(crate) fn node_runtime() -> Result<String> {
    let text = output(Command::new("node").arg("--version")).context("find node on the PATH")?;
    let major = text
        .trim_start_matches('v')
        .split('.')
        .next()
        .unwrap_or_default();
    Ok(format!("nodejs{major}.x"))
}

/// Memory of these processes, in KB: what each shares with others counts by its share.
pub(crate) fn memory_kb(processes: &[u32]) -> u64 {
    let pss = |process: &u32| {
        let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .and_then(kilobytes)
    };
    processes.iter().filter_map(pss).sum()
}

/// The process and everything that it started.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|process: u32| Some((process, parent(process)?)))
        .collect();
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(&process) = tree.get(at) {
        tree.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == process)
                .map(|(own, _)| own),
        );
        at += 1;
    }
    tree
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may hold anything, brackets and spaces too.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn meminfo_kb(name: &str) -> Option<u64> {
    let text = read("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(kilobytes)
}

fn kilobytes(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn cpuinfo(name: &str) -> Option<String> {
    let text = read("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn os_release() -> Option<String> {
    let text = read("/etc/os-release")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map(|name| name.trim_matches('"').to_owned())
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
