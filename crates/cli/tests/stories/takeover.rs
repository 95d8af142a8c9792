//! One server after another on the same data folder: what goes on, and what ends.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::http::get;
use crate::program::{dayfly, gone, stderr, stdout};
use crate::project::Project;
use crate::up::Server;

/// Every instance says which it is and how often it was asked.
const PYTHON: &str = "import os, time
boot, times = os.urandom(8).hex(), 0
def handler(event, context):
  global times
  times += 1
  if event.get('wait'):
    print('began', flush=True)
    time.sleep(event['wait'])
  return {'boot': boot, 'times': times}
";

const NODE: &str = "const boot = require('crypto').randomUUID(); let times = 0;
exports.handler = async () => ({boot, times: ++times});
";

/// A client of the Runtime API that has one connection and ends when that breaks.
const BOOTSTRAP: &str = r#"#!/bin/bash
exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API/:/\/}" || exit 1
boot=$RANDOM$RANDOM$RANDOM times=0
ask() {
  printf '%s HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s' "$1" "${#2}" "$2" >&3
  local length=0 line
  while :; do
    IFS= read -r line <&3 || exit 1
    line=${line%$'\r'}
    [ -n "$line" ] || break
    case ${line,,} in
      content-length:*) length=${line##* } ;;
      lambda-runtime-aws-request-id:*) id=${line##* } ;;
    esac
  done
  IFS= read -r -N "$length" body <&3
}
while :; do
  ask 'GET /2018-06-01/runtime/invocation/next' ''
  times=$((times + 1))
  ask "POST /2018-06-01/runtime/invocation/$id/response" "{\"boot\": \"$boot\", \"times\": $times}"
done
"#;

const FUNCTIONS: [&str; 3] = ["p", "n", "b"];

fn project(marker: &str) -> Project {
    let function = |name: &str, handler: &str, runtime: &str| {
        format!(
            "  {upper}: {{Type: 'AWS::Serverless::Function', Properties: {{FunctionName: {name}, \
             CodeUri: {name}, Handler: {handler}, Runtime: {runtime}, Timeout: 60, \
             FunctionUrlConfig: {{AuthType: NONE}}}}}}\n",
            upper = name.to_uppercase(),
        )
    };
    let template = [
        "Resources:\n".to_owned(),
        function("p", "app.handler", "python3.11"),
        function("n", "index.handler", "nodejs22.x"),
        function("b", "any", "provided.al2023"),
    ];
    let project = Project::new(&[
        ("p/app.py", PYTHON),
        ("n/index.js", NODE),
        ("b/bootstrap", BOOTSTRAP),
        ("template.yaml", &template.concat()),
    ]);
    project.write(".env", &format!("MARKER={marker}\n"));
    project
}

/// A server, with the project deployed to it by whoever has its first key.
fn deployed(data: &Path, project: &Project, more: &[&str]) -> Server {
    let server = Server::start(data, more);
    server.run(&["deploy", project.path().to_str().expect("a UTF-8 path")]);
    server
}

/// Which instance answered, and how often it has by now.
fn read(answer: &Value) -> (String, u64) {
    let boot = answer["boot"].as_str().expect("a name").to_owned();
    (boot, answer["times"].as_u64().expect("a number"))
}

impl Server {
    /// The server that comes after, with the keys that there are.
    fn after(&self, data: &Path, more: &[&str]) -> Self {
        let mut next = Self::start(data, more);
        next.key.clone_from(&self.key);
        next.secret.clone_from(&self.secret);
        next
    }

    /// Invokes a function; whether that was warm, and who answered.
    fn ask(&self, name: &str) -> (String, (String, u64)) {
        let text = self.run(&["invoke", name, "--json"]);
        let outcome: Value = serde_json::from_str(&text).expect("JSON");
        let start = outcome["start"].as_str().expect("a word").to_owned();
        (start, read(&outcome["payload"]))
    }

    /// Begins an invocation that takes so many seconds, and waits until it has begun.
    fn begin(&self, seconds: u32) -> Child {
        let event = format!(r#"{{"wait": {seconds}}}"#);
        let busy = dayfly(&["invoke", "p", "-d", &event, "--endpoint", &self.origin])
            .env("AWS_ACCESS_KEY_ID", &self.key)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        while !self.run(&["logs", "p"]).contains("began") {}
        busy
    }
}

/// Asks at a function URL, one connection a request, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<std::io::Result<(u16, Value)>>>,
}

