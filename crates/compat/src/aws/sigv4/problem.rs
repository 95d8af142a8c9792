//! What is wrong with a signature, and the one table of how each family of services says so.

use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};

use super::super::text;
use super::super::unserved::{ERROR_TYPE, answer, is_form, query_error};
use super::EXPIRES_MAX;
use super::stamp::Stamp;
use crate::Body;

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Problem {
    #[error("Missing Authentication Token")]
    Missing,
    #[error("{0}")]
    Incomplete(String),
    #[error(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
    )]
    Unsupported,
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error("The security token included in the request is invalid")]
    InvalidToken,
    #[error("The security token included in the request is expired")]
    ExpiredToken,
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
    #[error("There were headers present in the request which were not signed: {0}")]
    NotSigned(String),
    #[error("Signature expired: {at} is now earlier than {limit} ({now} - {skew} min.)",
        limit = now.minus(*skew), skew = skew.as_secs() / 60)]
    TooOld {
        at: Stamp,
        now: Stamp,
        skew: Duration,
    },
    #[error("Signature not yet current: {at} is still later than {limit} ({now} + {skew} min.)",
        limit = now.plus(*skew), skew = skew.as_secs() / 60)]
    NotYet {
        at: Stamp,
        now: Stamp,
        skew: Duration,
    },
    #[error("Request has expired")]
    Expired {
        at: Stamp,
        expires: Duration,
        now: Stamp,
    },
    #[error("Missing required header for this request: x-amz-content-sha256")]
    NoPayload,
    #[error(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, or a valid sha256 value."
    )]
    OddPayload,
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    OtherPayload,
    #[error("A header you provided implies functionality that is not implemented")]
    Chunked,
    #[error("Request must be smaller than {max} bytes")]
    TooLarge { max: usize },
    #[error("Please reduce your request rate.")]
    NoRoom,
    #[error("The request body terminated unexpectedly")]
    Broken,
}

/// A family of services with one way to write errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Protocol {
    /// JSON behind paths, as Lambda has it.
    RestJson,
    /// JSON behind `X-Amz-Target`.
    Json,
    /// Forms, answered with XML.
    Query,
    /// S3's own XML.
    S3,
}

/// Services that take forms, whatever a request of theirs looks like.
const QUERY_SERVICES: [&str; 6] = ["sts", "iam", "cloudformation", "sns", "ec2", "monitoring"];

impl Protocol {
    /// That of a request for a service.
    pub(in super::super) fn of(service: &str, request: &Parts) -> Self {
        if matches!(service, "s3" | "s3express" | "s3-object-lambda") {
            Self::S3
        } else if request.headers.contains_key("x-amz-target") {
            Self::Json
        } else if service == "lambda" {
            Self::RestJson
        } else if is_form(request) || QUERY_SERVICES.contains(&service) {
            Self::Query
        } else {
            Self::RestJson
        }
    }
}

impl Problem {
    pub(super) fn incomplete(text: &str) -> Self {
        Self::Incomplete(text.to_owned())
    }

