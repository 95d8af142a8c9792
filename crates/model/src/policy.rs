//! Statements of resource policies: whom they let do what.

use serde_json::Value;

use crate::id::AccountId;

/// Whether a statement, as JSON text, lets an account's callers do this (`lambda:InvokeFunction`
/// and their like). Conditions are not weighed: a statement that has any lets no account do
/// anything.
pub fn allows(statement: &str, account: &AccountId, action: &str) -> bool {
    let Ok(statement) = serde_json::from_str::<Value>(statement) else {
        return false;
    };
    let conditions = statement.get("Condition").and_then(Value::as_object);
    if statement.get("Effect").and_then(Value::as_str) != Some("Allow")
        || conditions.is_some_and(|conditions| !conditions.is_empty())
    {
        return false;
    }
    let principal = match statement.get("Principal") {
        Some(Value::String(text)) => text == "*",
        Some(Value::Object(kinds)) => kinds
            .get("AWS")
            .is_some_and(|named| any(named, |text| is_account(text, account))),
        _ => false,
    };
    let acts = |text: &str| text == "*" || text == "lambda:*" || text.eq_ignore_ascii_case(action);
    principal
        && statement
            .get("Action")
            .is_some_and(|named| any(named, acts))
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
fn is_account(text: &str, account: &AccountId) -> bool {
    let of_arn = || {
        let mut parts = text.strip_prefix("arn:aws:iam::")?.split(':');
        parts.next()
    };
    text == "*" || text == account.as_str() || of_arn() == Some(account.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(statement: &str, expected: bool) {
        let account = "123456789012".parse().unwrap();
        let allowed = allows(statement, &account, "lambda:InvokeFunction");
        assert_eq!(allowed, expected, "{statement}");
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
