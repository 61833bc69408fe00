//! Where registry logins come from: docker's `config.json`, its credential helpers, or any other
//! [`CredentialSource`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::reference::Registry;

/// A login for one registry.
#[derive(Debug, Clone)]
pub enum Credential {
    /// User name and password, or a token in the password's place.
    Password {
        /// The user name.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A refresh token, exchanged for access tokens at the registry's token server.
    IdentityToken(SecretString),
}

/// Gives the login for a registry.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// Returns the login for `registry`, or `None` where this source has none.
    ///
    /// Asked again each time a token is needed: a source whose logins are dear keeps them itself.
    async fn credential(&self, registry: &Registry) -> Result<Option<Credential>, CredentialError>;

    /// Drops what is kept for `registry`: the registry has refused it, so it may have expired.
    fn forget(&self, _registry: &Registry) {}
}

/// Asks several sources in turn; the first that has a login wins.
#[derive(Clone, Default)]
pub struct CredentialChain(Vec<Arc<dyn CredentialSource>>);

impl CredentialChain {
    /// Makes a chain that asks `sources` in their order.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn CredentialSource>>) -> Self {
        Self(sources)
    }
}

#[async_trait]
impl CredentialSource for CredentialChain {
    async fn credential(&self, registry: &Registry) -> Result<Option<Credential>, CredentialError> {
        for source in &self.0 {
            if let Some(credential) = source.credential(registry).await? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    fn forget(&self, registry: &Registry) {
        self.0.iter().for_each(|source| source.forget(registry));
    }
}

/// A source that has no logins: every registry is asked anonymously.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

#[async_trait]
impl CredentialSource for Anonymous {
    async fn credential(&self, _: &Registry) -> Result<Option<Credential>, CredentialError> {
        Ok(None)
    }
}

/// The logins that `docker login` has left: `auths`, `credHelpers` and `credsStore`.
///
/// The file is read once. Helpers are asked each time, since their answers expire.
#[derive(Clone)]
pub struct DockerConfig {
    file: ConfigFile,
    /// Where helpers are looked for, `PATH` if `None`.
    helper_folder: Option<PathBuf>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: BTreeMap<String, AuthEntry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: SecretText,
    username: String,
    password: SecretText,
    identitytoken: SecretText,
}

#[derive(Clone, Default)]
struct SecretText(SecretString);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(String::deserialize(deserializer)?.into()))
    }
}

impl SecretText {
    fn is_empty(&self) -> bool {
        self.0.expose_secret().is_empty()
    }
}

/// What a helper answers to `get`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: SecretText,
}

/// What helpers take as the server of Docker Hub, and its key in `auths`.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name by which helpers mark an identity token.
const TOKEN_USER: &str = "<token>";
/// How long a helper may take; some ask a cloud for a fresh password.
const HELPER_TIME: Duration = Duration::from_secs(30);

impl DockerConfig {
    /// Returns docker's configuration folder: `DOCKER_CONFIG`'s value if set, else `.docker` at home.
    #[must_use]
    pub fn folder(docker_config: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
        match docker_config {
            Some(folder) if !folder.as_os_str().is_empty() => Some(folder.to_owned()),
            _ => home.map(|home| home.join(".docker")),
        }
    }

    /// Reads `config.json` in `folder`; without such a file there are no logins.
    pub fn load(folder: &Path) -> Result<Self, CredentialError> {
        let path = folder.join("config.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(source) => return Err(CredentialError::Read { path, source }),
        };
        // serde's message can quote a value, and values here are secrets: only the place is told.
        let file = serde_json::from_slice(&text).map_err(|error| CredentialError::Malformed {
            path,
            line: error.line(),
            column: error.column(),
        })?;
        Ok(Self { file, helper_folder: None })
    }

    /// Looks for credential helpers in `folder` instead of `PATH`.
    #[must_use]
    pub fn with_helpers_in(mut self, folder: &Path) -> Self {
        self.helper_folder = Some(folder.to_owned());
        self
    }

    fn helper_for(&self, registry: &Registry) -> Option<&str> {
        let named =
            self.file.cred_helpers.iter().find(|(key, _)| key_names(key, registry)).map(|(_, helper)| helper.as_str());
        named.or(Some(self.file.creds_store.as_str()).filter(|store| !store.is_empty()))
    }

