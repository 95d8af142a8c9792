//! What requests are told that no service here answers, each in the form its client can read.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::text;
use crate::{Body, full};

/// Names the error of a JSON service.
pub(super) const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// A control call without any signature.
pub(super) fn unsigned(request: &Parts, request_id: &str) -> Response<Body> {
    let message = "Missing Authentication Token";
    if is_form(request) {
        return query_error(
            StatusCode::FORBIDDEN,
            "MissingAuthenticationToken",
            message,
            request_id,
        );
    }
    json_error(
        StatusCode::FORBIDDEN,
        "MissingAuthenticationTokenException",
        message,
    )
}

/// A signed request for a service that is not served.
pub(super) fn service(service: &str, request: &Parts, request_id: &str) -> Response<Body> {
    let target = request
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let operation = target.map_or(String::new(), |target| {
        format!(
            " (asked for {})",
            target.rsplit('.').next().unwrap_or(target)
        )
    });
    let message = format!("the service {service} is not served here yet{operation}");
    if service == "s3" {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NotImplemented</Code>\
             <Message>{}</Message><RequestId>{request_id}</RequestId></Error>",
            text::xml(&message)
        );
        return answer(StatusCode::NOT_IMPLEMENTED, "application/xml", body);
    }
    if is_form(request) {
        return query_error(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            &message,
            request_id,
        );
    }
    json_error(
        StatusCode::NOT_IMPLEMENTED,
        "UnknownOperationException",
        &message,
    )
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
