//! The Lambda API as boto3 sees it, one script for each part of the contract.

use std::process::Command;

use crate::clients::{boto3, said, tool};
use crate::project::Project;
use crate::test_node::{TestNode, cache};

const COMMON: &str = include_str!("contract/common.py");

/// Runs a script against a node without functions.
fn check(script: &str) {
    let project = Project::new(&[("seed/app.py", "def handler(event, context): pass")]);
    let node = TestNode::with(&project);
    boto3(&node, &format!("{COMMON}\n{script}"));
}

#[test]
fn functions_are_made_changed_and_removed() {
    check(include_str!("contract/functions.py"));
}

#[test]
fn code_can_be_had_again() {
    let project = Project::new(&[
        ("seed/app.py", "def handler(event, context): pass"),
        ("tools/app.py", TOOLS),
        ("tools/run.sh", "#!/bin/sh\necho ran\n"),
        ("tools/größe.json", "{\"n\": 1}"),
        ("tools/bin/none", ""),
    ]);
    let folder = project.path().join("tools");
    let program = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join("run.sh"), program).expect("a program");
    std::os::unix::fs::symlink("../run.sh", folder.join("bin/start")).expect("a link");
    let node = TestNode::with(&project);
    let script = include_str!("contract/code.py");
    boto3(&node, &format!("{COMMON}\n{script}"));
}

const TOOLS: &str = "
import subprocess
def handler(event, context):
    return subprocess.run(['/var/task/bin/start'], capture_output=True, text=True).stdout.strip()
";

#[test]
fn versions_stay_and_aliases_lead_to_them() {
    check(include_str!("contract/versions.py"));
}

#[test]
fn layers_and_functions_are_shared() {
    check(include_str!("contract/sharing.py"));
}

#[test]
fn bad_input_is_refused_in_the_services_words() {
    check(include_str!("contract/refusals.py"));
}

#[test]
fn what_is_not_there_is_told_in_the_services_words() {
    check(include_str!("contract/misses.py"));
}

#[test]
fn logs_are_put_read_and_filtered() {
    check(include_str!("contract/logs.py"));
}

#[test]
fn requests_with_anything_in_them_are_answered_or_refused() {
    check(include_str!("contract/fuzz.py"));
}

#[test]
fn functions_and_aliases_have_urls() {
    check(include_str!("contract/urls.py"));
}

/// The script kills its daemons in the middle of calls, so it starts them itself.
#[test]
fn a_daemon_that_is_killed_in_a_call_did_all_of_it_or_nothing() {
    let project = Project::new(&[("seed/app.py", "def handler(event, context): pass")]);
    let mut python = Command::new(tool("DAYFLY_TEST_PYTHON"));
    python
        .args(["-c", include_str!("contract/killed.py")])
        .env("DAYFLY_PROGRAM", env!("CARGO_BIN_EXE_dayfly"))
        .env("DAYFLY_FOLDER", project.path())
        .env("DAYFLY_CACHE", cache())
        .env("AWS_ACCESS_KEY_ID", "000000000000")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_DEFAULT_REGION", "us-east-1");
    said(&mut python);
}
