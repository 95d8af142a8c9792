//! Builds in `dev`: one that takes long, or never ends, is nobody else's business.

use node::dev::Event;
use serde_json::json;

use crate::program::{gone, processes_with};
use crate::project::Project;
use crate::test_node::TestNode;

/// A build script that says that it has begun and never ends.
fn endless(marker: &str) -> String {
    manifest(&format!("echo began && : {marker} && sleep 1000"))
}

/// A build script that makes the code that is run.
fn swift() -> String {
    manifest("mkdir -p dist && cp index.js dist")
}

fn manifest(script: &str) -> String {
    json!({"scripts": {"build": script}}).to_string()
}

fn code(answer: &str) -> String {
    format!("exports.handler = async () => '{answer}';\n")
}

/// `slow`, with this package.json, and `quick`.
fn project(slow: &str) -> Project {
    Project::new(&[
        ("slow/package.json", slow),
        ("slow/index.js", &code("slow one")),
        ("quick/index.js", &code("quick one")),
    ])
}

/// Waits until the endless build goes on.
fn began(node: &TestNode, from: usize) {
    node.wait_from(from, |event| match event {
        Event::Building { function, line } => {
            (function.as_deref() == Some("slow") && line == "began").then_some(())
        }
        _ => None,
    });
}

fn deployed(node: &TestNode, name: &str, from: usize) {
    node.wait_from(from, |event| match event {
        Event::Deployed { function, .. } => (function == name).then_some(()),
        Event::Broken {
            function, error, ..
        } if function == name => panic!("{name}: {error}"),
        _ => None,
    });
}

fn answer(node: &TestNode, name: &str) -> String {
    node.invoke(name, "{}")["payload"].to_string()
}

#[test]
fn a_build_that_never_ends_holds_up_no_other_function() {
    let marker = "dayfly-story-endless-build";
    let project = project(&endless(marker));
    let node = TestNode::begin(project.path());
    began(&node, 0);
    deployed(&node, "quick", 0);
    assert_eq!(answer(&node, "quick"), r#""quick one""#);
    let from = node.events().len();
    project.write("quick/index.js", &code("quick two"));
    deployed(&node, "quick", from);
    assert_eq!(answer(&node, "quick"), r#""quick two""#);
    // The project is read again, and says the same of `slow`.
    let from = node.events().len();
    project.write("quick/.env", "GREETING=hello\n");
    deployed(&node, "quick", from);
    let begun = node
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::Building { line, .. } if line.as_str() == "began"));
    assert_eq!(begun.count(), 1, "it was not begun anew");
    assert!(!processes_with(marker).is_empty(), "it goes on");
    let ready = |event: &Event| matches!(event, Event::Ready { .. });
    assert!(!node.events().iter().any(ready));
    drop(node);
    gone(marker);
}

#[test]
fn a_change_of_its_source_ends_a_build_and_begins_another() {
    let marker = "dayfly-story-changed-build";
    let project = project(&endless(marker));
    let node = TestNode::begin(project.path());
    began(&node, 0);
    let from = node.events().len();
    project.write("slow/index.js", &code("slow two"));
    // Endless again, and again given up.
    began(&node, from);
    project.write("slow/package.json", &swift());
    deployed(&node, "slow", 0);
    gone(marker);
    assert_eq!(answer(&node, "slow"), r#""slow two""#);
    let ready = node.wait(|event| match event {
        Event::Ready { functions, .. } => Some(*functions),
        _ => None,
    });
    assert_eq!(ready, 2);
}

#[test]
fn a_function_that_goes_takes_its_build_with_it() {
    let marker = "dayfly-story-removed-build";
    let project = project(&swift());
    let node = TestNode::start(project.path(), true);
    assert_eq!(answer(&node, "slow"), r#""slow one""#);
    let from = node.events().len();
    project.write("slow/package.json", &endless(marker));
    began(&node, from);
    assert_eq!(answer(&node, "slow"), r#""slow one""#);
    std::fs::remove_dir_all(project.path().join("slow")).expect("it goes");
    node.wait_from(from, |event| match event {
        Event::Removed { function } => (function == "slow").then_some(()),
        _ => None,
    });
    gone(marker);
    assert_eq!(answer(&node, "quick"), r#""quick one""#);
}

#[test]
fn code_that_cannot_start_is_told_of_at_the_deployment() {
    const GOOD: &str = "def handler(event, context): return 1\n";
    let broken = format!("import nowhere\n{GOOD}");
    let template = r#"
Resources:
  lost:
    Type: AWS::Serverless::Function
    Properties: { CodeUri: lost, Handler: app.handel, Runtime: python3.12 }
  good:
    Type: AWS::Serverless::Function
    Properties: { CodeUri: good, Handler: app.handler, Runtime: python3.12 }
"#;
    let project = Project::new(&[
        ("template.yaml", template),
        ("lost/app.py", GOOD),
        ("good/app.py", GOOD),
    ]);
    let node = TestNode::start(project.path(), true);
    let warned = |from| {
        node.wait_from(from, |event| match event {
            Event::Warning { function, text } => {
                let of = function.as_deref()?;
                let flaw = text.strip_prefix("it cannot start: ")?;
                Some(format!("{of}: {flaw}"))
            }
            _ => None,
        })
    };
    let text = warned(0);
    assert!(
        text.starts_with("lost: Runtime.HandlerNotFound: "),
        "{text}"
    );
    let from = node.events().len();
    project.write("good/app.py", &broken);
    let text = warned(from);
    assert!(
        text.starts_with("good: Runtime.ImportModuleError: "),
        "{text}"
    );
}
