//! Who is at the other end of a connection over loopback, which carries no credentials of its
//! own: the kernel's tables name the socket, and the processes of an instance what they hold.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};

use rustix::process::Pid;

use super::offspring;

/// The processes of one instance without a network of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peers {
    first: Option<Pid>,
}

impl Peers {
    /// Those below an instance's first process.
    pub(crate) fn below(first: i32) -> Self {
        Self {
            first: Pid::from_raw(first),
        }
    }

    /// Whether one of them holds the other end of a connection from `peer` to `local`. Looks at
    /// `/proc`, so it blocks.
    pub(crate) fn have(self, peer: SocketAddr, local: SocketAddr) -> bool {
        let (Some(first), SocketAddr::V4(peer), SocketAddr::V4(local)) = (self.first, peer, local)
        else {
            return false;
        };
        let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let Some(listed) = listed(&table, peer, local) else {
            return false;
        };
        let socket = format!("socket:[{}]", listed.inode);
        let holds = |process: Pid| {
            let held = fs::read_dir(format!("/proc/{}/fd", process.as_raw_pid()));
            let mut held = held.into_iter().flatten().flatten();
            held.any(|entry| fs::read_link(entry.path()).is_ok_and(|link| *link == *socket))
        };
        offspring::descendants(first).into_iter().any(holds)
    }
}

/// A socket in the text of `/proc/net/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Whose it is.
    pub(crate) user: u32,
    /// Its number; zero where no process holds it any more.
    pub(crate) inode: u64,
}

/// The socket that is bound to `own` and connected to `other`.
pub(crate) fn listed(table: &str, own: SocketAddrV4, other: SocketAddrV4) -> Option<Listed> {
    /// Fields of a line.
    const OWN: usize = 1;
    const USER: usize = 7;
    const INODE: usize = 9;
    let (own, other) = (as_listed(own), as_listed(other));
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let found = fields.get(OWN..=OWN + 1)? == [own.as_str(), other.as_str()];
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        let (user, inode) = (u32::try_from(number(USER)?).ok()?, number(INODE)?);
        found.then_some(Listed { user, inode })
    })
}

/// An address as the kernel lists it: the bytes of the host part as a number of this machine's.
fn as_listed(address: SocketAddrV4) -> String {
    let host = u32::from_ne_bytes(address.ip().octets());
    format!("{host:08X}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_socket_is_found_by_both_its_ends() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2329 0100007F:B0A4 01 00000000:00000000 00:00000000 00000000     0        0 41 1 0
   1: 0100007F:B0A4 0100007F:2329 01 00000000:00000000 00:00000000 00000000  1000        0 42 1 0
";
        let (own, other) = ("127.0.0.1:45220", "127.0.0.1:9001");
        let parse = |text: &str| text.parse().unwrap();
        let found = |own, other| {
            let found = listed(table, parse(own), parse(other))?;
            Some((found.user, found.inode))
        };
        assert_eq!(found(own, other), Some((1000, 42)));
        assert_eq!(found(other, own), Some((0, 41)));
        assert_eq!(found(own, own), None);
    }

    #[test]
    fn only_ones_own_processes_are_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let own = Peers::below(std::process::id().cast_signed());
        let script = format!("exec 5<>/dev/tcp/127.0.0.1/{}; read -r x <&5", local.port());
        let mut child = Command::new("bash")
            .args(["-c", &script])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, peer) = listener.accept().unwrap();
        assert!(own.have(peer, local));
        let others = Peers::below(child.id().cast_signed());
        assert!(!others.have(peer, local));
        drop(stream);
        child.wait().unwrap();
    }
}
