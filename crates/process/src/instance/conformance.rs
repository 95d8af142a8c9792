//! What the launchers promise of Lambda's programming model, tried over a socket pair and a
//! plain child process: each behaviour a line or two, for Python and for Node.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use engine::port::{Call, Instance, LogEvent, LogSink, StartOrder, Started, Waited};
use expect_test::Expect;
use futures_util::future::BoxFuture;
use model::{FunctionConfig, InvocationId, LogFormat, LogLevel, Runtime, VersionId};
use parking_lot::Mutex;
use store::{Clock, SystemClock};
use tokio::sync::watch;

use super::own::OwnTime;
use super::sandbox::Sandbox;
use super::start::{Begun, RuntimeName, start};
use super::{Parts, Tasks};
use crate::contract::lambda::words::Exit;
use crate::contract::lambda::{environment, order};
use crate::interpreter::{Finder, Language, Surroundings};
use crate::spawner::Control;

mod node;
mod python;
mod streams;

/// Shared by all cases, so that an interpreter is asked once what it is.
static FINDER: LazyLock<Arc<Finder>> = LazyLock::new(|| {
    let surroundings = Surroundings::of_this_process();
    let cache = std::env::temp_dir().join("dayfly-no-cache");
    Arc::new(Finder::new(surroundings, false, cache, Arc::new(|_| {})))
});

/// A child of the test that stands in for a jail.
#[derive(Debug)]
struct Child {
    id: rustix::process::Pid,
    exit: watch::Receiver<Option<Exit>>,
}

impl Sandbox for Child {
    fn exited(&self) -> BoxFuture<'static, Exit> {
        let mut exit = self.exit.clone();
        Box::pin(async move { exit.wait_for(Option::is_some).await.unwrap().unwrap() })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        let _ = rustix::process::kill_process(self.id, rustix::process::Signal::KILL);
        let exited = self.exited();
        Box::pin(async move {
            exited.await;
        })
    }

    fn freeze(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn thaw(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn memory_peak_bytes(&self) -> Option<u64> {
        None
    }

    fn outgrows<'a>(&'a self, _: u64, _: &'a dyn Clock) -> BoxFuture<'a, ()> {
        Box::pin(std::future::pending())
    }

    fn memory_bytes(&self) -> Option<u64> {
        None
    }
}

#[derive(Debug, Default)]
struct Kept(Mutex<Vec<LogEvent>>);

impl LogSink for Kept {
    fn write(&self, event: LogEvent) {
        self.0.lock().push(event);
    }
}

impl Kept {
    /// The function's own lines since the last time.
    fn take(&self) -> String {
        let mut seen = String::new();
        for event in self.0.lock().drain(..).filter(|event| !event.platform) {
            seen += &format!("| {}\n", event.text.replace('\n', "\n: "));
        }
        seen
    }
}

/// A function under test.
struct Case<'a> {
    runtime: Runtime,
    handler: &'a str,
    files: &'a [(&'a str, &'a str)],
    events: &'a [&'a str],
    log_format: LogFormat,
    log_level: LogLevel,
}

impl<'a> Case<'a> {
    fn new(runtime: Runtime, handler: &'a str, files: &'a [(&'a str, &'a str)]) -> Self {
        let events: &[&str] = &["{}"];
        Self {
            runtime,
            handler,
            files,
            events,
            log_format: LogFormat::Text,
            log_level: LogLevel::Info,
        }
    }

