//! The messages between the daemon and the spawner helper, one enum for each direction, and
//! those between the helper and a jail's first process.

use std::path::PathBuf;

use super::plan::{self, Plan, Sealed};
use super::wire::{Malformed, Reader, Writer};
use crate::host::Host;
use crate::spawner::{CompanionEnd, Exit, Limits, Status};

/// Names a jail for as long as the helper lives.
pub(crate) type JailId = u64;

/// What the daemon asks of the helper.
#[derive(Debug)]
pub(crate) enum Request<'a> {
    /// The first message.
    Begin(Settings),
    /// Make one more generic jail.
    Prepare,
    Claim(JailId, Plan<'a>),
    /// Start an interpreter in a generic jail, which stays to be claimed.
    Boot(JailId, Plan<'a>),
    Kill(JailId),
    Freeze(JailId),
    Thaw(JailId),
    /// Start the program, which has waited for its companions.
    Proceed(JailId),
    /// Ask the program to end.
    Terminate(JailId),
    /// End every jail, then the helper.
    Shutdown,
    /// Hold the listeners that come with it for whoever comes next.
    Hold,
    /// What whoever comes next is told of a jail; never read here.
    Note(JailId, &'a [u8]),
    /// The daemon lets go of a jail, which is idle: what whoever comes next is told of it, with
    /// further descriptors that belong to it.
    Leave(JailId, &'a [u8]),
    /// From a visitor, its first message: the version of this protocol that it speaks. The number
    /// and the form of this one and the next never change.
    Visit(u64),
    /// From a visitor: it is to be the daemon once the one there is has gone. Whether it wants the
    /// instances.
    Succeed(bool),
}

/// The version of what a daemon and the spawner of an earlier one say to each other, of the notes
/// about instances, and of what launchers and daemons say to each other. To be raised with each
/// change of those that the other side would not understand.
pub(crate) const KEEPING_VERSION: u64 = 2;

/// What the helper needs to know once.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) common: Common,
    pub(crate) runtime_dir: PathBuf,
    /// Folder with the certificates that jails are to trust.
    pub(crate) trust: Option<PathBuf>,
    /// Why instances are to do without namespaces, if they are.
    pub(crate) lite: Option<String>,
    /// How long instances are kept for another daemon once this one is gone, in milliseconds; zero
    /// where they are not. Otherwise the socket comes with it at which visitors are heard, the
    /// memory of the marks, and the folder that the socket has its name in.
    pub(crate) keep_ms: u64,
    /// That name; to be removed in the end.
    pub(crate) door: PathBuf,
}

/// What the network of every jail has, whoever claims it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) endpoint_port: u16,
    /// Ports of its loopback that lead to the same of this host's.
    pub(crate) host_ports: Vec<u16>,
    /// Whether connections to its loopback that were refused are told of.
    pub(crate) tell_refused: bool,
}

/// What the helper tells the daemon.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The answer to [`Request::Begin`].
    Host(Box<Host>),
    /// A generic jail; with the descriptors that [`Handed`] counts.
    Ready(JailId, Handed),
    /// A generic jail could not be made.
    Unprepared(String),
    /// The program of a claimed jail runs, or its companions, below this process; with its
    /// dialers, and what the companions print if there are any. Or an interpreter was started.
    Started(JailId, i32),
    /// A claim failed; the jail is being ended.
    Refused(JailId, String),
    Exit(JailId, Exit),
    /// A companion has ended, by its place among them.
    Companion(JailId, usize, CompanionEnd),
    /// Nothing of the jail is left.
    Gone(JailId),
    /// A freeze or thaw was carried out.
    Settled(JailId),
    /// Another daemon waits to take over.
    Successor,
    /// To a visitor, the answer to its first message: the version spoken here, and whether there is
    /// a daemon; with the listeners that are held. Its number and form never change.
    Welcome(u64, bool),
    /// To a visitor: another one was here before.
    Taken,
    /// To a new daemon: a jail whose program runs below this process, and what was noted of it;
    /// with the descriptors of a ready jail and those that were left with it.
    Kept(JailId, Handed, i32, Vec<u8>),
    /// To a new daemon: that was all; it is the daemon from now on. With the memory of the marks,
    /// where it wanted the instances. Its number and form never change.
    AllKept,
}

