//! The layers of an image that was just made, for the cache, which may want some of them too.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::image::layer::Layer;
use crate::image::source::BlobStream;
use crate::image::{Descriptor, Digest, ImageError, ImageReference, ImageSource, NewImage, Platform, SourceImage};

/// The layers of an image that was just written: where they are by now, and those that were made for it, whose files are still here.
#[derive(Debug)]
pub struct AtHand {
    /// The image.
    pub image: SourceImage,
    made: BTreeMap<Digest, Layer>,
}

impl AtHand {
    /// `image` was written under `name`; `made` are its new layers.
    pub(super) fn new(image: &NewImage, name: &ImageReference, made: impl IntoIterator<Item = Layer>) -> Self {
        let digest = image.digest();
        let image = SourceImage {
            reference: name.repository().at(digest.clone()),
            digest,
            media_type: image.media_type.clone(),
            manifest: image.manifest.clone(),
            config: image.config.clone(),
        };
        Self { image, made: made.into_iter().map(|layer| (layer.descriptor.digest.clone(), layer)).collect() }
    }
}

/// Reads the new layers from their files.
#[async_trait]
impl ImageSource for AtHand {
    async fn image(&self, _: &ImageReference, _: &Platform) -> Result<Option<SourceImage>, ImageError> {
        Ok(Some(self.image.clone()))
    }

    async fn blob(&self, image: &SourceImage, blob: &Descriptor) -> Result<BlobStream, ImageError> {
        let missing = || ImageError::NoLayer { image: image.reference.clone(), layer: blob.digest.clone() };
        let layer = self.made.get(&blob.digest).ok_or_else(missing)?.clone();
        let failed = |source| ImageError::Disk { doing: "read a layer that was just made".to_owned(), source };
        let file = tokio::fs::File::open(&*layer.blob).await.map_err(failed)?;
        let pieces = tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024);
        // The file stays as long as it is read.
        Ok(pieces.map_err(failed).inspect(move |_| _ = &layer).boxed())
    }
}
