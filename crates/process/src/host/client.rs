//! The aws CLI of this host, where it has one: whether it looks at `AWS_ENDPOINT_URL`.

use std::path::Path;

use super::{Finding, State};
use crate::interpreter;

/// The first versions that look at `AWS_ENDPOINT_URL`, by their major version (the AWS SDKs and
/// Tools Reference Guide, "Service-specific endpoints").
const FIRST: [(u32, u32); 2] = [(1, 29), (2, 13)];

/// What there is to say of the aws CLI on the search path; nothing where there is none. Blocks.
pub(super) fn aws_cli() -> Option<Finding> {
    let told = interpreter::run(Path::new("aws"), &["--version"], b"").ok()?;
    judge(&String::from_utf8(told).ok()?)
}

/// `told` is as `aws-cli/2.9.19 Python/3.11.2 Linux/6.1.0`.
fn judge(told: &str) -> Option<Finding> {
    let version = told.strip_prefix("aws-cli/")?.split_whitespace().next()?;
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let first = FIRST.iter().find(|(known, _)| *known == major);
    let looks = first.is_none_or(|(_, first)| minor >= *first);
    let (state, more, advice) = if looks {
        (State::Good, "", None)
    } else {
        let first = first.map_or(0, |(_, first)| *first);
        let advice = format!(
            "give it --endpoint-url http://127.0.0.1:4566 with each call, or upgrade to \
             {major}.{first} or newer; without that it calls AWS"
        );
        (State::Degraded, " ignores AWS_ENDPOINT_URL", Some(advice))
    };
    Some(Finding {
        what: "aws CLI".to_owned(),
        state,
        detail: format!("version {version}{more}"),
        advice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(told: &str, expected: Option<State>) {
        let found = judge(told);
        assert_eq!(found.as_ref().map(|it| it.state), expected, "{told}");
        let warned = found.is_some_and(|it| it.advice.is_some());
        assert_eq!(warned, expected == Some(State::Degraded));
    }

    #[test]
    fn old_ones_are_warned_of() {
        check(
            "aws-cli/2.9.19 Python/3.11.2 Linux/6.1.0 source/x86_64.debian.12 prompt/off\n",
            Some(State::Degraded),
        );
        check("aws-cli/2.13.0 Python/3.11.4", Some(State::Good));
        check("aws-cli/2.31.7 Python/3.13.7", Some(State::Good));
        check("aws-cli/1.46.3 Python/3.11.7", Some(State::Good));
        check("aws-cli/1.22.34 Python/3.10.4", Some(State::Degraded));
        check("aws-cli/3.0.0", Some(State::Good));
        check("aws 2.0", None);
        check("", None);
    }
}
