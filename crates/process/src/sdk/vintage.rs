//! Of which days SDKs are kept. What a session of the platform uses stays as it is; one that begins
//! a month later starts a new folder, into which things come anew as they are asked for, and what
//! cannot be fetched then comes from the older ones.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Age in days from which on SDKs are fetched anew by sessions that begin then (ours): Lambda's
/// runtimes get newer ones about as often.
const FRESH_DAYS: u64 = 30;
/// How long a folder stays that nothing was shown of, in days (ours).
const UNUSED_DAYS: u64 = 90;
/// Begins the names of the folders; the number of the day since the Unix epoch follows.
const NAME: &str = "day-";

/// The folders of SDKs, by the day on which they were begun.
#[derive(Debug)]
pub(super) struct Vintages {
    root: PathBuf,
    current: PathBuf,
    /// The newest first.
    older: Vec<PathBuf>,
}

impl Vintages {
    /// The folders there are now. Where `renew` is not set the newest goes on, however old.
    pub(super) fn find(root: &Path, now_ms: u64, renew: bool) -> Self {
        let today = now_ms / DAY_MS;
        let mut days = days_in(root);
        days.sort_unstable_by(|a, b| b.cmp(a));
        let fresh = |day: &&u64| !renew || today.saturating_sub(**day) < FRESH_DAYS;
        let current = days.first().filter(fresh).copied().unwrap_or(today);
        let path = |day: u64| root.join(format!("{NAME}{day}"));
        let older = days.into_iter().filter(|day| *day != current);
        Self {
            root: root.to_owned(),
            current: path(current),
            older: older.map(path).collect(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where new things come.
    pub(super) fn current(&self) -> &Path {
        &self.current
    }

    /// All of them, the current one first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.current)
            .chain(&self.older)
            .map(PathBuf::as_path)
    }

    /// The newest older form of a folder of the current one.
    pub(super) fn older(&self, place: &Path) -> Option<PathBuf> {
        let below = place.strip_prefix(&self.current).ok()?;
        let mut places = self.older.iter().map(|older| older.join(below));
        places.find(|place| place.is_dir())
    }

    /// Notes that something of it is shown to a function.
    pub(super) fn used(vintage: &Path) {
        let now = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        };
        let times = rustix::fs::Timestamps {
            last_access: now,
            last_modification: now,
        };
        // One that cannot be marked goes the sooner.
        let _ = rustix::fs::utimensat(
            rustix::fs::CWD,
            vintage,
            &times,
            rustix::fs::AtFlags::empty(),
        );
    }

    /// Removes those of which nothing was shown for long. Blocks.
    pub(super) fn remove_unused(&self, now_ms: u64) {
        let now = Duration::from_millis(now_ms);
        for vintage in &self.older {
            let used = std::fs::metadata(vintage).and_then(|seen| seen.modified());
            let used = used.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default());
            let unused_ms = used.map(|used| now.saturating_sub(used).as_millis());
            if unused_ms.is_ok_and(|unused_ms| unused_ms > u128::from(UNUSED_DAYS * DAY_MS)) {
                let _ = std::fs::remove_dir_all(vintage);
            }
        }
    }
}

fn days_in(root: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let day =
        |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_prefix(NAME)?.parse().ok();
    entries.filter_map(day).collect()
}

/// Fills a new folder with what another has, whose files it shares: they never change. Blocks.
pub(super) fn share(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            share(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, target)?;
        } else {
            std::fs::hard_link(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_goes_on_with_what_is_less_than_a_month_old() {
        let root = std::env::temp_dir().join(format!("dayfly-vintage-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let check = |day: u64, renew: bool, expected: &[&str]| {
            let vintages = Vintages::find(&root, day * DAY_MS + 5, renew);
            let names = vintages.all().map(|path| path.strip_prefix(&root).unwrap());
            let names: Vec<_> = names.map(|name| name.to_str().unwrap()).collect();
            assert_eq!(names, expected, "{day}");
        };
        check(100, true, &["day-100"]);
        for name in ["day-100", "day-9", "day-x", "of"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        check(100, true, &["day-100", "day-9"]);
        check(129, true, &["day-100", "day-9"]);
        check(130, true, &["day-130", "day-100", "day-9"]);
        check(130, false, &["day-100", "day-9"]);
        // A clock that was set back.
        check(50, true, &["day-100", "day-9"]);
        std::fs::remove_dir_all(root).unwrap();
    }
}
