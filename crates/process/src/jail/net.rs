//! The network of a jail, made from inside its own namespace by its first process: loopback, and
//! the rule that turns every connection to the outside into one to the platform's listener.
//! Needs no tool of the host, only the right over the namespace.

use std::io;
use std::net::Ipv4Addr;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::context::Context as _;

pub(super) mod refusals;

/// Loopback is the first interface of every namespace.
const LOOPBACK: u32 = 1;

/// What the C library takes for a sign that there is IPv4: with loopback alone it answers no
/// question for a name that asks for addresses of a kind that the machine has. As on Lambda.
const OWN_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 76, 1);

/// `NETLINK_ROUTE` is number 0, for which there is no name.
const ROUTE: Option<Protocol> = None;

/// The first byte of loopback's addresses.
const LOOPBACK_NET: u8 = Ipv4Addr::LOCALHOST.octets()[0];

const TABLE: &[u8] = b"dayfly\0";

/// What the network of a jail can do.
#[derive(Debug)]
pub(crate) struct NetReport {
    /// Whether connections to the outside reach the egress listener.
    pub(crate) redirect: bool,
    /// Why not, where that was asked for; everything outside is then unreachable.
    pub(crate) reason: Option<io::Error>,
}

/// Brings up the network of the namespace we are in. With an egress port, every address becomes
/// local and TCP to any but 127.0.0.0/8 goes to that port of 127.0.0.1, where
/// `SO_ORIGINAL_DST` tells what it was meant for. IPv6 has `::1` only.
pub(crate) fn configure(egress_port: Option<u16>) -> io::Result<NetReport> {
    // The rule first: without it the route would make the whole world look closed, not absent.
    let redirect = egress_port.map(redirect).transpose();
    let routed = matches!(redirect, Ok(Some(())));
    let mut batch = Batch::default();
    batch.loopback_up();
    batch.own_address();
    if routed {
        batch.everything_is_local();
    }
    batch.apply(ROUTE).context("bring up loopback")?;
    Ok(NetReport {
        redirect: routed,
        reason: redirect.err(),
    })
}

fn redirect(port: u16) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.redirect_outside(port);
    batch
        .apply(Some(netlink::NETFILTER))
        .context("redirect connections by nf_tables")
}

/// Where a rule of ours is asked.
struct Chain {
    name: &'static [u8],
    kind: &'static [u8],
    hook: i32,
    priority: i32,
}

/// Netlink messages that are sent together.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Messages that the kernel answers also when all is well.
    answers: usize,
}

impl Batch {
    fn loopback_up(&mut self) {
        let up = libc::IFF_UP as u32;
        let mut body = [0; 16];
        body[4..8].copy_from_slice(&LOOPBACK.to_ne_bytes());
        body[8..12].copy_from_slice(&up.to_ne_bytes());
        body[12..].copy_from_slice(&up.to_ne_bytes());
        self.message(libc::RTM_NEWLINK, Answer::Always, &body, |_| {});
    }

    /// As `ip address add ADDRESS/32 dev lo`.
    fn own_address(&mut self) {
        let mut body = [libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_LINK, 0, 0, 0, 0];
        body[4..].copy_from_slice(&LOOPBACK.to_ne_bytes());
        self.message(libc::RTM_NEWADDR, Answer::Always, &body, |message| {
            message.attribute(libc::IFA_LOCAL, &OWN_ADDRESS.octets());
            message.attribute(libc::IFA_ADDRESS, &OWN_ADDRESS.octets());
        });
    }

    /// As `ip route add local default dev lo table local`.
    fn everything_is_local(&mut self) {
        let body = [
            libc::AF_INET as u8,
            0, // bits of the destination: any
            0,
            0,
            libc::RT_TABLE_LOCAL,
            libc::RTPROT_BOOT,
            libc::RT_SCOPE_HOST,
            libc::RTN_LOCAL,
            0,
            0,
            0,
            0,
        ];
        self.message(libc::RTM_NEWROUTE, Answer::Always, &body, |message| {
            message.attribute(libc::RTA_OIF, &LOOPBACK.to_ne_bytes());
        });
    }

