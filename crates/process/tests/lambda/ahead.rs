//! Interpreters that were started before it was known for which function.

use std::path::Path;
use std::time::Duration;

use engine::port::Instance;

use crate::stories::{Story, stories};
use crate::world::{Function, World, shown};

pub(crate) const STORIES: &[(&str, Story)] = stories![
    an_interpreter_that_was_started_ahead_is_any_functions,
    what_the_runtime_has_loaded_is_hidden_by_nothing,
    libraries_are_found_where_lambda_has_them,
    what_a_program_reads_as_it_starts_is_told_it_then,
    kinds_that_are_no_longer_asked_for_are_given_up,
    an_interpreter_that_ended_unused_is_missed_by_nobody,
];

/// Resolves once as many interpreters are there as this.
async fn until_ahead(world: &World, wanted: usize) {
    for _ in 0..500 {
        if world.spawner.started_ahead() == wanted {
            return;
        }
        world.clock.sleep(Duration::from_millis(10)).await;
    }
    panic!("{} and not {wanted}", world.spawner.started_ahead());
}

async fn asked(instance: &dyn Instance, function: &Function) -> String {
    shown(&instance.invoke(function.call("{}")).await)
}

/// Starts one, so that another of its kind is there.
async fn touch(world: &World, runtime: &str) {
    let (handler, name, text) = source(runtime);
    let before = world.function(runtime, handler, &[(name, text)]);
    before.instance().await.stop().await;
}

const PYTHON: &str = "import os, subprocess, sys
started_with = open('/proc/self/environ').read()
def refused(path):
    try:
        open(path, 'w')
        return False
    except OSError:
        return True
def handler(event, context):
    status = open('/proc/self/status').read()
    run = lambda path: subprocess.run([path], capture_output=True, text=True).stdout.strip()
    tmp = os.statvfs('/tmp')
    return ' '.join([
        str('FUNCTION_NAME' in started_with), os.getcwd(), os.environ.get('OWN', '-'),
        context.function_name, str(any('DAYFLY' in name for name in os.environ)),
        run('/opt/bin/tool') if os.path.exists('/opt/bin/tool') else '-',
        __import__('layered').NAME if os.path.exists('/opt/python') else '-',
        str(refused('/x') and refused('/opt/x') and refused('/var/task/x') and refused('/var/x')),
        str('CapEff:\\t0000000000000000' in status and 'CapPrm:\\t0000000000000000' in status),
        str('NoNewPrivs:\\t1' in status and 'Seccomp:\\t2' in status),
        str(tmp.f_blocks * tmp.f_frsize >> 20), str(refused('/proc/1/mem')),
    ])";

const NODE: &str = "const fs = require('fs'); const { execFileSync } = require('child_process');
const startedWith = fs.readFileSync('/proc/self/environ', 'utf8');
const refused = (path) => { try { fs.writeFileSync(path, ''); return false; } catch { return true; } };
exports.handler = async (event, context) => {
  const status = fs.readFileSync('/proc/self/status', 'utf8');
  const tmp = fs.statfsSync ? fs.statfsSync('/tmp') : { blocks: 512, bsize: 1 << 20 };
  const yes = (it) => (it ? 'True' : 'False');
  return [
    yes(startedWith.includes('FUNCTION_NAME')), process.cwd(), process.env.OWN ?? '-',
    context.functionName, yes(Object.keys(process.env).some((name) => name.includes('DAYFLY'))),
    fs.existsSync('/opt/bin/tool') ? execFileSync('/opt/bin/tool').toString().trim() : '-',
    fs.existsSync('/opt/nodejs') ? require('layered').NAME : '-',
    yes(refused('/x') && refused('/opt/x') && refused('/var/task/x') && refused('/var/x')),
    yes(/CapEff:\\t0{16}/.test(status) && /CapPrm:\\t0{16}/.test(status)),
    yes(/NoNewPrivs:\\t1/.test(status) && /Seccomp:\\t2/.test(status)),
    Math.floor(tmp.blocks * tmp.bsize / 1048576), yes(refused('/proc/1/mem')),
  ].join(' ');
};";

