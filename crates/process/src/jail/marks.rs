//! A mark for each jail in memory that the daemon and its spawner share: whether the instance in
//! it is idle. It outlives the daemon however that ends, and costs a request no system call.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::MemfdFlags;

use super::message::JailId;

/// Marks of as many jails as live at once, and then some. Two that share one only overwrite each
/// other's name, and then neither counts as idle.
const MARKS: usize = 1 << 16;
const BYTES: usize = MARKS * size_of::<AtomicU64>();

/// All marks of one spawner, as a daemon writes them.
#[derive(Debug)]
pub(crate) struct Marks {
    file: OwnedFd,
    first: NonNull<AtomicU64>,
}

// SAFETY: the mapping is never moved, lives as long as this does, and is accessed by atomic
// operations only.
unsafe impl Send for Marks {}
// SAFETY: as above.
unsafe impl Sync for Marks {}

impl Marks {
    /// New ones: nothing is idle.
    pub(crate) fn new() -> io::Result<Self> {
        let file = rustix::fs::memfd_create("dayfly-marks", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, BYTES as u64)?;
        Self::of(file)
    }

    /// Those of an earlier daemon.
    pub(crate) fn of(file: OwnedFd) -> io::Result<Self> {
        let size = rustix::fs::fstat(&file)?.st_size;
        if usize::try_from(size).ok() != Some(BYTES) {
            return Err(io::Error::other("the marks of a spawner have another size"));
        }
        // SAFETY: a new mapping at an address of the kernel's choice, of a file as large as it.
        // Nobody makes that file smaller: only the daemon and its spawner have it.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { file, first })
    }

    /// The memory itself, for the spawner.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Marks a jail.
    pub(crate) fn set(&self, id: JailId, idle: bool) {
        // SAFETY: the index is below the number of marks, all of which are mapped and aligned, and
        // every value of theirs is one of an atomic number.
        let mark = unsafe { self.first.add(index(id)).as_ref() };
        mark.store(value(id, idle), Ordering::Release);
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        // SAFETY: what was mapped, once; nobody borrows from it any more.
        unsafe { libc::munmap(self.first.as_ptr().cast(), BYTES) };
    }
}

/// Whether a jail is marked idle in this memory.
pub(super) fn is_idle(marks: impl AsFd, id: JailId) -> bool {
    let mut bytes = [0; 8];
    let at = (index(id) * bytes.len()) as u64;
    let read = rustix::io::pread(marks, &mut bytes, at);
    read == Ok(bytes.len()) && u64::from_ne_bytes(bytes) == value(id, true)
}

fn index(id: JailId) -> usize {
    usize::try_from(id % MARKS as u64).unwrap_or(0)
}

fn value(id: JailId, idle: bool) -> u64 {
    id << 1 | u64::from(idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_seen_through_the_file() {
        let marks = Marks::new().unwrap();
        assert!(!is_idle(marks.file(), 7));
        marks.set(7, true);
        assert!(is_idle(marks.file(), 7));
        marks.set(7, false);
        assert!(!is_idle(marks.file(), 7));
        let again = Marks::of(marks.file().try_clone_to_owned().unwrap()).unwrap();
        again.set(7, true);
        assert!(is_idle(marks.file(), 7));
    }

    #[test]
    fn jails_that_share_a_mark_are_never_taken_for_each_other() {
        let marks = Marks::new().unwrap();
        marks.set(3, true);
        marks.set(3 + MARKS as u64, true);
        assert!(!is_idle(marks.file(), 3));
    }
}
