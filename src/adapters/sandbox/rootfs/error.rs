//! Why a root filesystem could not be had.

use std::io;
use std::path::PathBuf;

use super::unpack::UnpackError;
use crate::image::{Digest, ImageError, ImageReference, Platform, RegistryError};

/// Why a root filesystem could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// There is no such image.
    #[error("there is no image `{image}` for {platform}")]
    NotFound {
        /// The image.
        image: ImageReference,
        /// The machine.
        platform: Platform,
    },
    /// The image could not be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A layer could not be unpacked.
    #[error("layer {number} of `{image}` could not be unpacked")]
    Unpack {
        /// The image.
        image: ImageReference,
        /// The layer, from 1.
        number: usize,
        /// The reason.
        #[source]
        source: UnpackError,
    },
    /// A layer is another one than the config promises.
    #[error("layer {number} of `{image}` is {found} and not {wanted}, as its config says")]
    Lied {
        /// The image.
        image: ImageReference,
        /// The layer, from 1.
        number: usize,
        /// The digest of its archive.
        found: Digest,
        /// The digest that was promised.
        wanted: Digest,
    },
    /// The folder cannot be used.
    #[error("the store of root filesystems in `{}` cannot be used", folder.display())]
    Store {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

impl RootfsError {
    /// Tells whether the same may work when tried again.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Image(ImageError::Registry(RegistryError::Unavailable { .. })))
    }
}
