//! What the filter refuses, and the programs that must run under it.

use std::env;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, Output};

use super::*;
use crate::jail::forked;

/// Runs a program under the filter.
fn run(command: &mut Command) -> Output {
    let filter = program(Namespaces::Own).unwrap();
    // SAFETY: two system calls and no allocation.
    unsafe { command.pre_exec(move || install(&filter)) };
    command.output().unwrap()
}

fn check(mut command: Command, expected: &str) {
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim(), expected, "{command:?}: {errors}");
}

/// Every program of this name that a user of this host could start.
fn found(names: &[&str]) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path);
    let all = folders.flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    // Some are stand-ins for a version that is not there.
    all.filter(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|version| version.status.success())
    })
    .collect()
}

/// The same, of which one at least must be there for a test to say anything.
fn found_some(names: &[&str]) -> Vec<PathBuf> {
    let found = found(names);
    assert!(!found.is_empty(), "this test needs one of {names:?}");
    found
}

/// What a system call answers under the filter of a jail, and how it must fail.
fn refuses(call: libc::c_long, arguments: [libc::c_long; 3], error: i32) {
    answers(Namespaces::Own, call, arguments, error);
}

fn answers(among: Namespaces, call: libc::c_long, arguments: [libc::c_long; 3], error: i32) {
    forked::run(|| {
        install(&program(among).unwrap())?;
        let [a, b, c] = arguments;
        // SAFETY: every call in these tests is refused before it has an effect, or has none.
        let result = unsafe { libc::syscall(call, a, b, c, 0, 0, 0) };
        let got = match result {
            -1 => io::Error::last_os_error().raw_os_error().unwrap_or(0),
            _ => 0,
        };
        assert_eq!(got, error, "call {call} with {arguments:?}");
        Ok(())
    });
}

#[test]
fn the_list_stays_short() {
    assert!(ALLOWED.len() <= 230, "{}", ALLOWED.len());
    assert!(program(Namespaces::Own).unwrap().0.len() < 600);
}

#[test]
fn ways_to_others_are_refused_in_the_hosts_namespaces() {
    let (unix, inet) = (i64::from(libc::AF_UNIX), i64::from(libc::AF_INET));
    let (stream, datagram) = (i64::from(libc::SOCK_STREAM), i64::from(libc::SOCK_DGRAM));
    let check = |call, arguments, error| answers(Namespaces::Hosts, call, arguments, error);
    check(libc::SYS_socket, [unix, stream, 0], libc::EAFNOSUPPORT);
    check(libc::SYS_socket, [inet, stream, 0], 0);
    // The null pointer is what the kernel itself objects to.
    check(libc::SYS_socketpair, [unix, stream, 0], libc::EFAULT);
    check(libc::SYS_socketpair, [unix, datagram, 0], libc::EPERM);
    check(libc::SYS_prlimit64, [0, 0, 0], 0);
    check(libc::SYS_prlimit64, [1, 0, 0], libc::EPERM);
    check(libc::SYS_shmget, [0, 1, 0], libc::ENOSYS);
    check(libc::SYS_mount, [0, 0, 0], libc::EPERM);
    refuses(libc::SYS_socket, [unix, stream, 0], 0);
}

#[test]
fn ways_out_are_refused() {
    let user = i64::from(libc::CLONE_NEWUSER);
    refuses(libc::SYS_unshare, [user, 0, 0], libc::EPERM);
    refuses(libc::SYS_clone, [user | 17, 0, 0], libc::EPERM);
    refuses(libc::SYS_clone3, [0, 0, 0], libc::ENOSYS);
    refuses(libc::SYS_mount, [0, 0, 0], libc::EPERM);
    refuses(libc::SYS_ptrace, [0, 0, 0], libc::EPERM);
    refuses(libc::SYS_bpf, [0, 0, 0], libc::EPERM);
    refuses(libc::SYS_io_uring_setup, [1, 0, 0], libc::EPERM);
    refuses(libc::SYS_userfaultfd, [0, 0, 0], libc::EPERM);
    refuses(libc::SYS_open_by_handle_at, [0, 0, 0], libc::EPERM);
    refuses(libc::SYS_ioctl, [0, libc::TIOCSTI as i64, 0], libc::EPERM);
    // The kernel looks at the low half only, so the high half hides nothing.
    let high = 1 << 32;
    refuses(
        libc::SYS_ioctl,
        [0, libc::TIOCSTI as i64 | high, 0],
        libc::EPERM,
    );
    refuses(libc::SYS_clone, [user | high | 17, 0, 0], libc::EPERM);
    refuses(libc::SYS_personality, [0x0040_0000, 0, 0], libc::EPERM);
    refuses(
        libc::SYS_prctl,
        [libc::PR_SET_MM.into(), 0, 0],
        libc::EINVAL,
    );
    refuses(
        libc::SYS_prctl,
        [libc::PR_SET_SECCOMP.into(), 2, 0],
        libc::EINVAL,
    );
    refuses(
        libc::SYS_memfd_create,
        [c"".as_ptr() as i64, 0, 0],
        libc::ENOSYS,
    );
    let device = i64::from(libc::S_IFCHR);
    refuses(
        libc::SYS_mknodat,
        [libc::AT_FDCWD.into(), c"x".as_ptr() as i64, device],
        libc::EPERM,
    );
}

