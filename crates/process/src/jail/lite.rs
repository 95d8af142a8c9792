//! An instance where the host gives no namespaces: the same first process, program and filters
//! as in a jail, but on the host's own files and network. Landlock, the filter of system calls
//! and resource limits are all there is, so only `dev` asks for it, and warns.

mod offspring;
mod peers;
mod places;

pub(super) use offspring::kill_children;
pub(crate) use peers::{Listed, Peers, listed};
pub(super) use places::Base;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rustix::event::Timespec;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{DumpableBehavior, Resource, Signal};

use super::context::Context as _;
use super::family::{Family, Kept};
use super::inside;
use super::landlock::{self, Grants};
use super::message::{Facts, Handed, Order, Report, Unheld};
use super::plan::{Plan, Program};
use super::program;
use super::seccomp;
use super::syscall;
use super::template::{BOUND, COPIED, PROGRAMS};
use super::wire::{self, MESSAGE_BYTES_MAX};
use crate::spawner::Limits;
use places::Places;

/// Files of `/etc` that programs look up, besides those that a jail has too.
const LOOKED_UP: [&str; 9] = [
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "gai.conf",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "resolv.conf",
];

/// Between looks at whether what was killed is gone; and how often: five seconds in all.
const DYING: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};
const LOOKS: u32 = 5000;

/// What an instance's first process begins with.
#[derive(Debug)]
pub(super) struct Instance<'a> {
    /// To the helper.
    pub(super) helper: OwnedFd,
    /// Standard output and error of the program.
    pub(super) output: OwnedFd,
    /// The program's ends of what its launcher talks through.
    pub(super) control: program::Control,
    /// Control groups to move into.
    pub(super) doors: Vec<OwnedFd>,
    /// What it may call its own of the host's files; made and removed by itself.
    pub(super) folder: PathBuf,
    pub(super) filter: &'a seccomp::Program,
}

impl Instance<'_> {
    /// Runs the instance to its end, and leaves nothing of it.
    pub(super) fn run(self) -> ! {
        // Standard error is closed, and its number may stand for something else.
        std::panic::set_hook(Box::new(|_| {}));
        let reason = match catch_unwind(AssertUnwindSafe(|| self.live())) {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the instance's first process panicked".to_owned()),
        };
        if let Some(reason) = reason {
            let report = Report::Failed(reason).write();
            let _ = wire::send(&self.helper, &[&report], &[], SendFlags::DONTWAIT);
        }
        // No namespace ends with us, so nothing ends but what is ended here.
        for _ in 0..LOOKS {
            if kill_children(&[]) {
                break;
            }
            let _ = rustix::event::poll(&mut [], Some(&DYING));
        }
        places::remove(&self.folder);
        syscall::exit(0)
    }

    fn live(&self) -> io::Result<()> {
        let mut keep = vec![self.helper.as_raw_fd(), self.output.as_raw_fd()];
        keep.extend(self.control.raw());
        keep.extend(self.doors.iter().map(AsRawFd::as_raw_fd));
        syscall::close_all_but(&keep)?;
        for door in &self.doors {
            rustix::io::write(door, b"0").context("enter the control group")?;
        }
        let _ = rustix::process::setsid();
        // Whatever the program leaves behind becomes our child, however it was started.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        inside::bound_rights()?;
        program::drop_rights().context("give up rights")?;
        syscall::reset_signals();
        let signals = syscall::child_signals()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let runtime_api = listener.local_addr()?;
        self.report_ready(&listener)?;
        drop(listener);
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let (length, _) = wire::receive(&self.helper, &mut buffer, RecvFlags::empty())?;
        if length == 0 {
            return Ok(());
        }
        let order = Order::read(buffer.get(..length).unwrap_or_default())?;
        let Order::Lite(unheld, plan) = order else {
            return Err(io::Error::other("claimed out of turn"));
        };
        let program = Program::unseal(plan.program)?;
        let places = Places::make(&self.folder, &plan, runtime_api)?;
        self.serve(&places, unheld, &plan, program, &signals)
    }

    fn report_ready(&self, runtime_api: &TcpListener) -> io::Result<()> {
        let handed = Handed {
            home: 0,
            host_ports: 0,
            egress: false,
            dns: false,
            refusals: false,
            memory: false,
            memory_peak: false,
        };
        let facts = Facts {
            proc_mounted: true,
            no_redirect: None,
        };
        let report = Report::Ready { handed, facts }.write();
        let listener = [runtime_api.as_fd()];
        wire::send(&self.helper, &[&report], &listener, SendFlags::empty())
    }

    fn serve(
        &self,
        places: &Places,
        unheld: Unheld,
        plan: &Plan<'_>,
        program: Program,
        signals: &OwnedFd,
    ) -> io::Result<()> {
        let program = places.furnish(program)?;
        let dialers = (0..plan.dialers)
            .map(|_| program::dialer())
            .collect::<io::Result<Vec<_>>>()?;
        let walls = LiteWalls {
            limits: &plan.limits,
            processes: unheld
                .processes
                .then(|| offspring::threads_of_user() + u64::from(plan.limits.processes)),
            memory: unheld.memory.then_some(plan.limits.memory_bytes),
            grants: grants(places, plan),
            filter: self.filter,
        };
        let start = || {
            let control = plan.control.then_some(&self.control);
            program::spawn(&program.argv, &program.env, || {
                walls.enter(&program.cwd, &self.output, control)
            })
        };
        let (helper, signals) = (self.helper.as_fd(), signals.as_fd());
        let mut family = Family::new(helper, signals, offspring::signal);
        let companions = if program.companions.is_empty() {
            family.begin(start()?);
            None
        } else {
            let (output, end) = program::companions_pipe()?;
            for companion in &program.companions {
                family.add_companion(program::spawn(&companion.argv, &companion.env, || {
                    walls.enter(&companion.cwd, &output, None)
                }));
            }
            Some(end)
        };
        let handed: Vec<_> = dialers.iter().chain(&companions).map(AsFd::as_fd).collect();
        let report = Report::Started.write();
        wire::send(&self.helper, &[&report], &handed, SendFlags::empty())?;
        drop(handed);
        drop((dialers, companions));
        if !program.companions.is_empty() {
            if family.keep()? == Kept::Over {
                return Ok(());
            }
            family.begin(start()?);
        }
        syscall::close_all_but(&[helper.as_raw_fd(), signals.as_raw_fd()])?;
        family.keep().map(|_| ())
    }
}

