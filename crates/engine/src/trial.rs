//! Trial starts: how a function initialises, seen without an invocation, so that its author is told
//! at the deployment what a first invocation would fail of.

use std::sync::Arc;

use model::{FunctionId, InstanceId, Principal, limit};

use crate::log::Unkept;
use crate::port::{StartOrder, Started, Warning};
use crate::{Engine, Error, Shared};

/// Trials under way at once (ours): each uses memory that nothing is charged for.
pub(crate) const TRIALS_MAX: usize = 1;

impl Engine {
    /// Starts `$LATEST` of a function once, without credentials, network or extensions, and ends it.
    /// Answers what is wrong with the code itself, such as a handler that is not there. None where
    /// nothing is known to be wrong, which is not to say that it initialises with what it needs.
    pub async fn trial(
        &self,
        who: &Principal,
        function: &FunctionId,
    ) -> Result<Option<Warning>, Error> {
        self.shared.trial(who, function).await
    }
}

impl Shared {
    /// What is wrong with the code of `$LATEST`, if a trial start finds anything.
    pub(crate) async fn trial(
        &self,
        who: &Principal,
        function: &FunctionId,
    ) -> Result<Option<Warning>, Error> {
        self.may_write(who, "try", function)?;
        // Never closed.
        let _turn = self.trials.acquire().await;
        let revision = Arc::clone(&self.catalog.load().get(function)?.latest.revision);
        let config = Arc::clone(&revision.config);
        // Under a debugger, initialisation waits for a person.
        if config.inspect {
            return Ok(None);
        }
        // Where memory is short it is not tried. None is set aside for it: an invocation that comes
        // meanwhile must not be refused for its sake.
        let taken = self.instances.memory_mb() + u64::from(config.memory_mb);
        if taken > self.instances.memory_mb_max {
            return Ok(None);
        }
        let Ok(folders) = self.folders(&revision).await else {
            return Ok(None);
        };
        let instance = InstanceId::from_random(self.clock.random_id());
        let version = model::VersionId::Latest;
        let stream = model::log::stream_name(self.clock.now_ms(), version, &instance);
        let order = StartOrder {
            instance,
            function: function.clone(),
            version,
            init_timeout: limit::INIT_TIMEOUT,
            in_invocation: false,
            credentials: None,
            config,
            code: folders.code,
            layers: folders.layers,
            log_stream: stream.into(),
            log: Arc::new(Unkept),
        };
        match self.runtime.start(order).await {
            Ok(Started::Ready { instance, .. }) => {
                instance.stop().await;
                Ok(None)
            }
            Ok(Started::Failed { failed, .. }) => Ok(failed.flaw()),
            // It may wait for what a trial does not have.
            Ok(Started::TimedOut { .. }) => Ok(None),
            Err(error) => {
                tracing::debug!(function = %function.name, %error, "trial start");
                Ok(None)
            }
        }
    }
}
