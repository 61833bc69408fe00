//! One request of the distribution API: where it goes, with which login, and how refusals are sorted.

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};

use super::auth::NoLogin;
use super::challenge::Challenge;
use super::error::{BoxError, RegistryError, Said};
use super::patience::Patience;
use super::transport::{Answer, Body, Outgoing, Unanswered, Unread, read_bounded, read_refusal};
use super::{RegistryClient, api_host};
use crate::image::reference::{Registry, Repository};

/// What a request needs to be allowed to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    Pull,
    Push,
    Delete,
}

/// One request, and the words for its errors.
pub(super) struct Call<'a> {
    pub(super) repository: &'a Repository,
    /// What is tried, with the reference, to follow "could not".
    pub(super) doing: String,
    outgoing: Outgoing<'a>,
    scope: String,
}

impl<'a> Call<'a> {
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, RegistryError> {
        let value =
            HeaderValue::from_str(value).map_err(|_| self.lied("a value in its answer does not fit into a header"))?;
        self.outgoing.headers.insert(name, value);
        Ok(self)
    }

    pub(super) fn body(mut self, body: Body<'a>) -> Self {
        self.outgoing.body = body;
        self
    }

    pub(super) fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        self.outgoing.url.query_pairs_mut().extend_pairs(pairs);
        self
    }

    /// Asks for leave to read `other` too.
    pub(super) fn reading_too(mut self, other: &Repository) -> Self {
        self.scope = format!("{} {}", self.scope, scope(other, Access::Pull));
        self
    }

    /// Goes to where the registry says, which may be another host; the login then stays behind.
    pub(super) fn to(mut self, location: &str) -> Result<Self, RegistryError> {
        let next = self.outgoing.url.join(location).ok();
        let secure = self.outgoing.url.scheme() == "https";
        match next {
            Some(url) if url.scheme() == "https" || (url.scheme() == "http" && !secure) => {
                self.outgoing.url = url;
                Ok(self)
            }
            _ => Err(self.lied("it points to where it must not")),
        }
    }

    fn registry(&self) -> Registry {
        self.repository.registry().clone()
    }

    pub(super) fn not_found(&self) -> RegistryError {
        RegistryError::NotFound { registry: self.registry(), doing: self.doing.clone() }
    }

    pub(super) fn lied(&self, lie: impl Into<String>) -> RegistryError {
        RegistryError::Lied { registry: self.registry(), doing: self.doing.clone(), lie: lie.into() }
    }

    pub(super) fn unreadable(&self, source: impl Into<BoxError>) -> RegistryError {
        RegistryError::Unreadable { registry: self.registry(), doing: self.doing.clone(), source: source.into() }
    }

    pub(super) fn unavailable(&self, source: BoxError) -> RegistryError {
        RegistryError::Unavailable { registry: self.registry(), doing: self.doing.clone(), source }
    }

    /// Sorts an answer that nobody expected.
    pub(super) fn refused(&self, status: StatusCode, said: Said) -> RegistryError {
        let (registry, doing, message) = (self.registry(), self.doing.clone(), said.message);
        match status {
            StatusCode::NOT_FOUND => RegistryError::NotFound { registry, doing },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                RegistryError::Unauthorized { registry, doing, message, source: None }
            }
            _ => RegistryError::Refused { registry, doing, status: status.as_u16(), message },
        }
    }
}

