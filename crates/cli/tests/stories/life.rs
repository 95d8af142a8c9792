//! A session's life: redeploys, restarts, and nothing left behind.

use node::dev::Event;

use crate::http::{get, request};
use crate::project::Project;
use crate::test_node::TestNode;

const SLOW: &str = "
import time
def handler(event, context):
    time.sleep(float((event.get('queryStringParameters') or {}).get('sleep', 0)))
    return 'old'
";

#[test]
fn a_saved_file_is_deployed_and_busy_instances_finish_on_the_old_code() {
    let project = Project::new(&[("slow/app.py", SLOW)]);
    let node = TestNode::start(project.path(), true);
    let url = node.url("slow");
    assert_eq!(get(&url).send().text(), "old");
    let before = node.events().len();
    let busy_url = format!("{url}?sleep=2");
    let busy = std::thread::spawn(move || get(&busy_url).send().text());
    // The busy request is known to have begun by its START line, the second of all: that of the
    // first may come later than its answer.
    let mut starts = 0;
    node.wait(|event| {
        starts += u32::from(
            matches!(event, Event::Log { text, .. } if text.starts_with("START RequestId")),
        );
        (starts == 2).then_some(())
    });
    project.write("slow/app.py", &SLOW.replace("'old'", "'new'"));
    node.wait_from(before, |event| {
        matches!(event, Event::Deployed { again: true, .. }).then_some(())
    });
    assert_eq!(get(&url).send().text(), "new");
    assert_eq!(busy.join().expect("an answer"), "old");
}

#[test]
fn a_function_that_is_removed_still_answers_what_it_was_asked() {
    let project = Project::new(&[("slow/app.py", SLOW)]);
    let node = TestNode::with(&project);
    let url = node.url("slow");
    let busy_url = format!("{url}?sleep=2");
    let busy = std::thread::spawn(move || get(&busy_url).send().text());
    node.wait(|event| {
        matches!(event, Event::Log { text, .. } if text.starts_with("START RequestId"))
            .then_some(())
    });
    let function = format!("{}/_dayfly/v1/functions/slow", node.origin);
    let removed = request("DELETE", &function).send();
    assert!((200..300).contains(&removed.status), "{}", removed.text());
    assert_eq!(busy.join().expect("an answer"), "old");
}

#[test]
fn a_broken_save_is_told_and_the_old_code_goes_on() {
    let project = Project::new(&[
        (
            "template.yaml",
            "Resources: {F: {Type: 'AWS::Serverless::Function', Properties: {FunctionName: f, CodeUri: f, Handler: app.handler, Runtime: python3.11, FunctionUrlConfig: {AuthType: NONE}}}}",
        ),
        ("f/app.py", "def handler(e, c): return 'old'\n"),
    ]);
    let node = TestNode::start(project.path(), true);
    let url = node.url("f");
    let before = node.events().len();
    project.write("template.yaml", "Resources: {F: {Type: ");
    node.wait_from(before, |event| match event {
        Event::Broken { .. } | Event::Warning { .. } => Some(()),
        _ => None,
    });
    assert_eq!(get(&url).send().text(), "old");
}

#[test]
fn functions_and_their_urls_are_there_again_after_a_restart() {
    let project = Project::new(&[("f/app.py", "def handler(e, c): return 'here'\n")]);
    let data = tempfile::tempdir().expect("a folder");
    let url = {
        let node = TestNode::start_in(project.path(), data.path(), false, |_| {});
        node.url("f")
    };
    let node = TestNode::start_in(project.path(), data.path(), false, |_| {});
    assert_eq!(node.url("f"), url);
    assert_eq!(get(&url).send().text(), "here");
}

#[test]
fn what_can_no_longer_be_built_is_served_as_it_was_after_a_restart() {
    let app = "export const handler = async () => 'old';\n";
    let project = Project::new(&[("f/index.mjs", app)]);
    let data = tempfile::tempdir().expect("a folder");
    let url = {
        let node = TestNode::start_in(project.path(), data.path(), false, |_| {});
        node.url("f")
    };
    project.write("f/package.json", "no JSON");
    let node = TestNode::start_in(project.path(), data.path(), false, |_| {});
    let told = node.wait(|event| match event {
        Event::Broken { url, .. } => Some(url.clone()),
        _ => None,
    });
    assert_eq!(told, Some(url.clone()));
    assert_eq!(get(&url).send().text(), "old");
    node.wait(|event| matches!(event, Event::Ready { functions: 1, .. }).then_some(()));
}

#[test]
fn a_session_removes_what_its_project_deployed_and_nothing_else() {
    let app = "def handler(e, c): return 'here'\n";
    let (one, two) = (
        Project::new(&[("a/app.py", app), ("b/app.py", app)]),
        Project::new(&[("c/app.py", app)]),
    );
    let data = tempfile::tempdir().expect("a folder");
    let names = |project: &Project| {
        let node = TestNode::start_in(project.path(), data.path(), false, |_| {});
        let list = get(&format!("{}/_dayfly/v1/functions", node.origin)).send();
        let list = list.json();
        let functions = list.as_array().expect("a list").iter();
        let names = functions.map(|function| function["name"].as_str().expect("a name").to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&one), ["a", "b"]);
    assert_eq!(names(&two), ["a", "b", "c"]);
    std::fs::remove_dir_all(one.path().join("b")).expect("a folder to remove");
    assert_eq!(names(&one), ["a", "c"]);
}

