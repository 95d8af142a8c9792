//! Bounds that every implementation keeps, so that they agree at the edges too.

use std::time::Duration;

use crate::{Error, Op, Transaction};

/// Messages that one call of `lease` lends out at most.
pub(crate) const LEASES_MAX: usize = 1000;

/// Operations of one transaction.
const OPS_MAX: usize = 10_000;

/// Bytes of one transaction: ten times the largest payload that any door takes.
const TRANSACTION_BYTES_MAX: usize = 64 << 20;

/// A time as it is kept: the databases' integers end at 2^63 - 1.
pub(crate) fn ms(value: u64) -> u64 {
    value.min(i64::MAX as u64)
}

/// When a lease taken now ends.
pub(crate) fn until(now_ms: u64, lease: Duration) -> u64 {
    ms(now_ms.saturating_add(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)))
}

/// Refuses a transaction that is too large to be one.
pub(crate) fn check(transaction: &Transaction) -> Result<(), Error> {
    let refuse = |problem| {
        Err(Error::Unstorable {
            path: "transaction".into(),
            problem,
        })
    };
    if transaction.ops.len() > OPS_MAX {
        let count = transaction.ops.len();
        return refuse(format!(
            "it has {count} operations; at most {OPS_MAX} are allowed"
        ));
    }
    let bytes = transaction
        .ops
        .iter()
        .map(size)
        .fold(0, usize::saturating_add);
    if bytes > TRANSACTION_BYTES_MAX {
        return refuse(format!(
            "it has {bytes} bytes; at most {TRANSACTION_BYTES_MAX} are allowed"
        ));
    }
    Ok(())
}

/// Bytes that an operation carries.
pub(crate) fn size(op: &Op) -> usize {
    match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key, .. } => key.len(),
        Op::Enqueue {
            queue, id, body, ..
        } => queue.len() + id.len() + body.len(),
        Op::Release {
            queue, id, body, ..
        } => queue.len() + id.len() + body.as_ref().map_or(0, |body| body.len()),
        Op::Settle { queue, id, .. } | Op::Extend { queue, id, .. } => queue.len() + id.len(),
    }
}
