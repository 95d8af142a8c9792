//! How what changes something is carried out: to its end, and where it keeps nobody from going on.

use crate::{Error, Shared};

impl Shared {
    /// Carries something to its end though whoever waits for it may go away: what is on disk
    /// and what is in memory would else part ways between the store's answer and what follows.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let finished = self.instances.handle.spawn(work).await;
        finished.unwrap_or_else(|error| {
            let cause = error.to_string().into();
            Err(Error::Store(store::Error::Broken {
                doing: "finish what was begun".into(),
                cause,
            }))
        })
    }

    /// Does something that waits for the disk where it keeps nobody from going on.
    pub(crate) async fn block<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, store::Error> {
        let done = self.instances.handle.spawn_blocking(work).await;
        done.unwrap_or_else(|error| {
            Err(store::Error::Broken {
                doing: doing.to_owned(),
                cause: error.to_string().into(),
            })
        })
    }
}