/// What is around every program of an instance.
struct LiteWalls<'a> {
    limits: &'a Limits,
    processes: Option<u64>,
    memory: Option<u64>,
    grants: Grants,
    filter: &'a seccomp::Program,
}

impl LiteWalls<'_> {
    /// Everything that a program is to find done, in its own process.
    fn enter(
        &self,
        cwd: &Path,
        output: &OwnedFd,
        control: Option<&program::Control>,
    ) -> io::Result<()> {
        rustix::process::setsid()?;
        // Should we be killed; whatever else is left falls to the helper.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        program::descriptors(output, control)?;
        limit(self.limits, self.memory, self.processes)?;
        rustix::process::chdir(cwd).context(cwd.display())?;
        landlock::restrict_to(&self.grants).context("wall files off")?;
        seccomp::install(self.filter).context("filter system calls")
    }
}

fn limit(limits: &Limits, memory: Option<u64>, processes: Option<u64>) -> io::Result<()> {
    program::set_limit(Resource::Core, 0)?;
    let open_files = limits.open_files.into();
    program::set_limit(Resource::Nofile, open_files).context("limit open files")?;
    // Each file alone: nothing here limits a folder.
    program::set_limit(Resource::Fsize, limits.tmp_bytes).context("limit the size of files")?;
    syscall::survive_file_size();
    if let Some(processes) = processes {
        program::set_limit(Resource::Nproc, processes).context("limit processes")?;
    }
    if let Some(memory) = memory {
        program::limit_data(memory)?;
    }
    Ok(())
}

/// The host's programs, what it was given, and a place to write.
fn grants(places: &Places, plan: &Plan<'_>) -> Grants {
    let given = plan.trees.iter().flat_map(|tree| tree.sources.clone());
    let mut execute: Vec<PathBuf> = PROGRAMS
        .iter()
        .map(|name| Path::new("/").join(name))
        .collect();
    execute.extend(given);
    let etc = COPIED.iter().chain(&BOUND).chain(&LOOKED_UP);
    let mut read = execute.clone();
    if plan.limits.tmp_exec {
        execute.push(places.tmp());
    }
    read.extend(etc.map(|name| Path::new("/etc").join(name)));
    // Of what is there of other processes, Landlock itself keeps everything back but that they
    // exist and how they were called.
    read.extend(["/proc".into(), places.folder().to_owned()]);
    Grants {
        read,
        execute,
        write: vec![places.tmp()],
    }
}
