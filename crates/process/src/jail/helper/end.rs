//! How jails end, and what is left to do once they have.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::{Helper, REMOVE_AGAIN, REMOVE_ATTEMPTS, Walls};
use crate::jail::lite;
use crate::jail::message::{JailId, Notice};
use crate::spawner::{Exit, Status};

impl Helper {
    /// Ends what was begun, telling nobody; gives the socket to the daemon back.
    pub(in crate::jail) fn give_up(mut self) -> OwnedFd {
        for (id, jail) in std::mem::take(&mut self.jails) {
            let _ = rustix::process::pidfd_send_signal(&jail.pidfd, Signal::KILL);
            let _ =
                rustix::process::waitid(WaitId::PidFd(jail.pidfd.as_fd()), WaitIdOptions::EXITED);
            self.removing.push((id, 0));
        }
        for _ in 0..REMOVE_ATTEMPTS {
            let cgroups = &self.ground.cgroups;
            self.removing.retain(|&(id, _)| !cgroups.remove(id));
            if self.removing.is_empty() {
                break;
            }
            let _ = rustix::event::poll(&mut [], Some(&REMOVE_AGAIN));
        }
        self.ground.cgroups.close();
        if let Some(keeping) = &self.keeping {
            keeping.close();
        }
        self.daemon
    }

    /// Tells once that a jail will not become ready, unless it has, or nobody waits any more.
    pub(super) fn unprepared(&mut self, id: JailId, reason: String) {
        if !self.ending
            && self
                .jails
                .get_mut(&id)
                .and_then(|jail| jail.ends.take())
                .is_some()
        {
            self.tell(&Notice::Unprepared(reason), &[]);
        }
    }

    pub(super) fn tell_exit(&mut self, id: JailId, status: Status) {
        let Some(jail) = self.jails.get_mut(&id) else {
            return;
        };
        if !jail.exit_told {
            jail.exit_told = true;
            let out_of_memory = self.ground.cgroups.out_of_memory(id);
            self.tell(
                &Notice::Exit(
                    id,
                    Exit {
                        status,
                        out_of_memory,
                    },
                ),
                &[],
            );
        }
    }

    /// A jail's first process is dead, and so is everything in it.
    pub(super) fn bury(&mut self, id: JailId) {
        // What it said last comes before its end.
        self.hear(id);
        let Some(jail) = self.jails.get(&id) else {
            return;
        };
        let dead = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::PidFd(jail.pidfd.as_fd()), dead) {
            Ok(None) => return,
            Ok(Some(ended)) if ended.exited() => {}
            // Somebody killed it, and where that ends nothing else the rest is ours.
            _ => self.strays = matches!(self.ground.walls, Walls::Lite(_)),
        }
        self.tell_exit(id, Status::Signal(libc::SIGKILL));
        self.unprepared(id, "it ended while it was made".to_owned());
        if let Some(jail) = self.jails.remove(&id) {
            self.ground.ids.give_back(jail.user);
        }
        self.removing.push((id, 0));
    }

    pub(super) fn remove_groups(&mut self) {
        if self.strays && !self.removing.is_empty() {
            let first: Vec<_> = self.jails.values().map(|jail| jail.pid).collect();
            self.strays = !lite::kill_children(&first);
        }
        for (id, attempts) in std::mem::take(&mut self.removing) {
            let gone = !self.strays && self.ground.cgroups.remove(id);
            if let Walls::Lite(base) = &self.ground.walls {
                base.remove(id);
            }
            if gone || attempts >= REMOVE_ATTEMPTS {
                self.tell(&Notice::Gone(id), &[]);
            } else {
                self.removing.push((id, attempts + 1));
            }
        }
    }
}
