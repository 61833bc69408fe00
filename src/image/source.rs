//! Where images are read from.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::config::ImageConfig;
use super::digest::Digest;
use super::manifest::{Descriptor, Manifest, ManifestError, Platform};
use super::reference::ImageReference;
use super::registry::RegistryError;

/// An image as it was read; everything but the layers' bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceImage {
    /// The name it was asked for by.
    pub reference: ImageReference,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The media type of its manifest.
    pub media_type: String,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its config.
    pub config: ImageConfig,
}

impl SourceImage {
    /// Returns the layer whose archive has this digest, as the image has it compressed.
    #[must_use]
    pub fn layer(&self, diff_id: &Digest) -> Option<&Descriptor> {
        let position = self.config.rootfs.diff_ids.iter().position(|layer| layer == diff_id)?;
        self.manifest.layers.get(position)
    }

    /// Returns the layers, the lowest first: digest of the archive, and descriptor.
    ///
    /// A manifest with another number of layers than its config has none that can be told apart; see [`Self::check`].
    pub fn layers(&self) -> impl Iterator<Item = (&Digest, &Descriptor)> {
        self.config.rootfs.diff_ids.iter().zip(&self.manifest.layers)
    }

    /// Counts the lowest layers that it has in common with another image.
    #[must_use]
    pub fn common_layers(&self, other: &Self) -> usize {
        let both = self.config.rootfs.diff_ids.iter().zip(&other.config.rootfs.diff_ids);
        both.take_while(|(own, others)| own == others).count()
    }

    /// Returns the digest of the uppermost layer's archive.
    #[must_use]
    pub fn top_layer(&self) -> Option<&Digest> {
        self.config.rootfs.diff_ids.last()
    }

    /// Returns the name by which it stays this image.
    #[must_use]
    pub fn pinned(&self) -> ImageReference {
        self.reference.repository().at(self.digest.clone())
    }

    /// Checks that manifest and config speak of the same layers.
    pub fn check(&self) -> Result<(), ImageError> {
        let (manifest, config) = (self.manifest.layers.len(), self.config.rootfs.diff_ids.len());
        if manifest == config {
            return Ok(());
        }
        Err(ImageError::Layers { image: self.reference.clone(), manifest, config })
    }
}

/// The bytes of a blob. They count only when the end was reached: the last item is an error where the digest is wrong.
pub type BlobStream = BoxStream<'static, Result<Bytes, ImageError>>;

/// Where images are read from: a registry or a folder in OCI's layout.
#[async_trait]
pub trait ImageSource: Send + Sync {
    /// Returns the image for `platform` behind a name, or `None` where there is none of that name.
    async fn image(&self, image: &ImageReference, platform: &Platform) -> Result<Option<SourceImage>, ImageError>;

    /// Begins to read a blob of an image.
    async fn blob(&self, image: &SourceImage, blob: &Descriptor) -> Result<BlobStream, ImageError>;
}

/// Why an image could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A file or folder failed.
    #[error("could not {doing}")]
    Disk {
        /// What was tried, with the path.
        doing: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A manifest cannot be read.
    #[error("the manifest of `{image}` cannot be read")]
    Manifest {
        /// The image.
        image: ImageReference,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// A config or index cannot be read or written.
    #[error("could not {doing}")]
    Json {
        /// What was tried.
        doing: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Manifest and config speak of different layers.
    #[error("`{image}` is damaged: its manifest has {manifest} layers and its config {config}")]
    Layers {
        /// The image.
        image: ImageReference,
        /// Layers in the manifest.
        manifest: usize,
        /// Layers in the config.
        config: usize,
    },
    /// Bytes are not those that their digest promises.
    #[error("`{place}` is damaged: what is there is {found} and not {wanted}")]
    Damaged {
        /// Where the bytes lie.
        place: String,
        /// Their digest.
        found: Digest,
        /// The digest that they should have.
        wanted: Digest,
    },
    /// A layer that was to be taken over is not there.
    #[error("`{image}` has no layer {layer}")]
    NoLayer {
        /// The image.
        image: ImageReference,
        /// The digest of the layer's archive.
        layer: Digest,
    },
    /// A name does not belong to what is written to.
    #[error("`{name}` cannot be written here: {reason}")]
    Name {
        /// The name.
        name: ImageReference,
        /// Why not.
        reason: &'static str,
    },
}
