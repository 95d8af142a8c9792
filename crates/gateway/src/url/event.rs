//! The payload 2.0 event that a request to a function URL becomes, written in one pass from
//! borrowed parts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use jiff::Timestamp;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// What the platform knows of a request beside the request itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) url_id: &'a str,
    pub(super) domain: &'a str,
    pub(super) request_id: &'a str,
    /// Root of the trace (`Root=...`), without the parent that the runtime is told of.
    pub(super) trace_root: &'a str,
    pub(super) source: IpAddr,
    pub(super) port: u16,
    pub(super) secure: bool,
    pub(super) now_ms: u64,
}

/// The event as JSON text.
pub(super) fn write(
    request: &Parts,
    body: &Bytes,
    around: &Surroundings<'_>,
) -> Result<Vec<u8>, serde_json::Error> {
    let path = request.uri.path();
    let query = request.uri.query().unwrap_or_default();
    let source = around.source.to_string();
    let (body_text, is_base64) = body_text(&request.headers, body);
    let event = Event {
        version: "2.0",
        route_key: "$default",
        raw_path: path,
        raw_query_string: query,
        cookies: cookies(&request.headers),
        headers: Headers {
            sent: &request.headers,
            around,
            source: &source,
        },
        query_string_parameters: query_parameters(query),
        request_context: Context {
            account_id: "anonymous",
            api_id: around.url_id,
            domain_name: around.domain,
            domain_prefix: around.url_id,
            http: Http {
                method: request.method.as_str(),
                path,
                protocol: protocol(request.version),
                source_ip: &source,
                user_agent: request
                    .headers
                    .get(header::USER_AGENT)
                    .map(text)
                    .unwrap_or_default(),
            },
            request_id: around.request_id,
            route_key: "$default",
            stage: "$default",
            time: &log_time(around.now_ms),
            time_epoch: around.now_ms,
        },
        body: body_text,
        is_base64_encoded: is_base64,
    };
    // The event's own words, and what escaping adds to most bodies.
    let mut json = Vec::with_capacity(1536 + body.len() + body.len() / 2);
    serde_json::to_writer(&mut json, &event)?;
    Ok(json)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'static str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<Cow<'a, str>>,
    headers: Headers<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    request_context: Context<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    account_id: &'static str,
    api_id: &'a str,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: &'a str,
    route_key: &'static str,
    stage: &'static str,
    time: &'a str,
    time_epoch: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    source_ip: &'a str,
    user_agent: Cow<'a, str>,
}

/// Header fields: those that were sent, several of a name joined by commas, and those that the
/// vendor's front end adds.
struct Headers<'a> {
    sent: &'a HeaderMap,
    around: &'a Surroundings<'a>,
    source: &'a str,
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.sent.keys() {
            if !is_kept(name) {
                continue;
            }
            map.serialize_entry(name.as_str(), &joined(self.sent, name))?;
        }
        let before = joined(self.sent, &FORWARDED_FOR);
        if before.is_empty() {
            map.serialize_entry(FORWARDED_FOR.as_str(), self.source)?;
        } else {
            map.serialize_entry(
                FORWARDED_FOR.as_str(),
                &format_args!("{before}, {}", self.source),
            )?;
        }
        map.serialize_entry(
            FORWARDED_PORT.as_str(),
            &format_args!("{}", self.around.port),
        )?;
        let scheme = if self.around.secure { "https" } else { "http" };
        map.serialize_entry(FORWARDED_PROTO.as_str(), scheme)?;
        map.serialize_entry(TRACE_ID.as_str(), self.around.trace_root)?;
        map.end()
    }
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Carries a trace from service to service.
pub(super) const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Whether a field goes into the event as it came: not what concerns the connection only, not
/// cookies (which have a member of their own) and not what the platform sets.
fn is_kept(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "cookie"
            | "x-forwarded-for"
            | "x-forwarded-port"
            | "x-forwarded-proto"
            | "x-amzn-trace-id"
    )
}

fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(text).unwrap_or_default();
    values.fold(first, |all, value| {
        Cow::Owned(all.into_owned() + "," + &text(value))
    })
}

fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

fn cookies(headers: &HeaderMap) -> Vec<Cow<'_, str>> {
    let mut cookies = Vec::new();
    for value in headers.get_all(header::COOKIE) {
        let Ok(line) = std::str::from_utf8(value.as_bytes()) else {
            continue;
        };
        let parts = line
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        cookies.extend(parts.map(Cow::Borrowed));
    }
    cookies
}

/// Parameters with their escapes resolved, several of a name joined by commas.
fn query_parameters(query: &str) -> BTreeMap<Cow<'_, str>, Cow<'_, str>> {
    let mut parameters = BTreeMap::<Cow<'_, str>, Cow<'_, str>>::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = unescape(value);
        parameters
            .entry(unescape(name))
            .and_modify(|all| {
                let all = all.to_mut();
                all.push(',');
                all.push_str(&value);
            })
            .or_insert_with(|| value.clone());
    }
    parameters
}

/// Resolves `%XX` and `+`; what is no escape stays as it is.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => plain.push(b' '),
            b'%' => {
                let mut ahead = rest.clone();
                match (hex(ahead.next()), hex(ahead.next())) {
                    (Some(high), Some(low)) => {
                        plain.push((high * 16 + low) as u8);
                        rest = ahead;
                    }
                    _ => plain.push(b'%'),
                }
            }
            other => plain.push(*other),
        }
    }
    Cow::Owned(
        String::from_utf8(plain)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()),
    )
}

/// The body as the event carries it, and whether that is base64: text kinds that are text go as
/// they are, everything else encoded (form data too, as on AWS).
fn body_text<'a>(headers: &HeaderMap, body: &'a Bytes) -> (Option<Cow<'a, str>>, bool) {
    if body.is_empty() {
        return (None, false);
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .map(text)
        .unwrap_or_default();
    match std::str::from_utf8(body) {
        Ok(text) if is_text(&kind) => (Some(Cow::Borrowed(text)), false),
        _ => (Some(Cow::Owned(STANDARD.encode(body))), true),
    }
}

fn is_text(content_type: &str) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(
            kind.as_str(),
            "application/json" | "application/javascript" | "application/xml"
        )
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// `12/Mar/2020:19:03:58 +0000`, as access logs write time.
fn log_time(now_ms: u64) -> String {
    let time = i64::try_from(now_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default()
        .strftime("%d/%b/%Y:%H:%M:%S +0000")
        .to_string()
}

#[cfg(test)]
mod tests;
