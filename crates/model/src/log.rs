//! Names of log groups and streams that the platform gives, and how long a group may keep events.

use crate::id::{FunctionId, FunctionName, InstanceId, LogGroupId, LogGroupName, VersionId};

/// What the groups of functions are called where their authors choose no other name.
pub(crate) const OF_FUNCTIONS: &str = "/aws/lambda/";

/// Days that a group may keep events (CloudWatch Logs API reference).
pub const RETENTION_DAYS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// The name of a function's group: its author's own, if that is one.
pub fn group_name(function: &FunctionName, declared: Option<&str>) -> LogGroupName {
    let own = declared.and_then(|own| own.parse().ok());
    own.unwrap_or_else(|| LogGroupName::of_function(function))
}

/// The function that a group is named after.
pub fn function_of(group: &LogGroupId) -> Option<FunctionId> {
    let name = group.name.as_str().strip_prefix(OF_FUNCTIONS)?;
    Some(FunctionId {
        account: group.account.clone(),
        region: group.region.clone(),
        name: name.parse().ok()?,
    })
}

/// The stream of an instance that was started at that time, in milliseconds since the Unix epoch:
/// `YYYY/MM/DD/[VERSION]INSTANCE`.
pub fn stream_name(at_ms: u64, version: VersionId, instance: &InstanceId) -> String {
    let (year, month, day) = date(at_ms / 86_400_000);
    format!("{year:04}/{month:02}/{day:02}/[{version}]{instance}")
}

/// Year, month and day of a day since 1970, which was one of an era of 400 years that begins on
/// the first of March of the year 0.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 {
        march_based + 3
    } else {
        march_based - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_819, (2027, 1, 1)),
            (20_818, (2026, 12, 31)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }

    #[test]
    fn groups_are_named_after_functions_unless_their_author_says_otherwise() {
        let hello = "hello".parse().unwrap();
        let name = |declared| group_name(&hello, declared).to_string();
        assert_eq!(name(None), "/aws/lambda/hello");
        assert_eq!(name(Some("/mine")), "/mine");
        assert_eq!(name(Some("no name")), "/aws/lambda/hello");
        let group = |name: &str| LogGroupId {
            account: "000000000000".parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
            name: name.parse().unwrap(),
        };
        let named = |name: &str| function_of(&group(name)).map(|it| it.name.to_string());
        assert_eq!(named("/aws/lambda/hello").as_deref(), Some("hello"));
        assert_eq!(named("/mine"), None);
        assert_eq!(named("/aws/lambda/a/b"), None);
    }

    #[test]
    fn streams_are_named_after_instances() {
        let instance = InstanceId::from_random([0xab; 16]);
        let name = stream_name(1_767_225_600_000, VersionId::Latest, &instance);
        assert_eq!(name, format!("2026/01/01/[$LATEST]{instance}"));
        assert!(name.parse::<crate::LogStreamName>().is_ok());
    }
}
