//! Finding the function's own program and what runs it. Reads files, and starts nothing.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Number of this processor in the header of a program.
const MACHINE: u16 = if cfg!(target_arch = "aarch64") {
    183
} else {
    62
};

/// Bytes of a `#!` line that the kernel reads.
const SCRIPT_LINE_BYTES: u64 = 256;

/// The segment that names what loads a program.
const SEGMENT_INTERPRETER: u32 = 3;

/// Bytes of a segment's header in a 64-bit program.
const SEGMENT_BYTES: u16 = 56;

/// Why there is no program that can be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}{}", hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub(crate) struct Unstartable {
    /// In the words of Lambda.
    pub(crate) words: String,
    /// What to do about it, where that is known.
    pub(crate) hint: Option<String>,
}

/// The function's own program, by its path inside.
pub(crate) fn find(code: &Path, layers: &[PathBuf]) -> Result<PathBuf, Unstartable> {
    let in_layers = layers
        .iter()
        .rev()
        .map(|layer| (layer.join("bootstrap"), "/opt/bootstrap"));
    let places = [(code.join("bootstrap"), "/var/task/bootstrap")]
        .into_iter()
        .chain(in_layers);
    for (file, inside) in places {
        let Ok(seen) = std::fs::metadata(&file) else {
            continue;
        };
        if seen.is_dir() || seen.permissions().mode() & 0o111 == 0 {
            return Err(Unstartable {
                words: format!("fork/exec {inside}: permission denied"),
                hint: Some("make it executable: chmod +x bootstrap".to_owned()),
            });
        }
        return match runner(&file) {
            Runner::None => Ok(PathBuf::from(inside)),
            Runner::Foreign => Err(Unstartable {
                words: format!("fork/exec {inside}: exec format error"),
                hint: Some("it is built for another kind of processor".to_owned()),
            }),
            Runner::Unknown => Err(Unstartable {
                words: format!("fork/exec {inside}: exec format error"),
                hint: Some("it is neither a program nor a script that begins with #!".to_owned()),
            }),
            Runner::Program(path) if is_there(&path, code, layers) => Ok(PathBuf::from(inside)),
            Runner::Program(path) => {
                let hint = if path.as_os_str().as_bytes().ends_with(b"\r") {
                    "its lines end as on Windows; save it with LF line ends".to_owned()
                } else {
                    format!("it is run by {}, which is not there", path.display())
                };
                Err(Unstartable {
                    words: format!("fork/exec {inside}: no such file or directory"),
                    hint: Some(hint),
                })
            }
        };
    }
    Err(Unstartable {
        words: "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]".to_owned(),
        hint: None,
    })
}

/// What the kernel starts when it is told to start a file.
#[derive(Debug, PartialEq, Eq)]
enum Runner {
    /// The file itself, as far as we can tell.
    None,
    /// Another program first.
    Program(PathBuf),
    /// Nothing: it is built for another kind of processor.
    Foreign,
    /// Nothing: it is of no kind that the kernel knows.
    Unknown,
}

fn runner(file: &Path) -> Runner {
    let Ok(mut file) = File::open(file) else {
        return Runner::None;
    };
    let mut head = Vec::new();
    if (&mut file)
        .take(SCRIPT_LINE_BYTES)
        .read_to_end(&mut head)
        .is_err()
    {
        return Runner::None;
    }
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
        let program = words.find(|word| !word.is_empty()).unwrap_or_default();
        return Runner::Program(PathBuf::from(std::ffi::OsStr::from_bytes(program)));
    }
    if !head.starts_with(b"\x7fELF") {
        return Runner::Unknown;
    }
    if number(&head, 18) != Some(MACHINE) {
        return Runner::Foreign;
    }
    loader(&mut file, &head).map_or(Runner::None, Runner::Program)
}

