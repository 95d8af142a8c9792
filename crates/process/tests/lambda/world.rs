//! What the stories need: processes over real jails, functions, calls and a log to look at.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use engine::port::{
    Call, Instance, LogEvent, LogSink, Runtime as _, StartError, StartOrder, Started, Waited,
};
use model::{Execution, FunctionConfig, InvocationId, LogFormat, LogLevel, Runtime, VersionId};
use process::interpreter::Surroundings;
use process::spawner::{Lite, Spawner};
use process::{Config, Processes};
use store::{Clock, SystemClock};

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) spawner: Spawner,
    pub(crate) processes: Arc<Processes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) folder: PathBuf,
    pub(crate) lite: Lite,
    /// Where the public clients are, if they were set up.
    pub(crate) clients: Option<PathBuf>,
}

#[derive(Debug, Default)]
pub(crate) struct Kept(pub(crate) Mutex<Vec<LogEvent>>);

impl LogSink for Kept {
    fn write(&self, event: LogEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Kept {
    /// The lines so far, without what differs from run to run.
    pub(crate) fn text(&self) -> String {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .map(|event| event.text.clone() + "\n")
            .collect()
    }
}

impl World {
    pub(crate) fn new(lite: Lite) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut id = [0; 8];
        clock.random(&mut id);
        let folder = std::env::temp_dir().join(format!("dayfly-lambda-{}", model::id::hex(&id)));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = process::spawner::Config {
            program: std::env::current_exe().unwrap(),
            pool: 2,
            booted: 2,
            runtime_dir: folder.clone(),
            endpoint_port: 4566,
            host_ports: Vec::new(),
            tell_refused: false,
            trust: None,
            lite,
            keep: None,
        };
        let spawner = Spawner::launch(config, Arc::clone(&clock)).unwrap();
        let processes = processes(&spawner, &folder, Surroundings::of_this_process(), &clock);
        Self {
            spawner,
            processes,
            clock,
            folder,
            lite,
            clients: None,
        }
    }

    /// Ends its sandboxes and removes its folder.
    pub(crate) async fn end(&self) {
        self.spawner.shutdown().await;
        std::fs::remove_dir_all(&self.folder).unwrap();
    }

    /// The same for a user whose home this is, with programs in its `bin`.
    pub(crate) fn at_home(&self, home: &Path) -> Self {
        let surroundings = Surroundings {
            path: vec![home.join("bin")],
            home: Some(home.to_owned()),
            ..Surroundings::default()
        };
        let processes = processes(&self.spawner, &self.folder, surroundings, &self.clock);
        Self {
            processes,
            ..self.clone()
        }
    }

    /// A function of these files.
    pub(crate) fn function(
        &self,
        runtime: &str,
        handler: &str,
        files: &[(&str, &str)],
    ) -> Function {
        let mut id = [0; 8];
        self.clock.random(&mut id);
        let code = self.folder.join(model::id::hex(&id));
        for (name, text) in files {
            let path = code.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::create_dir_all(&code).unwrap();
        let runtime: Runtime = runtime.parse().unwrap();
        let config = FunctionConfig {
            runtime,
            handler: handler.to_owned(),
            description: String::new(),
            memory_mb: 128,
            timeout: Duration::from_secs(3),
            tmp_mb: 512,
            environment: BTreeMap::new(),
            code: model::Code::folder(model::Digest::from_bytes([0; 32]), 0),
            layers: Vec::new(),
            log_format: LogFormat::Text,
            log_level: LogLevel::Info,
            network: model::Network::PlatformOnly,
            inspect: false,
            declared: model::Declared::default(),
        };
        Function {
            world: self.clone(),
            config,
            code,
            layers: Vec::new(),
            init_timeout: Duration::from_secs(10),
            in_invocation: false,
            timeout: Duration::from_secs(20),
            log: Arc::default(),
        }
    }
}

fn processes(
    spawner: &Spawner,
    folder: &Path,
    surroundings: Surroundings,
    clock: &Arc<dyn Clock>,
) -> Arc<Processes> {
    let config = Config {
        spawner: spawner.clone(),
        kept: Vec::new(),
        cache: folder.join("cache"),
        endpoint: Arc::new(|_, stream| Box::pin(async move { drop(stream) })),
        endpoint_port: 4566,
        strict_runtimes: false,
        inspect: false,
        cloud: process::CloudHosts::Home,
        reach: process::Reach::Host,
        tmp_exec: false,
        surroundings,
        progress: Arc::new(|_| {}),
        clock: Arc::clone(clock),
    };
    Arc::new(Processes::new(config))
}

pub(crate) struct Function {
    world: World,
    pub(crate) config: FunctionConfig,
    pub(crate) code: PathBuf,
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) init_timeout: Duration,
    pub(crate) in_invocation: bool,
    pub(crate) timeout: Duration,
    pub(crate) log: Arc<Kept>,
}

impl Function {
    pub(crate) async fn start(&self) -> Started {
        self.world.processes.start(self.order()).await.unwrap()
    }

    /// A start without credentials and network.
    pub(crate) async fn trial(&self) -> Result<Started, StartError> {
        let order = StartOrder {
            credentials: None,
            ..self.order()
        };
        self.world.processes.start(order).await
    }

    fn order(&self) -> StartOrder {
        StartOrder {
            instance: model::InstanceId::from_random(self.world.clock.random_id()),
            function: function_id(),
            version: VersionId::Latest,
            config: Arc::new(self.config.clone()),
            code: self.code.clone(),
            layers: self.layers.clone(),
            init_timeout: self.init_timeout,
            in_invocation: self.in_invocation,
            credentials: Some(engine::keys::Credentials {
                access_key: "ASIAAAAAAAAAAAAAAAAA".into(),
                secret: engine::keys::Secret::new("secret"),
                token: "token".into(),
                expires_ms: u64::MAX,
            }),
            log_stream: "2026/01/01/[$LATEST]abc".into(),
            log: Arc::clone(&self.log) as Arc<dyn LogSink>,
        }
    }

    pub(crate) async fn instance(&self) -> Arc<dyn Instance> {
        match self.start().await {
            Started::Ready { instance, .. } => instance,
            other => panic!("{other:?}\n{}", self.log.text()),
        }
    }

    /// Starts it and runs it once; what its caller sees.
    pub(crate) async fn outcome(&self, payload: &str) -> String {
        let call = self.call(payload);
        let id = call.id.clone();
        let execution = match self.start().await {
            Started::Ready { instance, .. } => {
                let execution = instance.invoke(call).await;
                instance.stop().await;
                execution
            }
            Started::Failed { failed, .. } | Started::TimedOut { failed } => failed.outcome(&call),
        };
        shown(&execution).replace(id.as_str(), "ID")
    }

    pub(crate) fn call(&self, payload: &str) -> Call {
        Call {
            id: InvocationId::from_random(self.world.clock.random_id()),
            target: function_id().unqualified(),
            version: VersionId::Latest,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            timeout: self.timeout,
            deadline_ms: self.world.clock.now_ms() + 3000,
            trace: None,
            client_context: None,
            tail: true,
            sink: None,
            waited: Waited::default(),
        }
    }
}

pub(crate) fn shown(execution: &Execution) -> String {
    let payload = String::from_utf8_lossy(&execution.outcome.payload).into_owned();
    format!("{} {payload}", execution.outcome.end.as_str())
}

fn function_id() -> model::FunctionId {
    model::FunctionId {
        account: "000000000000".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
        name: "greet".parse().unwrap(),
    }
}