impl Load {
    fn begin(server: &Server, name: &str) -> Self {
        let list = server.run(&["ls", "--json"]);
        let list: Value = serde_json::from_str(&list).expect("JSON");
        let functions = list.as_array().expect("a list");
        let this = functions.iter().find(|one| one["name"] == name);
        let url = this.expect("the function")["url"].as_str().expect("a URL");
        let host = url
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned();
        let (origin, stop) = (server.origin.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let asking = std::thread::spawn(move || {
            let mut answers = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let answer = get(&origin).header("host", &host).try_send();
                answers.push(answer.map(|it| (it.status, it.json())));
            }
            answers
        });
        Self { stop, asking }
    }

    /// All answers, each of which has to be one.
    fn end(self) -> Vec<(String, u64)> {
        self.stop.store(true, Ordering::SeqCst);
        let answers = self.asking.join().expect("it asked");
        let answers = answers.into_iter().map(|answer| {
            let (status, body) = answer.expect("an answer");
            assert_eq!(status, 200, "{body}");
            read(&body)
        });
        answers.collect()
    }
}

#[test]
fn a_server_that_is_replaced_drops_no_instance_and_no_request() {
    let (data, project) = (
        tempfile::tempdir().expect("a folder"),
        project("dayfly-story-replaced"),
    );
    let first = deployed(data.path(), &project, &[]);
    let loads = ["n", "b"].map(|name| Load::begin(&first, name));
    let (_, (boot, _)) = first.ask("p");
    let busy = first.begin(3);
    let refused = dayfly(&["up", "--data", data.path().to_str().expect("UTF-8")])
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(7));
    assert!(
        stderr(&refused).contains("--replace"),
        "{}",
        stderr(&refused)
    );

    let second = first.after(data.path(), &["--replace"]);
    assert_eq!(
        second.origin, first.origin,
        "any free port is the one there was"
    );
    let answered = busy.wait_with_output().expect("an end");
    assert!(answered.status.success(), "{}", stderr(&answered));
    let answered: Value = serde_json::from_str(&stdout(&answered)).expect("JSON");
    assert_eq!(read(&answered), (boot.clone(), 2));
    assert_eq!(second.ask("p"), ("warm".to_owned(), (boot.clone(), 3)));
    let third = second.after(data.path(), &["--replace"]);
    assert_eq!(third.ask("p"), ("warm".to_owned(), (boot, 4)));

    for load in loads {
        let answers = load.end();
        let (boot, _) = answers.first().expect("some").clone();
        let expected: Vec<_> = (1..).take(answers.len()).collect();
        let times: Vec<_> = answers.iter().map(|(_, times)| *times).collect();
        assert_eq!(times, expected);
        assert!(answers.iter().all(|(other, _)| *other == boot));
    }
    // What was in flight is told of as all else.
    let log = third.run(&["logs", "p"]);
    assert_eq!(log.matches("REPORT RequestId").count(), 4, "{log}");
    for mut server in [first, second] {
        assert!(server.child.wait().expect("an end").success());
    }
}

#[test]
fn what_was_idle_when_a_server_was_killed_goes_on_with_the_next() {
    let marker = "dayfly-story-killed-server";
    let (data, project) = (tempfile::tempdir().expect("a folder"), project(marker));
    let first = deployed(data.path(), &project, &["--keep", "60"]);
    let boots = FUNCTIONS.map(|name| first.ask(name).1.0);
    first.signal("KILL");
    let second = first.after(data.path(), &["--keep", "60"]);
    for (name, boot) in FUNCTIONS.iter().zip(&boots) {
        // A client of the Runtime API has lost its connection.
        let kept = *name != "b";
        let (start, (other, times)) = second.ask(name);
        assert_eq!(start == "warm", kept, "{name}: {start}");
        assert_eq!(
            (other == *boot, times),
            (kept, if kept { 2 } else { 1 }),
            "{name}"
        );
    }
    // What is busy has nobody to answer any more.
    let mut busy = second.begin(600);
    second.signal("KILL");
    assert!(!busy.wait().expect("an end").success());
    let third = second.after(data.path(), &[]);
    let (start, (boot, times)) = third.ask("p");
    assert!(
        start != "warm" && boot != boots[0] && times == 1,
        "{start} {times}"
    );
    assert_eq!(third.ask("n"), ("warm".to_owned(), (boots[1].clone(), 3)));
    drop(third);
    gone(marker);
    assert!(names(&data.path().join("kept")).is_empty());
}

