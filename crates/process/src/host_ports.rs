//! Ports of the developer's own loopback inside sandboxes: connections to them are dialled here
//! and carried. Which ports those are was said when the platform started.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use store::Clock;
use tokio::net::{TcpListener, TcpStream};

use crate::accept;
use crate::told::Told;

/// Where services of this host listen, in the order in which they are tried.
const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// One port in one instance.
#[derive(Debug)]
pub(crate) struct HostPort {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) told: Arc<Told>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl HostPort {
    /// Carries connections until it is dropped, and every connection with it.
    pub(crate) async fn run(self) {
        let Ok(listener) = TcpListener::from_std(self.listener) else {
            return;
        };
        let Ok(port) = listener.local_addr().map(|address| address.port()) else {
            return;
        };
        accept::each(listener, &*self.clock, |stream| {
            let told = Arc::clone(&self.told);
            async move { carry(stream, port, &told).await }
        })
        .await;
    }
}

async fn carry(mut inside: TcpStream, port: u16, told: &Told) {
    match dial(port).await {
        Ok(mut outside) => {
            // Each side decides by itself how it fills its segments.
            let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
            // Either side ending in an error ends both; there is nobody to tell.
            let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
        }
        Err(error) => {
            // It breaks off, as one that was refused: it was accepted only to be carried. It is
            // closed in any case.
            let _ = inside.set_zero_linger();
            told.say(&format!(
                "network: connect to port {port} of this machine, which is forwarded: {error}"
            ));
        }
    }
}

/// Loopback answers at once, one way or the other.
async fn dial(port: u16) -> std::io::Result<TcpStream> {
    let mut refused = None;
    for address in LOOPBACK {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| std::io::ErrorKind::ConnectionRefused.into()))
}
