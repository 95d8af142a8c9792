//! The verifier against the vendor's own signer, and against whatever else may come.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::Request;
use proptest::prelude::*;

use super::*;

const NOW_S: u64 = 1_767_225_600;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// How a request is signed, and by whom.
#[derive(Debug, Clone)]
pub(in super::super) struct Manner {
    pub(in super::super) access_key: String,
    pub(in super::super) secret: String,
    pub(in super::super) at_s: u64,
    pub(in super::super) service: &'static str,
    pub(in super::super) presigned: bool,
    pub(in super::super) token: Option<String>,
    pub(in super::super) unsigned: bool,
    pub(in super::super) digest_header: bool,
}

pub(in super::super) fn manner(service: &'static str) -> Manner {
    Manner {
        access_key: "AKIDEXAMPLE".to_owned(),
        secret: SECRET.to_owned(),
        at_s: NOW_S,
        service,
        presigned: false,
        token: None,
        unsigned: false,
        digest_header: service == "s3",
    }
}

/// A request as the vendor's signer sends it.
pub(in super::super) fn signed(request: Request<Vec<u8>>, manner: &Manner) -> Parts {
    let (mut parts, body) = request.into_parts();
    if !parts.headers.contains_key("host") {
        let host = http::HeaderValue::from_static("127.0.0.1:4566");
        parts.headers.insert("host", host);
    }
    let (key, secret, token) = (&manner.access_key, &manner.secret, manner.token.clone());
    let identity = Credentials::new(key, secret, token, None, "test").into();
    let mut settings = SigningSettings::default();
    if manner.service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    if manner.presigned {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(900));
    } else if manner.digest_header {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name(manner.service)
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(manner.at_s))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let body = if manner.unsigned {
        SignableBody::UnsignedPayload
    } else {
        SignableBody::Bytes(&body)
    };
    let uri = format!("http://127.0.0.1:4566{}", parts.uri);
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let signable = SignableRequest::new(parts.method.as_str(), &uri, headers, body).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let mut request = Request::from_parts(parts, ());
    *request.uri_mut() = uri.parse().unwrap();
    instructions.apply_to_request_http1x(&mut request);
    let (mut parts, ()) = request.into_parts();
    parts.uri = parts
        .uri
        .path_and_query()
        .unwrap()
        .to_string()
        .parse()
        .unwrap();
    parts
}

fn verify(parts: &Parts, body: &[u8], secret: &str) -> Result<(), Problem> {
    let signature = Signature::read(parts)?;
    signature.check_time(NOW_S * 1000)?;
    signature.check_headers(parts)?;
    let payload = match signature.claim(parts) {
        Claim::Digest(digest) if digest != hex_digest(body) => return Err(Problem::OtherPayload),
        Claim::Digest(digest) => digest,
        Claim::Unsigned => UNSIGNED_PAYLOAD.to_owned(),
        _ => hex_digest(body),
    };
    signature.verify(parts, &payload, secret).map(drop)
}

fn request(method: &str, uri: &str, body: &[u8]) -> Request<Vec<u8>> {
    let request = Request::builder().method(method).uri(uri);
    request.body(body.to_vec()).unwrap()
}

prop_compose! {
    fn any_manner()(
        s3 in any::<bool>(),
        presigned in any::<bool>(),
        token in proptest::option::of("[A-Za-z0-9+/=]{1,80}"),
        unsigned in any::<bool>(),
        digest_header in any::<bool>(),
    ) -> Manner {
        Manner {
            presigned,
            token,
            // Only S3 takes what is not signed, and only there a URL signs no body.
            unsigned: s3 && (unsigned || presigned),
            digest_header: s3 || digest_header,
            ..manner(if s3 { "s3" } else { "lambda" })
        }
    }
}

fn any_path() -> impl Strategy<Value = String> {
    let segment = "([a-zA-Z0-9_.~:@!$&'()*+,;=-]|%[0-9A-F]{2}){0,8}";
    proptest::collection::vec(segment, 0..6).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn any_query() -> impl Strategy<Value = String> {
    let part = "([a-zA-Z0-9_.~:@!$'()*,;-]|%[0-7][0-9A-F]){0,8}";
    let pair = (part, part, any::<bool>()).prop_map(|(name, value, bare)| {
        if bare {
            name
        } else {
            format!("{name}={value}")
        }
    });
    proptest::collection::vec(pair, 0..5).prop_map(|pairs| pairs.join("&"))
}

fn any_headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let header = ("x-[a-z]{1,3}(-[a-z]{1,3})?", "[ !-~]{0,20}");
    proptest::collection::vec(header, 0..6)
}

