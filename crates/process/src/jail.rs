//! The spawner helper and what it makes: jails. Everything unsafe of this crate is below here.
//! The helper is this same program, executed anew, so that it has one thread whatever the
//! daemon has.

#![expect(
    unsafe_code,
    reason = "namespaces, mounts and processes have no safe interface"
)]

mod cgroup;
mod context;
mod family;
#[cfg(test)]
mod forked;
mod helper;
mod ids;
mod inside;
mod landlock;
mod lite;
pub(crate) mod marks;
pub(crate) mod message;
mod net;
pub(crate) mod plan;
mod program;
mod seccomp;
mod syscall;
mod template;
mod tree;
pub(crate) mod wire;

pub(crate) use inside::{HOME_PORTS, PORTS};
pub(crate) use lite::{Listed, Peers, listed};
pub(crate) use syscall::landlock_version;
pub(crate) use template::PROGRAMS;

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Resource, Rlimit};

use cgroup::Cgroups;
use context::Context as _;
use helper::keep::Keeping;
use helper::{Ground, Helper, Ready, Walls};
use ids::Ids;
use message::{Notice, Request, Settings};
use seccomp::Namespaces;
use template::{Rights, Template};
use wire::MESSAGE_BYTES_MAX;

use crate::host::{Host, Isolation};

/// Where the socket to the daemon is kept.
const DAEMON: i32 = 3;

/// How long the daemon may take to say what it wants, in seconds.
const BEGIN_SECONDS: i64 = 10;

/// Runs this process as the spawner helper, with its socket to the daemon as standard input.
/// Must be called before a second thread exists. Without a daemon at the other end it removes
/// what dead helpers left, and ends.
pub fn spawner_main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dayfly spawner: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let daemon = settle()?;
    let cgroups = Cgroups::open();
    let (settings, descriptors) = match begin(&daemon) {
        Ok(Some(begun)) => begun,
        nothing => {
            cgroups.close();
            return nothing.map(|_| ());
        }
    };
    let voice = daemon.try_clone()?;
    // Instances without walls are ended by their first processes, which hang on to a daemon.
    let keeps = settings.keep_ms > 0 && settings.lite.is_none();
    let keeping = keeps.then(|| Keeping::new(&settings, descriptors));
    match prepare(daemon, cgroups, &settings, keeping.flatten()) {
        Ok((helper, host, first)) => {
            drop(voice);
            helper.run(host, first)
        }
        Err(error) => {
            let notice = Notice::Unprepared(error.to_string());
            wire::send(&voice, &[&notice.write()], &[], SendFlags::empty())
        }
    }
}

/// Makes the ground for jails and a first one on it, so that what stands in the way is found out
/// now.
fn prepare(
    daemon: OwnedFd,
    cgroups: Cgroups,
    settings: &Settings,
    keeping: Option<Keeping>,
) -> io::Result<(Helper, Host, Ready)> {
    let found = walls(settings);
    let ((walls, rights), filter, epoll) = match found.and_then(with_tools) {
        Ok(found) => found,
        Err(error) => {
            cgroups.close();
            if let Some(keeping) = &keeping {
                keeping.close();
            }
            return Err(error);
        }
    };
    let overlay = match &walls {
        Walls::Jail(template) => template.can_overlay(),
        Walls::Lite(_) => true,
    };
    let ground = Ground {
        walls,
        cgroups,
        ids: Ids::new(rights == Rights::OwnNamespace),
        filter,
        common: settings.common.clone(),
    };
    let (kind, controllers) = (ground.cgroups.kind(), ground.cgroups.controllers());
    let mut helper = Helper::new(daemon, epoll, ground, keeping);
    let (facts, first) = match helper.trial() {
        Ok(made) => made,
        Err(error) => {
            helper.give_up();
            return Err(error);
        }
    };
    let host = Host {
        isolation: match settings.lite {
            Some(_) => Isolation::Lite,
            None => Isolation::Jail,
        },
        reason: settings.lite.clone(),
        privileged: rights == Rights::Host,
        cgroups: kind,
        controllers,
        proc_mounted: facts.proc_mounted,
        outside_network: facts.no_redirect.is_none(),
        no_outside_network: facts.no_redirect,
        overlay,
    };
    Ok((helper, host, first))
}

