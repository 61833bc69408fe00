//! Where finished app images lie and get their names: a registry, or a Docker daemon.

use async_trait::async_trait;

use super::failure::Failure;
use crate::image::{Digest, ImageConfig, ImageReference, Tag};

/// Names images and reads what they say of themselves. Nothing here deletes an image: a digest
/// may carry the names of releases.
#[async_trait]
pub trait ImageStore: Send + Sync {
    /// Returns the digest behind `image` now, or [`Failure::NotFound`].
    async fn resolve(&self, image: &ImageReference) -> Result<Digest, Failure>;

    /// Returns the image config: labels, entrypoint, user, working folder, variables.
    async fn config(&self, image: &ImageReference) -> Result<ImageConfig, Failure>;

    /// Gives `source` further tags in its repository, in order, one outcome per tag.
    ///
    /// Idempotent: a tag that already names this digest is not written again. A tag moves only as
    /// a whole; after an error in the middle the earlier ones have been set. An immutable tag is an
    /// outcome rather than an error, so that the others are still set.
    async fn tag(&self, source: &ImageReference, tags: &[Tag]) -> Result<Vec<TagOutcome>, Failure>;

    /// Takes the name `image` away; the image and its other names stay.
    ///
    /// `image` is a tag; one with a digest is refused, since other names share the digest.
    async fn remove_tag(&self, image: &ImageReference) -> Result<RemoveOutcome, Failure>;

    /// Returns the text of `layers/config/metadata.toml`, which lists the image's processes, or
    /// `None` for an image that no buildpacks made.
    async fn build_metadata(&self, image: &ImageReference) -> Result<Option<String>, Failure>;
}

/// What became of one tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagOutcome {
    /// It names the image now; before, it was free or named another one.
    Created,
    /// It already named this very image: nothing was written.
    AlreadyThere,
    /// It names another image, and the repository's tags may not be moved.
    Immutable,
}

/// What became of a name that was to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoveOutcome {
    /// It is gone.
    Removed,
    /// It was not there.
    NotThere,
    /// The registry or the role does not allow it: it was left.
    Unsupported {
        /// What the registry said.
        reason: String,
    },
}
