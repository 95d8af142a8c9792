//! Asking a program what it is: a shim on the search path is a script, and only running it says
//! where it leads.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Language;
use crate::jail::PROGRAMS;

/// How long a program may take to say what it is (ours: a busy laptop and a slow disk).
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// What a program may answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Folders and files that one interpreter may need (ours: Conda's Python needs some thirty). Each
/// is a descriptor in a message that may hold 253.
const NEEDS_MAX: usize = 100;

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

/// The modules are those whose libraries may be the interpreter's own; they are in its mappings
/// once they are loaded.
const ASK_PYTHON: &str = "\
import os, sys
print('%d.%d.%d' % sys.version_info[:3])
print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable))
print(sys.implementation.name)
for name in ('_bz2', '_ctypes', '_curses', '_dbm', '_decimal', '_hashlib', '_lzma', '_sqlite3',
             '_ssl', '_uuid', 'pyexpat', 'readline', 'zlib'):
    try:
        module = __import__(name)
    except ImportError:
        continue
    if name == '_ssl':
        for path in module.get_default_verify_paths()[1::2]:
            print(path)
for path in sys.path:
    if os.path.isfile(path) or os.path.isfile(path + '/os.py') or path.endswith('/lib-dynload'):
        print(path)
print(open('/proc/self/maps').read())
";

const ASK_NODE: &str = "[process.versions.node, require('fs').realpathSync(process.execPath), 'node', \
                        require('fs').readFileSync('/proc/self/maps', 'utf8')].join('\\n')";

const COMPILE: &str = "\
import marshal, sys
from importlib.util import MAGIC_NUMBER
code = compile(sys.stdin.buffer.read(), '/var/runtime/bootstrap.py', 'exec', dont_inherit=True, optimize=2)
sys.stdout.buffer.write(MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
";

/// What a program said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Probed {
    /// Its version.
    pub(super) version: (u32, u32, u32),
    /// Its real path.
    pub(super) executable: PathBuf,
    /// Folders and files of its own that it needs at their own path.
    pub(super) needs: Vec<PathBuf>,
}

/// Asks a program what it is; nothing where it is no such interpreter or does not run. Whatever it
/// says that it needs, the user's home is not part of it.
pub(super) fn probe(program: &Path, language: Language, home: Option<&Path>) -> Option<Probed> {
    let answer = match language {
        Language::Python(_) => run(program, &["-I", "-S", "-c", ASK_PYTHON], b""),
        Language::Node(_) => run(program, &["-p", ASK_NODE], b""),
    };
    read(&String::from_utf8(answer.ok()?).ok()?, language, home)
}

/// Has an interpreter compile the launcher for its own version.
pub(super) fn compile(program: &Path, source: &[u8]) -> Result<Bytes, String> {
    run(program, &["-I", "-S", "-c", COMPILE], source).map(Bytes::from)
}

fn read(answer: &str, language: Language, home: Option<&Path>) -> Option<Probed> {
    let mut lines = answer.lines();
    let mut numbers = lines.next()?.split('.').map(str::parse);
    let version = (
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
    );
    let executable = PathBuf::from(lines.next()?);
    // Others read the same language, but no package's binaries.
    if lines.next()? != name_of(language) {
        return None;
    }
    let needs = needs(&executable, lines, home)?;
    Some(Probed {
        version,
        executable,
        needs,
    })
}

fn name_of(language: Language) -> &'static str {
    match language {
        Language::Python(_) => "cpython",
        Language::Node(_) => "node",
    }
}

/// The executable and what it said to have loaded, as far as a jail would not see it anyway. Not
/// the folder that they are in: that may be the user's home. Nothing where it is too much.
fn needs<'a>(
    executable: &Path,
    lines: impl Iterator<Item = &'a str>,
    home: Option<&Path>,
) -> Option<Vec<PathBuf>> {
    let mut needs: Vec<PathBuf> = Vec::new();
    let said = lines.filter_map(|line| {
        let path = line.get(line.find('/')?..)?;
        // What comes after an address is a mapping, of which the libraries count.
        (line.starts_with('/') || path.contains(".so")).then(|| Path::new(path))
    });
    for path in [executable].into_iter().chain(said) {
        let own = !PROGRAMS
            .iter()
            .any(|folder| path.starts_with(Path::new("/").join(folder)));
        let wide = home.is_some_and(|home| home.starts_with(path));
        let known = needs.iter().any(|known| path.starts_with(known));
        if own && !wide && !known && path.exists() {
            needs.push(path.to_owned());
            needs.extend(names_of(path));
        }
    }
    (needs.len() <= NEEDS_MAX).then_some(needs)
}

/// The links beside a library that lead to it: by such a name it is looked for.
fn names_of(library: &Path) -> Vec<PathBuf> {
    let is_library = |path: &Path| path.to_string_lossy().contains(".so");
    let Some(folder) = library.parent().filter(|_| is_library(library)) else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .map(|entry| entry.path())
        .filter(|path| is_library(path) && path.canonicalize().is_ok_and(|real| real == library))
        .collect()
}

/// Runs a program to its end with little of our environment; what it answers. Blocks.
pub(crate) fn run(program: &Path, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
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
