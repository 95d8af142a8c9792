//! Signs the client's own requests, as AWS's clients sign theirs, for a service of our own.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderName, HeaderValue, Method};
use sha2::{Digest as _, Sha256};

/// What requests are signed with.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's id.
    pub access_key: String,
    /// Its secret.
    pub secret: String,
    /// The token of a session, where the key is a session's.
    pub token: Option<String>,
    /// The region that signatures name.
    pub region: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// The service of the control API.
pub const SERVICE: &str = "dayfly";

/// What of a request is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    /// Path and query, escaped as they are sent.
    pub(super) target: &'a str,
    pub(super) host: &'a str,
    /// SHA-256 of the body, as hexadecimal digits.
    pub(super) digest: &'a str,
}

/// The headers that sign a request at this time, in milliseconds since the Unix epoch.
pub(super) fn headers(
    request: Request<'_>,
    by: &Credentials,
    now_ms: u64,
) -> Vec<(HeaderName, HeaderValue)> {
    let at = stamp(now_ms);
    let mut named = vec![
        ("host", request.host),
        ("x-amz-content-sha256", request.digest),
        ("x-amz-date", at.as_str()),
    ];
    if let Some(token) = &by.token {
        named.push(("x-amz-security-token", token));
    }
    let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((request.target, ""));
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    let lines: String = named
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method,
        // An escape is escaped once more.
        path.replace('%', "%25"),
        pairs.join("&"),
        request.digest,
    );
    let day = at.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{SERVICE}/aws4_request", by.region);
    let digest = digest(canonical.as_bytes());
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}");
    let mut key = format!("AWS4{}", by.secret).into_bytes();
    for part in scope.split('/') {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &text));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        by.access_key
    );
    let mut headers = Vec::new();
    let mut put = |name, value: &str| {
        // What cannot be sent is left out, and the request refused by the server.
        headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    };
    put(http::header::AUTHORIZATION, &authorization);
    put(HeaderName::from_static("x-amz-date"), &at);
    put(
        HeaderName::from_static("x-amz-content-sha256"),
        request.digest,
    );
    if let Some(token) = &by.token {
        put(HeaderName::from_static("x-amz-security-token"), token);
    }
    headers
}

/// The SHA-256 of bytes, as hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // Any length of key will do; there is no error to come.
    let mac = Hmac::<Sha256>::new_from_slice(key);
    mac.map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `YYYYMMDDTHHMMSSZ`.
fn stamp(now_ms: u64) -> String {
    let ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_signatures_are_written_as_others_do() {
        assert_eq!(stamp(1_440_938_160_000), "20150830T123600Z");
        let by = Credentials {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
            region: "us-east-1".to_owned(),
        };
        let request = Request {
            method: &Method::GET,
            target: "/_dayfly/v1/functions/a%3Ab/logs?since=0&follow=true",
            host: "127.0.0.1:4566",
            digest: &digest(b""),
        };
        let headers = headers(request, &by, 1_440_938_160_000);
        let (_, value) = &headers[0];
        let value = value.to_str().unwrap();
        let start = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/dayfly/aws4_request, \
                     SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=";
        assert!(value.starts_with(start), "{value}");
        assert!(!format!("{by:?}").contains(&by.secret));
    }
}
