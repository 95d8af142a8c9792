//! STS: who the caller is, and credentials that end by themselves.

mod role;
#[rustfmt::skip]
mod shapes;

use std::time::Duration;

use engine::keys::{Identity, Who};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Method, Response};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::query::{Query, QueryError, VALIDATION, answered};
use super::shape::{Date, Kind};
use super::sigv4::{Problem, Protocol};
use super::unserved::is_form;
use super::{Access, Aws, Caller, text};
use crate::Body;
use role::Role;
use shapes::kind::MALFORMED_POLICY_DOCUMENT;
use shapes::operation::{Name, OPERATIONS};
use shapes::*;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

const INVALID_ACTION: Kind = Kind::new("InvalidAction", 400, "Message", false);
const ACCESS_DENIED: Kind = Kind::new("AccessDenied", 403, "Message", false);
const UNSERVED: Kind = Kind::new("NotImplemented", 501, "Message", false);

/// Longest session in a role, in seconds (AWS quota).
const ROLE_LASTS_S_MAX: u64 = 43_200;
/// Longest session in a role that somebody takes on who is in one, in seconds (AWS quota).
const CHAINED_LASTS_S_MAX: u64 = 3_600;
/// Longest session of an owner, in seconds (AWS quota, of its users).
const OWN_LASTS_S_MAX: u64 = 129_600;

/// Operations for callers that have no credentials yet: what they have instead is in the form (AWS
/// model).
const UNSIGNED: [Name; 2] = [Name::AssumeRoleWithSAML, Name::AssumeRoleWithWebIdentity];

/// Whether a request without a signature may be for one of these.
pub(super) fn may_be_unsigned(request: &Parts) -> bool {
    let query = request.uri.query().unwrap_or_default();
    request.uri.path() == "/"
        && !request.headers.contains_key(AUTHORIZATION)
        && (request.method == Method::POST && is_form(request)
            || text::parameter(query, "Action").is_some())
}

impl Aws {
    /// Answers such a request.
    pub(super) async fn sts_unsigned(
        &self,
        request: &Parts,
        body: Body,
        request_id: &str,
    ) -> Response<Body> {
        let refused = match Query::of(request, body).await {
            Ok(query) => query.action().and_then(|action| {
                let known = OPERATIONS.iter().find(|known| known.name == action);
                match known.filter(|known| UNSIGNED.contains(&known.is)) {
                    Some(_) => Err(unserved(action)),
                    None => Ok(()),
                }
            }),
            Err(error) => Err(error),
        };
        match refused {
            Err(error) => error.response(request_id),
            Ok(()) => Problem::Missing.response(Protocol::Query, request_id),
        }
    }

    pub(super) async fn sts(&self, caller: &Caller, request: &Parts, body: Body) -> Response<Body> {
        let answer = async {
            let query = Query::of(request, body).await?;
            self.act(caller, &query)
        };
        answer
            .await
            .unwrap_or_else(|error| error.response(caller.request_id.as_str()))
    }

    fn act(&self, caller: &Caller, query: &Query) -> Result<Response<Body>, QueryError> {
        let action = query.action()?;
        let Some(operation) = OPERATIONS.iter().find(|known| known.name == action) else {
            let message = format!("Could not find operation {action} for version 2011-06-15");
            return Err(QueryError::new(INVALID_ACTION, message));
        };
        match operation.is {
            Name::GetCallerIdentity => {
                let GetCallerIdentityRequest {} = query.read()?;
                let identity = caller_identity(&caller.identity);
                Ok(answered(action, NAMESPACE, caller, &identity))
            }
            Name::AssumeRole => {
                let assumed = self.assume_role(caller, &query.read()?)?;
                Ok(answered(action, NAMESPACE, caller, &assumed))
            }
            Name::GetSessionToken => {
                let session = self.get_session_token(caller, &query.read()?)?;
                Ok(answered(action, NAMESPACE, caller, &session))
            }
            _ => Err(unserved(action)),
        }
    }

    fn assume_role(
        &self,
        caller: &Caller,
        request: &AssumeRoleRequest,
    ) -> Result<AssumeRoleResponse, QueryError> {
        let role = Role::read(&request.role_arn)?;
        let lasts_s = lasts_s(
            request.duration_seconds,
            CHAINED_LASTS_S_MAX,
            ROLE_LASTS_S_MAX,
        )?;
        let chained = !matches!(caller.identity.who, Who::Owner);
        if chained && lasts_s > CHAINED_LASTS_S_MAX {
            return Err(QueryError::new(
                VALIDATION,
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed \
                 by role chaining.",
            ));
        }
        let anybody = self.settings.access == Access::Anybody;
        if !anybody && role.account != caller.account {
            let (own, other) = (arn(&caller.identity), &role.arn);
            return Err(denied(format!(
                "User: {own} is not authorized to perform: sts:AssumeRole on resource: {other}"
            )));
        }
        if let Some(policy) = &request.policy {
            check_policy(policy)?;
        }
        let policies = request.policy.is_some()
            || request
                .policy_arns
                .as_ref()
                .is_some_and(|all| !all.is_empty());
        if !anybody && policies {
            return Err(denied(
                "session policies have no effect here yet: without one the session may do what \
                 its account may",
            ));
        }
        let identity = Identity {
            account: role.account,
            key: caller.identity.key.clone(),
            who: Who::Role {
                role: role.name,
                session: request.role_session_name.clone(),
            },
        };
        Ok(AssumeRoleResponse {
            credentials: Some(self.credentials(&identity, lasts_s)),
            assumed_role_user: Some(AssumedRoleUser {
                assumed_role_id: Some(user_id(&identity)),
                arn: Some(arn(&identity)),
            }),
            ..AssumeRoleResponse::default()
        })
    }