#[test]
fn a_function_that_is_half_written_goes_on_as_it_was() {
    let app = "def handler(e, c): return 'old'\n";
    let project = Project::new(&[("f/app.py", app), ("g/app.py", app)]);
    let node = TestNode::start(project.path(), true);
    let url = node.url("f");
    let before = node.events().len();
    project.write("f/app.py", "def hand");
    node.wait_from(before, |event| match event {
        Event::Warning { text, .. } if text.contains("left out") => Some(()),
        Event::Removed { function } => panic!("{function} was removed"),
        _ => None,
    });
    project.write("f/app.py", &app.replace("old", "new"));
    node.wait_from(before, |event| match event {
        Event::Deployed { function, .. } if function == "f" => Some(()),
        Event::Removed { function } => panic!("{function} was removed"),
        _ => None,
    });
    assert_eq!(get(&url).send().text(), "new");
}

#[test]
fn a_slow_build_holds_back_no_other_function() {
    let function = |id: &str| {
        format!(
            "  {id}:
    Type: AWS::Serverless::Function
    Metadata: {{BuildMethod: makefile}}
    Properties: {{CodeUri: {id}, Handler: app.handler, Runtime: python3.11, FunctionUrlConfig: {{AuthType: NONE}}}}
"
        )
    };
    let project = Project::new(&[(
        "template.yaml",
        &format!("Resources:\n{}{}", function("Slow"), function("Quick")),
    )]);
    // The first build goes on once the second has come to the same pipe.
    let gate = project.path().join("gate");
    let made = std::process::Command::new("mkfifo").arg(&gate).status();
    assert!(made.expect("mkfifo runs").success());
    let gate = gate.display();
    let app = "cp app.py $(ARTIFACTS_DIR)\n";
    for (id, way) in [("Slow", "<"), ("Quick", ">")] {
        project.write(
            &format!("{id}/app.py"),
            "def handler(e, c): return 'built'\n",
        );
        let makefile = format!("build-{id}:\n\tread line {way}{gate} || true\n\t{app}");
        project.write(&format!("{id}/Makefile"), &makefile);
    }
    let node = TestNode::start(project.path(), false);
    for id in ["Slow", "Quick"] {
        assert_eq!(get(&node.url(id)).send().text(), "built");
    }
}

#[test]
fn a_save_repeats_no_warning_and_no_build_of_another_function() {
    let app = "def handler(e, c): return 'old'\n";
    let project = Project::new(&[
        ("serverless.yml", ""),
        ("f/app.py", app),
        ("g/app.py", app),
        ("h/index.mjs", "export const handler = async () => 1;\n"),
        ("h/package.json", "no JSON"),
    ]);
    let node = TestNode::start(project.path(), true);
    let broken = |from: usize| {
        let events = node.events().split_off(from);
        let broken = events.into_iter().filter_map(|event| match event {
            Event::Broken { function, .. } => Some(function),
            Event::Warning { text, .. } => Some(text),
            _ => None,
        });
        broken.collect::<Vec<_>>()
    };
    let first = broken(0);
    assert!(
        first.iter().any(|it| it.contains("serverless.yml")) && first.iter().any(|it| it == "h"),
        "{first:?}"
    );
    node.wait(|event| {
        matches!(
            event,
            Event::Ready {
                functions: 2,
                planned: 3,
                ..
            }
        )
        .then_some(())
    });
    let before = node.events().len();
    project.write("f/app.py", &app.replace("old", "new"));
    node.wait_from(before, |event| {
        matches!(event, Event::Deployed { function, .. } if function == "f").then_some(())
    });
    // The next save begins once the one before is dealt with.
    project.write("g/app.py", &app.replace("old", "new"));
    node.wait_from(before, |event| {
        matches!(event, Event::Deployed { function, .. } if function == "g").then_some(())
    });
    assert_eq!(broken(before), Vec::<String>::new());
    project.write("h/package.json", "{}");
    node.wait_from(before, |event| {
        matches!(event, Event::Deployed { function, .. } if function == "h").then_some(())
    });
}

#[test]
fn a_debugger_is_told_of_where_there_is_one() {
    let handler = "def handler(event, context): return 1\n";
    let project = Project::new(&[
        ("with/app.py", handler),
        ("with/debugpy/__init__.py", "def listen(address): pass\n"),
        ("without/app.py", handler),
    ]);
    let data = tempfile::tempdir().expect("a data folder");
    let node = TestNode::start_in(project.path(), data.path(), false, |config| {
        config.inspect = true;
    });
    for (name, told) in [("with", "attach debugpy"), ("without", "add debugpy")] {
        node.invoke(name, "{}");
        // What is logged before an invocation is told before its end is.
        node.wait(|event| match event {
            Event::Log { function, text, .. } => {
                (function == name && text.starts_with("REPORT")).then_some(())
            }
            _ => None,
        });
        let events = node.events();
        let lines = events.iter().filter_map(|event| match event {
            Event::Log { function, text, .. } if function == name => Some(text.as_str()),
            _ => None,
        });
        let lines: Vec<_> = lines.filter(|line| line.contains("debug")).collect();
        assert!(lines.len() == 1 && lines[0].contains(told), "{lines:?}");
    }
}
