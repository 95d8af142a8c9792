//! Names that lead to the platform inside sandboxes, whoever else has them outside: those of the
//! cloud whose functions run here, so that hosts which a program has wired in come home too.

/// What such names end in, apart from `localhost`: service endpoints, those of the China
/// partition, both again for IPv6 beside IPv4, and hosts of function URLs.
pub const SUFFIXES: [&str; 5] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "api.aws",
    "api.amazonwebservices.com.cn",
    "on.aws",
];

/// The name of this host, and what names of its own programs end in.
pub const LOCALHOST: &str = "localhost";

/// Labels in front of a service's own that say how it is reached, and not which it is.
const MANNERS: [&str; 2] = ["fips", "dualstack"];

/// Whose a name is, as seen in a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// This host's: `localhost` and names below it.
    Localhost,
    /// One of the cloud's, which is for the platform to answer.
    Cloud,
}

/// Whose a host name is, in any case and with or without the dot at its end; nobody's here where
/// it is one of the outside.
pub fn of(name: &str) -> Option<Home> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.eq_ignore_ascii_case(LOCALHOST) || is_below(name, LOCALHOST) {
        return Some(Home::Localhost);
    }
    let cloud = SUFFIXES.iter().any(|suffix| is_below(name, suffix));
    cloud.then_some(Home::Cloud)
}

/// The service that a name of the cloud's is an endpoint of, by the name that signatures have for
/// it where the host's tells that; in lower case.
///
/// The forms are `SERVICE.REGION.SUFFIX`, `SERVICE.SUFFIX`, and either with more in front of it,
/// such as a bucket or an account.
pub fn service_of(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let suffix = SUFFIXES.iter().find(|suffix| is_below(&name, suffix))?;
    let before = name.get(..name.len() - suffix.len() - 1)?;
    let mut labels = before.rsplit('.').filter(|label| !label.is_empty());
    let last = labels.next()?;
    let found = if is_region(last) {
        labels
            .find(|label| !MANNERS.contains(label))
            .unwrap_or(last)
    } else {
        last
    };
    Some(signing_name(found).to_owned())
}

/// Some endpoints are not called by the name that their service signs with.
fn signing_name(label: &str) -> &str {
    let label = label.strip_suffix("-fips").unwrap_or(label);
    // It had its region in the same label once.
    if label.strip_prefix("s3-").is_some_and(is_region) {
        return "s3";
    }
    match label {
        "email" => "ses",
        "queue" => "sqs",
        "lambda-url" => "lambda",
        label => label,
    }
}

/// Such as `us-east-1` or `us-gov-west-1`.
fn is_region(label: &str) -> bool {
    let mut parts = label.split('-');
    let area = parts.next().unwrap_or_default();
    let number = parts.next_back().unwrap_or_default();
    area.len() == 2
        && area.bytes().all(|byte| byte.is_ascii_lowercase())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && parts.clone().count() >= 1
        && parts.all(|part| part.bytes().all(|byte| byte.is_ascii_lowercase()))
}

fn is_below(name: &str, suffix: &str) -> bool {
    let start = name.len().checked_sub(suffix.len());
    let Some((before, end)) = start.and_then(|start| name.split_at_checked(start)) else {
        return false;
    };
    end.eq_ignore_ascii_case(suffix) && before.len() > 1 && before.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_cloud_and_of_this_host_lead_home() {
        for name in [
            "lambda.us-east-1.amazonaws.com",
            "LAMBDA.us-east-1.AmazonAWS.com.",
            "sts.amazonaws.com",
            "sqs.cn-north-1.amazonaws.com.cn",
            "lambda.eu-west-1.api.aws",
            "abc.lambda-url.us-east-1.on.aws",
        ] {
            assert_eq!(of(name), Some(Home::Cloud), "{name}");
        }
        for name in ["localhost", "LocalHost.", "a.localhost", "a.b.localhost."] {
            assert_eq!(of(name), Some(Home::Localhost), "{name}");
        }
    }

    #[test]
    fn names_that_only_look_so_are_somebody_elses() {
        for name in [
            "",
            ".",
            "..",
            "amazonaws.com",
            ".amazonaws.com",
            "evilamazonaws.com",
            "x.evilamazonaws.com",
            "amazonaws.com.evil.org",
            "lambda.amazonaws.com.evil.org",
            "notlocalhost",
            "localhost.evil.org",
            "aws",
            "xon.aws",
            "amazon.com",
            "ä.localhosté",
            "éamazonaws.com",
        ] {
            assert_eq!(of(name), None, "{name}");
            assert_eq!(service_of(name), None, "{name}");
        }
    }

    #[test]
    fn endpoints_tell_their_service() {
        for (name, service) in [
            ("lambda.us-east-1.amazonaws.com", "lambda"),
            ("lambda-fips.us-gov-west-1.amazonaws.com", "lambda"),
            ("lambda.us-east-1.api.aws", "lambda"),
            ("sts.amazonaws.com", "sts"),
            ("logs.ap-southeast-2.amazonaws.com.", "logs"),
            ("DynamoDB.us-east-1.amazonaws.com", "dynamodb"),
            ("sqs.cn-north-1.amazonaws.com.cn", "sqs"),
            ("queue.amazonaws.com", "sqs"),
            ("us-east-1.queue.amazonaws.com", "sqs"),
            ("s3.amazonaws.com", "s3"),
            ("s3-eu-west-1.amazonaws.com", "s3"),
            ("my.bucket.s3.eu-west-1.amazonaws.com", "s3"),
            ("bucket.s3.dualstack.eu-west-1.amazonaws.com", "s3"),
            ("s3-fips.dualstack.us-east-1.amazonaws.com", "s3"),
            ("s3-control.eu-west-1.amazonaws.com", "s3-control"),
            ("email.us-east-1.amazonaws.com", "ses"),
            ("a.lambda-url.us-east-1.on.aws", "lambda"),
            ("db.x.us-east-1.rds.amazonaws.com", "rds"),
            ("checkip.amazonaws.com", "checkip"),
            ("us-east-1.amazonaws.com", "us-east-1"),
        ] {
            assert_eq!(service_of(name).as_deref(), Some(service), "{name}");
        }
    }
}
