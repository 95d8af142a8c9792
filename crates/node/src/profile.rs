//! What AWS's tools would take here: a region and a key, from the environment, else from the
//! user's files.

use std::fmt;
use std::path::PathBuf;

/// The region that the environment or the profile in use chooses for AWS tools, if one does.
pub fn region_of_environment() -> Option<String> {
    variable("AWS_REGION")
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .or_else(|| {
            let text = file("AWS_CONFIG_FILE", ".aws/config")?;
            setting_in(&text, &profile(), "region")
        })
}

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The token of a session, where it is a session's.
    pub token: Option<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The key that the environment or the profile in use chooses for AWS tools, if one does.
pub fn key_of_environment() -> Option<Key> {
    if let (Some(id), Some(secret)) = (
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
    ) {
        let token = variable("AWS_SESSION_TOKEN");
        return Some(Key { id, secret, token });
    }
    let files = [
        file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
        file("AWS_CONFIG_FILE", ".aws/config"),
    ];
    let profile = profile();
    files.into_iter().flatten().find_map(|text| {
        let setting = |name| setting_in(&text, &profile, name);
        Some(Key {
            id: setting("aws_access_key_id")?,
            secret: setting("aws_secret_access_key")?,
            token: setting("aws_session_token"),
        })
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn profile() -> String {
    variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned())
}

/// The text of a file that a variable names, or that is in the user's home.
fn file(name: &str, at_home: &str) -> Option<String> {
    let path = variable(name).map(PathBuf::from);
    let path = path.or_else(|| Some(std::env::home_dir()?.join(at_home)))?;
    std::fs::read_to_string(path).ok()
}

/// A setting of a profile in the text of `~/.aws/config` or `~/.aws/credentials`.
fn setting_in(text: &str, profile: &str, setting: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines() {
        if let Some(section) = line.trim().strip_prefix('[') {
            let name = section.split(']').next().unwrap_or_default().trim();
            let name = name.strip_prefix("profile ").map_or(name, str::trim_start);
            inside = name == profile;
            continue;
        }
        // What is indented belongs to the setting above it.
        if !inside || line.starts_with([' ', '\t']) {
            continue;
        }
        if let Some((name, value)) = line.split_once('=')
            && name.trim() == setting
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_its_own_region() {
        let text = "\
[default]
output = json
region=eu-west-1
s3 =
  region = nowhere
[profile work]
region = us-west-2
[profile none]
";
        assert_eq!(
            setting_in(text, "default", "region").as_deref(),
            Some("eu-west-1")
        );
        assert_eq!(
            setting_in(text, "work", "region").as_deref(),
            Some("us-west-2")
        );
        assert_eq!(setting_in(text, "none", "region"), None);
        assert_eq!(setting_in(text, "other", "region"), None);
        let keys = "[default]\naws_access_key_id = AKIA\naws_secret_access_key=a/b+c=\n";
        let secret = setting_in(keys, "default", "aws_secret_access_key");
        assert_eq!(secret.as_deref(), Some("a/b+c="));
    }
}