/// What loads a 64-bit program that is linked to libraries; none where it needs nothing, or is
/// too odd to tell.
fn loader(file: &mut File, head: &[u8]) -> Option<PathBuf> {
    let segments = u64::from_le_bytes(head.get(32..)?.first_chunk().copied()?);
    if number(head, 54)? != SEGMENT_BYTES {
        return None;
    }
    for index in 0..number(head, 56)? {
        let at = segments.checked_add(u64::from(index) * u64::from(SEGMENT_BYTES))?;
        let mut segment = [0; SEGMENT_BYTES as usize];
        file.seek(SeekFrom::Start(at)).ok()?;
        file.read_exact(&mut segment).ok()?;
        let (kind, rest) = segment.split_first_chunk()?;
        if u32::from_le_bytes(*kind) != SEGMENT_INTERPRETER {
            continue;
        }
        let offset = u64::from_le_bytes(rest.get(4..)?.first_chunk().copied()?);
        file.seek(SeekFrom::Start(offset)).ok()?;
        let mut path = Vec::new();
        file.take(SCRIPT_LINE_BYTES).read_to_end(&mut path).ok()?;
        let path = path.split(|byte| *byte == 0).next()?;
        return Some(PathBuf::from(std::ffi::OsStr::from_bytes(path)));
    }
    None
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_le_bytes)
}

/// Whether a path inside leads to something.
fn is_there(inside: &Path, code: &Path, layers: &[PathBuf]) -> bool {
    if let Ok(own) = inside.strip_prefix("/var/task") {
        return code.join(own).exists();
    }
    if let Ok(shared) = inside.strip_prefix("/opt") {
        return layers.iter().any(|layer| layer.join(shared).exists());
    }
    // What is seen of the host.
    ["/usr", "/bin", "/sbin", "/lib", "/lib64"]
        .iter()
        .any(|folder| inside.starts_with(folder))
        && inside.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &[u8], mode: u32, expected: Result<&str, &str>) {
        let folder = std::env::temp_dir().join(format!(
            "dayfly-bootstrap-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("bootstrap");
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let found = find(&folder, &[]);
        std::fs::remove_dir_all(&folder).unwrap();
        let expected = expected.map(PathBuf::from).map_err(str::to_owned);
        assert_eq!(found.map_err(|why| why.to_string()), expected);
    }

    #[test]
    fn a_program_needs_what_runs_it() {
        let there = Ok("/var/task/bootstrap");
        check(b"#!/bin/sh\nexit 0\n", 0o755, there);
        check(b"#! /usr/bin/env sh\n", 0o755, there);
        check(b"#!/var/task/bootstrap\n", 0o755, there);
        for odd in [&b""[..], b"echo no\n", b"\x7fEL", b"MZ"] {
            check(
                odd,
                0o755,
                Err(
                    "fork/exec /var/task/bootstrap: exec format error (it is neither a program nor \
                     a script that begins with #!)",
                ),
            );
        }
        check(
            b"#!/bin/sh\r\nexit 0\r\n",
            0o755,
            Err(
                "fork/exec /var/task/bootstrap: no such file or directory (its lines end as on \
                 Windows; save it with LF line ends)",
            ),
        );
        check(
            b"#!/opt/runtime\n",
            0o755,
            Err(
                "fork/exec /var/task/bootstrap: no such file or directory (it is run by \
                 /opt/runtime, which is not there)",
            ),
        );
        check(
            b"#!/bin/sh\n",
            0o644,
            Err(
                "fork/exec /var/task/bootstrap: permission denied (make it executable: chmod +x \
                 bootstrap)",
            ),
        );
    }

    #[test]
    fn a_linked_program_names_its_loader() {
        let own = std::fs::read("/bin/sh").unwrap();
        check(&own, 0o755, Ok("/var/task/bootstrap"));
        let name = b"/ld-linux";
        let at = own.windows(name.len()).position(|bytes| bytes == name);
        // Where the shell is linked statically there is nothing to break.
        if let Some(at) = at {
            let mut broken = own.clone();
            broken[at + 1] = b'x';
            let folder = std::env::temp_dir().join(format!("dayfly-elf-{}", std::process::id()));
            std::fs::write(&folder, &broken).unwrap();
            let Runner::Program(path) = runner(&folder) else {
                panic!("it is linked")
            };
            assert!(!is_there(&path, Path::new("/"), &[]), "{}", path.display());
            std::fs::remove_file(&folder).unwrap();
        }
        let mut foreign = own;
        foreign[18] = 2;
        check(
            &foreign,
            0o755,
            Err(
                "fork/exec /var/task/bootstrap: exec format error (it is built for another kind \
                 of processor)",
            ),
        );
    }

    proptest::proptest! {
        #[test]
        fn noise_never_breaks_the_reader(bytes: Vec<u8>) {
            let file = std::env::temp_dir().join(format!("dayfly-noise-{}", std::process::id()));
            std::fs::write(&file, [b"\x7fELF", &bytes[..]].concat()).unwrap();
            let _ = runner(&file);
            std::fs::remove_file(&file).unwrap();
        }
    }
}