fn any_request() -> impl Strategy<Value = Request<Vec<u8>>> {
    let method = proptest::sample::select(vec!["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD"]);
    let body = proptest::collection::vec(any::<u8>(), 0..64);
    let parts = (method, any_path(), any_query(), any_headers(), body);
    parts.prop_filter_map("no address", |(method, path, query, headers, body)| {
        let uri = if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(name, value.trim());
        }
        request.body(body).ok()
    })
}

proptest! {
    #[test]
    fn what_the_vendors_signer_signs_verifies(request in any_request(), manner in any_manner()) {
        let body = request.body().clone();
        let parts = signed(request, &manner);
        let verified = verify(&parts, &body, SECRET);
        prop_assert_eq!(&verified, &Ok(()), "{:?} {:?}", manner, parts);
        let other = verify(&parts, &body, "other");
        prop_assert_eq!(other, Err(Problem::Mismatch));
    }

    #[test]
    fn what_was_changed_on_the_way_does_not(
        request in any_request(),
        manner in any_manner(),
        change in 0_usize..5,
    ) {
        let body = request.body().clone();
        let mut parts = signed(request, &manner);
        let mut changed = body.clone();
        match change {
            0 => parts.method = http::Method::OPTIONS,
            1 => {
                let uri = parts.uri.to_string().replacen('/', "/y", 1);
                parts.uri = uri.parse().unwrap();
            }
            2 => {
                let more = if parts.uri.query().is_some() { '&' } else { '?' };
                parts.uri = format!("{}{more}zz=1", parts.uri).parse().unwrap();
            }
            3 => {
                let host = http::HeaderValue::from_static("other:4566");
                parts.headers.insert("host", host);
            }
            _ if manner.unsigned => {
                let odd = http::HeaderValue::from_static("1");
                parts.headers.insert("x-amz-odd", odd);
            }
            _ => changed.push(0),
        }
        prop_assert!(verify(&parts, &changed, SECRET).is_err());
    }

    #[test]
    fn nothing_that_comes_makes_it_panic(
        authorization in "(AWS4-HMAC-SHA256 |AWS |)[ -~]{0,80}",
        scope in "[a-zA-Z0-9/]{0,60}",
        date in "[0-9TZé]{0,18}",
        query in "[a-zA-Z0-9%&=+-]{0,80}",
        expires in "-?[0-9]{0,25}",
        hash in "[0-9a-fA-F]{0,70}",
    ) {
        let check = |uri: String, authorization: Option<&str>| {
            let Ok(mut request) = Request::builder().uri(uri).body(()) else { return };
            let headers = request.headers_mut();
            let mut put = |name: &'static str, value: &str| {
                if let Ok(value) = http::HeaderValue::from_str(value) {
                    headers.insert(name, value);
                }
            };
            if let Some(authorization) = authorization {
                put("authorization", authorization);
            }
            put("x-amz-date", &date);
            put("x-amz-content-sha256", &hash);
            let (parts, ()) = request.into_parts();
            let _ = verify(&parts, b"", SECRET);
        };
        check("/".to_owned(), Some(&authorization));
        let whole = format!(
            "AWS4-HMAC-SHA256 Credential={scope}/aws4_request, SignedHeaders=host, Signature={hash}"
        );
        check(format!("/?{query}"), Some(&whole));
        let presigned = format!(
            "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}&X-Amz-Date={date}\
             &X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature={hash}&{query}"
        );
        check(presigned, None);
    }
}

#[test]
fn values_are_told_apart_by_nothing_but_spaces() {
    let mut request = request("GET", "/a?b=c", b"");
    let headers = request.headers_mut();
    for value in ["  one   two ", "three"] {
        headers.append("x-said", http::HeaderValue::from_str(value).unwrap());
    }
    let text = canonical::headers(
        request.headers(),
        &["x-said".to_owned(), "x-none".to_owned()],
    );
    assert_eq!(text, b"x-said:one two,three\nx-none:\n");
}

