//! Runs a function once for a client of the control API.

use engine::verb::Invoke;
use model::{Execution, FunctionRef, InvocationId, Principal, limit};
use serde::de::IgnoredAny;
use serde_json::value::{RawValue, to_raw_value};

use crate::body::collect;
use crate::error::Refusal;
use crate::{Api, Body, wire};

impl Api {
    pub(crate) async fn invoke(
        &self,
        target: FunctionRef,
        body: Body,
        tail: bool,
    ) -> Result<wire::Invoked, Refusal> {
        let mut payload = collect(body, limit::REQUEST_BYTES_MAX).await?;
        if payload.is_empty() {
            payload = bytes::Bytes::from_static(b"{}");
        }
        let text = std::str::from_utf8(&payload).map_err(|e| not_json(&e))?;
        serde_json::from_str::<IgnoredAny>(text).map_err(|e| not_json(&e))?;
        let memory_mb = self.engine.find(&target)?.config.memory_mb;
        let id = InvocationId::from_random(self.clock.random_id());
        let call = Invoke {
            principal: Principal::Account(self.settings.account.clone()),
            url: None,
            target,
            id: Some(id.clone()),
            payload,
            trace: None,
            client_context: None,
            tail,
        };
        let execution = self.engine.invoke(call).await?;
        shown(&id, memory_mb, &execution)
    }
}

fn not_json(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::invalid(&format!("the event is no JSON: {error}"))
}

fn shown(
    id: &InvocationId,
    memory_mb: u32,
    execution: &Execution,
) -> Result<wire::Invoked, Refusal> {
    let micros = |part: std::time::Duration| u64::try_from(part.as_micros()).unwrap_or(u64::MAX);
    let timings = execution.timings;
    let log = execution
        .log_tail
        .as_ref()
        .map(|tail| String::from_utf8_lossy(tail).into_owned());
    Ok(wire::Invoked {
        id: id.to_string(),
        outcome: execution.outcome.end.as_str().to_owned(),
        payload: payload(&execution.outcome.payload)?,
        log,
        start: execution.start.as_str().to_owned(),
        cold: execution.start.is_cold(),
        timings: wire::Timings {
            queue_us: micros(timings.queue),
            start_us: micros(timings.start),
            init_us: micros(timings.init),
            handler_us: micros(timings.handler),
        },
        billed_ms: u64::try_from(execution.billed.as_millis()).unwrap_or(u64::MAX),
        memory_mb,
        memory_used_mb: execution.memory_used_mb,
    })
}

/// The answer byte for byte, or as a JSON string where it is no JSON.
fn payload(bytes: &[u8]) -> Result<Box<RawValue>, Refusal> {
    let text = String::from_utf8_lossy(bytes);
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(raw) => Ok(raw.to_owned()),
        Err(_) => to_raw_value(text.as_ref()).map_err(|error| Refusal::ours(&error)),
    }
}
