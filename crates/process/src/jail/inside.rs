//! A jail's first process: makes the namespaces into a small world, waits to be claimed, starts
//! the program, and then, with no right left, reaps what the program leaves and reports its end.
//! When it ends the kernel ends everything else in the jail.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{DumpableBehavior, Pid, Signal};
use rustix::thread::{CapabilitySet, Gid, Uid};

use super::context::Context as _;
use super::family::{self, Family, Kept};
use super::ids::INSIDE;
use super::message::{Claim, Common, Facts, Handed, Order, Report};
use super::net;
use super::program::{self, Control, Filled, Laid};
use super::seccomp;
use super::syscall;
use super::template::Template;
use super::wire::{self, MESSAGE_BYTES_MAX};

/// Where the Runtime API is inside; as on Lambda.
pub(super) const RUNTIME_API_PORT: u16 = 9001;

/// Where connections to the outside are redirected to.
const EGRESS_PORT: u16 = 15001;

const DNS_PORT: u16 = 53;

/// Where the platform answers beside its endpoint's port, to whoever knows its hosts by name only.
pub(crate) const HOME_PORTS: [u16; 2] = [80, 443];

/// Where the platform's endpoint cannot be inside.
pub(crate) const PORTS: [u16; 3] = [RUNTIME_API_PORT, EGRESS_PORT, DNS_PORT];

/// Where the certificates to trust are, inside, and what holds them among what was given.
const TRUSTED: &str = "etc/dayfly/ca.pem";
/// Where Lambda has those of its vendor, which some functions name.
const TRUSTED_AS_ON_LAMBDA: &str = "var/runtime/ca-cert.pem";

/// Where a function and its layers may have libraries. They are there while an interpreter starts, as
/// its loader never looks again where it found no folder.
const LIBRARIES: [&str; 2] = ["/opt/lib", "/var/task/lib"];

/// What a jail's first process begins with; all of it made by the helper before the clone.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    /// To the helper.
    pub(super) helper: OwnedFd,
    /// Standard output and error of the program.
    pub(super) output: OwnedFd,
    /// The program's ends of what its launcher talks through.
    pub(super) control: Control,
    /// Control groups to move into.
    pub(super) doors: Vec<OwnedFd>,
    pub(super) template: &'a Template,
    pub(super) common: &'a Common,
    pub(super) filter: &'a seccomp::Program,
}

/// The listeners of a jail, before they are handed to the daemon.
struct Listeners {
    runtime_api: TcpListener,
    home: Vec<TcpListener>,
    host_ports: Vec<TcpListener>,
    egress: Option<TcpListener>,
    dns: Option<(UdpSocket, TcpListener)>,
}

