//! Layers kept between builds: in a folder, or as an image in a registry. Both are the Go lifecycle's formats.
//!
//! A cache saves time and never fails a build: what is missing, damaged or cannot be reached is made anew.

mod folder;
mod handover;
mod image;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use folder::{FolderCache, NewSet};
pub use handover::Handover;
pub use image::ImageCache;
use image::NewImageSet;
use tempfile::NamedTempFile;

use super::labels::CacheMetadata;
use crate::image::layer::unpack::{Archived, ahead, verified};
use crate::image::layer::{ArchiveCopy, Layer, LayerError, LayerFolder, Packer};
use crate::image::sending::SendError;
use crate::image::{Descriptor, Digest, ImageError, ImageSource, SourceImage};

/// The file, and the label, with [`CacheMetadata`].
const METADATA: &str = "io.buildpacks.lifecycle.cache.metadata";

/// The layers of one app, kept between builds.
pub struct LayerCache {
    place: Place,
    handover: Option<Handover>,
}

enum Place {
    Folder(FolderCache),
    Image(ImageCache),
}

/// Why the cache failed. No build fails for it.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file or folder failed, or what is in it is damaged.
    #[error("could not {doing}")]
    Files {
        /// What was tried.
        doing: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A layer could not be read to be kept.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// An image could not be read or written.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// The cache's image has no layer of this digest, though it says so.
    #[error("the cache has no layer {0}")]
    NoLayer(String),
    /// A worker ended without an answer.
    #[error("a worker of the cache ended early")]
    Worker,
}

impl From<ImageError> for CacheError {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl From<SendError> for CacheError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Layer(error) => Self::Layer(error),
            SendError::Image(error) => Self::Image(error),
            SendError::Worker => Self::Worker,
        }
    }
}

fn files(doing: &str) -> impl FnOnce(io::Error) -> CacheError {
    let doing = doing.to_owned();
    |source| CacheError::Files { doing, source }
}

/// What an earlier build left.
#[derive(Debug)]
pub struct Found {
    /// Which layers.
    pub metadata: CacheMetadata,
    /// The image that they are in, where they are in one.
    image: Option<SourceImage>,
}

/// A layer that lies in a registry or on this machine, and is to be kept as it is.
#[derive(Clone, Copy)]
pub struct AsItIs<'a> {
    /// The digest of its archive.
    pub diff_id: &'a Digest,
    /// Its blob, the image that has it, and where that is read.
    pub blob: Option<(&'a Descriptor, &'a SourceImage, &'a dyn ImageSource)>,
}

/// A layer in the new set.
#[derive(Debug)]
pub struct Kept {
    /// The digest of its archive.
    pub sha: String,
    blob: Option<Descriptor>,
}

impl LayerCache {
    /// The cache in this folder, which need not be there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { place: Place::Folder(FolderCache::new(folder)), handover: None }
    }

    /// The cache in an image, which need not be there.
    pub fn in_registry(image: ImageCache) -> Self {
        Self { place: Place::Image(image), handover: None }
    }

    /// Has the folders of layers handed from build to build too.
    #[must_use]
    pub fn with_handover(self, handover: Handover) -> Self {
        Self { handover: Some(handover), ..self }
    }

    /// Returns the folders that are handed from build to build, where they are.
    pub fn handover(&self) -> Option<&Handover> {
        self.handover.as_ref()
    }

    /// Looks for what an earlier build left; `None` where that is nothing.
    pub async fn find(&self) -> Result<Option<Found>, CacheError> {
        match &self.place {
            Place::Folder(folder) => Ok(folder.metadata().map(|metadata| Found { metadata, image: None })),
            Place::Image(image) => {
                let found = image.find().await?;
                Ok(found.map(|(metadata, image)| Found { metadata, image: Some(image) }))
            }
        }
    }

    /// Opens a layer's archive. Reading it to its end fails where it is not what its digest promises: what was unpacked counts
    /// only then. Reading blocks, and wants a thread that may.
    pub async fn archive(&self, found: &Found, sha: &str) -> Result<Archived, CacheError> {
        let digest: Digest = sha.parse().map_err(|_| CacheError::NoLayer(sha.to_owned()))?;
        let archive: Archived = match &self.place {
            Place::Folder(folder) => Box::new(folder.archive(sha)?),
            Place::Image(cache) => cache.archive(found.image.as_ref(), &digest).await?,
        };
        Ok(Box::new(ahead(verified(archive, digest))))
    }

    /// Returns the blob of a layer that an earlier build left in a registry, with its image.
    pub fn blob<'f>(&'f self, found: &'f Found, sha: &Digest) -> Option<AsItIs<'f>> {
        let (Place::Image(cache), Some(image)) = (&self.place, &found.image) else { return None };
        let (diff_id, blob) = image.layers().find(|(diff_id, _)| *diff_id == sha)?;
        Some(AsItIs { diff_id, blob: Some((blob, image, cache.source())) })
    }

    /// Begins a new set in the place of what was found.
    pub fn begin(&self) -> Result<NewLayers<'_>, CacheError> {
        Ok(match &self.place {
            Place::Folder(folder) => NewLayers(Set::Folder(Arc::new(folder.begin()?))),
            Place::Image(image) => NewLayers(Set::Image(image.begin())),
        })
    }
}

