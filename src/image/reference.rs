//! Image references: `registry[:port]/repository[:tag][@digest]`.
//!
//! The grammar is that of the distribution project's reference package, which Docker, pack and
//! the Go lifecycle follow, Docker Hub's short names included.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, DigestError};

const HUB: &str = "docker.io";
const HUB_OFFICIAL: &str = "library/";
/// The longest repository name with its registry, set by the distribution project.
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

/// A registry's host and, where it is not the usual one, port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Registry(String);

impl Registry {
    /// Returns `host[:port]` as it stands in references; Docker Hub is `docker.io`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host without the port and without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        if let Some(rest) = self.0.strip_prefix('[') {
            return rest.split(']').next().unwrap_or(rest);
        }
        self.0.split(':').next().unwrap_or(&self.0)
    }

    /// Tells whether this is Docker Hub, whose names differ between its API, its logins and references.
    #[must_use]
    pub fn is_docker_hub(&self) -> bool {
        self.0 == HUB
    }

    /// Tells whether the host is this machine itself, where registries speak plain HTTP.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host.eq_ignore_ascii_case("localhost")
            || host.ends_with(".localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Registry {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = || ReferenceError::Registry(shortened(text));
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or_else(wrong)?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                let port = match after {
                    "" => None,
                    _ => Some(after.strip_prefix(':').ok_or_else(wrong)?),
                };
                (None, port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (Some(host), Some(port)),
                None => (Some(text), None),
            },
        };
        let label = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if host.is_some_and(|host| !host.split('.').all(label)) {
            return Err(wrong());
        }
        if let Some(port) = port {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            if !digits || port.parse::<u16>().is_err() {
                return Err(wrong());
            }
        }
        Ok(Self(match text {
            "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
            _ => text.to_owned(),
        }))
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A repository in a registry, without tag or digest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    registry: Registry,
    path: String,
}

impl Repository {
    /// Returns the registry that holds the repository.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the path inside the registry, as its API spells it (`library/debian`).
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the reference to `tag` here.
    #[must_use]
    pub fn tagged(&self, tag: Tag) -> ImageReference {
        ImageReference { repository: self.clone(), tag: Some(tag), digest: None }
    }

    /// Returns the reference to `digest` here.
    #[must_use]
    pub fn at(&self, digest: Digest) -> ImageReference {
        ImageReference { repository: self.clone(), tag: None, digest: Some(digest) }
    }

    /// Returns the name with nothing left out, `docker.io/library/debian`.
    #[must_use]
    pub fn full(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let reference: ImageReference = text.parse()?;
        match reference {
            ImageReference { repository, tag: None, digest: None } => Ok(repository),
            _ => Err(ReferenceError::NotARepository(shortened(text))),
        }
    }
}

/// The familiar form: Docker Hub's `docker.io/` and `library/` are left out.
impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.registry.is_docker_hub() {
            return write!(f, "{}/{}", self.registry, self.path);
        }
        match self.path.strip_prefix(HUB_OFFICIAL) {
            // Without `library/`, a first part that reads like a host would be taken for one.
            Some(rest) if !rest.contains('/') => f.write_str(rest),
            _ if self.path.split('/').next().is_some_and(reads_like_a_registry) => f.write_str(&self.full()),
            _ => f.write_str(&self.path),
        }
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tag: 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// Returns the tag that an image has when none is named.
    #[must_use]
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// Returns the text of the tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a tag out of any text, a branch name for example.
    ///
    /// What a tag may not hold becomes `-`, and it is cut to the longest length. Different texts
    /// may meet in one tag: use it where that is harmless, as for caches.
    #[must_use]
    pub fn approximating(text: &str) -> Self {
        let mut tag: String = text.chars().map(|c| if is_tag_byte(c) { c } else { '-' }).take(LONGEST_TAG).collect();
        if tag.is_empty() {
            tag.push('_');
        } else if tag.starts_with(['.', '-']) {
            tag.replace_range(..1, "_");
        }
        Self(tag)
    }
}

