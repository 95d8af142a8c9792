//! What programs said of themselves, and what they compiled, kept over restarts: asking a dozen
//! interpreters takes longer than everything else that a start does. Nothing here has to be
//! there; what is missing or stale is found out again.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::probe::Probed;

/// Changes with what is asked and how answers are kept.
const FORMAT: u32 = 1;

/// Largest file of notes that is read, in bytes: far more than a hundred interpreters' answers.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The notes of one user.
#[derive(Debug)]
pub(super) struct Notes {
    /// Where they are kept; nowhere for a finder that has no cache.
    folder: Option<PathBuf>,
    home: Option<PathBuf>,
    /// By path and time of last change.
    known: Mutex<HashMap<(PathBuf, u64), Note>>,
}

#[derive(Debug, Clone)]
struct Note {
    /// None where it is no interpreter, or does not run.
    probed: Option<Probed>,
    /// Whether the same answer is to be had tomorrow. A script says where it leads today.
    lasting: bool,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    /// What a program needs is told apart from this folder.
    home: Option<PathBuf>,
    programs: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    path: PathBuf,
    changed: u64,
    probed: Option<Probed>,
}

impl Notes {
    /// The notes in a folder, as far as they still hold.
    pub(super) fn open(folder: &Path, home: Option<&Path>) -> Self {
        let folder = folder.is_absolute().then(|| folder.to_owned());
        let home = home.map(Path::to_owned);
        let file = folder.as_deref().and_then(read);
        let file = file.filter(|file| file.format == FORMAT && file.home == home);
        let lines = file.map(|file| file.programs).unwrap_or_default();
        let known = lines
            .into_iter()
            .filter(|line| line.probed.as_ref().is_none_or(is_whole))
            .map(|line| {
                let note = Note {
                    probed: line.probed,
                    lasting: true,
                };
                ((line.path, line.changed), note)
            });
        Self {
            folder,
            home,
            known: Mutex::new(known.collect()),
        }
    }

    /// What a program is; asked now unless it is known.
    pub(super) fn of(
        &self,
        path: &Path,
        changed: u64,
        ask: impl FnOnce() -> Option<Probed>,
    ) -> Option<Probed> {
        let key = (path.to_owned(), changed);
        if let Some(note) = self.known.lock().get(&key) {
            return note.probed.clone();
        }
        let probed = ask();
        let note = Note {
            probed: probed.clone(),
            lasting: is_binary(path),
        };
        let lasting = note.lasting;
        let mut known = self.known.lock();
        known.retain(|(other, _), _| other != path);
        known.insert(key, note);
        if lasting && let Some(folder) = &self.folder {
            // It is only asked again where this fails.
            let _ = write(folder, &self.file(&known));
        }
        probed
    }

    fn file(&self, known: &HashMap<(PathBuf, u64), Note>) -> File {
        let lasting = known.iter().filter(|(_, note)| note.lasting);
        File {
            format: FORMAT,
            home: self.home.clone(),
            programs: lasting
                .map(|((path, changed), note)| Line {
                    path: path.clone(),
                    changed: *changed,
                    probed: note.probed.clone(),
                })
                .collect(),
        }
    }

    /// What an interpreter makes of a source; made now unless it is kept.
    pub(super) fn compiled(
        &self,
        executable: &Path,
        source: &[u8],
        make: impl FnOnce() -> Result<Bytes, String>,
    ) -> Result<Bytes, String> {
        let Some(folder) = &self.folder else {
            return make();
        };
        let changed = fs::metadata(executable).and_then(|seen| seen.modified());
        let changed = changed.map_err(|error| error.to_string())?;
        let mut digest = Sha256::new();
        digest.update(executable.as_os_str().as_bytes());
        digest.update(format!("{changed:?}"));
        digest.update(source);
        let name = format!("{}.pyc", model::id::hex(&digest.finalize()));
        let kept = folder.join("launchers").join(name);
        if let Ok(bytes) = fs::read(&kept)
            && !bytes.is_empty()
        {
            return Ok(bytes.into());
        }
        let made = make()?;
        // It is only made again where this fails.
        let _ = write_whole(&kept, &made);
        Ok(made)
    }
}

/// Whether a program and all that it needs are still there.
fn is_whole(probed: &Probed) -> bool {
    probed.executable.exists() && probed.needs.iter().all(|path| path.exists())
}

fn is_binary(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"\x7fELF"
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join("interpreters.json")
}

fn read(folder: &Path) -> Option<File> {
    let mut text = Vec::new();
    let file = fs::File::open(path_in(folder)).ok()?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn write(folder: &Path, file: &File) -> std::io::Result<()> {
    write_whole(&path_in(folder), &serde_json::to_vec(file)?)
}

/// Writes a file so that others find all of it or none.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    fs::File::create(&partial)?.write_all(bytes)?;
    fs::rename(partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(executable: &Path) -> Option<Probed> {
        Some(Probed {
            version: (3, 12, 1),
            executable: executable.to_owned(),
            needs: Vec::new(),
        })
    }

    #[test]
    fn binaries_are_asked_once_and_scripts_at_each_start() {
        let id = std::process::id();
        let folder = std::env::temp_dir().join(format!("dayfly-notes-{id}"));
        fs::create_dir_all(&folder).unwrap();
        let (binary, script) = (folder.join("binary"), folder.join("script"));
        fs::write(&binary, b"\x7fELF and so on").unwrap();
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let first = Notes::open(&folder, None);
        for path in [&binary, &script] {
            assert_eq!(first.of(path, 1, || python(path)), python(path));
            assert_eq!(first.of(path, 1, || panic!("asked")), python(path));
        }
        let later = Notes::open(&folder, None);
        assert_eq!(later.of(&binary, 1, || panic!("asked")), python(&binary));
        assert_eq!(later.of(&script, 1, || None), None);
        assert_eq!(later.of(&binary, 2, || None), None, "it has changed");
        let elsewhere = Notes::open(&folder, Some(Path::new("/elsewhere")));
        assert_eq!(
            elsewhere.of(&binary, 2, || python(&binary)),
            python(&binary)
        );

        let made = || Ok(Bytes::from_static(b"code"));
        assert_eq!(first.compiled(&binary, b"source", made).unwrap(), "code");
        let kept = later.compiled(&binary, b"source", || Err("made".into()));
        assert_eq!(kept.unwrap(), "code");
        assert!(
            later
                .compiled(&binary, b"other", || Err("made".into()))
                .is_err()
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
