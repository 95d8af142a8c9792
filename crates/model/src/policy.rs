//! Statements of resource policies: whom they let do what, and under which conditions.

use serde_json::{Map, Value};

use crate::function::UrlAuth;
use crate::id::AccountId;

/// What somebody wants to do, as far as statements speak of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The account on whose behalf; none of a caller that nobody knows.
    pub account: Option<&'a AccountId>,
    /// The action, such as `lambda:InvokeFunction`.
    pub action: &'a str,
    /// Whom the function URL answers that it comes in through, if it does.
    pub url: Option<UrlAuth>,
}

/// The action of whoever comes in through a function URL.
pub const INVOKE_URL: &str = "lambda:InvokeFunctionUrl";
/// The action of whoever else invokes.
pub const INVOKE: &str = "lambda:InvokeFunction";

/// The id of the statement that opens a function's own URL to everybody, as the vendor's console
/// names it.
pub const PUBLIC_URL: &str = "FunctionURLAllowPublicAccess";

/// That statement, as JSON text, for a function with this ARN.
pub fn public_url(arn: &str) -> String {
    // Members in the vendor's order, which a map of values would not keep.
    let arn = Value::from(arn);
    format!(
        r#"{{"Sid":"{PUBLIC_URL}","Effect":"Allow","Principal":"*","Action":"{INVOKE_URL}","Resource":{arn},"Condition":{{"StringEquals":{{"{AUTH_TYPE}":"NONE"}}}}}}"#
    )
}

const AUTH_TYPE: &str = "lambda:FunctionUrlAuthType";
const THROUGH_URL: &str = "lambda:InvokedViaFunctionUrl";

/// Whether a statement, as JSON text, lets somebody do what is asked. Of conditions those are
/// weighed that speak of function URLs; one that speaks of anything else is never met.
pub fn allows(statement: &str, asked: &Asked<'_>) -> bool {
    let Ok(statement) = serde_json::from_str::<Value>(statement) else {
        return false;
    };
    let conditions = match statement.get("Condition") {
        None => true,
        Some(Value::Object(conditions)) => are_met(conditions, asked),
        Some(_) => false,
    };
    if statement.get("Effect").and_then(Value::as_str) != Some("Allow") || !conditions {
        return false;
    }
    let named = |text: &str| is_account(text, asked.account);
    let principal = match statement.get("Principal") {
        Some(Value::String(text)) => text == "*",
        Some(Value::Object(kinds)) => kinds.get("AWS").is_some_and(|it| any(it, named)),
        _ => false,
    };
    let action = asked.action;
    let acts = |text: &str| text == "*" || text == "lambda:*" || text.eq_ignore_ascii_case(action);
    principal
        && statement
            .get("Action")
            .is_some_and(|named| any(named, acts))
}

/// Whether all conditions are met: operators, each with keys and what they must be.
fn are_met(conditions: &Map<String, Value>, asked: &Asked<'_>) -> bool {
    conditions.iter().all(|(operator, keys)| {
        let Value::Object(keys) = keys else {
            return false;
        };
        keys.iter().all(|(key, wanted)| {
            let actual = match (operator.as_str(), key.as_str()) {
                ("StringEquals", key) if key.eq_ignore_ascii_case(AUTH_TYPE) => {
                    asked.url.map(UrlAuth::as_str)
                }
                ("Bool", key) if key.eq_ignore_ascii_case(THROUGH_URL) => {
                    Some(if asked.url.is_some() { "true" } else { "false" })
                }
                _ => None,
            };
            actual.is_some_and(|actual| any(wanted, |wanted| wanted == actual))
        })
    })
}

/// Whether it is so of a text, or of one in a list.
fn any(value: &Value, so: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => so(text),
        Value::Array(several) => several.iter().filter_map(Value::as_str).any(so),
        _ => false,
    }
}