fn is_tag_byte(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fits = !text.is_empty() && text.len() <= LONGEST_TAG;
        if !fits || text.starts_with(['.', '-']) || !text.chars().all(is_tag_byte) {
            return Err(ReferenceError::Tag(shortened(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Tag {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image by name: its repository, and a tag, a digest, both or neither.
///
/// Two spellings of one image (`debian`, `docker.io/library/debian`) are equal values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl ImageReference {
    /// Returns the repository without tag and digest.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.repository.registry
    }

    /// Returns the tag that was written, if any.
    #[must_use]
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// Returns the digest that was written, if any.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the same repository under `tag`; a digest is dropped, since it would still win.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        self.repository.tagged(tag)
    }

    /// Returns the same image pinned to `digest`; a tag stays as a remark for the reader.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// Returns what a registry's API is asked for: the digest, else the tag, else `latest`.
    #[must_use]
    pub fn identifier(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag.as_str(),
            (None, None) => "latest",
        }
    }

    /// Returns the text with nothing left out but an absent tag: `docker.io/library/debian:12`.
    #[must_use]
    pub fn full(&self) -> String {
        format!("{}{}", self.repository.full(), self.suffix())
    }

    fn suffix(&self) -> String {
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        let digest = self.digest.iter().map(|digest| format!("@{digest}"));
        tag.chain(digest).collect()
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.contains("://") {
            return Err(ReferenceError::Scheme(shortened(text)));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((before, tag)) if !tag.contains('/') => (before, Some(tag.parse()?)),
            _ => (name, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if reads_like_a_registry(first) => (first.parse()?, path.to_owned()),
            _ => (Registry(HUB.to_owned()), name.to_owned()),
        };
        check_path(&path)?;
        let is_hex = path.bytes().all(|byte| byte.is_ascii_hexdigit());
        if registry.is_docker_hub() && path.len() == 64 && is_hex {
            return Err(ReferenceError::ImageId);
        }
        let path = if registry.is_docker_hub() && !path.contains('/') { format!("{HUB_OFFICIAL}{path}") } else { path };
        let repository = Repository { registry, path };
        if repository.full().len() > LONGEST_REPOSITORY {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { repository, tag, digest })
    }
}

/// Docker's rule for telling `registry/name` from `user/name`.
fn reads_like_a_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(|c| c.is_ascii_uppercase())
}

fn check_path(path: &str) -> Result<(), ReferenceError> {
    if path.split('/').all(is_path_part) {
        return Ok(());
    }
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCase(shortened(path)));
    }
    Err(ReferenceError::Path(shortened(path)))
}

/// Letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_are_words = part.bytes().next().is_some_and(is_word) && part.bytes().last().is_some_and(is_word);
    let joints = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends_are_words
        && joints
            .filter(|joint| !joint.is_empty())
            .all(|joint| matches!(joint, "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

/// The text as an error shows it: bounded, and without control characters.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).take(100).collect();
    if text.chars().nth(100).is_some() {
        short.push('…');
    }
    short
}

impl TryFrom<String> for ImageReference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.to_string()
    }
}

/// The familiar form, which every tool accepts: `debian:12`, `localhost:5000/app@sha256:…`.
impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.repository, self.suffix())
    }
}

impl fmt::Debug for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an image reference; each names the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// No text at all.
    #[error("an image reference is empty")]
    Empty,
    /// A URL in place of a name.
    #[error("`{0}` begins with a URL scheme; an image reference begins with the registry's host")]
    Scheme(String),
    /// An image ID, which names nothing in a registry.
    #[error("64 hex digits are an image ID; an image reference names a repository")]
    ImageId,
    /// The registry part.
    #[error("`{0}` is not a registry: a host name or address, then `:` and a port if it needs one")]
    Registry(String),
    /// Upper-case letters in the repository.
    #[error("repository `{0}` has upper-case letters; repositories are lower case")]
    UpperCase(String),
    /// The repository part.
    #[error(
        "`{0}` is not a repository: parts of lower-case letters and digits, joined inside by `.`, `_`, `__` or `-`, with `/` between"
    )]
    Path(String),
    /// The name is longer than registries allow.
    #[error("registry and repository together are longer than {LONGEST_REPOSITORY} characters")]
    TooLong,
    /// The tag part.
    #[error("`{0}` is not a tag: up to {LONGEST_TAG} letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`")]
    Tag(String),
    /// The digest part.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A tag or digest where only a repository is wanted.
    #[error("`{0}` names an image, where a repository without tag and digest is wanted")]
    NotARepository(String),
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