/// The handler that tells what it finds, with the file that it is in.
fn source(runtime: &str) -> (&'static str, &'static str, &'static str) {
    if runtime.starts_with("python") {
        ("app.handler", "app.py", PYTHON)
    } else {
        ("app.handler", "app.js", NODE)
    }
}

async fn an_interpreter_that_was_started_ahead_is_any_functions(world: World) {
    let world = World::new(world.lite);
    for runtime in ["python3.11", "nodejs20.x"] {
        touch(&world, runtime).await;
        until_ahead(&world, if runtime == "python3.11" { 1 } else { 2 }).await;
        let (handler, name, text) = source(runtime);
        let layer = world.function(
            runtime,
            handler,
            &[
                ("bin/tool", "#!/bin/sh\necho ran\n"),
                ("python/layered.py", "NAME = 'layer'"),
                (
                    "nodejs/node_modules/layered/index.js",
                    "exports.NAME = 'layer'",
                ),
            ],
        );
        let mut function = world.function(runtime, handler, &[(name, text)]);
        function.layers = vec![layer.code];
        function.config.tmp_mb = 600;
        let own = ("OWN".to_owned(), "mine".to_owned());
        function.config.environment = [own].into();
        let found = async |function: &Function, ahead: bool| {
            let instance = function.instance().await;
            let told = asked(&*instance, function).await;
            instance.stop().await;
            let started_with = if ahead { "False" } else { "True" };
            let expected = format!(
                "replied \"{started_with} /var/task mine greet False ran layer True True True 600 True\""
            );
            assert_eq!(told, expected, "{runtime}: {}", function.log.text());
        };
        found(&function, true).await;
        // One that nothing was started for is the same but for that.
        let quiet = ("LC_ALL".to_owned(), "C".to_owned());
        function.config.environment.extend([quiet]);
        found(&function, false).await;
        until_ahead(&world, if runtime == "python3.11" { 1 } else { 2 }).await;
    }
    world.end().await;
}

async fn what_the_runtime_has_loaded_is_hidden_by_nothing(world: World) {
    let world = World::new(world.lite);
    let source = "import sys
early = 'json' in sys.modules
import decimal, json, logging, queue
def handler(event, context):
    logging.getLogger().info('told')
    mine = [hasattr(module, 'MINE') for module in (decimal, json, logging, queue)]
    return [early, mine, len(logging.getLogger().handlers), json.loads('[1]')]";
    let mine = "MINE = True";
    let files = [
        ("app.py", source),
        ("decimal.py", mine),
        ("json/__init__.py", mine),
        ("logging.py", mine),
        ("queue.py", mine),
    ];
    touch(&world, "python3.11").await;
    for ahead in [true, false] {
        until_ahead(&world, 1).await;
        // It may be there before it has loaded everything.
        world.clock.sleep(Duration::from_millis(500)).await;
        let mut function = world.function("python3.11", "app.handler", &files);
        function.config.log_format = model::LogFormat::Json;
        if !ahead {
            let seed = ("PYTHONHASHSEED".to_owned(), "0".to_owned());
            function.config.environment = [seed].into();
        }
        let instance = function.instance().await;
        let told = asked(&*instance, &function).await;
        let log = function.log.text();
        // As on Lambda, whose runtime has loaded all but the last.
        let expected = format!("replied [{ahead}, [false, false, false, true], 1, [1]]");
        assert_eq!(told, expected, "{log}");
        assert!(log.contains(r#""message": "told""#), "{log}");
        instance.stop().await;
    }
    world.end().await;
}

async fn libraries_are_found_where_lambda_has_them(world: World) {
    let world = World::new(world.lite);
    // Any will do: one that this program has itself.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps.lines().find_map(|line| {
        let path = line.split_whitespace().nth(5)?;
        path.contains("/libc.so").then(|| path.to_owned())
    });
    let library = library.expect("this program is linked to a C library");
    let place = |folder: &Path, name: &str| {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::copy(&library, folder.join(name)).unwrap();
    };
    for (runtime, handler, name, text) in [
        (
            "python3.11",
            "app.handler",
            "app.py",
            "import ctypes, os
def handler(event, context):
    return [ctypes.CDLL(name) is not None for name in ('libof-layer.so', 'libof-task.so')] + [os.listdir('/opt/lib')]",
        ),
        (
            "nodejs20.x",
            "app.handler",
            "app.js",
            "exports.handler = async () => ['libof-layer.so', 'libof-task.so'].map((name) => {
  try { process.dlopen({ exports: {} }, name); } catch (error) { return !error.message.includes('cannot open'); }
  return true;
}).concat([require('fs').readdirSync('/opt/lib')]);",
        ),
    ] {
        touch(&world, runtime).await;
        until_ahead(&world, if runtime == "python3.11" { 1 } else { 2 }).await;
        let layer = world.function(runtime, handler, &[]);
        place(&layer.code.join("lib"), "libof-layer.so");
        let mut function = world.function(runtime, handler, &[(name, text)]);
        place(&function.code.join("lib"), "libof-task.so");
        function.layers = vec![layer.code];
        let instance = function.instance().await;
        let told = asked(&*instance, &function).await;
        let told = told.replace(' ', "");
        assert_eq!(told, r#"replied[true,true,["libof-layer.so"]]"#, "{}", function.log.text());
        instance.stop().await;
    }
    world.end().await;
}

