//! Code on its way from a client to a server: a tar of folders, files and links, written and
//! read here and nowhere else. What else a tar may hold is refused.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use model::limit;
use tar::{Archive, Builder, EntryType, Header};

/// Files, folders and links of one archive (ours: as many as a stored tree may have).
const ENTRIES_MAX: usize = 500_000;
/// Largest archive, in bytes: the largest code and some room for names (ours).
pub const ARCHIVE_BYTES_MAX: u64 = limit::UNPACKED_BYTES_MAX + 64 * 1024 * 1024;

/// Writes a folder. What is neither file nor folder nor link is left out.
pub fn pack(folder: &Path, to: impl Write) -> io::Result<()> {
    let mut tar = Builder::new(to);
    let mut folders = VecDeque::from([PathBuf::new()]);
    while let Some(inside) = folders.pop_front() {
        let mut entries: Vec<_> = fs::read_dir(folder.join(&inside))?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = inside.join(entry.file_name());
            let metadata = entry.metadata()?;
            let mut header = Header::new_gnu();
            header.set_mode(if metadata.permissions().mode() & 0o111 == 0 {
                0o644
            } else {
                0o755
            });
            if metadata.is_dir() {
                header.set_entry_type(EntryType::Directory);
                header.set_size(0);
                tar.append_data(&mut header, &path, io::empty())?;
                folders.push_back(path);
            } else if metadata.is_symlink() {
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, &path, fs::read_link(entry.path())?)?;
            } else if metadata.is_file() {
                header.set_entry_type(EntryType::Regular);
                header.set_size(metadata.len());
                tar.append_data(&mut header, &path, File::open(entry.path())?)?;
            }
        }
    }
    tar.into_inner()?.flush()
}

/// Writes what an archive holds below an empty folder, and nothing anywhere else.
pub(crate) fn unpack(from: impl Read, folder: &Path) -> io::Result<()> {
    let mut links = Vec::new();
    let (mut entries, mut bytes) = (0, 0_u64);
    for entry in Archive::new(from).entries()? {
        let mut entry = entry?;
        entries += 1;
        bytes = bytes.saturating_add(entry.size());
        if entries > ENTRIES_MAX || bytes > limit::UNPACKED_BYTES_MAX {
            return Err(odd(format!(
                "it holds more than {ENTRIES_MAX} files or {} bytes",
                limit::UNPACKED_BYTES_MAX
            )));
        }
        let path = entry.path()?.into_owned();
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if path.as_os_str().is_empty() || !path.components().all(plain) {
            return Err(odd(format!("'{}' leads out of it", path.display())));
        }
        let target = folder.join(&path);
        match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(&target)?,
            EntryType::Regular | EntryType::Continuous => {
                let executable = entry.header().mode()? & 0o111 != 0;
                let above = target.parent().unwrap_or(folder);
                fs::create_dir_all(above)?;
                // There is no link yet that a path could lead through.
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&target)?;
                io::copy(&mut entry, &mut file)?;
                let mode = if executable { 0o755 } else { 0o644 };
                file.set_permissions(Permissions::from_mode(mode))?;
            }
            EntryType::Symlink => {
                let to = entry.link_name()?.map(std::borrow::Cow::into_owned);
                links.push((target, to.unwrap_or_default()));
            }
            other => return Err(odd(format!("'{}' is a {other:?}", path.display()))),
        }
    }
    // Last, so that nothing was written through one. Where they lead is for the store to judge.
    for (link, to) in links {
        let above = link.parent().unwrap_or(folder);
        fs::create_dir_all(above)?;
        std::os::unix::fs::symlink(to, &link)?;
    }
    Ok(())
}

fn odd(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_as_it_was() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let long = "n".repeat(200);
        let deep = from.path().join("a").join(&long);
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(from.path().join("empty")).unwrap();
        fs::write(deep.join("b.py"), "print()").unwrap();
        fs::write(from.path().join("run"), "#!").unwrap();
        fs::set_permissions(from.path().join("run"), Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("run", from.path().join("link")).unwrap();
        let mut bytes = Vec::new();
        pack(from.path(), &mut bytes).unwrap();
        unpack(&*bytes, to.path()).unwrap();
        let read = |path: &str| fs::read_to_string(to.path().join(path)).unwrap();
        assert_eq!(
            (
                read("link").as_str(),
                read(&format!("a/{long}/b.py")).as_str()
            ),
            ("#!", "print()")
        );
        assert!(to.path().join("empty").is_dir());
        let mode = fs::metadata(to.path().join("run"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    fn check_refused(kind: EntryType, path: &str, link: &str, words: &str) {
        let mut tar = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_link_name_literal(link).unwrap();
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
        let bytes = tar.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).unwrap();
        let error = unpack(&*bytes, &inside).unwrap_err().to_string();
        assert!(error.contains(words), "{path}: {error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_leads_out_of_it() {
        check_refused(EntryType::Regular, "../evil", "", "leads out");
        check_refused(EntryType::Regular, "/evil", "", "leads out");
        check_refused(EntryType::Directory, "a/../../evil", "", "leads out");
        check_refused(EntryType::Symlink, "../evil", "x", "leads out");
        check_refused(EntryType::Link, "evil", "/etc/passwd", "is a Link");
        check_refused(EntryType::Fifo, "evil", "", "is a Fifo");
        check_refused(EntryType::Char, "evil", "", "is a Char");
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (outside, inside) = (folder.path().join("out"), folder.path().join("in"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir(&inside).unwrap();
        let mut tar = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "a", &outside).unwrap();
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(4);
        tar.append_data(&mut header, "a/evil", &b"evil"[..])
            .unwrap();
        let bytes = tar.into_inner().unwrap();
        assert!(unpack(&*bytes, &inside).is_err());
        assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    }
}
