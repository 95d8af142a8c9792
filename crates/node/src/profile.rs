//! The region that AWS tools would take here: from the environment, else from the user's file.

use std::path::PathBuf;

/// The region that the environment or the profile in use chooses for AWS tools, if one does.
pub fn region_of_environment() -> Option<String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    variable("AWS_REGION")
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .or_else(|| {
            let file = variable("AWS_CONFIG_FILE")
                .map(PathBuf::from)
                .or_else(|| Some(std::env::home_dir()?.join(".aws/config")))?;
            let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
            region_in(&std::fs::read_to_string(file).ok()?, &profile)
        })
}

/// The region of a profile in the text of `~/.aws/config`.
fn region_in(text: &str, profile: &str) -> Option<String> {
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
            && name.trim() == "region"
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
        assert_eq!(region_in(text, "default").as_deref(), Some("eu-west-1"));
        assert_eq!(region_in(text, "work").as_deref(), Some("us-west-2"));
        assert_eq!(region_in(text, "none"), None);
        assert_eq!(region_in(text, "other"), None);
    }
}
