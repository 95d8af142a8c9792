//! The filter of system calls that a program and its jail's first process run under: what is
//! listed is allowed, what would be a way out is refused, and what is not known here does not
//! exist, so that the C library falls back to what does.
//!
//! The filter program is written here and not taken from a library because three answers are
//! needed (allowed, refused with a telling error, absent) and one pass over the numbers is to
//! find them: a dozen comparisons at most.

mod shared;
mod table;

use std::io;

use libc::sock_filter;

use shared::SHARED;
use table::{ALLOWED, CHECKED, REFUSED};

/// The one architecture whose calls are looked at; any other's end the process.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Above every number that a kernel gives out. The x32 calls begin at bit 30, so they fall among
/// what does not exist.
const NUMBERS: u32 = 1024;

/// Offsets in what the kernel hands to a filter.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

/// A filter, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Program(Vec<sock_filter>);

/// Why the filter cannot be made: a mistake in the tables, for it depends on nothing else.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("system call {0} is listed twice")]
    Twice(u32),
    #[error("system call {0} is not a number that a kernel gives out")]
    Number(libc::c_long),
    #[error("the filter has {0} instructions, more than the kernel takes")]
    TooLong(usize),
}

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allowed,
    /// Fails so; the number 0 pretends success where there is nothing to do.
    Fails(i32),
    /// Allowed if every check holds.
    Checked(&'static [Check]),
    /// Allowed if every check of the first list holds, or every one of the second, whose answers
    /// count.
    Either(&'static [Check], &'static [Check]),
}

/// Looks at the low half of one argument: the kernel takes no more of those that are checked.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    argument: u32,
    /// Bits that are looked at.
    mask: u32,
    values: Values,
    /// How the call fails if the check does not hold.
    fails: i32,
}

#[derive(Debug, PartialEq, Eq)]
enum Values {
    OneOf(&'static [u32]),
    NoneOf(&'static [u32]),
}

/// What a program has for itself, which decides how much its filter must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespaces {
    /// Those of a jail.
    Own,
    /// None: what reaches others through the host's must go.
    Hosts,
}

/// Compiles the filter.
pub(crate) fn program(namespaces: Namespaces) -> Result<Program, Error> {
    let mut verdicts = [Verdict::Fails(libc::ENOSYS); NUMBERS as usize];
    let listed = (ALLOWED.iter().map(|&call| (call, Verdict::Allowed)))
        .chain(
            REFUSED
                .iter()
                .map(|&call| (call, Verdict::Fails(libc::EPERM))),
        )
        .chain(CHECKED.iter().copied());
    for (call, verdict) in listed {
        let number = u32::try_from(call).map_err(|_| Error::Number(call))?;
        let place = verdicts.get_mut(number as usize);
        let place = place.ok_or(Error::Number(call))?;
        if *place != Verdict::Fails(libc::ENOSYS) {
            return Err(Error::Twice(number));
        }
        *place = verdict;
    }
    if namespaces == Namespaces::Hosts {
        for &(call, verdict) in SHARED {
            let place = usize::try_from(call)
                .ok()
                .and_then(|number| verdicts.get_mut(number));
            *place.ok_or(Error::Number(call))? = verdict;
        }
    }
    let mut program = vec![
        load(ARCHITECTURE_OFFSET),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER_OFFSET),
    ];
    program.extend(search(&ranges(&verdicts)));
    if program.len() > libc::BPF_MAXINSNS as usize {
        return Err(Error::TooLong(program.len()));
    }
    Ok(Program(program))
}

/// Puts the filter on the calling thread and all that it starts, for good.
pub(crate) fn install(program: &Program) -> io::Result<()> {
    // Without it only root may filter.
    rustix::thread::set_no_new_privs(true)?;
    let filter = libc::sock_fprog {
        // In range: no longer than the kernel takes.
        len: program.0.len() as u16,
        filter: program.0.as_ptr().cast_mut(),
    };
    // SAFETY: `filter` and what it points to outlive the call, and the kernel only reads them.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Numbers from which on a verdict holds, until the next.
fn ranges(verdicts: &[Verdict]) -> Vec<(u32, Verdict)> {
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    let beyond = Verdict::Fails(libc::ENOSYS);
    for (number, &verdict) in (0..).zip(verdicts.iter().chain([&beyond])) {
        if ranges.last().is_none_or(|&(_, last)| last != verdict) {
            ranges.push((number, verdict));
        }
    }
    ranges
}

/// Finds the range that the loaded number is in, by halves.
fn search(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let Some(&(first, verdict)) = above.first() else {
        return Vec::new();
    };
    if below.is_empty() {
        return decide(verdict);
    }
    let (below, above) = (search(below), search(above));
    // A conditional jump reaches 255 instructions only.
    let mut program = vec![
        jump(libc::BPF_JGE, first, 0, 1),
        statement(libc::BPF_JMP | libc::BPF_JA, below.len() as u32),
    ];
    program.extend(below);
    program.extend(above);
    program
}

fn decide(verdict: Verdict) -> Vec<sock_filter> {
    match verdict {
        Verdict::Allowed => vec![answer(libc::SECCOMP_RET_ALLOW)],
        Verdict::Fails(error) => vec![fail(error)],
        Verdict::Checked(checks) => all(checks),
        Verdict::Either(first, second) => {
            let mut program = all(first);
            // What would fail goes on behind the first list instead.
            let length = program.len();
            for (place, instruction) in (1..).zip(&mut program) {
                let fails =
                    instruction.k & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO;
                if instruction.code == RETURN && fails {
                    let left = (length - place) as u32;
                    *instruction = statement(libc::BPF_JMP | libc::BPF_JA, left);
                }
            }
            program.extend(all(second));
            program
        }
    }
}

fn all(checks: &[Check]) -> Vec<sock_filter> {
    let mut program: Vec<_> = checks.iter().flat_map(check).collect();
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

/// Falls through if the check holds.
fn check(check: &Check) -> Vec<sock_filter> {
    let little_endian_low_half = ARGUMENTS_OFFSET + check.argument * 8;
    let mut program = vec![
        load(little_endian_low_half),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, check.mask),
    ];
    let (Values::OneOf(values) | Values::NoneOf(values)) = check.values;
    // Each match jumps over the other comparisons and the instruction behind them.
    let left = (1..=values.len() as u8).rev();
    let compare = |(&value, left)| jump(libc::BPF_JEQ, value, left, 0);
    program.extend(values.iter().zip(left).map(compare));
    if let Values::NoneOf(_) = check.values {
        program.push(statement(libc::BPF_JMP | libc::BPF_JA, 1));
    }
    program.push(fail(check.fails));
    program
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn answer(value: u32) -> sock_filter {
    statement(RETURN.into(), value)
}

fn fail(error: i32) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | error as u32)
}

fn statement(code: u32, value: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: value,
    }
}

/// Jumps over `yes` or `no` instructions.
fn jump(how: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter {
        code: (libc::BPF_JMP | how | libc::BPF_K) as u16,
        jt: yes,
        jf: no,
        k: value,
    }
}

#[cfg(test)]
mod tests;