    /// Runs it and compares what callers and the log get to see.
    fn check(&self, expected: Expect) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        expected.assert_eq(&runtime.block_on(self.run()));
    }

    /// Runs it, and looks at little of what is seen: the log is as large as the error.
    fn ends_too_large_then_well(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let seen = runtime.block_on(self.run());
        let lines: Vec<_> = seen
            .lines()
            .filter(|line| !line.starts_with(['|', ':']))
            .collect();
        assert!(
            lines[0].starts_with("failed ") && lines[0].contains("Function.ResponseSizeTooLarge"),
            "{}",
            lines[0]
        );
        assert_eq!(lines[1..], ["replied \"well\""]);
    }

    /// Starts it for a test that does the rest itself; what that has seen.
    async fn with_instance<T: AsRef<str>>(
        &self,
        test: impl AsyncFnOnce(&Arc<dyn Instance>, &Arc<dyn Clock>, &Kept) -> T,
    ) -> String {
        let (folder, started, kept, clock) = self.start().await;
        let Started::Ready { instance, .. } = started else {
            panic!("it does not initialise");
        };
        let seen = test(&instance, &clock, &kept).await;
        instance.stop().await;
        std::fs::remove_dir_all(&folder).unwrap();
        normal(seen.as_ref(), &folder)
    }

    async fn run(&self) -> String {
        let (folder, started, kept, clock) = self.start().await;
        let mut seen = String::new();
        for event in self.events {
            let call = call(event, &clock);
            let executed = match &started {
                Started::Ready { instance, .. } => instance.invoke(call).await,
                Started::Failed { failed, .. } => failed.outcome(&call),
                Started::TimedOut { .. } => panic!("initialisation timed out"),
            };
            let payload = String::from_utf8_lossy(&executed.outcome.payload).into_owned();
            let payload: String = payload.chars().take(2000).collect();
            seen += &format!("{} {payload}\n", executed.outcome.end.as_str());
            seen += &kept.take();
        }
        if let Started::Ready { instance, .. } = &started {
            instance.stop().await;
        }
        std::fs::remove_dir_all(&folder).unwrap();
        normal(&seen, &folder)
    }

    async fn start(&self) -> (std::path::PathBuf, Started, Arc<Kept>, Arc<dyn Clock>) {
        let folder = scratch();
        for (name, text) in self.files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let kept = Arc::new(Kept::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let order = self.order(&folder, &kept, &clock);
        let parts = parts(order, &folder).await;
        let name = RuntimeName {
            version: "test".into(),
            arn: "arn".into(),
        };
        let begun = start(parts, &name, clock.monotonic(), Arc::clone(&clock)).await;
        let Begun::Over(started) = begun.unwrap() else {
            panic!("nothing was fetched");
        };
        (folder, started, kept, clock)
    }

    fn order(&self, folder: &Path, kept: &Arc<Kept>, clock: &Arc<dyn Clock>) -> StartOrder {
        let mut environment = BTreeMap::new();
        environment.insert("GREETING".to_owned(), "hello".to_owned());
        let code = model::Code::folder(model::Digest::from_bytes([0; 32]), 0);
        let config = FunctionConfig {
            runtime: self.runtime,
            handler: self.handler.to_owned(),
            description: String::new(),
            memory_mb: 128,
            timeout: Duration::from_secs(20),
            tmp_mb: 512,
            environment,
            code,
            layers: Vec::new(),
            log_format: self.log_format,
            log_level: self.log_level,
            network: model::Network::PlatformOnly,
            inspect: false,
            declared: model::Declared::default(),
        };
        StartOrder {
            instance: model::InstanceId::from_random(clock.random_id()),
            function: function(),
            version: VersionId::Latest,
            config: Arc::new(config),
            code: folder.to_owned(),
            layers: Vec::new(),
            init_timeout: Duration::from_secs(30),
            in_invocation: false,
            credentials: Some(engine::keys::Credentials {
                access_key: "ASIAAAAAAAAAAAAAAAAA".into(),
                secret: engine::keys::Secret::new("secret"),
                token: "token".into(),
                expires_ms: u64::MAX,
            }),
            log_stream: "2026/01/01/[$LATEST]abc".into(),
            log: Arc::clone(kept) as Arc<dyn LogSink>,
        }
    }
}

fn function() -> model::FunctionId {
    model::FunctionId {
        account: "000000000000".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
        name: "greet".parse().unwrap(),
    }
}

fn call(event: &str, clock: &Arc<dyn Clock>) -> Call {
    Call {
        id: InvocationId::from_random(clock.random_id()),
        target: function().unqualified(),
        version: VersionId::Latest,
        payload: Bytes::copy_from_slice(event.as_bytes()),
        timeout: Duration::from_secs(20),
        deadline_ms: clock.now_ms() + 20_000,
        trace: Some("Root=1-00000001-000000000000000000000002".to_owned()),
        client_context: Some(
            r#"{"custom":{"k":"v"},"env":{},"client":{"app_title":"t"}}"#.to_owned(),
        ),
        tail: false,
        sink: None,
        waited: Waited::default(),
    }
}

