//! A node on a free port with a project deployed, which stops and leaves nothing when dropped.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use node::dev::{Event, Options, Session};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::project::Project;

/// The node; stories talk to it over its port like anybody else.
#[derive(Debug)]
pub(crate) struct TestNode {
    runtime: Option<Runtime>,
    session: Option<Session>,
    seen: Arc<Mutex<Vec<Event>>>,
    news: watch::Receiver<usize>,
    pub(crate) origin: String,
    _data: Option<tempfile::TempDir>,
    /// What is to be gone only after the node.
    _kept: Option<Box<dyn Any>>,
}

/// Longest wait for anything a story waits for; reached only when the story fails.
const PATIENCE: Duration = Duration::from_secs(600);

impl TestNode {
    /// A node with a project of these files.
    pub(crate) fn with(project: &Project) -> Self {
        Self::start(project.path(), false)
    }

    /// A node with this folder deployed.
    pub(crate) fn start(folder: &Path, watch_files: bool) -> Self {
        let data = tempfile::tempdir().expect("a data folder");
        let mut node = Self::start_in(folder, data.path(), watch_files, |_| {});
        node._data = Some(data);
        node
    }

    /// A node that deploys this folder and redeploys what changes, some of which may never be ready.
    pub(crate) fn begin(folder: &Path) -> Self {
        let data = tempfile::tempdir().expect("a data folder");
        let mut node = Self::begin_in(folder, data.path(), true, |_| {});
        node._data = Some(data);
        node
    }

    /// A node with its data in a given folder and its configuration changed.
    pub(crate) fn start_in(
        folder: &Path,
        data: &Path,
        watch_files: bool,
        change: impl FnOnce(&mut node::Config),
    ) -> Self {
        let node = Self::begin_in(folder, data, watch_files, change);
        node.wait(|event| matches!(event, Event::Ready { .. }).then_some(()));
        node
    }

    fn begin_in(
        folder: &Path,
        data: &Path,
        watch_files: bool,
        change: impl FnOnce(&mut node::Config),
    ) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let mut config = node::Config::dev(
            data.to_owned(),
            cache(),
            env!("CARGO_BIN_EXE_dayfly").into(),
            "000000000000".parse().expect("an account"),
            "us-east-1".parse().expect("a region"),
        );
        config.listen.set_port(0);
        change(&mut config);
        let options = Options {
            folder: folder.to_owned(),
            env_vars: None,
            outside_network: true,
            watch: watch_files,
        };
        let (session, mut events) = runtime
            .block_on(Session::start(config, options))
            .expect("a session");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (tell, news) = watch::channel(0);
        let record = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                let mut seen = record.lock().expect("no panic while recording");
                seen.push(event);
                tell.send_replace(seen.len());
            }
        });
        let mut node = Self {
            runtime: Some(runtime),
            session: Some(session),
            seen,
            news,
            origin: String::new(),
            _data: None,
            _kept: None,
        };
        node.origin = node.wait(|event| match event {
            Event::Listening { origin, .. } => Some(origin.clone()),
            _ => None,
        });
        node
    }

    /// Keeps folders for as long as the node.
    pub(crate) fn keep(mut self, folders: impl Any) -> Self {
        self._kept = Some(Box::new(folders));
        self
    }

    /// What the first event that fits says; waits for it.
    pub(crate) fn wait<T>(&self, find: impl FnMut(&Event) -> Option<T>) -> T {
        self.wait_from(0, find)
    }

    /// The same, of the events after the first `from`.
    pub(crate) fn wait_from<T>(&self, from: usize, mut find: impl FnMut(&Event) -> Option<T>) -> T {
        let mut news = self.news.clone();
        let runtime = self.runtime.as_ref().expect("a running node");
        let search = async {
            let mut next = from;
            loop {
                {
                    let seen = self.seen.lock().expect("no panic while recording");
                    while next < seen.len() {
                        if let Some(found) = find(&seen[next]) {
                            return found;
                        }
                        next += 1;
                    }
                }
                news.changed().await.expect("the session goes on");
            }
        };
        let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, search).await });
        found.unwrap_or_else(|_| panic!("waited in vain; seen: {:#?}", self.events()))
    }

    /// Everything that has happened so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.seen.lock().expect("no panic while recording").clone()
    }

    /// Where a function answers.
    pub(crate) fn url(&self, name: &str) -> String {
        self.wait(|event| match event {
            Event::Deployed { function, url, .. } if function == name => {
                Some(url.clone().expect("it has a URL"))
            }
            Event::Broken {
                function, error, ..
            } if function == name => panic!("{name}: {error}"),
            _ => None,
        })
    }

    /// Runs a function through the control API and answers what that says.
    pub(crate) fn invoke(&self, name: &str, payload: &str) -> serde_json::Value {
        let url = format!(
            "{}/_dayfly/v1/functions/{name}/invocations?tail=true",
            self.origin
        );
        crate::http::post(&url, payload).send().json()
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let (Some(runtime), Some(session)) = (self.runtime.take(), self.session.take()) {
            runtime.block_on(session.stop());
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// Builds are shared between stories and runs: below the build folder, not in the user's own cache.
pub(crate) fn cache() -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}
