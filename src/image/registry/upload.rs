//! Sending blobs, in pieces where they are large, and going on where a broken connection left off.

use std::io::{self, SeekFrom};
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::io::AsyncSeekExt as _;

use super::RegistryClient;
use super::error::RegistryError;
use super::patience::Patience;
use super::request::{Access, Call};
use super::transport::{Body, read_refusal};
use crate::image::digest::Digest;
use crate::image::layer::{Growing, Grown};
use crate::image::manifest::Descriptor;
use crate::image::reference::Repository;

/// Gives the bytes of a blob from any place on: an upload that broke goes on in the middle, or begins anew.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// Begins to read at `from`.
    async fn open(&self, from: u64) -> io::Result<BoxStream<'static, io::Result<Bytes>>>;
}

#[async_trait]
impl BlobSource for Bytes {
    async fn open(&self, from: u64) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.len());
        let bytes = self.slice(from..);
        Ok(stream::once(async { Ok(bytes) }).boxed())
    }
}

#[async_trait]
impl BlobSource for PathBuf {
    async fn open(&self, from: u64) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        let mut file = tokio::fs::File::open(self).await?;
        file.seek(SeekFrom::Start(from)).await?;
        Ok(tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024).boxed())
    }
}

/// Ends a stream after `length` bytes.
pub(super) fn limited(
    stream: BoxStream<'static, io::Result<Bytes>>,
    length: u64,
) -> BoxStream<'static, io::Result<Bytes>> {
    stream::try_unfold((stream, length), async |(mut stream, left)| {
        if left == 0 {
            return Ok(None);
        }
        let Some(mut bytes) = stream.try_next().await? else {
            return Ok(None);
        };
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - bytes.len() as u64;
        Ok(Some((bytes, (stream, left))))
    })
    .boxed()
}

/// What became of a blob that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there: nothing was sent.
    AlreadyThere,
    /// It was sent.
    Sent,
}

/// What one try to send a blob came to, where it did not fail for good.
enum Tried {
    Done,
    /// The registry knows nothing of the upload any more: begin anew.
    Lost(RegistryError),
    /// The registry does not take pieces.
    NoPieces,
    /// Nobody makes the rest of it any more.
    GivenUp,
}

impl RegistryClient {
    /// Sends the blob that `descriptor` points at, unless it is there already.
    ///
    /// Streams, whatever the size. A large blob goes in pieces; after a failure the registry is asked how far it got. The
    /// registry checks the digest before the blob can be seen.
    pub async fn upload_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<Uploaded, RegistryError> {
        if self.has_blob(repository, &descriptor.digest).await? {
            return Ok(Uploaded::AlreadyThere);
        }
        let mut in_pieces = descriptor.size > self.shared.transport.upload_piece();
        // Counts beginnings; what happens within one has its own.
        let mut patience = self.patience();
        loop {
            let doing = format!("send blob {} to `{repository}`", descriptor.digest);
            let begin = self
                .call(Method::POST, repository, "blobs/uploads/", Access::Push, doing)?
                .body(Body::Bytes(Bytes::new()));
            let response = self.send(&begin, &mut patience).await?;
            if response.status() != StatusCode::ACCEPTED {
                return Err(begin.refused(response.status(), read_refusal(response).await));
            }
            let upload = Upload { client: self, begun: &begin, repository, source };
            let tried = match location(&begin, response.headers())? {
                location if in_pieces => upload.send_pieces(location, Extent::Known(descriptor)).await,
                location => upload.send_whole(&location, descriptor).await,
            };
            match tried? {
                Tried::Done => return Ok(Uploaded::Sent),
                Tried::NoPieces => in_pieces = false,
                Tried::Lost(error) => {
                    if !patience.wait(None).await {
                        return Err(error);
                    }
                }
                // Only what grows can be given up.
                Tried::GivenUp => return Err(begin.lied("the upload ended before it began")),
            }
        }
    }

