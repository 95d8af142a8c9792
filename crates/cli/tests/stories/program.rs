//! The program itself: its commands, exit codes, and what it leaves when it ends or is killed.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

use crate::http::{Request, get, post};
use crate::project::Project;
use crate::test_node::TestNode;

/// `dayfly dev --json` on a free port, killed when dropped.
struct Dev {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    origin: String,
}

pub(crate) fn dayfly(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    command.args(arguments).env(
        "DAYFLY_CACHE",
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
    );
    command
}

fn output(arguments: &[&str]) -> Output {
    dayfly(arguments).output().expect("the program runs")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Dev {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, Stdio::inherit())
    }

    fn start_with(folder: &Path, stderr: Stdio) -> Self {
        let folder = folder.to_str().expect("a UTF-8 path");
        let mut child = dayfly(&["dev", folder, "--port", "0", "--json"])
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut dev = Self {
            child,
            lines,
            origin: String::new(),
        };
        dev.origin = dev.until("listening")["origin"]
            .as_str()
            .expect("an origin")
            .to_owned();
        dev.until("ready");
        dev
    }

    fn until(&mut self, event: &str) -> serde_json::Value {
        for line in self.lines.by_ref() {
            let line = line.expect("a line");
            let value: serde_json::Value = serde_json::from_str(&line).expect("JSON lines");
            if value["event"] == event {
                return value;
            }
        }
        panic!("it ended before '{event}'");
    }

    /// How it ended by itself, and what it said on stderr.
    fn end(mut self) -> (ExitStatus, String) {
        let mut words = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut words).expect("its words");
        }
        (self.child.wait().expect("an end"), words)
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes, other than this one, whose command line or environment names the marker.
pub(crate) fn processes_with(marker: &str) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw).filter(|pid| *pid != getpid()) else {
            continue;
        };
        let read = |file| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let text = [read("cmdline"), read("environ")].concat();
        if String::from_utf8_lossy(&text).contains(marker) {
            found.push(pid);
        }
    }
    found
}

/// Longest that the processes of a session may take to go, of each and of those that follow it.
const GONE_WITHIN: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// Waits for the processes of a session to be gone.
pub(crate) fn gone(marker: &str) {
    // What was just being started may show up once what started it has gone, and so on.
    for _ in 0..100 {
        let left = processes_with(marker);
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(ended);
    }
    panic!("there are always more: {:?}", processes_with(marker));
}

/// Waits for one process to end.
fn ended(pid: Pid) {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    let mut polled = [PollFd::new(&process, PollFlags::IN)];
    // Other stories' children end in this process, too, and their signals break a wait off.
    let ready = loop {
        match poll(&mut polled, Some(&GONE_WITHIN)) {
            Err(Errno::INTR) => {}
            ready => break ready.expect("a process to wait for"),
        }
    };
    assert_eq!(ready, 1, "left behind: {pid:?}");
}

fn marked(marker: &str) -> Project {
    let project = Project::new(&[(
        "f/app.py",
        "import os\ndef handler(e, c):\n  print('hello log')\n  return {'pid': os.getpid(), 'event': e}\n",
    )]);
    project.write(".env", &format!("MARKER={marker}\n"));
    project
}

#[test]
fn ctrl_c_ends_it_cleanly_and_leaves_nothing() {
    let marker = "dayfly-story-interrupt";
    let project = marked(marker);
    let mut dev = Dev::start(project.path());
    let answer = output(&[
        "invoke",
        "f",
        "-d",
        r#"{"a": 1}"#,
        "--endpoint",
        &dev.origin,
    ]);
    assert!(answer.status.success(), "{}", stderr(&answer));
    assert!(
        !processes_with(marker).is_empty(),
        "the instance carries its environment"
    );
    dev.signal("INT");
    let status = dev.child.wait().expect("an end");
    assert!(status.success(), "{status}");
    gone(marker);
}

