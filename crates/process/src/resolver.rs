//! Names in a sandbox. Those of the cloud lead to the platform. Others are for functions with an
//! outside network: addresses are looked up as this host looks them up, hosts file and all; other
//! questions go to the name servers that this host asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use model::home::{self, Home};
use store::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::egress::{HOST, Reach};
use message::{Code, Question};

mod message;

/// Questions of one instance that may be open; further ones over UDP are dropped, and asked
/// again by whoever asked.
const QUESTIONS_MAX: usize = 32;

/// Lookups of one instance that may be under way, each of which holds a thread.
const LOOKUPS_MAX: usize = 4;

/// Lookups of all instances together: few of the threads that everything else needs, too.
const LOOKUPS_OF_ALL_MAX: usize = 64;

/// How long an answer may take; the C library's resolver gives up after as long.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Pause after an accept that failed for a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The largest message over UDP that resolvers agree on with EDNS.
const UDP_BYTES_MAX: usize = 4096;

/// Name servers asked in turn; the C library asks as many.
const SERVERS_MAX: usize = 3;

/// The name of this host, which tools of containers made common.
const HOST_NAME: &str = "host.docker.internal";

/// Where the platform is, to whoever asks for a host of the cloud's: an address of loopback that
/// nothing else has, so that connections to one can be told from others.
pub(crate) const CLOUD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Which hosts of the cloud's lead to the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudHosts {
    /// All of them.
    Home,
    /// Those of these services; others are outside, for functions that may go there.
    Of(&'static [CloudService]),
}

/// A service of the cloud's that the platform has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloudService {
    /// As signatures and hosts call it.
    pub name: &'static str,
    /// As the variable calls it that names its endpoint to SDKs.
    pub variable: &'static str,
}

/// What the lookups of all instances share.
#[derive(Debug, Clone)]
pub(crate) struct Lookups(Arc<Semaphore>);

impl Default for Lookups {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS_OF_ALL_MAX)))
    }
}

/// The resolver of one instance.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) udp: std::net::UdpSocket,
    pub(crate) tcp: std::net::TcpListener,
    /// Nowhere for a function without an outside network.
    pub(crate) reach: Reach,
    pub(crate) cloud: CloudHosts,
    pub(crate) lookups: Lookups,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Resolver {
    /// Answers until it is dropped.
    pub(crate) async fn run(self) {
        let (Ok(udp), Ok(tcp)) = (
            UdpSocket::from_std(self.udp),
            TcpListener::from_std(self.tcp),
        ) else {
            return;
        };
        let names = Names {
            reach: self.reach,
            cloud: self.cloud,
            own: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            all: self.lookups.0,
            clock: self.clock,
        };
        tokio::join!(answer_udp(udp, &names), answer_tcp(tcp, &names));
    }
}

async fn answer_udp(socket: UdpSocket, names: &Names) {
    let socket = Arc::new(socket);
    let room = Arc::new(Semaphore::new(QUESTIONS_MAX));
    let mut questions = JoinSet::new();
    let mut buffer = [0; UDP_BYTES_MAX];
    loop {
        while questions.try_join_next().is_some() {}
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            names.clock.sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let asked = buffer.get(..length).unwrap_or_default().to_vec();
        let (socket, names) = (Arc::clone(&socket), names.clone());
        questions.spawn(async move {
            if let Some(answer) = names.answer(&asked, Transport::Udp).await {
                // Whoever asked may be gone.
                let _ = socket.send_to(&answer, from).await;
            }
            drop(place);
        });
    }
}

