//! Which system calls there are in a jail. Listed by what they are for, with the reason where it
//! is not plain; whatever is not listed does not exist.

use libc::*;

use super::{Check, Values, Verdict};

/// Allowed with any arguments.
pub(super) const ALLOWED: &[c_long] = &[
    // Files, by descriptor.
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_lseek,
    SYS_close,
    SYS_close_range,
    SYS_dup,
    SYS_dup3,
    SYS_fcntl,
    SYS_flock,
    SYS_fsync,
    SYS_fdatasync,
    SYS_sync_file_range,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fadvise64,
    SYS_readahead,
    SYS_sendfile,
    SYS_splice,
    SYS_copy_file_range,
    SYS_pipe2,
    // Files, by name.
    SYS_openat,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_statfs,
    SYS_fstatfs,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_readlinkat,
    SYS_getdents64,
    SYS_getcwd,
    SYS_chdir,
    SYS_fchdir,
    SYS_mkdirat,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_linkat,
    SYS_symlinkat,
    SYS_truncate,
    SYS_umask,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_getxattr,
    SYS_lgetxattr,
    SYS_fgetxattr,
    SYS_listxattr,
    SYS_llistxattr,
    SYS_flistxattr,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    SYS_inotify_init1,
    SYS_inotify_add_watch,
    SYS_inotify_rm_watch,
    // Memory. Mappings may be executable: compilers at run time need them.
    SYS_brk,
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_madvise,
    SYS_msync,
    SYS_mincore,
    SYS_mlock,
    SYS_mlock2,
    SYS_munlock,
    SYS_munlockall,
    SYS_membarrier,
    SYS_pkey_alloc,
    SYS_pkey_free,
    SYS_pkey_mprotect,
    // Shared memory and semaphores; the jail has a namespace of its own for them.
    SYS_shmget,
    SYS_shmat,
    SYS_shmdt,
    SYS_shmctl,
    SYS_semget,
    SYS_semop,
    SYS_semtimedop,
    SYS_semctl,
    // Waiting.
    SYS_ppoll,
    SYS_pselect6,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_eventfd2,
    SYS_signalfd4,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime,
    SYS_futex,
    SYS_futex_waitv,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_restart_syscall,
    // Time.
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_times,
    SYS_setitimer,
    SYS_getitimer,
    SYS_timer_create,
    SYS_timer_settime,
    SYS_timer_gettime,
    SYS_timer_getoverrun,
    SYS_timer_delete,
    // Processes, threads and signals; those of the jail, for it sees no other.
    SYS_execve,
    SYS_execveat,
    SYS_exit,
    SYS_exit_group,
    SYS_wait4,
    SYS_waitid,
    SYS_kill,
    SYS_tkill,
    SYS_tgkill,
    SYS_pidfd_open,
    SYS_pidfd_send_signal,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigpending,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_rt_sigreturn,
    SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_set_tid_address,
    SYS_getpid,
    SYS_getppid,
    SYS_gettid,
    SYS_getpgid,
    SYS_setpgid,
    SYS_getsid,
    SYS_setsid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getresuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getresgid,
    SYS_getgroups,
    SYS_capget,
    SYS_prlimit64,
    SYS_getrlimit,
    SYS_setrlimit,
    SYS_getrusage,
    SYS_getpriority,
    SYS_setpriority,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_setaffinity,
    SYS_sched_getscheduler,
    SYS_sched_getparam,
    SYS_sched_get_priority_max,
    SYS_sched_get_priority_min,
    // The system.
    SYS_uname,
    SYS_sysinfo,
    SYS_getcpu,
    SYS_getrandom,
    // Sockets, of the families that are checked below.
    SYS_connect,
    SYS_accept,
    SYS_accept4,
    SYS_bind,
    SYS_listen,
    SYS_getsockname,
    SYS_getpeername,
    SYS_sendto,
    SYS_recvfrom,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_sendmmsg,
    SYS_recvmmsg,
    SYS_shutdown,
    SYS_getsockopt,
    // Older forms that newer architectures left out.
    #[cfg(target_arch = "x86_64")]
    SYS_open,
    #[cfg(target_arch = "x86_64")]
    SYS_creat,
    #[cfg(target_arch = "x86_64")]
    SYS_stat,
    #[cfg(target_arch = "x86_64")]
    SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    SYS_access,
    #[cfg(target_arch = "x86_64")]
    SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    SYS_getdents,
    #[cfg(target_arch = "x86_64")]
    SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    SYS_rename,
    #[cfg(target_arch = "x86_64")]
    SYS_link,
    #[cfg(target_arch = "x86_64")]
    SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    SYS_chown,
    #[cfg(target_arch = "x86_64")]
    SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    SYS_utime,
    #[cfg(target_arch = "x86_64")]
    SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    SYS_futimesat,
    #[cfg(target_arch = "x86_64")]
    SYS_inotify_init,
    #[cfg(target_arch = "x86_64")]
    SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    SYS_poll,
    #[cfg(target_arch = "x86_64")]
    SYS_select,
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_create,
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    SYS_eventfd,
    #[cfg(target_arch = "x86_64")]
    SYS_signalfd,
    #[cfg(target_arch = "x86_64")]
    SYS_fork,
    #[cfg(target_arch = "x86_64")]
    SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    SYS_getpgrp,
    #[cfg(target_arch = "x86_64")]
    SYS_alarm,
    #[cfg(target_arch = "x86_64")]
    SYS_pause,
    #[cfg(target_arch = "x86_64")]
    SYS_time,
    #[cfg(target_arch = "x86_64")]
    SYS_arch_prctl,
];

