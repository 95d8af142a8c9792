//! What a jail is to hold, as plain data: everything the helper acts on can be printed. What a
//! tenant wrote (arguments, environment, files) is sealed: the helper passes it on unread.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::wire::{Malformed, Reader, Writer};
use crate::spawner::{Companion, Limits};

/// Everything a claimed jail is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan<'a> {
    /// Host folders and files to be seen inside, read-only, in order.
    pub(crate) trees: Vec<Tree>,
    pub(crate) limits: Limits,
    pub(crate) outside_network: bool,
    /// Whether the program gets a control socket as descriptor 3, and requests at 4.
    pub(crate) control: bool,
    /// How many unconnected TCP sockets of the jail's network are handed out.
    pub(crate) dialers: u8,
    pub(crate) program: Sealed<'a>,
}

/// One place inside, and what of the host is seen there: one folder or file, or several folders
/// of which later ones win.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) target: PathBuf,
    pub(crate) sources: Vec<PathBuf>,
}

/// The bytes of a [`Program`], not to be read outside the jail, nor left about in the memory that
/// the next one begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Sealed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sealed, {} bytes", self.0.len())
    }
}

/// What runs in the jail.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: PathBuf,
    /// Symbolic links: where, and what to.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
    /// Started before it; it waits to be told to proceed if there are any.
    pub(crate) companions: Vec<Companion>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        let companions: Vec<_> = self.companions.iter().map(|one| &one.argv).collect();
        let files: Vec<_> = self
            .files
            .iter()
            .map(|(path, bytes)| (path, bytes.len()))
            .collect();
        f.debug_struct("Program")
            .field("argv", &self.argv)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .field("links", &self.links)
            .field("files", &files)
            .field("companions", &companions)
            .finish()
    }
}

impl<'a> Plan<'a> {
    pub(crate) fn write(&self, to: &mut Writer) {
        self.write_open(to);
        to.blob(self.program.0);
    }

    /// All but the sealed program, which comes last.
    pub(super) fn write_open(&self, to: &mut Writer) {
        to.list(&self.trees, |to, tree| {
            to.path(&tree.target).list(&tree.sources, |to, source| {
                to.path(source);
            });
        });
        write_limits(&self.limits, to);
        to.byte(self.outside_network.into())
            .byte(self.control.into())
            .byte(self.dialers);
    }

    pub(crate) fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let plan = Self {
            trees: from.list(|from| {
                let target = from.path()?.to_owned();
                Ok(Tree {
                    target,
                    sources: from.list(|from| Ok(from.path()?.to_owned()))?,
                })
            })?,
            limits: read_limits(from)?,
            outside_network: from.byte()? != 0,
            control: from.byte()? != 0,
            dialers: from.byte()?,
            program: Sealed(from.blob()?),
        };
        from.end()?;
        Ok(plan)
    }
}

impl Program {
    pub(crate) fn seal(&self) -> Vec<u8> {
        let mut to = Writer::default();
        write_command(&mut to, &self.argv, &self.env);
        to.path(&self.cwd);
        to.list(&self.links, |to, (link, target)| {
            to.path(link).path(target);
        });
        to.list(&self.files, |to, (path, bytes)| {
            to.path(path).blob(bytes);
        });
        to.list(&self.companions, |to, companion| {
            write_command(to, &companion.argv, &companion.env);
            to.path(&companion.cwd);
        });
        to.into_bytes()
    }

    pub(crate) fn unseal(sealed: Sealed<'_>) -> Result<Self, Malformed> {
        let mut from = Reader::new(sealed.0);
        let program = Self {
            argv: read_argv(&mut from)?,
            env: read_env(&mut from)?,
            cwd: from.path()?.to_owned(),
            links: from.list(|from| Ok((from.path()?.to_owned(), from.path()?.to_owned())))?,
            files: from.list(|from| Ok((from.path()?.to_owned(), from.blob()?.to_vec())))?,
            companions: from.list(|from| {
                Ok(Companion {
                    argv: read_argv(from)?,
                    env: read_env(from)?,
                    cwd: from.path()?.to_owned(),
                })
            })?,
        };
        from.end()?;
        Ok(program)
    }
}

fn write_command(to: &mut Writer, argv: &[OsString], env: &[(OsString, OsString)]) {
    to.list(argv, |to, argument| {
        to.blob(argument.as_bytes());
    });
    to.list(env, |to, (name, value)| {
        to.blob(name.as_bytes()).blob(value.as_bytes());
    });
}