fn scratch() -> std::path::PathBuf {
    let mut id = [0; 8];
    SystemClock::new().random(&mut id);
    let folder = std::env::temp_dir().join(format!("dayfly-launcher-{}", model::id::hex(&id)));
    std::fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

/// Starts the launcher as a jail would.
async fn parts(order: StartOrder, folder: &Path) -> Parts {
    let wanted = Language::of(order.config.runtime).unwrap();
    let finder = &*FINDER;
    let interpreter = finder
        .find_here(wanted)
        .unwrap_or_else(|| panic!("{wanted} is needed by this test"));
    let runtime_dir = scratch();
    let mut arguments = vec![interpreter.executable.clone().into_os_string()];
    match wanted {
        Language::Python(_) => {
            let compiled = finder
                .compiled_launcher(&interpreter, order::PYTHON_LAUNCHER)
                .await
                .unwrap();
            let launcher = runtime_dir.join("bootstrap.pyc");
            std::fs::write(&launcher, compiled).unwrap();
            arguments.extend(["-S".into(), "-s".into(), launcher.into()]);
        }
        Language::Node(_) => {
            let launcher = runtime_dir.join("index.cjs");
            std::fs::write(&launcher, order::NODE_LAUNCHER).unwrap();
            arguments.push(launcher.into());
        }
    }
    let (socket, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    let (asked, requests) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    rustix::io::ioctl_fionbio(&requests, true).unwrap();
    let (output, written) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    rustix::io::ioctl_fionbio(&output, true).unwrap();
    let around = environment::Around {
        endpoint: "http://127.0.0.1:4566".to_owned(),
        cloud: crate::CloudHosts::Home,
        trusted: environment::Trusted::Nothing,
    };
    let environment = environment::variables(&order, &around);
    // The shell hands the socket on as descriptor 3, and the pipe as 4.
    let mut child = Command::new("/bin/sh");
    child
        .args(["-c", "exec 3<&2 4<&0 2>&1 </dev/null; exec \"$@\"", "sh"])
        .args(&arguments);
    child
        .env_clear()
        .envs(environment.fixed)
        .env("LAMBDA_TASK_ROOT", folder);
    child
        .env("PATH", "/usr/bin:/bin")
        .env_remove("LD_LIBRARY_PATH")
        .current_dir(folder);
    child.stdin(asked);
    child.stdout(written).stderr(OwnedFd::from(theirs));
    let mut child = child.spawn().unwrap();
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let (ended, exit) = watch::channel(None);
    std::thread::spawn(move || {
        use std::os::unix::process::ExitStatusExt;
        let status = child.wait().unwrap();
        let exit = status.code().map(Exit::Code);
        ended.send_replace(Some(
            exit.unwrap_or_else(|| Exit::Signal(status.signal().unwrap_or(0))),
        ));
        let _ = std::fs::remove_dir_all(runtime_dir);
    });
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Parts {
        sandbox: Arc::new(Child { id, exit }),
        control: Some(Control { socket, requests }),
        output,
        extensions_output: None,
        dialers: Vec::new(),
        extensions: Vec::new(),
        runtime_api: None,
        peers: None,
        variables: environment.own,
        order,
        brings: None,
        own: OwnTime::new(&clock),
        patient: false,
        note: None,
        tasks: Tasks::default(),
    }
}

/// What differs from run to run is given a name.
fn normal(seen: &str, folder: &Path) -> String {
    let seen = without_own_frames(&seen.replace(&folder.display().to_string(), "/var/task"));
    let mut normal = String::new();
    let mut rest = seen.as_str();
    while let Some(first) = rest.chars().next() {
        if let Some(length) = shaped(rest, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") {
            normal += "ID";
            rest = &rest[length..];
        } else if let Some(length) = shaped(rest, "dddd-dd-ddTdd:dd:dd.dddZ") {
            normal += "TIME";
            rest = &rest[length..];
        } else if let Some(length) = shaped(rest, "dddd-dd-ddTdd:dd:ddZ") {
            normal += "TIME";
            rest = &rest[length..];
        } else {
            normal.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    normal
}

/// Leaves the launcher's own and Node's frames out of stacks: they change with every line.
fn without_own_frames(seen: &str) -> String {
    let mut parts = seen.split(",\"    at ");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (frame, after) = part.split_once('"').unwrap_or((part, ""));
        if frame.contains("index.cjs") || frame.contains("node:") {
            kept += after;
        } else {
            kept += &format!(",\"    at {part}");
        }
    }
    kept
}

fn shaped(text: &str, shape: &str) -> Option<usize> {
    let bytes = text.as_bytes().get(..shape.len())?;
    let fits = bytes
        .iter()
        .zip(shape.bytes())
        .all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_hexdigit(),
            other => *byte == other,
        });
    fits.then_some(shape.len())
}
