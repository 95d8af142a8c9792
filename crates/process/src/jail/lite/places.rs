//! Where an instance without a root of its own finds what would be in a jail's: every path of a
//! jail has a real one, in the host's folders that were to be mounted or in a folder of the
//! instance's own. Names are translated where they are handed over; those that a program knows
//! by heart are not.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::jail::cgroup::{self, PREFIX};
use crate::jail::context::Context as _;
use crate::jail::inside::RUNTIME_API_PORT;
use crate::jail::message::JailId;
use crate::jail::plan::{Plan, Program, Tree};
use crate::spawner::Companion;

/// Folders of a jail that every instance has, if only empty.
const OWN: [&str; 5] = ["/var/task", "/var/runtime", "/var/lang", "/opt", "/tmp"];

/// Under the folder for what runs, that of all helpers.
const ALL: &str = "lite";

/// The folders of one helper's instances.
#[derive(Debug)]
pub(in crate::jail) struct Base {
    folder: PathBuf,
    /// Held for as long as the helper lives, so that no other takes its folder for a dead one's.
    _lock: OwnedFd,
}

impl Base {
    /// Removes what dead helpers left, and makes a base of our own.
    pub(in crate::jail) fn open(runtime_dir: &Path) -> io::Result<Self> {
        let all = runtime_dir.join(ALL);
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(&all).context(all.display())?;
        for stale in fs::read_dir(&all)?.flatten() {
            let ours = stale.file_name().as_bytes().starts_with(PREFIX.as_bytes());
            if ours && let Some(_lock) = cgroup::lock(&stale.path()) {
                remove(&stale.path());
            }
        }
        let (folder, lock) = cgroup::make_base(&all).context(all.display())?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// The folder of an instance.
    pub(in crate::jail) fn of(&self, id: JailId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Removes what an instance wrote, should it not have done so itself.
    pub(in crate::jail) fn remove(&self, id: JailId) {
        remove(&self.of(id));
    }

    /// Removes everything, once no instance is left.
    pub(in crate::jail) fn close(&self) {
        remove(&self.folder);
        if let Some(all) = self.folder.parent() {
            // Unless others use it too.
            let _ = fs::remove_dir(all);
        }
    }
}

/// Where things really are.
#[derive(Debug)]
pub(super) struct Places {
    folder: PathBuf,
    /// Paths of a jail, and where that is.
    trees: Vec<(PathBuf, PathBuf)>,
    runtime_api: SocketAddr,
}

impl Places {
    /// Makes the instance's folder, with what lies there in layers.
    pub(super) fn make(
        folder: &Path,
        plan: &Plan<'_>,
        runtime_api: SocketAddr,
    ) -> io::Result<Self> {
        let mut private = fs::DirBuilder::new();
        private.mode(0o700).recursive(true);
        for own in OWN {
            private.create(mirrored(folder, Path::new(own)))?;
        }
        let place = |tree: &Tree| -> io::Result<_> {
            let real = match tree.sources.as_slice() {
                [source] => {
                    fs::metadata(source).context(source.display())?;
                    source.clone()
                }
                sources => {
                    let merged = mirrored(folder, &tree.target);
                    for source in sources {
                        lay(source, &merged).context(source.display())?;
                    }
                    merged
                }
            };
            Ok((tree.target.clone(), real))
        };
        Ok(Self {
            folder: folder.to_owned(),
            trees: plan.trees.iter().map(place).collect::<io::Result<_>>()?,
            runtime_api,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The one place to write.
    pub(super) fn tmp(&self) -> PathBuf {
        self.find(Path::new("/tmp"))
    }

    /// Makes the program's links and files, and gives it the real names of everything.
    pub(super) fn furnish(&self, program: Program) -> io::Result<Program> {
        for (link, target) in &program.links {
            let link = self.own(link)?;
            symlink(target, &link).context(link.display())?;
        }
        for (path, bytes) in &program.files {
            let path = self.own(path)?;
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o555)
                .open(&path)
                .context(path.display())?;
            file.write_all(bytes)?;
        }
        let companion = |companion: &Companion| Companion {
            argv: self.argv(&companion.argv),
            env: self.env(&companion.env),
            cwd: self.find(&companion.cwd),
        };
        Ok(Program {
            argv: self.argv(&program.argv),
            env: self.env(&program.env),
            cwd: self.find(&program.cwd),
            links: Vec::new(),
            files: Vec::new(),
            companions: program.companions.iter().map(companion).collect(),
        })
    }

    fn argv(&self, argv: &[OsString]) -> Vec<OsString> {
        argv.iter().map(|value| self.text(value)).collect()
    }

    fn env(&self, env: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
        let named = |(name, value): &(OsString, OsString)| (name.clone(), self.text(value));
        env.iter().map(named).collect()
    }

    /// The real place of something to be made, which must not be among the host's own.
    fn own(&self, inside: &Path) -> io::Result<PathBuf> {
        let real = self.find(inside);
        if !real.starts_with(&self.folder) {
            let reason = "only a sandbox of its own has a place for it";
            return Err(io::Error::other(reason)).context(inside.display());
        }
        if let Some(parent) = real.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(real)
    }

    /// What a jail's path stands for; a path of the host's own programs for itself.
    fn find(&self, inside: &Path) -> PathBuf {
        let nearest = self
            .trees
            .iter()
            .filter_map(|(target, real)| Some((target, real, inside.strip_prefix(target).ok()?)))
            .max_by_key(|(target, ..)| target.as_os_str().len());
        match nearest {
            Some((_, real, rest)) if rest.as_os_str().is_empty() => real.clone(),
            Some((_, real, rest)) => real.join(rest),
            None if OWN.iter().any(|own| inside.starts_with(own)) => mirrored(&self.folder, inside),
            None => inside.to_owned(),
        }
    }

    /// A value with its paths translated: one, or a list with colons. The Runtime API's address
    /// may be followed by a path.
    fn text(&self, value: &OsStr) -> OsString {
        let bytes = value.as_bytes();
        let address = format!("127.0.0.1:{RUNTIME_API_PORT}");
        if let Some(rest) = bytes.strip_prefix(address.as_bytes())
            && (rest.is_empty() || rest.starts_with(b"/"))
        {
            return OsString::from_vec([self.runtime_api.to_string().as_bytes(), rest].concat());
        }
        let mut translated = Vec::with_capacity(bytes.len());
        for (index, part) in bytes.split(|&byte| byte == b':').enumerate() {
            if index > 0 {
                translated.push(b':');
            }
            // Not the rest of a URL.
            if part.starts_with(b"/") && !part.starts_with(b"//") {
                let real = self.find(Path::new(OsStr::from_bytes(part)));
                translated.extend_from_slice(real.as_os_str().as_bytes());
            } else {
                translated.extend_from_slice(part);
            }
        }
        OsString::from_vec(translated)
    }
}

/// The place in an instance's folder for a path of a jail.
fn mirrored(folder: &Path, inside: &Path) -> PathBuf {
    folder.join(inside.strip_prefix("/").unwrap_or(inside))
}

/// Lays a folder over another: by links, but for folders that both have.
fn lay(source: &Path, over: &Path) -> io::Result<()> {
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let place = over.join(entry.file_name());
        let below = fs::symlink_metadata(&place).ok();
        let folder = entry.file_type()?.is_dir();
        match below {
            Some(_) if folder && place.is_dir() => {
                // A link to another layer's becomes a folder of both.
                if let Ok(other) = fs::read_link(&place) {
                    fs::remove_file(&place)?;
                    fs::create_dir(&place)?;
                    lay(&other, &place)?;
                }
                lay(&entry.path(), &place)?;
            }
            Some(below) if below.is_dir() => {
                fs::remove_dir_all(&place)?;
                symlink(entry.path(), &place)?;
            }
            Some(_) => {
                fs::remove_file(&place)?;
                symlink(entry.path(), &place)?;
            }
            None => symlink(entry.path(), &place)?,
        }
    }
    Ok(())
}

/// Removes a folder that nobody writes to any more. What cannot be removed is left to the next
/// helper.
pub(super) fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        open_up(folder);
        let _ = fs::remove_dir_all(folder);
    }
}

/// Takes back the folders that a program has closed to its own user.
fn open_up(folder: &Path) {
    if !fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir()) {
        return;
    }
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        open_up(&entry.path());
    }
}
