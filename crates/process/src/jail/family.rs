//! The programs of a jail as its first process keeps them: the one that it is for, and companions
//! that run beside it from before. Reaps, obeys and reports; knows no mount and no right.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use super::message::{Order, Report};
use super::wire;
use crate::spawner::Status;

/// Why there is nothing to keep for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Everything has ended, or is to end with us.
    Over,
    /// The program is to be started.
    Proceed,
}

/// A jail's programs.
#[derive(Debug)]
pub(super) struct Family<'a> {
    helper: BorrowedFd<'a>,
    /// Readable when a child has ended.
    signals: BorrowedFd<'a>,
    /// Sends a signal to every process of the jail but this one.
    signal: fn(i32),
    program: Member,
    companions: Vec<Member>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Waiting,
    Running(Pid),
    Ended,
}

impl<'a> Family<'a> {
    pub(super) fn new(helper: BorrowedFd<'a>, signals: BorrowedFd<'a>, signal: fn(i32)) -> Self {
        Self {
            helper,
            signals,
            signal,
            program: Member::Waiting,
            companions: Vec::new(),
        }
    }

    /// Takes the next companion in, or reports why it could not be started.
    pub(super) fn add_companion(&mut self, started: io::Result<Pid>) {
        let member = match started {
            Ok(pid) => Member::Running(pid),
            Err(error) => {
                self.tell(&Report::NotStarted(
                    self.companions.len(),
                    error.to_string(),
                ));
                Member::Ended
            }
        };
        self.companions.push(member);
    }

    /// Takes the program in.
    pub(super) fn begin(&mut self, program: Pid) {
        self.program = Member::Running(program);
    }

    /// Reaps, obeys and reports until the program is to be started, all of it has ended or the
    /// helper is gone.
    pub(super) fn keep(&mut self) -> io::Result<Kept> {
        let mut buffer = [0; 128];
        loop {
            while let Some((pid, status)) =
                rustix::process::wait(WaitOptions::NOHANG).unwrap_or(None)
            {
                self.bury(pid, status);
            }
            if self.has_ended() {
                return Ok(Kept::Over);
            }
            let mut both = [
                PollFd::new(&self.helper, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            match rustix::event::poll(&mut both, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [helper_ready, signals_ready] = both.map(|fd| !fd.revents().is_empty());
            if signals_ready {
                let _ = rustix::io::read(self.signals, &mut buffer);
            }
            if helper_ready {
                let (length, _) = wire::receive(self.helper, &mut buffer, RecvFlags::empty())?;
                match Order::read(buffer.get(..length).unwrap_or_default()) {
                    Ok(Order::Stop) => (self.signal)(libc::SIGSTOP),
                    Ok(Order::Continue) => (self.signal)(libc::SIGCONT),
                    Ok(Order::Terminate) => self.terminate(),
                    Ok(Order::Proceed) if self.program == Member::Waiting => {
                        return Ok(Kept::Proceed);
                    }
                    Ok(Order::Proceed) => {}
                    // Also when the helper is gone.
                    _ => return Ok(Kept::Over),
                }
            }
        }
    }

    /// Whoever waits to be told to proceed is told to end, if not.
    fn has_ended(&self) -> bool {
        self.program == Member::Ended && self.companions.iter().all(|one| *one == Member::Ended)
    }

    fn bury(&mut self, pid: Pid, status: WaitStatus) {
        let status = status_of(status);
        if self.program == Member::Running(pid) {
            self.program = Member::Ended;
            self.tell(&Report::Exited(status));
        }
        let companion = (self.companions.iter()).position(|one| *one == Member::Running(pid));
        if let Some(index) = companion {
            if let Some(member) = self.companions.get_mut(index) {
                *member = Member::Ended;
            }
            self.tell(&Report::CompanionExited(index, status));
        }
    }

    fn terminate(&self) {
        if let Member::Running(program) = self.program {
            let _ = rustix::process::kill_process(program, Signal::TERM);
        }
    }

    /// A helper that takes nothing any more is about to end us.
    fn tell(&self, report: &Report) {
        let _ = wire::send(self.helper, &[&report.write()], &[], SendFlags::DONTWAIT);
    }
}

/// Waits until the helper has something to say, or is gone; false where a child ends before.
pub(super) fn outlives(helper: BorrowedFd<'_>, signals: BorrowedFd<'_>) -> io::Result<bool> {
    loop {
        let mut both = [
            PollFd::new(&helper, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        match rustix::event::poll(&mut both, None) {
            Ok(_) => return Ok(both[1].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn status_of(status: WaitStatus) -> Status {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Status::Code(code),
        (None, Some(signal)) => Status::Signal(signal),
        (None, None) => Status::Signal(libc::SIGKILL),
    }
}
