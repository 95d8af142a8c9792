//! Runs the tools of other ecosystems: their output shown as it comes and its end kept, their
//! time bounded, and nothing of them left when a build is given up.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::Build;
use crate::error::Error;

/// Lines of output that an error quotes (ours: what fits on a screen).
const LINES_MAX: usize = 30;
/// Bytes of a line that are kept (ours).
const LINE_BYTES_MAX: usize = 1_000;
/// How long one tool may run (ours: a cold build of a large native project).
const TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// How long a tool keeps others from their places (ours: most are done by then, and one that is not
/// may never be).
const PLACE_TIME: Duration = Duration::from_secs(10);
/// How long the rest of a tool's output is waited for once it has ended (ours).
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// A tool to run.
#[derive(Debug)]
pub(super) struct Tool {
    command: Command,
    shown: String,
    advice: String,
    stdout_is_data: bool,
}

impl Tool {
    pub(super) fn new(program: &Path, folder: &Path) -> Self {
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .process_group(0);
        command.env("NO_COLOR", "1").env_remove("FORCE_COLOR");
        let shown = program
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        Self {
            command,
            shown: shown.unwrap_or_default(),
            advice: String::new(),
            stdout_is_data: false,
        }
    }

    pub(super) fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, args: I) -> Self {
        for arg in args {
            let arg = arg.into();
            self.shown.push(' ');
            self.shown.push_str(&arg.to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Looks for programs in this folder first.
    pub(super) fn path_first(self, folder: &Path) -> Self {
        let rest = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&rest));
        match env::join_paths(folders) {
            Ok(path) => self.env("PATH", path),
            Err(_) => self,
        }
    }

    /// What to do if it fails.
    pub(super) fn advice(mut self, advice: &str) -> Self {
        self.advice = advice.to_owned();
        self
    }

    /// Its standard output is for us and not shown.
    pub(super) fn stdout_is_data(mut self) -> Self {
        self.stdout_is_data = true;
        self
    }
}

/// Kills what a tool left behind, also when the build is given up half-way.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Waits for its input to end, which it does when this process dies in whatever way, and kills
/// the group then. A process that died so can no longer do it itself.
const WATCHER: &str = "read -r _; kill -s KILL -- \"-$1\"";

/// Starts the watcher of a group; ends with what it answers. Without a shell there is none.
fn watch_over(group: rustix::process::Pid) -> Option<Child> {
    Command::new("/bin/sh")
        .args(["-c", WATCHER, "sh"])
        .arg(group.as_raw_nonzero().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .ok()
}

impl Build<'_> {
    /// Runs a tool to its end, showing what it writes; answers the lines of its standard output
    /// if they are data.
    pub(super) async fn run(&self, mut tool: Tool) -> Result<Vec<String>, Error> {
        let mut place = self.place().await?;
        tool.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tool.command.spawn().map_err(|error| {
            self.failed(
                &tool,
                &format!("could not be started: {error}"),
                &VecDeque::new(),
            )
        })?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(rustix::process::Pid::from_raw);
        let watcher = id.and_then(watch_over);
        let group = Group(id);
        let (lines, mut received) = mpsc::channel(64);
        let out = child
            .stdout
            .take()
            .map(|pipe| tokio::spawn(forward(pipe, true, lines.clone())));
        let err = child
            .stderr
            .take()
            .map(|pipe| tokio::spawn(forward(pipe, false, lines.clone())));
        drop(lines);
        let mut last = VecDeque::new();
        let mut data = Vec::new();
        let mut take = |(is_out, line): (bool, String)| {
            if is_out && tool.stdout_is_data {
                data.push(line);
            } else {
                self.show(&mut last, line);
            }
        };
        let mut timer = self.host.clock.sleep(TIME_MAX);
        let mut turn = self.host.clock.sleep(PLACE_TIME);
        let mut given_up = std::pin::pin!(self.until_given_up());
        let status = loop {
            tokio::select! {
                Some(line) = received.recv() => take(line),
                status = child.wait() => break Some(status),
                () = &mut timer => break None,
                () = &mut given_up => break None,
                () = &mut turn, if place.is_some() => place = None,
            }
        };
        // What the tool started ends with it, and with that the pipes; but for something that
        // left the group and holds them open.
        drop(group);
        drop(watcher);
        let mut patience = self.host.clock.sleep(DRAIN_MAX);
        while let Some(line) = tokio::select! {
            line = received.recv() => line,
            () = &mut patience => None,
        } {
            take(line);
        }
        for reader in [out, err].into_iter().flatten() {
            reader.abort();
        }
        let Some(status) = status else {
            // Killed; the folder it worked in is left to the next build once it has ended.
            tokio::select! {
                _ = child.wait() => {}
                () = &mut patience => {}
            }
            self.go_on()?;
            let how = format!(
                "took longer than {} minutes and was ended",
                TIME_MAX.as_secs() / 60
            );
            return Err(self.failed(&tool, &how, &last));
        };
        match status {
            Ok(status) if status.success() => Ok(data),
            Ok(status) => Err(self.failed(&tool, &ended(status), &last)),
            Err(error) => {
                Err(self.failed(&tool, &format!("could not be waited for: {error}"), &last))
            }
        }
    }

    fn show(&self, last: &mut VecDeque<String>, line: String) {
        if line.trim().is_empty() {
            return;
        }
        self.progress.line(&line);
        keep(last, line);
    }

    fn failed(&self, tool: &Tool, how: &str, last: &VecDeque<String>) -> Error {
        Error::Tool {
            function: self.function.clone(),
            command: tool.shown.clone(),
            how: how.to_owned(),
            output: last.iter().map(|line| format!("\n    {line}")).collect(),
            advice: tool.advice.clone(),
        }
    }
}

