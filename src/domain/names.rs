//! The identifiers and units that everything else speaks in.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a valid name; the message names the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
    value: String,
}

impl InvalidName {
    pub(crate) fn new(what: &'static str, rule: &'static str, value: &str) -> Self {
        Self { what, rule, value: value.chars().take(80).collect() }
    }
}

/// The name of an app or of a pipeline.
///
/// Letters, digits and hyphens, at most 63 characters, as it becomes part of stack names, host names and
/// Parameter Store paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

impl AppName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        const RULE: &str = "use 1 to 63 letters, digits or hyphens, beginning with a letter";
        let valid = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidName::new("an app name", RULE, text)) }
    }
}

/// The number of a pull request, written bare (`123`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PullRequest(NonZeroU32);

impl PullRequest {
    /// Reads CodeBuild's source version `pr/123`.
    ///
    /// # Errors
    /// Fails when the text has another form.
    pub fn from_source_version(text: &str) -> Result<Self, InvalidName> {
        text.strip_prefix("pr/")
            .ok_or_else(|| InvalidName::new("a pull request", "it must begin with `pr/`", text))?
            .parse()
    }

    /// Returns the form used in tags of stacks, `pr123`.
    pub fn stack_tag(self) -> String {
        format!("pr{}", self.0)
    }

    /// Returns the form used in Parameter Store paths and task tags, `pr/123`.
    pub fn source_version(self) -> String {
        format!("pr/{}", self.0)
    }
}

impl fmt::Display for PullRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PullRequest {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        text.parse().map(Self).map_err(|_| InvalidName::new("a pull request", "use its number, such as `123`", text))
    }
}

/// The number of a build: its CodeBuild project's own counter, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BuildNumber(pub u64);

impl fmt::Display for BuildNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BuildNumber {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.parse() {
            Ok(number) if number > 0 => Ok(Self(number)),
            _ => Err(InvalidName::new("a build number", "use a whole number from 1", text)),
        }
    }
}

/// A point in time, whole seconds since 1970-01-01 UTC, the unit of every stored time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EpochSeconds(pub u64);

impl EpochSeconds {
    /// Returns the moment `seconds` later.
    #[must_use]
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Returns the seconds from `earlier` to this moment, 0 when `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The type of a process, such as `web` or `worker`.
///
/// The rule is that of the buildpack launcher: letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessType(String);

impl ProcessType {
    /// Returns the type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this is the process that receives HTTP requests.
    pub fn is_web(&self) -> bool {
        self.0 == "web"
    }
}

impl FromStr for ProcessType {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        const RULE: &str = "use letters, digits, `.`, `_` or `-`";
        let valid = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidName::new("a process type", RULE, text)) }
    }
}

/// The ARN of a CodeBuild build, `arn:aws:codebuild:{region}:{account}:build/{project}:{uuid}`.
///
/// Clients split it at `/` and read part 1 as the build id, so one without a slash is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BuildArn(String);

impl BuildArn {
    /// Returns the ARN as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id that CodeBuild's API takes, `{project}:{uuid}`.
    pub fn build_id(&self) -> &str {
        self.0.split('/').nth(1).unwrap_or_default()
    }
}

impl FromStr for BuildArn {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        const RULE: &str = "it must have the form `arn:…:build/PROJECT:ID`";
        let id = text.strip_prefix("arn:").and_then(|rest| rest.split_once(":build/")).map(|(_, id)| id);
        match id {
            Some(id) if id.contains(':') && !id.contains('/') => Ok(Self(text.to_owned())),
            _ => Err(InvalidName::new("a build ARN", RULE, text)),
        }
    }
}

/// Gives a text newtype its conversions.
macro_rules! text_name {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    )+};
}

text_name!(AppName, ProcessType, BuildArn);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_request_is_read_from_its_source_version() {
        let pull_request = PullRequest::from_source_version("pr/123").unwrap();
        assert_eq!(pull_request.to_string(), "123");
        assert_eq!(pull_request.source_version(), "pr/123");
        for text in ["123", "pr/", "pr/0", "pr/1/2", "refs/heads/main"] {
            assert!(PullRequest::from_source_version(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_build_id_is_what_follows_the_slash() {
        let arn: BuildArn = "arn:aws:codebuild:us-east-1:111122223333:build/shop:6b0e7c1a".parse().unwrap();
        assert_eq!(arn.build_id(), "shop:6b0e7c1a");
        assert!("shop:6b0e7c1a".parse::<BuildArn>().is_err());
    }

    #[test]
    fn an_app_name_fits_into_a_stack_name() {
        assert!("shop-2".parse::<AppName>().is_ok());
        for text in ["", "2shop", "shop/x", "shop:1", "schöner-laden", &"a".repeat(64)] {
            assert!(text.parse::<AppName>().is_err(), "{text}");
        }
    }
}