impl Inside<'_> {
    /// Runs the jail to its end.
    pub(super) fn run(self) -> ! {
        // Standard error is closed, and its number may stand for something else.
        std::panic::set_hook(Box::new(|_| {}));
        let reason = match catch_unwind(AssertUnwindSafe(|| self.live())) {
            Ok(Ok(())) => syscall::exit(0),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the jail's first process panicked".to_owned(),
        };
        let report = Report::Failed(reason).write();
        let _ = wire::send(&self.helper, &[&report], &[], SendFlags::DONTWAIT);
        syscall::exit(1)
    }

    fn live(&self) -> io::Result<()> {
        let mut keep = vec![self.helper.as_raw_fd(), self.output.as_raw_fd()];
        keep.extend(self.control.raw());
        keep.extend(self.doors.iter().map(AsRawFd::as_raw_fd));
        syscall::close_all_but(&keep)?;
        for door in &self.doors {
            rustix::io::write(door, b"0").context("enter the control group")?;
        }
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        self.become_user(&mut buffer)?;
        bound_rights()?;
        syscall::reset_signals();
        let signals = syscall::child_signals()?;
        let proc_mounted = self.furnish()?;
        let network = net::configure(Some(EGRESS_PORT))?;
        let listeners = self.listen(network.redirect).context("listen")?;
        // What is only told about may be missing.
        let refusals = if self.common.tell_refused {
            net::refusals::tell().ok()
        } else {
            None
        };
        let facts = Facts {
            proc_mounted,
            no_redirect: network.reason.map(|reason| reason.to_string()),
        };
        self.report_ready(&listeners, refusals.as_ref(), facts)?;
        drop((listeners, refusals));
        let mut booted = None;
        loop {
            let (length, trees) = wire::receive(&self.helper, &mut buffer, RecvFlags::empty())?;
            if length == 0 {
                return Ok(());
            }
            match Order::read(buffer.get(..length).unwrap_or_default())? {
                Order::Claim(claim) => return self.serve(&claim, trees, &signals, booted),
                Order::Boot(claim) if booted.is_none() => {
                    booted = Some(self.boot(&claim, trees)?);
                    if !family::outlives(self.helper.as_fd(), signals.as_fd())? {
                        return Err(io::Error::other("the interpreter ended before it was used"));
                    }
                }
                _ => return Err(io::Error::other("claimed out of turn")),
            }
        }
    }

    /// Starts an interpreter in a jail that is nobody's yet. It has no right of ours, and nothing
    /// that a tenant wrote is here before ours are given up too.
    fn boot(&self, claim: &Claim<'_>, trees: Vec<OwnedFd>) -> io::Result<Pid> {
        for folder in LIBRARIES {
            fs::create_dir_all(folder)?;
        }
        let program = program::furnish(claim, trees, Laid::Over)?;
        let pid = program::start_ahead(&program, claim, self)?;
        let report = Report::Started.write();
        wire::send(&self.helper, &[&report], &[], SendFlags::empty())?;
        Ok(pid)
    }

    /// Takes on the jail's user, and ties our life to the helper's.
    fn become_user(&self, buffer: &mut [u8]) -> io::Result<()> {
        let (length, _) = wire::receive(&self.helper, buffer, RecvFlags::empty())?;
        let Order::Mapped = Order::read(buffer.get(..length).unwrap_or_default())? else {
            return Err(io::Error::other("mapped out of turn"));
        };
        let (user, group) = (Uid::from_raw(INSIDE), Gid::from_raw(INSIDE));
        rustix::thread::set_thread_res_gid(group, group, group).context("take on the group")?;
        // No user 0 exists in this namespace, so changing users loses no capability.
        rustix::thread::set_thread_res_uid(user, user, user).context("take on the user")?;
        // After the change of user, which undoes it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        Ok(())
    }

    /// Makes the root; tells whether it has a process file system.
    fn furnish(&self) -> io::Result<bool> {
        // Further user namespaces would be a way to more of the kernel; the program's filter
        // refuses them too. The file may be hidden on hosts that are containers themselves.
        let _ = fs::write("/proc/sys/user/max_user_namespaces", "0");
        rustix::mount::mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .context("separate mounts")?;
        let place = self.template.root();
        mount_tmpfs(
            &place,
            MountFlags::empty(),
            c"size=8m,nr_inodes=4k,mode=755",
        )
        .context("mount the root")?;
        rustix::process::chdir(&place)?;
        for folder in &self.template.folders {
            fs::create_dir(folder)?;
            rustix::mount::mount_bind_recursive(self.template.place.join(folder), *folder)
                .context(folder)?;
        }
        for (link, target) in &self.template.links {
            symlink(target, link)?;
        }
        for folder in [
            "proc",
            "tmp",
            "opt",
            "var",
            "var/task",
            "var/runtime",
            "var/lang",
        ] {
            fs::create_dir(folder)?;
        }
        fs::create_dir("var/lang/bin")?;
        if Path::new(TRUSTED).exists() {
            symlink(Path::new("/").join(TRUSTED), TRUSTED_AS_ON_LAMBDA)?;
        }
        // Sizes are set when the jail is claimed.
        mount_tmpfs(
            Path::new("tmp"),
            MountFlags::NOEXEC,
            c"size=1m,nr_inodes=1k,mode=1777",
        )?;
        mount_tmpfs(
            Path::new("dev/shm"),
            MountFlags::NOEXEC,
            c"size=1m,nr_inodes=1k,mode=1777",
        )?;
        let proc_mounted = mount_proc();
        rustix::process::pivot_root(".", ".").context("enter the root")?;
        // The old root now lies over the new one at the same place.
        rustix::mount::unmount(".", UnmountFlags::DETACH).context("leave the host's root")?;
        rustix::process::chdir("/")?;
        rustix::system::sethostname(b"sandbox")?;
        Ok(proc_mounted)
    }

    fn listen(&self, redirect: bool) -> io::Result<Listeners> {
        let tcp = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        Ok(Listeners {
            runtime_api: tcp(RUNTIME_API_PORT)?,
            // At every address of loopback, among which names are shared out.
            home: home_ports(self.common.endpoint_port)
                .map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
                .collect::<io::Result<_>>()?,
            host_ports: (self.common.host_ports.iter())
                .map(|port| tcp(*port))
                .collect::<io::Result<_>>()?,
            egress: if redirect {
                Some(tcp(EGRESS_PORT)?)
            } else {
                None
            },
            dns: Some((
                UdpSocket::bind((Ipv4Addr::LOCALHOST, DNS_PORT))?,
                tcp(DNS_PORT)?,
            )),
        })
    }

    fn report_ready(
        &self,
        listeners: &Listeners,
        refusals: Option<&OwnedFd>,
        facts: Facts,
    ) -> io::Result<()> {
        let count = |of: &[TcpListener]| u8::try_from(of.len()).map_err(io::Error::other);
        let mut descriptors = vec![listeners.runtime_api.as_fd()];
        descriptors.extend(listeners.home.iter().map(AsFd::as_fd));
        descriptors.extend(listeners.host_ports.iter().map(AsFd::as_fd));
        descriptors.extend(listeners.egress.as_ref().map(AsFd::as_fd));
        if let Some((udp, tcp)) = &listeners.dns {
            descriptors.extend([udp.as_fd(), tcp.as_fd()]);
        }
        descriptors.extend(refusals.map(AsFd::as_fd));
        let handed = Handed {
            home: count(&listeners.home)?,
            host_ports: count(&listeners.host_ports)?,
            egress: listeners.egress.is_some(),
            dns: listeners.dns.is_some(),
            refusals: refusals.is_some(),
            memory: false,
            memory_peak: false,
        };
        let report = Report::Ready { handed, facts }.write();
        wire::send(&self.helper, &[&report], &descriptors, SendFlags::empty())
    }

    fn serve(
        &self,
        claim: &Claim<'_>,
        trees: Vec<OwnedFd>,
        signals: &OwnedFd,
        booted: Option<Pid>,
    ) -> io::Result<()> {
        // What runs already was walled off by the folders that there were then.
        let laid = if booted.is_some() {
            for folder in LIBRARIES {
                fs::remove_dir(folder)?;
            }
            Laid::Around
        } else {
            Laid::Over
        };
        let Filled { program, dialers } = program::fill(claim, trees, laid)?;
        let (helper, signals) = (self.helper.as_fd(), signals.as_fd());
        let mut family = Family::new(helper, signals, syscall::signal_all);
        let companions = if let Some(booted) = booted {
            program::limit_booted(booted, claim)?;
            family.begin(booted);
            None
        } else if program.companions.is_empty() {
            family.begin(program::start(&program, claim, self)?);
            None
        } else {
            let (output, end) = program::companions_pipe()?;
            for companion in &program.companions {
                let started = program::start_companion(companion, &output, claim, self);
                family.add_companion(started);
            }
            Some(end)
        };
        let handed: Vec<_> = dialers.iter().chain(&companions).map(AsFd::as_fd).collect();
        let report = Report::Started.write();
        wire::send(&self.helper, &[&report], &handed, SendFlags::empty())?;
        drop(handed);
        drop((dialers, companions));
        if booted.is_none() && !program.companions.is_empty() {
            if family.keep()? == Kept::Over {
                return Ok(());
            }
            family.begin(program::start(&program, claim, self)?);
        }
        // Of what is open only these two are needed from here on.
        syscall::close_all_but(&[helper.as_raw_fd(), signals.as_raw_fd()])?;
        seccomp::install(self.filter)?;
        family.keep().map(|_| ())
    }
}

/// Where the platform answers inside, each port once.
fn home_ports(endpoint: u16) -> impl Iterator<Item = u16> {
    let others = HOME_PORTS.into_iter();
    [endpoint]
        .into_iter()
        .chain(others.filter(move |port| *port != endpoint))
}

/// No program started from here on can have a capability, whatever its file says.
pub(super) fn bound_rights() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // Fails at the first number that this kernel does not know.
        if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    Ok(())
}

fn mount_tmpfs(place: &Path, flags: MountFlags, options: &std::ffi::CStr) -> io::Result<()> {
    let flags = flags | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", place, "tmpfs", flags, Some(options)).context(place.display())
}

/// Mounts `/proc` with as little in it as the kernel can do. A host that is itself a container
/// with parts of its own `/proc` covered refuses; then there is none.
fn mount_proc() -> bool {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    [c"hidepid=invisible,subset=pid", c"hidepid=2"]
        .iter()
        .any(|options| rustix::mount::mount("proc", "proc", "proc", flags, Some(*options)).is_ok())
}