fn walls(settings: &Settings) -> io::Result<(Walls, Rights)> {
    match settings.lite {
        Some(_) => Ok((lite_walls(settings)?, Rights::OwnNamespace)),
        None => jail_walls(settings),
    }
}

fn jail_walls(settings: &Settings) -> io::Result<(Walls, Rights)> {
    let rights = rights()?;
    template::enter(rights)?;
    let template = Template::build(&settings.runtime_dir, settings.trust.as_deref())?;
    Ok((Walls::Jail(template), rights))
}

fn lite_walls(settings: &Settings) -> io::Result<Walls> {
    // What an instance leaves whose first process was killed becomes our child.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(Walls::Lite(lite::Base::open(&settings.runtime_dir)?))
}

/// What the helper works with beside walls.
fn with_tools(
    (walls, rights): (Walls, Rights),
) -> io::Result<((Walls, Rights), seccomp::Program, OwnedFd)> {
    let among = match walls {
        Walls::Jail(_) => Namespaces::Own,
        Walls::Lite(_) => Namespaces::Hosts,
    };
    let filter = seccomp::program(among).map_err(io::Error::other)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    Ok(((walls, rights), filter, epoll))
}

/// Makes this process one that nobody's terminal, files or descriptors can disturb.
fn settle() -> io::Result<OwnedFd> {
    // SAFETY: standard input is this process's own; nothing else uses it.
    let input = unsafe { syscall::adopt(0) };
    let daemon = rustix::io::fcntl_dupfd_cloexec(&input, DAEMON)?;
    drop(input);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
    // It took the number of standard input, the lowest that is free, and is to stay there.
    std::mem::forget(null);
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let keep = [0, 1, 2, std::os::fd::AsRawFd::as_raw_fd(&daemon)];
    syscall::close_all_but(&keep)?;
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    let _ = rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    );
    rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    // Only root may, and only root's groups matter.
    let _ = rustix::thread::set_thread_groups(&[]);
    Ok(daemon)
}

/// The daemon's first message, with what came with it; none if there is no daemon.
fn begin(daemon: &OwnedFd) -> io::Result<Option<(Settings, Vec<OwnedFd>)>> {
    let limit = Timespec {
        tv_sec: BEGIN_SECONDS,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut [PollFd::new(daemon, PollFlags::IN)], Some(&limit))?;
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let received = wire::receive(daemon, &mut buffer, RecvFlags::DONTWAIT);
    let Ok((length, descriptors)) = received else {
        return Ok(None);
    };
    match Request::read(buffer.get(..length).unwrap_or_default()) {
        Ok(Request::Begin(settings)) => Ok(Some((settings, descriptors))),
        _ => Ok(None),
    }
}

/// With whose rights mounts can be made here, tried out in a process of its own.
fn rights() -> io::Result<Rights> {
    if can_mount(Rights::Host).is_ok() {
        return Ok(Rights::Host);
    }
    can_mount(Rights::OwnNamespace).map(|()| Rights::OwnNamespace)
}

/// Some hosts allow the namespace and then give no rights over it, so it takes a mount to know.
fn can_mount(rights: Rights) -> io::Result<()> {
    let Some(child) = syscall::fork()? else {
        let tried = template::enter(rights).and_then(|()| {
            rustix::mount::mount("tmpfs", "/", "tmpfs", MountFlags::empty(), None)
                .context("mount in a namespace of our own")
        });
        syscall::exit(tried.map_or_else(|error| error.raw_os_error().unwrap_or(1), |()| 0));
    };
    let ended = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())?;
    match ended.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "user namespaces are not allowed here, or give no right to mount",
        )),
    }
}
