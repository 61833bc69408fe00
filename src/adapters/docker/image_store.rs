//! `ImageStore` over a Docker daemon: images that never leave this machine.

use async_trait::async_trait;

use super::engine::Docker;
use crate::image::{Digest, ImageConfig, ImageReference, Tag};
use crate::ports::container_engine::{ContainerEngine, ContainerSpec};
use crate::ports::failure::Failure;
use crate::ports::image_store::{ImageStore, RemoveOutcome, TagOutcome};

/// Where the lifecycle leaves what it knows of an app image.
const BUILD_METADATA: &str = "/layers/config/metadata.toml";

/// Images in the daemon; the digest of one is its id.
#[async_trait]
impl ImageStore for Docker {
    async fn resolve(&self, image: &ImageReference) -> Result<Digest, Failure> {
        let id = self.image(&name(image)).await?.id;
        id.parse().map_err(|error| Failure::refused(format!("read the id of `{image}`"), error))
    }

    async fn config(&self, image: &ImageReference) -> Result<ImageConfig, Failure> {
        Ok(self.image(&name(image)).await?.config)
    }

    async fn tag(&self, source: &ImageReference, tags: &[Tag]) -> Result<Vec<TagOutcome>, Failure> {
        let id = self.image(&name(source)).await?.id;
        let mut outcomes = Vec::with_capacity(tags.len());
        for tag in tags {
            let target = name(&source.repository().tagged(tag.clone()));
            outcomes.push(match self.image(&target).await {
                Ok(there) if there.id == id => TagOutcome::AlreadyThere,
                Ok(_) | Err(Failure::NotFound { .. }) => {
                    self.tag_image(&id, &target).await?;
                    TagOutcome::Created
                }
                Err(failure) => return Err(failure),
            });
        }
        Ok(outcomes)
    }

    async fn remove_tag(&self, image: &ImageReference) -> Result<RemoveOutcome, Failure> {
        if image.tag().is_none() || image.digest().is_some() {
            return Err(Failure::refused(format!("remove `{image}`"), "only a tag is removed, never an image"));
        }
        let name = name(image);
        // With its last name Docker would delete the image too.
        match self.image(&name).await {
            Err(Failure::NotFound { .. }) => return Ok(RemoveOutcome::NotThere),
            Err(failure) => return Err(failure),
            Ok(image) if image.repo_tags.len() < 2 => {
                return Ok(RemoveOutcome::Unsupported { reason: "it is the image's only name".to_owned() });
            }
            Ok(_) => {}
        }
        Ok(if self.untag_image(&name).await? { RemoveOutcome::Removed } else { RemoveOutcome::NotThere })
    }

    async fn build_metadata(&self, image: &ImageReference) -> Result<Option<String>, Failure> {
        let doing = || format!("read `{BUILD_METADATA}` of `{image}`");
        let container = format!("packhorse-read-{:016x}", fastrand::u64(..));
        // A container that is never started costs nothing; Docker has no other way to read a file of an image.
        let spec = ContainerSpec {
            name: container.clone(),
            image: name(image),
            // An image without a command of its own can only be created with one.
            command: Some(vec!["/never-started".to_owned()]),
            ..ContainerSpec::default()
        };
        self.create(&spec).await?;
        let content = self.copy_out(&container, BUILD_METADATA).await;
        self.remove(&container).await?;
        let Some(content) = content? else { return Ok(None) };
        String::from_utf8(content).map(Some).map_err(|error| Failure::refused(doing(), error))
    }
}

/// Writes a reference as this daemon knows it: an image that was never pushed is known by its id.
fn name(image: &ImageReference) -> String {
    match (image.tag(), image.digest()) {
        (None, Some(digest)) => digest.to_string(),
        (Some(tag), _) => image.repository().tagged(tag.clone()).to_string(),
        (None, None) => image.to_string(),
    }
}
