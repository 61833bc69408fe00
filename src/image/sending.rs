//! A layer made and sent at the same time.

use std::sync::Arc;

use super::layer::{ArchiveCopy, Layer, LayerEntry, LayerError, Packer, ReadLayer};
use super::source::ImageError;
use super::target::{ImageTarget, Stored};

/// Why a layer is not where it was to be.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It could not be made.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// It could not be sent.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// A worker ended without an answer.
    #[error("a worker that made a layer ended early")]
    Worker,
}

/// Compresses a layer and sends it to `target` meanwhile.
///
/// What [`Packer::read`] kept of it is not read again; all else comes from `entries`. `copy` gets the archive as it is. Where sending fails, making it ends.
pub async fn send<I>(
    packer: &Arc<Packer>,
    target: &dyn ImageTarget,
    read: Option<ReadLayer>,
    copy: Option<ArchiveCopy>,
    entries: impl FnOnce() -> I + Send + 'static,
) -> Result<(Layer, Stored), SendError>
where
    I: Iterator<Item = Result<LayerEntry, LayerError>>,
{
    let mut spool = packer.spool()?;
    if let Some(copy) = copy {
        spool.copy_archive(copy);
    }
    let growing = spool.growing();
    let packer = Arc::clone(packer);
    let made = tokio::task::spawn_blocking(move || packer.pack_to(spool, read, entries()));
    let stored = target.put_growing(growing).await;
    match (made.await.map_err(|_| SendError::Worker)?, stored) {
        (Ok(layer), Ok(Some(stored))) => Ok((layer, stored)),
        // It was given up because nobody wanted to have it any more.
        (_, Err(error)) => Err(SendError::Image(Box::new(error))),
        (Err(error), Ok(_)) => Err(error.into()),
        (Ok(_), Ok(None)) => Err(SendError::Worker),
    }
}
