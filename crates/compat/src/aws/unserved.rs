//! What requests are told that no service here answers, each in the form its client can read.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::text;
use crate::{Body, full};

/// Names the error of a JSON service.
pub(super) const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// A request for a service that is not served. `advice` is what to do about it.
pub(super) fn service(
    service: &str,
    request: &Parts,
    advice: &str,
    request_id: &str,
) -> Response<Body> {
    let asked = operation(request).map_or(String::new(), |name| format!(" (asked for {name})"));
    let message = format!("the service {service} is not served here yet{asked}{advice}");
    let code = "NotImplemented";
    let status = StatusCode::NOT_IMPLEMENTED;
    if is_cbor(request) {
        return cbor_error(status, "UnknownOperationException", &message);
    }
    match service {
        "s3" | "s3-control" | "s3express" => {
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
                 <Message>{}</Message><RequestId>{request_id}</RequestId></Error>",
                text::xml(&message)
            );
            answer(status, "application/xml", body)
        }
        "ec2" => {
            let body = format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>{}</Message></Error></Errors>\
                 <RequestID>{request_id}</RequestID></Response>\n",
                text::xml(&message)
            );
            answer(status, "text/xml", body)
        }
        "route53" | "cloudfront" => query_error(status, code, &message, request_id),
        _ if is_form(request) => query_error(status, code, &message, request_id),
        _ => json_error(status, "UnknownOperationException", &message),
    }
}

/// What is asked for, where a header or the path says it.
fn operation(request: &Parts) -> Option<&str> {
    let target = request.headers.get("x-amz-target");
    let target = target.and_then(|value| value.to_str().ok());
    target
        .map(|target| target.rsplit('.').next().unwrap_or(target))
        .or_else(|| {
            let path = request.uri.path().strip_prefix("/service/")?;
            Some(path.split_once("/operation/")?.1)
        })
}

fn is_cbor(request: &Parts) -> bool {
    let protocol = request.headers.get("smithy-protocol");
    protocol.is_some_and(|protocol| protocol == "rpc-v2-cbor")
}

/// An error of a service that speaks CBOR: a map of two texts (RFC 8949).
fn cbor_error(status: StatusCode, code: &'static str, message: &str) -> Response<Body> {
    const MAP_OF_TWO: u8 = 0xa2;
    const TEXT_WITH_LENGTH: u8 = 0x79;
    let mut body = vec![MAP_OF_TWO];
    for text in ["__type", code, "message", message] {
        // All are far shorter than what two bytes can say.
        let text = text.get(..usize::from(u16::MAX)).unwrap_or(text);
        body.push(TEXT_WITH_LENGTH);
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text.as_bytes());
    }
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/cbor");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    response
}

pub(super) fn is_form(request: &Parts) -> bool {
    let kind = request
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
}

/// An error of a query service (STS, IAM, CloudFormation and their like).
pub(super) fn query_error(
    status: StatusCode,
    code: &str,
    message: &str,
    request_id: &str,
) -> Response<Body> {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>\n",
        text::xml(message)
    );
    answer(status, "text/xml", body)
}

fn json_error(status: StatusCode, code: &'static str, message: &str) -> Response<Body> {
    let body = serde_json::json!({ "__type": code, "message": message }).to_string();
    let mut response = answer(status, "application/json", body);
    response
        .headers_mut()
        .insert(ERROR_TYPE, HeaderValue::from_static(code));
    response
}

/// A response of text.
pub(super) fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