#[test]
fn what_nobody_takes_over_ends() {
    let marker = "dayfly-story-left-server";
    let (data, project) = (tempfile::tempdir().expect("a folder"), project(marker));
    let server = deployed(data.path(), &project, &["--keep", "1"]);
    for name in FUNCTIONS {
        server.ask(name);
    }
    server.signal("KILL");
    gone(marker);
    while !names(&data.path().join("kept")).is_empty() {}
    drop(server);
    // One that keeps nothing can take over, and cannot be taken over from.
    let server = Server::start(data.path(), &[]);
    let last = Server::start(data.path(), &["--keep", "0", "--replace"]);
    assert_eq!(last.origin, server.origin);
    while !names(&data.path().join("kept")).is_empty() {}
    let folder = data.path().to_str().expect("UTF-8");
    let refused = dayfly(&[
        "up",
        "--data",
        folder,
        "--listen",
        "127.0.0.1:0",
        "--replace",
    ])
    .output()
    .expect("it runs");
    assert_eq!(refused.status.code(), Some(7));
    assert!(
        stderr(&refused).contains("another process"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_server_that_makes_room_is_followed_by_one_that_fits() {
    let marker = "dayfly-story-made-room";
    let (data, project) = (tempfile::tempdir().expect("a folder"), project(marker));
    let mut first = deployed(data.path(), &project, &["--keep", "60"]);
    let boots = FUNCTIONS.map(|name| first.ask(name).1.0);
    first.signal("USR2");
    assert!(first.child.wait().expect("an end").success());
    // A connection made meanwhile waits for the next.
    let waiting = Load::begin_at(&first);
    let second = first.after(data.path(), &["--keep", "60"]);
    assert_eq!(waiting.join().expect("an answer"), 200);
    for (name, boot) in FUNCTIONS.iter().zip(&boots) {
        assert_eq!(second.ask(name), ("warm".to_owned(), (boot.clone(), 2)));
    }
    drop(second);
    gone(marker);
}

#[test]
fn of_two_that_take_over_one_does() {
    let marker = "dayfly-story-two-successors";
    let (data, project) = (tempfile::tempdir().expect("a folder"), project(marker));
    let first = deployed(data.path(), &project, &[]);
    let busy = first.begin(3);
    let folder = data.path().to_str().expect("UTF-8");
    let begin = || {
        dayfly(&[
            "up",
            "--data",
            folder,
            "--listen",
            "127.0.0.1:0",
            "--replace",
        ])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
    };
    let (one, other) = (begin(), begin());
    assert!(busy.wait_with_output().expect("an end").status.success());
    let mut starts = [one, other].map(Some);
    let refused = loop {
        let ended = starts.iter_mut().find_map(|start| {
            let ended = start.as_mut().and_then(|it| it.try_wait().ok()).flatten();
            ended.and_then(|_| start.take())
        });
        if let Some(ended) = ended {
            break ended.wait_with_output().expect("its words");
        }
    };
    assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));
    let words = stderr(&refused);
    assert!(words.contains("another start"), "{words}");
    let healthy = get(&format!("{}/healthz", first.origin)).send();
    assert_eq!(healthy.status, 200);
    for start in starts.iter_mut().flatten() {
        let pid = start.id().to_string();
        let told = std::process::Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status();
        assert!(told.expect("kill runs").success());
        assert!(start.wait().expect("an end").success());
    }
    gone(marker);
}

impl Load {
    /// One request for the server's health, sent now.
    fn begin_at(server: &Server) -> JoinHandle<u16> {
        let url = format!("{}/healthz", server.origin);
        std::thread::spawn(move || get(&url).send().status)
    }
}

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}