async fn answer_tcp(listener: TcpListener, names: &Names) {
    let room = Arc::new(Semaphore::new(QUESTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let names = names.clone();
                connections.spawn(async move {
                    // Whoever asked may be gone.
                    let _ = names.converse(stream).await;
                    drop(place);
                });
            }
            Err(_) => names.clock.sleep(ACCEPT_PAUSE).await,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

#[derive(Debug, Clone)]
struct Names {
    reach: Reach,
    cloud: CloudHosts,
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

impl Names {
    /// Answers the questions of one connection until it ends or is silent.
    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let asked = tokio::select! {
                asked = read_framed(&mut stream) => asked?,
                () = self.clock.sleep(ANSWER_LIMIT) => return Ok(()),
            };
            match self.answer(&asked, Transport::Tcp).await {
                Some(answer) => write_framed(&mut stream, &answer).await?,
                None => return Ok(()),
            }
        }
    }

    /// The answer to a message; none to one that is no question.
    async fn answer(&self, asked: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let question = Question::read(asked)?;
        if question.is_of_internet()
            && let Some(address) = self.known(&question.name)
        {
            let is_asked = question.kind == message::ADDRESS;
            let addresses = if is_asked { &[address][..] } else { &[] };
            return Some(question.answer(Code::Good, addresses));
        }
        if self.reach == Reach::Nowhere {
            // Not that there is no such name: nobody was asked.
            return Some(question.answer(Code::Refused, &[]));
        }
        if question.is_of_internet() {
            match question.kind {
                message::ADDRESS => return Some(self.look_up(&question).await),
                // A sandbox reaches nothing by IPv6, so nothing there has such an address.
                message::ADDRESS_V6 => return Some(question.answer(Code::Good, &[])),
                _ => {}
            }
        }
        let passed_on = self.pass_on(asked, transport).await;
        Some(passed_on.unwrap_or_else(|| question.answer(Code::Failed, &[])))
    }

    /// Names that nobody else is asked for.
    fn known(&self, name: &str) -> Option<Ipv4Addr> {
        match home::of(name) {
            Some(Home::Localhost) => Some(Ipv4Addr::LOCALHOST),
            Some(Home::Cloud) if !self.is_outside(name) => Some(CLOUD),
            _ => (self.reach == Reach::Host && name == HOST_NAME).then_some(HOST),
        }
    }

    /// Whether a host of the cloud's is looked for outside: nowhere else can it be, to a function
    /// that stays inside.
    fn is_outside(&self, name: &str) -> bool {
        let CloudHosts::Of(services) = self.cloud else {
            return false;
        };
        let service = home::service_of(name);
        let has = |service: &str| services.iter().any(|known| known.name == service);
        self.reach != Reach::Nowhere && !service.is_some_and(|service| has(&service))
    }

    async fn look_up(&self, question: &Question<'_>) -> Vec<u8> {
        let found = tokio::select! {
            found = self.ask_host(question.name.clone()) => found,
            () = self.clock.sleep(ANSWER_LIMIT) => return question.answer(Code::Failed, &[]),
        };
        match found {
            Ok(found) => {
                let mut addresses: Vec<Ipv4Addr> = Vec::new();
                for address in found {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                question.answer(Code::Good, &addresses)
            }
            // The standard library passes the C library's words on, and not its number.
            Err(error) if error.to_string().contains("emporary") => {
                question.answer(Code::Failed, &[])
            }
            Err(_) => question.answer(Code::NoSuchName, &[]),
        }
    }

    /// Looks a name up as any program of this host would.
    async fn ask_host(&self, name: String) -> std::io::Result<Vec<Ipv4Addr>> {
        // Neither is ever closed.
        let closed = std::io::Error::other;
        let own = Arc::clone(&self.own)
            .acquire_owned()
            .await
            .map_err(closed)?;
        let all = Arc::clone(&self.all)
            .acquire_owned()
            .await
            .map_err(closed)?;
        let look = move || {
            // Held for as long as the thread is, whoever has given up waiting for it.
            let _places = (own, all);
            let found = (name.as_str(), 0).to_socket_addrs()?;
            Ok(found
                .filter_map(|address| match address.ip() {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                })
                .collect())
        };
        tokio::task::spawn_blocking(look).await?
    }

    /// What the first of this host's name servers that answers says.
    async fn pass_on(&self, asked: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let text = tokio::fs::read_to_string("/etc/resolv.conf").await;
        for server in servers(&text.unwrap_or_default()) {
            let ask = async {
                match transport {
                    Transport::Udp => ask_udp(server, asked).await,
                    Transport::Tcp => ask_tcp(server, asked).await,
                }
            };
            let answer = tokio::select! {
                answer = ask => answer.ok(),
                () = self.clock.sleep(ANSWER_LIMIT / SERVERS_MAX as u32) => None,
            };
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}

/// The name servers of a `resolv.conf`; the local one where it names none, as the C library has
/// it.
fn servers(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address: IpAddr = match words.next() {
            Some("nameserver") => words.next()?.parse().ok()?,
            _ => return None,
        };
        Some(SocketAddr::new(address, 53))
    });
    let mut servers: Vec<SocketAddr> = named.take(SERVERS_MAX).collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, 53).into());
    }
    servers
}