/// Known, and refused in the words of a kernel that does not trust the caller. What a program
/// may have a way around is left out instead, so that it seems absent.
pub(super) const REFUSED: &[c_long] = &[
    // The file tree and the namespaces that the jail is made of.
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_unshare,
    SYS_setns,
    SYS_name_to_handle_at,
    SYS_open_by_handle_at,
    SYS_fanotify_init,
    SYS_fanotify_mark,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    // Other processes.
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_process_madvise,
    SYS_pidfd_getfd,
    SYS_kcmp,
    // Large and much attacked parts of the kernel.
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_seccomp,
    SYS_vmsplice,
    SYS_tee,
    SYS_lookup_dcookie,
    // The host's own affairs.
    SYS_kexec_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_reboot,
    SYS_syslog,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_clock_adjtime,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_vhangup,
    // Rights that nobody here has. The kernel would refuse them as well.
    SYS_capset,
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_setfsuid,
    SYS_setfsgid,
    // Precedence over the neighbours.
    SYS_sched_setparam,
    SYS_sched_setattr,
    SYS_ioprio_set,
    SYS_mlockall,
    SYS_mbind,
    SYS_set_mempolicy,
    SYS_get_mempolicy,
    SYS_migrate_pages,
    SYS_move_pages,
    #[cfg(target_arch = "x86_64")]
    SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    SYS_kexec_file_load,
];

const NEW_NAMESPACES: u32 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET) as u32;

pub(super) const EVERY_BIT: u32 = u32::MAX;

/// What follows the level and name `SOL_TCP`, `TCP_ULP`: another protocol under the socket's.
/// No other level gives this number to anything that is needed.
const UPPER_PROTOCOL: u32 = 31;

/// Netlink in one of its many protocols, `NETLINK_ROUTE`, which `getifaddrs` needs: without a
/// capability it only tells, and of the jail's own network only.
const ROUTES: &[Check] = &[
    Check {
        argument: 0,
        mask: EVERY_BIT,
        values: Values::OneOf(&[AF_NETLINK as u32]),
        fails: EAFNOSUPPORT,
    },
    Check {
        argument: 1,
        mask: 0xf,
        values: Values::OneOf(&[SOCK_RAW as u32, SOCK_DGRAM as u32]),
        fails: EPERM,
    },
    Check {
        argument: 2,
        mask: EVERY_BIT,
        values: Values::OneOf(&[NETLINK_ROUTE as u32]),
        fails: EPROTONOSUPPORT,
    },
];

pub(super) const SOCKET_TYPE: Check = Check {
    argument: 1,
    mask: 0xf,
    values: Values::OneOf(&[SOCK_STREAM as u32, SOCK_DGRAM as u32, SOCK_SEQPACKET as u32]),
    fails: EPERM,
};

/// Others would have the kernel load modules for them.
pub(super) const SOCKET_PROTOCOL: Check = Check {
    argument: 2,
    mask: EVERY_BIT,
    values: Values::OneOf(&[0, IPPROTO_TCP as u32, IPPROTO_UDP as u32]),
    fails: EPROTONOSUPPORT,
};