/// Which descriptors come with a ready jail, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handed {
    /// The Runtime API always comes first; output, control and requests last but the last two.
    /// These are the listeners that lead to the platform, by their number.
    pub(crate) home: u8,
    /// Those that lead to ports of this host, by their number.
    pub(crate) host_ports: u8,
    pub(crate) egress: bool,
    /// UDP, then TCP.
    pub(crate) dns: bool,
    /// Where refused connections are told.
    pub(crate) refusals: bool,
    pub(crate) memory: bool,
    pub(crate) memory_peak: bool,
}

/// What the helper tells a jail's first process.
#[derive(Debug)]
pub(crate) enum Order<'a> {
    /// The user and group maps are written.
    Mapped,
    Claim(Claim<'a>),
    /// Start an interpreter, and wait to be claimed.
    Boot(Claim<'a>),
    /// The claim of an instance without namespaces.
    Lite(Unheld, Plan<'a>),
    /// Stop every process of the jail, where no freezer does it.
    Stop,
    Continue,
    /// Start the program, which has waited for its companions.
    Proceed,
    /// Ask the program to end.
    Terminate,
}

/// The inside half of a [`Plan`]; the mounts come as descriptors, in the order of `targets`.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) targets: Vec<PathBuf>,
    pub(crate) limits: Limits,
    /// Whether the memory limit must be held by resource limits, no control group doing it.
    pub(crate) limit_data: bool,
    pub(crate) control: bool,
    pub(crate) dialers: u8,
    pub(crate) program: Sealed<'a>,
}

impl<'a> Claim<'a> {
    fn write(&self, mut to: Writer) -> Vec<u8> {
        to.list(&self.targets, |to, target| {
            to.path(target);
        });
        plan::write_limits(&self.limits, &mut to);
        to.byte(self.limit_data.into())
            .byte(self.control.into())
            .byte(self.dialers);
        before_sealed(to, self.program)
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            targets: from.list(|from| Ok(from.path()?.to_owned()))?,
            limits: plan::read_limits(from)?,
            limit_data: from.byte()? != 0,
            control: from.byte()? != 0,
            dialers: from.byte()?,
            program: Sealed(from.blob()?),
        })
    }
}

/// What no control group limits, so that resource limits must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unheld {
    pub(crate) memory: bool,
    pub(crate) processes: bool,
}

/// What a jail's first process tells the helper.
#[derive(Debug)]
pub(crate) enum Report {
    /// Ready to be claimed; with the listeners.
    Ready { handed: Handed, facts: Facts },
    /// It failed to prepare or to start the program, and ends.
    Failed(String),
    /// The program runs, or its companions; with the dialers, and the companions' output.
    Started,
    /// The program ended; the jail follows once its companions have.
    Exited(Status),
    /// A companion ended.
    CompanionExited(usize, Status),
    /// A companion could not be started.
    NotStarted(usize, String),
}

/// What a prepared jail found out about its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// A process file system of its own could be mounted.
    pub(crate) proc_mounted: bool,
    /// Why connections to the outside are not redirected to the egress listener, if they are
    /// not.
    pub(crate) no_redirect: Option<String>,
}

impl Handed {
    fn bits(self) -> u8 {
        u8::from(self.egress)
            | u8::from(self.dns) << 1
            | u8::from(self.memory) << 2
            | u8::from(self.memory_peak) << 3
            | u8::from(self.refusals) << 4
    }

    fn write(self, to: &mut Writer) -> &mut Writer {
        to.byte(self.home).byte(self.host_ports).byte(self.bits())
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (home, host_ports, bits) = (from.byte()?, from.byte()?, from.byte()?);
        Ok(Self {
            home,
            host_ports,
            egress: bits & 1 != 0,
            dns: bits & 2 != 0,
            memory: bits & 4 != 0,
            memory_peak: bits & 8 != 0,
            refusals: bits & 16 != 0,
        })
    }
}

