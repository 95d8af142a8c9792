//! What outlives a daemon: the jails that it left idle, the port that it listened on, and the
//! socket at which the next one is heard. What is noted of a jail is passed on unread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::epoll;
use rustix::fs::AtFlags;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::source::Source;
use super::{Helper, Jail};
use crate::jail::marks;
use crate::jail::message::{Handed, JailId, KEEPING_VERSION, Notice, Request, Settings};
use crate::jail::wire;

/// Listeners that one daemon may have held (ours: a server has one).
const PORTS_MAX: usize = 16;

/// What is kept from one daemon to the next.
#[derive(Debug)]
pub(in crate::jail) struct Keeping {
    /// How long, once there is no daemon.
    millis: u64,
    /// Where visitors come.
    door: OwnedFd,
    /// The folder that has the door's name, and the name.
    name: (OwnedFd, PathBuf),
    /// Which jails are idle, as their daemon marks them.
    marks: OwnedFd,
    /// Listeners of the daemon.
    ports: Vec<OwnedFd>,
    visitor: Option<Visitor>,
    /// Runs while there is no daemon.
    timer: Option<OwnedFd>,
    /// Whether the daemon is another than the first: it has jails kept, and none made.
    inherited: bool,
}

/// A daemon to be.
#[derive(Debug)]
struct Visitor {
    socket: OwnedFd,
    /// Whether it wants the instances, once it has said that it is to take over.
    succeeds: Option<bool>,
}

/// A second descriptor of everything of a jail that the daemon has.
#[derive(Debug)]
pub(super) struct Held {
    handed: Handed,
    /// In the order in which they are handed on.
    descriptors: Vec<OwnedFd>,
    /// What the next daemon is told of it; empty until it runs.
    note: Vec<u8>,
    /// Whether its daemon has let go of it.
    left: bool,
}

impl Keeping {
    /// With what came with the first message; none where it did not.
    pub(in crate::jail) fn new(settings: &Settings, descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        let (door, marks) = (descriptors.next()?, descriptors.next()?);
        Some(Self {
            millis: settings.keep_ms,
            door,
            name: (descriptors.next()?, settings.door.clone()),
            marks,
            ports: Vec::new(),
            visitor: None,
            timer: None,
            inherited: false,
        })
    }

    /// Removes the door's name: nothing is kept any more.
    pub(in crate::jail) fn close(&self) {
        // Whoever visits next would do the same.
        let (folder, name) = &self.name;
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }

    pub(super) fn door(&self) -> &OwnedFd {
        &self.door
    }

    pub(super) fn hold_ports(&mut self, ports: Vec<OwnedFd>) {
        let room = PORTS_MAX.saturating_sub(self.ports.len());
        self.ports.extend(ports.into_iter().take(room));
    }
}

impl Held {
    pub(super) fn new(handed: Handed, descriptors: Vec<OwnedFd>) -> Self {
        Self {
            handed,
            descriptors,
            note: Vec::new(),
            left: false,
        }
    }

    /// Closes the way to the outside. Names are still asked for: some lead to the platform.
    pub(super) fn close_outside(&mut self) {
        if self.handed.egress {
            let first = 1 + usize::from(self.handed.home) + usize::from(self.handed.host_ports);
            self.descriptors.remove(first);
            self.handed.egress = false;
        }
    }

    fn leave(&mut self, note: &[u8], more: Vec<OwnedFd>) {
        self.note = note.to_vec();
        self.descriptors.extend(more);
        self.left = true;
    }
}

impl Jail {
    /// Whether it can serve another daemon.
    fn is_kept(&self, id: JailId, marks: &OwnedFd) -> bool {
        self.claimed
            && !self.exit_told
            && self.socket.is_some()
            && self.held.as_ref().is_some_and(|held| {
                !held.note.is_empty() && (held.left || marks::is_idle(marks, id))
            })
    }
}

impl Helper {
    pub(super) fn note(&mut self, id: JailId, note: &[u8]) {
        if let Some(held) = self.jails.get_mut(&id).and_then(|jail| jail.held.as_mut()) {
            held.note = note.to_vec();
        }
    }

    pub(super) fn leave(&mut self, id: JailId, note: &[u8], more: Vec<OwnedFd>) {
        match self.jails.get_mut(&id).and_then(|jail| jail.held.as_mut()) {
            Some(held) => held.leave(note, more),
            // Nobody could have it.
            None => self.kill(id),
        }
    }

    /// The daemon is gone, asked to or not.
    pub(super) fn abandoned(&mut self) {
        let Some(keeping) = self.keeping.as_ref().filter(|_| !self.ending) else {
            return self.end();
        };
        self.wanted = 0;
        let lost = self.jails.iter();
        let lost = lost.filter(|(id, jail)| !jail.is_kept(**id, &keeping.marks));
        let lost: Vec<_> = lost.map(|(id, _)| *id).collect();
        for id in lost {
            self.kill(id);
        }
        self.awaited = true;
        let waits = self.keeping.as_ref().and_then(|it| it.visitor.as_ref());
        if waits.is_some_and(|visitor| visitor.succeeds.is_some()) {
            return self.succeed();
        }
        match self.start_timer() {
            Ok(timer) => {
                if let Some(keeping) = &mut self.keeping {
                    keeping.timer = Some(timer);
                }
            }
            Err(_) => self.end(),
        }
    }

