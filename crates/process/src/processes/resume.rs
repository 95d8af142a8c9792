//! What every instance has around it while it lives, and how one goes on that an earlier process of
//! the platform has left.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use engine::port::{Instance, LogSink, Resume};

use super::{InstanceIdentity, Processes, serve_endpoint};
use crate::egress::{Egress, Reach};
use crate::instance::Tasks;
use crate::instance::keep::{self, Going};
use crate::keeping::Leftover;
use crate::resolver::Resolver;
use crate::spawner::Jail;

impl Processes {
    /// None where it is not what is wanted now, or cannot go on.
    pub(super) async fn go_on(&self, resume: Resume) -> Option<Arc<dyn Instance>> {
        let outside = self.config.reach != Reach::Nowhere;
        let leftover = self
            .left
            .take(&resume, self.config.endpoint_port, outside)?;
        let Leftover {
            jail,
            connections,
            note,
        } = leftover;
        let keeper = jail.keeper();
        // Whether it is frozen only the process knew that left it.
        keeper.thaw().await;
        let mut tasks = Tasks::default();
        let Jail {
            control,
            output,
            doors,
            ..
        } = jail;
        let outside = (doors.egress, doors.dns, doors.dns_tcp);
        self.open_outside(&resume.log, outside, &mut tasks);
        let identity = InstanceIdentity {
            instance: resume.instance.clone(),
            function: resume.function.clone(),
            version: resume.version,
        };
        self.open_endpoint(doors.endpoint, identity, &mut tasks);
        let going = Going {
            sandbox: Arc::new(keeper),
            control,
            output,
            runtime_api: doors.runtime_api,
            connections,
            note,
            resume,
            tasks,
        };
        match keep::resume(going, &self.config.clock) {
            Ok(instance) => Some(instance),
            Err(error) => {
                tracing::error!(%error, "go on with an instance of an earlier process");
                None
            }
        }
    }

    /// Has its connections to the platform served.
    pub(super) fn open_endpoint(
        &self,
        listener: Option<TcpListener>,
        identity: InstanceIdentity,
        tasks: &mut Tasks,
    ) {
        if let Some(listener) = listener {
            tasks.spawn(serve_endpoint(
                listener,
                identity,
                Arc::clone(&self.config.endpoint),
                Arc::clone(&self.config.clock),
            ));
        }
    }

    /// Carries the instance's connections to the outside and answers its questions for names,
    /// where it has listeners for them.
    pub(super) fn open_outside(
        &self,
        log: &Arc<dyn LogSink>,
        listeners: (Option<TcpListener>, Option<UdpSocket>, Option<TcpListener>),
        tasks: &mut Tasks,
    ) {
        let (reach, clock) = (self.config.reach, &self.config.clock);
        let (egress, udp, tcp) = listeners;
        if let Some(listener) = egress {
            let egress = Egress {
                listener,
                reach,
                log: Arc::clone(log),
                clock: Arc::clone(clock),
            };
            tasks.spawn(egress.run());
        }
        if let (Some(udp), Some(tcp)) = (udp, tcp) {
            let resolver = Resolver {
                udp,
                tcp,
                reach,
                lookups: self.lookups.clone(),
                clock: Arc::clone(clock),
            };
            tasks.spawn(resolver.run());
        }
    }
}
