//! Events that were given up, and how one ends of which the platform cannot read enough to run it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Expect, Op, Transaction};

use super::Delivery;
use crate::event::Envelope;
use crate::record::{self, DEAD_LETTERS, EventState, INVOCATIONS, InvocationRecord};
use crate::{Error, forget};

/// An event that was given up, whole.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeadLetter {
    pub(crate) id: String,
    /// None where not even the function is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<InvocationRecord>,
    /// Why it could not be read, where that is why it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unreadable: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_context: Option<String>,
    /// The payload, where it is text; it always is where it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<String>,
    /// Its hexadecimal digits, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload_hex: Option<String>,
}

impl DeadLetter {
    pub(super) fn new(
        id: &str,
        event: &InvocationRecord,
        envelope: &Envelope,
        payload: &Bytes,
    ) -> Self {
        Self {
            event: Some(event.clone()),
            trace: envelope.trace.clone(),
            client_context: envelope.client_context.clone(),
            ..Self::of(id, payload)
        }
    }

    fn of(id: &str, payload: &[u8]) -> Self {
        let text = std::str::from_utf8(payload).ok().map(str::to_owned);
        Self {
            id: id.to_owned(),
            event: None,
            unreadable: None,
            trace: None,
            client_context: None,
            payload_hex: text.is_none().then(|| model::id::hex(payload)),
            payload: text,
        }
    }
}

impl Delivery {
    /// Ends an event whose message or record cannot be read. To try again would not help; what
    /// there is of it becomes its dead letter.
    pub(super) async fn set_apart(
        &self,
        event: Result<InvocationRecord, Error>,
        opened: Result<(Envelope, Bytes), Error>,
    ) -> Result<u64, Error> {
        let problem = event.as_ref().err().or(opened.as_ref().err());
        let reason = problem.map_or_else(String::new, ToString::to_string);
        tracing::error!(%reason, event = %self.lease.id, "an event cannot be read");
        let mut event = match (event, &opened) {
            (Ok(event), _) => Some(event),
            (Err(_), Ok((envelope, _))) => Some(self.record_of(envelope)),
            (Err(_), Err(_)) => None,
        };
        let now_ms = self.shared.clock.now_ms();
        if let Some(event) = &mut event {
            event.end(EventState::DeadLettered, now_ms, reason.clone());
        }
        let payload = opened.as_ref().map_or(&self.lease.body, |opened| &opened.1);
        let letter = DeadLetter {
            event: event.clone(),
            unreadable: Some(reason),
            ..DeadLetter::of(&self.lease.id, payload)
        };
        let end = |epoch| self.end_unread(event.as_ref(), &letter, now_ms, epoch);
        let epoch = self.conclude(end).await?;
        self.count(EventState::DeadLettered);
        Ok(epoch)
    }

    /// A record in place of one that is gone.
    fn record_of(&self, envelope: &Envelope) -> InvocationRecord {
        InvocationRecord {
            function: envelope.function.clone(),
            qualifier: envelope.qualifier.clone(),
            accepted_ms: self.lease.enqueued_at_ms,
            state: EventState::Accepted,
            attempts: self.under_way.attempt().saturating_sub(1),
            failures: 0,
            uncounted: 0,
            reason: None,
            ended_ms: None,
        }
    }

    fn end_unread(
        &self,
        event: Option<&InvocationRecord>,
        letter: &DeadLetter,
        now_ms: u64,
        epoch: u64,
    ) -> Result<Transaction, Error> {
        let id = &self.lease.id;
        let put = |collection, key: &str, value| Op::Put {
            collection,
            key: key.to_owned(),
            value,
            expect: Expect::Any,
        };
        let letter_key = event.map_or_else(
            || record::unreadable_key(id),
            |event| record::dead_letter_key(&event.function, id),
        );
        let letter = record::write(&letter_key, letter)?;
        let mut transaction = Transaction::of(Op::Settle {
            queue: self.queue(),
            id: id.clone(),
            epoch,
        })
        .and(put(DEAD_LETTERS, &letter_key, letter));
        if let Some(event) = event {
            transaction = transaction.and(put(INVOCATIONS, id, record::write(id, event)?));
        }
        Ok(transaction.and(forget::later(id, Some(letter_key), now_ms)))
    }
}
