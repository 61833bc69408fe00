//! A cache in a registry: an image whose layers are the cached ones, and whose label says whose they are.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::{CacheError, Kept, METADATA, files};
use crate::image::draft::CREATED;
use crate::image::layer::unpack::{self, Archived};
use crate::image::layer::{Layer, LayerFolder, Packer};
use crate::image::sending::send;
use crate::image::source::BlobStream;
use crate::image::{
    Descriptor, Digest, ImageDraft, ImageError, ImageReference, ImageSource, ImageTarget, Platform, RegistryClient,
    RegistryError, RegistryTarget, SourceImage,
};
use crate::lifecycle::go_json;
use crate::lifecycle::labels::CacheMetadata;

/// How many pieces of a layer wait for whoever unpacks it.
const PIECES_AHEAD: usize = 64;

/// An image that keeps layers between builds, as `pack --cache-image` has it.
pub struct ImageCache {
    image: ImageReference,
    fallbacks: Vec<ImageReference>,
    source: Arc<dyn ImageSource>,
    target: Arc<dyn ImageTarget>,
}

impl ImageCache {
    /// The cache `image`, which is read and written; where it is not there, the first of `fallbacks` that is there is read.
    ///
    /// Layers that lie in the same registry are taken over there: they are neither read nor sent.
    pub fn new(client: &RegistryClient, image: ImageReference, fallbacks: Vec<ImageReference>) -> Self {
        let target = RegistryTarget::new(client.clone(), image.repository().clone());
        Self { image, fallbacks, source: Arc::new(client.clone()), target: Arc::new(target) }
    }

    pub(super) fn source(&self) -> &dyn ImageSource {
        self.source.as_ref()
    }

    /// Returns the first image that is there and says what it has. Fails only where none is and one could not be read.
    pub(super) async fn find(&self) -> Result<Option<(CacheMetadata, SourceImage)>, CacheError> {
        let mut failed = None;
        for name in std::iter::once(&self.image).chain(&self.fallbacks) {
            match self.source.image(name, &Platform::host()).await {
                Ok(Some(image)) => {
                    let label = image.config.label(METADATA).and_then(|label| serde_json::from_str(label).ok());
                    if let (Some(metadata), Ok(())) = (label, image.check()) {
                        return Ok(Some((metadata, image)));
                    }
                }
                Ok(None) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), |error| Err(error.into()))
    }

    pub(super) async fn archive(&self, image: Option<&SourceImage>, digest: &Digest) -> Result<Archived, CacheError> {
        let missing = || CacheError::NoLayer(digest.to_string());
        let image = image.ok_or_else(missing)?;
        let blob = image.layer(digest).ok_or_else(missing)?;
        let pieces = Pieces::of(self.source.blob(image, blob).await?);
        // The first bytes are waited for here.
        let opened = tokio::task::spawn_blocking(move || unpack::archive(pieces)).await;
        opened.map_err(|_| CacheError::Worker)?.map_err(files("read a layer of the cache"))
    }

    pub(super) fn begin(&self) -> NewImageSet<'_> {
        NewImageSet { cache: self }
    }
}

/// A blob on its way, for somebody who waits for its bytes.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Pieces {
    /// Has a task receive the blob, as fast as it is read.
    fn of(mut blob: BlobStream) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        tokio::spawn(async move {
            while let Some(piece) = blob.next().await {
                if sender.send(piece.map_err(io::Error::other)).await.is_err() {
                    return;
                }
            }
        });
        Self { pieces, piece: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let read = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

/// The layers of a new image; they are in its repository before it is written.
pub(super) struct NewImageSet<'c> {
    cache: &'c ImageCache,
}

impl NewImageSet<'_> {
    /// Takes a layer over; `false` where it is not there any more.
    pub(super) async fn keep(
        &self,
        blob: &Descriptor,
        image: &SourceImage,
        source: &dyn ImageSource,
    ) -> Result<bool, CacheError> {
        match self.cache.target.take_layer(source, image, blob).await {
            Ok(_) => Ok(true),
            Err(ImageError::Registry(RegistryError::NotFound { .. })) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn add(&self, packer: &Arc<Packer>, layer: LayerFolder) -> Result<Layer, CacheError> {
        let (layer, _) = send(packer, self.cache.target.as_ref(), None, None, move || layer.entries()).await?;
        Ok(layer)
    }

    pub(super) async fn commit(
        &self,
        packer: &Arc<Packer>,
        metadata: &CacheMetadata,
        layers: &[Kept],
    ) -> Result<(), CacheError> {
        let Platform { os, architecture, .. } = Platform::host();
        let mut draft = ImageDraft::empty(&os, &architecture);
        let mut seen = BTreeSet::new();
        for layer in layers {
            if let (Ok(diff_id), Some(blob)) = (layer.sha.parse::<Digest>(), &layer.blob)
                && seen.insert(diff_id.clone())
            {
                draft.push(diff_id, blob.clone(), "");
            }
        }
        if seen.is_empty() {
            // Not every registry takes an image without layers; the Go lifecycle too has an archive without entries then.
            let (layer, _) = send(packer, self.cache.target.as_ref(), None, None, std::iter::empty).await?;
            draft.push(layer.diff_id, layer.descriptor, "");
        }
        draft.config.config.labels.insert(METADATA.to_owned(), go_json::to_string(metadata));
        let image = draft.finish(CREATED)?;
        self.cache.target.finish(&image, std::slice::from_ref(&self.cache.image)).await?;
        Ok(())
    }
}
