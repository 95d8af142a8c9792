//! The one sign by which everything of a node learns that it stops. Whoever looks late sees it too.

use tokio::sync::watch;

/// Gives the sign; dropping it does, too.
#[derive(Debug)]
pub(crate) struct Stop {
    sign: watch::Sender<bool>,
}

/// Sees the sign.
#[derive(Debug, Clone)]
pub(crate) struct Stopping {
    sign: watch::Receiver<bool>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self {
            sign: watch::Sender::new(false),
        }
    }

    pub(crate) fn give(&self) {
        self.sign.send_replace(true);
    }

    pub(crate) fn stopping(&self) -> Stopping {
        Stopping {
            sign: self.sign.subscribe(),
        }
    }
}

impl Stopping {
    /// Whether it was given.
    pub(crate) fn is_given(&self) -> bool {
        *self.sign.borrow() || self.sign.has_changed().is_err()
    }

    /// Resolves once it is given.
    pub(crate) async fn given(mut self) {
        // An error says that the node was dropped: the sign as well.
        let _ = self.sign.wait_for(|given| *given).await;
    }
}
