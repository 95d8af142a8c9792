//! Signature Version 4: what a request says of its signature, and whether that is true. Whose
//! secret it is checked with is found elsewhere.

mod canonical;
mod payload;
mod problem;
mod stamp;

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::text;
pub(super) use payload::{Claim, checked, hex_digest};
pub(super) use problem::{Problem, Protocol};
use stamp::Stamp;

/// The one algorithm that is verified.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What ends every credential scope.
const SCOPE_END: &str = "aws4_request";
/// How far a signature's time may be from ours (AWS documentation).
const SKEW: Duration = Duration::from_secs(5 * 60);
/// The same for S3.
const SKEW_OF_S3: Duration = Duration::from_secs(15 * 60);
/// Shortest that a presigned request may hold.
const EXPIRES_MIN: Duration = Duration::from_secs(1);
/// Longest that a presigned request may hold: a week (AWS quota).
const EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The canonical payload of requests whose body is not signed.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What a request says of its signature.
#[derive(Debug, Clone)]
pub(super) struct Signature {
    pub(super) access_key: String,
    pub(super) region: String,
    pub(super) service: String,
    /// The token of a session, where the key is temporary.
    pub(super) token: Option<String>,
    /// The day of the scope, `YYYYMMDD`.
    day: String,
    at: Stamp,
    /// How long it holds, where it is in the query.
    expires: Option<Duration>,
    /// As they were listed.
    signed_headers: Vec<String>,
    signature: [u8; 32],
}

impl Signature {
    /// The signature in the Authorization header or in the query.
    pub(super) fn read(request: &Parts) -> Result<Self, Problem> {
        let query = request.uri.query().unwrap_or_default();
        let presigned = ["X-Amz-Algorithm", "X-Amz-Signature"]
            .iter()
            .any(|name| text::parameter(query, name).is_some());
        let mut headers = request.headers.get_all(AUTHORIZATION).iter();
        match (headers.next(), headers.next()) {
            (Some(_), Some(_)) => Err(Problem::incomplete("only one Authorization is allowed")),
            (Some(_), None) if presigned => Err(Problem::incomplete(
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the \
                 Authorization header should be specified",
            )),
            (Some(header), None) => {
                let header = header.to_str();
                let header = header.map_err(|_| Problem::incomplete("Authorization is no text"))?;
                Self::of_header(header, request)
            }
            (None, _) if presigned => Self::of_query(query),
            (None, _) if text::parameter(query, "AWSAccessKeyId").is_some() => {
                Err(Problem::Unsupported)
            }
            (None, _) => Err(Problem::Missing),
        }
    }

