//! The HTTP response that a function's answer becomes: the answer's own, where it has the form
//! of one, else a JSON body. It only borrows from the answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Headers and cookies of one answer (ours: far beyond what clients take, far below what a map
/// of headers can hold).
const HEADERS_MAX: usize = 1_000;
/// Headers and cookies of one answer, names and values, in bytes (ours, as above).
const HEAD_BYTES_MAX: usize = 128 * 1024;

/// A response without what the platform adds to it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    /// A response that the function says nothing of but what it is.
    pub(super) fn ok(content_type: HeaderValue, body: Bytes) -> Self {
        Self {
            status: StatusCode::OK,
            headers: headers_of(content_type),
            body,
        }
    }
}

/// What is wrong with an answer that claims to be a response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the answer is not valid JSON")]
    Json,
    #[error(
        "the answer must begin with status and headers as JSON, ended by eight NUL bytes and of \
         {HEAD_BYTES_MAX} bytes at most; HttpResponseStream.from sends them with the first write"
    )]
    Prelude,
    #[error("statusCode must be a number from 200 to 599, not {0}")]
    Status(String),
    #[error("headers must be an object whose values are strings, numbers or booleans")]
    Headers,
    #[error("the header '{0}' holds what no header may hold")]
    Header(String),
    #[error("there may be {HEADERS_MAX} headers and cookies at most")]
    HeaderCount,
    #[error("headers and cookies may have {HEAD_BYTES_MAX} bytes at most")]
    HeaderBytes,
    #[error("cookies must be a list of strings")]
    Cookies,
    #[error("the body is not valid base64, though isBase64Encoded is true")]
    Base64,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, rename = "statusCode")]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    #[serde(borrow)]
    cookies: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow, rename = "isBase64Encoded")]
    is_base64: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a function's answer.
pub(super) fn read(payload: &Bytes) -> Result<Reply, Malformed> {
    let json = std::str::from_utf8(payload).map_err(|_| Malformed::Json)?;
    if json.trim_ascii_start().starts_with('{') {
        let answer: Answer<'_> = serde_json::from_str(json).map_err(|_| Malformed::Json)?;
        if answer.status.is_some() {
            return structured(payload, &answer);
        }
    }
    let body = match serde_json::from_str::<Text<'_>>(json) {
        Ok(text) => shared(payload, text.0),
        Err(_) => repaired(json).map_or_else(|| payload.clone(), Bytes::from),
    };
    Ok(Reply::ok(JSON_TYPE, body))
}

/// What ends the head of a streamed answer.
const HEAD_END: [u8; 8] = [0; 8];

/// Where the head of a streamed answer ends, if it ends in what has come of it; the first `before`
/// bytes were looked at already.
pub(super) fn head_end(came: &[u8], before: usize) -> Result<Option<usize>, Malformed> {
    let from = before.saturating_sub(HEAD_END.len() - 1);
    let end = came[from..]
        .windows(HEAD_END.len())
        .position(|window| window == HEAD_END)
        .map(|at| from + at);
    match end {
        None if came.len() > HEAD_BYTES_MAX => Err(Malformed::Prelude),
        end => Ok(end),
    }
}

/// Reads a streamed answer off the first of it, which holds its head up to `end`.
pub(super) fn read_streamed(mut came: Bytes, end: usize) -> Result<Reply, Malformed> {
    let head = came.split_to(end);
    let body = came.slice(HEAD_END.len()..);
    let answer: Answer<'_> = serde_json::from_slice(&head).map_err(|_| Malformed::Prelude)?;
    let (status, headers) = read_head(&answer, STREAM_TYPE)?;
    Ok(Reply {
        status,
        headers,
        body,
    })
}

/// What a streamed answer is that says nothing of it (as Lambda's runtimes have it).
pub(super) const STREAM_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

fn read_head(
    answer: &Answer<'_>,
    content_type: HeaderValue,
) -> Result<(StatusCode, HeaderMap), Malformed> {
    let status = match answer.status {
        Some(status) => read_status(status.get())?,
        None => StatusCode::OK,
    };
    let mut head = Head::new(content_type);
    if let Some(fields) = answer.headers.filter(|raw| raw.get() != "null") {
        read_headers(fields.get(), &mut head)?;
    }
    if let Some(cookies) = answer.cookies.filter(|raw| raw.get() != "null") {
        read_cookies(cookies.get(), &mut head)?;
    }
    Ok((status, head.headers))
}

fn structured(payload: &Bytes, answer: &Answer<'_>) -> Result<Reply, Malformed> {
    let (status, headers) = read_head(answer, JSON_TYPE)?;
    let is_base64 = answer.is_base64.is_some_and(|raw| raw.get() == "true");
    let body = match answer.body {
        Some(body) => read_body(payload, body.get(), is_base64)?,
        None => Bytes::new(),
    };
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = if bodiless { Bytes::new() } else { body };
    Ok(Reply {
        status,
        headers,
        body,
    })
}

/// Headers within their limits: the map itself ends the task that overfills it.
struct Head {
    headers: HeaderMap,
    bytes: usize,
}