#[test]
fn ctrl_c_ends_a_build_that_goes_on() {
    let marker = "dayfly-story-interrupted-build";
    let project = marked(marker);
    let mut dev = Dev::start(project.path());
    let script = format!("echo began {marker} && sleep 1000");
    let manifest = format!(r#"{{"scripts": {{"build": "{script}"}}}}"#);
    project.write("g/package.json", &manifest);
    project.write("g/index.js", "exports.handler = async () => 1;");
    let began = format!("began {marker}");
    while dev.until("building")["line"] != began.as_str() {}
    dev.signal("INT");
    let status = dev.child.wait().expect("an end");
    assert!(status.success(), "{status}");
    gone(marker);
}

#[test]
fn a_second_ctrl_c_waits_for_nothing_and_leaves_nothing() {
    let marker = "dayfly-story-interrupt-twice";
    let project = marked(marker);
    project.write(
        "f/app.py",
        "import time\ndef handler(e, c):\n  print('began', flush=True)\n  time.sleep(600)\n",
    );
    project.write("template.yaml", "Resources: {F: {Type: 'AWS::Serverless::Function', Properties: {FunctionName: f, CodeUri: f, Handler: app.handler, Runtime: python3.11, Timeout: 900}}}");
    let mut dev = Dev::start(project.path());
    let mut busy = dayfly(&["invoke", "f", "--endpoint", &dev.origin])
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    while dev.until("log")["text"] != "began" {}
    dev.signal("INT");
    // It has heard when its port is closed.
    let authority = dev.origin.trim_start_matches("http://").to_owned();
    while std::net::TcpStream::connect(&authority).is_ok() {}
    dev.signal("INT");
    assert_eq!(dev.child.wait().expect("an end").code(), Some(130));
    gone(marker);
    assert!(!busy.wait().expect("an end").success());
}

#[test]
fn the_last_words_of_a_function_that_is_ended_are_shown() {
    let project = marked("dayfly-story-last-words");
    project.write(
        "f/app.py",
        "import time\ndef handler(e, c):\n  print('began', flush=True)\n  time.sleep(600)\n",
    );
    project.write(
        "template.yaml",
        &template(1).replace("Handler:", "Timeout: 900\n      Handler:"),
    );
    let mut dev = Dev::start(project.path());
    let mut busy = dayfly(&["invoke", "f", "--endpoint", &dev.origin])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    while dev.until("log")["text"] != "began" {}
    dev.signal("INT");
    let rest: Vec<String> = dev
        .lines
        .by_ref()
        .map(|line| line.expect("a line"))
        .collect();
    let rest = rest.join("\n");
    for words in [
        "dayfly ended the instance",
        "END RequestId",
        "REPORT RequestId",
    ] {
        assert!(rest.contains(words), "{words} in {rest}");
    }
    assert!(!rest.contains("signal: killed"), "{rest}");
    assert!(dev.child.wait().expect("an end").success());
    assert!(!busy.wait().expect("an end").success());
}

/// A template of the function `f`, which may run so many times at once.
fn template(reserved: u32) -> String {
    format!(
        "Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: f
      CodeUri: f
      Handler: app.handler
      Runtime: python3.11
      ReservedConcurrentExecutions: {reserved}
"
    )
}

#[test]
fn a_killed_daemon_leaves_nothing_and_starts_again_with_everything() {
    let marker = "dayfly-story-killed";
    let project = marked(marker);
    project.write(
        "f/app.py",
        "def handler(e, c):\n  print('ran', e['n'], c.aws_request_id)\n",
    );
    // Nothing of it can run before the kill: whatever runs afterwards was kept.
    project.write("template.yaml", &template(0));
    let dev = Dev::start(project.path());
    let url = format!("{}/2015-03-31/functions/f/invocations", dev.origin);
    let accepted = event(&url, r#"{"n": 17}"#).send();
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let id = accepted
        .header("x-amzn-requestid")
        .expect("an id")
        .to_owned();
    dev.signal("KILL");
    gone(marker);
    drop(dev);
    project.write("template.yaml", &template(10));
    let mut dev = Dev::start(project.path());
    let ran = format!("ran 17 {id}");
    while dev.until("log")["text"] != ran.as_str() {}
}

#[test]
fn a_functions_own_port_is_no_endpoint() {
    let node = TestNode::with(&marked("dayfly-story-port"));
    let answer = output(&["invoke", "f", "--endpoint", &node.url("f")]);
    assert_eq!(answer.status.code(), Some(4), "{}", stderr(&answer));
    assert!(stderr(&answer).contains("a function's own port"));
    let instances = get(&format!("{}/_dayfly/v1/instances", node.origin)).send();
    assert_eq!(instances.json(), serde_json::json!([]), "it did not run");
}

#[test]
fn a_store_that_fails_ends_the_daemon_with_words() {
    let marker = "dayfly-story-store";
    let project = marked(marker);
    let dev = Dev::start_with(project.path(), Stdio::piped());
    let file = project.path().join(".dayfly/store.db");
    damage(&file);
    let url = format!("{}/2015-03-31/functions/f/invocations", dev.origin);
    let refused = event(&url, "{}").send();
    assert_eq!(refused.status, 500, "{}", refused.text());
    let (status, words) = dev.end();
    assert_eq!(status.code(), Some(70), "{words}");
    assert!(
        words.contains("the store failed") && words.contains("store.db"),
        "{words}"
    );
    gone(marker);
}

#[test]
fn a_data_folder_that_is_removed_ends_the_daemon_with_words() {
    let marker = "dayfly-story-data-folder";
    let project = marked(marker);
    let dev = Dev::start_with(project.path(), Stdio::piped());
    std::fs::remove_dir_all(project.path().join(".dayfly")).expect("it goes");
    let (status, words) = dev.end();
    assert_eq!(status.code(), Some(70), "{words}");
    assert!(
        words.contains(".dayfly was removed") && words.contains("run it again"),
        "{words}"
    );
    gone(marker);
    // And it can be.
    Dev::start(project.path());
}

#[test]
fn a_spawner_that_is_killed_ends_the_daemon_with_words() {
    let marker = "dayfly-story-spawner";
    let project = marked(marker);
    let dev = Dev::start_with(project.path(), Stdio::piped());
    let daemon = dev.child.id();
    let children = format!("/proc/{daemon}/task");
    let children = std::fs::read_dir(children).expect("its threads").flatten();
    let children =
        children.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children = children.collect::<Vec<_>>().join(" ");
    let spawner = children.split_whitespace().find(|child| {
        let words = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains("__spawner")
    });
    let killed = Command::new("kill")
        .args(["-s", "KILL", spawner.expect("a spawner")])
        .status();
    assert!(killed.expect("kill runs").success());
    let (status, words) = dev.end();
    assert_eq!(status.code(), Some(70), "{words}");
    assert!(
        words.contains("the spawner") && words.contains("run it again"),
        "{words}"
    );
    gone(marker);
}

/// Takes away what events are written to.
fn damage(file: &Path) {
    let script = "import sqlite3, sys\nsqlite3.connect(sys.argv[1]).execute('DROP TABLE bodies')\n";
    let done = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .status();
    assert!(done.expect("Python runs").success());
}

/// An invocation that is accepted, not waited for.
fn event(url: &str, payload: &str) -> Request {
    let signature = "AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/lambda/aws4_request, \
                     SignedHeaders=host, Signature=0";
    post(url, payload)
        .header("authorization", signature)
        .header("x-amz-invocation-type", "Event")
}

#[test]
fn commands_show_what_there_is() {
    let project = marked("dayfly-story-commands");
    let dev = Dev::start(project.path());
    let at = ["--endpoint", dev.origin.as_str()];

    let invoke = output(&[&["invoke", "f", "-d", r#"{"a": 1}"#, "--tail"], &at[..]].concat());
    let answer: serde_json::Value =
        serde_json::from_str(&stdout(&invoke)).expect("the answer alone");
    assert_eq!(answer["event"]["a"], 1);
    let facts = stderr(&invoke);
    for word in [
        "cold",
        "billed",
        "MB",
        "queue",
        "init",
        "handler",
        "hello log",
        "REPORT",
    ] {
        assert!(facts.contains(word), "{word} in {facts}");
    }

    let json = output(&[&["invoke", "f", "--json"], &at[..]].concat());
    let json: serde_json::Value = serde_json::from_str(&stdout(&json)).expect("JSON");
    assert_eq!(
        (json["outcome"].as_str(), json["start"].as_str()),
        (Some("replied"), Some("warm"))
    );

    let list = stdout(&output(&[&["ls"], &at[..]].concat()));
    assert!(
        list.contains('f') && list.contains("http://127.0.0.1:"),
        "{list}"
    );
    let list = stdout(&output(&[&["ls", "--json"], &at[..]].concat()));
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let url = list[0]["url"].as_str().expect("a URL").to_owned();
    assert_eq!(get(&url).send().status, 200);

    let logs = stdout(&output(&[&["logs", "f"], &at[..]].concat()));
    assert!(
        logs.contains("hello log") && logs.contains("REPORT"),
        "{logs}"
    );

    let port = dev.origin.rsplit(':').next().expect("a port");
    for listed in [
        dayfly(&["ls", "--json"]).env("DAYFLY_PORT", port).output(),
        dayfly(&["ls", "--json", "--port", port]).output(),
        // The endpoint is the more exact word.
        dayfly(&["ls", "--json", "--endpoint", &dev.origin])
            .env("DAYFLY_PORT", "9")
            .output(),
    ] {
        let listed = listed.expect("the program runs");
        assert!(listed.status.success(), "{}", stderr(&listed));
    }

    let missing = output(&[&["invoke", "nobody"], &at[..]].concat());
    assert_eq!(missing.status.code(), Some(3), "{}", stderr(&missing));
    assert!(stderr(&missing).contains("nobody"));

    let removed = output(&[&["rm", "f"], &at[..]].concat());
    assert!(removed.status.success(), "{}", stderr(&removed));
    assert_eq!(
        output(&[&["rm", "f"], &at[..]].concat()).status.code(),
        Some(3)
    );
}

#[test]
fn each_failure_has_its_exit_code_and_says_what_to_do() {
    let silent = output(&["ls", "--endpoint", "http://127.0.0.1:9"]);
    assert_eq!(silent.status.code(), Some(4));
    assert!(
        stderr(&silent).contains("dayfly dev"),
        "{}",
        stderr(&silent)
    );

    let empty = Project::new(&[("notes.txt", "nothing to run\n")]);
    let nothing = output(&["dev", empty.path().to_str().expect("UTF-8"), "--port", "0"]);
    assert_eq!(nothing.status.code(), Some(6));
    assert!(stderr(&nothing).contains("app.py"), "{}", stderr(&nothing));
    assert!(!empty.path().join(".dayfly").exists());
    let file = empty.path().join("notes.txt");
    let file = output(&["dev", file.to_str().expect("UTF-8"), "--port", "0"]);
    assert_eq!(file.status.code(), Some(6));
    assert!(stderr(&file).contains("it is a file"), "{}", stderr(&file));

    let project = marked("dayfly-story-port");
    let dev = Dev::start(project.path());
    let port = dev.origin.rsplit(':').next().expect("a port").to_owned();
    let other = marked("dayfly-story-port-2");
    let taken = output(&[
        "dev",
        other.path().to_str().expect("UTF-8"),
        "--port",
        &port,
    ]);
    assert_eq!(taken.status.code(), Some(7));
    assert!(stderr(&taken).contains("--port"), "{}", stderr(&taken));

    assert_eq!(output(&["launch"]).status.code(), Some(2));
}

#[test]
fn starters_work_as_they_are() {
    let place = Project::new(&[]);
    for language in ["python", "node"] {
        let folder = place.path().join(language);
        let folder = folder.to_str().expect("UTF-8");
        let made = output(&["new", folder, "--language", language]);
        assert!(made.status.success(), "{}", stderr(&made));
        assert_ne!(
            output(&["new", folder, "--language", language])
                .status
                .code(),
            Some(0)
        );
        let mut dev = Dev::start(Path::new(folder));
        let list = stdout(&output(&["ls", "--json", "--endpoint", &dev.origin]));
        let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
        let url = list[0]["url"].as_str().expect("a URL").to_owned();
        let answer = get(&format!("{url}?name=you")).send();
        assert_eq!(answer.json()["message"], "Hello, you!");
        dev.signal("TERM");
        assert!(dev.child.wait().expect("an end").success());
    }
}

#[test]
fn doctor_names_what_the_host_offers() {
    let doctor = output(&["doctor", "--json"]);
    let findings: serde_json::Value = serde_json::from_str(&stdout(&doctor)).expect("JSON");
    let text = findings.to_string();
    for word in [
        "sandbox",
        "control groups",
        "network",
        "python3.12",
        "nodejs22.x",
    ] {
        assert!(text.to_lowercase().contains(word), "{word} in {text}");
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let script = output(&["completions", shell]);
        assert!(script.status.success() && stdout(&script).contains("invoke"));
    }
}