/// `*`, the account's id, or an ARN of somebody in it.
fn is_account(text: &str, account: Option<&AccountId>) -> bool {
    let of_arn = || {
        let mut parts = text.strip_prefix("arn:aws:iam::")?.split(':');
        parts.next()
    };
    let named =
        |account: &AccountId| text == account.as_str() || of_arn() == Some(account.as_str());
    text == "*" || account.is_some_and(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(statement: &str, expected: bool) {
        let account = "123456789012".parse().unwrap();
        let asked = Asked {
            account: Some(&account),
            action: INVOKE,
            url: None,
        };
        assert_eq!(allows(statement, &asked), expected, "{statement}");
    }

    #[test]
    fn urls_are_open_to_whom_a_statement_with_their_conditions_names() {
        let asked = |account, url| Asked {
            account,
            action: INVOKE_URL,
            url,
        };
        let account: AccountId = "123456789012".parse().unwrap();
        let nobody = asked(None, Some(UrlAuth::Nobody));
        let known = asked(Some(&account), Some(UrlAuth::Signed));
        let own = public_url("arn:aws:lambda:us-east-1:000000000000:function:f");
        assert!(serde_json::from_str::<Value>(&own).is_ok(), "{own}");
        assert!(allows(&own, &nobody) && !allows(&own, &known));
        assert!(!allows(&own, &asked(None, None)));
        let other = Asked {
            action: INVOKE,
            ..nobody
        };
        assert!(!allows(&own, &other));
        let with = |principal: &str, condition: &str| {
            format!(
                r#"{{"Effect":"Allow","Principal":{principal},"Action":"{INVOKE_URL}","Condition":{condition}}}"#
            )
        };
        let signed = r#"{"StringEquals":{"lambda:FunctionUrlAuthType":"AWS_IAM"}}"#;
        let to_account = with(r#"{"AWS":"123456789012"}"#, signed);
        assert!(allows(&to_account, &known) && !allows(&to_account, &nobody));
        let through = |it: &str| {
            with(
                "\"*\"",
                &format!(r#"{{"Bool":{{"lambda:InvokedViaFunctionUrl":"{it}"}}}}"#),
            )
        };
        assert!(allows(&through("true"), &nobody) && !allows(&through("false"), &nobody));
        for odd in [
            "1",
            "[]",
            r#"{"StringEquals":1}"#,
            r#"{"StringEquals":{"aws:a":"b"}}"#,
            r#"{"StringLike":{"lambda:FunctionUrlAuthType":"NONE"}}"#,
        ] {
            assert!(!allows(&with("\"*\"", odd), &nobody), "{odd}");
        }
    }

    #[test]
    fn accounts_may_what_a_statement_says() {
        let with = |principal: &str, action: &str, more: &str| {
            format!(r#"{{"Effect":"Allow","Principal":{principal},"Action":{action}{more}}}"#)
        };
        let invoke = r#""lambda:InvokeFunction""#;
        check(&with(r#""*""#, invoke, ""), true);
        check(&with(r#"{"AWS":"123456789012"}"#, invoke, ""), true);
        check(
            &with(r#"{"AWS":["arn:aws:iam::123456789012:root"]}"#, invoke, ""),
            true,
        );
        check(
            &with(
                r#"{"AWS":"arn:aws:iam::123456789012:root"}"#,
                r#"["lambda:*"]"#,
                "",
            ),
            true,
        );
        check(&with(r#"{"AWS":"000000000000"}"#, invoke, ""), false);
        check(
            &with(r#"{"Service":"s3.amazonaws.com"}"#, invoke, ""),
            false,
        );
        check(&with(r#""*""#, r#""lambda:GetFunction""#, ""), false);
        check(
            &with(
                r#""*""#,
                invoke,
                r#","Condition":{"StringEquals":{"a":"b"}}"#,
            ),
            false,
        );
    }

    #[test]
    fn what_is_no_statement_allows_nothing() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"Effect":"Deny","Principal":"*","Action":"*"}"#,
        ] {
            check(text, false);
        }
    }
}
