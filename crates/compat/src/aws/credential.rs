//! The credential scope of a signature: who signed, for which region and service. It verifies
//! nothing.

use http::header::AUTHORIZATION;
use http::request::Parts;

use super::text;

/// What a signature says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) access_key: String,
    pub(super) region: String,
    pub(super) service: String,
}

impl Credential {
    /// The scope in the Authorization header or in the query of a presigned URL.
    pub(super) fn of(request: &Parts) -> Option<Self> {
        if let Some(header) = request.headers.get(AUTHORIZATION) {
            let rest = header.to_str().ok()?.strip_prefix("AWS4-")?;
            let (_, after) = rest.split_once("Credential=")?;
            return Self::read(after.split([',', ' ']).next()?);
        }
        let query = request.uri.query()?;
        text::parameter(query, "X-Amz-Signature")?;
        Self::read(&text::parameter(query, "X-Amz-Credential")?)
    }

    /// `KEY/DATE/REGION/SERVICE/aws4_request`; a key may itself hold slashes.
    fn read(scope: &str) -> Option<Self> {
        let mut parts = scope.rsplitn(5, '/');
        let (end, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (_date, access_key) = (parts.next()?, parts.next()?);
        let sound = end == "aws4_request" && !service.is_empty() && !access_key.is_empty();
        sound.then(|| Self {
            access_key: access_key.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, authorization: &str, expected: &str) {
        let mut request = http::Request::get(uri);
        if !authorization.is_empty() {
            request = request.header(AUTHORIZATION, authorization);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let shown = Credential::of(&parts)
            .map(|found| format!("{} {} {}", found.access_key, found.region, found.service));
        assert_eq!(
            shown.as_deref().unwrap_or("none"),
            expected,
            "{uri} {authorization}"
        );
    }

    #[test]
    fn scopes_are_read_wherever_they_are() {
        let header = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/lambda/aws4_request, \
                      SignedHeaders=host, Signature=00";
        check("/", header, "test eu-west-1 lambda");
        let scope = "123456789012%2F20260101%2Fus-east-1%2Fs3%2Faws4_request";
        let presigned = format!("/b/k?X-Amz-Credential={scope}&X-Amz-Signature=00");
        check(&presigned, "", "123456789012 us-east-1 s3");
    }

    #[test]
    fn what_is_no_signature_is_none() {
        check("/", "", "none");
        check("/", "Bearer token", "none");
        check("/", "AWS4-HMAC-SHA256 Credential=a/b", "none");
        check("/?X-Amz-Credential=a/b/c/d/aws4_request", "", "none");
    }
}
