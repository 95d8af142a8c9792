//! Connections to a sandbox's own loopback that its kernel refused, told in the instance's log
//! with what to do if another machine's port was meant. It watches and changes nothing.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::RecvFlags;
use store::Clock;
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::resolver::CLOUD;
use crate::told::Told;

/// Pause between looks, so that whoever does nothing but be refused costs us little: the kernel
/// drops what does not fit its buffer.
const PAUSE: Duration = Duration::from_millis(100);

/// Holds what comes at once: packets are cut to their headers.
const BUFFER_BYTES: usize = 8 * 1024;

/// Where the kernel tells of one sandbox's.
#[derive(Debug)]
pub(crate) struct Refusals {
    pub(crate) socket: OwnedFd,
    pub(crate) told: Arc<Told>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Refusals {
    /// Tells of each address once, until it is dropped or has told enough.
    pub(crate) async fn run(self) {
        // It is another kind of socket, but readiness is all that this type is used for.
        let Ok(socket) = UnixStream::from_std(self.socket.into()) else {
            return;
        };
        let mut known = BTreeSet::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        while socket.readable().await.is_ok() {
            let received = socket.try_io(Interest::READABLE, || {
                Ok(rustix::net::recv(
                    &socket,
                    &mut buffer[..],
                    RecvFlags::DONTWAIT,
                )?)
            });
            match received {
                Ok((length, _)) => {
                    let messages = buffer.get(..length).unwrap_or_default();
                    for address in refused(messages) {
                        if known.insert(address) && !self.told.say(&words(address)) {
                            return;
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                // What was dropped for want of room is told of when it is tried again.
                Err(_) => {}
            }
            self.clock.sleep(PAUSE).await;
        }
    }
}

fn words(refused: SocketAddrV4) -> String {
    let port = refused.port();
    if *refused.ip() == CLOUD {
        return format!(
            "network: connect to a host of AWS's at port {port}: hosts of AWS's lead to dayfly, \
             which answers at 443 and 80; `dayfly dev --aws-passthrough` lets those of services \
             that it does not have be reached"
        );
    }
    format!(
        "network: connect to {refused} was refused: nothing listens there in the function's \
         sandbox; `dayfly dev --host-port {port}` makes it port {port} of this machine"
    )
}

const HEADER_BYTES: usize = 16;
/// Family, version and group, between a message's header and its attributes.
const FAMILY_BYTES: usize = 4;
/// `NFULA_PAYLOAD` of `linux/netfilter/nfnetlink_log.h`.
const PAYLOAD: u16 = 9;
/// Bits of an attribute's kind that say how it is written.
const KIND: u16 = 0x3fff;

/// Who refused, by the answers in one datagram of the kernel's.
fn refused(messages: &[u8]) -> impl Iterator<Item = SocketAddrV4> {
    pieces(messages, |bytes| {
        let length = bytes.first_chunk().copied().map(u32::from_ne_bytes)?;
        usize::try_from(length).ok()
    })
    .filter_map(|message| {
        let attributes = message.get(HEADER_BYTES + FAMILY_BYTES..)?;
        pieces(attributes, |bytes| Some(number(bytes, 0)?.into())).find_map(|attribute| {
            let is_packet = number(attribute, 2)? & KIND == PAYLOAD;
            is_packet.then(|| source(attribute.get(4..)?)).flatten()
        })
    })
}

/// Pieces that each begin with their length and stand at multiples of four.
fn pieces(bytes: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = length(rest).filter(|length| *length >= 4)?;
        let piece = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(piece)
    })
}

/// Where a TCP packet comes from.
fn source(packet: &[u8]) -> Option<SocketAddrV4> {
    let words = packet.first()? & 0xf;
    let address: [u8; 4] = packet.get(12..)?.first_chunk().copied()?;
    let port = packet
        .get(usize::from(words) * 4..)?
        .first_chunk()
        .copied()?;
    let port = u16::from_be_bytes(port);
    Some(SocketAddrV4::new(Ipv4Addr::from(address), port))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as u16 + 4).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(attributes: &[u8]) -> Vec<u8> {
        let length = HEADER_BYTES + FAMILY_BYTES + attributes.len();
        let mut bytes = (length as u32).to_ne_bytes().to_vec();
        bytes.resize(HEADER_BYTES + FAMILY_BYTES, 0);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn the_address_that_refused_is_read_out_of_what_the_kernel_tells() {
        let mut packet = vec![0x45; 12];
        packet.extend([127, 0, 0, 1, 127, 0, 0, 1]);
        packet.extend(5432_u16.to_be_bytes());
        let told = [piece(1, &[0; 3]), piece(PAYLOAD, &packet)].concat();
        let other = [piece(1, &[0; 3]), piece(PAYLOAD, &[0x45; 8])].concat();
        let datagram = [message(&told), message(&other), message(&told)].concat();
        let found: Vec<_> = refused(&datagram).map(|found| found.to_string()).collect();
        assert_eq!(found, ["127.0.0.1:5432", "127.0.0.1:5432"]);
    }

    proptest::proptest! {
        #[test]
        fn noise_never_breaks_the_reader(bytes: Vec<u8>) {
            let _ = refused(&bytes).count();
            let _ = refused(&message(&bytes)).count();
        }
    }

    #[test]
    fn what_to_do_depends_on_whose_the_address_is() {
        let told = words(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5432));
        assert!(told.contains("--host-port 5432"), "{told}");
        let told = words(SocketAddrV4::new(CLOUD, 5432));
        assert!(told.contains("--aws-passthrough"), "{told}");
    }
}
