//! ARNs of functions: the written form of a reference, shown in logs, contexts and answers.

use crate::id::{
    AccountId, FunctionId, FunctionRef, InvalidName, LayerId, LayerVersionId, LogGroupId,
    Qualifier, Region,
};

/// `arn:aws:lambda:REGION:ACCOUNT:function:NAME`.
pub fn function(id: &FunctionId) -> String {
    let (region, account, name) = (id.region.as_str(), id.account.as_str(), id.name.as_str());
    // Every invocation is told its own, so that it is put together without looking at a form.
    ["arn:aws:lambda:", region, ":", account, ":function:", name].concat()
}

/// The function's ARN with the qualifier that the caller gave, where one was given.
pub fn reference(target: &FunctionRef) -> String {
    let base = function(&target.function);
    match &target.qualifier {
        Qualifier::Absent => base,
        Qualifier::Version(version) => format!("{base}:{version}"),
        Qualifier::Alias(alias) => format!("{base}:{alias}"),
    }
}

/// `arn:aws:lambda:REGION:ACCOUNT:layer:NAME`.
pub fn layer(id: &LayerId) -> String {
    format!(
        "arn:aws:lambda:{}:{}:layer:{}",
        id.region, id.account, id.name
    )
}

/// `arn:aws:lambda:REGION:ACCOUNT:layer:NAME:NUMBER`.
pub fn layer_version(id: &LayerVersionId) -> String {
    format!("{}:{}", layer(&id.layer), id.number)
}

/// `arn:aws:logs:REGION:ACCOUNT:log-group:NAME`.
pub fn log_group(id: &LogGroupId) -> String {
    format!(
        "arn:aws:logs:{}:{}:log-group:{}",
        id.region, id.account, id.name
    )
}

/// Reads a log group's name or ARN, which may end with `:*`.
pub fn parse_log_group(
    text: &str,
    account: &AccountId,
    region: &Region,
) -> Result<LogGroupId, InvalidName> {
    let Some(arn) = text.strip_prefix("arn:") else {
        return Ok(LogGroupId {
            account: account.clone(),
            region: region.clone(),
            name: text.parse()?,
        });
    };
    let arn = arn.strip_suffix(":*").unwrap_or(arn);
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        [partition, "logs", region, account, "log-group", name] if partition.starts_with("aws") => {
            Ok(LogGroupId {
                account: account.parse()?,
                region: region.parse()?,
                name: name.parse()?,
            })
        }
        _ => Err(InvalidName {
            kind: "log group reference",
            value: text.chars().take(200).collect(),
            rule: "a name or a log group's ARN",
        }),
    }
}

/// Reads a layer's name or ARN, with the number that follows where one does.
pub fn parse_layer(
    text: &str,
    account: &AccountId,
    region: &Region,
) -> Result<(LayerId, Option<u64>), InvalidName> {
    let invalid = || InvalidName {
        kind: "layer reference",
        value: text.chars().take(200).collect(),
        rule: "a name or a layer's ARN, with or without a version number",
    };
    let own = |name: &str| {
        Ok(LayerId {
            account: account.clone(),
            region: region.clone(),
            name: name.parse()?,
        })
    };
    let Some(arn) = text.strip_prefix("arn:") else {
        return Ok((own(text)?, None));
    };
    let parts: Vec<&str> = arn.split(':').collect();
    let (partition, region, account, name, number) = match parts.as_slice() {
        [partition, "lambda", region, account, "layer", name] => {
            (partition, region, account, name, None)
        }
        [partition, "lambda", region, account, "layer", name, number] => {
            (partition, region, account, name, Some(number))
        }
        _ => return Err(invalid()),
    };
    if !partition.starts_with("aws") {
        return Err(invalid());
    }
    let number = match number.map(|number| number.parse::<u64>()) {
        None => None,
        Some(Ok(number)) if number > 0 => Some(number),
        Some(_) => return Err(invalid()),
    };
    let layer = LayerId {
        account: account.parse()?,
        region: region.parse()?,
        name: name.parse()?,
    };
    Ok((layer, number))
}