/// Allowed with some arguments.
pub(super) const CHECKED: &[(c_long, Verdict)] = &[
    // `clone3` has its flags where no filter can see them; it does not exist, and the C library
    // takes this one.
    (
        SYS_clone,
        Verdict::Checked(&[Check {
            argument: 0,
            mask: NEW_NAMESPACES,
            values: Values::OneOf(&[0]),
            fails: EPERM,
        }]),
    ),
    (
        SYS_socket,
        Verdict::Either(
            ROUTES,
            &[
                Check {
                    argument: 0,
                    mask: EVERY_BIT,
                    values: Values::OneOf(&[AF_UNIX as u32, AF_INET as u32, AF_INET6 as u32]),
                    fails: EAFNOSUPPORT,
                },
                SOCKET_TYPE,
                SOCKET_PROTOCOL,
            ],
        ),
    ),
    (
        SYS_socketpair,
        Verdict::Checked(&[Check {
            argument: 0,
            mask: EVERY_BIT,
            values: Values::OneOf(&[AF_UNIX as u32]),
            fails: EAFNOSUPPORT,
        }]),
    ),
    (
        SYS_setsockopt,
        Verdict::Checked(&[Check {
            argument: 2,
            mask: EVERY_BIT,
            values: Values::NoneOf(&[UPPER_PROTOCOL]),
            fails: ENOPROTOOPT,
        }]),
    ),
    // Typing into a terminal, and what else is done to terminals only from outside.
    (
        SYS_ioctl,
        Verdict::Checked(&[Check {
            argument: 1,
            mask: EVERY_BIT,
            values: Values::NoneOf(&[
                TIOCSTI as u32,
                TIOCLINUX as u32,
                TIOCCONS as u32,
                TIOCSETD as u32,
            ]),
            fails: EPERM,
        }]),
    ),
    // The plain one, and the question which it is.
    (
        SYS_personality,
        Verdict::Checked(&[Check {
            argument: 0,
            mask: EVERY_BIT,
            values: Values::OneOf(&[0, u32::MAX]),
            fails: EPERM,
        }]),
    ),
    (
        SYS_prctl,
        Verdict::Checked(&[Check {
            argument: 0,
            mask: EVERY_BIT,
            values: Values::OneOf(&[
                PR_SET_NAME as u32,
                PR_GET_NAME as u32,
                PR_SET_PDEATHSIG as u32,
                PR_GET_PDEATHSIG as u32,
                PR_SET_DUMPABLE as u32,
                PR_GET_DUMPABLE as u32,
                PR_SET_CHILD_SUBREAPER as u32,
                PR_GET_CHILD_SUBREAPER as u32,
                PR_SET_NO_NEW_PRIVS as u32,
                PR_GET_NO_NEW_PRIVS as u32,
                PR_SET_TIMERSLACK as u32,
                PR_GET_TIMERSLACK as u32,
                PR_SET_THP_DISABLE as u32,
                PR_GET_THP_DISABLE as u32,
                PR_SET_VMA as u32,
                PR_GET_SECCOMP as u32,
                PR_CAPBSET_READ as u32,
                PR_GET_KEEPCAPS as u32,
                PR_GET_SECUREBITS as u32,
                PR_GET_SPECULATION_CTRL as u32,
            ]),
            fails: EINVAL,
        }]),
    ),
    (
        SYS_sched_setscheduler,
        Verdict::Checked(&[Check {
            argument: 1,
            mask: EVERY_BIT,
            values: Values::OneOf(&[SCHED_OTHER as u32, SCHED_BATCH as u32, SCHED_IDLE as u32]),
            fails: EPERM,
        }]),
    ),
    // Memory files can be executed however the file systems are mounted, unless they are sealed
    // against it.
    (
        SYS_memfd_create,
        Verdict::Checked(&[Check {
            argument: 1,
            mask: MFD_NOEXEC_SEAL,
            values: Values::OneOf(&[MFD_NOEXEC_SEAL]),
            fails: ENOSYS,
        }]),
    ),
    // Named pipes, sockets and files; no devices.
    (
        SYS_mknodat,
        Verdict::Checked(&[Check {
            argument: 2,
            mask: S_IFMT,
            values: Values::OneOf(NODES),
            fails: EPERM,
        }]),
    ),
    #[cfg(target_arch = "x86_64")]
    (
        SYS_mknod,
        Verdict::Checked(&[Check {
            argument: 1,
            mask: S_IFMT,
            values: Values::OneOf(NODES),
            fails: EPERM,
        }]),
    ),
    // Everything writable here is in memory, so there is nothing to do; the kernel would sync
    // the whole host.
    (SYS_sync, Verdict::Fails(0)),
    (SYS_syncfs, Verdict::Fails(0)),
];

const NODES: &[u32] = &[0, S_IFREG, S_IFIFO, S_IFSOCK];