impl RegistryClient {
    /// Begins a request to `/v2/{repository}/{rest}`.
    pub(super) fn call<'a>(
        &self,
        method: Method,
        repository: &'a Repository,
        rest: &str,
        access: Access,
        doing: String,
    ) -> Result<Call<'a>, RegistryError> {
        let registry = repository.registry();
        let scheme = if self.shared.transport.is_plain(registry) { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{}/{rest}", api_host(registry), repository.path());
        let url = Url::parse(&text).map_err(|error| RegistryError::Unreadable {
            registry: registry.clone(),
            doing: doing.clone(),
            source: error.into(),
        })?;
        let outgoing = Outgoing { method, url, headers: HeaderMap::new(), body: Body::None };
        Ok(Call { repository, doing, outgoing, scope: scope(repository, access) })
    }

    pub(super) fn patience(&self) -> Patience {
        self.shared.transport.patience()
    }

    /// Sends, logging in when asked to and once more when a login has run out.
    ///
    /// Returns any answer but a passing refusal or a missing login.
    pub(super) async fn send(&self, call: &Call<'_>, patience: &mut Patience) -> Result<Response, RegistryError> {
        let registry = call.repository.registry();
        let at_home = call.outgoing.url.host_str().is_some_and(|_| self.is_at(&call.outgoing.url, registry));
        let mut asked = false;
        let mut renewed = false;
        loop {
            let authorization = if at_home {
                let got = self.shared.auth.authorization(&self.shared.transport, registry, &call.scope, patience).await;
                got.map_err(|failure| no_login(call, failure))?
            } else {
                None
            };
            let value = authorization.as_ref().map(|authorization| &authorization.value);
            let answer = self.shared.transport.exchange(&call.outgoing, value, patience).await;
            let Answer { response, from_origin } = answer.map_err(|failure| match failure {
                Unanswered::Redirect { status, message } => call.refused(status, Said { message }),
                Unanswered::Unavailable(source) => call.unavailable(source),
            })?;
            let status = response.status();
            let denied = status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN;
            if !denied || !from_origin || !at_home {
                return Ok(response);
            }
            let values = response.headers().get_all(WWW_AUTHENTICATE);
            let challenge = Challenge::read(values.iter().filter_map(|value| value.to_str().ok()));
            let said = read_refusal(response).await;
            // Rights that are missing stay missing; an expired login looks like that at ECR.
            let curable = status == StatusCode::UNAUTHORIZED || said.is_about_an_expired_login();
            let once = if authorization.is_some() { &mut renewed } else { &mut asked };
            let again = curable && !std::mem::replace(once, true);
            if !again || !self.shared.auth.learn(registry, challenge, authorization.as_ref()).await {
                return Err(call.refused(status, said));
            }
        }
    }

    /// Sends and reads a body of at most `limit` bytes; a body that breaks off is asked for again.
    pub(super) async fn fetch(
        &self,
        call: &Call<'_>,
        limit: usize,
        patience: &mut Patience,
    ) -> Result<(HeaderMap, Bytes), RegistryError> {
        loop {
            let response = self.send(call, patience).await?;
            let status = response.status();
            if status != StatusCode::OK {
                return Err(call.refused(status, read_refusal(response).await));
            }
            let headers = response.headers().clone();
            match read_bounded(response, limit).await {
                Ok(body) => return Ok((headers, body)),
                Err(Unread::TooLong) => return Err(call.lied(format!("it is longer than {limit} bytes"))),
                Err(Unread::Broken(source)) => {
                    if !patience.wait(None).await {
                        return Err(call.unavailable(source));
                    }
                }
            }
        }
    }

    /// Tells whether `url` is the registry itself and not a storage that it points to.
    fn is_at(&self, url: &Url, registry: &Registry) -> bool {
        let scheme = if self.shared.transport.is_plain(registry) { "http" } else { "https" };
        Url::parse(&format!("{scheme}://{}/", api_host(registry))).is_ok_and(|home| home.origin() == url.origin())
    }
}

fn no_login(call: &Call<'_>, failure: NoLogin) -> RegistryError {
    match failure {
        NoLogin::Refused { message, source } => {
            RegistryError::Unauthorized { registry: call.registry(), doing: call.doing.clone(), message, source }
        }
        NoLogin::Unavailable(source) => call.unavailable(source),
    }
}

fn scope(repository: &Repository, access: Access) -> String {
    let actions = match access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
        Access::Delete => "delete",
    };
    format!("repository:{}:{actions}", repository.path())
}
