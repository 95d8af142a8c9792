//! The environment that a function's process starts with: every variable that Lambda defines,
//! made from nothing, so that nothing of the host's environment comes through.

use std::path::Path;

use engine::keys::Credentials;
use engine::port::StartOrder;
use model::{FunctionConfig, LogFormat, Runtime};

use crate::resolver::CloudHosts;

/// Where the certificates are that programs are to trust, inside: the platform's own with the
/// host's, and the platform's alone.
pub(crate) const CA_BUNDLE: &str = "/etc/dayfly/ca-bundle.pem";
pub(crate) const CA: &str = "/etc/dayfly/ca.pem";
/// Names Node.js certificates to trust beside those that it brings.
const NODE_CERTIFICATES: &str = "NODE_EXTRA_CA_CERTS";

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

/// What an instance is to know of the platform around it.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    /// Where the platform answers, as seen inside.
    pub(crate) endpoint: String,
    /// Which hosts of the cloud's do so too, as far as this instance is concerned.
    pub(crate) cloud: CloudHosts,
    /// Whose certificates are there.
    pub(crate) trusted: Trusted,
}

/// Whose certificates programs in a jail are to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trusted {
    /// Whomever they do anyway.
    Nothing,
    /// The platform beside whomever they do anyway.
    Own,
    /// The platform and everybody whom the host trusts.
    All,
}

impl Trusted {
    /// By what is in the folder that jails get them from.
    pub(crate) fn of(folder: Option<&Path>) -> Self {
        match folder {
            None => Self::Nothing,
            Some(folder) if folder.join("ca-bundle.pem").is_file() => Self::All,
            Some(_) => Self::Own,
        }
    }

    /// Where programs look for them: one adds to those it has, the others replace them.
    fn variables(self) -> impl Iterator<Item = (&'static str, String)> {
        let added = (self != Self::Nothing).then_some((NODE_CERTIFICATES, CA));
        let replaced = ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"];
        let replaced = replaced.map(|name| (name, CA_BUNDLE));
        let replaced = replaced.into_iter().filter(move |_| self == Self::All);
        let all = added.into_iter().chain(replaced);
        all.map(|(name, path)| (name, path.to_owned()))
    }
}

/// Whether Node.js can be told by an option to trust what OpenSSL does, which it reads when it
/// first needs it. The variable has it read all that it brings at its start, which takes nearly as
/// long as the start. Authors who have a say in it keep it.
fn is_optional(config: &FunctionConfig, trusted: Trusted) -> bool {
    let says = |name: &str| config.environment.contains_key(name);
    let options = config.environment.get("NODE_OPTIONS");
    matches!(config.runtime, Runtime::Node { .. })
        && trusted == Trusted::All
        && !["SSL_CERT_FILE", "SSL_CERT_DIR", NODE_CERTIFICATES]
            .map(says)
            .contains(&true)
        && !options.is_some_and(|options| options.contains("-ca"))
}

/// Names the platform to SDKs: for every service, or for those that it has where others are to be
/// reached outside.
fn endpoints(around: &Around) -> Vec<(String, String)> {
    let (all, endpoint) = ("AWS_ENDPOINT_URL", &around.endpoint);
    match around.cloud {
        CloudHosts::Home => vec![(all.to_owned(), endpoint.clone())],
        CloudHosts::Of(services) => services
            .iter()
            .map(|service| (format!("{all}_{}", service.variable), endpoint.clone()))
            .collect(),
    }
}

/// Variables of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// What the process is started with.
    pub(crate) fixed: Vec<(String, String)>,
    /// What is the instance's alone: a launcher learns it with its function, so that a process
    /// can be started before it is known whose it will be.
    pub(crate) own: Vec<(String, String)>,
    /// What of `fixed` every function on this runtime has, if its author lets it be.
    pub(crate) common: Vec<(String, String)>,
    /// Whether Node.js is to trust what OpenSSL does.
    pub(crate) openssl_ca: bool,
}

