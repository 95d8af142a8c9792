//! An engine over a memory store, a clock that stands still and instances that are told what to
//! do. A crash of the process is a runtime that is dropped.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::verb::{Deployed, Deployment, Invoke, UrlSettings};
use engine::{Config, Engine, Error};
use model::{
    Code, Execution, FunctionConfig, FunctionId, FunctionRef, LogFormat, LogLevel, Network,
    Principal, Qualifier, Runtime,
};
use store::{Clock, Store, Trees};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::clock::ManualClock;
use crate::fake::{FakeHandle, FakeRuntime};
use crate::shelf::Shelf;

pub(crate) struct World {
    pub(crate) runtime: Arc<FakeRuntime>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<Shelf>,
    pub(crate) trees: Arc<Trees>,
    pub(crate) config: Config,
    tokio: Option<tokio::runtime::Runtime>,
    engine: Option<Engine>,
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(1, |_| {})
    }

    pub(crate) fn with(seed: u64, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            account_concurrency: 10,
            memory_mb_max: 4096,
            starts_at_once: 100,
            hold_from: usize::MAX,
            keep_alive: Duration::from_secs(300),
            freeze_after: Duration::from_millis(200),
        };
        change(&mut config);
        let mut world = Self {
            runtime: Arc::default(),
            clock: Arc::new(ManualClock::new(seed)),
            store: Arc::default(),
            trees: Arc::new(Trees::open(&folder.path().join("code")).unwrap()),
            config,
            tokio: None,
            engine: None,
            folder,
        };
        world.boot();
        world
    }

    fn boot(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let logs = store::Logs::open(&self.folder.path().join("logs"), Arc::clone(&clock)).unwrap();
        let handle = FakeHandle(Arc::clone(&self.runtime));
        let store: Arc<dyn Store> = Arc::clone(&self.store) as _;
        let trees = Arc::clone(&self.trees);
        let open = Engine::open(
            self.config.clone(),
            store,
            trees,
            logs,
            clock,
            Arc::new(handle),
        );
        let engine = runtime.block_on(open).unwrap();
        (self.tokio, self.engine) = (Some(runtime), Some(engine));
    }

    /// The process ends without a warning, and another one begins with what was kept.
    pub(crate) fn crash(&mut self) {
        drop((self.engine.take(), self.tokio.take()));
        for instance in self.runtime.alive() {
            instance.die();
        }
        self.store.reopen();
        self.boot();
    }

    /// The process lets go of everything for the next one, which begins.
    pub(crate) fn hand_over(&mut self) {
        let engine = self.engine().clone();
        self.run(async move { engine.leave(Duration::from_secs(5)).await });
        drop((self.engine.take(), self.tokio.take()));
        self.store.reopen();
        self.boot();
    }

    pub(crate) fn run<T>(&self, story: impl Future<Output = T>) -> T {
        self.tokio.as_ref().unwrap().block_on(story)
    }

    /// Gives the process to a story that changes the world while it runs.
    pub(crate) fn take_tokio(&mut self) -> tokio::runtime::Runtime {
        self.tokio.take().unwrap()
    }

    /// Takes it back, so that the world can crash.
    pub(crate) fn put_tokio(&mut self, tokio: tokio::runtime::Runtime) {
        self.tokio = Some(tokio);
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// Code that differs from every other number's.
    pub(crate) fn code(&self, number: u32) -> Code {
        let source = self.folder.path().join(format!("source-{number}"));
        std::fs::create_dir_all(&source).unwrap();
        std::fs::write(source.join("app.py"), format!("# {number}\n")).unwrap();
        let tree = self.trees.put(&source).unwrap();
        Code::folder(tree.digest.parse().unwrap(), tree.size_bytes)
    }

    /// How many trees of code are kept.
    pub(crate) fn trees_kept(&self) -> usize {
        let trees = std::fs::read_dir(self.folder.path().join("code/trees")).unwrap();
        trees.count()
    }

    pub(crate) fn deployment(&self, code: u32) -> Deployment {
        Deployment {
            config: FunctionConfig {
                runtime: Runtime::Python { minor: 12 },
                handler: "app.handler".into(),
                description: String::new(),
                memory_mb: 128,
                timeout: Duration::from_secs(3),
                tmp_mb: 512,
                environment: BTreeMap::new(),
                code: self.code(code),
                layers: Vec::new(),
                log_format: LogFormat::Text,
                log_level: LogLevel::Info,
                network: Network::Outside,
                inspect: false,
                declared: model::Declared::default(),
            },
            url: Some(UrlSettings::default()),
            reserved_concurrency: None,
            publish: false,
        }
    }

    pub(crate) async fn deploy(&self, name: &str, deployment: Deployment) -> Deployed {
        self.try_deploy(name, deployment).await.unwrap()
    }

    pub(crate) async fn try_deploy(
        &self,
        name: &str,
        deployment: Deployment,
    ) -> Result<Deployed, Error> {
        self.engine()
            .deploy(&owner(), &function(name), deployment)
            .await
    }

    /// Publishes `$LATEST`.
    pub(crate) async fn publish(&self, name: &str) -> model::VersionId {
        let expected = engine::verb::Expected::Anything;
        let publication = engine::verb::Publication::default();
        let published = self
            .engine()
            .publish(&owner(), &function(name), expected, publication)
            .await;
        published.unwrap().version
    }

    /// A function of that name with the first code.
    pub(crate) async fn function(&self, name: &str) {
        self.deploy(name, self.deployment(1)).await;
    }

    pub(crate) async fn invoke(
        &self,
        name: &str,
        payload: &'static str,
    ) -> Result<Execution, Error> {
        self.engine().invoke(request(name, payload)).await
    }

    /// Begins an invocation and lets it go as far as it can.
    pub(crate) async fn begin(
        &self,
        name: &str,
        payload: &'static str,
    ) -> JoinHandle<Result<Execution, Error>> {
        let engine = self.engine().clone();
        let request = request(name, payload);
        let running = tokio::spawn(async move { engine.invoke(request).await });
        crate::clock::settle().await;
        running
    }

    /// Lets every call end that waits for the test.
    pub(crate) async fn release_all(&self) {
        for (instance, id) in self.runtime.held_calls() {
            instance.release(&id, model::End::Replied);
        }
        crate::clock::settle().await;
    }

    /// Resolves once that is so; for what other threads have a part in.
    pub(crate) async fn wait_for(&self, so: impl Fn() -> bool) {
        while !so() {
            tokio::task::yield_now().await;
        }
    }

    /// The states of a function's instances, as words.
    pub(crate) fn states(&self, name: &str) -> String {
        let views = self.engine().instances(&function(name));
        let mut states: Vec<_> = views
            .iter()
            .map(|view| {
                if view.frozen {
                    "frozen"
                } else {
                    view.state.as_str()
                }
            })
            .collect();
        states.sort_unstable();
        states.join(" ")
    }
}

pub(crate) fn owner() -> Principal {
    Principal::Account("000000000000".parse().unwrap())
}

pub(crate) fn function(name: &str) -> FunctionId {
    FunctionId {
        account: "000000000000".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

/// A reference such as `hello`, `hello:live` or `hello:3`.
pub(crate) fn reference(text: &str) -> FunctionRef {
    let (name, qualifier) = match text.split_once(':') {
        Some((name, qualifier)) => (name, qualifier.parse().unwrap()),
        None => (text, Qualifier::Absent),
    };
    FunctionRef {
        function: function(name),
        qualifier,
    }
}

pub(crate) fn request(target: &str, payload: &'static str) -> Invoke {
    Invoke {
        principal: owner(),
        url: None,
        target: reference(target),
        id: None,
        payload: Bytes::from_static(payload.as_bytes()),
        trace: None,
        client_context: None,
        tail: false,
    }
}