    fn get_session_token(
        &self,
        caller: &Caller,
        request: &GetSessionTokenRequest,
    ) -> Result<GetSessionTokenResponse, QueryError> {
        if caller.identity.who != Who::Owner {
            return Err(denied(
                "Cannot call GetSessionToken with session credentials",
            ));
        }
        let lasts_s = lasts_s(request.duration_seconds, ROLE_LASTS_S_MAX, OWN_LASTS_S_MAX)?;
        Ok(GetSessionTokenResponse {
            credentials: Some(self.credentials(&caller.identity, lasts_s)),
            ..GetSessionTokenResponse::default()
        })
    }

    fn credentials(&self, identity: &Identity, lasts_s: u64) -> Credentials {
        let given = self
            .engine
            .keys()
            .issue(identity, Duration::from_secs(lasts_s));
        Credentials {
            access_key_id: Some(given.access_key),
            secret_access_key: Some(given.secret.reveal().to_owned()),
            session_token: Some(given.token),
            expiration: Some(Date {
                ms: i64::try_from(given.expires_ms).unwrap_or(i64::MAX),
            }),
        }
    }
}

/// Refuses what is no policy at all: a session policy must be one even where it has no effect.
fn check_policy(text: &str) -> Result<(), QueryError> {
    let malformed = |message| QueryError::new(MALFORMED_POLICY_DOCUMENT, message);
    let policy: Value = serde_json::from_str(text)
        .map_err(|_| malformed("The policy is not in the valid JSON format."))?;
    match policy.get("Statement") {
        Some(Value::Object(_)) => Ok(()),
        Some(Value::Array(statements)) if statements.iter().all(Value::is_object) => Ok(()),
        _ => Err(malformed("Syntax errors in policy.")),
    }
}

fn unserved(action: &str) -> QueryError {
    let message = format!("the operation {action} of STS is not served here yet");
    QueryError::new(UNSERVED, message)
}

fn denied(message: impl Into<String>) -> QueryError {
    QueryError::new(ACCESS_DENIED, message)
}

/// How long a session is to last, in seconds; the service model's own bounds hold already.
fn lasts_s(given: Option<i32>, default: u64, max: u64) -> Result<u64, QueryError> {
    match given.map(|given| u64::try_from(given).unwrap_or_default()) {
        None => Ok(default),
        Some(seconds) if seconds <= max => Ok(seconds),
        Some(seconds) => Err(QueryError::new(
            VALIDATION,
            format!(
                "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to \
                 satisfy constraint: Member must have value less than or equal to {max}"
            ),
        )),
    }
}

fn caller_identity(identity: &Identity) -> GetCallerIdentityResponse {
    GetCallerIdentityResponse {
        user_id: Some(user_id(identity)),
        account: Some(identity.account.to_string()),
        arn: Some(arn(identity)),
    }
}

/// What a caller is called.
pub(super) fn arn(identity: &Identity) -> String {
    let account = &identity.account;
    match &identity.who {
        Who::Owner => format!("arn:aws:iam::{account}:root"),
        Who::Role { role, session } => {
            format!("arn:aws:sts::{account}:assumed-role/{role}/{session}")
        }
        Who::Instance { role, function, .. } => {
            let session = &function.name;
            format!("arn:aws:sts::{account}:assumed-role/{role}/{session}")
        }
    }
}

/// The caller's id.
pub(super) fn user_id(identity: &Identity) -> String {
    let of_role = |role: &str, session: &str| {
        format!("{}:{session}", role_id(identity.account.as_str(), role))
    };
    match &identity.who {
        Who::Owner => identity.account.to_string(),
        Who::Role { role, session } => of_role(role, session),
        Who::Instance { role, function, .. } => of_role(role, function.name.as_str()),
    }
}

/// The id of a role: `AROA` and seventeen more, always the same for the same role.
fn role_id(account: &str, role: &str) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(format!("{account}/{role}"));
    let letters = digest.iter().take(17);
    let letters = letters.map(|byte| char::from(LETTERS[usize::from(byte & 31)]));
    "AROA".chars().chain(letters).collect()
}

#[cfg(test)]
mod tests;
