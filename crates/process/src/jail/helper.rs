//! The spawner helper: a process of its own with one thread, the only holder of privileges.
//! Makes generic jails, hands them out, and ends them; reads nothing that a tenant wrote.

mod claim;
mod end;
pub(super) mod keep;
mod source;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, socketpair,
};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::cgroup::Cgroups;
use super::context::Context as _;
use super::ids::Ids;
use super::inside::Inside;
use super::lite;
use super::message::{Common, Facts, Handed, JailId, Notice, Order, Report, Request};
use super::program::Control;
use super::seccomp;
use super::syscall::{self, NAMESPACES};
use super::template::Template;
use super::wire::{self, MESSAGE_BYTES_MAX};
use crate::host::Host;
use crate::spawner::{CompanionEnd, Exit};
use keep::{Held, Keeping};
use source::Source;

/// Between attempts to remove the group of a jail whose processes are still dying.
const REMOVE_AGAIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// Attempts until a group is left to the next helper's sweep; five seconds.
const REMOVE_ATTEMPTS: u32 = 1000;

/// How likely the kernel's killer takes a jail before anything else of the host (out of 1000).
const OOM_SCORE: &str = "500";

/// What of the host the helper works with.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) walls: Walls,
    pub(super) cgroups: Cgroups,
    pub(super) ids: Ids,
    pub(super) filter: seccomp::Program,
    pub(super) common: Common,
}

/// What stands between instances and the host.
#[derive(Debug)]
pub(super) enum Walls {
    /// Namespaces, and in them roots made of this.
    Jail(Template),
    /// Filters only; what instances may write is below this.
    Lite(lite::Base),
}

/// The helper with its jails.
#[derive(Debug)]
pub(super) struct Helper {
    daemon: OwnedFd,
    epoll: OwnedFd,
    ground: Ground,
    jails: BTreeMap<JailId, Jail>,
    /// Jails whose processes are gone but whose group is not, with the attempts so far.
    removing: Vec<(JailId, u32)>,
    /// Whether processes may be left of instances whose first process did not end them.
    strays: bool,
    next: JailId,
    /// Generic jails asked for and not begun.
    wanted: usize,
    ending: bool,
    /// What is kept for another daemon, where anything is.
    keeping: Option<Keeping>,
    /// Whether there is no daemon, and another is waited for.
    awaited: bool,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Jail {
    pid: Pid,
    pidfd: OwnedFd,
    /// To its first process; none once that has hung up.
    socket: Option<OwnedFd>,
    user: u32,
    /// Ours until it is ready, then the daemon's.
    ends: Option<Ends>,
    /// What could be handed on to another daemon.
    held: Option<Held>,
    /// Whether an interpreter was started in it, to be claimed with it.
    booted: bool,
    claimed: bool,
    exit_told: bool,
}

/// The daemon's ends of what a program writes to and talks through.
#[derive(Debug)]
struct Ends {
    output: OwnedFd,
    control: OwnedFd,
    requests: OwnedFd,
}

/// A jail that is ready, not yet told to the daemon.
#[derive(Debug)]
pub(super) struct Ready {
    id: JailId,
    handed: Handed,
    listeners: Vec<OwnedFd>,
}

impl Helper {
    pub(super) fn new(
        daemon: OwnedFd,
        epoll: OwnedFd,
        ground: Ground,
        keeping: Option<Keeping>,
    ) -> Self {
        Self {
            daemon,
            epoll,
            ground,
            jails: BTreeMap::new(),
            removing: Vec::new(),
            strays: false,
            next: 1,
            wanted: 0,
            ending: false,
            keeping,
            awaited: false,
            buffer: vec![0; MESSAGE_BYTES_MAX],
        }
    }