fn read_argv(from: &mut Reader<'_>) -> Result<Vec<OsString>, Malformed> {
    from.list(|from| Ok(text(from.blob()?)))
}

fn read_env(from: &mut Reader<'_>) -> Result<Vec<(OsString, OsString)>, Malformed> {
    from.list(|from| Ok((text(from.blob()?), text(from.blob()?))))
}

fn text(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

pub(super) fn write_limits(limits: &Limits, to: &mut Writer) {
    to.number(limits.memory_bytes)
        .number(limits.cpu_weight_millis.into())
        .number(limits.processes.into())
        .number(limits.open_files.into())
        .number(limits.tmp_bytes)
        .byte(limits.tmp_exec.into());
}

pub(super) fn read_limits(from: &mut Reader<'_>) -> Result<Limits, Malformed> {
    Ok(Limits {
        memory_bytes: from.number()?,
        cpu_weight_millis: from.number_as()?,
        processes: from.number_as()?,
        open_files: from.number_as()?,
        tmp_bytes: from.number()?,
        tmp_exec: from.byte()? != 0,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use expect_test::expect;

    use super::*;

    fn program() -> Program {
        Program {
            argv: vec!["/bin/sh".into(), "-c".into(), "true".into()],
            env: vec![("SECRET".into(), OsString::from_vec(vec![0xff, b'x']))],
            cwd: "/var/task".into(),
            links: vec![("/var/lang/bin/node".into(), "/usr/bin/node".into())],
            files: vec![("/var/runtime/a".into(), b"abc".to_vec())],
            companions: vec![Companion {
                argv: vec!["/opt/extensions/watch".into()],
                env: vec![("SECRET".into(), OsString::from_vec(vec![0xff, b'x']))],
                cwd: "/".into(),
            }],
        }
    }

    fn plan(sealed: &[u8]) -> Plan<'_> {
        Plan {
            trees: vec![
                Tree {
                    target: "/var/task".into(),
                    sources: vec!["/code/a".into()],
                },
                Tree {
                    target: "/opt".into(),
                    sources: vec!["/l/1".into(), "/l/2".into()],
                },
            ],
            limits: Limits {
                memory_bytes: 128 << 20,
                cpu_weight_millis: 1000,
                processes: 64,
                open_files: 1024,
                tmp_bytes: 512 << 20,
                tmp_exec: false,
            },
            outside_network: true,
            control: true,
            dialers: 1,
            program: Sealed(sealed),
        }
    }

    #[test]
    fn a_plan_prints_without_what_the_tenant_wrote() {
        let sealed = program().seal();
        expect![[r#"
            Plan {
                trees: [
                    Tree {
                        target: "/var/task",
                        sources: [
                            "/code/a",
                        ],
                    },
                    Tree {
                        target: "/opt",
                        sources: [
                            "/l/1",
                            "/l/2",
                        ],
                    },
                ],
                limits: Limits {
                    memory_bytes: 134217728,
                    cpu_weight_millis: 1000,
                    processes: 64,
                    open_files: 1024,
                    tmp_bytes: 536870912,
                    tmp_exec: false,
                },
                outside_network: true,
                control: true,
                dialers: 1,
                program: sealed, 220 bytes,
            }"#]]
        .assert_eq(&format!("{:#?}", plan(&sealed)));
        assert!(!format!("{:?}", program()).contains("xff"));
    }

    #[test]
    fn a_plan_survives_the_wire() {
        let sealed = program().seal();
        let mut to = Writer::default();
        plan(&sealed).write(&mut to);
        let bytes = to.into_bytes();
        let read = Plan::read(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(read, plan(&sealed));
        assert_eq!(Program::unseal(read.program).unwrap(), program());
    }

    #[test]
    fn a_cut_or_grown_plan_is_refused() {
        let sealed = program().seal();
        let mut to = Writer::default();
        plan(&sealed).write(&mut to);
        let mut bytes = to.into_bytes();
        for length in 0..bytes.len() {
            assert!(
                Plan::read(&mut Reader::new(&bytes[..length])).is_err(),
                "{length}"
            );
        }
        bytes.push(0);
        assert!(Plan::read(&mut Reader::new(&bytes)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn noise_never_breaks_the_reader(bytes: Vec<u8>) {
            let _ = Plan::read(&mut Reader::new(&bytes));
            let _ = Program::unseal(Sealed(&bytes));
        }
    }
}
