//! The environment that a function's process starts with: every variable that Lambda defines,
//! made from nothing, so that nothing of the host's environment comes through.

use engine::keys::Credentials;
use engine::port::StartOrder;
use model::{FunctionConfig, LogFormat, Runtime};

/// Where the Runtime API listens, inside.
pub(crate) const RUNTIME_API: &str = "127.0.0.1:9001";
/// Where the code is, inside.
pub(crate) const TASK_ROOT: &str = "/var/task";
/// Where the launchers are, inside.
pub(crate) const RUNTIME_DIR: &str = "/var/runtime";

const LIBRARY_PATH: &str = "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib";
const PATH: &str = "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin";
const XRAY_HOST: &str = "169.254.79.129";

/// What only the runtime knows, as Lambda documents it.
const OF_THE_RUNTIME: [&str; 11] = [
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "PWD",
    "_AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_PORT",
    "_HANDLER",
];
/// What a runtime sets for itself, unless the author has.
const OF_THE_LANGUAGE: [&str; 2] = ["NODE_PATH", "PYTHONPATH"];

/// Variables of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// What the process is started with.
    pub(crate) fixed: Vec<(String, String)>,
    /// What is the instance's alone: a launcher learns it with its function, so that a process
    /// can be started before it is known whose it will be.
    pub(crate) own: Vec<(String, String)>,
}

impl Environment {
    /// What an extension of its function starts with.
    pub(crate) fn of_extensions(
        &self,
        config: &FunctionConfig,
    ) -> impl Iterator<Item = (String, String)> {
        let hidden = |name: &str| {
            OF_THE_RUNTIME.contains(&name)
                || OF_THE_LANGUAGE.contains(&name) && !config.environment.contains_key(name)
        };
        let all = self.fixed.iter().chain(&self.own);
        all.filter(move |(name, _)| !hidden(name)).cloned()
    }

    /// What differs without a jail: `/tmp` is elsewhere, and so are the layers. Their places are
    /// filled in where they are known.
    pub(crate) fn without_jail(&mut self, runtime: Runtime) {
        if !self.fixed.iter().any(|(name, _)| name == "TMPDIR") {
            set(&mut self.fixed, "TMPDIR", "/tmp".to_owned());
        }
        if let Runtime::Python { .. } = runtime {
            set(&mut self.fixed, "_DAYFLY_LAYERS", "/opt".to_owned());
        }
    }
}

/// The environment of an instance. `endpoint` is the platform's own, as seen inside.
pub(crate) fn variables(order: &StartOrder, endpoint: &str) -> Environment {
    let config = &order.config;
    let name = order.function.name.as_str();
    let region = order.function.region.as_str();
    let mut fixed = defaults(config.runtime, endpoint);
    // The author's own come before the platform's defaults and behind what it reserves.
    for (name, value) in &config.environment {
        set(&mut fixed, name, value.clone());
    }
    let mut reserve = |name: &str, value: String| set(&mut fixed, name, value);
    reserve("AWS_REGION", region.to_owned());
    reserve("AWS_DEFAULT_REGION", region.to_owned());
    if !config.runtime.is_provided() {
        reserve(
            "AWS_EXECUTION_ENV",
            format!("AWS_Lambda_{}", config.runtime),
        );
    }
    reserve("AWS_LAMBDA_FUNCTION_NAME", name.to_owned());
    reserve("AWS_LAMBDA_FUNCTION_VERSION", order.version.to_string());
    reserve(
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        config.memory_mb.to_string(),
    );
    reserve("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned());
    let declared = config.declared.log_group.as_deref();
    reserve(
        "AWS_LAMBDA_LOG_GROUP_NAME",
        model::log::group_name(&order.function.name, declared).to_string(),
    );
    reserve("AWS_LAMBDA_RUNTIME_API", RUNTIME_API.to_owned());
    reserve("LAMBDA_RUNTIME_DIR", RUNTIME_DIR.to_owned());
    reserve("LAMBDA_TASK_ROOT", TASK_ROOT.to_owned());
    reserve("_HANDLER", config.handler.clone());
    if config.log_format == LogFormat::Json {
        reserve("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned());
        reserve("AWS_LAMBDA_LOG_LEVEL", config.log_level.as_str().to_owned());
    }
    let given = order.credentials.as_ref();
    let mut own = given.map(credentials).unwrap_or_default();
    let stream = order.log_stream.to_string();
    own.push(("AWS_LAMBDA_LOG_STREAM_NAME".to_owned(), stream));
    Environment { fixed, own }
}

/// What the author may override.
fn defaults(runtime: Runtime, endpoint: &str) -> Vec<(String, String)> {
    let mut defaults = vec![
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".to_owned()),
        ("AWS_XRAY_DAEMON_ADDRESS", format!("{XRAY_HOST}:2000")),
        ("_AWS_XRAY_DAEMON_ADDRESS", XRAY_HOST.to_owned()),
        ("_AWS_XRAY_DAEMON_PORT", "2000".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("LD_LIBRARY_PATH", LIBRARY_PATH.to_owned()),
        ("PATH", PATH.to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("PWD", TASK_ROOT.to_owned()),
    ];
    match runtime {
        Runtime::Python { .. } => defaults.push(("PYTHONPATH", RUNTIME_DIR.to_owned())),
        Runtime::Node { major } => {
            let modules = format!(
                "/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:\
                 /var/runtime/node_modules:/var/runtime:/var/task"
            );
            defaults.push(("NODE_PATH", modules));
        }
        Runtime::ProvidedAl2 | Runtime::ProvidedAl2023 => {}
    }
    defaults
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn set(variables: &mut Vec<(String, String)>, name: &str, value: String) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value,
        None => variables.push((name.to_owned(), value)),
    }
}

/// Credentials of the instance's own.
fn credentials(given: &Credentials) -> Vec<(String, String)> {
    let secret = given.secret.reveal();
    let variables = [
        ("AWS_ACCESS_KEY_ID", given.access_key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_SESSION_TOKEN", given.token.as_str()),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}
