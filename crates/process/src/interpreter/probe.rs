//! Asking a program what it is: a shim on the search path is a script, and only running it says
//! where it leads.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;

use super::Language;

/// How long a program may take to say what it is (ours: a busy laptop and a slow disk).
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// What a program may answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// What a shim needs to find what it leads to.
const KEPT_VARIABLES: [&str; 7] = [
    "PATH",
    "HOME",
    "PYENV_ROOT",
    "ASDF_DATA_DIR",
    "MISE_DATA_DIR",
    "VOLTA_HOME",
    "LD_LIBRARY_PATH",
];

const ASK_PYTHON: &str = "\
import os, sys
print('%d.%d.%d' % sys.version_info[:3])
print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable))
print(os.path.realpath(sys.base_prefix))
print(os.path.realpath(sys.base_exec_prefix))
print(sys.implementation.name)
";

const ASK_NODE: &str = "process.versions.node + '\\n' + require('fs').realpathSync(process.execPath) + '\\n\\n\\nnode'";

const COMPILE: &str = "\
import marshal, sys
from importlib.util import MAGIC_NUMBER
code = compile(sys.stdin.buffer.read(), '/var/runtime/bootstrap.py', 'exec', dont_inherit=True, optimize=2)
sys.stdout.buffer.write(MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
";

/// What a program said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probed {
    /// Its version.
    pub(super) version: (u32, u32, u32),
    /// Its real path.
    pub(super) executable: PathBuf,
    /// Folders besides `/usr` that it needs at their own path.
    pub(super) prefixes: Vec<PathBuf>,
}

/// Asks a program what it is; nothing where it is no such interpreter or does not run.
pub(super) fn probe(program: &Path, language: Language) -> Option<Probed> {
    let answer = match language {
        Language::Python(_) => run(program, &["-I", "-S", "-c", ASK_PYTHON], b""),
        Language::Node(_) => run(program, &["-p", ASK_NODE], b""),
    };
    read(&String::from_utf8(answer.ok()?).ok()?, language)
}

/// Has an interpreter compile the launcher for its own version.
pub(super) fn compile(program: &Path, source: &[u8]) -> Result<Bytes, String> {
    run(program, &["-I", "-S", "-c", COMPILE], source).map(Bytes::from)
}

fn read(answer: &str, language: Language) -> Option<Probed> {
    let mut lines = answer.lines();
    let mut numbers = lines.next()?.split('.').map(str::parse);
    let version = (
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
    );
    let executable = PathBuf::from(lines.next()?);
    let mut prefixes: Vec<PathBuf> = lines.by_ref().take(2).map(PathBuf::from).collect();
    let name = lines.next()?;
    match language {
        // Others read the same language, but no package's binaries.
        Language::Python(_) if name != "cpython" => return None,
        Language::Python(_) => {}
        Language::Node(_) => prefixes.clear(),
    }
    if !prefixes.iter().any(|prefix| executable.starts_with(prefix)) {
        // `PREFIX/bin/PROGRAM`, with its libraries in `PREFIX/lib`.
        prefixes.push(executable.parent()?.parent()?.to_owned());
    }
    prefixes.retain(|prefix| {
        !prefix.starts_with("/usr") && prefix != Path::new("/") && prefix.is_absolute()
    });
    prefixes.dedup();
    Some(Probed {
        version,
        executable,
        prefixes,
    })
}

/// Runs a program to its end with little of our environment; what it answers. Blocks.
fn run(program: &Path, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    for kept in KEPT_VARIABLES {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let written = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(input),
        None => Ok(()),
    };
    let (sender, answered) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        // A thread of its own, so that a program that never answers can be given up.
        std::thread::spawn(move || {
            let mut answer = Vec::new();
            let read = stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
            // Nobody waits any more where the program was given up.
            let _ = sender.send(read.map(|_| answer));
        });
    }
    let answer = match answered.recv_timeout(PROBE_LIMIT) {
        Ok(Ok(answer)) if written.is_ok() => answer,
        _ => {
            // It is gone already where it answered nothing.
            let _ = child.kill();
            Vec::new()
        }
    };
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        Ok(answer)
    } else {
        Err(status.to_string())
    }
}
