//! Blobs: reading them checked, and mounting them.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use reqwest::{Method, Response, StatusCode};

use super::RegistryClient;
use super::error::RegistryError;
use super::patience::Patience;
use super::request::Access;
use super::transport::{Body, read_refusal};
use crate::image::digest::{Digest, Hasher};
use crate::image::manifest::Descriptor;
use crate::image::reference::{Registry, Repository};

/// What became of a wish to take a blob over from another repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounted {
    /// It is there now.
    Done,
    /// The registry wants it uploaded.
    MustUpload,
}

/// A blob on its way. Its bytes count only once [`Self::chunk`] has returned `None`.
pub struct VerifiedBlob {
    response: Response,
    hasher: Hasher,
    digest: Digest,
    left: u64,
    size: u64,
    registry: Registry,
    doing: String,
}

impl VerifiedBlob {
    /// Returns the next piece, or `None` after the last when size and digest are right.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let chunk = self.response.chunk().await.map_err(|error| RegistryError::Unavailable {
            registry: self.registry.clone(),
            doing: self.doing.clone(),
            source: error.without_url().into(),
        })?;
        let Some(chunk) = chunk else {
            if self.left > 0 {
                return Err(self.lied(format!("it ends {} bytes short of {}", self.left, self.size)));
            }
            let digest = std::mem::take(&mut self.hasher).finish();
            if digest != self.digest {
                return Err(self.lied(format!("what came is {digest}")));
            }
            // Asked once more after the end, it must not judge an empty hash.
            self.digest = Hasher::default().finish();
            return Ok(None);
        };
        let left = self.left.checked_sub(chunk.len() as u64);
        self.left = left.ok_or_else(|| self.lied(format!("it is longer than {} bytes", self.size)))?;
        self.hasher.update(&chunk);
        Ok(Some(chunk))
    }

    /// Returns the pieces as a stream that ends with an error where [`Self::chunk`] would.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes, RegistryError>> {
        stream::try_unfold(self, async |mut blob| Ok(blob.chunk().await?.map(|chunk| (chunk, blob)))).boxed()
    }

    fn lied(&self, lie: String) -> RegistryError {
        RegistryError::Lied { registry: self.registry.clone(), doing: self.doing.clone(), lie }
    }
}

impl RegistryClient {
    /// Begins to read the blob that `descriptor` points at.
    pub async fn blob(&self, repository: &Repository, descriptor: &Descriptor) -> Result<VerifiedBlob, RegistryError> {
        self.begin_blob(repository, descriptor, &mut self.patience()).await
    }

    async fn begin_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        patience: &mut Patience,
    ) -> Result<VerifiedBlob, RegistryError> {
        let digest = descriptor.digest.clone();
        let doing = format!("read blob {digest} of `{repository}`");
        let call = self.call(Method::GET, repository, &format!("blobs/{digest}"), Access::Pull, doing)?;
        let response = self.send(&call, patience).await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(call.refused(status, read_refusal(response).await));
        }
        Ok(VerifiedBlob {
            response,
            hasher: Hasher::default(),
            digest,
            left: descriptor.size,
            size: descriptor.size,
            registry: repository.registry().clone(),
            doing: call.doing,
        })
    }

    /// Returns a whole blob of at most `limit` bytes; one that breaks off is asked for again.
    pub async fn blob_bytes(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: usize,
    ) -> Result<Bytes, RegistryError> {
        let mut patience = self.patience();
        if descriptor.size > limit as u64 {
            return Err(RegistryError::Unreadable {
                registry: repository.registry().clone(),
                doing: format!("read blob {} of `{repository}`", descriptor.digest),
                source: format!("it has {} bytes; {limit} are allowed", descriptor.size).into(),
            });
        }
        loop {
            match self.collect(repository, descriptor, &mut patience).await {
                Err(error @ RegistryError::Unavailable { .. }) => {
                    if !patience.wait(None).await {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    async fn collect(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        patience: &mut Patience,
    ) -> Result<Bytes, RegistryError> {
        let mut blob = self.begin_blob(repository, descriptor, patience).await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = blob.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// Tells whether `repository` holds the blob `digest`.
    pub async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        let doing = format!("look for blob {digest} in `{repository}`");
        let call = self.call(Method::HEAD, repository, &format!("blobs/{digest}"), Access::Pull, doing)?;
        let response = self.send(&call, &mut self.patience()).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(call.refused(status, read_refusal(response).await)),
        }
    }

    /// Takes the blob `digest` over from the repository `from` of the same registry.
    pub async fn mount(
        &self,
        repository: &Repository,
        from: &Repository,
        digest: &Digest,
    ) -> Result<Mounted, RegistryError> {
        if repository.registry() != from.registry() {
            return Ok(Mounted::MustUpload);
        }
        let doing = format!("mount blob {digest} of `{from}` in `{repository}`");
        let call = self
            .call(Method::POST, repository, "blobs/uploads/", Access::Push, doing)?
            .reading_too(from)
            .query(&[("mount", digest.as_str()), ("from", from.path())])
            .body(Body::Bytes(Bytes::new()));
        let response = self.send(&call, &mut self.patience()).await?;
        match response.status() {
            StatusCode::CREATED => Ok(Mounted::Done),
            // The registry has begun an upload instead; it forgets one that nobody goes on with.
            StatusCode::ACCEPTED => Ok(Mounted::MustUpload),
            status => Err(call.refused(status, read_refusal(response).await)),
        }
    }
}
