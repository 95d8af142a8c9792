//! What an instance needs of whatever its process runs in.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::Clock;

use crate::contract::lambda::words::Exit;
use crate::spawner::{self, CompanionEnd, Keeper, Status};

/// A running process and everything it started.
pub(crate) trait Sandbox: Send + Sync + fmt::Debug + 'static {
    /// Resolves when the program has ended; may be awaited by several, and after the fact.
    fn exited(&self) -> BoxFuture<'static, Exit>;

    /// Resolves when more than `known` of its companions have ended, with all who have, each with
    /// its place among them.
    fn companions_ended(&self, known: usize) -> BoxFuture<'static, Vec<(usize, CompanionExit)>> {
        let _ = known;
        std::future::pending().boxed()
    }

    /// Has the program start, which has waited for its companions.
    fn proceed(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    /// Asks the program to end.
    fn terminate(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    /// Ends it; resolves when nothing is left.
    fn kill(&self) -> BoxFuture<'_, ()>;

    /// Stops it from using the processor.
    fn freeze(&self) -> BoxFuture<'_, ()>;

    /// Undoes that.
    fn thaw(&self) -> BoxFuture<'_, ()>;

    /// Resolves when it uses more memory than this, unless the kernel ends it for that.
    fn outgrows<'a>(&'a self, bytes: u64, clock: &'a dyn Clock) -> BoxFuture<'a, ()>;

    /// Marks whether it is idle, and could go on with another process of the platform.
    fn mark(&self, idle: bool) {
        let _ = idle;
    }

    /// Has this known to another process that may go on with it.
    fn note(&self, note: Vec<u8>) -> BoxFuture<'static, ()> {
        let _ = note;
        std::future::ready(()).boxed()
    }

    /// Lets go of it, for another process that goes on with it and with these connections. Whether
    /// that was done.
    fn leave(&self, note: Vec<u8>, connections: Vec<OwnedFd>) -> BoxFuture<'_, bool> {
        let _ = (note, connections);
        std::future::ready(false).boxed()
    }

    /// The most memory it ever used, in bytes, where the host can tell.
    fn memory_peak_bytes(&self) -> Option<u64>;

    /// Memory it uses now, in bytes, where the host can tell.
    fn memory_bytes(&self) -> Option<u64>;
}

/// How a companion ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CompanionExit {
    /// It ran.
    Ran(Exit),
    /// It could not be started, for this reason.
    NotStarted(String),
}

fn in_words(exit: spawner::Exit) -> Exit {
    match exit.status {
        // The kernel may have killed a child that the program could do without.
        Status::Signal(9) if exit.out_of_memory => Exit::OutOfMemory,
        Status::Signal(signal) => Exit::Signal(signal),
        Status::Code(code) => Exit::Code(code),
    }
}

impl Sandbox for Keeper {
    fn exited(&self) -> BoxFuture<'static, Exit> {
        Self::exited(self).map(in_words).boxed()
    }

    fn companions_ended(&self, known: usize) -> BoxFuture<'static, Vec<(usize, CompanionExit)>> {
        let one = |(index, end)| match end {
            CompanionEnd::Exit(exit) => (index, CompanionExit::Ran(in_words(exit))),
            CompanionEnd::NotStarted(reason) => (index, CompanionExit::NotStarted(reason)),
        };
        Self::companions_ended(self, known)
            .map(move |ended| ended.into_iter().map(one).collect())
            .boxed()
    }

    fn proceed(&self) -> BoxFuture<'_, ()> {
        Self::proceed(self).boxed()
    }

    fn terminate(&self) -> BoxFuture<'_, ()> {
        Self::terminate(self).boxed()
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Self::kill(self).boxed()
    }

    fn freeze(&self) -> BoxFuture<'_, ()> {
        Self::freeze(self).boxed()
    }

    fn thaw(&self) -> BoxFuture<'_, ()> {
        Self::thaw(self).boxed()
    }

    fn outgrows<'a>(&'a self, bytes: u64, clock: &'a dyn Clock) -> BoxFuture<'a, ()> {
        Self::outgrows(self, bytes, clock).boxed()
    }

    fn mark(&self, idle: bool) {
        Self::mark(self, idle);
    }

    fn note(&self, note: Vec<u8>) -> BoxFuture<'static, ()> {
        let keeper = self.clone();
        async move { keeper.note(&note).await }.boxed()
    }

    fn leave(&self, note: Vec<u8>, connections: Vec<OwnedFd>) -> BoxFuture<'_, bool> {
        async move {
            let connections: Vec<_> = connections.iter().map(AsFd::as_fd).collect();
            Self::leave(self, &note, &connections).await
        }
        .boxed()
    }

    fn memory_peak_bytes(&self) -> Option<u64> {
        Self::memory_peak_bytes(self)
    }

    fn memory_bytes(&self) -> Option<u64> {
        Self::memory_bytes(self)
    }
}