fn check_times(service: &'static str, presigned: bool, offset_s: i64, expected: &str) {
    let parts = signed(
        request("GET", "/", b""),
        &Manner {
            presigned,
            ..manner(service)
        },
    );
    let signature = Signature::read(&parts).unwrap();
    let now_ms = NOW_S.checked_add_signed(offset_s).unwrap() * 1000;
    let verdict = match signature.check_time(now_ms) {
        Ok(()) => "holds".to_owned(),
        Err(problem) => problem.to_string(),
    };
    assert_eq!(verdict, expected, "{service} {presigned} {offset_s}");
}

#[test]
fn a_signature_holds_for_a_while() {
    for offset in [0, 300, -300] {
        check_times("lambda", false, offset, "holds");
        check_times("lambda", true, offset, "holds");
    }
    let old = "Signature expired: 20260101T000000Z is now earlier than 20260101T000001Z \
               (20260101T000501Z - 5 min.)";
    check_times("lambda", false, 301, old);
    check_times("lambda", true, 900, "holds");
    check_times("lambda", true, 901, "Request has expired");
    let early = "Signature not yet current: 20260101T000000Z is still later than \
                 20251231T235959Z (20251231T235459Z + 5 min.)";
    check_times("lambda", false, -301, early);
    check_times("lambda", true, -301, early);
    // S3 gives clocks more.
    check_times("s3", false, 900, "holds");
    let old = "Signature expired: 20260101T000000Z is now earlier than 20260101T000001Z \
               (20260101T001501Z - 15 min.)";
    check_times("s3", false, 901, old);
}

fn check_read(authorization: &str, expected: &str) {
    let request = Request::get("/").header("authorization", authorization);
    let request = request.header("x-amz-date", "20260101T000000Z");
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let verdict = match Signature::read(&parts) {
        Ok(_) => "read".to_owned(),
        Err(problem) => problem.to_string(),
    };
    assert!(verdict.contains(expected), "{authorization}: {verdict}");
}

#[test]
fn what_is_no_signature_is_told_so() {
    let scope = "Credential=key/20260101/us-east-1/lambda/aws4_request";
    let hash = "0".repeat(64);
    let v4 = |rest: &str| format!("AWS4-HMAC-SHA256 {rest}");
    check_read(
        &v4(&format!("{scope}, SignedHeaders=host, Signature={hash}")),
        "read",
    );
    check_read(
        &v4(&format!("{scope},SignedHeaders=host,Signature={hash}")),
        "read",
    );
    check_read(&v4(scope), "requires 'SignedHeaders'");
    check_read(
        &v4(&format!("{scope}, SignedHeaders=host")),
        "requires 'Signature'",
    );
    check_read(&v4("SignedHeaders=host"), "requires 'Credential'");
    check_read(
        &v4(&format!("{scope}, SignedHeaders=host, Signature=00")),
        "64 hexadecimal",
    );
    check_read(
        &v4(&format!("{scope}, SignedHeaders=date, Signature={hash}")),
        "'Host'",
    );
    check_read(
        &v4(&format!("{scope}, SignedHeaders=Host, Signature={hash}")),
        "lower case",
    );
    let other = scope.replace("20260101", "20260102");
    check_read(
        &v4(&format!("{other}, SignedHeaders=host, Signature={hash}")),
        "does not match",
    );
    check_read(
        "AWS4-ECDSA-P256-SHA256 Credential=a",
        "Please use AWS4-HMAC-SHA256",
    );
    check_read("AWS key:signature", "Please use AWS4-HMAC-SHA256");
    check_read("Bearer token", "Please use AWS4-HMAC-SHA256");
}

#[test]
fn a_week_is_the_longest_that_an_address_holds() {
    let parts = signed(
        request("GET", "/b/k", b""),
        &Manner {
            presigned: true,
            unsigned: true,
            ..manner("s3")
        },
    );
    let uri = parts.uri.to_string();
    for (given, expected) in [
        ("604800", "holds"),
        ("604801", "a week"),
        ("-1", "a week"),
        ("0", "a week"),
    ] {
        let uri = uri.replace("X-Amz-Expires=900", &format!("X-Amz-Expires={given}"));
        let (parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
        let verdict = match Signature::read(&parts) {
            Ok(_) => "holds".to_owned(),
            Err(problem) => problem.to_string(),
        };
        assert!(verdict.contains(expected), "{given}: {verdict}");
    }
}
