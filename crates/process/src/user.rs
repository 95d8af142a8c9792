//! Which user of this host is at the other end of a connection over loopback. The kernel is
//! asked for the socket there: it tells whose it is, and cannot be told otherwise.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::jail::{Listed, listed};

/// The user who runs this program.
pub fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The user who holds the other end of a connection from `peer` to `local`, two addresses of this
/// host. None where that cannot be told: also where nobody holds it any more, as the kernel then
/// names the superuser.
pub fn at(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    let found = match asked(peer, local) {
        Ok(found) => found,
        // Some hosts give no such sockets; their tables can be read.
        Err(_) => read(peer, local),
    };
    let found = found.filter(|found| found.inode != 0);
    found.map(|found| found.user)
}

/// From the kernel's table, which takes as long to read as there are connections.
fn read(peer: SocketAddr, local: SocketAddr) -> Option<Listed> {
    let (SocketAddr::V4(peer), SocketAddr::V4(local)) = (peer, local) else {
        return None;
    };
    listed(&fs::read_to_string("/proc/net/tcp").ok()?, peer, local)
}

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h): what is asked and what is answered.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST` (linux/netlink.h).
const REQUEST: u16 = 1;
/// Bytes of a `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of a `struct inet_diag_req_v2` (linux/inet_diag.h).
const QUESTION: usize = 56;
/// Where `idiag_uid` and `idiag_inode` are in a `struct inet_diag_msg`, behind the header.
const USER_AT: usize = HEADER + 64;
const INODE_AT: usize = HEADER + 68;

/// From the kernel by a question for this very socket.
fn asked(peer: SocketAddr, local: SocketAddr) -> Result<Option<Listed>, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    rustix::net::send(&socket, &question(peer, local), SendFlags::empty())?;
    let mut answer = [0_u8; 1024];
    // It is there by now: the kernel answers within the call that asks.
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?;
    let answer = answer.get(..length).unwrap_or_default();
    if !is(answer, BY_FAMILY) {
        return Ok(None);
    }
    let number = |at: usize| {
        let bytes = answer.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    Ok(number(USER_AT).zip(number(INODE_AT)).map(|(user, inode)| {
        let inode = u64::from(inode);
        Listed { user, inode }
    }))
}

/// Whether a message is of this kind.
fn is(message: &[u8], kind: u16) -> bool {
    message.get(4..6) == Some(&kind.to_ne_bytes()[..])
}

/// The question for the socket at `peer` that is connected to `local`.
fn question(peer: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let family = match peer.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let length = u32::try_from(HEADER + QUESTION).unwrap_or_default();
    let mut bytes = Vec::with_capacity(HEADER + QUESTION);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes.extend_from_slice(&REQUEST.to_ne_bytes());
    // Sequence number and sender: there is one question and one answer.
    bytes.extend_from_slice(&[0; 8]);
    // TCP, nothing besides, in any state.
    bytes.extend_from_slice(&[family, 6, 0, 0]);
    bytes.extend_from_slice(&u32::MAX.to_ne_bytes());
    bytes.extend_from_slice(&peer.port().to_be_bytes());
    bytes.extend_from_slice(&local.port().to_be_bytes());
    bytes.extend_from_slice(&address(peer.ip()));
    bytes.extend_from_slice(&address(local.ip()));
    // On any interface, with no cookie.
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[0xff; 8]);
    bytes
}

fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn check(address: &str) {
        let Ok(listener) = TcpListener::bind(address) else {
            // No such loopback here.
            return;
        };
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(at(peer, local), Some(own()), "{address}");
        if peer.is_ipv4() {
            assert_eq!(read(peer, local).map(|found| found.user), Some(own()));
        }
        let other = SocketAddr::new(peer.ip(), 1);
        assert_eq!(at(other, local), None);
        // Who has gone is nobody, and not the superuser.
        drop(client);
        assert_eq!(at(peer, local), None, "{address}");
        drop(server);
    }

    #[test]
    fn the_other_end_is_somebodys() {
        check("127.0.0.1:0");
        check("[::1]:0");
    }
}