impl<'a> Request<'a> {
    pub(crate) fn write(&self) -> Vec<u8> {
        match self {
            Self::Begin(settings) => {
                let mut to = Writer::new(1);
                let common = &settings.common;
                to.number(common.endpoint_port.into())
                    .list(&common.host_ports, |to, port| {
                        to.number((*port).into());
                    })
                    .byte(common.tell_refused.into())
                    .path(&settings.runtime_dir)
                    .list(settings.trust.as_slice(), |to, folder| {
                        to.path(folder);
                    })
                    .byte(settings.lite.is_some().into())
                    .blob(settings.lite.as_deref().unwrap_or_default().as_bytes())
                    .number(settings.keep_ms)
                    .path(&settings.door);
                to.into_bytes()
            }
            Self::Prepare => Writer::new(2).into_bytes(),
            Self::Claim(id, plan) => {
                let mut to = Writer::new(3);
                to.number(*id);
                plan.write(&mut to);
                to.into_bytes()
            }
            Self::Boot(id, plan) => {
                let mut to = Writer::new(13);
                to.number(*id);
                plan.write(&mut to);
                to.into_bytes()
            }
            Self::Kill(id) => about(4, *id),
            Self::Freeze(id) => about(5, *id),
            Self::Thaw(id) => about(6, *id),
            Self::Shutdown => Writer::new(7).into_bytes(),
            Self::Proceed(id) => about(8, *id),
            Self::Terminate(id) => about(9, *id),
            Self::Hold => Writer::new(10).into_bytes(),
            Self::Note(id, note) => noted(11, *id, note),
            Self::Leave(id, note) => noted(12, *id, note),
            Self::Visit(version) => about(20, *version),
            Self::Succeed(whole) => {
                let mut to = Writer::new(21);
                to.byte((*whole).into());
                to.into_bytes()
            }
        }
    }

    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let request = match from.byte()? {
            1 => Self::Begin(Settings {
                common: Common {
                    endpoint_port: from.number_as()?,
                    host_ports: from.list(Reader::number_as)?,
                    tell_refused: from.byte()? != 0,
                },
                runtime_dir: from.path()?.to_owned(),
                trust: from.list(|from| Ok(from.path()?.to_owned()))?.pop(),
                lite: {
                    let lite = from.byte()? != 0;
                    Some(from.text()?).filter(|_| lite)
                },
                keep_ms: from.number()?,
                door: from.path()?.to_owned(),
            }),
            2 => Self::Prepare,
            3 => return Ok(Self::Claim(from.number()?, Plan::read(&mut from)?)),
            4 => Self::Kill(from.number()?),
            5 => Self::Freeze(from.number()?),
            6 => Self::Thaw(from.number()?),
            7 => Self::Shutdown,
            8 => Self::Proceed(from.number()?),
            9 => Self::Terminate(from.number()?),
            10 => Self::Hold,
            11 => Self::Note(from.number()?, from.blob()?),
            12 => Self::Leave(from.number()?, from.blob()?),
            13 => return Ok(Self::Boot(from.number()?, Plan::read(&mut from)?)),
            20 => Self::Visit(from.number()?),
            21 => Self::Succeed(from.byte()? != 0),
            _ => return Err(Malformed),
        };
        from.end()?;
        Ok(request)
    }
}

