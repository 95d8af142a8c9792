//! What every instance has around it while it lives, and how one goes on that an earlier process of
//! the platform has left.

use std::sync::Arc;

use engine::port::{Instance, Resume};

use super::{InstanceIdentity, Processes};
use crate::egress::Reach;
use crate::instance::Tasks;
use crate::instance::keep::{self, Going};
use crate::interpreter::Language;
use crate::keeping::Leftover;
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
        let identity = InstanceIdentity {
            instance: resume.instance.clone(),
            function: resume.function.clone(),
            version: resume.version,
        };
        let around = (&resume.log, &*resume.config);
        let runtime_api = self.open_doors(around, doors, identity, &mut tasks);
        let brings =
            Language::of(resume.config.runtime).map(|wanted| self.brings(wanted, &resume.function));
        let going = Going {
            brings,
            sandbox: Arc::new(keeper),
            control,
            output,
            runtime_api,
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
}
