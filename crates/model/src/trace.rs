//! Traces across services: `Root=...;Parent=...;Sampled=...`, as headers and functions carry them.

use std::fmt::Write as _;

use crate::id::{hex, push_hex};

/// Longest trace that is carried on, in bytes (ours; one with all its parts has about 100).
const SENT_BYTES_MAX: usize = 256;

/// The trace that was sent along, made whole, where it has a root; else one that begins now.
/// `random` is asked for bytes only where parts are missing.
pub fn carry(sent: Option<&str>, now_ms: u64, random: impl FnOnce() -> [u8; 20]) -> String {
    let sent = sent.filter(|sent| sent.starts_with("Root=") && sent.len() <= SENT_BYTES_MAX);
    let Some(sent) = sent else {
        let random = random();
        let (root, parent) = random.split_at(12);
        // Of what is written here nothing is longer; writing into a string cannot fail.
        let mut trace = String::with_capacity(80);
        let _ = write!(trace, "Root=1-{:08x}-", now_ms / 1000);
        push_hex(&mut trace, root);
        trace.push_str(";Parent=");
        push_hex(&mut trace, parent);
        trace.push_str(";Sampled=0");
        return trace;
    };
    let mut trace = sent.to_owned();
    // Writing into a string cannot fail.
    if !sent.contains("Parent=") {
        let _ = write!(trace, ";Parent={}", hex(&random()[12..]));
    }
    if !sent.contains("Sampled=") {
        trace.push_str(";Sampled=0");
    }
    trace
}

/// The root of a trace: what a whole walk through services has in common.
pub fn root(trace: &str) -> &str {
    trace.split(';').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sent: &str, expected: &str) {
        let random = || [0xab; 20];
        assert_eq!(carry(Some(sent), 1000, random), expected);
    }

    #[test]
    fn traces_are_carried_on_and_made_whole() {
        let whole = "Root=1-5e6722a7-cc56abcd46db7ae02d4da47e;Parent=0a;Sampled=1";
        check(whole, whole);
        check("Root=1-2-3", "Root=1-2-3;Parent=abababababababab;Sampled=0");
        check("Root=1-2-3;Parent=4", "Root=1-2-3;Parent=4;Sampled=0");
        assert_eq!(root(whole), "Root=1-5e6722a7-cc56abcd46db7ae02d4da47e");
    }

    #[test]
    fn what_is_no_trace_begins_one() {
        let long = format!("Root={}", "1".repeat(300));
        for sent in ["", "Self=1-2-3", &long] {
            let begun =
                "Root=1-19374bc6-abababababababababababab;Parent=abababababababab;Sampled=0";
            let now_ms = 0x1937_4bc6 * 1000 + 999;
            assert_eq!(carry(Some(sent), now_ms, || [0xab; 20]), begun);
        }
    }
}
