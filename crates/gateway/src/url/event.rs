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
use jiff::tz::Offset;
use serde::Serialize;

use super::Sender;
use super::text::{push_json, push_number};

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
    /// Who signed the request, where the URL asks for that.
    pub(super) sender: Option<&'a Sender>,
    /// The function's account.
    pub(super) owner: &'a str,
}

/// Room for the event's own words, ids and names, in bytes.
const OWN_BYTES: usize = 800;

/// The event as JSON text.
pub(super) fn write(
    request: &Parts,
    body: &Bytes,
    around: &Surroundings<'_>,
) -> Result<Vec<u8>, serde_json::Error> {
    let (path, query) = (request.uri.path(), request.uri.query().unwrap_or_default());
    let mut source = Vec::with_capacity(16);
    push_address(&mut source, around.source);
    let (body_text, is_base64) = body_text(&request.headers, body);
    // With what escaping adds to most bodies.
    let fields = request.headers.iter();
    let head: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 6)
        .sum();
    let room = OWN_BYTES + head + 2 * (path.len() + query.len()) + body.len() + body.len() / 2;
    let mut json = Json(Vec::with_capacity(room));
    json.raw(r#"{"version":"2.0","routeKey":"$default","rawPath":"#);
    json.text(path);
    json.raw(r#","rawQueryString":"#);
    json.text(query);
    let cookies = cookies(&request.headers);
    if !cookies.is_empty() {
        json.raw(r#","cookies":"#);
        json.value(&cookies)?;
    }
    json.raw(r#","headers":{"#);
    headers(&mut json, &request.headers, around, &source);
    json.raw("}");
    let parameters = query_parameters(query);
    if !parameters.is_empty() {
        json.raw(r#","queryStringParameters":"#);
        json.value(&parameters)?;
    }
    context(&mut json, request, around, &source);
    if let Some(body) = body_text {
        json.raw(r#","body":"#);
        json.text(&body);
    }
    json.raw(if is_base64 {
        r#","isBase64Encoded":true}"#
    } else {
        r#","isBase64Encoded":false}"#
    });
    Ok(json.0)
}

/// JSON on its way.
struct Json(Vec<u8>);

impl Json {
    /// Words of the event's own, as they are.
    fn raw(&mut self, words: &str) {
        self.0.extend_from_slice(words.as_bytes());
    }

    /// A string.
    fn text(&mut self, text: &str) {
        push_json(&mut self.0, text);
    }

    fn value(&mut self, value: &impl Serialize) -> Result<(), serde_json::Error> {
        serde_json::to_writer(&mut self.0, value)
    }
}

/// Header fields: those that were sent, several of a name joined by commas, and those that the
/// vendor's front end adds.
fn headers(json: &mut Json, sent: &HeaderMap, around: &Surroundings<'_>, source: &[u8]) {
    for name in sent.keys().filter(|name| is_kept(name)) {
        json.text(name.as_str());
        json.raw(":");
        json.text(&joined(sent, name));
        json.raw(",");
    }
    json.raw(r#""x-forwarded-for":"#);
    let before = joined(sent, &FORWARDED_FOR);
    if before.is_empty() {
        json.raw("\"");
    } else {
        json.text(&before);
        // It goes on.
        json.0.pop();
        json.raw(", ");
    }
    json.0.extend_from_slice(source);
    json.raw(r#"","x-forwarded-port":""#);
    push_number(&mut json.0, around.port.into(), 1);
    json.raw(if around.secure {
        r#"","x-forwarded-proto":"https","x-amzn-trace-id":"#
    } else {
        r#"","x-forwarded-proto":"http","x-amzn-trace-id":"#
    });
    json.text(around.trace_root);
}

/// The member that says who called, whom, when and how.
fn context(json: &mut Json, request: &Parts, around: &Surroundings<'_>, source: &[u8]) {
    match around.sender {
        None => json.raw(r#","requestContext":{"accountId":"anonymous","apiId":"#),
        Some(_) => {
            json.raw(r#","requestContext":{"accountId":"#);
            json.text(around.owner);
            json.raw(r#","apiId":"#);
        }
    }
    json.text(around.url_id);
    if let Some(sender) = around.sender {
        json.raw(r#","authorizer":{"iam":{"accessKey":"#);
        json.text(&sender.access_key);
        json.raw(r#","accountId":"#);
        json.text(&sender.account);
        json.raw(r#","callerId":"#);
        json.text(&sender.id);
        json.raw(r#","cognitoIdentity":null,"principalOrgId":null,"userArn":"#);
        json.text(&sender.arn);
        json.raw(r#","userId":"#);
        json.text(&sender.id);
        json.raw("}}");
    }
    json.raw(r#","domainName":"#);
    json.text(around.domain);
    json.raw(r#","domainPrefix":"#);
    json.text(around.url_id);
    json.raw(r#","http":{"method":"#);
    json.text(request.method.as_str());
    json.raw(r#","path":"#);
    json.text(request.uri.path());
    json.raw(r#","protocol":""#);
    json.raw(protocol(request.version));
    json.raw(r#"","sourceIp":""#);
    json.0.extend_from_slice(source);
    json.raw(r#"","userAgent":"#);
    let agent = request.headers.get(header::USER_AGENT);
    json.text(&agent.map(text).unwrap_or_default());
    json.raw(r#"},"requestId":"#);
    json.text(around.request_id);
    json.raw(r#","routeKey":"$default","stage":"$default","time":""#);
    push_log_time(&mut json.0, around.now_ms);
    json.raw(r#"","timeEpoch":"#);
    push_number(&mut json.0, around.now_ms, 1);
    json.raw("}");
}

fn push_address(to: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    to.push(b'.');
                }
                push_number(to, octet.into(), 1);
            }
        }
        IpAddr::V6(address) => to.extend_from_slice(address.to_string().as_bytes()),
    }
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
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

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `12/Mar/2020:19:03:58 +0000`, as access logs write time.
fn push_log_time(to: &mut Vec<u8>, now_ms: u64) {
    let time = i64::try_from(now_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let time = Offset::UTC.to_datetime(time.unwrap_or_default());
    let number = |to: &mut Vec<u8>, part: i8| push_number(to, part.unsigned_abs().into(), 2);
    number(to, time.day());
    to.push(b'/');
    let month = usize::from(time.month().unsigned_abs()).saturating_sub(1);
    to.extend_from_slice(MONTHS.get(month).unwrap_or(&"Jan").as_bytes());
    to.push(b'/');
    push_number(to, time.year().unsigned_abs().into(), 4);
    for part in [time.hour(), time.minute(), time.second()] {
        to.push(b':');
        number(to, part);
    }
    to.extend_from_slice(b" +0000");
}

#[cfg(test)]
mod tests;