impl Notice {
    pub(crate) fn write(&self) -> Vec<u8> {
        match self {
            Self::Host(host) => {
                let mut to = Writer::new(1);
                to.blob(&serde_json::to_vec(host).unwrap_or_default());
                to.into_bytes()
            }
            Self::Ready(id, handed) => {
                let mut to = Writer::new(2);
                handed.write(to.number(*id));
                to.into_bytes()
            }
            Self::Unprepared(reason) => {
                let mut to = Writer::new(3);
                to.blob(reason.as_bytes());
                to.into_bytes()
            }
            Self::Started(id, first) => {
                let mut to = Writer::new(4);
                to.number(*id).number(first.unsigned_abs().into());
                to.into_bytes()
            }
            Self::Refused(id, reason) => {
                let mut to = Writer::new(5);
                to.number(*id).blob(reason.as_bytes());
                to.into_bytes()
            }
            Self::Exit(id, exit) => {
                let mut to = Writer::new(6);
                to.number(*id);
                write_exit(*exit, &mut to);
                to.into_bytes()
            }
            Self::Gone(id) => about(7, *id),
            Self::Settled(id) => about(8, *id),
            Self::Companion(id, index, end) => {
                let mut to = Writer::new(9);
                to.number(*id).number(*index as u64);
                match end {
                    CompanionEnd::Exit(exit) => write_exit(*exit, to.byte(0)),
                    CompanionEnd::NotStarted(reason) => {
                        to.byte(1).blob(reason.as_bytes());
                    }
                }
                to.into_bytes()
            }
            Self::Successor => Writer::new(10).into_bytes(),
            Self::Kept(id, handed, first, note) => {
                let mut to = Writer::new(11);
                handed
                    .write(to.number(*id))
                    .number(first.unsigned_abs().into())
                    .blob(note);
                to.into_bytes()
            }
            Self::Welcome(version, served) => {
                let mut to = Writer::new(20);
                to.number(*version).byte((*served).into());
                to.into_bytes()
            }
            Self::Taken => Writer::new(21).into_bytes(),
            Self::AllKept => Writer::new(22).into_bytes(),
        }
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let notice = match from.byte()? {
            1 => Self::Host(serde_json::from_slice(from.blob()?).map_err(|_| Malformed)?),
            2 => Self::Ready(from.number()?, Handed::read(&mut from)?),
            3 => Self::Unprepared(from.text()?),
            4 => Self::Started(from.number()?, from.number_as()?),
            5 => Self::Refused(from.number()?, from.text()?),
            6 => Self::Exit(from.number()?, read_exit(&mut from)?),
            7 => Self::Gone(from.number()?),
            8 => Self::Settled(from.number()?),
            9 => {
                let (id, index) = (from.number()?, from.number_as()?);
                let end = match from.byte()? {
                    0 => CompanionEnd::Exit(read_exit(&mut from)?),
                    1 => CompanionEnd::NotStarted(from.text()?),
                    _ => return Err(Malformed),
                };
                Self::Companion(id, index, end)
            }
            10 => Self::Successor,
            11 => Self::Kept(
                from.number()?,
                Handed::read(&mut from)?,
                from.number_as()?,
                from.blob()?.to_vec(),
            ),
            20 => Self::Welcome(from.number()?, from.byte()? != 0),
            21 => Self::Taken,
            22 => Self::AllKept,
            _ => return Err(Malformed),
        };
        from.end()?;
        Ok(notice)
    }
}

impl<'a> Order<'a> {
    /// The message without the sealed program, which the sender adds as it is.
    pub(crate) fn write(&self) -> Vec<u8> {
        match self {
            Self::Mapped => Writer::new(1).into_bytes(),
            Self::Claim(claim) => claim.write(Writer::new(2)),
            Self::Boot(claim) => claim.write(Writer::new(8)),
            Self::Lite(unheld, plan) => {
                let mut to = Writer::new(5);
                to.byte(unheld.memory.into()).byte(unheld.processes.into());
                plan.write_open(&mut to);
                before_sealed(to, plan.program)
            }
            Self::Stop => Writer::new(3).into_bytes(),
            Self::Continue => Writer::new(4).into_bytes(),
            Self::Proceed => Writer::new(6).into_bytes(),
            Self::Terminate => Writer::new(7).into_bytes(),
        }
    }

    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let order = match from.byte()? {
            1 => Self::Mapped,
            2 => Self::Claim(Claim::read(&mut from)?),
            8 => Self::Boot(Claim::read(&mut from)?),
            5 => {
                let unheld = Unheld {
                    memory: from.byte()? != 0,
                    processes: from.byte()? != 0,
                };
                return Ok(Self::Lite(unheld, Plan::read(&mut from)?));
            }
            3 => Self::Stop,
            4 => Self::Continue,
            6 => Self::Proceed,
            7 => Self::Terminate,
            _ => return Err(Malformed),
        };
        from.end()?;
        Ok(order)
    }
}

impl Report {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut to = match self {
            Self::Ready { .. } => Writer::new(1),
            Self::Failed(_) => Writer::new(2),
            Self::Started => Writer::new(3),
            Self::Exited(_) => Writer::new(4),
            Self::CompanionExited(..) => Writer::new(5),
            Self::NotStarted(..) => Writer::new(6),
        };
        match self {
            Self::Ready { handed, facts } => {
                handed
                    .write(&mut to)
                    .byte(facts.proc_mounted.into())
                    .blob(facts.no_redirect.as_deref().unwrap_or_default().as_bytes());
            }
            Self::Failed(reason) => {
                to.blob(reason.as_bytes());
            }
            Self::Started => {}
            Self::Exited(status) => write_status(*status, &mut to),
            Self::CompanionExited(index, status) => {
                write_status(*status, to.number(*index as u64));
            }
            Self::NotStarted(index, reason) => {
                to.number(*index as u64).blob(reason.as_bytes());
            }
        }
        to.into_bytes()
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let report = match from.byte()? {
            1 => Self::Ready {
                handed: Handed::read(&mut from)?,
                facts: Facts {
                    proc_mounted: from.byte()? != 0,
                    no_redirect: Some(from.text()?).filter(|reason| !reason.is_empty()),
                },
            },
            2 => Self::Failed(from.text()?),
            3 => Self::Started,
            4 => Self::Exited(read_status(&mut from)?),
            5 => Self::CompanionExited(from.number_as()?, read_status(&mut from)?),
            6 => Self::NotStarted(from.number_as()?, from.text()?),
            _ => return Err(Malformed),
        };
        from.end()?;
        Ok(report)
    }
}