    /// Sends a blob while it is being made, in pieces, once. What breaks off in the middle goes on there, where the registry
    /// allows it.
    pub(super) async fn upload_growing(
        &self,
        repository: &Repository,
        growing: &mut Growing,
    ) -> Result<Streamed, RegistryError> {
        let mut patience = self.patience();
        let doing = format!("send a layer to `{repository}`");
        let begin =
            self.call(Method::POST, repository, "blobs/uploads/", Access::Push, doing)?.body(Body::Bytes(Bytes::new()));
        let response = self.send(&begin, &mut patience).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(begin.refused(response.status(), read_refusal(response).await));
        }
        let source = growing.path().to_owned();
        let upload = Upload { client: self, begun: &begin, repository, source: &source };
        Ok(match upload.send_pieces(location(&begin, response.headers())?, Extent::Growing(growing)).await? {
            Tried::Done => Streamed::Done,
            Tried::GivenUp => Streamed::GivenUp,
            Tried::Lost(_) | Tried::NoPieces => Streamed::Broken,
        })
    }
}

/// The least that a piece of a growing blob has, but for the last; ECR wants 5 MiB.
const LEAST_PIECE: u64 = 8 * 1024 * 1024;

/// What became of a blob that was to be sent while it grew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streamed {
    /// It is there, whole.
    Done,
    /// Nobody makes it any more.
    GivenUp,
    /// It must be sent from the start once it is whole.
    Broken,
}

/// How long a blob is.
enum Extent<'a> {
    Known(&'a Descriptor),
    Growing(&'a mut Growing),
}

/// What is to be sent next.
enum Next {
    Piece { length: u64 },
    End { digest: Digest },
    GivenUp,
}

impl Extent<'_> {
    /// Waits for what follows the first `sent` bytes.
    async fn next(&mut self, sent: u64, longest: u64) -> Next {
        let (size, digest) = match self {
            Self::Known(descriptor) => (descriptor.size, descriptor.digest.clone()),
            Self::Growing(growing) => match growing.grown(sent + LEAST_PIECE.min(longest)).await {
                Grown::To(size) => return Next::Piece { length: (size - sent).min(longest) },
                Grown::Whole(layer) => (layer.descriptor.size, layer.descriptor.digest.clone()),
                Grown::GivenUp => return Next::GivenUp,
            },
        };
        if sent < size { Next::Piece { length: (size - sent).min(longest) } } else { Next::End { digest } }
    }

    /// The most bytes that the registry can have of it.
    fn most(&self, asked: u64) -> u64 {
        match self {
            Self::Known(descriptor) => descriptor.size,
            Self::Growing(_) => asked,
        }
    }
}

struct Upload<'a> {
    client: &'a RegistryClient,
    begun: &'a Call<'a>,
    repository: &'a Repository,
    source: &'a dyn BlobSource,
}

impl<'a> Upload<'a> {
    /// Sends everything in the request that also ends the upload.
    async fn send_whole(&self, location: &str, descriptor: &Descriptor) -> Result<Tried, RegistryError> {
        let body = Body::Source { source: self.source, from: 0, length: descriptor.size };
        self.end(location, &descriptor.digest, body).await
    }

    async fn send_pieces(&self, mut location: String, mut extent: Extent<'_>) -> Result<Tried, RegistryError> {
        let mut sent = 0;
        // The end of what was sent at any time: the registry cannot have more.
        let mut furthest = 0;
        let mut patience = self.client.patience();
        loop {
            let length = match extent.next(sent, self.client.shared.transport.upload_piece()).await {
                Next::Piece { length } => length,
                Next::End { digest } => return self.end(&location, &digest, Body::Bytes(Bytes::new())).await,
                Next::GivenUp => {
                    self.cancel(&location).await;
                    return Ok(Tried::GivenUp);
                }
            };
            furthest = furthest.max(sent + length);
            let range = format!("{sent}-{}", sent + length - 1);
            let call = self
                .call(Method::PATCH, &location)?
                .header(CONTENT_TYPE, "application/octet-stream")?
                .header(CONTENT_RANGE, &range)?
                .body(Body::Source { source: self.source, from: sent, length });
            let failure = match self.client.send(&call, &mut patience).await {
                Ok(response) => match response.status() {
                    StatusCode::ACCEPTED => {
                        location = self::location(self.begun, response.headers())?;
                        let arrived = arrived(response.headers()).unwrap_or(sent + length);
                        sent = self.check(sent, arrived, extent.most(furthest))?;
                        // What moves on may go on.
                        patience = self.client.patience();
                        continue;
                    }
                    // The registry has another part of it than we think.
                    status @ (StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_FOUND) => {
                        self.refused(status, response).await
                    }
                    _ if sent == 0 => return Ok(Tried::NoPieces),
                    status => return Err(self.refused(status, response).await),
                },
                Err(error @ RegistryError::Unavailable { .. }) => error,
                Err(error) => return Err(error),
            };
            if !patience.wait(None).await {
                return Err(failure);
            }
            match self.ask(&location, &mut patience).await? {
                Some((next, arrived)) => {
                    sent = self.check(0, arrived, extent.most(furthest))?;
                    location = next;
                }
                None => return Ok(Tried::Lost(failure)),
            }
        }
    }

