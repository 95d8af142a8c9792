//! Takes back what a process that is gone had leased: only one at a time has the file open, so at
//! an open nobody holds a lease.

use rusqlite::{Connection, TransactionBehavior, params};

use super::row::{Message, signed};

/// Makes every leased message due as when it was enqueued; its attempts stay counted. One that is
/// damaged stays as it is: that is found out when its lease has run out.
pub(super) fn take_back(writer: &mut Connection) -> rusqlite::Result<()> {
    let held = held(writer)?;
    if held.is_empty() {
        return Ok(());
    }
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (queue, mut message) in held {
        message.held = false;
        message.due_ms = message.due_ms.min(message.enqueued_at_ms);
        transaction
            .prepare_cached(
                "UPDATE messages SET due_ms = ?, held = 0, crc = ? WHERE queue = ? AND id = ?",
            )?
            .execute(params![
                signed(message.due_ms),
                message.crc(&queue),
                queue,
                message.id,
            ])?;
    }
    transaction.commit()
}

/// The messages that are leased, with their queues.
fn held(writer: &Connection) -> rusqlite::Result<Vec<(String, Message)>> {
    let mut statement = writer.prepare("SELECT * FROM messages WHERE held = 1")?;
    let rows = statement.query_map([], |row| {
        let (message, crc) = Message::read(row)?;
        Ok((row.get::<_, String>("queue")?, message, crc))
    })?;
    let mut held = Vec::new();
    for row in rows {
        let (queue, message, crc) = row?;
        if message.verify(&queue, crc).is_ok() {
            held.push((queue, message));
        }
    }
    Ok(held)
}
