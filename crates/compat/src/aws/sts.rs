//! STS: who the caller is.

use http::request::Parts;
use http::{Response, StatusCode};

use super::unserved::{answer, query_error};
use super::{Aws, Caller, text};
use crate::Body;
use crate::body::collect;

/// Largest form of the query protocol, in bytes (ours; STS documents no limit).
const FORM_BYTES_MAX: usize = 256 * 1024;

impl Aws {
    pub(super) async fn sts(&self, caller: &Caller, request: &Parts, body: Body) -> Response<Body> {
        let id = caller.request_id.as_str();
        let form = match collect(body, FORM_BYTES_MAX).await {
            Ok(form) => String::from_utf8_lossy(&form).into_owned(),
            Err(error) => {
                let message = error.to_string();
                return query_error(StatusCode::BAD_REQUEST, "MalformedInput", &message, id);
            }
        };
        let query = request.uri.query().unwrap_or_default();
        let action = text::parameter(&form, "Action").or_else(|| text::parameter(query, "Action"));
        match action.as_deref() {
            Some("GetCallerIdentity") => identity(caller),
            Some(other) => {
                let message = format!("Could not find operation {other} for version 2011-06-15");
                query_error(StatusCode::BAD_REQUEST, "InvalidAction", &message, id)
            }
            None => query_error(
                StatusCode::BAD_REQUEST,
                "MissingAction",
                "Action is missing",
                id,
            ),
        }
    }
}

fn identity(caller: &Caller) -> Response<Body> {
    let Caller {
        account,
        request_id,
        ..
    } = caller;
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
         <GetCallerIdentityResult>\n    <Arn>arn:aws:iam::{account}:root</Arn>\n    \
         <UserId>{account}</UserId>\n    <Account>{account}</Account>\n  \
         </GetCallerIdentityResult>\n  <ResponseMetadata>\n    \
         <RequestId>{request_id}</RequestId>\n  </ResponseMetadata>\n</GetCallerIdentityResponse>\n"
    );
    answer(StatusCode::OK, "text/xml", body)
}