    /// As `table ip dayfly { chain outside { type nat hook output priority -100;
    /// ip daddr != 127.0.0.0/8 meta l4proto tcp redirect to :PORT } }`.
    fn redirect_outside(&mut self, port: u16) {
        use nft::*;
        let chain = Chain {
            name: b"outside\0",
            kind: b"nat\0",
            hook: libc::NF_INET_LOCAL_OUT,
            priority: libc::NF_IP_PRI_NAT_DST,
        };
        self.rule(&chain, |list| {
            list.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, IP_DESTINATION, 1);
            list.compare(libc::NFT_CMP_NEQ as u32, &[LOOPBACK_NET]);
            list.only_tcp();
            list.expression(b"immediate\0", |data| {
                data.number(IMMEDIATE_DREG, REGISTER);
                data.nested(IMMEDIATE_DATA, |value| {
                    value.attribute(DATA_VALUE, &port.to_be_bytes());
                });
            });
            list.expression(b"redir\0", |data| {
                data.number(REDIR_PORT_FROM, REGISTER);
            });
        });
    }

    /// A chain of our table with one rule.
    fn rule(&mut self, chain: &Chain, expressions: impl FnOnce(&mut Message)) {
        use nft::*;
        let subsystem = libc::NFNL_SUBSYS_NFTABLES as u16;
        let kind = |message: i32| subsystem << 8 | message as u16;
        // Version and family in front; begin and end name the subsystem instead of a family.
        let frame = [[0, 0], subsystem.to_be_bytes()].concat();
        let ip = [libc::NFPROTO_IPV4 as u8, 0, 0, 0];
        let begin = libc::NFNL_MSG_BATCH_BEGIN as u16;
        self.message(begin, Answer::Failure, &frame, |_| {});
        let table = kind(libc::NFT_MSG_NEWTABLE);
        self.message(table, Answer::Failure, &ip, |message| {
            message.attribute(TABLE_NAME, TABLE);
        });
        let new_chain = kind(libc::NFT_MSG_NEWCHAIN);
        self.message(new_chain, Answer::Failure, &ip, |message| {
            message.attribute(CHAIN_TABLE, TABLE);
            message.attribute(CHAIN_NAME, chain.name);
            message.attribute(CHAIN_TYPE, chain.kind);
            message.nested(CHAIN_HOOK, |hook| {
                hook.attribute(HOOK_NUMBER, &(chain.hook as u32).to_be_bytes());
                hook.attribute(HOOK_PRIORITY, &chain.priority.to_be_bytes());
            });
        });
        // Only this one is answered when all is well: the kernel then has the whole batch.
        let rule = kind(libc::NFT_MSG_NEWRULE);
        self.message(rule, Answer::Always, &ip, |message| {
            message.attribute(RULE_TABLE, TABLE);
            message.attribute(RULE_CHAIN, chain.name);
            message.nested(RULE_EXPRESSIONS, expressions);
        });
        let end = libc::NFNL_MSG_BATCH_END as u16;
        self.message(end, Answer::Failure, &frame, |_| {});
    }

    fn message(&mut self, kind: u16, answer: Answer, body: &[u8], rest: impl FnOnce(&mut Message)) {
        let mut flags = libc::NLM_F_REQUEST | libc::NLM_F_CREATE;
        if answer == Answer::Always {
            flags |= libc::NLM_F_ACK;
            self.answers += 1;
        }
        let mut message = Message(body.to_vec());
        rest(&mut message);
        let length = HEADER_BYTES + message.0.len();
        self.bytes.extend((length as u32).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags as u16).to_ne_bytes());
        // Sequence number and port: one batch a socket needs neither.
        self.bytes.extend([0; 8]);
        self.bytes.extend(message.0);
    }

    /// Sends it all and takes the kernel's answers, which are there when the sending returns.
    fn apply(self, protocol: Option<Protocol>) -> io::Result<()> {
        self.send(protocol).map(drop)
    }

    /// The same; the socket stays open.
    fn send(self, protocol: Option<Protocol>) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&socket, &self.bytes, SendFlags::empty(), &kernel)?;
        let mut left = self.answers;
        while left > 0 {
            left = left.saturating_sub(answers(&socket)?);
        }
        Ok(socket)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Failure,
    Always,
}