/// A message that goes on with the bytes of a sealed program.
fn before_sealed(to: Writer, program: Sealed<'_>) -> Vec<u8> {
    let length = u32::try_from(program.0.len()).unwrap_or(u32::MAX);
    let mut bytes = to.into_bytes();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes
}

fn about(kind: u8, id: JailId) -> Vec<u8> {
    let mut to = Writer::new(kind);
    to.number(id);
    to.into_bytes()
}

fn noted(kind: u8, id: JailId, note: &[u8]) -> Vec<u8> {
    let mut to = Writer::new(kind);
    to.number(id).blob(note);
    to.into_bytes()
}

fn write_exit(exit: Exit, to: &mut Writer) {
    write_status(exit.status, to);
    to.byte(exit.out_of_memory.into());
}

fn read_exit(from: &mut Reader<'_>) -> Result<Exit, Malformed> {
    Ok(Exit {
        status: read_status(from)?,
        out_of_memory: from.byte()? != 0,
    })
}

fn write_status(status: Status, to: &mut Writer) {
    let (kind, value) = match status {
        Status::Code(code) => (0, code),
        Status::Signal(signal) => (1, signal),
    };
    to.byte(kind).number(u64::from(value.cast_unsigned()));
}

fn read_status(from: &mut Reader<'_>) -> Result<Status, Malformed> {
    let kind = from.byte()?;
    let value = from.number_as::<u32>()?.cast_signed();
    match kind {
        0 => Ok(Status::Code(value)),
        1 => Ok(Status::Signal(value)),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_survive_the_wire() {
        let handed = Handed {
            home: 3,
            host_ports: 16,
            egress: true,
            dns: false,
            refusals: true,
            memory: true,
            memory_peak: false,
        };
        let exit = Exit {
            status: Status::Signal(9),
            out_of_memory: true,
        };
        for notice in [
            Notice::Ready(7, handed),
            Notice::Unprepared("no".into()),
            Notice::Started(1, 23),
            Notice::Refused(2, "why".into()),
            Notice::Exit(3, exit),
            Notice::Exit(
                3,
                Exit {
                    status: Status::Code(-1),
                    out_of_memory: false,
                },
            ),
            Notice::Companion(3, 9, CompanionEnd::Exit(exit)),
            Notice::Companion(3, 0, CompanionEnd::NotStarted("no".into())),
            Notice::Gone(4),
            Notice::Successor,
            Notice::Welcome(1, true),
            Notice::Taken,
            Notice::Kept(6, handed, 77, b"note".to_vec()),
            Notice::AllKept,
            Notice::Settled(5),
        ] {
            let read = Notice::read(&notice.write()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{notice:?}"));
        }
    }

    #[test]
    fn orders_to_the_first_process_are_told_apart() {
        let claim = || Claim {
            targets: vec!["/var/task".into()],
            limits: Limits {
                memory_bytes: 1,
                cpu_weight_millis: 2,
                processes: 3,
                open_files: 4,
                tmp_bytes: 5,
                tmp_exec: true,
            },
            limit_data: true,
            control: true,
            dialers: 2,
            program: Sealed(b"sealed"),
        };
        for order in [Order::Claim(claim()), Order::Boot(claim())] {
            let bytes = [&order.write()[..], b"sealed"].concat();
            let read = Order::read(&bytes).unwrap();
            assert_eq!(format!("{read:?}"), format!("{order:?}"));
        }
    }

    proptest::proptest! {
        #[test]
        fn noise_never_breaks_the_readers(bytes: Vec<u8>) {
            let _ = Request::read(&bytes);
            let _ = Notice::read(&bytes);
            let _ = Order::read(&bytes);
            let _ = Report::read(&bytes);
        }
    }
}