    /// One word for programs, as a service of this family writes it.
    pub(in super::super) fn code(&self, protocol: Protocol) -> &'static str {
        use Protocol::{Query, S3};
        match (self, protocol) {
            (Self::Missing, S3) => "AccessDenied",
            (Self::Missing, Query) => "MissingAuthenticationToken",
            (Self::Missing, _) => "MissingAuthenticationTokenException",
            (Self::Incomplete(_), S3) => "AuthorizationHeaderMalformed",
            (Self::Incomplete(_), Query) => "IncompleteSignature",
            (Self::Incomplete(_), _) => "IncompleteSignatureException",
            (Self::Unsupported, S3) => "InvalidRequest",
            (Self::Unsupported, Query) => "IncompleteSignature",
            (Self::Unsupported, _) => "IncompleteSignatureException",
            (Self::UnknownKey, S3) => "InvalidAccessKeyId",
            (Self::InvalidToken, S3) => "InvalidToken",
            (Self::UnknownKey | Self::InvalidToken, Query) => "InvalidClientTokenId",
            (Self::UnknownKey | Self::InvalidToken, _) => "UnrecognizedClientException",
            (Self::ExpiredToken, S3 | Query) => "ExpiredToken",
            (Self::ExpiredToken, _) => "ExpiredTokenException",
            (Self::Mismatch, S3 | Query) => "SignatureDoesNotMatch",
            (Self::NotSigned(_), S3) => "AccessDenied",
            (Self::NotSigned(_) | Self::OtherPayload, Query) => "SignatureDoesNotMatch",
            (Self::TooOld { .. } | Self::NotYet { .. }, S3) => "RequestTimeTooSkewed",
            (Self::TooOld { .. } | Self::NotYet { .. }, Query) => "SignatureDoesNotMatch",
            (Self::Expired { .. }, S3) => "AccessDenied",
            (Self::Expired { .. }, Query) => "RequestExpired",
            (Self::OtherPayload, S3) => "XAmzContentSHA256Mismatch",
            (
                Self::Mismatch
                | Self::NotSigned(_)
                | Self::TooOld { .. }
                | Self::NotYet { .. }
                | Self::Expired { .. }
                | Self::OtherPayload,
                _,
            ) => "InvalidSignatureException",
            (Self::NoPayload, _) => "InvalidRequest",
            (Self::OddPayload, _) => "InvalidArgument",
            (Self::Chunked, _) => "NotImplemented",
            (Self::TooLarge { .. }, S3) => "EntityTooLarge",
            (Self::TooLarge { .. }, _) => "RequestTooLargeException",
            (Self::NoRoom, S3) => "SlowDown",
            (Self::NoRoom, _) => "ThrottlingException",
            (Self::Broken, S3) => "IncompleteBody",
            (Self::Broken, _) => "MalformedInput",
        }
    }

    /// Its status, as a service of this family gives it.
    pub(in super::super) fn status(&self, protocol: Protocol) -> StatusCode {
        match (self, protocol) {
            (Self::TooLarge { .. }, _) => StatusCode::PAYLOAD_TOO_LARGE,
            (Self::NoRoom, _) => StatusCode::SERVICE_UNAVAILABLE,
            (Self::Chunked, _) => StatusCode::NOT_IMPLEMENTED,
            (Self::Broken | Self::NoPayload | Self::OddPayload, _) | (_, Protocol::Json) => {
                StatusCode::BAD_REQUEST
            }
            (Self::Incomplete(_) | Self::Unsupported, Protocol::S3 | Protocol::Query) => {
                StatusCode::BAD_REQUEST
            }
            (Self::InvalidToken | Self::ExpiredToken | Self::OtherPayload, Protocol::S3)
            | (Self::Expired { .. }, Protocol::Query) => StatusCode::BAD_REQUEST,
            _ => StatusCode::FORBIDDEN,
        }
    }

    fn words(&self, protocol: Protocol) -> String {
        match (self, protocol) {
            (Self::Missing, Protocol::S3) => "Access Denied".to_owned(),
            (Self::Missing, Protocol::Query) => {
                "Request is missing Authentication Token".to_owned()
            }
            (Self::UnknownKey, Protocol::S3) => {
                "The AWS Access Key Id you provided does not exist in our records.".to_owned()
            }
            (Self::InvalidToken, Protocol::S3) => {
                "The provided token is malformed or otherwise invalid.".to_owned()
            }
            (Self::ExpiredToken, Protocol::S3) => "The provided token has expired.".to_owned(),
            (Self::Mismatch, Protocol::S3) => {
                "The request signature we calculated does not match the signature you provided. \
                 Check your key and signing method."
                    .to_owned()
            }
            (Self::TooOld { .. } | Self::NotYet { .. }, Protocol::S3) => {
                "The difference between the request time and the current time is too large."
                    .to_owned()
            }
            (Self::Expired { at, expires, now }, Protocol::RestJson | Protocol::Json) => {
                let limit = at.plus(*expires);
                format!("Signature expired: {limit} is now earlier than {now}")
            }
            _ => self.to_string(),
        }
    }

    /// The refusal, in a form that a client of the service can read.
    pub(in super::super) fn response(
        &self,
        protocol: Protocol,
        request_id: &str,
    ) -> Response<Body> {
        let (status, code) = (self.status(protocol), self.code(protocol));
        let words = self.words(protocol);
        let json = |body: serde_json::Value, kind| {
            let mut response = answer(status, kind, body.to_string());
            let headers = response.headers_mut();
            headers.insert(ERROR_TYPE, HeaderValue::from_static(code));
            response
        };
        match protocol {
            Protocol::RestJson => json(serde_json::json!({ "message": words }), "application/json"),
            Protocol::Json => {
                let body = serde_json::json!({ "__type": code, "message": words });
                json(body, "application/x-amz-json-1.1")
            }
            Protocol::Query => query_error(status, code, &words, request_id),
            Protocol::S3 => {
                let body = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
                     <Message>{}</Message>{}<RequestId>{request_id}</RequestId></Error>",
                    text::xml(&words),
                    self.details()
                );
                answer(status, "application/xml", body)
            }
        }
    }

    /// What S3 tells besides.
    fn details(&self) -> String {
        match self {
            Self::TooOld { at, now, skew } | Self::NotYet { at, now, skew } => {
                let (at, now, max) = (at.text(), now.iso(), skew.as_millis());
                format!(
                    "<RequestTime>{at}</RequestTime><ServerTime>{now}</ServerTime>\
                     <MaxAllowedSkewMilliseconds>{max}</MaxAllowedSkewMilliseconds>"
                )
            }
            Self::Expired { at, expires, now } => {
                let expires = (*expires).min(EXPIRES_MAX);
                let (end, seconds, now) = (at.plus(expires).iso(), expires.as_secs(), now.iso());
                format!(
                    "<X-Amz-Expires>{seconds}</X-Amz-Expires><Expires>{end}</Expires>\
                     <ServerTime>{now}</ServerTime>"
                )
            }
            Self::NotSigned(names) => {
                format!("<HeadersNotSigned>{}</HeadersNotSigned>", text::xml(names))
            }
            _ => String::new(),
        }
    }
}
