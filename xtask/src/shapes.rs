//! `cargo xtask shapes`: the shapes of AWS's requests and answers, written out from the public
//! service models that botocore ships. It knows the models; what `compat` does with what is
//! written here it does not.

mod model;
mod name;
mod pattern;
mod write;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::test::{clients, host};
use crate::{run, tree};
use write::{Protocol, Service};

/// What `--help` says.
pub const HELP: &str = "\
Usage: cargo xtask shapes [--check]

  --check   Change nothing, and fail if a file is not what the models give

Writes the shapes of requests and answers under crates/compat/src/aws from the service models of
the botocore that xtask/test-tools.txt names, which is put into target/test-tools first.
";

/// Where the files are.
const HOME: &str = "crates/compat/src/aws";

/// Operations of Lambda that have no types: durable executions, capacity providers and resource
/// policies, which nothing here serves.
const UNTYPED: [&str; 4] = [
    "DurableExecution",
    "CapacityProvider",
    "FunctionScalingConfig",
    "ResourcePolicy",
];

/// Operations of CloudWatch Logs that have types.
const LOGS: [&str; 20] = [
    "CreateLogGroup",
    "DeleteLogGroup",
    "DescribeLogGroups",
    "CreateLogStream",
    "DeleteLogStream",
    "DescribeLogStreams",
    "PutLogEvents",
    "GetLogEvents",
    "FilterLogEvents",
    "PutRetentionPolicy",
    "DeleteRetentionPolicy",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
    "TagLogGroup",
    "UntagLogGroup",
    "ListTagsLogGroup",
    "DescribeMetricFilters",
    "DescribeSubscriptionFilters",
    "DescribeResourcePolicies",
];

/// Operations of STS that have types.
const STS: [&str; 3] = ["AssumeRole", "GetCallerIdentity", "GetSessionToken"];

const SERVICES: [Service; 3] = [
    Service {
        module: "lambda",
        model: "lambda/2015-03-31",
        typed: |name| !UNTYPED.iter().any(|part| name.contains(part)),
        protocol: Protocol::RestJson,
        // A runtime that is unknown is an invalid parameter there.
        unchecked: &[
            ("CreateFunctionRequest", "Runtime"),
            ("UpdateFunctionConfigurationRequest", "Runtime"),
        ],
    },
    Service {
        module: "logs",
        model: "logs/2014-03-28",
        typed: |name| LOGS.contains(&name),
        protocol: Protocol::Json,
        unchecked: &[],
    },
    Service {
        module: "sts",
        model: "sts/2011-06-15",
        typed: |name| STS.contains(&name),
        protocol: Protocol::Query,
        unchecked: &[],
    },
];

/// Writes the files, or looks whether they are current.
pub fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [word] if word == "--check" => true,
        _ => bail!("`shapes` takes only `--check`; `cargo xtask shapes --help` tells more"),
    };
    let clients = clients::ready(&host::check()?)?;
    let stale = stale(&clients.python)?;
    if !check {
        for (path, text) in &stale {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)
                    .with_context(|| format!("create {}", folder.display()))?;
            }
            fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
            println!("wrote {}", path.display());
        }
        return Ok(());
    }
    if let Some((path, _)) = stale.first() {
        bail!(
            "{} is not what the models give; run `cargo xtask shapes`",
            path.display()
        );
    }
    println!("shapes are current");
    Ok(())
}

/// The files that are not what the models of that Python's botocore give, each with what it
/// ought to be.
pub fn stale(python: &Path) -> Result<Vec<(PathBuf, String)>> {
    let version = ask(python, "print(botocore.__version__)", "")?;
    let mut stale = Vec::new();
    for service in &SERVICES {
        let text = ask(python, READ_MODEL, service.model)?;
        let model = serde_json::from_str(&text)
            .with_context(|| format!("read the model {}", service.model))?;
        for (path, text) in write::files(service, &model, &version)? {
            let path = tree::root().join(HOME).join(path);
            if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
                stale.push((path, text));
            }
        }
    }
    Ok(stale)
}

const READ_MODEL: &str = "
import gzip, os, sys
path = os.path.join(os.path.dirname(botocore.__file__), 'data', sys.argv[1], 'service-2.json.gz')
sys.stdout.buffer.write(gzip.open(path).read())
";

fn ask(python: &Path, script: &str, argument: &str) -> Result<String> {
    let script = format!("import botocore\n{script}");
    run::output(Command::new(python).args(["-c", &script, argument]))
        .with_context(|| format!("{} has no botocore with models", python.display()))
}
