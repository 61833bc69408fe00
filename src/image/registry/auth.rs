//! Logging in: which registry wants what, and the tokens got so far.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::challenge::Challenge;
use super::error::BoxError;
use super::patience::Patience;
use super::transport::{Body, Outgoing, Transport, Unanswered, Unread, read_bounded, read_refusal};
use crate::image::credentials::{Credential, CredentialSource};
use crate::image::reference::Registry;

/// How long a token lasts when its server does not say; the distribution project's rule.
const USUAL_LIFE: Duration = Duration::from_mins(1);
/// How long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(10);
/// The longest answer of a token server; ECR's tokens have about 4 KB.
const LONGEST_TOKEN_ANSWER: usize = 256 * 1024;

/// Knows how to log in to each registry that has asked for it, and keeps the tokens.
pub(super) struct Authenticator {
    credentials: Arc<dyn CredentialSource>,
    // Held while a token is fetched, so that many requests at once fetch one token.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenges: BTreeMap<Registry, Challenge>,
    /// By registry and scope; logins without a token server have the empty scope.
    authorizations: BTreeMap<(Registry, String), Authorization>,
    made: u64,
}

/// A value of the `Authorization` header.
#[derive(Clone)]
pub(super) struct Authorization {
    pub(super) value: HeaderValue,
    number: u64,
    until: Option<Instant>,
}

/// Why there is no login.
pub(super) enum NoLogin {
    /// The registry or its token server does not accept it, or there is none.
    Refused { message: String, source: Option<BoxError> },
    /// The token server did not answer.
    Unavailable(BoxError),
}

impl NoLogin {
    fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), source: None }
    }
}

impl Authenticator {
    pub(super) fn new(credentials: Arc<dyn CredentialSource>) -> Self {
        Self { credentials, state: Mutex::default() }
    }

    /// Returns what to send for `scope`; `None` while the registry has not asked for a login.
    pub(super) async fn authorization(
        &self,
        transport: &Transport,
        registry: &Registry,
        scope: &str,
        patience: &mut Patience,
    ) -> Result<Option<Authorization>, NoLogin> {
        let mut state = self.state.lock().await;
        let Some(challenge) = state.challenges.get(registry).cloned() else {
            return Ok(None);
        };
        let key = match &challenge {
            Challenge::Basic => (registry.clone(), String::new()),
            Challenge::Bearer { .. } => (registry.clone(), scope.to_owned()),
        };
        let fresh = |kept: &&Authorization| kept.until.is_none_or(|until| Instant::now() + MARGIN < until);
        if let Some(kept) = state.authorizations.get(&key).filter(fresh) {
            return Ok(Some(kept.clone()));
        }
        let credential = self.credentials.credential(registry).await.map_err(|error| NoLogin::Refused {
            message: "the login for it could not be had".to_owned(),
            source: Some(error.into()),
        })?;
        let (value, until) = match challenge {
            Challenge::Basic => match credential {
                Some(Credential::Password { username, password }) => (basic(&username, &password)?, None),
                Some(Credential::IdentityToken(_)) => {
                    return Err(NoLogin::refused("it wants a password, and the login for it is an identity token"));
                }
                None => return Err(NoLogin::refused("there is no login for it")),
            },
            Challenge::Bearer { realm, service } => {
                let asked = TokenRequest { registry, realm: &realm, service: service.as_deref(), scope };
                let (value, life) = asked.send(transport, credential.as_ref(), patience).await?;
                (value, Some(Instant::now() + life))
            }
        };
        state.made += 1;
        let made = Authorization { value, number: state.made, until };
        state.authorizations.insert(key, made.clone());
        Ok(Some(made))
    }

    /// Takes in that `registry` answered 401 with `challenge` to a request that carried `refused`.
    ///
    /// `false` where another try cannot end otherwise.
    pub(super) async fn learn(
        &self,
        registry: &Registry,
        challenge: Option<Challenge>,
        refused: Option<&Authorization>,
    ) -> bool {
        let mut state = self.state.lock().await;
        if let Some(refused) = refused {
            // What another request has renewed in the meantime stays.
            state.authorizations.retain(|_, kept| kept.number != refused.number);
            self.credentials.forget(registry);
        }
        match challenge {
            Some(challenge) => {
                state.challenges.insert(registry.clone(), challenge);
                true
            }
            None => state.challenges.contains_key(registry),
        }
    }
}

