//! A registry without images.

use async_trait::async_trait;
use packhorse::image::{Digest, ImageConfig, ImageReference, Tag};
use packhorse::ports::failure::Failure;
use packhorse::ports::image_store::{ImageStore, RemoveOutcome, TagOutcome};

/// No registry: builds that leave metadata behind need nobody to ask for their image.
pub(crate) struct NoImages;

#[async_trait]
impl ImageStore for NoImages {
    async fn resolve(&self, image: &ImageReference) -> Result<Digest, Failure> {
        Err(Failure::NotFound { what: image.to_string() })
    }

    async fn config(&self, image: &ImageReference) -> Result<ImageConfig, Failure> {
        Err(Failure::NotFound { what: image.to_string() })
    }

    async fn tag(&self, source: &ImageReference, _: &[Tag]) -> Result<Vec<TagOutcome>, Failure> {
        Err(Failure::NotFound { what: source.to_string() })
    }

    async fn remove_tag(&self, _: &ImageReference) -> Result<RemoveOutcome, Failure> {
        Ok(RemoveOutcome::NotThere)
    }

    async fn build_metadata(&self, _: &ImageReference) -> Result<Option<String>, Failure> {
        Ok(None)
    }
}