    fn of_header(header: &str, request: &Parts) -> Result<Self, Problem> {
        let (algorithm, rest) = header.split_once(' ').unwrap_or((header, ""));
        if algorithm != ALGORITHM {
            return Err(Problem::Unsupported);
        }
        let part = |name: &str| -> Result<&str, Problem> {
            let mut parts = rest
                .split(',')
                .filter_map(|part| part.trim().split_once('='));
            let found = parts.find(|(key, _)| *key == name).map(|(_, value)| value);
            found.filter(|value| !value.is_empty()).ok_or_else(|| {
                Problem::Incomplete(format!("Authorization header requires '{name}' parameter."))
            })
        };
        let header = |name: &str| request.headers.get(name).and_then(|it| it.to_str().ok());
        let at = match (header("x-amz-date"), header("date")) {
            (Some(text), _) => Stamp::basic(text),
            (None, Some(text)) => Stamp::rfc2822(text),
            (None, None) => None,
        };
        let at = at.ok_or_else(|| {
            Problem::incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' \
                 header.",
            )
        })?;
        Self::new(
            part("Credential")?,
            part("SignedHeaders")?,
            part("Signature")?,
            at,
        )
        .map(|signature| Self {
            token: header("x-amz-security-token").map(str::to_owned),
            ..signature
        })
    }

    fn of_query(query: &str) -> Result<Self, Problem> {
        let part = |name: &str| -> Result<String, Problem> {
            let mut values = text::parameters(query, name);
            match (values.next(), values.next()) {
                (Some(value), None) if !value.is_empty() => Ok(value),
                _ => Err(Problem::Incomplete(format!(
                    "Query-string authentication version 4 requires the {name} parameter, once"
                ))),
            }
        };
        if part("X-Amz-Algorithm")? != ALGORITHM {
            return Err(Problem::Unsupported);
        }
        let at = Stamp::basic(&part("X-Amz-Date")?);
        let at = at.ok_or_else(|| {
            Problem::incomplete(
                "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
            )
        })?;
        let expires = part("X-Amz-Expires")?.parse().map(Duration::from_secs);
        let expires = expires
            .ok()
            .filter(|expires| (EXPIRES_MIN..=EXPIRES_MAX).contains(expires));
        let expires = expires.ok_or_else(|| {
            Problem::incomplete(
                "X-Amz-Expires must be a number of seconds, from 1 to 604800 (a week)",
            )
        })?;
        let signature = Self::new(
            &part("X-Amz-Credential")?,
            &part("X-Amz-SignedHeaders")?,
            &part("X-Amz-Signature")?,
            at,
        )?;
        Ok(Self {
            expires: Some(expires),
            token: text::parameter(query, "X-Amz-Security-Token"),
            ..signature
        })
    }

    fn new(
        credential: &str,
        signed_headers: &str,
        signature: &str,
        at: Stamp,
    ) -> Result<Self, Problem> {
        // A key may itself hold slashes.
        let mut scope = credential.rsplitn(5, '/');
        let mut next = || scope.next().unwrap_or_default().to_owned();
        let (end, service, region, day, access_key) = (next(), next(), next(), next(), next());
        if end != SCOPE_END || access_key.is_empty() || service.is_empty() {
            return Err(Problem::incomplete(
                "Credential must have at least 5 slash-delimited elements, as \
                 KEY/DATE/REGION/SERVICE/aws4_request",
            ));
        }
        if day != at.day() {
            let given = at.day();
            return Err(Problem::Incomplete(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{day}' != '{given}'."
            )));
        }
        let signed_headers: Vec<_> = signed_headers.split(';').map(str::to_owned).collect();
        let lower = |name: &String| {
            let odd = |byte: u8| byte.is_ascii_uppercase() || !byte.is_ascii_graphic();
            !name.is_empty() && !name.bytes().any(odd)
        };
        if !signed_headers.iter().all(lower) {
            return Err(Problem::incomplete(
                "SignedHeaders must be names in lower case, separated by ';'",
            ));
        }
        if !signed_headers.iter().any(|name| name == "host") {
            return Err(Problem::incomplete(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        let signature = payload::hex_bytes(signature)
            .ok_or_else(|| Problem::incomplete("Signature must be 64 hexadecimal digits"))?;
        Ok(Self {
            access_key,
            region,
            service,
            token: None,
            day,
            at,
            expires: None,
            signed_headers,
            signature,
        })
    }

    /// Whether it holds at this time, in milliseconds since the Unix epoch.
    pub(super) fn check_time(&self, now_ms: u64) -> Result<(), Problem> {
        let (at, now) = (self.at, Stamp::of_ms(now_ms));
        let skew = if self.is_s3() { SKEW_OF_S3 } else { SKEW };
        if at.is_after(now, skew) {
            return Err(Problem::NotYet { at, now, skew });
        }
        match self.expires {
            Some(expires) if now.is_after(at, expires) => {
                Err(Problem::Expired { at, expires, now })
            }
            None if now.is_after(at, skew) => Err(Problem::TooOld { at, now, skew }),
            _ => Ok(()),
        }
    }

    /// Whether all is signed that must be: what could be added on the way would change what the
    /// request means.
    pub(super) fn check_headers(&self, request: &Parts) -> Result<(), Problem> {
        let loose = |name: &&str| {
            // A token need not be: the secret key follows from it.
            name.starts_with("x-amz-")
                && *name != "x-amz-security-token"
                && !self.signed_headers.iter().any(|signed| signed == name)
        };
        let names = request.headers.keys().map(http::HeaderName::as_str);
        let loose: Vec<&str> = names.filter(loose).collect();
        if loose.is_empty() {
            Ok(())
        } else {
            Err(Problem::NotSigned(loose.join(", ")))
        }
    }

    /// What the request says of its body, in a header that it signs.
    pub(super) fn claim(&self, request: &Parts) -> Claim {
        const NAME: &str = "x-amz-content-sha256";
        let header = request.headers.get(NAME).and_then(|it| it.to_str().ok());
        if let Some(value) = header {
            return Claim::of(value);
        }
        let query = request.uri.query().unwrap_or_default();
        let parameter = self.expires.and_then(|_| {
            let names = ["X-Amz-Content-Sha256", "X-Amz-Content-SHA256"];
            names.iter().find_map(|name| text::parameter(query, name))
        });
        match parameter {
            Some(value) => Claim::of(&value),
            // Whoever made the URL knew no body.
            None if self.expires.is_some() && self.is_s3() => Claim::Unsigned,
            None => Claim::Absent,
        }
    }

    /// Whether it is for S3, which encodes paths once and does not normalize them.
    pub(super) fn is_s3(&self) -> bool {
        matches!(
            self.service.as_str(),
            "s3" | "s3express" | "s3-object-lambda"
        )
    }

    /// Checks it over a request with this canonical payload. Answers the path that was signed,
    /// where it is not the one that was sent: it is what the request has to be read by.
    pub(super) fn verify(
        &self,
        request: &Parts,
        payload: &str,
        secret: &str,
    ) -> Result<Option<String>, Problem> {
        let key = self.signing_key(secret);
        let query = canonical::query(
            request.uri.query().unwrap_or_default(),
            self.expires.is_some(),
        );
        let headers = canonical::headers(&request.headers, &self.signed_headers);
        for path in canonical::paths(request.uri.path(), self.is_s3()) {
            let mut digest = Sha256::new();
            for piece in [
                request.method.as_str().as_bytes(),
                path.canonical.as_bytes(),
                query.as_bytes(),
            ] {
                digest.update(piece);
                digest.update(b"\n");
            }
            digest.update(&headers);
            digest.update(b"\n");
            digest.update(self.signed_headers.join(";"));
            digest.update(b"\n");
            digest.update(payload);
            let hash = payload::hex(&digest.finalize());
            let (at, day) = (self.at.text(), &self.day);
            let (region, service) = (&self.region, &self.service);
            let text = format!("{ALGORITHM}\n{at}\n{day}/{region}/{service}/{SCOPE_END}\n{hash}");
            // Compares in constant time.
            let mac = keyed(&key).map(|mac| mac.chain_update(text));
            if mac.is_some_and(|mac| mac.verify_slice(&self.signature).is_ok()) {
                return Ok(path.read_as);
            }
        }
        Err(Problem::Mismatch)
    }

    fn signing_key(&self, secret: &str) -> Vec<u8> {
        let parts = [&self.day, &self.region, &self.service, SCOPE_END];
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in parts {
            let mac = keyed(&key).map(|mac| mac.chain_update(part).finalize().into_bytes());
            key = mac.map(|bytes| bytes.to_vec()).unwrap_or_default();
        }
        key
    }
}

fn keyed(key: &[u8]) -> Option<Hmac<Sha256>> {
    // Any length of key will do; there is no error to come.
    Hmac::new_from_slice(key).ok()
}

#[cfg(test)]
pub(super) mod tests;
