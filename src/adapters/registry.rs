//! `ImageStore` over a registry.

use async_trait::async_trait;

use crate::image::registry::{Deleted, RegistryClient, RegistryError, Tagged};
use crate::image::{Digest, ImageConfig, ImageReference, Platform, Tag};
use crate::ports::failure::Failure;
use crate::ports::image_store::{ImageStore, RemoveOutcome, TagOutcome};

/// Images in a registry; of those for several platforms, the one for this machine is read.
#[async_trait]
impl ImageStore for RegistryClient {
    async fn resolve(&self, image: &ImageReference) -> Result<Digest, Failure> {
        Ok(Self::resolve(self, image).await?)
    }

    async fn config(&self, image: &ImageReference) -> Result<ImageConfig, Failure> {
        Ok(Self::config(self, image, &Platform::host()).await?)
    }

    async fn tag(&self, source: &ImageReference, tags: &[Tag]) -> Result<Vec<TagOutcome>, Failure> {
        let manifest = self.manifest(source).await?;
        let mut outcomes = Vec::with_capacity(tags.len());
        for tag in tags {
            outcomes.push(match self.tag_manifest(source.repository(), &manifest, tag).await {
                Ok(Tagged::Written) => TagOutcome::Created,
                Ok(Tagged::AlreadyThere) => TagOutcome::AlreadyThere,
                Err(RegistryError::TagImmutable { .. }) => TagOutcome::Immutable,
                Err(error) => return Err(error.into()),
            });
        }
        Ok(outcomes)
    }

    async fn remove_tag(&self, image: &ImageReference) -> Result<RemoveOutcome, Failure> {
        let (Some(tag), None) = (image.tag(), image.digest()) else {
            return Err(Failure::refused(format!("remove `{image}`"), "only a tag is removed, never an image"));
        };
        Ok(match self.delete_tag(image.repository(), tag).await? {
            Deleted::Done => RemoveOutcome::Removed,
            Deleted::NotThere => RemoveOutcome::NotThere,
            Deleted::Unsupported { reason } => RemoveOutcome::Unsupported { reason },
        })
    }

    async fn build_metadata(&self, image: &ImageReference) -> Result<Option<String>, Failure> {
        Ok(Self::build_metadata(self, image, &Platform::host()).await?)
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        // The error below says which registry and why; this only sorts it.
        match &error {
            RegistryError::NotFound { registry, doing } => {
                Self::NotFound { what: format!("what was needed to {doing}, in {registry},") }
            }
            RegistryError::Unauthorized { doing, .. } => Self::Denied { doing: doing.clone(), source: error.into() },
            RegistryError::Unavailable { doing, .. } => {
                Self::Unavailable { doing: doing.clone(), source: error.into() }
            }
            RegistryError::Lied { doing, .. }
            | RegistryError::Unreadable { doing, .. }
            | RegistryError::Refused { doing, .. } => Self::Refused { doing: doing.clone(), source: error.into() },
            RegistryError::TagImmutable { tag, .. } => {
                Self::Refused { doing: format!("move the tag `{tag}`"), source: error.into() }
            }
        }
    }
}
