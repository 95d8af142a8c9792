//! What an instance needs of whatever its process runs in.

use std::fmt;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::Clock;

use crate::contract::lambda::words::Exit;
use crate::spawner::{Keeper, Status};

/// A running process and everything it started.
pub(crate) trait Sandbox: Send + Sync + fmt::Debug + 'static {
    /// Resolves when the program has ended; may be awaited by several, and after the fact.
    fn exited(&self) -> BoxFuture<'static, Exit>;

    /// Ends it; resolves when nothing is left.
    fn kill(&self) -> BoxFuture<'_, ()>;

    /// Stops it from using the processor.
    fn freeze(&self) -> BoxFuture<'_, ()>;

    /// Undoes that.
    fn thaw(&self) -> BoxFuture<'_, ()>;

    /// Resolves when it uses more memory than this, unless the kernel ends it for that.
    fn outgrows<'a>(&'a self, bytes: u64, clock: &'a dyn Clock) -> BoxFuture<'a, ()>;

    /// The most memory it ever used, in bytes, where the host can tell.
    fn memory_peak_bytes(&self) -> Option<u64>;

    /// Memory it uses now, in bytes, where the host can tell.
    fn memory_bytes(&self) -> Option<u64>;
}

impl Sandbox for Keeper {
    fn exited(&self) -> BoxFuture<'static, Exit> {
        let exited = Self::exited(self);
        async move {
            let exit = exited.await;
            match exit.status {
                // The kernel may have killed a child that the program could do without.
                Status::Signal(9) if exit.out_of_memory => Exit::OutOfMemory,
                Status::Signal(signal) => Exit::Signal(signal),
                Status::Code(code) => Exit::Code(code),
            }
        }
        .boxed()
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

    fn memory_peak_bytes(&self) -> Option<u64> {
        Self::memory_peak_bytes(self)
    }

    fn memory_bytes(&self) -> Option<u64> {
        Self::memory_bytes(self)
    }
}
