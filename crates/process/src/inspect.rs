//! A way for a debugger on this host into an instance: a loopback port whose connections are
//! carried to where the instance's debugger listens in its own network.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use tokio::net::{TcpListener, TcpSocket};

/// A port that debuggers attach to.
#[derive(Debug)]
pub(crate) struct Forward {
    listener: TcpListener,
    dialers: Vec<OwnedFd>,
    inside: SocketAddr,
}

impl Forward {
    /// Opens the port: the debugger's usual one, or another where that is taken.
    pub(crate) async fn open(dialers: Vec<OwnedFd>, inside_port: u16) -> std::io::Result<Self> {
        let listener = match TcpListener::bind(("127.0.0.1", inside_port)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
        };
        let inside = SocketAddr::from(([127, 0, 0, 1], inside_port));
        Ok(Self {
            listener,
            dialers,
            inside,
        })
    }

    /// The port on this host.
    pub(crate) fn port(&self) -> u16 {
        self.listener
            .local_addr()
            .map_or(0, |address| address.port())
    }

    /// Carries connections until there is no socket of the instance's network left for another.
    pub(crate) async fn run(mut self) {
        let mut connections = tokio::task::JoinSet::new();
        while let Some(dialer) = self.dialers.pop() {
            let Ok((mut client, _)) = self.listener.accept().await else {
                break;
            };
            let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(dialer));
            let inside = self.inside;
            connections.spawn(async move {
                // A debugger sees a closed connection where its instance does not listen yet.
                let Ok(mut server) = socket.connect(inside).await else {
                    return;
                };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
        while connections.join_next().await.is_some() {}
    }
}
