//! The helper's own mount namespace, and in it the parts of a root that every jail shares
//! read-only: the host's programs, a minimal `/dev` and `/etc`. Nothing of it is on disk.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags};
use rustix::thread::UnshareFlags;

use super::context::Context as _;
use super::ids::{self, INSIDE};
use super::plan::Tree;
use super::syscall::{self, NO_DEVICES, NO_SUID, READ_ONLY};
use super::tree;

/// Folders of a host's root that hold programs and what they link against. `/nix` and `/gnu` are
/// where some distributions keep everything.
pub(crate) const PROGRAMS: [&str; 9] = [
    "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu",
];

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Small files of `/etc` that programs look up; copied.
pub(super) const COPIED: [&str; 5] = [
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "services",
    "protocols",
];

/// Folders and files of `/etc` that are bound: certificates and the targets of links in `/usr`.
pub(super) const BOUND: [&str; 6] = [
    "ssl/certs",
    "ssl/openssl.cnf",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "alternatives",
    "ca-certificates",
];

/// Files with certificates to trust, copied into `/etc/dayfly`.
const TRUSTED: [&str; 2] = ["ca.pem", "ca-bundle.pem"];

/// A folder that every host has, that holds nothing a jail or the helper needs, and over which
/// we may mount in a namespace of our own.
const PLACE: &str = "/sys/kernel";

/// Where the shared parts are, and which there are.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) place: PathBuf,
    /// Folders at the root to be bound.
    pub(super) folders: Vec<&'static str>,
    /// Links at the root, such as `bin` to `usr/bin`.
    pub(super) links: Vec<(&'static str, PathBuf)>,
}

/// With whose rights the helper makes mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Those it was started with.
    Host,
    /// Those over a user namespace of its own.
    OwnNamespace,
}

/// Enters a mount namespace of our own, in a user namespace of our own if we are not allowed
/// otherwise. What the host mounts later is still seen; what we mount is not.
pub(super) fn enter(rights: Rights) -> io::Result<()> {
    let user = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let mut flags = UnshareFlags::NEWNS;
    if rights == Rights::OwnNamespace {
        flags |= UnshareFlags::NEWUSER;
    }
    // SAFETY: only namespaces change; descriptors stay ours, and there is one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }.context("enter a mount namespace")?;
    if rights == Rights::OwnNamespace {
        ids::write_maps("/proc/self", user.0, user).context("map our own user")?;
    }
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .context("separate our mounts from the host's")
}

impl Template {
    /// `trust` is the folder with the certificates that programs in jails are to trust.
    pub(super) fn build(runtime_dir: &Path, trust: Option<&Path>) -> io::Result<Self> {
        let place = if Path::new(PLACE).is_dir() {
            Path::new(PLACE)
        } else {
            runtime_dir
        };
        rustix::mount::mount(
            "tmpfs",
            place,
            "tmpfs",
            MountFlags::NOSUID,
            Some(c"size=8m,mode=755"),
        )
        .context("mount the shared root")?;
        let mut template = Self {
            place: place.to_owned(),
            folders: Vec::new(),
            links: Vec::new(),
        };
        template.programs()?;
        template.shell().context("make bash the shell")?;
        template.devices().context("make /dev")?;
        template.etc(trust).context("make /etc")?;
        fs::create_dir(place.join("root"))?;
        Ok(template)
    }

    /// Whether this kernel lays folders over each other for us.
    pub(super) fn can_overlay(&self) -> bool {
        let sources = vec![self.place.join("etc"), self.place.join("dev")];
        tree::open(&Tree {
            target: "/opt".into(),
            sources,
        })
        .is_ok()
    }

    /// The empty folder that a jail covers with its own root.
    pub(super) fn root(&self) -> PathBuf {
        self.place.join("root")
    }