    fn start_timer(&self) -> io::Result<OwnedFd> {
        let millis = self.keeping.as_ref().map_or(0, |keeping| keeping.millis);
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(millis % 1000 * 1_000_000).unwrap_or_default(),
            },
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
        self.watch(&timer, Source::Timer)?;
        Ok(timer)
    }

    /// Nobody has come in time.
    pub(super) fn give_in(&mut self) {
        if self.awaited {
            self.end();
        }
    }

    /// Lets visitors in, one at a time.
    pub(super) fn open_door(&mut self) {
        let Some(keeping) = &self.keeping else { return };
        let Ok(socket) = rustix::net::accept_with(&keeping.door, SocketFlags::CLOEXEC) else {
            return;
        };
        let user = rustix::net::sockopt::socket_peercred(&socket).map(|peer| peer.uid);
        if user.ok() != Some(rustix::process::getuid()) || self.ending {
            return;
        }
        if keeping.visitor.is_some() {
            let _ = wire::send(&socket, &[&Notice::Taken.write()], &[], SendFlags::DONTWAIT);
            return;
        }
        if self.watch(&socket, Source::Visitor).is_ok()
            && let Some(keeping) = &mut self.keeping
        {
            keeping.visitor = Some(Visitor {
                socket,
                succeeds: None,
            });
        }
    }

    /// Takes one message of the visitor. There are two, and its end.
    pub(super) fn hear_visitor(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let keeping = self.keeping.as_ref();
        if let Some(visitor) = keeping.and_then(|keeping| keeping.visitor.as_ref()) {
            let received = wire::receive(&visitor.socket, &mut buffer, RecvFlags::DONTWAIT);
            let request = match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Ok((length, _)) if length > 0 => {
                    let message = buffer.get(..length).unwrap_or_default();
                    Some(Request::read(message).ok())
                }
                _ => Some(None),
            };
            match request {
                None => {}
                Some(Some(Request::Visit(_))) => self.welcome(),
                Some(Some(Request::Succeed(whole))) => self.announce(whole),
                Some(_) => {
                    if let Some(keeping) = &mut self.keeping {
                        keeping.visitor = None;
                    }
                }
            }
        }
        self.buffer = buffer;
    }

    fn welcome(&self) {
        let Some(keeping) = &self.keeping else { return };
        if let Some(visitor) = &keeping.visitor {
            let ports: Vec<_> = keeping.ports.iter().map(AsFd::as_fd).collect();
            let welcome = Notice::Welcome(KEEPING_VERSION, !self.awaited).write();
            let _ = wire::send(&visitor.socket, &[&welcome], &ports, SendFlags::DONTWAIT);
        }
    }

    fn announce(&mut self, whole: bool) {
        let visitor = self.keeping.as_mut().and_then(|it| it.visitor.as_mut());
        if let Some(visitor) = visitor {
            visitor.succeeds = Some(whole);
        }
        if self.awaited {
            self.succeed();
        } else {
            self.tell(&Notice::Successor, &[]);
        }
    }

    /// The visitor becomes the daemon.
    fn succeed(&mut self) {
        let Some(keeping) = &mut self.keeping else {
            return;
        };
        let Some(Visitor { socket, succeeds }) = keeping.visitor.take() else {
            return;
        };
        keeping.timer = None;
        keeping.inherited = true;
        // What is held is the visitor's by now.
        keeping.ports.clear();
        let _ = epoll::delete(&self.epoll, &socket);
        self.daemon = socket;
        self.awaited = false;
        if self.watch(&self.daemon, Source::Daemon).is_err() {
            return self.end();
        }
        let whole = succeeds == Some(true);
        let ids: Vec<_> = self.jails.keys().copied().collect();
        for id in ids {
            if !whole || !self.hand_on(id) {
                self.kill(id);
            }
        }
        let marks = self.keeping.as_ref().map(|keeping| keeping.marks.as_fd());
        let marks: Vec<_> = marks.into_iter().filter(|_| whole).collect();
        self.tell(&Notice::AllKept, &marks);
    }

    /// Tells the new daemon of a jail. False where that cannot be.
    fn hand_on(&mut self, id: JailId) -> bool {
        let Some(jail) = self.jails.get_mut(&id).filter(|jail| !jail.exit_told) else {
            return false;
        };
        let first = jail.pid.as_raw_pid();
        let Some(held) = jail.held.as_mut().filter(|held| !held.note.is_empty()) else {
            return false;
        };
        held.left = false;
        let notice = Notice::Kept(id, held.handed, first, held.note.clone());
        let descriptors: Vec<BorrowedFd<'_>> = held.descriptors.iter().map(AsFd::as_fd).collect();
        let sent = wire::send(
            &self.daemon,
            &[&notice.write()],
            &descriptors,
            SendFlags::empty(),
        );
        held.drop_connections();
        sent.is_ok()
    }

    /// Whether there is nothing left to be kept for a daemon that has no jails made.
    pub(super) fn is_done(&self) -> bool {
        let inherited = self
            .keeping
            .as_ref()
            .is_some_and(|keeping| keeping.inherited);
        let over = self.ending || (inherited && !self.awaited);
        over && self.jails.is_empty() && self.removing.is_empty()
    }
}

impl Held {
    /// Those that were left with it are the new daemon's alone: it may close them.
    fn drop_connections(&mut self) {
        let handed = self.handed;
        let own = 4
            + usize::from(handed.home)
            + usize::from(handed.host_ports)
            + usize::from(handed.refusals)
            + usize::from(handed.egress)
            + 2 * usize::from(handed.dns)
            + usize::from(handed.memory)
            + usize::from(handed.memory_peak);
        self.descriptors.truncate(own);
    }
}
