//! From one daemon to the next: the socket at which a spawner hears visitors, and the visit to
//! spawners of earlier daemons, with what they kept.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::Interest;

use super::link::Link;
use super::{Error, Jail};
use crate::jail::marks::Marks;
use crate::jail::message::{KEEPING_VERSION, Notice, Request};
use crate::jail::wire::{self, MESSAGE_BYTES_MAX};

/// Ends the name of each socket.
const ENDING: &str = ".sock";

/// Visitors that may wait to be let in.
const BACKLOG: i32 = 8;

/// How long a spawner may take to answer a visitor.
const WELCOME_LIMIT: Duration = Duration::from_secs(5);

/// How long the daemon that is there may take to go: somewhat more than the longest request.
const SUCCEED_LIMIT: Duration = Duration::from_secs(20 * 60);

/// That instances outlive their daemon for a while.
#[derive(Debug, Clone)]
pub struct Keep {
    /// Folder of the sockets, its owner's alone; made where missing.
    pub folder: PathBuf,
    /// How long they wait for another daemon.
    pub grace: Duration,
}

/// Where a spawner is heard, and the memory it reads marks from.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) socket: OwnedFd,
    pub(super) marks: Marks,
    folder: OwnedFd,
    /// Removed by the spawner when it ends.
    pub(super) name: String,
}

impl Door {
    pub(super) fn open(keep: &Keep, name: &str) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = &keep.folder;
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made?;
        let name = format!("{name}{ENDING}");
        let socket = socket()?;
        let folder = open_folder(folder)?;
        let marks = Marks::new()?;
        rustix::net::bind(&socket, &address(&folder, &name)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self {
            socket,
            marks,
            folder,
            name,
        })
    }

    /// What the spawner has of it, in the order in which that is said.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.socket.as_fd(), self.marks.file(), self.folder.as_fd()]
    }
}

/// The spawners of earlier daemons that were found in a folder, before anything is asked of them.
#[derive(Debug, Default)]
pub struct Visits {
    visits: Vec<Visit>,
    /// Listeners of the daemon that is there or was there; still listening.
    pub listeners: Vec<TcpListener>,
    /// Whether there is a daemon, which serves.
    pub served: bool,
}

#[derive(Debug)]
struct Visit {
    socket: tokio::net::UnixStream,
    /// Whether it speaks as we do, so that its instances can be taken over.
    understood: bool,
    /// Whether it has a daemon.
    served: bool,
}

/// What earlier daemons have left.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The instances, in the order in which they were started.
    pub jails: Vec<Kept>,
    pub(super) links: Vec<Arc<Link>>,
}

/// A jail whose program runs, which an earlier daemon has let go of.
#[derive(Debug)]
pub struct Kept {
    /// The jail; killed when dropped.
    pub jail: Jail,
    /// What its daemon noted.
    pub note: Vec<u8>,
    /// Connections that its daemon left with it.
    pub connections: Vec<OwnedFd>,
}

