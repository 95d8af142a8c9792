//! Resource policies of functions and layers, in the service's words.

use engine::Error;
use engine::verb::{Expected, Policy, Statement};
use http::{Response, StatusCode};
use model::{AccountId, FunctionRef, Qualifier, VersionId};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::error::{Refusal, kind};
use super::shapes::choice::FunctionUrlAuthType;
use super::shapes::*;
use super::{Ask, configuration, empty, invalid};
use crate::Body;
use crate::aws::Aws;

/// A statement as the service writes it, its members in the service's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Written<'a> {
    pub(super) sid: &'a str,
    pub(super) effect: &'static str,
    pub(super) principal: Who<'a>,
    pub(super) action: &'a str,
    pub(super) resource: String,
    #[serde(skip_serializing_if = "Conditions::is_empty")]
    pub(super) condition: Conditions<'a>,
}

/// Who may: everybody, a service or an account.
#[derive(Debug)]
pub(super) struct Who<'a>(pub(super) &'a str);

impl Serialize for Who<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text = self.0;
        if text == "*" {
            return to.serialize_str(text);
        }
        let (key, value) = if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            ("AWS", format!("arn:aws:iam::{text}:root"))
        } else if text.starts_with("arn:") {
            ("AWS", text.to_owned())
        } else {
            ("Service", text.to_owned())
        };
        to.collect_map([(key, value)])
    }
}

/// Operators, each with a key and a value.
#[derive(Debug, Default)]
pub(super) struct Conditions<'a>(Vec<(&'static str, &'static str, &'a str)>);

impl<'a> Conditions<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(
        &mut self,
        operator: &'static str,
        key: &'static str,
        value: Option<&'a str>,
    ) {
        self.0.extend(value.map(|value| (operator, key, value)));
    }
}

impl Serialize for Conditions<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut operators: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
        for (operator, key, value) in &self.0 {
            match operators.iter_mut().find(|(known, _)| known == operator) {
                Some((_, keys)) => keys.push((key, value)),
                None => operators.push((operator, vec![(key, value)])),
            }
        }
        struct Keys<'a>(Vec<(&'a str, &'a str)>);
        impl Serialize for Keys<'_> {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_map(self.0.iter().copied())
            }
        }
        to.collect_map(
            operators
                .into_iter()
                .map(|(operator, keys)| (operator, Keys(keys))),
        )
    }
}

/// A whole policy as the service writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Whole<'a> {
    version: &'static str,
    id: &'static str,
    statement: Vec<&'a RawValue>,
}

pub(super) fn whole(policy: &Policy) -> Result<String, Refusal> {
    let statements = policy.statements.iter();
    let statement = statements
        .map(|statement| serde_json::from_str(&statement.text))
        .collect::<Result<_, _>>()
        .map_err(|error| Refusal::ours(&error))?;
    let whole = Whole {
        version: "2012-10-17",
        id: "default",
        statement,
    };
    text(&whole)
}

pub(super) fn text(value: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string(value).map_err(|error| Refusal::ours(&error))
}

/// What tells of the policy of a function.
const POLICY_API: &str = "GetPolicy";

fn stale(api: &str) -> Refusal {
    let message = format!(
        "The Revision Id provided does not match the latest Revision Id. Call the {api} API to retrieve the latest Revision Id"
    );
    Refusal::new(kind::PRECONDITION_FAILED, message)
}

/// What a change expects of a policy, which one is told of by `api`.
pub(super) fn expected(
    policy: Option<&Policy>,
    name: &str,
    revision_id: Option<&str>,
    api: &str,
) -> Result<Expected, Refusal> {
    let revision = policy.map(|policy| policy.revision);
    match (revision_id, revision) {
        (None, _) => Ok(Expected::Anything),
        (Some(given), Some(now)) if given == configuration::counted_revision(name, now) => {
            Ok(Expected::Revision(now))
        }
        _ => Err(stale(api)),
    }
}

/// What an error of a change of a policy means; none where it is about something else.
pub(super) fn refusal(error: &Error, statement: &str, api: &str) -> Option<Refusal> {
    Some(match error {
        Error::AlreadyThere { .. } => Refusal::new(
            kind::RESOURCE_CONFLICT,
            format!(
                "The statement id ({statement}) provided already exists. Please provide a new statement id, or remove the existing statement."
            ),
        ),
        Error::NotThere { .. } => Refusal::new(
            kind::RESOURCE_NOT_FOUND,
            format!("Statement {statement} is not found in resource policy."),
        ),
        Error::Stale { .. } => stale(api),
        Error::TooMany { given, max, .. } => Refusal::new(
            kind::POLICY_LENGTH_EXCEEDED,
            format!("The final policy size ({given}) is bigger than the limit ({max})."),
        ),
        _ => return None,
    })
}

/// Of the kinds of nothing that the service tells apart, that of something without a policy.
pub(super) fn none_associated() -> Refusal {
    let message = "No policy is associated with the given resource.";
    Refusal::new(kind::RESOURCE_NOT_FOUND, message)
}

fn no_policy() -> Refusal {
    let message = "The resource you requested does not exist.";
    Refusal::new(kind::RESOURCE_NOT_FOUND, message)
}

