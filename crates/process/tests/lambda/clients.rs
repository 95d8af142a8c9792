//! The public clients of Lambda's runtime interfaces, each started by a bootstrap: what they make
//! of the platform is the measure. `cargo xtask test` builds and installs them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stories::{Story, stories};
use crate::world::{Function, World, shown};

pub(crate) const STORIES: &[(&str, Story)] = stories![
    lambda_runtime_of_rust_answers,
    lambda_http_of_rust_answers,
    lambda_extension_of_rust_watches,
    awslambdaric_of_python_answers,
];

/// Names the folder that [`prepare`] made.
const PREPARED: &str = "DAYFLY_TEST_PREPARED";

/// Puts the clients where every user can read them; none where they were not set up.
pub(crate) fn prepare() -> Option<PathBuf> {
    if let Some(prepared) = std::env::var_os(PREPARED) {
        return Some(prepared.into());
    }
    let native = std::env::var_os("DAYFLY_TEST_CLIENTS")?;
    let python = std::env::var_os("DAYFLY_TEST_PYTHON")?;
    let folder = std::env::temp_dir().join(format!("dayfly-clients-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("ric")).unwrap();
    std::fs::copy(native, folder.join("native")).unwrap();
    let copy = "import os, shutil, sys, awslambdaric
site = os.path.dirname(os.path.dirname(awslambdaric.__file__))
for name in os.listdir(site):
    if name.startswith(('awslambdaric', 'runtime_client', 'simplejson', 'snapshot_restore_py')):
        place = os.path.join(site, name)
        to = os.path.join(sys.argv[1], name)
        (shutil.copytree if os.path.isdir(place) else shutil.copy)(place, to)
print('python3.%d' % sys.version_info[1])";
    let copied = Command::new(python)
        .args(["-c", copy])
        .arg(folder.join("ric"))
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    std::fs::write(folder.join("python"), copied.stdout.trim_ascii()).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    Some(folder)
}

/// Tells a run of our own where the clients are.
pub(crate) fn hand_on(command: &mut Command, prepared: Option<&Path>) {
    if let Some(prepared) = prepared {
        command.env(PREPARED, prepared);
    }
}

fn prepared(world: &World) -> &Path {
    world.clients.as_deref().unwrap()
}

/// A function of the native client, in this role.
fn native(world: &World, role: &str) -> Function {
    let mut function = world.function("provided.al2023", "hello.handler", &[]);
    std::fs::copy(
        prepared(world).join("native"),
        function.code.join("bootstrap"),
    )
    .unwrap();
    let variables = &mut function.config.environment;
    variables.insert("ROLE".to_owned(), role.to_owned());
    function
}

async fn lambda_runtime_of_rust_answers(world: World) {
    let function = native(&world, "runtime");
    let instance = function.instance().await;
    for number in 0..3 {
        let call = function.call(&format!("{{\"n\":{number}}}"));
        let id = call.id.clone();
        let execution = instance.invoke(call).await;
        let expected = format!(
            r#"replied {{"arn":"arn:aws:lambda:eu-west-1:000000000000:function:greet","got":{{"n":{number}}},"id":"{id}","memory":128}}"#
        );
        assert_eq!(shown(&execution), expected, "{}", function.log.text());
    }
    let execution = instance.invoke(function.call(r#"{"fail":true}"#)).await;
    let seen = shown(&execution);
    assert!(
        seen.starts_with("failed ") && seen.contains("asked to"),
        "{seen}"
    );
    assert!(instance.is_alive());
    assert_eq!(function.log.text().matches("working\n").count(), 4);
    instance.stop().await;
}

async fn lambda_http_of_rust_answers(world: World) {
    let function = native(&world, "http");
    let event = r#"{"version":"2.0","routeKey":"$default","rawPath":"/a/b","rawQueryString":"name=you",
        "queryStringParameters":{"name":"you"},"headers":{"host":"x.lambda-url.eu-west-1.on.aws"},
        "requestContext":{"accountId":"anonymous","apiId":"x","domainName":"x.lambda-url.eu-west-1.on.aws",
            "domainPrefix":"x","http":{"method":"GET","path":"/a/b","protocol":"HTTP/1.1",
            "sourceIp":"127.0.0.1","userAgent":"test"},"requestId":"r","routeKey":"$default",
            "stage":"$default","time":"01/Jan/2026:00:00:00 +0000","timeEpoch":1767225600000},
        "isBase64Encoded":false}"#;
    let seen = function.outcome(event).await;
    assert!(
        seen.starts_with("replied ")
            && seen.contains(r#""statusCode":200"#)
            && seen.contains("GET /a/b for you"),
        "{seen}\n{}",
        function.log.text()
    );
}

async fn lambda_extension_of_rust_watches(world: World) {
    let mut function = native(&world, "runtime");
    let layer = world.function("provided.al2023", "", &[("extensions/watch", "")]);
    let place = layer.code.join("extensions/watch");
    std::fs::copy(prepared(&world).join("native"), &place).unwrap();
    function.layers = vec![layer.code];
    let instance = function.instance().await;
    for _ in 0..2 {
        let execution = instance.invoke(function.call("1")).await;
        assert!(
            shown(&execution).starts_with("replied "),
            "{}",
            function.log.text()
        );
    }
    instance.stop().await;
    let log = function.log.text();
    for (part, times) in [
        (
            "EXTENSION\tName: watch\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n",
            1,
        ),
        (
            "saw INVOKE arn:aws:lambda:eu-west-1:000000000000:function:greet\n",
            2,
        ),
        ("saw SHUTDOWN spindown\n", 1),
        ("took PlatformInitStart", 1),
        ("took PlatformInitRuntimeDone", 1),
        ("took PlatformInitReport", 1),
        ("took PlatformExtension", 1),
        ("took PlatformTelemetrySubscription", 1),
        ("took PlatformStart", 2),
        ("took line working\n", 2),
        ("took PlatformRuntimeDone", 2),
        ("took PlatformReport", 2),
    ] {
        assert_eq!(log.matches(part).count(), times, "{part}: {log}");
    }
}

async fn awslambdaric_of_python_answers(world: World) {
    let python = std::fs::read_to_string(prepared(&world).join("python")).unwrap();
    let python = Path::new("/usr/bin").join(python);
    if !python.is_file() {
        // What the client was installed for is not among the programs that a sandbox sees.
        println!("not tried: {} is not there", python.display());
        return;
    }
    let source = "def handler(event, context):
    print('working')
    if event == 'fail': raise ValueError('no good')
    return [event, context.function_name, context.get_remaining_time_in_millis() > 0]";
    let bootstrap = format!(
        "#!/bin/sh\nexec {} -m awslambdaric app.handler\n",
        python.display()
    );
    let files = [("app.py", source), ("bootstrap", bootstrap.as_str())];
    let function = world.function("provided.al2023", "app.handler", &files);
    let copied = Command::new("cp")
        .arg("-R")
        .arg(prepared(&world).join("ric/."))
        .arg(&function.code)
        .status();
    assert!(copied.unwrap().success());
    let instance = function.instance().await;
    let execution = instance.invoke(function.call("7")).await;
    assert_eq!(
        shown(&execution),
        r#"replied [7, "greet", true]"#,
        "{}",
        function.log.text()
    );
    let execution = instance.invoke(function.call("\"fail\"")).await;
    let seen = shown(&execution);
    assert!(
        seen.starts_with("failed ") && seen.contains("\"no good\""),
        "{seen}"
    );
    let execution = instance.invoke(function.call("8")).await;
    assert!(
        shown(&execution).starts_with("replied [8"),
        "{}",
        function.log.text()
    );
    instance.stop().await;
}
