//! Connections of one listener inside a sandbox, so many at once and no more.

use std::sync::Arc;
use std::time::Duration;

use store::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections that one instance may have open at one listener (ours); further ones wait to be
/// accepted.
const CONNECTIONS_MAX: usize = 256;

/// Pause after an accept that failed for a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves every connection, each in a task of its own, until it is dropped, and they with it.
pub(crate) async fn each<F>(
    listener: TcpListener,
    clock: &dyn Clock,
    serve: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Never closed, so it never fails.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = serve(stream);
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(_) => clock.sleep(PAUSE).await,
        }
    }
}
