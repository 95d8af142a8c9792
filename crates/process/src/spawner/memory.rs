//! Memory of a jail's processes as `/proc` has it, for hosts where no control group counts it.

use std::fs;

/// Memory of all processes below a jail's first one, in bytes: what is theirs alone and what they
/// share without a file behind it. Pages that a process got from its parent count for both.
pub(super) fn used_bytes(first: i32) -> u64 {
    below(first)
        .iter()
        .map(|process| kilobytes(process, "status", &["RssAnon:", "RssShmem:"]))
        .sum::<u64>()
        .saturating_mul(1024)
}

/// The same with every page counted once, however many processes have it; dearer to find out.
pub(super) fn used_bytes_once(first: i32) -> u64 {
    below(first)
        .iter()
        .map(|process| kilobytes(process, "smaps_rollup", &["Pss_Anon:", "Pss_Shmem:"]))
        .sum::<u64>()
        .saturating_mul(1024)
}

/// Every process below this one. What cannot be read is on its way out.
fn below(first: i32) -> Vec<String> {
    let mut family = vec![first.to_string()];
    let mut next = 0;
    while let Some(parent) = family.get(next) {
        let threads = fs::read_dir(format!("/proc/{parent}/task"));
        let children: Vec<String> = (threads.into_iter().flatten().flatten())
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
            .flat_map(|text| {
                text.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        family.extend(children);
        next += 1;
    }
    family.split_off(1)
}

/// The sum of these fields of a process's file, whose unit is the kilobyte.
fn kilobytes(process: &str, file: &str, fields: &[&str]) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let rest = fields.iter().find_map(|field| line.strip_prefix(field))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_a_child_holds_is_counted() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = used_bytes(own);
        let script = "x = bytearray(64 << 20); print(flush=True); input()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let (all, once) = (used_bytes(own), used_bytes_once(own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(all >= before.max(64 << 20), "{before} {all}");
        assert!(once >= 64 << 20, "{once}");
    }
}