/// Whether somebody can be meant: everybody, an account, a user or role, or a service.
fn is_principal(text: &str) -> bool {
    let service = |suffix| {
        let name = text.strip_suffix(suffix).unwrap_or_default();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        !name.is_empty() && name.bytes().all(fits)
    };
    text == "*"
        || text.parse::<AccountId>().is_ok()
        || is_arn_of_somebody(text)
        || SERVICES.into_iter().any(service)
}

/// What the names of services end in, as policies have them.
const SERVICES: [&str; 4] = [
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazon.com",
    ".aws.internal",
];

/// Whether this is the ARN of an account, a user, a role or a session.
fn is_arn_of_somebody(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    let begins =
        parts.next() == Some("arn") && parts.next().is_some_and(|it| it.starts_with("aws"));
    let of = matches!(parts.next(), Some("iam" | "sts")) && parts.next() == Some("");
    let account = parts
        .next()
        .is_some_and(|it| it.parse::<AccountId>().is_ok());
    begins && of && account && parts.next().is_some_and(|name| !name.is_empty())
}

impl Aws {
    pub(super) async fn add_permission(
        &self,
        ask: &Ask<'_>,
        request: AddPermissionRequest,
    ) -> Result<AddPermissionResponse, Refusal> {
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        if target.qualifier == Qualifier::Version(VersionId::Latest) {
            return Err(invalid(
                "We currently do not support adding policies for $LATEST.",
            ));
        }
        if !is_principal(&request.principal) {
            return Err(invalid(
                "The provided principal was invalid. Please check the principal and try again.",
            ));
        }
        if request.function_url_auth_type.is_some()
            && !request
                .action
                .eq_ignore_ascii_case(model::policy::INVOKE_URL)
        {
            return Err(invalid(
                "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
            ));
        }
        self.found_or_alias(ask, &target)?;
        let before = self.policy(&target)?;
        let arn = model::arn::reference(&target);
        let given = request.revision_id.as_deref();
        let expected = expected(before.as_ref(), &arn, given, POLICY_API)?;
        let mut condition = Conditions::default();
        let auth = request.function_url_auth_type.as_ref();
        condition.add(
            "StringEquals",
            "lambda:FunctionUrlAuthType",
            auth.map(FunctionUrlAuthType::as_str),
        );
        let source = request.source_account.as_deref();
        condition.add("StringEquals", "AWS:SourceAccount", source);
        let organization = request.principal_org_id.as_deref();
        condition.add("StringEquals", "aws:PrincipalOrgID", organization);
        let token = request.event_source_token.as_deref();
        condition.add("StringEquals", "lambda:EventSourceToken", token);
        condition.add("ArnLike", "AWS:SourceArn", request.source_arn.as_deref());
        let through_url = request.invoked_via_function_url;
        condition.add(
            "Bool",
            "lambda:InvokedViaFunctionUrl",
            through_url.map(|it| if it { "true" } else { "false" }),
        );
        let written = text(&Written {
            sid: &request.statement_id,
            effect: "Allow",
            principal: Who(&request.principal),
            action: &request.action,
            resource: arn,
            condition,
        })?;
        let statement = Statement {
            id: request.statement_id.clone(),
            text: written.clone(),
        };
        let who = ask.principal();
        let added = self.engine.permit(&who, &target, expected, statement).await;
        added.map_err(|error| {
            refusal(&error, &request.statement_id, POLICY_API)
                .unwrap_or_else(|| Refusal::of(&error, &target))
        })?;
        Ok(AddPermissionResponse {
            statement: Some(written),
        })
    }

    pub(super) async fn remove_permission(
        &self,
        ask: &Ask<'_>,
        request: RemovePermissionRequest,
    ) -> Result<Response<Body>, Refusal> {
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        self.found_or(ask, &target.function.unqualified(), || {
            let arn = model::arn::reference(&target);
            let message = format!("No policy found for: {arn}");
            Refusal::new(kind::RESOURCE_NOT_FOUND, message)
        })?;
        self.found_or_alias(ask, &target)?;
        let before = self.policy(&target)?.ok_or_else(none_associated)?;
        let arn = model::arn::reference(&target);
        let given = request.revision_id.as_deref();
        let expected = expected(Some(&before), &arn, given, POLICY_API)?;
        let (who, id) = (ask.principal(), &request.statement_id);
        let removed = self.engine.forbid(&who, &target, expected, id).await;
        removed.map_err(|error| {
            refusal(&error, id, POLICY_API).unwrap_or_else(|| Refusal::of(&error, &target))
        })?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) fn get_policy(
        &self,
        ask: &Ask<'_>,
        request: GetPolicyRequest,
    ) -> Result<GetPolicyResponse, Refusal> {
        let target = ask.target(&request.function_name, request.qualifier.as_deref())?;
        // A version or an alias that is not there has no policy, and nothing more is told.
        self.found(ask, &target.function.unqualified())?;
        let found = self.engine.policy(&target);
        let policy = found.ok().flatten().ok_or_else(no_policy)?;
        let arn = model::arn::reference(&target);
        Ok(GetPolicyResponse {
            policy: Some(whole(&policy)?),
            revision_id: Some(configuration::counted_revision(&arn, policy.revision)),
        })
    }

    fn policy(&self, target: &FunctionRef) -> Result<Option<Policy>, Refusal> {
        let policy = self.engine.policy(target);
        policy.map_err(|error| Refusal::of(&error, target))
    }
}
