//! An engine over memory whose functions are closures. The rooms above that are doors to the
//! engine test themselves on it.

use std::sync::Arc;
use std::time::Duration;

use engine::port::{
    Call, CannotRun, Instance, LogEvent, Runtime, StartError, StartOrder, Started, Warning,
};
use engine::verb::{Deployment, UrlSettings};
use engine::{Config, Engine};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::{
    Code, End, Execution, FunctionConfig, FunctionId, LogFormat, LogLevel, Network, Outcome,
    Principal, StartKind, Timings,
};
use store::{Clock, Logs, Memory, SystemClock, Trees};

/// What every function of a test does.
pub(crate) type Behaviour = fn(&Call) -> (End, String);

/// Answers with the event that it was given.
pub(crate) fn echo(call: &Call) -> (End, String) {
    (
        End::Replied,
        String::from_utf8_lossy(&call.payload).into_owned(),
    )
}

#[derive(Debug)]
struct Closures(Behaviour);

#[derive(Debug)]
struct Closure(Behaviour, StartOrder);

impl Runtime for Closures {
    fn examine<'a>(
        &'a self,
        _: &'a FunctionConfig,
        _: &'a std::path::Path,
        _: &'a [std::path::PathBuf],
    ) -> BoxFuture<'a, Result<Vec<Warning>, CannotRun>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn start(&self, order: StartOrder) -> BoxFuture<'_, Result<Started, StartError>> {
        let instance = Arc::new(Closure(self.0, order));
        async {
            Ok(Started::Ready {
                instance,
                start: Duration::ZERO,
                init: Duration::ZERO,
            })
        }
        .boxed()
    }
}

impl Instance for Closure {
    fn slots(&self) -> u32 {
        1
    }

    fn invoke(&self, call: Call) -> BoxFuture<'_, Execution> {
        async move {
            let text = format!("START RequestId: {}", call.id);
            let invocation = Some(call.id.clone());
            self.1.log.write(LogEvent {
                at_ms: 1,
                platform: true,
                invocation,
                text,
            });
            let (end, payload) = (self.0)(&call);
            Execution {
                version: model::VersionId::Latest,
                outcome: Outcome {
                    end,
                    payload: payload.into(),
                },
                start: call.waited.kind.unwrap_or(StartKind::Warm),
                timings: Timings {
                    handler: Duration::from_micros(1500),
                    ..Timings::default()
                },
                billed: Duration::from_millis(2),
                memory_used_mb: 30,
                log_tail: call.tail.then(|| "the tail\n".into()),
            }
        }
        .boxed()
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        std::future::pending().boxed()
    }

    fn freeze(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn thaw(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn memory_bytes(&self) -> Option<u64> {
        None
    }
}

/// An engine in which nothing is deployed yet.
pub(crate) struct Fixture {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<dyn Clock>,
    code: Code,
    // Removed with the fixture.
    _folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn new(behaviour: Behaviour) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("app.py"), "").unwrap();
        let trees = Trees::open(&folder.path().join("trees")).unwrap();
        let tree = trees.put(&source).unwrap();
        let logs = Logs::open(&folder.path().join("logs"), clock.clone()).unwrap();
        let config = Config {
            account_concurrency: 1000,
            memory_mb_max: 65_536,
            starts_at_once: 100,
            hold_from: usize::MAX,
            keep_alive: Duration::from_secs(60),
            freeze_after: Duration::from_secs(60),
        };
        let engine = Engine::open(
            config,
            Arc::new(Memory::new()),
            Arc::new(trees),
            logs,
            clock.clone(),
            Arc::new(Closures(behaviour)),
        )
        .await
        .unwrap();
        let code = Code::folder(tree.digest.parse().unwrap(), tree.size_bytes);
        Self {
            engine,
            clock,
            code,
            _folder: folder,
        }
    }

    /// What a deployment is where the test cares for nothing of it.
    pub(crate) fn deployment(&self) -> Deployment {
        Deployment {
            config: FunctionConfig {
                runtime: "python3.12".parse().unwrap(),
                handler: "app.handler".into(),
                description: String::new(),
                memory_mb: 128,
                timeout: Duration::from_secs(3),
                tmp_mb: 512,
                environment: [("STAGE".to_owned(), "test".to_owned())].into(),
                code: self.code.clone(),
                layers: Vec::new(),
                log_format: LogFormat::Text,
                log_level: LogLevel::Info,
                network: Network::PlatformOnly,
                inspect: false,
                declared: model::Declared::default(),
            },
            url: Some(UrlSettings::default()),
            reserved_concurrency: None,
            publish: false,
        }
    }

    /// Deploys `hello`, and answers its URL's id.
    pub(crate) async fn deploy(&self, deployment: Deployment) -> String {
        let function = hello();
        let owner = Principal::Account(function.account.clone());
        let deployed = self
            .engine
            .deploy(&owner, &function, deployment)
            .await
            .unwrap();
        deployed.url.map(|url| url.url_id).unwrap_or_default()
    }
}

/// The function of all tests.
pub(crate) fn hello() -> FunctionId {
    FunctionId {
        account: "000000000000".parse().unwrap(),
        region: "us-east-1".parse().unwrap(),
        name: "hello".parse().unwrap(),
    }
}