fn basic(username: &str, password: &SecretString) -> Result<HeaderValue, NoLogin> {
    let pair = BASE64.encode(format!("{username}:{}", password.expose_secret()));
    header("Basic", &pair)
}

fn header(scheme: &str, value: &str) -> Result<HeaderValue, NoLogin> {
    let mut header = HeaderValue::from_str(&format!("{scheme} {value}"))
        .map_err(|_| NoLogin::refused("its token holds characters that no header may have"))?;
    header.set_sensitive(true);
    Ok(header)
}

struct TokenRequest<'a> {
    registry: &'a Registry,
    realm: &'a str,
    service: Option<&'a str>,
    scope: &'a str,
}

#[derive(serde::Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl TokenRequest<'_> {
    async fn send(
        &self,
        transport: &Transport,
        credential: Option<&Credential>,
        patience: &mut Patience,
    ) -> Result<(HeaderValue, Duration), NoLogin> {
        let url = Url::parse(self.realm).map_err(|_| NoLogin::refused("its token server is not a URL"))?;
        // A login goes over plain HTTP only where the registry itself is spoken to in that way.
        if url.scheme() != "https" && !(url.scheme() == "http" && transport.is_plain(self.registry)) {
            return Err(NoLogin::refused("it wants the login sent to a token server without TLS"));
        }
        let (outgoing, authorization) = match credential {
            Some(Credential::IdentityToken(token)) => (self.exchange(url, token), None),
            Some(Credential::Password { username, password }) => {
                (self.get(url, Some(username)), Some(basic(username, password)?))
            }
            None => (self.get(url, None), None),
        };
        let answer = transport.exchange(&outgoing, authorization.as_ref(), patience).await;
        let response = match answer {
            Ok(answer) => answer.response,
            Err(Unanswered::Redirect { message, .. }) => {
                return Err(NoLogin::refused(format!("its token server failed: {message}")));
            }
            Err(Unanswered::Unavailable(source)) => return Err(NoLogin::Unavailable(source)),
        };
        if response.status() != StatusCode::OK {
            let status = response.status().as_u16();
            let said = read_refusal(response).await;
            return Err(NoLogin::refused(format!("its token server refused (status {status}): {}", said.message)));
        }
        let body = read_bounded(response, LONGEST_TOKEN_ANSWER).await.map_err(|unread| match unread {
            Unread::TooLong => NoLogin::refused("its token server gave a huge answer"),
            Unread::Broken(source) => NoLogin::Unavailable(source),
        })?;
        let unread = || NoLogin::refused("its token server gave an answer without a token");
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| unread())?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty()).ok_or_else(unread)?;
        // A life of zero, or of centuries, is not taken at its word.
        let life = answer.expires_in.map_or(USUAL_LIFE, |seconds| Duration::from_secs(seconds.min(86_400)));
        Ok((header("Bearer", &token)?, life))
    }

    fn get(&self, mut url: Url, account: Option<&str>) -> Outgoing<'static> {
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.service.map(|service| ("service", service)));
            query.extend_pairs(self.scope.split(' ').map(|scope| ("scope", scope)));
            query.extend_pairs(account.map(|account| ("account", account)));
        }
        Outgoing { method: Method::GET, url, headers: HeaderMap::new(), body: Body::None }
    }

    /// The token server's other way in, for identity tokens: OAuth 2's refresh.
    fn exchange(&self, url: Url, token: &SecretString) -> Outgoing<'static> {
        // The form is written as the query of a URL that goes nowhere.
        let mut form = url.clone();
        form.set_query(None);
        form.query_pairs_mut().extend_pairs(self.service.map(|service| ("service", service))).extend_pairs([
            ("grant_type", "refresh_token"),
            ("client_id", "packhorse"),
            ("scope", self.scope),
            ("refresh_token", token.expose_secret()),
        ]);
        let body = form.query().unwrap_or_default().to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        Outgoing { method: Method::POST, url, headers, body: Body::Bytes(body.into()) }
    }
}