/// A set of layers that is being written; without [`Self::commit`] the old one stays.
pub struct NewLayers<'c>(Set<'c>);

enum Set<'c> {
    Folder(Arc<NewSet>),
    Image(NewImageSet<'c>),
}

impl NewLayers<'_> {
    /// Keeps a layer that is there already, without reading it; `None` where that cannot be done.
    pub async fn keep(&self, layer: AsItIs<'_>) -> Result<Option<Kept>, CacheError> {
        let AsItIs { diff_id, blob } = layer;
        let kept = |blob| Kept { sha: diff_id.to_string(), blob };
        match (&self.0, blob) {
            (Set::Folder(set), _) => Ok(set.reuse(diff_id.as_str())?.then(|| kept(None))),
            (Set::Image(set), Some((blob, image, source))) => {
                Ok(set.keep(blob, image, source).await?.then(|| kept(Some(blob.clone()))))
            }
            (Set::Image(_), None) => Ok(None),
        }
    }

    /// Wants a copy of the archive of a layer that is about to be made, so that it need not be read once more for the cache.
    ///
    /// `None` where the cache has no use for it: it has a layer of this digest, or takes over what is made.
    pub fn copy(&self, diff_id: Option<&str>) -> Option<CopyInCache<'_>> {
        let Set::Folder(set) = &self.0 else { return None };
        if diff_id.is_some_and(|sha| set.had(sha)) {
            return None;
        }
        // Without one the layer is read again later, and whatever is wrong is told then.
        let file = set.begin_archive().ok()?;
        let copy = ArchiveCopy::to(file.reopen().ok()?);
        Some(CopyInCache { set, file, copy })
    }

    /// Reads a layer and keeps it.
    pub async fn add(&self, packer: &Arc<Packer>, layer: LayerFolder) -> Result<Kept, CacheError> {
        match &self.0 {
            Set::Folder(set) => {
                let set = Arc::clone(set);
                let added = tokio::task::spawn_blocking(move || set.add(layer.entries())).await;
                Ok(Kept { sha: added.map_err(|_| CacheError::Worker)??, blob: None })
            }
            Set::Image(set) => {
                let Layer { diff_id, descriptor, .. } = set.add(packer, layer).await?;
                Ok(Kept { sha: diff_id.to_string(), blob: Some(descriptor) })
            }
        }
    }

    /// Puts the new set in the place of the old one.
    pub async fn commit(
        self,
        packer: &Arc<Packer>,
        metadata: &CacheMetadata,
        layers: &[Kept],
    ) -> Result<(), CacheError> {
        match self.0 {
            Set::Folder(set) => tokio::task::block_in_place(|| set.commit(metadata)),
            Set::Image(set) => set.commit(packer, metadata, layers).await,
        }
    }
}

/// A copy of an archive on its way into the cache; dropped, it is gone.
pub struct CopyInCache<'s> {
    set: &'s NewSet,
    file: NamedTempFile,
    copy: ArchiveCopy,
}

impl CopyInCache<'_> {
    /// Returns what is to be written to.
    #[must_use]
    pub fn archive(&self) -> ArchiveCopy {
        self.copy.clone()
    }

    /// Takes the copy into the set, where it is whole; the layer is made.
    pub fn keep(self, diff_id: &Digest) {
        if self.copy.is_whole() {
            // Without it the layer is read again.
            let _ = self.set.adopt(self.file, diff_id.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::lifecycle::labels::Sha;

    #[tokio::test]
    async fn damaged_layer_is_not_taken_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let set = FolderCache::new(folder.path()).begin().unwrap();
        let entry = crate::image::layer::LayerEntry::file("/layers/a", 0o644, "1");
        let sha = set.add(std::iter::once(Ok(entry))).unwrap();
        let metadata = CacheMetadata { sbom: Sha { sha: sha.clone() }, buildpacks: vec![] };
        set.commit(&metadata).unwrap();
        let cache = LayerCache::new(folder.path());
        let read = async || {
            let found = cache.find().await.unwrap().unwrap();
            cache.archive(&found, &sha).await.unwrap().read_to_end(&mut Vec::new())
        };
        assert_eq!(read().await.unwrap(), 4 * 512);
        let path = folder.path().join("committed").join(format!("{sha}.tar"));
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
        assert!(read().await.unwrap_err().to_string().contains("damaged"));
    }
}
