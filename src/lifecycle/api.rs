//! Versions of the Buildpack API and of the Platform API.
//!
//! The launcher has this file as well.

use std::fmt;
use std::str::FromStr;

/// The Platform API as which this lifecycle behaves; app images carry it as `CNB_PLATFORM_API`.
pub const PLATFORM_API: &str = "0.15";

/// A version of one of the two APIs, `major.minor`; `major` alone means minor 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    major: u32,
    minor: u32,
}

impl ApiVersion {
    /// The oldest Buildpack API that is accepted.
    pub const OLDEST: Self = Self::new(0, 7);
    /// `CNB_PLATFORM_DIR` and its like are set; a process may have a working directory.
    pub const DIRECTORIES_IN_ENV: Self = Self::new(0, 8);
    /// Commands are lists and processes always direct.
    pub const LIST_COMMANDS: Self = Self::new(0, 9);
    /// `CNB_TARGET_*` are set.
    pub const TARGETS: Self = Self::new(0, 10);
    /// `CNB_EXEC_ENV` is set, and buildpacks say for which they are meant.
    pub const EXEC_ENV: Self = Self::new(0, 12);
    /// The newest Buildpack API that is accepted.
    pub const NEWEST: Self = Self::new(0, 12);

    /// Returns a version.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Tells whether this lifecycle can run buildpacks of this version of the Buildpack API.
    pub fn is_supported(self) -> bool {
        (Self::OLDEST..=Self::NEWEST).contains(&self)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A text is not a version of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidApi(String);

impl fmt::Display for InvalidApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not parse `{}` as an API version: it is written `major.minor`", self.0)
    }
}

impl std::error::Error for InvalidApi {}

impl FromStr for ApiVersion {
    type Err = InvalidApi;

    fn from_str(text: &str) -> Result<Self, InvalidApi> {
        let number = |digits: &str| {
            let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            valid.then(|| digits.parse().ok()).flatten()
        };
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        match (number(major), number(minor)) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(InvalidApi(text.chars().take(80).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_and_not_by_text() {
        let api = |text: &str| text.parse::<ApiVersion>().unwrap();
        assert!(api("0.10") > api("0.9"));
        assert_eq!(api("1"), api("1.0"));
        for (text, supported) in [("0.6", false), ("0.7", true), ("0.12", true), ("0.13", false), ("1", false)] {
            assert_eq!(api(text).is_supported(), supported, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_versions() {
        for text in ["", "0.", ".1", "0.1.2", "v0.1", "-1", "0.-1", "+0.1", "99999999999.0"] {
            assert!(text.parse::<ApiVersion>().is_err(), "{text}");
        }
    }
}
