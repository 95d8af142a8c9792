//! Has the kernel tell of connections to a jail's loopback that were refused. They stay refused:
//! what is told of is the answer, a reset of a connection that never was.

use std::io;

use rustix::fd::OwnedFd;
use rustix::net::netlink;

use super::{Answer, Batch, Chain, LOOPBACK_NET, nft};
use crate::jail::context::Context as _;

/// Which group of the kernel's log for packets is ours; the namespace has no other.
const GROUP: u16 = 1;

/// What is told of each packet, in bytes: its headers of IP and TCP, without options.
const BYTES: u32 = 40;

/// Bits of TCP's flags: those of interest, and those that a refusal has.
const FIN_SYN_RST_ACK: u8 = 0b1_0111;
const RST_ACK: u8 = 0b1_0100;

/// Numbers of `linux/netfilter/nfnetlink_log.h`, which the C library's names leave out.
const MESSAGE_CONFIG: u16 = 1;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_MODE: u16 = 2;
const COMMAND_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;

/// A socket out of which each refusal comes as a message, in the network that we are in.
pub(in crate::jail) fn tell() -> io::Result<OwnedFd> {
    let mut rule = Batch::default();
    rule.log_refusals();
    rule.apply(Some(netlink::NETFILTER))
        .context("log refused connections by nf_tables")?;
    let mut bind = Batch::default();
    bind.take_log();
    let socket = bind
        .send(Some(netlink::NETFILTER))
        .context("take the log of packets")?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

impl Batch {
    /// As `chain refused { type filter hook input priority 0; ip saddr 127.0.0.0/8
    /// meta l4proto tcp tcp flags & (fin | syn | rst | ack) == rst | ack tcp sequence 0
    /// log group 1 snaplen 40 queue-threshold 1 }`: so the kernel refuses, and resets nothing
    /// else.
    fn log_refusals(&mut self) {
        use nft::*;
        let equal = libc::NFT_CMP_EQ as u32;
        let chain = Chain {
            name: b"refused\0",
            kind: b"filter\0",
            hook: libc::NF_INET_LOCAL_IN,
            priority: libc::NF_IP_PRI_FILTER,
        };
        self.rule(&chain, |list| {
            list.only_tcp();
            list.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS, 1);
            list.expression(b"bitwise\0", |data| {
                data.number(BITWISE_SREG, REGISTER);
                data.number(BITWISE_DREG, REGISTER);
                data.number(BITWISE_LENGTH, 1);
                data.nested(BITWISE_MASK, |value| {
                    value.attribute(DATA_VALUE, &[FIN_SYN_RST_ACK]);
                });
                data.nested(BITWISE_XOR, |value| value.attribute(DATA_VALUE, &[0]));
            });
            list.compare(equal, &[RST_ACK]);
            list.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, TCP_SEQUENCE, 4);
            list.compare(equal, &[0; 4]);
            list.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, IP_SOURCE, 1);
            list.compare(equal, &[LOOPBACK_NET]);
            list.expression(b"log\0", |data| {
                data.attribute(LOG_GROUP, &GROUP.to_be_bytes());
                data.number(LOG_BYTES, BYTES);
                data.attribute(LOG_AT_ONCE, &1_u16.to_be_bytes());
            });
        });
    }

    /// What the kernel logs for our group comes to the socket that this is sent by.
    fn take_log(&mut self) {
        let kind = (libc::NFNL_SUBSYS_ULOG as u16) << 8 | MESSAGE_CONFIG;
        let header = [[libc::NFPROTO_IPV4 as u8, 0], GROUP.to_be_bytes()].concat();
        self.message(kind, Answer::Always, &header, |message| {
            message.attribute(CONFIG_COMMAND, &[COMMAND_BIND]);
            let mode = [&BYTES.to_be_bytes()[..], &[COPY_PACKET, 0]].concat();
            message.attribute(CONFIG_MODE, &mode);
        });
    }
}
