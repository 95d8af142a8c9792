//! The daemon's end of the socket to the helper: sends requests, sorts notices to those who
//! wait for them, and keeps the pool of generic jails.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::sync::{Notify, oneshot, watch};

use super::jail::{Control, Doors, Jail, Keeper};
use super::{CompanionEnd, Error, Exit, Status};
use crate::jail::marks::Marks;
use crate::jail::message::{Handed, JailId, Notice, Request};
use crate::jail::wire::{self, MESSAGE_BYTES_MAX};

/// Claims that may wait for a jail at once. Beyond it something is wrong, and waiting longer
/// makes it worse.
const WAITING_MAX: usize = 4096;

/// Companions whose ends are kept for one jail (ours: more than any contract has).
const COMPANIONS_MAX: usize = 64;

/// How long after a claim the pool is filled up again: the program that has just been started
/// goes first.
const REFILL_AFTER: Duration = Duration::from_millis(15);

/// The shared state of everyone who talks to the helper.
#[derive(Debug)]
pub(super) struct Link {
    socket: tokio::net::UnixStream,
    pool: usize,
    pub(super) clock: Arc<dyn store::Clock>,
    state: Mutex<State>,
    /// There are jails to kill.
    kills: Notify,
    refill: Notify,
    /// Where the helper reads which jails are idle, where it keeps any.
    pub(super) marks: Option<Marks>,
    /// Turns true once another daemon waits to take over.
    pub(super) successor: watch::Sender<bool>,
    /// Whether this daemon has let go of everything.
    leaving: AtomicBool,
    /// True once the helper is gone and what it left is removed.
    pub(super) ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    ready: VecDeque<Prepared>,
    /// Asked for and neither ready nor refused.
    preparing: usize,
    waiting: VecDeque<oneshot::Sender<Result<Prepared, Error>>>,
    jails: HashMap<JailId, Entry>,
    to_kill: Vec<JailId>,
}

#[derive(Debug)]
struct Entry {
    exit: watch::Sender<Option<Exit>>,
    companions: watch::Sender<Vec<(usize, CompanionEnd)>>,
    gone: watch::Sender<bool>,
    started: Option<oneshot::Sender<Result<Started, Error>>>,
    settled: VecDeque<oneshot::Sender<()>>,
}

/// What comes with a program that runs.
#[derive(Debug)]
pub(super) struct Started {
    /// The jail's first process, by the host's number.
    pub(super) first: i32,
    /// The last is what companions print, where there are any.
    pub(super) dialers: Vec<OwnedFd>,
}

/// A generic jail, ready to be claimed.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) control: Control,
    pub(super) output: OwnedFd,
    pub(super) doors: Doors,
    pub(super) keeper: Keeper,
}

