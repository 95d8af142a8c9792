//! What a jail is ordered with for a Lambda function: program, paths, limits.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use engine::port::StartOrder;
use model::limit::{MEMORY_MB_MAX, MEMORY_MB_PER_CPU, OPEN_FILES_MAX, PROCESSES_MAX};
use model::{FunctionConfig, Network};

use super::environment::{self, Environment, RUNTIME_DIR, TASK_ROOT};
use crate::interpreter::{Interpreter, Language};
use crate::sdk::Brought;
use crate::spawner::{Bind, Boot, Companion, Limits, Order};

/// The launcher for Node, as it runs.
pub(crate) const NODE_LAUNCHER: &[u8] = include_bytes!("../../../launchers/node/launcher.cjs");
/// The launcher for Python, which each interpreter compiles for itself.
pub(crate) const PYTHON_LAUNCHER: &[u8] = include_bytes!("../../../launchers/python/launcher.py");

/// Where the SDK is that Lambda's runtime brings, as far as it is shared, inside.
const SDK: &str = "/var/lang/sdk";
/// Tells a launcher so.
const SDK_VARIABLE: &str = "_DAYFLY_SDK";
/// Where the packages are that a function on Node names: where NODE_PATH leads, and where `import`
/// finds them, which knows no path but that of folders above.
const NODE_SET: [&str; 2] = ["/var/runtime/node_modules", "/var/node_modules"];
/// What `import` finds last; those that are shared, where they hide nothing.
const NODE_LAST: &str = "/node_modules";
/// Tells Node's launcher that `import` finds nothing there.
const NODE_HOOKS_VARIABLE: &str = "_DAYFLY_SDK_HOOKS";
/// Where extensions are, inside.
const EXTENSIONS: &str = "/opt/extensions";
/// Where the interpreters are, inside.
const LANGUAGE_BIN: &str = "/var/lang/bin";
/// Where Node's debugger listens, inside.
pub(crate) const NODE_INSPECT_PORT: u16 = 9229;
/// Where Python's debugger listens, inside.
pub(crate) const PYTHON_INSPECT_PORT: u16 = 5678;
/// Connections that debuggers may have to one instance at once.
const DIALERS: u8 = 16;
/// Subscriptions of extensions to telemetry at once, each with a connection of its own: two
/// interfaces for as many extensions as there may be.
pub(crate) const TELEMETRY_DIALERS: u8 = 20;
/// Share of the processors that an interpreter gets which is started ahead: whatever else runs goes
/// first.
const BOOT_CPU_WEIGHT_MILLIS: u32 = 50;
/// What it may write to `/tmp` until then, in bytes; nothing does.
const BOOT_TMP_BYTES: u64 = 1 << 20;
/// Share of the memory that Node's heap may take, in percent: the rest is for what is not heap.
const NODE_HEAP_PERCENT: u32 = 90;

/// Names the program that starts a managed runtime in the platform's place; `provided` runtimes
/// do as they like with it.
const EXEC_WRAPPER: &str = "AWS_LAMBDA_EXEC_WRAPPER";
/// Hands over to a wrapper, given with the command that it is to start, as Lambda does.
const WRAP: &str = r#"wrapper=$1
if [ ! -f "$wrapper" ]; then echo "$wrapper: does not exist"; exit 127; fi
if [ ! -x "$wrapper" ]; then echo "$wrapper: is not an executable"; exit 126; fi
exec "$@""#;

/// What runs in the jail.
#[derive(Debug, Clone)]
pub(crate) enum Program {
    /// A launcher of ours.
    Launcher {
        /// On this.
        interpreter: Interpreter,
        /// The Python launcher, compiled; Node's needs no compiling.
        compiled: Bytes,
        /// At which port of this host a debugger attaches, where one is listened for.
        inspect: Option<u16>,
        /// What Lambda's runtime brings besides.
        sdk: Brought,
    },
    /// The function's own program, by its path inside.
    Bootstrap(PathBuf),
}

/// What holds for the functions of a whole platform.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Whether what a function writes to `/tmp` can be executed.
    pub(crate) tmp_exec: bool,
    /// Whether a function may have an outside network.
    pub(crate) outside: bool,
    /// Whether it has a root of its own.
    pub(crate) has_root: bool,
}

/// Tells a launcher that it runs before it is known for whom, and so not in the function's folder.
const BOOTED_VARIABLE: &str = "_DAYFLY_BOOTED";

/// What a launcher that runs already is told beside what it was started with.
pub(crate) fn untold(
    order: &Order,
    boot: &Boot,
    own: &[(String, String)],
) -> Vec<(String, String)> {
    let untold = order.env.iter().filter(|entry| !boot.env.contains(entry));
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    let untold = untold.map(|(name, value)| (text(name), text(value)));
    untold.chain(own.iter().cloned()).collect()
}

