//! What an extension asks for when it subscribes: reads and checks it.

use std::time::Duration;

use http::Uri;
use serde_json::Value;

use super::Source;

/// Which of the two interfaces is spoken: the older knows fewer records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    Telemetry,
    Logs,
}

impl Schema {
    /// The interface at this path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        match path {
            "/2022-07-01/telemetry" => Some(Self::Telemetry),
            "/2020-08-15/logs" => Some(Self::Logs),
            _ => None,
        }
    }

    /// What its errors and messages call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Telemetry => "Telemetry",
            Self::Logs => "Logs",
        }
    }

    pub(super) fn subscription_record(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetrySubscription",
            Self::Logs => "logsSubscription",
        }
    }

    fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Telemetry => &["2022-07-01", "2022-12-13", "2025-01-29"],
            Self::Logs => &["2020-08-15", "2021-03-18"],
        }
    }

    /// Whether it knows this record.
    pub(super) fn has(self, source: Source, record: &str) -> bool {
        // The kind comes right after the time, whose length is fixed.
        let head: String = record.chars().take(80).collect();
        let initialisation = head.contains(r#""type":"platform.init"#);
        let end = head.contains(r#""type":"platform.end""#);
        match self {
            Self::Telemetry => source != Source::Platform || !end,
            Self::Logs => !initialisation,
        }
    }
}

/// How much goes out at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buffering {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) timeout: Duration,
}

/// Where records go: a port of the instance's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    Http {
        port: u16,
        path: String,
        /// Whether with PUT instead of POST.
        put: bool,
    },
    Tcp {
        port: u16,
    },
}

/// A subscription that can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) types: Vec<Source>,
    pub(crate) buffering: Buffering,
    pub(crate) destination: Destination,
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub(crate) String);

fn invalid<T>(message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(message.into()))
}

impl Subscription {
    /// Reads a request's body.
    pub(crate) fn read(schema: Schema, body: &[u8]) -> Result<Self, Invalid> {
        let Ok(asked) = serde_json::from_slice::<Value>(body) else {
            return invalid("the request is not JSON");
        };
        let version = asked.get("schemaVersion");
        let known = match version {
            Some(version) => (schema.versions().iter()).any(|known| version == known),
            None => schema == Schema::Logs,
        };
        if !known {
            let versions = schema.versions().join(", ");
            return invalid(format!("schemaVersion must be one of {versions}"));
        }
        Ok(Self {
            types: read_types(asked.get("types"))?,
            buffering: read_buffering(asked.get("buffering"))?,
            destination: read_destination(asked.get("destination"))?,
        })
    }
}

fn read_types(asked: Option<&Value>) -> Result<Vec<Source>, Invalid> {
    let list = asked.and_then(Value::as_array).map(Vec::as_slice);
    let read = list.unwrap_or_default().iter().map(|word| {
        let source = word.as_str().and_then(Source::of);
        source.ok_or_else(|| Invalid(format!("types: {word} is not one of them")))
    });
    let types = read.collect::<Result<Vec<_>, _>>()?;
    if types.is_empty() {
        return invalid("types must name at least one of platform, function and extension");
    }
    Ok(types)
}

fn read_buffering(asked: Option<&Value>) -> Result<Buffering, Invalid> {
    let number = |name: &str, default: u64, least: u64, most: u64| {
        let Some(given) = asked.and_then(|asked| asked.get(name)) else {
            return Ok(default);
        };
        match given.as_u64() {
            Some(given) if (least..=most).contains(&given) => Ok(given),
            _ => invalid(format!("buffering.{name} must be from {least} to {most}")),
        }
    };
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Buffering {
        items: size(number("maxItems", 10_000, 1000, 10_000)?),
        bytes: size(number("maxBytes", 262_144, 262_144, 1_048_576)?),
        timeout: Duration::from_millis(number("timeoutMs", 1000, 25, 30_000)?),
    })
}

fn read_destination(asked: Option<&Value>) -> Result<Destination, Invalid> {
    let text = |name: &str| {
        asked
            .and_then(|asked| asked.get(name))
            .and_then(Value::as_str)
    };
    match text("protocol") {
        Some("TCP") => {
            let port = asked.and_then(|asked| asked.get("port"));
            let port = port
                .and_then(Value::as_u64)
                .and_then(|port| u16::try_from(port).ok());
            let port = port.filter(|port| *port > 0);
            port.map(|port| Destination::Tcp { port })
                .ok_or_else(|| Invalid("destination.port must be a port".to_owned()))
        }
        Some("HTTP") => {
            let uri = text("URI").unwrap_or_default();
            let put = match text("method") {
                None | Some("POST") => false,
                Some("PUT") => true,
                Some(_) => return invalid("destination.method must be POST or PUT"),
            };
            if text("encoding").is_some_and(|encoding| encoding != "JSON") {
                return invalid("destination.encoding must be JSON");
            }
            read_uri(uri, put)
        }
        _ => invalid("destination.protocol must be HTTP or TCP"),
    }
}

fn read_uri(uri: &str, put: bool) -> Result<Destination, Invalid> {
    let wrong =
        || Invalid("destination.URI must be http://sandbox.localdomain:PORT/PATH".to_owned());
    let uri: Uri = uri.parse().map_err(|_| wrong())?;
    let own = matches!(uri.host(), Some("sandbox.localdomain" | "sandbox"));
    if uri.scheme_str() != Some("http") || !own {
        return Err(wrong());
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Destination::Http {
        port: uri.port_u16().unwrap_or(80),
        path: path.to_owned(),
        put,
    })
}
