//! The way out of a sandbox: connections that its network turned to a listener of ours are
//! dialled from here and carried. Where they may go is decided here, by address, as the names
//! they were looked up by prove nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use store::Clock;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::accept;
use crate::told::Told;

/// How long the other side may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Stands for this host, where functions may reach it: the dummy address of RFC 7600, which no
/// network can use.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// What functions with an outside network can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing: no function has an outside network, whatever its settings say.
    Nowhere,
    /// Everything but this host itself and what is local to its links.
    Others,
    /// This host too: at its own addresses, and its loopback as `host.docker.internal`.
    Host,
}

/// The redirected connections of one instance.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) reach: Reach,
    pub(crate) told: Arc<Told>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Egress {
    /// Carries connections until it is dropped, and every connection with it.
    pub(crate) async fn run(self) {
        let Ok(listener) = TcpListener::from_std(self.listener) else {
            return;
        };
        let carrier = Arc::new(Carrier {
            reach: self.reach,
            told: self.told,
            clock: Arc::clone(&self.clock),
        });
        accept::each(listener, &*self.clock, |stream| {
            let carrier = Arc::clone(&carrier);
            async move { carrier.carry(stream).await }
        })
        .await;
    }
}

struct Carrier {
    reach: Reach,
    told: Arc<Told>,
    clock: Arc<dyn Clock>,
}

impl Carrier {
    async fn carry(&self, mut inside: TcpStream) {
        let outside = match rustix::net::sockopt::ip_original_dst(&inside) {
            Ok(target) => self.dial(target).await.map_err(|why| (target, why)),
            // Whoever connects to the listener itself wants to go nowhere.
            Err(_) => return reset(&inside),
        };
        match outside {
            Ok(mut outside) => {
                // Either side ending in an error ends both; there is nobody to tell.
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            }
            Err((target, why)) => {
                reset(&inside);
                self.told
                    .say(&format!("network: connect to {target}: {why}"));
            }
        }
    }

    async fn dial(&self, target: SocketAddrV4) -> Result<TcpStream, String> {
        let address = self.resolve(target).await?;
        let connected = tokio::select! {
            connected = TcpStream::connect(address) => connected.map_err(|error| error.to_string()),
            () = self.clock.sleep(CONNECT_LIMIT) => Err("nobody answered".to_owned()),
        }?;
        // Each side decides by itself how it fills its segments.
        let _ = connected.set_nodelay(true);
        Ok(connected)
    }

    /// Where a connection really goes, if it may.
    async fn resolve(&self, target: SocketAddrV4) -> Result<SocketAddr, String> {
        let address = *target.ip();
        if self.reach == Reach::Nowhere {
            return Err("functions have no outside network here".to_owned());
        }
        if self.reach == Reach::Host && address == HOST {
            return Ok((Ipv4Addr::LOCALHOST, target.port()).into());
        }
        if let Some(what) = local(address) {
            return Err(format!("functions may not reach {what}"));
        }
        if self.reach == Reach::Others && is_own(address).await {
            let port = target.port();
            return Err(format!(
                "functions may not reach this host; `dayfly dev --host-port {port}` lets them \
                 reach this port of its loopback as 127.0.0.1:{port}, and --allow-host-services \
                 all of it"
            ));
        }
        Ok(target.into())
    }
}

/// The connection breaks off, as one that was refused: it was accepted only to be redirected.
fn reset(stream: &TcpStream) {
    // It is closed in any case.
    let _ = stream.set_zero_linger();
}

/// What an address that is no host of any network stands for.
fn local(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("addresses of this network"),
        [127, ..] => Some("the platform's loopback"),
        [169, 254, ..] => Some("link-local addresses, where clouds keep their credentials"),
        [192, 0, 0, _] => Some("addresses of special use"),
        // Outside the link-local range, yet answered by the cloud's own host all the same.
        [100, 100, 100, 200] | [168, 63, 129, 16] => Some("a cloud's metadata service"),
        [224..=255, ..] => Some("multicast and reserved addresses"),
        _ => None,
    }
}

/// Whether an address is one of this host's: the kernel then takes it for both ends. Sends
/// nothing.
async fn is_own(address: Ipv4Addr) -> bool {
    let source = async {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.connect((address, 9)).await?;
        socket.local_addr()
    };
    // Without a route there it cannot be ours, and cannot be reached either.
    source
        .await
        .is_ok_and(|source| source.ip() == IpAddr::V4(address))
}

#[cfg(test)]
mod tests {
    use engine::port::{LogEvent, LogSink};

    use super::*;

    #[test]
    fn addresses_of_no_network_are_out_of_reach() {
        for refused in [
            "0.0.0.0",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "192.0.0.8",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(local(refused.parse().unwrap()).is_some(), "{refused}");
        }
        for reached in [
            "1.1.1.1",
            "10.0.0.1",
            "172.17.0.1",
            "192.168.1.1",
            "203.0.113.5",
        ] {
            assert!(local(reached.parse().unwrap()).is_none(), "{reached}");
        }
    }

    #[derive(Debug)]
    struct NoLog;

    impl LogSink for NoLog {
        fn write(&self, _: LogEvent) {}
    }

    #[tokio::test]
    async fn this_host_is_reached_only_where_that_is_allowed() {
        let clock: Arc<dyn Clock> = Arc::new(store::SystemClock::new());
        let port = |address| SocketAddrV4::new(address, 80);
        for (reach, expected) in [(Reach::Others, None), (Reach::Host, Some("127.0.0.1:80"))] {
            let carrier = Carrier {
                reach,
                told: Arc::new(Told::new(Arc::new(NoLog), Arc::clone(&clock))),
                clock: Arc::clone(&clock),
            };
            let resolved = carrier.resolve(port(HOST)).await.ok();
            assert_eq!(resolved, expected.map(|address| address.parse().unwrap()));
            assert!(carrier.resolve(port(Ipv4Addr::LOCALHOST)).await.is_err());
            let outside = port(Ipv4Addr::new(203, 0, 113, 5));
            assert_eq!(carrier.resolve(outside).await, Ok(outside.into()));
        }
    }

    #[tokio::test]
    async fn this_hosts_addresses_are_known() {
        assert!(is_own(Ipv4Addr::LOCALHOST).await);
        assert!(!is_own(Ipv4Addr::new(203, 0, 113, 5)).await);
    }
}