async fn what_a_program_reads_as_it_starts_is_told_it_then(world: World) {
    let world = World::new(world.lite);
    touch(&world, "python3.11").await;
    until_ahead(&world, 1).await;
    let source = "def handler(event, context): return hash('a') == hash('a') and __import__('sys').flags.hash_randomization";
    let mut function = world.function("python3.11", "app.handler", &[("app.py", source)]);
    let seed = ("PYTHONHASHSEED".to_owned(), "0".to_owned());
    function.config.environment = [seed].into();
    let instance = function.instance().await;
    assert_eq!(asked(&*instance, &function).await, "replied 0");
    instance.stop().await;
    assert_eq!(
        world.spawner.started_ahead(),
        1,
        "it was of no use for that"
    );
    world.end().await;
}

async fn kinds_that_are_no_longer_asked_for_are_given_up(world: World) {
    let world = World::new(world.lite);
    let (handler, name, text) = source("nodejs20.x");
    for memory_mb in [128, 192, 256] {
        let mut function = world.function("nodejs20.x", handler, &[(name, text)]);
        function.config.memory_mb = memory_mb;
        function.instance().await.stop().await;
    }
    // As many kinds as are kept here.
    until_ahead(&world, 2).await;
    world.end().await;
}

async fn an_interpreter_that_ended_unused_is_missed_by_nobody(world: World) {
    let world = World::new(world.lite);
    // Those of another of this program's spawners are none of ours, once they are there.
    world.clock.sleep(Duration::from_secs(2)).await;
    let before = launchers();
    touch(&world, "python3.11").await;
    until_ahead(&world, 1).await;
    let mut booted = launchers();
    booted.retain(|pid| !before.contains(pid));
    assert_eq!(booted.len(), 1, "{booted:?}");
    let pid = rustix::process::Pid::from_raw(booted[0]).unwrap();
    let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    // Whoever is no root may not: its user is another.
    if killed.is_ok() {
        until_ahead(&world, 0).await;
        touch(&world, "python3.11").await;
        until_ahead(&world, 1).await;
    }
    world.end().await;
}

/// Python's launchers below this process.
fn launchers() -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let runs_launcher = |pid: &i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let name = b"bootstrap.pyc";
        command.windows(name.len()).any(|part| part == name) && is_below_us(*pid)
    };
    pids.filter(runs_launcher).collect()
}

/// Whether a process is of this one's.
fn is_below_us(mut pid: i32) -> bool {
    let own = std::process::id().cast_signed();
    while pid > 1 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        pid = after
            .split_whitespace()
            .nth(1)
            .and_then(|it| it.parse().ok())
            .unwrap_or(0);
        if pid == own {
            return true;
        }
    }
    false
}
