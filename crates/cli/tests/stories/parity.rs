//! The table of what is as in AWS (docs/parity.md): made of what a node answers when it is asked for
//! everything that the public models of the services know.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use crate::clients::boto3_says;
use crate::project::Project;
use crate::test_node::TestNode;

/// What the script found out.
#[derive(Debug, Deserialize)]
struct Found {
    /// Recorded answers that are given.
    answers: Vec<String>,
    /// Whether functions run on each runtime.
    runtimes: BTreeMap<String, bool>,
    /// By service and operation: whether it is served, and the method of boto3.
    operations: BTreeMap<String, BTreeMap<String, (bool, String)>>,
}

const HEAD: &str = "# What is as in AWS

Made by `UPDATE_EXPECT=1 cargo test -p cli --test stories parity`, and held against what is so by every run of
the tests. [differences.md](differences.md) tells what a function may notice.

";

/// Where the stories of the contract are.
const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stories");

/// Operations on what cannot be made here yet: each answers as the service does of what is not
/// there.
const OF_NOTHING: [&str; 12] = [
    "DeleteCodeSigningConfig",
    "DeleteEventSourceMapping",
    "DeleteProvisionedConcurrencyConfig",
    "GetCodeSigningConfig",
    "GetEventSourceMapping",
    "GetProvisionedConcurrencyConfig",
    "ListCodeSigningConfigs",
    "ListEventSourceMappings",
    "ListFunctionsByCodeSigningConfig",
    "PutFunctionCodeSigningConfig",
    "UpdateCodeSigningConfig",
    "UpdateEventSourceMapping",
];

impl Found {
    fn table(&self) -> String {
        let mut text = HEAD.to_owned();
        text += "## Answers\n\nRecorded from the service and given here, tried through boto3:\n\n";
        for answer in &self.answers {
            let _ = writeln!(text, "- {answer}");
        }
        text += "\n## Runtimes\n\nFunctions run on the interpreter that is named where the host has it, else on \
                 the nearest, with a warning.\n\n| runtime | state |\n|---|---|\n";
        for (runtime, runs) in &self.runtimes {
            let state = if *runs { "runs" } else { "refused by name" };
            let _ = writeln!(text, "| `{runtime}` | {state} |");
        }
        for (service, operations) in &self.operations {
            let served = operations
                .iter()
                .filter(|(name, (served, _))| *served && !OF_NOTHING.contains(&name.as_str()));
            let served = served.count();
            let title = match service.as_str() {
                "lambda" => "Lambda",
                "logs" => "CloudWatch Logs",
                "sts" => "STS",
                other => other,
            };
            let all = operations.len();
            let _ = writeln!(text, "\n## {title}\n\n{served} of {all} operations.\n");
            if operations
                .keys()
                .any(|name| OF_NOTHING.contains(&name.as_str()))
            {
                text += "Those that find none are about what cannot be made here yet.\n\n";
            }
            text += "| operation | state | stories |\n|---|---|---|\n";
            for (name, (_, method)) in operations.iter().filter(|(_, (served, _))| *served) {
                let state = if OF_NOTHING.contains(&name.as_str()) {
                    "finds none"
                } else {
                    "served"
                };
                let _ = writeln!(text, "| {name} | {state} | {} |", stories(method, name));
            }
            let unserved = operations.iter().filter(|(_, (served, _))| !served);
            let names: Vec<_> = unserved.map(|(name, _)| name.as_str()).collect();
            if !names.is_empty() {
                let _ = writeln!(text, "\nRefused by name: {}.", names.join(", "));
            }
        }
        text
    }
}

/// The stories that call an operation: by boto3's method, by the CLI's command, or by its name.
fn stories(method: &str, name: &str) -> String {
    let called = [
        format!("{method}("),
        format!("{method},"),
        format!("{method})"),
    ];
    let command = format!("\"{}\"", method.replace('_', "-"));
    let mut found: Vec<String> = Vec::new();
    for folder in [STORIES.to_owned(), format!("{STORIES}/contract")] {
        for entry in std::fs::read_dir(folder).expect("the stories") {
            let path = entry.expect("a story").path();
            let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else {
                continue;
            };
            if path.is_dir() || stem == "parity" && path.extension().is_some_and(|it| it == "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a story's text");
            let calls = called.iter().any(|call| text.contains(call.as_str()));
            if calls || text.contains(&command) || text.contains(&format!("\"{name}\"")) {
                found.push(stem.to_owned());
            }
        }
    }
    found.sort();
    found.dedup();
    found.join(", ")
}

#[test]
fn the_parity_table_tells_what_is_so() {
    let project = Project::new(&[("seed/app.py", "def handler(event, context): pass")]);
    let node = TestNode::with(&project);
    let script = concat!(
        include_str!("contract/common.py"),
        "\n",
        include_str!("contract/parity.py")
    );
    let found: Found = serde_json::from_str(&boto3_says(&node, script)).expect("what was found");
    let table = found.table();
    let untold: Vec<_> = (table.lines())
        .filter(|line| line.starts_with("| ") && line.ends_with("|  |"))
        .collect();
    assert!(untold.is_empty(), "no story calls these: {untold:#?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/parity.md");
    expect_test::expect_file![root].assert_eq(&table);
}
