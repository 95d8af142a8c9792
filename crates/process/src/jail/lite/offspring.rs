//! A tree of processes that no namespace holds together: its root is a subreaper, so whatever
//! loses its parent becomes a child of the root. Looks at `/proc`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::{Pid, Signal, WaitOptions};

/// Rounds in which all of a tree is sent a signal, should it grow meanwhile.
const ROUNDS: usize = 10;

/// Kills every child of this process but these, and reaps those that have ended; true once there
/// is none. What they leave become children of this process in their turn. Only children are
/// killed: nobody but we can have their numbers given to others.
pub(in crate::jail) fn kill_children(except: &[Pid]) -> bool {
    let own = rustix::process::getpid();
    let mut none = true;
    for (process, parent) in processes() {
        if parent != own || except.contains(&process) {
            continue;
        }
        none = false;
        let _ = rustix::process::kill_process(process, Signal::KILL);
        let _ = rustix::process::waitpid(Some(process), WaitOptions::NOHANG);
    }
    none
}

/// Sends a signal to every descendant of this process.
pub(super) fn signal(signal: i32) {
    let Some(signal) = Signal::from_named_raw(signal) else {
        return;
    };
    let mut told = Vec::new();
    for _ in 0..ROUNDS {
        let family = descendants(rustix::process::getpid());
        let before = told.len();
        for process in family {
            if !told.contains(&process) {
                let _ = rustix::process::kill_process(process, signal);
                told.push(process);
            }
        }
        if told.len() == before {
            return;
        }
    }
}

/// Every process below this one.
pub(super) fn descendants(first: Pid) -> Vec<Pid> {
    let all: Vec<_> = processes().collect();
    let mut family = vec![first];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        let children = all.iter().filter(|(_, of)| *of == parent);
        family.extend(children.map(|(process, _)| *process));
        next += 1;
    }
    family.split_off(1)
}

/// Threads that this process's user has on the whole host: what a limit of processes counts.
pub(super) fn threads_of_user() -> u64 {
    let own = rustix::process::getuid().as_raw();
    let mine =
        |pid: &i32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|folder| folder.uid() == own);
    let threads = numbers()
        .filter(mine)
        .filter_map(|pid| field(&stat(pid)?, THREADS)?.parse::<u64>().ok());
    threads.sum()
}

/// Fields of `/proc/PID/stat`, counted after the name.
const PARENT: usize = 1;
const THREADS: usize = 17;

/// Every process that can be seen, with its parent.
fn processes() -> impl Iterator<Item = (Pid, Pid)> {
    numbers().filter_map(|pid| {
        let parent = field(&stat(pid)?, PARENT)?.parse().ok()?;
        Some((Pid::from_raw(pid)?, Pid::from_raw(parent)?))
    })
}

fn numbers() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn stat(pid: i32) -> Option<String> {
    // A name may hold anything.
    let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn field(stat: &str, number: usize) -> Option<&str> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::jail::forked;

    #[test]
    fn whatever_was_started_is_killed_but_what_is_excepted() {
        forked::run(|| {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
            let script = "setsid sh -c 'sleep 100 & sleep 100' & sleep 100 &";
            Command::new("sh").args(["-c", script]).status()?;
            let kept = Command::new("sleep").arg("100").spawn()?;
            let kept = Pid::from_child(&kept);
            while !kill_children(&[kept]) {
                std::thread::yield_now();
            }
            let left: Vec<_> = processes()
                .filter(|&(_, parent)| parent == rustix::process::getpid())
                .collect();
            assert_eq!(left, [(kept, rustix::process::getpid())]);
            while !kill_children(&[]) {
                std::thread::yield_now();
            }
            Ok(())
        });
    }

    #[test]
    fn names_do_not_confuse() {
        let line = "12 (a) b (c) S 34 5 6 7 8 9 1 1 1 1 1 1 1 1 20 0 9 0 1";
        assert_eq!(field(line, PARENT), Some("34"));
        assert_eq!(field(line, THREADS), Some("9"));
        assert!(threads_of_user() >= 1);
    }
}
