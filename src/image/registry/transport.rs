//! One HTTP exchange: retries, redirects, bounded bodies. Knows nothing of what is said in it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};

use super::error::{BoxError, Said};
use super::options::{OptionsError, RegistryOptions};
use super::patience::Patience;
use super::upload::{BlobSource, limited};
use crate::image::reference::Registry;

/// How many redirects one request may take; real registries use one, to their storage.
const MOST_REDIRECTS: usize = 5;
/// How much of a refusal is read.
const LONGEST_REFUSAL: usize = 64 * 1024;

pub(super) struct Transport {
    /// For TLS; goes through the proxy that the environment names.
    secure: Client,
    /// For plain HTTP, which never leaves for a proxy: it is this machine or its neighbour.
    plain: Client,
    options: RegistryOptions,
}

/// A request that can be sent again.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Body<'a>,
}

#[derive(Clone)]
pub(super) enum Body<'a> {
    None,
    Bytes(Bytes),
    /// So many bytes from a place on. Never repeated by itself: the upload it belongs to may be gone.
    Source {
        source: &'a dyn BlobSource,
        from: u64,
        length: u64,
    },
}

/// An answer, and whether it came from the host that was asked.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) from_origin: bool,
}

/// Why there is no answer to speak of.
pub(super) enum Unanswered {
    /// Redirects that lead nowhere, or where they must not.
    Redirect { status: StatusCode, message: String },
    /// No answer, or 429 or 5xx to the last.
    Unavailable(BoxError),
}

impl Transport {
    pub(super) fn new(options: RegistryOptions) -> Result<Self, OptionsError> {
        let tls = options.tls()?;
        let base = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .hickory_dns(true)
                .user_agent(concat!("packhorse/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .connect_timeout(options.connect_timeout)
                .read_timeout(options.read_timeout)
        };
        let failed = |error: reqwest::Error| OptionsError::Tls(error.into());
        let secure = base().build().map_err(failed)?;
        let plain = base().no_proxy().build().map_err(failed)?;
        Ok(Self { secure, plain, options })
    }

    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.options.retry)
    }

    pub(super) fn upload_piece(&self) -> u64 {
        self.options.upload_piece.max(1)
    }

    pub(super) fn is_plain(&self, registry: &Registry) -> bool {
        registry.is_loopback() || self.options.insecure.contains(registry)
    }

    /// Sends until there is an answer that a retry would not change, and follows its redirects.
    ///
    /// `authorization` goes to the host of the request and to no other one.
    pub(super) async fn exchange(
        &self,
        outgoing: &Outgoing<'_>,
        authorization: Option<&HeaderValue>,
        patience: &mut Patience,
    ) -> Result<Answer, Unanswered> {
        let origin = outgoing.url.origin();
        let mut url = outgoing.url.clone();
        let follows = outgoing.method == Method::GET || outgoing.method == Method::HEAD;
        for _ in 0..=MOST_REDIRECTS {
            let from_origin = url.origin() == origin;
            let authorization = authorization.filter(|_| from_origin);
            let response = self.persist(outgoing, &url, authorization, patience).await?;
            let status = response.status();
            let location = response.headers().get(LOCATION).filter(|_| follows && is_redirect(status));
            let Some(location) = location else {
                return Ok(Answer { response, from_origin });
            };
            let wrong = |message: &str| Unanswered::Redirect { status, message: message.to_owned() };
            let next = location.to_str().ok().and_then(|location| url.join(location).ok());
            let next = next.ok_or_else(|| wrong("its redirect is not a URL"))?;
            match (url.scheme(), next.scheme()) {
                (_, "https") | ("http", "http") => url = next,
                _ => return Err(wrong("its redirect leads away from TLS")),
            }
        }
        Err(Unanswered::Redirect {
            status: StatusCode::FOUND,
            message: format!("it redirects more than {MOST_REDIRECTS} times"),
        })
    }

    async fn persist(
        &self,
        outgoing: &Outgoing<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
        patience: &mut Patience,
    ) -> Result<Response, Unanswered> {
        let repeatable = !matches!(outgoing.body, Body::Source { .. });
        loop {
            let (failure, asked): (BoxError, _) = match self.send(outgoing, url, authorization).await {
                Ok(response) if is_passing(response.status()) => {
                    let asked = retry_after(response.headers());
                    let status = response.status();
                    let said = read_refusal(response).await;
                    (format!("status {}: {}", status.as_u16(), said.message).into(), asked)
                }
                Ok(response) => return Ok(response),
                Err(error) => (error, None),
            };
            if !repeatable || !patience.wait(asked).await {
                return Err(Unanswered::Unavailable(failure));
            }
        }
    }

    async fn send(
        &self,
        outgoing: &Outgoing<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, BoxError> {
        let client = if url.scheme() == "http" { &self.plain } else { &self.secure };
        let mut request = client.request(outgoing.method.clone(), url.clone()).headers(outgoing.headers.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request = match &outgoing.body {
            Body::None => request,
            Body::Bytes(bytes) => request.body(bytes.clone()),
            Body::Source { source, from, length } => {
                let stream = limited(source.open(*from).await?, *length);
                request.header(CONTENT_LENGTH, *length).body(reqwest::Body::wrap_stream(stream))
            }
        };
        // Where the query holds a token (a presigned URL), the error must not repeat it.
        Ok(request.send().await.map_err(reqwest::Error::without_url)?)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// 501 and 505 will not pass by waiting.
fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || (status.is_server_error() && !matches!(status.as_u16(), 501 | 505))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Why a body was not read to its end.
pub(super) enum Unread {
    TooLong,
    Broken(BoxError),
}

/// Reads a body of at most `limit` bytes, whatever length was announced.
pub(super) async fn read_bounded(mut response: Response, limit: usize) -> Result<Bytes, Unread> {
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(Unread::TooLong);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Unread::Broken(error.without_url().into()))? {
        if body.len() + chunk.len() > limit {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Reads what a refusing registry says; nothing, if that does not come through.
pub(super) async fn read_refusal(response: Response) -> Said {
    match read_bounded(response, LONGEST_REFUSAL).await {
        Ok(body) => Said::read(&body),
        Err(_) => Said::read(b""),
    }
}