    /// Makes a jail to see that it can be done, and waits until it is ready.
    pub(super) fn trial(&mut self) -> io::Result<(Facts, Ready)> {
        self.watch(&self.daemon, Source::Daemon)?;
        if let Some(keeping) = &self.keeping {
            self.watch(keeping.door(), Source::Door)?;
        }
        let id = self.prepare()?;
        let jail = self.jails.get(&id).and_then(|jail| jail.socket.as_ref());
        let socket = jail.ok_or_else(|| io::Error::other("the first jail has no socket"))?;
        let limit = Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        if rustix::event::poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit))? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no jail was ready in 5 s",
            ));
        }
        let (length, listeners) = wire::receive(socket, &mut self.buffer, RecvFlags::DONTWAIT)?;
        match Report::read(self.buffer.get(..length).unwrap_or_default()) {
            Ok(Report::Ready { handed, facts }) => Ok((
                facts,
                Ready {
                    id,
                    handed,
                    listeners,
                },
            )),
            Ok(Report::Failed(reason)) => Err(io::Error::other(reason)),
            _ => Err(io::Error::other("the first jail ended while it was made")),
        }
    }

    /// Serves the daemon until it is gone or has had enough, and nothing is left.
    pub(super) fn run(mut self, host: Host, first: Ready) -> io::Result<()> {
        self.tell(&Notice::Host(Box::new(host)), &[]);
        self.ready(first);
        let mut events = Vec::with_capacity(64);
        while !self.is_done() {
            let timeout = if self.wanted > 0 {
                Some(Timespec::default())
            } else if self.removing.is_empty() {
                None
            } else {
                Some(REMOVE_AGAIN)
            };
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match Source::of(event.data.u64()) {
                    Source::Daemon => self.obey(),
                    Source::Socket(id) => self.hear(id),
                    Source::Process(id) => self.bury(id),
                    Source::Door => self.open_door(),
                    Source::Visitor => self.hear_visitor(),
                    Source::Timer => self.give_in(),
                }
            }
            self.remove_groups();
            // One at a time and last, so that no claim waits for more than one.
            if events.is_empty() && self.wanted > 0 {
                self.wanted -= 1;
                if let Err(error) = self.prepare() {
                    self.tell(&Notice::Unprepared(error.to_string()), &[]);
                }
            }
        }
        self.ground.cgroups.close();
        if let Some(keeping) = &self.keeping {
            keeping.close();
        }
        if let Walls::Lite(base) = &self.ground.walls {
            base.close();
        }
        Ok(())
    }

    fn watch(&self, descriptor: &OwnedFd, source: Source) -> io::Result<()> {
        let data = epoll::EventData::new_u64(source.number());
        Ok(epoll::add(
            &self.epoll,
            descriptor,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    /// Failures are those of a daemon that is gone, which the next receive notices.
    fn tell(&self, notice: &Notice, descriptors: &[BorrowedFd<'_>]) {
        let _ = wire::send(
            &self.daemon,
            &[&notice.write()],
            descriptors,
            SendFlags::empty(),
        );
    }

    /// Carries out what the daemon asks, until there is nothing more asked.
    fn obey(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let received = wire::receive(&self.daemon, &mut buffer, RecvFlags::DONTWAIT);
            let (length, descriptors) = match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => (0, Vec::new()),
                Ok(received) => received,
            };
            if length == 0 {
                // Heard once; the level would be reported for ever.
                let _ = epoll::delete(&self.epoll, &self.daemon);
                self.abandoned();
                break;
            }
            let message = buffer.get_mut(..length).unwrap_or_default();
            match Request::read(message) {
                Ok(request) => self.carry_out(request, descriptors),
                Err(error) => self.tell(&Notice::Unprepared(error.to_string()), &[]),
            }
            // A claim may hold secrets, and every jail begins as a copy of our memory.
            message.fill(0);
        }
        self.buffer = buffer;
    }

    fn carry_out(&mut self, request: Request<'_>, descriptors: Vec<OwnedFd>) {
        match request {
            Request::Begin(_) | Request::Visit(_) | Request::Succeed(_) => {}
            Request::Prepare if self.ending => {
                self.tell(&Notice::Unprepared("the spawner is ending".to_owned()), &[]);
            }
            Request::Prepare => self.wanted += 1,
            Request::Claim(id, plan) => {
                if let Err(error) = self.claim(id, &plan) {
                    self.tell(&Notice::Refused(id, error.to_string()), &[]);
                    self.kill(id);
                }
            }
            Request::Boot(id, plan) => {
                if let Err(error) = self.boot(id, &plan) {
                    self.tell(&Notice::Refused(id, error.to_string()), &[]);
                    self.kill(id);
                }
            }
            Request::Kill(id) => self.kill(id),
            Request::Freeze(id) => self.freeze(id, true),
            Request::Thaw(id) => self.freeze(id, false),
            Request::Proceed(id) => self.order(id, &Order::Proceed),
            Request::Terminate(id) => self.order(id, &Order::Terminate),
            Request::Shutdown => self.end(),
            Request::Hold => {
                if let Some(keeping) = &mut self.keeping {
                    keeping.hold_ports(descriptors);
                }
            }
            Request::Note(id, note) => self.note(id, note),
            Request::Leave(id, note) => self.leave(id, note, descriptors),
        }
    }

    fn end(&mut self) {
        self.ending = true;
        self.wanted = 0;
        let ids: Vec<_> = self.jails.keys().copied().collect();
        for id in ids {
            self.kill(id);
        }
    }

    /// Begins a generic jail. It does the longer part of its preparation by itself.
    fn prepare(&mut self) -> io::Result<JailId> {
        let id = self.next;
        self.next += 1;
        let Some(user) = self.ground.ids.take() else {
            return Err(io::Error::other("all users for jails are in use"));
        };
        let made = self
            .ground
            .cgroups
            .create(id)
            .and_then(|()| self.make(id, user));
        match made {
            Ok(jail) => {
                self.jails.insert(id, jail);
                Ok(id)
            }
            Err(error) => {
                self.ground.ids.give_back(user);
                self.removing.push((id, 0));
                Err(error)
            }
        }
    }

    fn make(&self, id: JailId, user: u32) -> io::Result<Jail> {
        let ground = &self.ground;
        let (ours, helper) = pair(SocketType::SEQPACKET, SocketFlags::CLOEXEC)?;
        let (control_end, socket) = pair(SocketType::STREAM, SocketFlags::CLOEXEC)?;
        let (requests, requests_end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let control = Control { socket, requests };
        let (output_end, output) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        for end in [&output_end, &control_end, &requests_end] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        let birthplace = ground.cgroups.birthplace(id)?;
        let birthplace = birthplace.as_ref().map(AsFd::as_fd);
        let doors = ground.cgroups.doors(id)?;
        let filter = &ground.filter;
        let child = match &ground.walls {
            Walls::Jail(template) => {
                let inside = Inside {
                    helper,
                    output,
                    control,
                    doors,
                    template,
                    common: &ground.common,
                    filter,
                };
                let child = syscall::clone(NAMESPACES, birthplace);
                let Some(child) = child.context("enter new namespaces")? else {
                    inside.run()
                };
                child
            }
            Walls::Lite(base) => {
                let instance = lite::Instance {
                    helper,
                    output,
                    control,
                    doors,
                    folder: base.of(id),
                    filter,
                };
                let child = syscall::clone(0, birthplace);
                let Some(child) = child.context("start a process")? else {
                    instance.run()
                };
                child
            }
        };
        let jail = Jail {
            pid: child.pid,
            pidfd: child.pidfd,
            socket: Some(ours),
            user,
            ends: Some(Ends {
                output: output_end,
                control: control_end,
                requests: requests_end,
            }),
            held: None,
            booted: false,
            claimed: false,
            exit_told: false,
        };
        let score = format!("/proc/{}/oom_score_adj", child.pid.as_raw_pid());
        let _ = std::fs::write(score, OOM_SCORE);
        let begun = self
            .map(&jail)
            .and_then(|()| match &jail.socket {
                Some(socket) => self.watch(socket, Source::Socket(id)),
                None => Ok(()),
            })
            .and_then(|()| self.watch(&jail.pidfd, Source::Process(id)));
        if let Err(error) = begun {
            let _ = rustix::process::pidfd_send_signal(&jail.pidfd, Signal::KILL);
            let _ =
                rustix::process::waitid(WaitId::PidFd(jail.pidfd.as_fd()), WaitIdOptions::EXITED);
            return Err(error);
        }
        Ok(jail)
    }

    /// Gives a jail its user; an instance without namespaces keeps ours.
    fn map(&self, jail: &Jail) -> io::Result<()> {
        let (Walls::Jail(_), Some(socket)) = (&self.ground.walls, &jail.socket) else {
            return Ok(());
        };
        let ids = &self.ground.ids;
        ids.map(jail.pid, jail.user)
            .context("map the jail's user")?;
        wire::send(socket, &[&Order::Mapped.write()], &[], SendFlags::DONTWAIT)
    }

    fn ready(&mut self, ready: Ready) {
        let Ready {
            id,
            handed,
            listeners,
        } = ready;
        let (memory, peak) = self.ground.cgroups.memory(id);
        let Some(ends) = self.jails.get_mut(&id).and_then(|jail| jail.ends.take()) else {
            return;
        };
        let handed = Handed {
            memory: memory.is_some(),
            memory_peak: peak.is_some(),
            ..handed
        };
        let mut descriptors: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
        let ends = [ends.output, ends.control, ends.requests];
        descriptors.extend(ends.iter().map(AsFd::as_fd));
        descriptors.extend([&memory, &peak].into_iter().flatten().map(AsFd::as_fd));
        self.tell(&Notice::Ready(id, handed), &descriptors);
        let Some(jail) = self.jails.get_mut(&id).filter(|_| self.keeping.is_some()) else {
            return;
        };
        let files = [memory, peak].into_iter().flatten();
        let descriptors = listeners.into_iter().chain(ends).chain(files).collect();
        jail.held = Some(Held::new(handed, descriptors));
    }

    fn kill(&mut self, id: JailId) {
        let Some(jail) = self.jails.get_mut(&id) else {
            // Unless its end is on its way anyway.
            if !self.removing.iter().any(|&(removing, _)| removing == id) {
                self.tell(&Notice::Gone(id), &[]);
            }
            return;
        };
        // It is there until its process is buried, and nobody is to have it meanwhile.
        jail.held = None;
        match (&self.ground.walls, &jail.socket) {
            // Its first process is the one that can end the others: it hears that we hang up.
            (Walls::Lite(_), Some(socket)) => {
                let _ = rustix::net::shutdown(socket, Shutdown::Write);
                let _ = rustix::process::pidfd_send_signal(&jail.pidfd, Signal::CONT);
            }
            _ => {
                let _ = rustix::process::pidfd_send_signal(&jail.pidfd, Signal::KILL);
            }
        }
        // A frozen process of version 1 does not die.
        self.ground.cgroups.freeze(id, false);
    }

    fn freeze(&mut self, id: JailId, frozen: bool) {
        if self.jails.contains_key(&id) && !self.ground.cgroups.freeze(id, frozen) {
            let order = if frozen { Order::Stop } else { Order::Continue };
            self.order(id, &order);
        }
        self.tell(&Notice::Settled(id), &[]);
    }

    /// Hands an order to a jail's first process, unless that is about to end anyway.
    fn order(&self, id: JailId, order: &Order<'_>) {
        if let Some(socket) = self.jails.get(&id).and_then(|jail| jail.socket.as_ref()) {
            let _ = wire::send(socket, &[&order.write()], &[], SendFlags::DONTWAIT);
        }
    }

    /// Takes what a jail's first process reports, until there is nothing more.
    fn hear(&mut self, id: JailId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(socket) = self.jails.get(&id).and_then(|jail| jail.socket.as_ref()) {
            match wire::receive(socket, &mut buffer, RecvFlags::DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok((length, descriptors)) if length > 0 => {
                    self.react(id, buffer.get(..length).unwrap_or_default(), descriptors);
                }
                // It has hung up; its end follows.
                _ => {
                    if let Some(jail) = self.jails.get_mut(&id) {
                        jail.socket = None;
                    }
                }
            }
        }
        self.buffer = buffer;
    }

    fn react(&mut self, id: JailId, message: &[u8], descriptors: Vec<OwnedFd>) {
        let jail = self.jails.get(&id);
        let begun = jail.is_some_and(|jail| jail.claimed || jail.booted);
        match Report::read(message) {
            Ok(Report::Ready { handed, .. }) => {
                self.ready(Ready {
                    id,
                    handed,
                    listeners: descriptors,
                });
            }
            Ok(Report::Started) => {
                let dialers: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                let first = self.jails.get(&id).map_or(0, |jail| jail.pid.as_raw_pid());
                self.tell(&Notice::Started(id, first), &dialers);
            }
            Ok(Report::Failed(reason)) if begun => self.tell(&Notice::Refused(id, reason), &[]),
            Ok(Report::Failed(reason)) => self.unprepared(id, reason),
            Ok(Report::Exited(status)) => self.tell_exit(id, status),
            Ok(Report::CompanionExited(index, status)) => {
                let exit = Exit {
                    status,
                    out_of_memory: self.ground.cgroups.out_of_memory(id),
                };
                let end = CompanionEnd::Exit(exit);
                self.tell(&Notice::Companion(id, index, end), &[]);
            }
            Ok(Report::NotStarted(index, reason)) => {
                let end = CompanionEnd::NotStarted(reason);
                self.tell(&Notice::Companion(id, index, end), &[]);
            }
            // Only a broken first process says anything else.
            Err(_) => self.kill(id),
        }
    }
}

fn pair(kind: SocketType, flags: SocketFlags) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, kind, flags, None)?)
}