/// Takes one datagram of answers; the first failure in it is the error.
fn answers(socket: &OwnedFd) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let (length, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
    let mut rest = buffer.get(..length).unwrap_or_default();
    let mut count = 0;
    while let Some((header, body)) = rest.split_at_checked(HEADER_BYTES) {
        let word = |bytes: &[u8]| bytes.first_chunk().copied().map_or(0, i32::from_ne_bytes);
        // Each answer of ours is an error, perhaps the error 0.
        match word(body) {
            0 => count += 1,
            code => return Err(Errno::from_raw_os_error(-code).into()),
        }
        let whole = usize::try_from(word(header)).unwrap_or(0).max(HEADER_BYTES);
        rest = rest.get(whole.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(count)
}

const HEADER_BYTES: usize = 16;

/// Marks an attribute that holds attributes.
const NESTED: u16 = 1 << 15;

/// The body of one message.
struct Message(Vec<u8>);

impl Message {
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self(Vec::new());
        fill(&mut inner);
        self.attribute(kind | NESTED, &inner.0);
    }

    fn expression(&mut self, name: &[u8], fill: impl FnOnce(&mut Self)) {
        self.nested(nft::LIST_ELEMENT, |element| {
            element.attribute(nft::EXPRESSION_NAME, name);
            element.nested(nft::EXPRESSION_DATA, fill);
        });
    }

    /// Loads bytes of the packet into the register.
    fn payload(&mut self, base: i32, offset: u32, length: u32) {
        self.expression(b"payload\0", |data| {
            data.number(nft::PAYLOAD_DREG, nft::REGISTER);
            data.number(nft::PAYLOAD_BASE, base as u32);
            data.number(nft::PAYLOAD_OFFSET, offset);
            data.number(nft::PAYLOAD_LENGTH, length);
        });
    }

    /// Goes on with the rule only for TCP.
    fn only_tcp(&mut self) {
        self.expression(b"meta\0", |data| {
            data.number(nft::META_DREG, nft::REGISTER);
            data.number(nft::META_KEY, libc::NFT_META_L4PROTO as u32);
        });
        self.compare(libc::NFT_CMP_EQ as u32, &[libc::IPPROTO_TCP as u8]);
    }

    /// Goes on with the rule only if the register's bytes compare so.
    fn compare(&mut self, how: u32, bytes: &[u8]) {
        self.expression(b"cmp\0", |data| {
            data.number(nft::COMPARE_SREG, nft::REGISTER);
            data.number(nft::COMPARE_HOW, how);
            data.nested(nft::COMPARE_DATA, |value| {
                value.attribute(nft::DATA_VALUE, bytes);
            });
        });
    }
}

/// Attribute numbers of `linux/netfilter/nf_tables.h`, which the C library's names leave out.
mod nft {
    pub(super) const REGISTER: u32 = 1;
    pub(super) const IP_SOURCE: u32 = 12;
    pub(super) const IP_DESTINATION: u32 = 16;
    pub(super) const TCP_SEQUENCE: u32 = 4;
    pub(super) const TCP_FLAGS: u32 = 13;

    pub(super) const TABLE_NAME: u16 = 1;
    pub(super) const CHAIN_TABLE: u16 = 1;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_TYPE: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const RULE_TABLE: u16 = 1;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const RULE_EXPRESSIONS: u16 = 4;
    pub(super) const LIST_ELEMENT: u16 = 1;
    pub(super) const EXPRESSION_NAME: u16 = 1;
    pub(super) const EXPRESSION_DATA: u16 = 2;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const PAYLOAD_DREG: u16 = 1;
    pub(super) const PAYLOAD_BASE: u16 = 2;
    pub(super) const PAYLOAD_OFFSET: u16 = 3;
    pub(super) const PAYLOAD_LENGTH: u16 = 4;
    pub(super) const COMPARE_SREG: u16 = 1;
    pub(super) const COMPARE_HOW: u16 = 2;
    pub(super) const COMPARE_DATA: u16 = 3;
    pub(super) const META_DREG: u16 = 1;
    pub(super) const META_KEY: u16 = 2;
    pub(super) const IMMEDIATE_DREG: u16 = 1;
    pub(super) const IMMEDIATE_DATA: u16 = 2;
    pub(super) const REDIR_PORT_FROM: u16 = 1;
    pub(super) const BITWISE_SREG: u16 = 1;
    pub(super) const BITWISE_DREG: u16 = 2;
    pub(super) const BITWISE_LENGTH: u16 = 3;
    pub(super) const BITWISE_MASK: u16 = 4;
    pub(super) const BITWISE_XOR: u16 = 5;
    pub(super) const LOG_GROUP: u16 = 1;
    pub(super) const LOG_BYTES: u16 = 3;
    pub(super) const LOG_AT_ONCE: u16 = 4;
}

#[cfg(test)]
mod tests;
