//! What the filter holds besides where a program shares the host's namespaces with others of its
//! user.

use libc::*;

use super::table::{EVERY_BIT, SOCKET_PROTOCOL, SOCKET_TYPE};
use super::{Check, Values, Verdict};

/// What changes for a program in the host's own namespaces, among processes of the same user.
pub(super) const SHARED: &[(c_long, Verdict)] = &[
    // By a socket's name it would reach the session bus, and there have anything started.
    (
        SYS_socket,
        Verdict::Checked(&[
            Check {
                argument: 0,
                mask: EVERY_BIT,
                values: Values::OneOf(&[AF_INET as u32, AF_INET6 as u32]),
                fails: EAFNOSUPPORT,
            },
            SOCKET_TYPE,
            SOCKET_PROTOCOL,
        ]),
    ),
    // Of the kinds that, once paired, cannot be connected to a name.
    (
        SYS_socketpair,
        Verdict::Checked(&[
            Check {
                argument: 0,
                mask: EVERY_BIT,
                values: Values::OneOf(&[AF_UNIX as u32]),
                fails: EAFNOSUPPORT,
            },
            Check {
                argument: 1,
                mask: 0xf,
                values: Values::OneOf(&[SOCK_STREAM as u32, SOCK_SEQPACKET as u32]),
                fails: EPERM,
            },
        ]),
    ),
    // Its own limits only; the C library names itself by 0.
    (
        SYS_prlimit64,
        Verdict::Checked(&[Check {
            argument: 0,
            mask: EVERY_BIT,
            values: Values::OneOf(&[0]),
            fails: EPERM,
        }]),
    ),
    // Memory and semaphores of others.
    (SYS_shmget, Verdict::Fails(ENOSYS)),
    (SYS_shmat, Verdict::Fails(ENOSYS)),
    (SYS_shmdt, Verdict::Fails(ENOSYS)),
    (SYS_shmctl, Verdict::Fails(ENOSYS)),
    (SYS_semget, Verdict::Fails(ENOSYS)),
    (SYS_semop, Verdict::Fails(ENOSYS)),
    (SYS_semtimedop, Verdict::Fails(ENOSYS)),
    (SYS_semctl, Verdict::Fails(ENOSYS)),
];