    /// Has the registry forget the upload; it forgets by itself in time.
    async fn cancel(&self, location: &str) {
        if let Ok(call) = self.call(Method::DELETE, location) {
            let _ = self.client.send(&call, &mut self.client.patience()).await;
        }
    }

    /// Asks how far the upload got; `None` where the registry does not know it any more.
    async fn ask(&self, location: &str, patience: &mut Patience) -> Result<Option<(String, u64)>, RegistryError> {
        let call = self.call(Method::GET, location)?;
        let response = self.client.send(&call, patience).await?;
        let arrived = arrived(response.headers());
        match (response.status(), arrived) {
            (StatusCode::NO_CONTENT | StatusCode::ACCEPTED | StatusCode::OK, Some(arrived)) => {
                let next = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                Ok(Some((next.unwrap_or(location).to_owned(), arrived)))
            }
            _ => Ok(None),
        }
    }

    async fn end(&self, location: &str, digest: &Digest, body: Body<'a>) -> Result<Tried, RegistryError> {
        let call = self
            .call(Method::PUT, location)?
            .query(&[("digest", digest.as_str())])
            .header(CONTENT_TYPE, "application/octet-stream")?
            .body(body);
        match self.client.send(&call, &mut self.client.patience()).await {
            Ok(response) if response.status().is_success() => Ok(Tried::Done),
            Ok(response) => {
                let status = response.status();
                let refused = self.refused(status, response).await;
                // An earlier try of the same request may have ended it, with the answer lost.
                let ended = status == StatusCode::NOT_FOUND && self.client.has_blob(self.repository, digest).await?;
                if ended { Ok(Tried::Done) } else { Err(refused) }
            }
            Err(error @ RegistryError::Unavailable { .. }) => Ok(Tried::Lost(error)),
            Err(error) => Err(error),
        }
    }

    fn check(&self, before: u64, arrived: u64, most: u64) -> Result<u64, RegistryError> {
        if arrived > most || arrived < before {
            return Err(self.begun.lied(format!("it has {arrived} of {most} bytes")));
        }
        Ok(arrived)
    }

    fn call(&self, method: Method, location: &str) -> Result<Call<'a>, RegistryError> {
        self.client
            .call(method, self.repository, "blobs/uploads/", Access::Push, self.begun.doing.clone())?
            .to(location)
    }

    async fn refused(&self, status: StatusCode, response: Response) -> RegistryError {
        self.begun.refused(status, read_refusal(response).await)
    }
}

fn location(begun: &Call<'_>, headers: &HeaderMap) -> Result<String, RegistryError> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    location.map(str::to_owned).ok_or_else(|| begun.lied("it does not say where to"))
}

/// Reads `Range: 0-<last byte>`. Nothing at all is `0-0` with some, and `0--1` with others.
fn arrived(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    let last = range.trim_start_matches("bytes=").strip_prefix("0-")?;
    match last.parse::<i64>() {
        Ok(-1 | 0) => Some(0),
        Ok(last) => Some(u64::try_from(last).ok()? + 1),
        Err(_) => None,
    }
}
