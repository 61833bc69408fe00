//! Where images are written to.

use async_trait::async_trait;
use bytes::Bytes;

use super::config::ImageConfig;
use super::digest::Digest;
use super::layer::{Growing, Layer};
use super::manifest::{Descriptor, Manifest};
use super::reference::ImageReference;
use super::source::{ImageError, ImageSource, SourceImage};

/// Where an image is written to: a registry's repository, a folder in OCI's layout, or an archive for `docker load`.
///
/// Layers come first, in any order and several at once; then [`Self::finish`]. Whoever stops before that leaves no image:
/// what was written of it is found again next time, or removed by the registry.
#[async_trait]
pub trait ImageTarget: Send + Sync {
    /// Stores a new layer. Idempotent.
    async fn put_layer(&self, layer: &Layer) -> Result<Stored, ImageError>;

    /// Stores a new layer while it is being made, where that can be done; `None` where the layer was given up.
    ///
    /// The layer is whole when this returns, and what failed in the middle was begun anew.
    async fn put_growing(&self, mut layer: Growing) -> Result<Option<Stored>, ImageError> {
        match layer.whole().await {
            Some(layer) => self.put_layer(&layer).await.map(Some),
            None => Ok(None),
        }
    }

    /// Tells whether a layer is there already.
    async fn has_layer(&self, layer: &Descriptor) -> Result<bool, ImageError>;

    /// Takes over a layer of another image (the run image, the image before) as it is, compressed or not. Idempotent.
    ///
    /// In a registry that is no transfer where `from` is in the same registry.
    async fn take_layer(
        &self,
        source: &dyn ImageSource,
        from: &SourceImage,
        layer: &Descriptor,
    ) -> Result<Stored, ImageError>;

    /// Writes config and manifest, then the names. All layers are there. Idempotent.
    async fn finish(&self, image: &NewImage, names: &[ImageReference]) -> Result<Digest, ImageError>;
}

/// How a layer came to where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was there.
    AlreadyThere,
    /// Its bytes were sent.
    Sent,
    /// The registry took it over from another repository.
    Mounted,
}

/// An image that is ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewImage {
    /// Its config.
    pub config: ImageConfig,
    /// The config's bytes. Their digest is the image's ID.
    pub config_bytes: Bytes,
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub manifest_bytes: Bytes,
    /// The manifest's media type.
    pub media_type: String,
}

impl NewImage {
    /// Returns the digest of the manifest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest_bytes)
    }

    /// Returns the digest of the config, which Docker calls the image's ID.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.manifest.config.digest
    }
}