    fn programs(&mut self) -> io::Result<()> {
        for name in PROGRAMS {
            let source = Path::new("/").join(name);
            match fs::symlink_metadata(&source) {
                Ok(found) if found.is_symlink() => {
                    self.links.push((name, fs::read_link(&source)?));
                }
                Ok(found) if found.is_dir() => {
                    fs::create_dir(self.place.join(name))?;
                    bind(
                        &source,
                        &self.place.join(name),
                        READ_ONLY | NO_SUID | NO_DEVICES,
                    )
                    .context("bind the host's programs")?;
                    self.folders.push(name);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `sh` is bash, as on Lambda, where the host has one.
    fn shell(&self) -> io::Result<()> {
        let real = |path| fs::canonicalize(path).ok();
        let (Some(shell), Some(bash)) = (real("/bin/sh"), real("/bin/bash")) else {
            return Ok(());
        };
        let Ok(inside) = shell.strip_prefix("/") else {
            return Ok(());
        };
        let seen = self.folders.iter().any(|folder| inside.starts_with(folder));
        if shell == bash || !seen {
            return Ok(());
        }
        bind(
            &bash,
            &self.place.join(inside),
            READ_ONLY | NO_SUID | NO_DEVICES,
        )
    }

    fn devices(&mut self) -> io::Result<()> {
        let dev = self.place.join("dev");
        fs::create_dir(&dev)?;
        for name in DEVICES {
            fs::write(dev.join(name), "")?;
            bind(&Path::new("/dev").join(name), &dev.join(name), NO_SUID)?;
        }
        for (name, target) in [
            ("fd", "fd"),
            ("stdin", "fd/0"),
            ("stdout", "fd/1"),
            ("stderr", "fd/2"),
        ] {
            symlink(Path::new("/proc/self").join(target), dev.join(name))?;
        }
        fs::create_dir(dev.join("shm"))?;
        // Bound onto itself so that it is a mount, which a jail takes whole. Devices work on a
        // read-only mount.
        bind(&dev, &dev, READ_ONLY | NO_SUID)?;
        self.folders.push("dev");
        Ok(())
    }

    fn etc(&mut self, trust: Option<&Path>) -> io::Result<()> {
        let etc = self.place.join("etc");
        fs::create_dir(&etc)?;
        if let Some(trust) = trust {
            trusted(trust, &etc.join("dayfly"))?;
        }
        let user = format!("sbx_user1051:x:{INSIDE}:");
        let written = [
            (
                "passwd",
                format!(
                    "root:x:0:0:root:/root:/sbin/nologin\n\
                     {user}{INSIDE}::/home/sbx_user1051:/sbin/nologin\n\
                     nobody:x:65534:65534:nobody:/:/sbin/nologin\n"
                ),
            ),
            ("group", format!("root:x:0:\n{user}\nnogroup:x:65534:\n")),
            ("hosts", "127.0.0.1 localhost sandbox.localdomain sandbox\n".to_owned()),
            ("hostname", "sandbox\n".to_owned()),
            ("resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
            (
                "nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
                    .to_owned(),
            ),
        ];
        for (name, text) in written {
            fs::write(etc.join(name), text)?;
        }
        for name in COPIED {
            // Each is optional: programs have a way without.
            let _ = fs::copy(Path::new("/etc").join(name), etc.join(name));
        }
        if Path::new("/usr/lib/os-release").exists() {
            symlink("../usr/lib/os-release", etc.join("os-release"))?;
        }
        for name in BOUND {
            let source = Path::new("/etc").join(name);
            let Ok(found) = fs::metadata(&source) else {
                continue;
            };
            let target = etc.join(name);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            if found.is_dir() {
                fs::create_dir(&target)?
            } else {
                fs::write(&target, "")?
            }
            bind(&source, &target, READ_ONLY | NO_SUID | NO_DEVICES)?;
        }
        bind(&etc, &etc, READ_ONLY | NO_SUID | NO_DEVICES)?;
        self.folders.push("etc");
        Ok(())
    }
}

/// Certificates to trust: those of the host with the platform's own, where the host has any, and
/// the platform's alone. Nothing else of their folder is copied.
fn trusted(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for name in TRUSTED {
        let source = from.join(name);
        match fs::copy(&source, to.join(name)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(source.display()),
        }
    }
    Ok(())
}

/// Binds a host folder or file with everything mounted under it.
fn bind(source: &Path, target: &Path, attributes: u64) -> io::Result<()> {
    let tree = tree::clone(source).context(source.display())?;
    syscall::restrict_mount(tree.as_fd(), attributes, true).context(source.display())?;
    rustix::mount::move_mount(
        &tree,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .context(target.display())
}
