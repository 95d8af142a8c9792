//! What the network of a jail lets through, tried in namespaces of the tests' own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use rustix::thread::UnshareFlags;

use super::*;
use crate::jail::forked;

const EGRESS: u16 = 15001;

fn in_own_network(user: fn() -> io::Result<()>, body: fn() -> io::Result<()>) {
    forked::run(|| {
        user()?;
        forked::unshare(UnshareFlags::NEWNET).context("enter a network")?;
        body()
    });
}

/// Connects to `address`; tells where the egress listener learns it was meant to go.
fn carried(address: &str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, EGRESS))?;
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let mut dialled = TcpStream::connect(address).context("connect")?;
    let (mut accepted, _) = listener.accept()?;
    dialled.write_all(b"ping")?;
    let mut got = [0; 4];
    accepted.read_exact(&mut got)?;
    assert_eq!(&got, b"ping");
    assert_eq!(dialled.peer_addr()?, address);
    let original = rustix::net::sockopt::ip_original_dst(&accepted)?;
    Ok(original.into())
}

fn redirects() -> io::Result<()> {
    let report = configure(Some(EGRESS))?;
    if let Some(reason) = report.reason {
        return Err(reason);
    }
    for address in ["93.184.216.34:443", "10.1.2.3:5432", "169.254.169.254:80"] {
        assert_eq!(carried(address)?.to_string(), address);
    }
    // What is inside stays inside.
    let inside = TcpListener::bind("127.0.0.1:4566")?;
    let _dialled = TcpStream::connect("127.0.0.1:4566")?;
    inside.accept()?;
    let six = TcpListener::bind("[::1]:0")?;
    TcpStream::connect(six.local_addr()?)?;
    // Only TCP is carried.
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect("8.8.8.8:53")?;
    socket.send(b"?")?;
    assert!(socket.recv(&mut [0]).is_err());
    Ok(())
}

#[test]
fn connections_to_the_outside_reach_the_listener() {
    in_own_network(|| Ok(()), redirects);
}

#[test]
fn an_ordinary_user_may_do_it_too() {
    in_own_network(forked::nobody, redirects);
}

#[test]
fn without_egress_there_is_only_loopback() {
    in_own_network(forked::nobody, || {
        let report = configure(None)?;
        assert!(!report.redirect && report.reason.is_none());
        let inside = TcpListener::bind("127.0.0.1:0")?;
        TcpStream::connect(inside.local_addr()?)?;
        let outside = TcpStream::connect("93.184.216.34:80").unwrap_err();
        assert_eq!(outside.kind(), io::ErrorKind::NetworkUnreachable);
        Ok(())
    });
}

#[test]
fn a_second_time_is_refused_in_words() {
    in_own_network(forked::nobody, || {
        configure(Some(EGRESS))?;
        let again = configure(Some(EGRESS)).unwrap_err();
        assert!(
            again.to_string().starts_with("bring up loopback"),
            "{again}"
        );
        Ok(())
    });
}