/// Reads a reference in any of its written forms: a name, a partial ARN
/// (`ACCOUNT:function:NAME`) or a whole one, each with or without a qualifier. What the text
/// leaves out is taken from `account` and `region`.
pub fn parse(text: &str, account: &AccountId, region: &Region) -> Result<FunctionRef, InvalidName> {
    let invalid = || InvalidName {
        kind: "function reference",
        value: text.chars().take(200).collect(),
        rule: "a name, name:qualifier, ACCOUNT:function:NAME or a function's ARN",
    };
    let mut id_account = account.clone();
    let mut id_region = region.clone();
    let mut rest = text;
    if let Some(arn) = text.strip_prefix("arn:") {
        let (partition, after) = arn.split_once(':').ok_or_else(invalid)?;
        rest = after.strip_prefix("lambda:").ok_or_else(invalid)?;
        if !partition.starts_with("aws") {
            return Err(invalid());
        }
    }
    // Each part may only be what it looks like while another follows it: the last is the name.
    if let Some((first, after)) = rest.split_once(':')
        && looks_like_region(first)
    {
        id_region = first.parse()?;
        rest = after;
    }
    if let Some((first, after)) = rest.split_once(':')
        && let Ok(named) = first.parse()
    {
        id_account = named;
        rest = after;
    }
    if let Some(after) = rest.strip_prefix("function:") {
        rest = after;
    }
    let (name, qualifier) = match rest.split_once(':') {
        Some((name, qualifier)) => (name, qualifier.parse()?),
        None => (rest, Qualifier::Absent),
    };
    let name = name.parse()?;
    Ok(FunctionRef {
        function: FunctionId {
            account: id_account,
            region: id_region,
            name,
        },
        qualifier,
    })
}

/// Two letters, words, and one digit: `eu-west-1`, `us-gov-east-1`.
fn looks_like_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let country = parts.next().is_some_and(|part| part.len() == 2);
    let number = parts
        .next_back()
        .is_some_and(|part| part.len() == 1 && part.bytes().all(|b| b.is_ascii_digit()));
    let mut words = parts.peekable();
    country
        && number
        && words.peek().is_some()
        && words.all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let account = "000000000000".parse().unwrap();
        let region = "us-east-1".parse().unwrap();
        let parsed = parse(text, &account, &region).map(|target| reference(&target));
        let shown = parsed.as_deref().unwrap_or("invalid");
        assert_eq!(
            shown.trim_start_matches("arn:aws:lambda:"),
            expected,
            "{text}"
        );
    }

    #[test]
    fn references_are_read_in_every_written_form() {
        check("hello", "us-east-1:000000000000:function:hello");
        check("hello:7", "us-east-1:000000000000:function:hello:7");
        check(
            "hello:$LATEST",
            "us-east-1:000000000000:function:hello:$LATEST",
        );
        check("hello:live", "us-east-1:000000000000:function:hello:live");
        check("function:hello", "us-east-1:000000000000:function:hello");
        check(
            "123456789012:function:hello",
            "us-east-1:123456789012:function:hello",
        );
        check(
            "arn:aws:lambda:eu-west-1:123456789012:function:hello:live",
            "eu-west-1:123456789012:function:hello:live",
        );
    }

    #[test]
    fn layers_are_read_by_name_and_by_arn() {
        let account = "000000000000".parse().unwrap();
        let region = "us-east-1".parse().unwrap();
        let read = |text: &str| {
            let (layer, number) = parse_layer(text, &account, &region).ok()?;
            Some(match number {
                None => super::layer(&layer),
                Some(number) => layer_version(&LayerVersionId { layer, number }),
            })
        };
        let whole = "arn:aws:lambda:eu-west-1:123456789012:layer:tools:3";
        assert_eq!(read(whole).as_deref(), Some(whole));
        assert_eq!(
            read("tools").as_deref(),
            Some("arn:aws:lambda:us-east-1:000000000000:layer:tools")
        );
        for wrong in [
            "",
            "a/b",
            "arn:aws:lambda:eu-west-1:123456789012:layer:tools:0",
            "arn:aws:s3:::b",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn log_groups_are_read_by_name_and_by_arn() {
        let account = "000000000000".parse().unwrap();
        let region = "us-east-1".parse().unwrap();
        let read = |text: &str| {
            let group = parse_log_group(text, &account, &region).ok()?;
            Some(super::log_group(&group))
        };
        let whole = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/hello";
        assert_eq!(read(whole).as_deref(), Some(whole));
        assert_eq!(read(&format!("{whole}:*")).as_deref(), Some(whole));
        assert_eq!(
            read("mine").as_deref(),
            Some("arn:aws:logs:us-east-1:000000000000:log-group:mine")
        );
        for wrong in [
            "",
            "a b",
            "arn:aws:logs:eu-west-1:123456789012:mine",
            "arn:",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            ":",
            "a:b:c:d",
            "arn:aws:s3:::bucket",
            "arn:aws:lambda",
            "a/b",
            "hello:",
        ] {
            check(text, "invalid");
        }
    }
}