/// Variables that a program, its C library or its loader looks at as it starts: what an author sets
/// of these can be told to no program that runs already.
const AT_START: [&str; 8] = [
    "AWS_LAMBDA_EXEC_WRAPPER",
    "AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA",
    "GCONV_PATH",
    "ICU_DATA",
    "LOCPATH",
    "NLSPATH",
    "TZ",
    "TZDIR",
];
/// How others of them begin.
const AT_START_PREFIXES: [&str; 11] = [
    "GLIBC_",
    "JEMALLOC_",
    "LANG",
    "LC_",
    "LD_",
    "MALLOC_",
    "NODE_",
    "OPENSSL_",
    "PYTHON",
    "SSL_CERT_",
    "UV_",
];
/// Of those that begin so, what only programs of authors look at.
const NOT_AT_START: [&str; 1] = ["NODE_ENV"];

/// Whether an author's variables can be told to a program that runs already.
pub(crate) fn can_be_told(config: &FunctionConfig) -> bool {
    let at_start = |name: &String| {
        let name = name.as_str();
        let begins = AT_START_PREFIXES.iter().any(|it| name.starts_with(it));
        AT_START.contains(&name) || begins && !NOT_AT_START.contains(&name)
    };
    !config.environment.keys().any(at_start)
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

/// The environment of an instance.
pub(crate) fn variables(order: &StartOrder, around: &Around) -> Environment {
    let config = &order.config;
    let name = order.function.name.as_str();
    let region = order.function.region.as_str();
    let mut fixed = defaults(config.runtime, around);
    let mut common = fixed.clone();
    // The author's own come before the platform's defaults and behind what it reserves.
    for (name, value) in &config.environment {
        set(&mut fixed, name, value.clone());
    }
    let mut reserve = |name: &str, value: String| set(&mut fixed, name, value);
    reserve("AWS_REGION", region.to_owned());
    reserve("AWS_DEFAULT_REGION", region.to_owned());
    reserve("AWS_LAMBDA_FUNCTION_NAME", name.to_owned());
    reserve("AWS_LAMBDA_FUNCTION_VERSION", order.version.to_string());
    reserve(
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        config.memory_mb.to_string(),
    );
    let declared = config.declared.log_group.as_deref();
    reserve(
        "AWS_LAMBDA_LOG_GROUP_NAME",
        model::log::group_name(&order.function.name, declared).to_string(),
    );
    reserve("_HANDLER", config.handler.clone());
    if config.log_format == LogFormat::Json {
        reserve("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned());
        reserve("AWS_LAMBDA_LOG_LEVEL", config.log_level.as_str().to_owned());
    }
    for (name, value) in of_runtime(config.runtime) {
        set(&mut fixed, name, value.clone());
        set(&mut common, name, value);
    }
    let given = order.credentials.as_ref();
    let mut own = given.map(credentials).unwrap_or_default();
    let stream = order.log_stream.to_string();
    own.push(("AWS_LAMBDA_LOG_STREAM_NAME".to_owned(), stream));
    let openssl_ca = is_optional(config, around.trusted);
    if openssl_ca {
        // For programs that it starts.
        own.extend(fixed.extract_if(.., |(name, _)| name == NODE_CERTIFICATES));
        common.retain(|(name, _)| name != NODE_CERTIFICATES);
    }
    Environment {
        fixed,
        own,
        common,
        openssl_ca,
    }
}

/// What is the same for every function on a runtime, and no author may override.
fn of_runtime(runtime: Runtime) -> impl Iterator<Item = (&'static str, String)> {
    let named =
        (!runtime.is_provided()).then(|| ("AWS_EXECUTION_ENV", format!("AWS_Lambda_{runtime}")));
    let constant = [
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_RUNTIME_API", RUNTIME_API),
        ("LAMBDA_RUNTIME_DIR", RUNTIME_DIR),
        ("LAMBDA_TASK_ROOT", TASK_ROOT),
    ];
    let constant = constant.map(|(name, value)| (name, value.to_owned()));
    named.into_iter().chain(constant)
}

/// What the author may override.
fn defaults(runtime: Runtime, around: &Around) -> Vec<(String, String)> {
    let mut defaults = vec![
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
    defaults.extend(around.trusted.variables());
    let named = defaults
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    endpoints(around).into_iter().chain(named).collect()
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
