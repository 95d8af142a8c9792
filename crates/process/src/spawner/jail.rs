//! One claimed jail, as the daemon holds it.

use std::fmt;
use std::future::Future;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use store::Clock;
use tokio::sync::watch;

use super::link::Link;
use super::memory;
use super::{CompanionEnd, Exit, Status};
use crate::jail::message::{JailId, Request};

/// How often memory is looked at where no control group counts it: seldom enough to cost
/// nothing, often enough that little more than the limit can be had.
const MEMORY_EVERY: Duration = Duration::from_millis(100);

/// A jail whose program runs. Dropping it, and every [`Keeper`] of it, kills it.
#[derive(Debug)]
pub struct Jail {
    /// To a launcher, if ordered.
    pub control: Option<Control>,
    /// What the program writes to standard output and error, in one stream; nonblocking.
    pub output: OwnedFd,
    /// The same of its companions, if ordered; nonblocking.
    pub companions_output: Option<OwnedFd>,
    /// Where the program reaches the platform.
    pub doors: Doors,
    /// Unconnected TCP sockets of the jail's network, as many as ordered; nonblocking.
    pub dialers: Vec<OwnedFd>,
    /// Its first process, by the host's number; everything else of it is below.
    pub(crate) first: i32,
    /// Whether its program was started before it was claimed.
    pub(crate) booted: bool,
    pub(super) keeper: Keeper,
}

/// What the daemon and a launcher talk through; nonblocking.
#[derive(Debug)]
pub struct Control {
    /// To the program's descriptor 3, which it writes to; shut down, it ends the talk.
    pub socket: UnixStream,
    /// To its descriptor 4, which it reads from.
    pub requests: OwnedFd,
}

/// Listeners that live in the jail's network; all nonblocking.
#[derive(Debug)]
pub struct Doors {
    /// 127.0.0.1:9001 inside; without a network of its own, a port of the host's loopback, where
    /// others can come too.
    pub runtime_api: TcpListener,
    /// Any address of loopback at the endpoint's port and at those of HTTP and HTTPS inside; none
    /// where that is the host's own.
    pub home: Vec<TcpListener>,
    /// 127.0.0.1 at the ports that lead to this host's, in the order in which they were ordered.
    pub host_ports: Vec<TcpListener>,
    /// Where connections to the outside are redirected to.
    pub egress: Option<TcpListener>,
    /// 127.0.0.1:53 inside.
    pub dns: Option<UdpSocket>,
    /// The same over TCP.
    pub dns_tcp: Option<TcpListener>,
    /// Where the kernel tells of connections to its loopback that were refused, where it does;
    /// nonblocking.
    pub refusals: Option<OwnedFd>,
}

/// What can be done with a jail; cheap to clone. The last one dropped kills the jail.
#[derive(Clone)]
pub struct Keeper {
    inner: Arc<Inner>,
}

struct Inner {
    id: JailId,
    link: Arc<Link>,
    exit: watch::Receiver<Option<Exit>>,
    /// Ends of companions, by their place among them, in the order of their ends.
    companions: watch::Receiver<Vec<(usize, CompanionEnd)>>,
    gone: watch::Receiver<bool>,
    memory: Option<OwnedFd>,
    memory_peak: Option<OwnedFd>,
    /// Its first process, by the host's number, once its program runs.
    first: AtomicI32,
    /// The most that was seen, where no control group counts, in bytes.
    seen_peak: AtomicU64,
    /// Whether it was let go of, for another daemon.
    left: AtomicBool,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("id", &self.inner.id)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let left = self.left.load(Ordering::Acquire) || self.link.is_leaving();
        if !left && !*self.gone.borrow() {
            self.link.kill_later(self.id);
        }
    }
}

impl Jail {
    /// A keeper of its own, for whoever takes this jail apart.
    pub fn keeper(&self) -> Keeper {
        self.keeper.clone()
    }

    /// See [`Keeper::exited`].
    pub fn exited(&self) -> impl Future<Output = Exit> + Send + 'static {
        self.keeper.exited()
    }

    /// See [`Keeper::kill`].
    pub async fn kill(&self) {
        self.keeper.kill().await;
    }

    /// See [`Keeper::freeze`].
    pub async fn freeze(&self) {
        self.keeper.freeze().await;
    }

    /// See [`Keeper::thaw`].
    pub async fn thaw(&self) {
        self.keeper.thaw().await;
    }

    /// See [`Keeper::memory_peak_bytes`].
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        self.keeper.memory_peak_bytes()
    }

    /// See [`Keeper::memory_bytes`].
    pub fn memory_bytes(&self) -> Option<u64> {
        self.keeper.memory_bytes()
    }
}

/// Where the ends of a jail's programs are told.
pub(super) type Ends = (
    watch::Receiver<Option<Exit>>,
    watch::Receiver<Vec<(usize, CompanionEnd)>>,
);