#[test]
fn sockets_have_three_families_and_two_protocols_and_tell_routes() {
    let (tcp, udp) = (i64::from(libc::SOCK_STREAM), i64::from(libc::SOCK_DGRAM));
    let close = i64::from(libc::SOCK_CLOEXEC);
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
        refuses(libc::SYS_socket, [family.into(), tcp | close, 0], 0);
        refuses(libc::SYS_socket, [family.into(), udp, 0], 0);
    }
    for family in [libc::AF_PACKET, libc::AF_ALG, libc::AF_VSOCK, 0, 99] {
        refuses(
            libc::SYS_socket,
            [family.into(), udp, 0],
            libc::EAFNOSUPPORT,
        );
    }
    let internet = i64::from(libc::AF_INET);
    refuses(
        libc::SYS_socket,
        [internet, libc::SOCK_RAW.into(), 0],
        libc::EPERM,
    );
    for protocol in [libc::IPPROTO_SCTP, libc::IPPROTO_ICMP, libc::IPPROTO_MPTCP] {
        refuses(
            libc::SYS_socket,
            [internet, tcp, protocol.into()],
            libc::EPROTONOSUPPORT,
        );
    }
    let (netlink, raw) = (i64::from(libc::AF_NETLINK), i64::from(libc::SOCK_RAW));
    refuses(libc::SYS_socket, [netlink, raw | close, 0], 0);
    for protocol in 1..32 {
        refuses(
            libc::SYS_socket,
            [netlink, raw, protocol],
            libc::EAFNOSUPPORT,
        );
    }
    refuses(
        libc::SYS_setsockopt,
        [-1, libc::SOL_TCP.into(), libc::TCP_ULP.into()],
        libc::ENOPROTOOPT,
    );
}

#[test]
fn what_is_unknown_is_absent() {
    for number in [800, 1023, 1024, 99999, i64::from(i32::MAX)] {
        refuses(number, [0, 0, 0], libc::ENOSYS);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn another_architectures_calls_are_not_to_be_had() {
    // x32: the same numbers with bit 30.
    refuses(libc::SYS_getpid | 1 << 30, [0, 0, 0], libc::ENOSYS);
    let mut ended = Command::new("/bin/true");
    let filter = program(Namespaces::Own).unwrap();
    let i386 = move || {
        install(&filter)?;
        // SAFETY: `getpid` of 32-bit programs, which has no effect.
        unsafe { std::arch::asm!("int 0x80", inout("eax") 20 => _) };
        Ok(())
    };
    // SAFETY: a few system calls and no allocation.
    unsafe { ended.pre_exec(i386) };
    let ended = ended.output().map(|ended| ended.status.signal());
    assert!(matches!(ended, Ok(Some(_))), "{ended:?}");
}

#[test]
fn a_sync_has_nothing_to_do() {
    refuses(libc::SYS_sync, [0, 0, 0], 0);
}

#[test]
fn shells_and_their_tools_work() {
    let script = "set -e; d=$(mktemp -d); cd $d; echo one two | tr ' ' '\\n' | sort -r > f; \
                  cp f g; mv g h; ln -s h i; mkfifo p; cat i > p & cat p | head -n 1; wait; \
                  find . -type f | wc -l; stat -c %s h; date +%Y > /dev/null; sleep 0; sync; \
                  touch -d @0 h; chmod 600 h; dd if=/dev/zero bs=1 count=3 2>/dev/null | wc -c; \
                  cd /; rm -r $d";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]);
    check(shell, "two\n2\n8\n3");
}

#[test]
fn python_works() {
    for python in found_some(&[
        "python3.8",
        "python3.9",
        "python3.10",
        "python3.11",
        "python3.12",
        "python3.13",
        "python3.14",
    ]) {
        let mut command = Command::new(python);
        command.args(["-c", include_str!("tests/program.py")]);
        check(command, "python is well");
    }
}

#[test]
fn node_works() {
    for node in found_some(&["node", "nodejs"]) {
        let mut command = Command::new(node);
        command.args(["-e", include_str!("tests/program.cjs")]);
        check(command, "node is well");
    }
}

#[test]
fn static_programs_work() {
    // One made here, where there is a library to make it of, and whatever the host has.
    let folder = env::temp_dir().join(format!("dayfly-static-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let source = folder.join("well.c");
    let text = "#include <stdio.h>\nint main(void) { puts(\"well\"); return 0; }\n";
    std::fs::write(&source, text).unwrap();
    let made = folder.join("well");
    let mut compiler = Command::new("cc");
    compiler.arg("-static").arg("-o").arg(&made).arg(&source);
    let compiled = compiler
        .output()
        .is_ok_and(|output| output.status.success());
    let mut tried = 0;
    if compiled {
        check(Command::new(&made), "well");
        tried += 1;
    }
    for program in found(&["busybox", "bash-static"]) {
        let mut command = Command::new(program);
        command.args(["sh", "-c", "echo well"]);
        check(command, "well");
        tried += 1;
    }
    std::fs::remove_dir_all(folder).unwrap();
    assert!(tried > 0, "this test needs a static C library or busybox");
}