/// The order for an instance.
pub(crate) fn order(
    start: &StartOrder,
    program: &Program,
    environment: &Environment,
    extensions: &[String],
    rules: Rules,
) -> Order {
    let config = &start.config;
    let mut order = Order {
        argv: Vec::new(),
        env: Vec::new(),
        cwd: PathBuf::from(TASK_ROOT),
        binds: Vec::new(),
        overlays: Vec::new(),
        links: Vec::new(),
        files: Vec::new(),
        companions: companions(start, environment, extensions),
        limits: limits(config, rules),
        outside_network: config.network == Network::Outside && rules.outside && !start.is_trial(),
        control: matches!(program, Program::Launcher { .. }),
        dialers: if extensions.is_empty() {
            0
        } else {
            TELEMETRY_DIALERS
        },
        boot: None,
    };
    if !start.layers.is_empty() {
        order
            .overlays
            .push((PathBuf::from("/opt"), start.layers.clone()));
    }
    let mut variables = environment.fixed.clone();
    match program {
        Program::Bootstrap(path) => {
            order.argv.push(path.into());
            variables.extend(environment.own.iter().cloned());
        }
        Program::Launcher {
            interpreter,
            compiled,
            inspect,
            sdk,
        } => {
            // What depends on the function comes after what may be there before it.
            place(&mut order, interpreter, start);
            let mut shared = Vec::new();
            show_shared_sdk(&mut order, sdk, interpreter.language, rules, &mut shared);
            variables.extend(shared.iter().cloned());
            show_sdk_to_others(sdk, interpreter.language, start, &mut variables);
            let arguments = match interpreter.language {
                Language::Python(_) => python(&mut order, compiled, *inspect, &mut variables),
                Language::Node(_) => {
                    let mut arguments = node(&mut order, config, inspect.is_some());
                    if environment.openssl_ca {
                        arguments.insert(0, "--use-openssl-ca".to_owned());
                    }
                    arguments
                }
            };
            order.argv.extend(arguments.into_iter().map(Into::into));
            if can_start_ahead(start, extensions, *inspect, rules) {
                let mut common = environment.common.clone();
                common.extend(shared);
                common.push((BOOTED_VARIABLE.to_owned(), "1".to_owned()));
                show_sdk_to_others(sdk, interpreter.language, start, &mut common);
                order.boot = Some(Arc::new(boot(&order, common)));
            }
            show_own_sdk(&mut order, sdk, interpreter.language);
            if let Some(wrapper) = config.environment.get(EXEC_WRAPPER) {
                wrap(&mut order, wrapper);
            }
            order.dialers += if inspect.is_some() { DIALERS } else { 0 };
        }
    }
    order.binds.push(Bind {
        source: start.code.clone(),
        target: PathBuf::from(TASK_ROOT),
    });
    order.env = os_strings(variables);
    order
}

/// What of an order can be there ahead: the program and the files that it sees so far.
fn boot(order: &Order, common: Vec<(String, String)>) -> Boot {
    let limits = Limits {
        memory_bytes: u64::from(MEMORY_MB_MAX) * 1024 * 1024,
        cpu_weight_millis: BOOT_CPU_WEIGHT_MILLIS,
        tmp_bytes: BOOT_TMP_BYTES,
        ..order.limits.clone()
    };
    Boot::of(order, os_strings(common), limits)
}

/// Whether an instance's interpreter is one that could have been started before it was known whose
/// it would be.
fn can_start_ahead(
    start: &StartOrder,
    extensions: &[String],
    inspect: Option<u16>,
    rules: Rules,
) -> bool {
    rules.has_root
        && extensions.is_empty()
        && inspect.is_none()
        && environment::can_be_told(&start.config)
}