    fn stored(&self, registry: &Registry) -> Result<Option<Credential>, CredentialError> {
        let entry = self.file.auths.iter().find(|(key, _)| key_names(key, registry));
        let Some((_, entry)) = entry else {
            return Ok(None);
        };
        if !entry.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(entry.identitytoken.0.clone())));
        }
        if entry.auth.is_empty() {
            let has_password = !entry.username.is_empty() && !entry.password.is_empty();
            return Ok(has_password.then(|| Credential::Password {
                username: entry.username.clone(),
                password: entry.password.0.clone(),
            }));
        }
        let wrong = || CredentialError::Auth { registry: registry.clone() };
        let decoded = BASE64.decode(entry.auth.0.expose_secret().trim()).map_err(|_| wrong())?;
        let pair = String::from_utf8(decoded).map_err(|_| wrong())?;
        let (username, password) = pair.split_once(':').ok_or_else(wrong)?;
        Ok(Some(Credential::Password {
            username: username.to_owned(),
            // Old docker versions padded the password with NUL.
            password: password.trim_end_matches('\0').into(),
        }))
    }

    fn helper_program(&self, helper: &str) -> Result<PathBuf, CredentialError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if helper.is_empty() || !helper.chars().all(plain) {
            return Err(CredentialError::HelperName(helper.chars().filter(|c| !c.is_control()).take(60).collect()));
        }
        let program = format!("docker-credential-{helper}");
        Ok(match &self.helper_folder {
            Some(folder) => folder.join(program),
            None => PathBuf::from(program),
        })
    }
}

#[async_trait]
impl CredentialSource for DockerConfig {
    async fn credential(&self, registry: &Registry) -> Result<Option<Credential>, CredentialError> {
        let Some(helper) = self.helper_for(registry) else {
            return self.stored(registry);
        };
        let program = self.helper_program(helper)?;
        let server = if registry.is_docker_hub() { HUB_KEY.to_owned() } else { registry.to_string() };
        let name = helper.to_owned();
        let asked = tokio::task::spawn_blocking(move || ask_helper(&name, &program, &server))
            .await
            .map_err(|error| CredentialError::Helper { helper: helper.to_owned(), source: io::Error::other(error) })?;
        match asked? {
            Some(credential) => Ok(Some(credential)),
            None => self.stored(registry),
        }
    }
}

/// Tells whether a key of `auths` or `credHelpers` means `registry`; old keys are URLs.
fn key_names(key: &str, registry: &Registry) -> bool {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = bare.split('/').next().unwrap_or(bare);
    host.parse::<Registry>().is_ok_and(|named| named.as_str().eq_ignore_ascii_case(registry.as_str()))
}

/// Runs the helper's `get`: the server goes in on stdin, the login comes back on stdout.
fn ask_helper(helper: &str, program: &Path, server: &str) -> Result<Option<Credential>, CredentialError> {
    let failed = |source| CredentialError::Helper { helper: helper.to_owned(), source };
    let child = duct::cmd!(program, "get")
        .stdin_bytes(server.as_bytes())
        .stdout_capture()
        .stderr_null()
        .unchecked()
        .start()
        .map_err(failed)?;
    let Some(output) = child.wait_timeout(HELPER_TIME).map_err(failed)? else {
        child.kill().map_err(failed)?;
        return Err(failed(io::ErrorKind::TimedOut.into()));
    };
    if !output.status.success() {
        // The protocol has no other way to say "none here" than this text on stdout.
        let text = String::from_utf8_lossy(&output.stdout);
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(CredentialError::HelperFailed { helper: helper.to_owned(), status: output.status.to_string() });
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
        .map_err(|_| CredentialError::HelperAnswer { helper: helper.to_owned() })?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(if answer.username == TOKEN_USER {
        Credential::IdentityToken(answer.secret.0)
    } else {
        Credential::Password { username: answer.username, password: answer.secret.0 }
    }))
}

/// Why a login could not be had. No message holds any part of a login.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file is there but cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not the JSON that docker writes.
    #[error("{}:{line}:{column} is not what docker writes", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// `auth` is not the base64 of `user:password`.
    #[error("the login stored for {registry} is not the base64 of a user name, `:` and a password")]
    Auth {
        /// Whose login it is.
        registry: Registry,
    },
    /// The helper's name could leave the `docker-credential-` programs.
    #[error("`{0}` is not the name of a credential helper")]
    HelperName(String),
    /// The helper is missing, could not start or did not end in time.
    #[error("the credential helper `docker-credential-{helper}` did not run")]
    Helper {
        /// The helper's name.
        helper: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The helper ended with an error.
    #[error("the credential helper `docker-credential-{helper}` failed ({status})")]
    HelperFailed {
        /// The helper's name.
        helper: String,
        /// How it ended.
        status: String,
    },
    /// The helper's answer is not the JSON of its protocol.
    #[error("the credential helper `docker-credential-{helper}` gave an answer that is not a login")]
    HelperAnswer {
        /// The helper's name.
        helper: String,
    },
    /// Another source failed.
    #[error("cannot get a login for {registry}")]
    Source {
        /// For which registry.
        registry: Registry,
        /// What the source said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