impl Head {
    fn new(content_type: HeaderValue) -> Self {
        Self {
            headers: headers_of(content_type),
            bytes: 0,
        }
    }

    fn insert(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), Malformed> {
        self.make_room(&name, &value)?;
        self.headers.insert(name, value);
        Ok(())
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), Malformed> {
        self.make_room(&name, &value)?;
        self.headers.append(name, value);
        Ok(())
    }

    fn make_room(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Malformed> {
        self.bytes += name.as_str().len() + value.len();
        if self.bytes > HEAD_BYTES_MAX {
            Err(Malformed::HeaderBytes)
        } else if self.headers.len() >= HEADERS_MAX {
            Err(Malformed::HeaderCount)
        } else {
            Ok(())
        }
    }
}

/// What an answer is that says nothing of it.
pub(super) const JSON_TYPE: HeaderValue = HeaderValue::from_static("application/json");

fn headers_of(content_type: HeaderValue) -> HeaderMap {
    // Room for what the platform adds; functions that say more pay for more.
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(CONTENT_TYPE, content_type);
    headers
}

/// A number, or a string of digits as some frameworks write it.
fn read_status(raw: &str) -> Result<StatusCode, Malformed> {
    let digits = raw.trim_matches('"');
    let number = digits
        .strip_suffix(".0")
        .unwrap_or(digits)
        .parse::<u16>()
        .ok();
    number
        .filter(|number| (200..=599).contains(number))
        .and_then(|number| StatusCode::from_u16(number).ok())
        .ok_or_else(|| Malformed::Status(raw.chars().take(40).collect()))
}

fn read_headers(raw: &str, head: &mut Head) -> Result<(), Malformed> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(raw).map_err(|_| Malformed::Headers)?;
    for (name, value) in fields {
        let value = match value.get().as_bytes().first() {
            Some(b'"') => {
                serde_json::from_str::<Text<'_>>(value.get())
                    .map_err(|_| Malformed::Headers)?
                    .0
            }
            Some(b'n') => continue,
            Some(b'[' | b'{') | None => return Err(Malformed::Headers),
            Some(_) => Cow::Borrowed(value.get()),
        };
        let invalid = || Malformed::Header(name.chars().take(80).collect());
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?;
        if let Some(field) = outward(field) {
            head.insert(field, value)?;
        }
    }
    Ok(())
}

/// The name under which a function's header goes out: some belong to the connection and some
/// the vendor's front end renames.
fn outward(name: HeaderName) -> Option<HeaderName> {
    let renamed = match name.as_str() {
        "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade" => {
            return None;
        }
        "connection" => "x-amzn-remapped-connection",
        "content-length" => "x-amzn-remapped-content-length",
        "date" => "x-amzn-remapped-date",
        "server" => "x-amzn-remapped-server",
        "www-authenticate" => "x-amzn-remapped-www-authenticate",
        _ => return Some(name),
    };
    Some(HeaderName::from_static(renamed))
}

fn read_cookies(raw: &str, head: &mut Head) -> Result<(), Malformed> {
    let cookies: Vec<String> = serde_json::from_str(raw).map_err(|_| Malformed::Cookies)?;
    for cookie in cookies {
        let value = HeaderValue::from_bytes(cookie.as_bytes())
            .map_err(|_| Malformed::Header("set-cookie".to_owned()))?;
        head.append(SET_COOKIE, value)?;
    }
    Ok(())
}

fn read_body(payload: &Bytes, raw: &str, is_base64: bool) -> Result<Bytes, Malformed> {
    if raw == "null" {
        return Ok(Bytes::new());
    }
    let text = match serde_json::from_str(raw) {
        Ok(Text(text)) => text,
        Err(_) => repaired(raw).map_or(Cow::Borrowed(raw), Cow::Owned),
    };
    if is_base64 {
        return STANDARD
            .decode(text.as_bytes())
            .map(Bytes::from)
            .map_err(|_| Malformed::Base64);
    }
    Ok(shared(payload, text))
}

/// The text of a JSON string with halves of surrogate pairs in it, which JavaScript and Python
/// can write and UTF-8 cannot: each becomes the replacement character. None for other JSON.
fn repaired(json: &str) -> Option<String> {
    let Loose(mut bytes) = serde_json::from_str(json).ok()?;
    for at in 0..bytes.len().saturating_sub(2) {
        if bytes[at] == 0xed && bytes[at + 1] >= 0xa0 {
            bytes[at..at + 3].copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    String::from_utf8(bytes).ok()
}

/// A JSON string as bytes, halves of surrogate pairs encoded as if they were characters.
struct Loose(Vec<u8>);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_bytes(LooseVisitor)
    }
}

struct LooseVisitor;

impl Visitor<'_> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Loose, E> {
        Ok(Loose(bytes.to_vec()))
    }
}

/// The text as bytes, without a copy where it is a part of the payload.
fn shared(payload: &Bytes, text: Cow<'_, str>) -> Bytes {
    match text {
        Cow::Borrowed(part) => payload.slice_ref(part.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}

#[cfg(test)]
mod tests;
