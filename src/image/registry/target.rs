//! A repository as the place that images are written to.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::blobs::Mounted;
use super::error::RegistryError;
use super::upload::{BlobSource, Streamed, Uploaded};
use super::{RegistryClient, manifests};
use crate::image::digest::Digest;
use crate::image::layer::{Growing, Grown, Layer};
use crate::image::manifest::{Descriptor, RawManifest};
use crate::image::reference::{ImageReference, Repository};
use crate::image::source::{ImageError, ImageSource, SourceImage};
use crate::image::target::{ImageTarget, NewImage, Stored};

/// A layer is sent while it grows from so many compressed bytes on. A smaller one is soon whole, and then the registry can be asked
/// whether it has it.
const WORTH_STREAMING: u64 = 16 * 1024 * 1024;

/// A repository that images are written to.
#[derive(Clone)]
pub struct RegistryTarget {
    client: RegistryClient,
    repository: Repository,
}

impl RegistryTarget {
    /// Writes to `repository`.
    #[must_use]
    pub fn new(client: RegistryClient, repository: Repository) -> Self {
        Self { client, repository }
    }

    /// Gives the image of this repository a name in another one of the same registry.
    async fn share(&self, image: &NewImage, with: &Repository) -> Result<(), ImageError> {
        for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
            if self.client.mount(with, &self.repository, &blob.digest).await? == Mounted::MustUpload {
                let source = OwnBlob { client: &self.client, repository: &self.repository, blob };
                self.client.upload_blob(with, blob, &source).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ImageTarget for RegistryTarget {
    async fn put_layer(&self, layer: &Layer) -> Result<Stored, ImageError> {
        let file = layer.blob.to_path_buf();
        Ok(self.client.upload_blob(&self.repository, &layer.descriptor, &file).await?.into())
    }

    async fn put_growing(&self, mut layer: Growing) -> Result<Option<Stored>, ImageError> {
        match layer.grown(WORTH_STREAMING).await {
            Grown::GivenUp => Ok(None),
            Grown::Whole(layer) => self.put_layer(&layer).await.map(Some),
            Grown::To(_) => match self.client.upload_growing(&self.repository, &mut layer).await? {
                Streamed::Done => Ok(Some(Stored::Sent)),
                Streamed::GivenUp => Ok(None),
                Streamed::Broken => match layer.whole().await {
                    Some(layer) => self.put_layer(&layer).await.map(Some),
                    None => Ok(None),
                },
            },
        }
    }

    async fn has_layer(&self, layer: &Descriptor) -> Result<bool, ImageError> {
        Ok(self.client.has_blob(&self.repository, &layer.digest).await?)
    }

    async fn take_layer(
        &self,
        source: &dyn ImageSource,
        from: &SourceImage,
        layer: &Descriptor,
    ) -> Result<Stored, ImageError> {
        let repository = from.reference.repository();
        if *repository == self.repository {
            if self.client.has_blob(&self.repository, &layer.digest).await? {
                return Ok(Stored::AlreadyThere);
            }
            // What it has lost cannot be read from there either.
            let registry = repository.registry().clone();
            let doing = format!("take over the layer `{}` of `{repository}`", layer.digest);
            return Err(RegistryError::NotFound { registry, doing }.into());
        }
        match self.client.mount(&self.repository, repository, &layer.digest).await {
            Ok(Mounted::Done) => return Ok(Stored::Mounted),
            // A login that may not mount may still be one that may read and write.
            Ok(Mounted::MustUpload)
            | Err(
                RegistryError::Unauthorized { .. } | RegistryError::Refused { .. } | RegistryError::NotFound { .. },
            ) => {}
            Err(error) => return Err(error.into()),
        }
        let blob = SourceBlob { source, image: from, blob: layer };
        Ok(self.client.upload_blob(&self.repository, layer, &blob).await?.into())
    }

    async fn finish(&self, image: &NewImage, names: &[ImageReference]) -> Result<Digest, ImageError> {
        let registry = self.repository.registry();
        if let Some(name) = names.iter().find(|name| name.registry() != registry) {
            return Err(ImageError::Name { name: name.clone(), reason: "it is in another registry" });
        }
        let raw = RawManifest {
            digest: image.digest(),
            media_type: image.media_type.clone(),
            bytes: image.manifest_bytes.clone(),
        };
        self.client.upload_blob(&self.repository, &image.manifest.config, &image.config_bytes).await?;
        if names.is_empty() {
            let pinned = self.repository.at(raw.digest.clone());
            self.client.put_manifest(&pinned, &raw.media_type, raw.bytes.clone()).await?;
        }
        for name in names {
            if *name.repository() != self.repository {
                self.share(image, name.repository()).await?;
            }
            self.client.tag_manifest(name.repository(), &raw, &manifests::tag_of(name)).await?;
        }
        Ok(raw.digest)
    }
}

impl From<Uploaded> for Stored {
    fn from(uploaded: Uploaded) -> Self {
        match uploaded {
            Uploaded::AlreadyThere => Self::AlreadyThere,
            Uploaded::Sent => Self::Sent,
        }
    }
}

/// A blob of another image, read while it is sent.
struct SourceBlob<'a> {
    source: &'a dyn ImageSource,
    image: &'a SourceImage,
    blob: &'a Descriptor,
}

#[async_trait]
impl BlobSource for SourceBlob<'_> {
    async fn open(&self, from: u64) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        let bytes = self.source.blob(self.image, self.blob).await.map_err(io::Error::other)?;
        Ok(skipped(bytes.map_err(io::Error::other).boxed(), from))
    }
}

/// A blob of a neighbouring repository.
struct OwnBlob<'a> {
    client: &'a RegistryClient,
    repository: &'a Repository,
    blob: &'a Descriptor,
}

#[async_trait]
impl BlobSource for OwnBlob<'_> {
    async fn open(&self, from: u64) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        let blob = self.client.blob(self.repository, self.blob).await.map_err(io::Error::other)?;
        Ok(skipped(blob.into_stream().map_err(io::Error::other).boxed(), from))
    }
}

/// Leaves the first bytes out: they are read again, so that the digest is checked over all of them.
fn skipped(bytes: BoxStream<'static, io::Result<Bytes>>, from: u64) -> BoxStream<'static, io::Result<Bytes>> {
    let mut left = from;
    bytes
        .map_ok(move |mut bytes| {
            let skip = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            left -= skip as u64;
            bytes.split_off(skip)
        })
        .boxed()
}
