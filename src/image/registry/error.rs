//! Why a registry operation failed, sorted by what a caller can do about it.

use crate::image::reference::{Registry, Repository, Tag};

/// The cause below an error.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a registry operation failed, sorted by what a caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry does not have it.
    #[error("{registry} could not {doing}: it is not there")]
    NotFound {
        /// The registry.
        registry: Registry,
        /// What was tried, with the reference.
        doing: String,
    },
    /// The registry wants another login, or the login may not do this. See [`Self::how_to_log_in`].
    #[error("{registry} did not allow to {doing}: {message}")]
    Unauthorized {
        /// The registry.
        registry: Registry,
        /// What was tried, with the reference.
        doing: String,
        /// The registry's words.
        message: String,
        /// The login could not even be had.
        #[source]
        source: Option<BoxError>,
    },
    /// The tag names another image and may not be moved.
    #[error("tag `{tag}` of {repository} names another image and is immutable")]
    TagImmutable {
        /// The repository.
        repository: Repository,
        /// The tag.
        tag: Tag,
    },
    /// What came is not what was asked for, or not what the registry itself announced.
    #[error("{registry} gave a wrong answer to an attempt to {doing}: {lie}")]
    Lied {
        /// The registry.
        registry: Registry,
        /// What was tried, with the reference.
        doing: String,
        /// What does not fit.
        lie: String,
    },
    /// It came intact, but packhorse cannot read it.
    #[error("{registry} holds something that packhorse cannot read: could not {doing}")]
    Unreadable {
        /// The registry.
        registry: Registry,
        /// What was tried, with the reference.
        doing: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The registry refused; trying again does not help.
    #[error("{registry} refused to {doing} (status {status}): {message}")]
    Refused {
        /// The registry.
        registry: Registry,
        /// What was tried, with the reference.
        doing: String,
        /// The HTTP status.
        status: u16,
        /// The registry's words.
        message: String,
    },
    /// No answer, or one that asks for patience; the retries are used up.
    #[error("{registry} did not answer an attempt to {doing}")]
    Unavailable {
        /// The registry.
        registry: Registry,
        /// What was tried, with the reference.
        doing: String,
        /// The last failure.
        #[source]
        source: BoxError,
    },
}

impl RegistryError {
    /// Returns what to do about a missing login.
    #[must_use]
    pub fn how_to_log_in(&self) -> Option<String> {
        match self {
            Self::Unauthorized { registry, .. } => Some(format!(
                "run `docker login {registry}`, or name a credential helper for it under `credHelpers` in docker's `config.json`"
            )),
            _ => None,
        }
    }
}

/// The longest text of a registry that an error repeats, in characters.
const LONGEST_MESSAGE: usize = 300;

/// What a registry says when it refuses.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Codes and messages, bounded and on one line.
    pub(super) message: String,
}

impl Said {
    /// Reads the error body of the distribution API, or takes any other text as it is.
    pub(super) fn read(body: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Body {
            errors: Vec<Entry>,
        }
        #[derive(serde::Deserialize)]
        struct Entry {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: Option<String>,
        }
        let Ok(body) = serde_json::from_slice::<Body>(body) else {
            return Self { message: one_line(&String::from_utf8_lossy(body)) };
        };
        let texts: Vec<String> = body
            .errors
            .iter()
            .map(|entry| match entry.message.as_deref() {
                Some(message) if !message.is_empty() => format!("{}: {message}", entry.code),
                _ => entry.code.clone(),
            })
            .collect();
        Self { message: one_line(&texts.join("; ")) }
    }

    /// Tells whether the refusal is about a tag that may not be moved, in the words of the
    /// registries that have such tags (ECR: code `TAG_INVALID`; Harbor, GitLab, Quay: in words).
    pub(super) fn is_about_an_immutable_tag(&self) -> bool {
        let text = self.message.to_ascii_lowercase();
        ["immutable", "cannot be overwritten", "imagetagalreadyexists"].iter().any(|words| text.contains(words))
    }

    /// Tells whether a login has run out: ECR answers 403 to a password older than twelve hours.
    pub(super) fn is_about_an_expired_login(&self) -> bool {
        let text = self.message.to_ascii_lowercase();
        text.contains("token has expired") || text.contains("reauthenticate")
    }
}

fn one_line(text: &str) -> String {
    let mut line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect();
    if text.trim().chars().nth(LONGEST_MESSAGE).is_some() {
        line.push('…');
    }
    if line.is_empty() {
        line.push_str("it gave no reason");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_registry_are_bounded_and_on_one_line() {
        let said = Said::read(br#"{"errors":[{"code":"DENIED","message":"no\nway"},{"code":"X"}]}"#);
        assert_eq!(said.message, "DENIED: no way; X");
        assert_eq!(Said::read("é".repeat(9000).as_bytes()).message.chars().count(), LONGEST_MESSAGE + 1);
        assert_eq!(Said::read(b"").message, "it gave no reason");
        assert_eq!(Said::read(b"<html>\r\n").message, "<html>");
    }
}