impl Link {
    pub(super) fn new(
        socket: tokio::net::UnixStream,
        pool: usize,
        marks: Option<Marks>,
        clock: Arc<dyn store::Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            socket,
            pool,
            clock,
            marks,
            successor: watch::Sender::new(false),
            leaving: AtomicBool::new(false),
            // The helper makes one by itself when it starts.
            state: Mutex::new(State {
                preparing: 1,
                ..State::default()
            }),
            kills: Notify::new(),
            refill: Notify::new(),
            ended: watch::Sender::new(false),
        })
    }

    /// Listens to the helper until it is gone.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        loop {
            match self.receive(&mut buffer).await {
                Ok((length, descriptors)) if length > 0 => {
                    match Notice::read(buffer.get(..length).unwrap_or_default()) {
                        Ok(notice) => self.take(notice, descriptors),
                        Err(error) => tracing::error!(%error, "spawner"),
                    }
                }
                _ => break,
            }
        }
        self.end();
    }

    /// Kills for those who could not wait. Not where notices are taken: the helper waits until they
    /// are, and nothing is sent to it meanwhile.
    pub(super) async fn keep_killing(self: Arc<Self>) {
        let mut ended = self.ended.subscribe();
        loop {
            tokio::select! {
                () = self.kills.notified() => {}
                _ = ended.wait_for(|ended| *ended) => return,
            }
            let kills = std::mem::take(&mut self.state.lock().to_kill);
            for id in kills {
                let _ = self.send(&Request::Kill(id), &[]).await;
            }
        }
    }

    /// Keeps the pool full, a little after each claim.
    pub(super) async fn keep_full(self: Arc<Self>) {
        let mut ended = self.ended.subscribe();
        loop {
            tokio::select! {
                () = self.refill.notified() => {}
                _ = ended.wait_for(|ended| *ended) => return,
            }
            self.clock.sleep(REFILL_AFTER).await;
            self.top_up(self.pool).await;
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.socket
            .async_io(Interest::READABLE, || {
                wire::receive(&self.socket, buffer, RecvFlags::DONTWAIT)
            })
            .await
    }

    pub(super) async fn send(
        &self,
        request: &Request<'_>,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let message = request.write();
        self.socket
            .async_io(Interest::WRITABLE, || {
                wire::send(&self.socket, &[&message], descriptors, SendFlags::DONTWAIT)
            })
            .await
    }

    /// Lets go of the helper and everything it keeps; nothing can be asked of it any more.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// A jail that an earlier daemon has let go of, and the descriptors that came with it besides.
    pub(super) fn take_over(
        self: &Arc<Self>,
        id: JailId,
        handed: Handed,
        first: i32,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<(Jail, Vec<OwnedFd>)> {
        let (entry, keeper, parts, rest) = self.entry(id, handed, descriptors);
        self.state.lock().jails.insert(id, entry);
        keeper.begin(first);
        let (doors, output, control) = parts?;
        let jail = Jail {
            control: Some(control),
            output,
            companions_output: None,
            doors,
            dialers: Vec::new(),
            first,
            booted: false,
            keeper,
        };
        Ok((jail, rest))
    }

    /// Kills a jail for somebody who cannot wait. Bounded by the number of jails.
    pub(super) fn kill_later(&self, id: JailId) {
        self.state.lock().to_kill.push(id);
        self.kills.notify_one();
    }

    /// Sends a request and waits until the helper has carried it out.
    pub(super) async fn settle(&self, id: JailId, request: &Request<'_>) {
        let (settled, wait) = oneshot::channel();
        match self.state.lock().jails.get_mut(&id) {
            Some(entry) => entry.settled.push_back(settled),
            None => return,
        }
        if self.send(request, &[]).await.is_ok() {
            // An error means that the jail is gone.
            let _ = wait.await;
        }
    }

    /// A generic jail: from the pool, or made now.
    pub(super) async fn prepared(&self) -> Result<Prepared, Error> {
        let wait = {
            let mut state = self.state.lock();
            if state.ended {
                return Err(Error::Ended);
            }
            if let Some(ready) = state.ready.pop_front() {
                return Ok(ready);
            }
            if state.waiting.len() >= WAITING_MAX {
                return Err(Error::TooMany);
            }
            let (give, wait) = oneshot::channel();
            state.waiting.push_back(give);
            wait
        };
        self.top_up(0).await;
        wait.await.unwrap_or(Err(Error::Ended))
    }

    /// Registers that somebody waits for the program of a claimed jail.
    pub(super) fn expect_start(
        &self,
        id: JailId,
    ) -> Result<oneshot::Receiver<Result<Started, Error>>, Error> {
        let (started, wait) = oneshot::channel();
        let mut state = self.state.lock();
        state.jails.get_mut(&id).ok_or(Error::Ended)?.started = Some(started);
        Ok(wait)
    }

    pub(super) fn refill_soon(&self) {
        self.refill.notify_one();
    }

    /// Asks for as many generic jails as are waited for, and for `pool` more.
    async fn top_up(&self, pool: usize) {
        let missing = {
            let mut state = self.state.lock();
            let wanted = pool + state.waiting.len();
            let missing = wanted.saturating_sub(state.ready.len() + state.preparing);
            state.preparing += missing;
            missing
        };
        for _ in 0..missing {
            let _ = self.send(&Request::Prepare, &[]).await;
        }
    }

    fn take(self: &Arc<Self>, notice: Notice, descriptors: Vec<OwnedFd>) {
        match notice {
            Notice::Host(_)
            | Notice::Welcome(..)
            | Notice::Taken
            | Notice::Kept(..)
            | Notice::AllKept => {}
            Notice::Successor => {
                self.successor.send_replace(true);
            }
            Notice::Ready(id, handed) => self.add(id, handed, descriptors),
            Notice::Unprepared(reason) => self.unprepared(reason),
            Notice::Started(id, first) => {
                if let Some(started) = self.started(id) {
                    let _ = started.send(Ok(Started {
                        first,
                        dialers: descriptors,
                    }));
                }
            }
            Notice::Refused(id, reason) => {
                match self.started(id) {
                    Some(started) => {
                        let _ = started.send(Err(Error::Refused { reason }));
                    }
                    // It waited for companions; its end follows.
                    None => tracing::error!(%reason, "a program could not be started"),
                }
            }
            Notice::Exit(id, exit) => self.exited(id, exit),
            Notice::Companion(id, index, end) => {
                if let Some(entry) = self.state.lock().jails.get(&id) {
                    entry.companions.send_modify(|ended| {
                        if ended.len() < COMPANIONS_MAX {
                            ended.push((index, end));
                        }
                    });
                }
            }
            Notice::Gone(id) => self.gone(id),
            Notice::Settled(id) => {
                let mut state = self.state.lock();
                let entry = state.jails.get_mut(&id);
                if let Some(settled) = entry.and_then(|entry| entry.settled.pop_front()) {
                    let _ = settled.send(());
                }
            }
        }
    }

    fn started(&self, id: JailId) -> Option<oneshot::Sender<Result<Started, Error>>> {
        self.state.lock().jails.get_mut(&id)?.started.take()
    }

    /// What is known of a jail from its descriptors on, and those that were none of its own.
    fn entry(
        self: &Arc<Self>,
        id: JailId,
        handed: Handed,
        descriptors: Vec<OwnedFd>,
    ) -> (Entry, Keeper, io::Result<Parts>, Vec<OwnedFd>) {
        let (exit, exited) = watch::channel(None);
        let (companions, companions_ended) = watch::channel(Vec::new());
        let (gone, is_gone) = watch::channel(false);
        let mut rest = descriptors.into_iter();
        let parts = take_parts(handed, &mut rest);
        let memory = handed.memory.then(|| rest.next()).flatten();
        let memory_peak = handed.memory_peak.then(|| rest.next()).flatten();
        let keeper = Keeper::new(
            id,
            self.clone(),
            (exited, companions_ended),
            is_gone,
            memory,
            memory_peak,
        );
        let entry = Entry {
            exit,
            companions,
            gone,
            started: None,
            settled: VecDeque::new(),
        };
        (entry, keeper, parts, rest.collect())
    }

    fn add(self: &Arc<Self>, id: JailId, handed: Handed, descriptors: Vec<OwnedFd>) {
        let (entry, keeper, parts, _) = self.entry(id, handed, descriptors);
        let mut state = self.state.lock();
        state.preparing = state.preparing.saturating_sub(1);
        state.jails.insert(id, entry);
        let mut prepared = match parts {
            Ok((doors, output, control)) => Ok(Prepared {
                control,
                output,
                doors,
                keeper,
            }),
            Err(error) => Err(Error::Prepare {
                reason: error.to_string(),
            }),
        };
        while let Some(waiting) = state.waiting.pop_front() {
            match waiting.send(prepared) {
                Ok(()) => return,
                // Whoever waited has gone away; the next one gets it.
                Err(back) => prepared = back,
            }
        }
        // The keeper in an error is dropped only when the lock is free again.
        match prepared {
            Ok(prepared) => state.ready.push_back(prepared),
            Err(error) => tracing::error!(%error, "spawner"),
        }
    }

    fn unprepared(&self, reason: String) {
        let mut state = self.state.lock();
        state.preparing = state.preparing.saturating_sub(1);
        match state.waiting.pop_front() {
            Some(waiting) => {
                let _ = waiting.send(Err(Error::Prepare { reason }));
            }
            None => tracing::error!(%reason, "a jail could not be prepared"),
        }
    }

    fn exited(&self, id: JailId, exit: Exit) {
        let dead = {
            let mut state = self.state.lock();
            if let Some(entry) = state.jails.get_mut(&id) {
                entry.exit.send_replace(Some(exit));
                if let Some(started) = entry.started.take() {
                    let reason = "the jail ended before its program ran".to_owned();
                    let _ = started.send(Err(Error::Refused { reason }));
                }
            }
            let dead = state.ready.iter().position(|ready| ready.keeper.id() == id);
            dead.and_then(|index| state.ready.remove(index))
        };
        drop(dead);
    }

    fn gone(&self, id: JailId) {
        if let Some(entry) = self.state.lock().jails.remove(&id) {
            entry.exit.send_if_modified(|exit| {
                let unknown = exit.is_none();
                exit.get_or_insert(KILLED);
                unknown
            });
            entry.gone.send_replace(true);
        }
    }

    /// The helper is gone, and with it every jail.
    fn end(&self) {
        let state = {
            let mut state = self.state.lock();
            std::mem::replace(
                &mut *state,
                State {
                    ended: true,
                    ..State::default()
                },
            )
        };
        for waiting in state.waiting {
            let _ = waiting.send(Err(Error::Ended));
        }
        for entry in state.jails.into_values() {
            if let Some(started) = entry.started {
                let _ = started.send(Err(Error::Ended));
            }
            entry.exit.send_if_modified(|exit| {
                let unknown = exit.is_none();
                exit.get_or_insert(KILLED);
                unknown
            });
            entry.gone.send_replace(true);
        }
        drop(state.ready);
    }

    /// Drops the pool, so that nothing holds the link but those who use it.
    pub(super) fn drain(&self) {
        let ready = std::mem::take(&mut self.state.lock().ready);
        drop(ready);
    }
}

const KILLED: Exit = Exit {
    status: Status::Signal(9),
    out_of_memory: false,
};

/// Listeners, output and control of a jail.
type Parts = (Doors, OwnedFd, Control);

fn take_parts(handed: Handed, rest: &mut impl Iterator<Item = OwnedFd>) -> io::Result<Parts> {
    let mut next = || {
        rest.next()
            .ok_or_else(|| io::Error::other("a descriptor is missing"))
    };
    let mut tcp = || -> io::Result<TcpListener> {
        let listener = TcpListener::from(next()?);
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let runtime_api = tcp()?;
    let home = (0..handed.home).map(|_| tcp()).collect::<Result<_, _>>()?;
    let host_ports = (0..handed.host_ports).map(|_| tcp());
    let host_ports = host_ports.collect::<Result<_, _>>()?;
    let egress = if handed.egress { Some(tcp()?) } else { None };
    let (mut dns, mut dns_tcp) = (None, None);
    if handed.dns {
        let udp = UdpSocket::from(next()?);
        udp.set_nonblocking(true)?;
        dns = Some(udp);
        let listener = TcpListener::from(next()?);
        listener.set_nonblocking(true)?;
        dns_tcp = Some(listener);
    }
    let refusals = if handed.refusals { Some(next()?) } else { None };
    let doors = Doors {
        runtime_api,
        home,
        host_ports,
        egress,
        dns,
        dns_tcp,
        refusals,
    };
    let output = next()?;
    let control = Control {
        socket: UnixStream::from(next()?),
        requests: next()?,
    };
    Ok((doors, output, control))
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use store::Clock as _;

    use super::*;

    #[tokio::test]
    async fn notices_are_taken_while_kills_wait() {
        let kind = SocketType::SEQPACKET;
        let (ours, helper) =
            socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        let full = Request::Prepare.write();
        while wire::send(&ours, &[&full], &[], SendFlags::DONTWAIT).is_ok() {}
        let socket = UnixStream::from(ours);
        socket.set_nonblocking(true).unwrap();
        let clock = Arc::new(store::SystemClock::new());
        let link = Link::new(
            tokio::net::UnixStream::from_std(socket).unwrap(),
            0,
            None,
            clock.clone(),
        );
        link.kill_later(7);
        tokio::spawn(link.clone().listen());
        tokio::spawn(link.clone().keep_killing());
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let notice = Notice::Unprepared("no".to_owned()).write();
        wire::send(&helper, &[&notice], &[], SendFlags::empty()).unwrap();
        let told = tokio::select! {
            told = link.prepared() => told,
            () = clock.sleep(Duration::from_secs(10)) => panic!("nobody took the notice"),
        };
        assert!(matches!(told, Err(Error::Prepare { .. })), "{told:?}");
    }
}
