//! Logins for the registries of ECR.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::SecretString;

use super::clients::Clients;
use super::failure::sort;
use crate::domain::names::EpochSeconds;
use crate::image::credentials::{Credential, CredentialError, CredentialSource};
use crate::image::reference::Registry;
use crate::ports::clock::Clock;
use crate::ports::failure::Failure;

/// Gets authorization tokens for hosts of ECR, and keeps each until shortly before it expires.
pub struct EcrCredentials {
    clients: Clients,
    clock: Arc<dyn Clock>,
    /// By region.
    kept: Mutex<BTreeMap<String, Kept>>,
}

struct Kept {
    login: Credential,
    expires: EpochSeconds,
}

/// A token is not used for its last minutes, so that a push that begins with it can end with it.
const MARGIN: u64 = 15 * 60;

impl EcrCredentials {
    /// Uses these clients' credentials.
    pub fn new(clients: Clients, clock: Arc<dyn Clock>) -> Self {
        Self { clients, clock, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn login(&self, region: &str) -> Result<Kept, Failure> {
        let doing = format!("log in to ECR in {region}");
        let answer = self.clients.ecr(region).get_authorization_token().send().await;
        let answer = answer.map_err(|error| sort(&doing, error))?;
        let data = answer.authorization_data().first();
        let token = data.and_then(|data| data.authorization_token());
        let login = token.and_then(decode).ok_or_else(|| Failure::refused(doing, "the answer has no usable token"))?;
        let expires = data.and_then(|data| data.expires_at()).map_or(0, aws_smithy_types::DateTime::secs);
        Ok(Kept { login, expires: EpochSeconds(u64::try_from(expires).unwrap_or_default()) })
    }
}

/// Reads a token: base64 of `AWS:` and a password, which may itself contain colons.
fn decode(token: &str) -> Option<Credential> {
    let pair = String::from_utf8(BASE64.decode(token.trim()).ok()?).ok()?;
    let (username, password) = pair.split_once(':')?;
    Some(Credential::Password { username: username.to_owned(), password: SecretString::from(password) })
}

/// Returns the region of a registry of ECR, `{account}.dkr.ecr.{region}.amazonaws.com`, or nothing for other hosts.
fn region(host: &str) -> Option<&str> {
    let (account, rest) = host.split_once('.')?;
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rest = rest.strip_prefix("dkr.ecr.").or_else(|| rest.strip_prefix("dkr.ecr-fips."))?;
    let (region, domain) = rest.split_once('.')?;
    matches!(domain, "amazonaws.com" | "amazonaws.com.cn").then_some(region)
}

#[async_trait]
impl CredentialSource for EcrCredentials {
    async fn credential(&self, registry: &Registry) -> Result<Option<Credential>, CredentialError> {
        let Some(region) = region(registry.as_str()) else { return Ok(None) };
        if let Some(kept) = self.kept().get(region).filter(|kept| self.clock.now().plus(MARGIN) < kept.expires) {
            return Ok(Some(kept.login.clone()));
        }
        let fresh = self
            .login(region)
            .await
            .map_err(|failure| CredentialError::Source { registry: registry.clone(), source: failure.into() })?;
        let login = fresh.login.clone();
        self.kept().insert(region.to_owned(), fresh);
        Ok(Some(login))
    }

    fn forget(&self, registry: &Registry) {
        if let Some(region) = region(registry.as_str()) {
            self.kept().remove(region);
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn only_hosts_of_ecr_are_logged_in_to() {
        assert_eq!(region("111122223333.dkr.ecr.us-east-1.amazonaws.com"), Some("us-east-1"));
        assert_eq!(region("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn"), Some("cn-north-1"));
        assert_eq!(region("111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com"), Some("us-gov-west-1"));
        for host in [
            "docker.io",
            "public.ecr.aws",
            "111122223333.dkr.ecr.us-east-1.amazonaws.com.example.com",
            "evil.dkr.ecr.us-east-1.amazonaws.com",
            "1111222233334.dkr.ecr.us-east-1.amazonaws.com",
        ] {
            assert_eq!(region(host), None, "{host}");
        }
    }

    #[test]
    fn a_password_may_contain_colons() {
        let Some(Credential::Password { username, password }) = decode(&BASE64.encode("AWS:a:b:c")) else { panic!() };
        assert_eq!((username.as_str(), password.expose_secret()), ("AWS", "a:b:c"));
        assert!(decode("%%%").is_none() && decode(&BASE64.encode("AWS")).is_none());
    }
}
