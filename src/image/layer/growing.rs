//! A layer that is being made, for whoever sends it while it grows.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempPath;
use tokio::sync::watch;

use super::pack::Layer;

/// The file that a layer is written to, and word of how far it is.
pub struct Spool {
    pub(super) file: File,
    pub(super) path: Arc<TempPath>,
    pub(super) progress: Option<watch::Sender<Progress>>,
    pub(super) archive: Option<ArchiveCopy>,
}

/// A copy of a layer's archive, not compressed, that is written while the layer is made. Where that fails, the layer is made none the
/// less.
#[derive(Debug, Clone)]
pub struct ArchiveCopy(Arc<Mutex<io::Result<File>>>);

impl ArchiveCopy {
    /// Writes to `file`, which is empty.
    #[must_use]
    pub fn to(file: File) -> Self {
        Self(Arc::new(Mutex::new(Ok(file))))
    }

    pub(super) fn add(&self, block: &[u8]) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(open) = &mut *file
            && let Err(error) = open.write_all(block)
        {
            *file = Err(error);
        }
    }

    /// Tells whether all was written, once the layer is made.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_ok()
    }
}

#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// So many bytes are in the file.
    Bytes(u64),
    /// All are.
    Ended(Box<Layer>),
}

/// A layer that is being made. Its compressed bytes can be read as far as they are.
#[derive(Debug)]
pub struct Growing {
    path: Arc<TempPath>,
    progress: watch::Receiver<Progress>,
}

/// How far a layer is.
#[derive(Debug, Clone)]
pub enum Grown {
    /// It has more bytes than were asked for, so many by now.
    To(u64),
    /// It is complete.
    Whole(Box<Layer>),
    /// It was given up; whoever made it knows why.
    GivenUp,
}

impl Spool {
    pub(super) fn new(file: File, path: TempPath) -> Self {
        Self { file, path: Arc::new(path), progress: None, archive: None }
    }

    /// Has the archive written to another file too, as it is.
    pub fn copy_archive(&mut self, copy: ArchiveCopy) {
        self.archive = Some(copy);
    }

    /// Lets another one read along. Where it loses interest, the layer is given up.
    pub fn growing(&mut self) -> Growing {
        let (sender, progress) = watch::channel(Progress::Bytes(0));
        self.progress = Some(sender);
        Growing { path: Arc::clone(&self.path), progress }
    }
}

impl Growing {
    /// Returns the file with its bytes.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until there are at least `bytes`, or the layer has ended.
    pub async fn grown(&mut self, bytes: u64) -> Grown {
        let enough = |progress: &Progress| match progress {
            Progress::Bytes(there) => *there >= bytes,
            Progress::Ended(_) => true,
        };
        match self.progress.wait_for(enough).await.as_deref() {
            Ok(Progress::Bytes(there)) => Grown::To(*there),
            Ok(Progress::Ended(layer)) => Grown::Whole(layer.clone()),
            Err(_) => Grown::GivenUp,
        }
    }

    /// Waits for the end; `None` where the layer was given up.
    pub async fn whole(&mut self) -> Option<Layer> {
        match self.grown(u64::MAX).await {
            Grown::Whole(layer) => Some(*layer),
            Grown::To(_) | Grown::GivenUp => None,
        }
    }
}
