//! STS: who the caller is.

#[rustfmt::skip]
mod shapes;

use http::Response;
use http::request::Parts;

use super::query::{Query, QueryError, answered};
use super::shape::Kind;
use super::{Aws, Caller};
use crate::Body;
use shapes::operation::{Name, OPERATIONS};
use shapes::{GetCallerIdentityRequest, GetCallerIdentityResponse};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

const INVALID_ACTION: Kind = Kind::new("InvalidAction", 400, "Message", false);
const UNSERVED: Kind = Kind::new("NotImplemented", 501, "Message", false);

impl Aws {
    pub(super) async fn sts(&self, caller: &Caller, request: &Parts, body: Body) -> Response<Body> {
        let answer = async {
            let query = Query::of(request, body).await?;
            act(caller, &query)
        };
        answer.await.unwrap_or_else(|error| error.response(caller))
    }
}

fn act(caller: &Caller, query: &Query) -> Result<Response<Body>, QueryError> {
    let action = query.action()?;
    let Some(operation) = OPERATIONS.iter().find(|known| known.name == action) else {
        let message = format!("Could not find operation {action} for version 2011-06-15");
        return Err(QueryError::new(INVALID_ACTION, message));
    };
    match operation.is {
        Name::GetCallerIdentity => {
            let answer = caller_identity(caller, &query.read()?);
            answered(action, NAMESPACE, caller, &answer)
        }
        _ => {
            let message = format!("the operation {action} of STS is not served here yet");
            Err(QueryError::new(UNSERVED, message))
        }
    }
}

fn caller_identity(caller: &Caller, _: &GetCallerIdentityRequest) -> GetCallerIdentityResponse {
    let account = &caller.account;
    GetCallerIdentityResponse {
        user_id: Some(account.to_string()),
        account: Some(account.to_string()),
        arn: Some(format!("arn:aws:iam::{account}:root")),
    }
}
