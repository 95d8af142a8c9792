//! Whom a jail's user is on the host: as root a host user of its own for each jail, otherwise
//! the one user that we are.

use std::collections::HashSet;
use std::fs;
use std::io;

use rustix::process::Pid;

/// The user and group inside, as on Lambda (`sbx_user1051`).
pub(crate) const INSIDE: u32 = 993;

/// Where our users begin: far above what distributions, containers and `subuid` files hand out.
const HIGH: u32 = 0x5D00_0000;

/// Users that one helper has for its jails, and so how many jails it can hold at once.
const SPAN: u32 = 4096;

/// Hands out host users (each also a group of the same number).
#[derive(Debug)]
pub(super) struct Ids {
    /// None: everything is mapped to the user that we are.
    first: Option<u32>,
    next: u32,
    taken: HashSet<u32>,
}

impl Ids {
    /// `own` marks a helper without the right to use other users.
    pub(super) fn new(own: bool) -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let helper = std::process::id() % SPAN;
        let first = if own { None } else { first_free(&map, helper) };
        Self {
            first,
            next: 0,
            taken: HashSet::new(),
        }
    }

    /// A user that no living jail has; none when there is none left.
    pub(super) fn take(&mut self) -> Option<u32> {
        let Some(first) = self.first else {
            return Some(rustix::process::getuid().as_raw());
        };
        for _ in 0..SPAN {
            let id = first + self.next;
            self.next = (self.next + 1) % SPAN;
            if self.taken.insert(id) {
                return Some(id);
            }
        }
        None
    }

    pub(super) fn give_back(&mut self, id: u32) {
        self.taken.remove(&id);
    }

    /// Writes the maps of a new user namespace, in which only [`INSIDE`] exists.
    pub(super) fn map(&self, process: Pid, outside: u32) -> io::Result<()> {
        let group = match self.first {
            Some(_) => outside,
            None => rustix::process::getgid().as_raw(),
        };
        write_maps(
            &format!("/proc/{}", process.as_raw_pid()),
            INSIDE,
            (outside, group),
        )
    }
}

/// Maps one user and group in the user namespace of the process whose folder this is.
pub(super) fn write_maps(folder: &str, inside: u32, outside: (u32, u32)) -> io::Result<()> {
    fs::write(format!("{folder}/setgroups"), "deny")?;
    fs::write(
        format!("{folder}/uid_map"),
        format!("{inside} {} 1", outside.0),
    )?;
    fs::write(
        format!("{folder}/gid_map"),
        format!("{inside} {} 1", outside.1),
    )
}

/// The first of `SPAN` users that exist here, by the text of `/proc/self/uid_map`. Inside a
/// container only low numbers may exist: then the top of the largest range is taken. None if no
/// range is large enough.
fn first_free(map: &str, helper: u32) -> Option<u32> {
    let ranges: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line
                .split_whitespace()
                .map(|field| field.parse::<u64>().ok());
            let (start, _, count) = (fields.next()??, fields.next()??, fields.next()??);
            Some((start, start + count))
        })
        .collect();
    let wanted = u64::from(HIGH) + u64::from(helper) * u64::from(SPAN);
    let span = u64::from(SPAN);
    if ranges
        .iter()
        .any(|&(start, end)| start <= wanted && wanted + span <= end)
    {
        return u32::try_from(wanted).ok();
    }
    let (start, end) = ranges.into_iter().max_by_key(|&(start, end)| end - start)?;
    let blocks = (end - start) / span;
    // The lowest block holds the container's own users.
    let block = blocks.checked_sub(2)?;
    u32::try_from(end - span * (1 + u64::from(helper) % (block + 1).min(4))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(map: &str, helper: u32, first: Option<u32>) {
        assert_eq!(first_free(map, helper), first);
    }

    #[test]
    fn users_come_from_a_high_range_where_it_exists() {
        check("         0          0 4294967295\n", 0, Some(0x5D00_0000));
        check("         0          0 4294967295\n", 3, Some(0x5D00_3000));
    }

    #[test]
    fn a_container_gives_the_top_of_what_it_has() {
        check("0 100000 65536\n", 0, Some(61440));
        check("0 1000 1\n1 100000 65536\n", 0, Some(61441));
        check("0 100000 65536\n", 4, Some(61440));
    }

    #[test]
    fn one_user_is_too_few() {
        check("0 1000 1\n", 0, None);
        check("", 0, None);
    }

    #[test]
    fn no_two_living_jails_share_a_user() {
        let mut ids = Ids {
            first: Some(100),
            next: 0,
            taken: HashSet::new(),
        };
        let all: HashSet<_> = (0..SPAN).filter_map(|_| ids.take()).collect();
        assert_eq!(all.len(), SPAN as usize);
        assert_eq!(ids.take(), None);
        ids.give_back(107);
        assert_eq!(ids.take(), Some(107));
    }
}