async fn ask_udp(server: SocketAddr, asked: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(asked).await?;
    let mut buffer = [0; UDP_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default();
        if message::is_answer_to(answer, asked) {
            return Ok(answer.to_vec());
        }
    }
}

async fn ask_tcp(server: SocketAddr, asked: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, asked).await?;
    read_framed(&mut stream).await
}

/// A message over TCP follows its length (RFC 1035, section 4.2.2).
async fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn write_framed(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), bytes].concat())
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(reach: Reach, cloud: CloudHosts) -> Names {
        Names {
            reach,
            cloud,
            own: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            all: Lookups::default().0,
            clock: Arc::new(store::SystemClock::new()),
        }
    }

    /// A question for a name; its answer's code and address, if it has one.
    async fn asked(names: &Names, name: &str, kind: u16) -> (u8, Option<Ipv4Addr>) {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.push(0);
        message.extend([0, kind as u8, 0, 1]);
        let answer = names.answer(&message, Transport::Udp).await.unwrap();
        let records = answer.get(message.len()..).unwrap();
        let address = records
            .last_chunk::<4>()
            .map(|bytes| Ipv4Addr::from(*bytes));
        (answer[3] & 0xf, address)
    }

    #[tokio::test]
    async fn names_of_the_cloud_lead_home_whatever_a_function_may_reach() {
        for reach in [Reach::Nowhere, Reach::Others, Reach::Host] {
            let names = names(reach, CloudHosts::Home);
            for (name, address) in [
                ("lambda.us-east-1.amazonaws.com", CLOUD),
                ("STS.AmazonAWS.Com.", CLOUD),
                ("dynamodb.us-east-1.api.aws", CLOUD),
                ("id.lambda-url.us-east-1.on.aws", CLOUD),
                ("x.localhost", Ipv4Addr::LOCALHOST),
            ] {
                assert_eq!(asked(&names, name, 1).await, (0, Some(address)), "{name}");
                // No IPv6, no service binding, and no text either.
                for kind in [28, 65, 16] {
                    assert_eq!(asked(&names, name, kind).await, (0, None), "{name} {kind}");
                }
            }
        }
    }

    #[tokio::test]
    async fn other_names_are_not_looked_up_for_a_function_that_stays_inside() {
        let names = names(Reach::Nowhere, CloudHosts::Home);
        for name in [
            "example.org",
            "evilamazonaws.com",
            "sts.amazonaws.com.evil.org",
        ] {
            for kind in [1, 28, 16] {
                assert_eq!(asked(&names, name, kind).await, (5, None), "{name} {kind}");
            }
        }
    }

    #[test]
    fn hosts_of_services_that_are_not_here_may_be_let_out() {
        const SERVICES: &[CloudService] = &[CloudService {
            name: "lambda",
            variable: "LAMBDA",
        }];
        let inside = names(Reach::Nowhere, CloudHosts::Of(SERVICES));
        let outside = names(Reach::Others, CloudHosts::Of(SERVICES));
        for (name, is_outside) in [
            ("lambda.us-east-1.amazonaws.com", false),
            ("id.lambda-url.us-east-1.on.aws", false),
            ("dynamodb.us-east-1.amazonaws.com", true),
            ("db.x.us-east-1.rds.amazonaws.com", true),
        ] {
            assert_eq!(outside.known(name).is_none(), is_outside, "{name}");
            assert_eq!(inside.known(name), Some(CLOUD), "{name}");
        }
    }

    #[test]
    fn name_servers_are_read_as_the_c_library_reads_them() {
        let shown = |text| {
            servers(text)
                .iter()
                .map(SocketAddr::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(shown(""), "127.0.0.1:53");
        assert_eq!(
            shown("# local\nsearch a.example\nnameserver 10.0.0.2\nnameserver ::1\nnameserver x\n"),
            "10.0.0.2:53 [::1]:53"
        );
        assert_eq!(
            servers(&"nameserver 10.0.0.2\n".repeat(9)).len(),
            SERVERS_MAX
        );
    }
}
