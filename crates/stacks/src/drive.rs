//! What kind of drive a folder is on: some tell nobody when a file changes.

use std::path::Path;

/// Where a folder's files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveKind {
    /// On this machine: the kernel tells of changes.
    Local,
    /// On another machine: changes made there are told to nobody here.
    Network(&'static str),
    /// On the Windows side of WSL: slow, and changes made there are told to nobody here.
    Wsl,
    /// Shared with the host of this virtual machine or container: changes made there may be told
    /// to nobody here.
    Shared(&'static str),
}

impl DriveKind {
    /// Whether file changes have to be looked for instead of being told.
    pub fn needs_polling(self) -> bool {
        self != Self::Local
    }

    /// What to tell the user about it, where there is something to tell.
    pub fn advice(self) -> Option<String> {
        match self {
            Self::Local => None,
            Self::Wsl => Some(
                "the project is on a Windows drive, where changes are told to nobody and every \
                 file is slow to read: it is looked at once a second instead; a copy under your \
                 Linux home folder is faster"
                    .into(),
            ),
            Self::Network(kind) | Self::Shared(kind) => Some(format!(
                "the project is on a {kind} drive, where changes made elsewhere are told to \
                 nobody: it is looked at once a second instead"
            )),
        }
    }
}

/// The drive that a folder is on; local where the system does not say.
pub fn drive(folder: &Path) -> DriveKind {
    match rustix::fs::statfs(folder) {
        // The field's type differs from one architecture to another; the numbers have 32 bits.
        Ok(status) => of_magic(u64::from(status.f_type as u32), is_wsl()),
        Err(_) => DriveKind::Local,
    }
}

/// Whether this kernel is the one of the Windows Subsystem for Linux.
fn is_wsl() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.to_ascii_lowercase().contains("microsoft")
}

/// File system numbers as linux/magic.h and the file systems' own sources have them.
fn of_magic(magic: u64, wsl: bool) -> DriveKind {
    match magic {
        0x6969 => DriveKind::Network("NFS"),
        0xff53_4d42 | 0x517b | 0xfe53_4d42 => DriveKind::Network("SMB"),
        0x5346_414f => DriveKind::Network("AFS"),
        0x00c3_6400 => DriveKind::Network("Ceph"),
        0x0bd0_0bd0 => DriveKind::Network("Lustre"),
        0x6573_5546 => DriveKind::Network("FUSE"),
        0x7461_636f => DriveKind::Network("OCFS2"),
        0x0102_1997 if wsl => DriveKind::Wsl,
        0x0102_1997 => DriveKind::Shared("9P"),
        0x786f_4256 => DriveKind::Shared("VirtualBox"),
        0xbacb_acbc => DriveKind::Shared("VMware"),
        _ => DriveKind::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_that_tell_nobody_are_polled() {
        assert_eq!(of_magic(0xef53, true), DriveKind::Local);
        assert!(of_magic(0x6969, false).needs_polling());
        assert!(of_magic(0x0102_1997, true).advice().is_some());
        assert_eq!(DriveKind::Local.advice(), None);
    }

    #[test]
    fn a_missing_folder_is_taken_as_local() {
        assert_eq!(drive(Path::new("/no/such/folder")), DriveKind::Local);
    }
}
