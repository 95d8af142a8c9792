//! How a generic jail becomes one instance's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::SendFlags;

use super::{Helper, Walls};
use crate::jail::context::Context as _;
use crate::jail::message::{Claim, JailId, Order, Unheld};
use crate::jail::plan::Plan;
use crate::jail::{tree, wire};

impl Helper {
    /// Everything that needs rights over the host happens here; the rest is the jail's.
    pub(super) fn claim(&mut self, id: JailId, plan: &Plan<'_>) -> io::Result<()> {
        let ground = &self.ground;
        let jail = self.jails.get_mut(&id).filter(|jail| !jail.claimed);
        let jail = jail.ok_or_else(|| io::Error::other("the prepared jail has ended"))?;
        jail.claimed = true;
        let socket = jail.socket.as_ref();
        let socket = socket.ok_or_else(|| io::Error::other("the prepared jail is ending"))?;
        if let Some(held) = jail.held.as_mut().filter(|_| !plan.outside_network) {
            // Before the program runs: without listeners the kernel refuses what is redirected
            // to them.
            held.close_outside();
        }
        if plan.dialers > 0 {
            // It belongs to more than can be handed on: a debugger, or extensions.
            jail.held = None;
        }
        ground.cgroups.limit(id, &plan.limits)?;
        let sent = match &ground.walls {
            Walls::Jail(_) => {
                let limit_data = !ground.cgroups.limits_memory();
                hand_over(socket, plan, limit_data, Order::Claim)
            }
            Walls::Lite(_) => {
                let unheld = Unheld {
                    memory: !ground.cgroups.limits_memory(),
                    processes: !ground.cgroups.limits_processes(),
                };
                let order = Order::Lite(unheld, plan.clone()).write();
                let parts = [order.as_slice(), plan.program.0];
                wire::send(socket, &parts, &[], SendFlags::DONTWAIT)
            }
        };
        sent.context("hand the claim to the jail")
    }

    /// Has an interpreter start in a generic jail, before it is known whose that will be.
    pub(super) fn boot(&mut self, id: JailId, plan: &Plan<'_>) -> io::Result<()> {
        let ground = &self.ground;
        let jail = self.jails.get_mut(&id);
        let jail = jail.filter(|jail| !jail.claimed && !jail.booted);
        let jail = jail.ok_or_else(|| io::Error::other("the prepared jail has ended"))?;
        let socket = jail.socket.as_ref();
        let socket = socket.ok_or_else(|| io::Error::other("the prepared jail is ending"))?;
        let Walls::Jail(_) = &ground.walls else {
            return Err(io::Error::other(
                "nothing can be started ahead without a jail",
            ));
        };
        jail.booted = true;
        ground.cgroups.limit(id, &plan.limits)?;
        hand_over(socket, plan, false, Order::Boot).context("hand the order to the jail")
    }
}

/// Gives a jail's first process its half of the plan, with the mounts.
fn hand_over<'a>(
    socket: &OwnedFd,
    plan: &Plan<'a>,
    limit_data: bool,
    order: fn(Claim<'a>) -> Order<'a>,
) -> io::Result<()> {
    let trees = plan
        .trees
        .iter()
        .map(tree::open)
        .collect::<io::Result<Vec<_>>>()?;
    let order = order(Claim {
        targets: plan.trees.iter().map(|tree| tree.target.clone()).collect(),
        limits: plan.limits.clone(),
        limit_data,
        control: plan.control,
        dialers: plan.dialers,
        program: plan.program,
    });
    let trees: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
    wire::send(
        socket,
        &[&order.write(), plan.program.0],
        &trees,
        SendFlags::DONTWAIT,
    )
}