impl Keeper {
    pub(super) fn new(
        id: JailId,
        link: Arc<Link>,
        (exit, companions): Ends,
        gone: watch::Receiver<bool>,
        memory: Option<OwnedFd>,
        memory_peak: Option<OwnedFd>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                id,
                link,
                exit,
                companions,
                gone,
                memory,
                memory_peak,
                first: AtomicI32::new(0),
                seen_peak: AtomicU64::new(0),
                left: AtomicBool::new(false),
            }),
        }
    }

    pub(super) fn id(&self) -> JailId {
        self.inner.id
    }

    /// Whether its program has ended, or it is gone.
    pub(super) fn has_ended(&self) -> bool {
        self.inner.exit.borrow().is_some() || *self.inner.gone.borrow()
    }

    /// Resolves when the program has ended. May be awaited by several, and after the fact.
    pub fn exited(&self) -> impl Future<Output = Exit> + Send + 'static {
        let mut exit = self.inner.exit.clone();
        async move {
            match exit.wait_for(Option::is_some).await.map(|exit| *exit) {
                Ok(Some(exit)) => exit,
                // The helper is gone, and every jail with it.
                _ => Exit {
                    status: Status::Signal(9),
                    out_of_memory: false,
                },
            }
        }
    }

    /// Resolves when more than `known` companions have ended, with all who have: their place among
    /// the companions and how they ended. Never where there is nobody left to end.
    pub fn companions_ended(
        &self,
        known: usize,
    ) -> impl Future<Output = Vec<(usize, CompanionEnd)>> + Send + 'static {
        let mut companions = self.inner.companions.clone();
        async move {
            let ended = companions.wait_for(|ended| ended.len() > known).await;
            match ended.map(|ended| ended.clone()) {
                Ok(ended) => ended,
                // The helper is gone, which ends the program too.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Has the program start, which has waited for its companions.
    pub async fn proceed(&self) {
        let proceed = Request::Proceed(self.inner.id);
        let _ = self.inner.link.send(&proceed, &[]).await;
    }

    /// Asks the program to end, which it need not do. Its companions are not asked.
    pub async fn terminate(&self) {
        let terminate = Request::Terminate(self.inner.id);
        let _ = self.inner.link.send(&terminate, &[]).await;
    }

    /// Ends the whole tree of processes; resolves when processes, mounts and control group are
    /// gone.
    pub async fn kill(&self) {
        if *self.inner.gone.borrow() {
            return;
        }
        let _ = self
            .inner
            .link
            .send(&Request::Kill(self.inner.id), &[])
            .await;
        let mut gone = self.inner.gone.clone();
        // An error means that the helper is gone, and every jail with it.
        let _ = gone.wait_for(|gone| *gone).await;
    }

    /// Stops every process from using the processor.
    pub async fn freeze(&self) {
        self.inner
            .link
            .settle(self.inner.id, &Request::Freeze(self.inner.id))
            .await;
    }

    /// Undoes [`Keeper::freeze`].
    pub async fn thaw(&self) {
        self.inner
            .link
            .settle(self.inner.id, &Request::Thaw(self.inner.id))
            .await;
    }

    /// Whether another daemon could take it over.
    pub fn is_kept(&self) -> bool {
        self.inner.link.marks.is_some()
    }

    /// What another daemon is to know of it. Its program runs.
    pub async fn note(&self, note: &[u8]) {
        let note = Request::Note(self.inner.id, note);
        let _ = self.inner.link.send(&note, &[]).await;
    }

    /// Marks whether it is idle, and could go on with another daemon as it is. Costs a store to
    /// memory.
    pub fn mark(&self, idle: bool) {
        if let Some(marks) = &self.inner.link.marks {
            marks.set(self.inner.id, idle);
        }
    }

    /// Lets go of it, so that the daemon that comes next has it as it is, with these connections.
    /// Answers whether that was done: it is then not to be used any more, and not killed when
    /// dropped.
    pub async fn leave(&self, note: &[u8], connections: &[BorrowedFd<'_>]) -> bool {
        if !self.is_kept() || *self.inner.gone.borrow() {
            return false;
        }
        let leave = Request::Leave(self.inner.id, note);
        let left = self.inner.link.send(&leave, connections).await.is_ok();
        self.inner.left.store(left, Ordering::Release);
        left
    }

    /// The program runs, below this process.
    pub(super) fn begin(&self, first: i32) {
        self.inner.first.store(first, Ordering::Relaxed);
    }

    /// The most memory it ever used, in bytes, or was seen to use where no control group counts.
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        if self.is_counted() {
            return read_number(self.inner.memory_peak.as_ref());
        }
        self.look();
        Some(self.inner.seen_peak.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Memory it uses now, in bytes.
    pub fn memory_bytes(&self) -> Option<u64> {
        if self.is_counted() {
            return read_number(self.inner.memory.as_ref());
        }
        self.look()
    }

    /// Resolves when it uses more memory than this, where no control group ends it for that;
    /// never where one does.
    pub(crate) async fn outgrows(&self, bytes: u64, clock: &dyn Clock) {
        if self.is_counted() {
            return std::future::pending().await;
        }
        loop {
            clock.sleep(MEMORY_EVERY).await;
            let keeper = self.clone();
            let looked = tokio::task::spawn_blocking(move || {
                // Dearer, so only where the cheap figure asks for it.
                keeper.look().is_some_and(|used| used > bytes)
                    && memory::used_bytes_once(keeper.inner.first.load(Ordering::Relaxed)) > bytes
            });
            if looked.await.unwrap_or(false) {
                return;
            }
        }
    }

    /// Whether a control group counts its memory, and so holds its limit.
    fn is_counted(&self) -> bool {
        self.inner.memory.is_some()
    }

    fn look(&self) -> Option<u64> {
        let first = self.inner.first.load(Ordering::Relaxed);
        let used = (first > 0).then(|| memory::used_bytes(first))?;
        self.inner.seen_peak.fetch_max(used, Ordering::Relaxed);
        Some(used)
    }
}

fn read_number(file: Option<&OwnedFd>) -> Option<u64> {
    let mut buffer = [0; 32];
    let length = rustix::io::pread(file?, &mut buffer, 0).ok()?;
    std::str::from_utf8(buffer.get(..length)?)
        .ok()?
        .trim()
        .parse()
        .ok()
}