impl Visits {
    /// Visits every spawner that is heard in this folder; removes the names of those that are gone.
    pub async fn make(folder: &Path, clock: &dyn store::Clock) -> Result<Self, Error> {
        let mut visits = Self::default();
        let Ok(entries) = std::fs::read_dir(folder) else {
            // None was ever kept.
            return Ok(visits);
        };
        let mut names: Vec<_> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(ENDING))
            .collect();
        names.sort();
        for name in names {
            let socket = match connect(folder, &name) {
                Ok(socket) => socket,
                Err(error) if is_gone(&error) => {
                    let _ = std::fs::remove_file(folder.join(&name));
                    continue;
                }
                Err(error) => return Err(Error::Visit(error)),
            };
            tokio::select! {
                visited = visits.visit(socket) => visited?,
                () = clock.sleep(WELCOME_LIMIT) => {
                    return Err(Error::Visit(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        Ok(visits)
    }

    async fn visit(&mut self, socket: OwnedFd) -> Result<(), Error> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        let socket = tokio::net::UnixStream::from_std(socket).map_err(Error::Visit)?;
        let visit = Request::Visit(KEEPING_VERSION);
        // Where it hangs up at once, it may have said why.
        let _ = send(&socket, &visit).await;
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let received = receive(&socket, &mut buffer).await;
        let (length, descriptors) = received.map_err(|error| match error.kind() {
            // What it said was lost, as it hung up without having listened.
            io::ErrorKind::ConnectionReset => Error::Taken,
            _ => Error::Visit(error),
        })?;
        match Notice::read(buffer.get(..length).unwrap_or_default()) {
            Ok(Notice::Welcome(version, served)) => {
                let understood = version == KEEPING_VERSION;
                if !understood {
                    tracing::warn!(
                        version,
                        "instances of an earlier version of dayfly cannot be taken over; they end"
                    );
                }
                let listeners = descriptors.into_iter().map(TcpListener::from);
                self.listeners.extend(listeners);
                self.served |= served;
                self.visits.push(Visit {
                    socket,
                    understood,
                    served,
                });
                Ok(())
            }
            Ok(Notice::Taken) => Err(Error::Taken),
            // It is ending.
            _ if length == 0 => Ok(()),
            _ => Err(Error::Visit(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Whether anything was found.
    pub fn is_empty(&self) -> bool {
        self.visits.is_empty()
    }

    /// Takes over: has the daemon that is there let go of everything and end, and waits for that.
    pub async fn succeed(self, clock: Arc<dyn store::Clock>) -> Result<Inherited, Error> {
        for visit in &self.visits {
            // One that is gone by now has nothing for us.
            let _ = send(&visit.socket, &Request::Succeed(visit.understood)).await;
        }
        let mut inherited = Inherited::default();
        let whole = async {
            for visit in self.visits {
                inherited.take(visit, &clock).await?;
            }
            Ok(())
        };
        tokio::select! {
            taken = whole => taken?,
            () = clock.sleep(SUCCEED_LIMIT) => return Err(Error::Visit(io::ErrorKind::TimedOut.into())),
        }
        Ok(inherited)
    }
}

impl Inherited {
    async fn take(&mut self, visit: Visit, clock: &Arc<dyn store::Clock>) -> Result<(), Error> {
        let mut kept = Vec::new();
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let marks = loop {
            // It may end while nobody serves, and then has nothing for us. Otherwise whoever serves
            // goes on, or another was let in.
            let (length, descriptors) = match receive(&visit.socket, &mut buffer).await {
                Ok((length, descriptors)) if length > 0 => (length, descriptors),
                _ if visit.served => return Err(Error::Visit(io::ErrorKind::UnexpectedEof.into())),
                _ => return Ok(()),
            };
            match Notice::read(buffer.get(..length).unwrap_or_default()) {
                Ok(Notice::Kept(id, handed, first, note)) => {
                    kept.push((id, handed, first, note, descriptors));
                }
                Ok(Notice::AllKept) => break descriptors.into_iter().next(),
                _ => return Err(Error::Visit(io::ErrorKind::InvalidData.into())),
            }
        };
        let marks = marks.map(Marks::of).transpose().map_err(Error::Visit)?;
        let link = Link::new(visit.socket, 0, marks, Arc::clone(clock));
        for (id, handed, first, note, descriptors) in kept {
            match link.take_over(id, handed, first, descriptors) {
                Ok((jail, connections)) => self.jails.push(Kept {
                    jail,
                    note,
                    connections,
                }),
                Err(error) => tracing::error!(%error, "take over an instance"),
            }
        }
        tokio::spawn(link.clone().keep_killing());
        let listening = link.clone();
        tokio::spawn(async move {
            listening.clone().listen().await;
            listening.ended.send_replace(true);
        });
        self.links.push(link);
        Ok(())
    }
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::SEQPACKET;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        kind,
        flags,
        None,
    )?)
}

fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

/// By the folder's number, as an address takes 107 bytes and a path may have more.
fn address(folder: &OwnedFd, name: &str) -> io::Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{name}", folder.as_fd().as_raw_fd());
    Ok(SocketAddrUnix::new(path)?)
}

fn connect(folder: &Path, name: &str) -> io::Result<OwnedFd> {
    let socket = socket()?;
    let folder = open_folder(folder)?;
    rustix::net::connect(&socket, &address(&folder, name)?)?;
    Ok(socket)
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::CONNREFUSED, Errno::NOENT].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|code| gone.contains(&code))
}

async fn send(socket: &tokio::net::UnixStream, request: &Request<'_>) -> io::Result<()> {
    let message = request.write();
    let write = || wire::send(socket, &[&message], &[], SendFlags::DONTWAIT);
    socket.async_io(Interest::WRITABLE, write).await
}

async fn receive(
    socket: &tokio::net::UnixStream,
    buffer: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let read = || wire::receive(socket, buffer, RecvFlags::DONTWAIT);
    socket.async_io(Interest::READABLE, read).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(socket: &OwnedFd) -> Vec<u8> {
        let mut buffer = vec![0; 64];
        let (length, _) = wire::receive(socket, &mut buffer, RecvFlags::empty()).unwrap();
        buffer.truncate(length);
        buffer
    }

    fn say(socket: &OwnedFd, notice: &Notice, descriptors: &[BorrowedFd<'_>]) {
        wire::send(socket, &[&notice.write()], descriptors, SendFlags::empty()).unwrap();
    }

    #[tokio::test]
    async fn a_spawner_of_another_version_gives_its_port_and_no_instances() {
        let clock: Arc<dyn store::Clock> = Arc::new(store::SystemClock::new());
        let name = model::id::hex(&clock.random_id());
        let keep = Keep {
            folder: std::env::temp_dir().join(format!("dayfly-keep-{name}")),
            grace: Duration::ZERO,
        };
        let door = Door::open(&keep, "another").unwrap();
        rustix::io::ioctl_fionbio(&door.socket, false).unwrap();
        let spawner = std::thread::spawn(move || {
            let visitor = rustix::net::accept(&door.socket).unwrap();
            let asked = [hear(&visitor)];
            let port = TcpListener::bind("127.0.0.1:0").unwrap();
            let welcome = Notice::Welcome(KEEPING_VERSION + 1, false);
            say(&visitor, &welcome, &[port.as_fd()]);
            let succeed = hear(&visitor);
            say(&visitor, &Notice::AllKept, &[]);
            (asked, succeed, port.local_addr().unwrap())
        });
        let mut visits = Visits::make(&keep.folder, &*clock).await.unwrap();
        let port = visits.listeners.pop().unwrap().local_addr().unwrap();
        let inherited = visits.succeed(Arc::clone(&clock)).await.unwrap();
        assert!(inherited.jails.is_empty());
        let (asked, succeed, its_port) = spawner.join().unwrap();
        assert_eq!(port, its_port);
        // As every version before and after says it.
        assert_eq!(
            asked[0],
            [&[20], &KEEPING_VERSION.to_le_bytes()[..]].concat()
        );
        assert_eq!(succeed, [21, 0]);
        // It is gone by now, and so is its name after the next visit.
        assert!(
            Visits::make(&keep.folder, &*clock)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(std::fs::read_dir(&keep.folder).unwrap().count(), 0);
        std::fs::remove_dir(&keep.folder).unwrap();
    }
}
