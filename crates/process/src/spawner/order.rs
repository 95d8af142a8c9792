//! What a jail is ordered with, and how it ends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::jail::plan::{Program, Tree};

/// Everything a jail is claimed with. Paths are as seen inside, unless they say otherwise.
#[derive(Debug, Clone)]
pub struct Order {
    /// The program, by its absolute path, and its arguments.
    pub argv: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// Host folders and files to be seen inside, read-only.
    pub binds: Vec<Bind>,
    /// Several host folders seen as one, read-only: the target, then the folders, later ones
    /// winning.
    pub overlays: Vec<(PathBuf, Vec<PathBuf>)>,
    /// Symbolic links: where, and what they point to.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Programs that run beside it, and are started first; it waits for [`super::Keeper::proceed`]
    /// if there are any.
    pub companions: Vec<Companion>,
    /// Small read-only files. Together with arguments and environment they may hold 180 KiB.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// What it may use.
    pub limits: Limits,
    /// Whether connections to the outside are carried.
    pub outside_network: bool,
    /// Whether the program gets a socket to us as descriptor 3, and a pipe from us as 4.
    pub control: bool,
    /// Unconnected TCP sockets of the jail's network to hand out.
    pub dialers: u8,
    /// What of all this can be there before it is known whose the jail will be, where that helps:
    /// a program that waits at its control socket for the rest. Mounts, links and files of it are
    /// among those above, and the order is good without it.
    pub boot: Option<Arc<Boot>>,
}

/// An interpreter to be started ahead; the same for whoever wants the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The program, by its absolute path, and its arguments.
    pub argv: Vec<OsString>,
    /// Its whole environment; nothing in it is anybody's own.
    pub env: Vec<(OsString, OsString)>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// Host folders and files to be seen inside, read-only.
    pub binds: Vec<Bind>,
    /// Symbolic links: where, and what they point to.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Small read-only files.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// What it may use until it is claimed; what can be executed holds from then on, too.
    pub limits: Limits,
    /// Which folders and files those are that are seen inside: others may be at their paths later.
    sources: Vec<Option<Identity>>,
}

/// Which folder or file of the host's something is, whatever is at its path later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: (u32, u32),
    inode: u64,
    /// Numbers of what is gone are given again.
    born: (i64, u32),
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let mask = StatxFlags::INO | StatxFlags::BTIME;
        let found = rustix::fs::statx(CWD, path, AtFlags::empty(), mask).ok()?;
        Some(Self {
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            born: (found.stx_btime.tv_sec, found.stx_btime.tv_nsec),
        })
    }
}

impl Boot {
    /// What is in an order, with this environment and these limits until it is claimed. Looks at what
    /// is mounted (a system call each).
    pub(crate) fn of(order: &Order, env: Vec<(OsString, OsString)>, limits: Limits) -> Self {
        let sources = order.binds.iter().map(|bind| Identity::of(&bind.source));
        Self {
            argv: order.argv.clone(),
            env,
            cwd: order.cwd.clone(),
            sources: sources.collect(),
            binds: order.binds.clone(),
            links: order.links.clone(),
            files: order.files.clone(),
            limits,
        }
    }

    pub(super) fn trees(&self) -> Vec<Tree> {
        self.binds.iter().map(Bind::tree).collect()
    }

    pub(super) fn program(&self) -> Program {
        Program {
            argv: self.argv.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            links: self.links.clone(),
            files: self.files.clone(),
            companions: Vec::new(),
        }
    }
}

impl Bind {
    fn tree(&self) -> Tree {
        Tree {
            target: self.target.clone(),
            sources: vec![self.source.clone()],
        }
    }
}

/// A program that runs beside the one a jail is for. What all of them print comes in one stream
/// of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// The program, by its absolute path, and its arguments.
    pub argv: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where it starts.
    pub cwd: PathBuf,
}

/// How a companion ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompanionEnd {
    /// It ran.
    Exit(Exit),
    /// It could not be started, for this reason.
    NotStarted(String),
}

/// A host folder or file that is seen inside, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside; made if it is not there.
    pub target: PathBuf,
}

/// What a jail may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all its processes and of what it writes to `/tmp`, in bytes.
    pub memory_bytes: u64,
    /// Share of the processors when they are short; 1000 is one processor's.
    pub cpu_weight_millis: u32,
    /// Processes and threads at once.
    pub processes: u32,
    /// Open files of each process.
    pub open_files: u32,
    /// Size of `/tmp`, in bytes.
    pub tmp_bytes: u64,
    /// Whether what is written to `/tmp` can be executed.
    pub tmp_exec: bool,
}

/// How a jail's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// What the kernel says.
    pub status: Status,
    /// Whether the kernel killed a process of the jail for want of memory.
    pub out_of_memory: bool,
}

/// What the kernel says of a program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It exited.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl Order {
    /// Mounts, without those that a started interpreter has.
    pub(super) fn trees(&self, booted: Option<&Boot>) -> Vec<Tree> {
        let there = |bind: &&Bind| !booted.is_some_and(|boot| boot.binds.contains(bind));
        let binds = self.binds.iter().filter(there).map(Bind::tree);
        let overlays = self
            .overlays
            .iter()
            .filter(|(_, sources)| !sources.is_empty());
        let overlays = overlays.map(|(target, sources)| Tree {
            target: target.clone(),
            sources: sources.clone(),
        });
        binds.chain(overlays).collect()
    }

    /// The program and what is laid out for it; what is left of that beside a started interpreter.
    pub(super) fn program(&self, booted: Option<&Boot>) -> Program {
        let Some(boot) = booted else {
            return Program {
                argv: self.argv.clone(),
                env: self.env.clone(),
                cwd: self.cwd.clone(),
                links: self.links.clone(),
                files: self.files.clone(),
                companions: self.companions.clone(),
            };
        };
        let links = self.links.iter().filter(|link| !boot.links.contains(link));
        let files = self.files.iter().filter(|file| !boot.files.contains(file));
        Program {
            argv: Vec::new(),
            env: Vec::new(),
            cwd: self.cwd.clone(),
            links: links.cloned().collect(),
            files: files.cloned().collect(),
            companions: Vec::new(),
        }
    }
}
