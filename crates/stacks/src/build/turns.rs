//! Turns at what several builds would make at the same time: the first makes it, and the others
//! find it in the cache.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Whose turn it is, by what is made. A handle.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    taken: Arc<Mutex<HashMap<String, Weak<Mutex<()>>>>>,
}

/// A turn; the next one's begins when it is dropped.
#[derive(Debug)]
pub struct Turn {
    _guard: OwnedMutexGuard<()>,
}

impl Turns {
    /// Waits until nobody else makes it. Whoever takes several takes them in their order.
    pub async fn take(&self, what: &str) -> Turn {
        let turn = {
            let mut taken = self.taken.lock().await;
            taken.retain(|_, turn| turn.strong_count() > 0);
            let known = taken.get(what).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                taken.insert(what.to_owned(), Arc::downgrade(&turn));
                turn
            })
        };
        Turn {
            _guard: turn.lock_owned().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn only_those_who_make_the_same_wait_for_each_other() {
        let turns = Turns::default();
        let first = turns.take("a").await;
        let _other = turns.take("b").await;
        let mut second = pin!(turns.take("a"));
        let mut context = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        drop(second.await);
        drop(turns.take("c").await);
        assert_eq!(turns.taken.lock().await.len(), 2, "b and the last one");
    }
}
