//! A way for a debugger on this host into an instance: a loopback port whose connections are
//! carried to where the instance's debugger listens in its own network.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use store::Clock;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port that debuggers attach to.
#[derive(Debug)]
pub(crate) struct Forward {
    listener: TcpListener,
    inside: SocketAddr,
}

impl Forward {
    /// Opens the port: the debugger's usual one, or another where that is taken.
    pub(crate) async fn open(inside_port: u16) -> io::Result<Self> {
        let listener = match TcpListener::bind(("127.0.0.1", inside_port)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
        };
        let inside = SocketAddr::from(([127, 0, 0, 1], inside_port));
        Ok(Self { listener, inside })
    }

    /// The port on this host.
    pub(crate) fn port(&self) -> u16 {
        self.listener
            .local_addr()
            .map_or(0, |address| address.port())
    }

    /// Carries connections for as long as it is polled, as many at once as there are sockets of the
    /// instance's network to dial with.
    pub(crate) async fn run(self, dialers: Vec<OwnedFd>, clock: Arc<dyn Clock>) {
        let (give_back, mut free) = mpsc::channel(dialers.len().max(1));
        for dialer in dialers {
            // There is room for all.
            let _ = give_back.try_send(dialer);
        }
        // Connections end with this future: the set is dropped with it.
        let mut connections = tokio::task::JoinSet::new();
        while let Some(dialer) = free.recv().await {
            while connections.try_join_next().is_some() {}
            let client = loop {
                match self.listener.accept().await {
                    Ok((client, _)) => break client,
                    // A lack of descriptors, which passes.
                    Err(_) => clock.sleep(ACCEPT_PAUSE).await,
                }
            };
            let (inside, give_back) = (self.inside, give_back.clone());
            connections.spawn(async move {
                // A debugger sees a closed connection where its instance does not listen yet.
                let _ = carry(client, &dialer, inside).await;
                // Only a socket of the instance's network leads there, and no more are made: it
                // is made as it was.
                if rustix::net::connect_unspec(&dialer).is_ok() {
                    let _ = give_back.try_send(dialer);
                }
            });
        }
    }
}

async fn carry(mut client: TcpStream, dialer: &OwnedFd, inside: SocketAddr) -> io::Result<()> {
    let socket = TcpSocket::from_std_stream(dialer.try_clone()?.into());
    let mut server = socket.connect(inside).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn sockets_are_used_again() {
        let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = inside.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = inside.accept().await {
                let _ = stream.write_all(b"hello").await;
                // Half of the connections are ended from here.
                if stream.read_u8().await.is_ok() {
                    let _ = stream.read_u8().await;
                }
            }
        });
        let dialers = (0..2)
            .map(|_| {
                let socket = TcpSocket::new_v4().unwrap();
                socket.as_fd().try_clone_to_owned().unwrap()
            })
            .collect();
        let forward = Forward::open(port).await.unwrap();
        let port = forward.port();
        let carrying = tokio::spawn(forward.run(dialers, Arc::new(store::SystemClock::new())));
        for turn in 0..20 {
            let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let mut hello = [0; 5];
            client.read_exact(&mut hello).await.unwrap();
            assert_eq!(&hello, b"hello", "{turn}");
            if turn % 2 == 0 {
                client.write_all(b"xx").await.unwrap();
                assert_eq!(client.read(&mut hello).await.unwrap(), 0);
            }
        }
        carrying.abort();
    }
}
