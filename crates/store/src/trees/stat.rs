//! Remembers what files contained, by what `stat` said of them, so that an unchanged tree is
//! not read again. A hint only: whatever is doubtful is read.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::manifest::hex;
use super::source::File;
use crate::checksum::crc;

/// First bytes of a file of ours; another form has others.
const FORM: &[u8; 8] = b"dfstat1\n";

/// Sources remembered; the least recently used are forgotten.
const SOURCES_MAX: usize = 256;

/// A file changed so shortly before it was read may change again within one tick of its clock.
/// Network file systems have ticks of up to two seconds.
const RACY_NS: i128 = 2_000_000_000;

/// What is remembered of one source folder.
#[derive(Debug, Default)]
pub(super) struct Stats {
    path: PathBuf,
    known: HashMap<PathBuf, Known>,
    /// What the next run shall find.
    seen: HashMap<PathBuf, Known>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// Device, inode, size, times of modification and change.
    stat: [u8; 56],
    sha256: [u8; 32],
}

impl Stats {
    /// What an earlier run remembered of this source; nothing where it is unreadable.
    pub(super) fn load(folder: &Path, source: &Path) -> Self {
        let absolute = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
        let name = hex(&Sha256::digest(absolute.as_os_str().as_bytes()).into());
        let path = folder.join(name);
        let known = fs::read(&path)
            .ok()
            .and_then(|bytes| decode(&bytes))
            .unwrap_or_default();
        Self {
            path,
            known,
            seen: HashMap::new(),
        }
    }

    /// What the file contains, if it is the one remembered.
    pub(super) fn find(&self, file: &File) -> Option<[u8; 32]> {
        let known = self.known.get(&file.path)?;
        (known.stat == stat(file)).then_some(known.sha256)
    }

    /// Remembers a file, unless it changed too shortly before `read_us`, the time at which its
    /// reading began, in microseconds since the Unix epoch.
    pub(super) fn remember(&mut self, file: &File, sha256: [u8; 32], read_us: u64) {
        let changed_ns = file.modified_ns.max(file.changed_ns);
        if changed_ns + RACY_NS <= i128::from(read_us) * 1000 {
            self.seen.insert(
                file.path.clone(),
                Known {
                    stat: stat(file),
                    sha256,
                },
            );
        }
    }

    /// Writes down what was seen, where it differs. That this fails only costs time later.
    pub(super) fn save(&self) {
        if self.seen == self.known {
            return;
        }
        let unfinished = self.path.with_extension("tmp");
        let saved = fs::write(&unfinished, encode(&self.seen))
            .and_then(|()| fs::rename(&unfinished, &self.path));
        if let Err(error) = saved {
            tracing::debug!(path = %self.path.display(), %error, "file times are not remembered");
        }
    }

    /// Forgets the sources that were not stored for longest.
    pub(super) fn prune(folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort_unstable_by(|one, other| other.cmp(one));
        for (_, path) in files.iter().skip(SOURCES_MAX) {
            if let Err(error) = fs::remove_file(path) {
                tracing::debug!(path = %path.display(), %error, "file times are not forgotten");
            }
        }
    }
}

fn stat(file: &File) -> [u8; 56] {
    let mut stat = [0; 56];
    let (numbers, times) = stat.split_at_mut(24);
    for (field, number) in
        numbers
            .chunks_exact_mut(8)
            .zip([file.device, file.inode, file.size_bytes])
    {
        field.copy_from_slice(&number.to_le_bytes());
    }
    for (field, time) in times
        .chunks_exact_mut(16)
        .zip([file.modified_ns, file.changed_ns])
    {
        field.copy_from_slice(&time.to_le_bytes());
    }
    stat
}

fn encode(seen: &HashMap<PathBuf, Known>) -> Vec<u8> {
    let mut bytes = FORM.to_vec();
    for (path, known) in seen {
        let path = path.as_os_str().as_bytes();
        bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
        bytes.extend_from_slice(path);
        bytes.extend_from_slice(&known.stat);
        bytes.extend_from_slice(&known.sha256);
    }
    let sum = crc(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<PathBuf, Known>> {
    let (content, sum) = bytes.split_last_chunk::<4>()?;
    if crc(content) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = content.strip_prefix(FORM)?;
    let mut known = HashMap::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (path, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (stat, after) = after.split_first_chunk()?;
        let (sha256, after) = after.split_first_chunk()?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
        known.insert(
            path,
            Known {
                stat: *stat,
                sha256: *sha256,
            },
        );
        rest = after;
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED_US: u64 = 1_700_000_000_000_000;

    fn file() -> File {
        let changed_ns = i128::from(CHANGED_US) * 1000;
        File {
            path: "/src/app.py".into(),
            source: 0,
            device: 1,
            inode: 2,
            size_bytes: 3,
            modified_ns: changed_ns - 5_000_000_000,
            changed_ns,
            executable: false,
        }
    }

    /// What the next run finds after this one read the file at `read_us`.
    fn found(read_us: u64, change: impl Fn(&mut File)) -> Option<[u8; 32]> {
        let folder = tempfile::tempdir().unwrap();
        let mut stats = Stats::load(folder.path(), Path::new("/src"));
        stats.remember(&file(), [7; 32], read_us);
        stats.save();
        let mut file = file();
        change(&mut file);
        Stats::load(folder.path(), Path::new("/src")).find(&file)
    }

    #[test]
    fn only_what_was_at_rest_and_has_stayed_so_is_believed() {
        let later = CHANGED_US + 2_000_000;
        assert_eq!(found(later, |_| {}), Some([7; 32]));
        assert_eq!(found(later - 1, |_| {}), None);
        assert_eq!(found(CHANGED_US - 1, |_| {}), None);
        assert_eq!(found(later, |file| file.device += 1), None);
        assert_eq!(found(later, |file| file.inode += 1), None);
        assert_eq!(found(later, |file| file.size_bytes += 1), None);
        assert_eq!(found(later, |file| file.modified_ns += 1), None);
        assert_eq!(found(later, |file| file.changed_ns += 1), None);
        assert_eq!(found(later, |file| file.path.push("x")), None);
    }

    #[test]
    fn damaged_notes_are_no_notes() {
        let folder = tempfile::tempdir().unwrap();
        let mut stats = Stats::load(folder.path(), Path::new("/src"));
        stats.remember(&file(), [7; 32], u64::MAX);
        stats.save();
        let whole = std::fs::read(&stats.path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_none(), "at {at}");
            assert!(decode(&whole[..at]).is_none(), "cut at {at}");
        }
        assert_eq!(decode(&whole).unwrap().len(), 1);
    }
}
