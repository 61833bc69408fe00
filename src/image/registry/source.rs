//! A registry as the place that images are read from.

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::RegistryClient;
use super::error::RegistryError;
use crate::image::manifest::{Descriptor, Platform};
use crate::image::reference::ImageReference;
use crate::image::source::{BlobStream, ImageError, ImageSource, SourceImage};

#[async_trait]
impl ImageSource for RegistryClient {
    async fn image(&self, image: &ImageReference, platform: &Platform) -> Result<Option<SourceImage>, ImageError> {
        let (raw, manifest) = match self.raw_image_manifest(image, platform).await {
            Ok(found) => found,
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let config = self.config_of(image, &manifest).await?;
        let (digest, media_type) = (raw.digest, raw.media_type);
        Ok(Some(SourceImage { reference: image.clone(), digest, media_type, manifest, config }))
    }

    async fn blob(&self, image: &SourceImage, blob: &Descriptor) -> Result<BlobStream, ImageError> {
        let blob = Self::blob(self, image.reference.repository(), blob).await?;
        Ok(blob.into_stream().map_err(ImageError::from).boxed())
    }
}