/// Keeps the last lines, and of those before them the errors rather: what some tools write after an
/// error is how they are used.
fn keep(last: &mut VecDeque<String>, line: String) {
    if last.len() == LINES_MAX {
        let other = last.iter().position(|kept| !is_error(kept));
        // Where all are errors, the first ones say why and the last ones how it ended.
        last.remove(other.unwrap_or(LINES_MAX / 2));
    }
    last.push_back(line);
}

fn is_error(line: &str) -> bool {
    let line = line.trim_start();
    let marks = [
        "npm error",
        "npm ERR!",
        "error:",
        "error[",
        "ERROR:",
        "Error:",
    ];
    marks.iter().any(|mark| line.starts_with(mark))
}

fn ended(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with status {code}"),
        None => format!("was ended ({status})"),
    }
}

/// Sends the lines of a pipe on, each cut to its bound.
async fn forward(
    mut pipe: impl AsyncRead + Unpin,
    is_out: bool,
    lines: mpsc::Sender<(bool, String)>,
) {
    let mut buffer = vec![0; 8 * 1024];
    let mut line = Vec::new();
    loop {
        let count = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        for byte in buffer.get(..count).unwrap_or(&[]) {
            match byte {
                b'\n' | b'\r' => {
                    if lines.send((is_out, text(&line))).await.is_err() {
                        return;
                    }
                    line.clear();
                }
                _ if line.len() < bound(is_out) => line.push(*byte),
                _ => {}
            }
        }
    }
    if !line.is_empty() {
        let _ = lines.send((is_out, text(&line))).await;
    }
}

/// Data on standard output may come in long lines; what is shown is cut.
fn bound(is_out: bool) -> usize {
    if is_out {
        64 * LINE_BYTES_MAX
    } else {
        LINE_BYTES_MAX
    }
}

/// Text without the colours and movements that tools write for terminals.
fn text(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next() == Some('[') {
                chars.by_ref().find(char::is_ascii_alphabetic);
            }
        } else if !c.is_control() || c == '\t' {
            text.push(c);
        }
    }
    text
}

/// A program on the PATH.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

/// A program beside another one, else on the PATH: an interpreter's own tools fit it best.
pub(super) fn find_beside(program: Option<&Path>, name: &str) -> Option<PathBuf> {
    let beside = program
        .and_then(Path::parent)
        .map(|folder| folder.join(name));
    beside
        .filter(|file| is_program(file))
        .or_else(|| find(name))
}

pub(super) fn is_program(file: &Path) -> bool {
    fs::metadata(file)
        .is_ok_and(|status| status.is_file() && status.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn errors_are_kept_before_other_lines() {
        let mut last = VecDeque::new();
        keep(&mut last, "error: no such package".to_owned());
        for number in 0..2 * LINES_MAX {
            keep(&mut last, format!("usage {number}"));
        }
        assert_eq!(last.len(), LINES_MAX);
        assert_eq!(last[0], "error: no such package");
        assert_eq!(last.back(), Some(&format!("usage {}", 2 * LINES_MAX - 1)));
        (0..2 * LINES_MAX).for_each(|_| keep(&mut last, "error: usage".to_owned()));
        assert_eq!(last[0], "error: no such package");
    }

    #[tokio::test]
    async fn a_tool_ends_with_the_process_that_started_it() {
        let mut tool = Command::new("cat");
        tool.stdin(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut tool = tool.spawn().unwrap();
        // Waiting for it would close its input, and end it, too.
        let _input = tool.stdin.take();
        let id = i32::try_from(tool.id().unwrap()).unwrap();
        let mut watcher = watch_over(rustix::process::Pid::from_raw(id).unwrap()).unwrap();
        // As the kernel does it when the process dies.
        drop(watcher.stdin.take());
        assert_eq!(tool.wait().await.unwrap().signal(), Some(9));
        assert!(watcher.wait().await.unwrap().success());
    }
}
