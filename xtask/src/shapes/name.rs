//! Names of the service models as Rust writes them.

/// Words that Rust keeps for itself.
const KEYWORDS: [&str; 6] = ["type", "ref", "match", "use", "where", "in"];

/// `KMSKeyArn` as `kms_key_arn`.
pub(super) fn field(name: &str) -> String {
    let snake = words(name).join("_").to_lowercase();
    if KEYWORDS.contains(&snake.as_str()) {
        return format!("r#{snake}");
    }
    snake
}

/// `ResourceNotFound` as `RESOURCE_NOT_FOUND`.
pub(super) fn constant(name: &str) -> String {
    words(name).join("_").to_uppercase()
}

/// `functionName` as `FunctionName`.
pub(super) fn kind(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// `nodejs4.3-edge` as `Nodejs4_3Edge`, `AWS_IAM` as `AwsIam`.
pub(super) fn variant(value: &str) -> String {
    let mut name = String::new();
    for word in value.split(|c: char| !c.is_ascii_alphanumeric()) {
        let is_digit = |c: char| c.is_ascii_digit();
        if name.ends_with(is_digit) && word.starts_with(is_digit) {
            name.push('_');
        }
        if word.chars().any(|c| c.is_ascii_lowercase()) {
            name.push_str(&kind(word));
        } else {
            name.push_str(&kind(&word.to_lowercase()));
        }
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, 'V');
    }
    name
}

fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.replace("IPv6", "Ipv6").chars().collect();
    let mut words = vec![String::new()];
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let after = letters.get(at + 1);
        let begins = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                !before.is_ascii_uppercase() || after.is_some_and(char::is_ascii_lowercase)
            });
        if (begins || !letter.is_ascii_alphanumeric())
            && words.last().is_some_and(|w| !w.is_empty())
        {
            words.push(String::new());
        }
        if letter.is_ascii_alphanumeric() {
            let word = words.pop().unwrap_or_default();
            words.push(format!("{word}{letter}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_rusts() {
        let fields = [
            ("FunctionName", "function_name"),
            ("KMSKeyArn", "kms_key_arn"),
            ("SourceKMSKeyArn", "source_kms_key_arn"),
            ("S3Bucket", "s3_bucket"),
            ("CodeSha256", "code_sha256"),
            ("UUID", "uuid"),
            ("Ipv6AllowedForDualStack", "ipv6_allowed_for_dual_stack"),
            ("logGroupName", "log_group_name"),
            ("Type", "r#type"),
        ];
        for (name, expected) in fields {
            assert_eq!(field(name), expected);
        }
        assert_eq!(constant("EC2AccessDenied"), "EC2_ACCESS_DENIED");
        assert_eq!(kind("tag"), "Tag");
        let variants = [
            ("nodejs4.3-edge", "Nodejs4_3Edge"),
            ("x86_64", "X86_64"),
            ("AWS_IAM", "AwsIam"),
            ("RequestResponse", "RequestResponse"),
            ("python3.12", "Python3_12"),
            ("java8.al2", "Java8Al2"),
        ];
        for (value, expected) in variants {
            assert_eq!(variant(value), expected);
        }
    }
}