fn os_strings(variables: Vec<(String, String)>) -> Vec<(OsString, OsString)> {
    let variables = variables.into_iter();
    variables
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// Extensions run beside the runtime, and know what every program of the function may know.
fn companions(
    start: &StartOrder,
    environment: &Environment,
    extensions: &[String],
) -> Vec<Companion> {
    let variables = environment.of_extensions(&start.config);
    let env: Vec<_> = variables
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let companion = |name: &String| Companion {
        argv: vec![Path::new(EXTENSIONS).join(name).into()],
        env: env.clone(),
        cwd: PathBuf::from("/"),
    };
    extensions.iter().map(companion).collect()
}

/// Shows what of the vendor's runtime was fetched for the function.
fn show_own_sdk(order: &mut Order, sdk: &Brought, language: Language) {
    let is_node = matches!(language, Language::Node(_));
    let Some(set) = sdk.set.as_ref().filter(|_| is_node) else {
        return;
    };
    order.binds.extend(NODE_SET.map(|target| Bind {
        source: set.clone(),
        target: PathBuf::from(target),
    }));
}

/// Shows what of it is shared, to everybody: no more can be shown once a sandbox runs.
fn show_shared_sdk(
    order: &mut Order,
    sdk: &Brought,
    language: Language,
    rules: Rules,
    variables: &mut Vec<(String, String)>,
) {
    let is_node = matches!(language, Language::Node(_));
    let Some(shared) = &sdk.shared else { return };
    order.binds.push(Bind {
        source: shared.clone(),
        target: PathBuf::from(SDK),
    });
    variables.push((SDK_VARIABLE.to_owned(), SDK.to_owned()));
    if is_node && sdk.at_root && rules.has_root {
        let packages = Path::new(SDK).join("node_modules");
        order.links.push((PathBuf::from(NODE_LAST), packages));
    } else if is_node {
        variables.push((NODE_HOOKS_VARIABLE.to_owned(), "1".to_owned()));
    }
}

/// Lets programs and threads that the function starts find what has been fetched, which cannot ask
/// for it: by the path where Lambda's runtimes have it, unless the function has one of its own. The
/// launchers look there last.
fn show_sdk_to_others(
    sdk: &Brought,
    language: Language,
    start: &StartOrder,
    variables: &mut [(String, String)],
) {
    let (name, folder) = match language {
        Language::Python(_) => ("PYTHONPATH", "packages"),
        Language::Node(_) => ("NODE_PATH", "node_modules"),
    };
    if sdk.shared.is_none() || start.config.environment.contains_key(name) {
        return;
    }
    for (_, path) in variables.iter_mut().filter(|(known, _)| known == name) {
        *path = format!("{path}:{SDK}/{folder}");
    }
}

/// Has the program started by another, where one is named.
fn wrap(order: &mut Order, wrapper: &str) {
    if !wrapper.is_empty() {
        let shell = ["/bin/sh", "-c", WRAP, "sh", wrapper];
        order.argv.splice(0..0, shell.map(Into::into));
    }
}

fn limits(config: &FunctionConfig, rules: Rules) -> Limits {
    let mb = |mb: u32| u64::from(mb) * 1024 * 1024;
    Limits {
        memory_bytes: mb(config.memory_mb),
        cpu_weight_millis: (config.memory_mb * 1000 / MEMORY_MB_PER_CPU).max(1),
        processes: u32::try_from(PROCESSES_MAX).unwrap_or(u32::MAX),
        open_files: u32::try_from(OPEN_FILES_MAX).unwrap_or(u32::MAX),
        tmp_bytes: mb(config.tmp_mb),
        tmp_exec: rules.tmp_exec,
    }
}

/// Makes the interpreter seen at its own path, and under the names that Lambda gives it.
fn place(order: &mut Order, interpreter: &Interpreter, start: &StartOrder) {
    order
        .binds
        .extend(interpreter.needs.iter().map(|need| Bind {
            source: need.clone(),
            target: need.clone(),
        }));
    let names = match interpreter.language {
        Language::Python(minor) => {
            let mut names = vec![
                "python".to_owned(),
                "python3".to_owned(),
                format!("python3.{minor}"),
            ];
            // Scripts in the package may name the version that was asked for.
            if let Some(Language::Python(wanted)) = Language::of(start.config.runtime)
                && wanted != minor
            {
                names.push(format!("python3.{wanted}"));
            }
            names
        }
        Language::Node(_) => vec!["node".to_owned()],
    };
    let bin = Path::new(LANGUAGE_BIN);
    order.links.extend(
        names
            .iter()
            .map(|name| (bin.join(name), interpreter.executable.clone())),
    );
    if let Some(name) = names.last() {
        order.argv.push(bin.join(name).into());
    }
}

fn python(
    order: &mut Order,
    compiled: &Bytes,
    inspect: Option<u16>,
    variables: &mut Vec<(String, String)>,
) -> Vec<String> {
    let launcher = Path::new(RUNTIME_DIR).join("bootstrap.pyc");
    order.files.push((launcher.clone(), compiled.to_vec()));
    if let Some(port) = inspect {
        let ports = [
            ("_DAYFLY_INSPECT_PORT", PYTHON_INSPECT_PORT),
            // Told by the launcher, which knows whether there is anything to attach to.
            ("_DAYFLY_INSPECT_AT", port),
        ];
        variables.extend(ports.map(|(name, port)| (name.to_owned(), port.to_string())));
    }
    // The host's own packages are none of the function's: neither `site` nor a user's folder.
    // Unbuffered, so that what was printed is there however the process ends.
    vec![
        "-S".to_owned(),
        "-s".to_owned(),
        "-u".to_owned(),
        launcher.display().to_string(),
    ]
}

fn node(order: &mut Order, config: &FunctionConfig, inspect: bool) -> Vec<String> {
    let launcher = Path::new(RUNTIME_DIR).join("index.cjs");
    order.files.push((launcher.clone(), NODE_LAUNCHER.to_vec()));
    // Loaded ahead, to have loaded something.
    let first = Path::new(RUNTIME_DIR).join("first.mjs");
    order.files.push((first, b"export {};\n".to_vec()));
    let heap_mb = config.memory_mb * NODE_HEAP_PERCENT / 100;
    let mut arguments = vec![format!("--max-old-space-size={heap_mb}")];
    if inspect {
        arguments.push(format!("--inspect=127.0.0.1:{NODE_INSPECT_PORT}"));
    }
    arguments.push(launcher.display().to_string());
    arguments
}
