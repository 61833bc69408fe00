//! A layer in one pass: read, hash, compress on all cores, hash again, write.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tempfile::TempPath;

use super::archive::Archive;
use super::compress::{BLOCK, Compressed, Compression, CompressorPool};
use super::entry::LayerEntry;
use super::error::LayerError;
use crate::image::digest::{Digest, Hasher};
use crate::image::manifest::Descriptor;

/// A layer, compressed, in a file that goes with the last of its clones.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The digest of the archive: what makes two layers the same.
    pub diff_id: Digest,
    /// The size of the archive in bytes.
    pub archive_size: u64,
    /// The compressed layer, under OCI's media type.
    pub descriptor: Descriptor,
    /// The compressed layer's bytes.
    pub blob: Arc<TempPath>,
}

/// The digest of an archive that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveDigest {
    /// The digest.
    pub diff_id: Digest,
    /// The size in bytes.
    pub size: u64,
}

/// Makes layers. Several threads may use one at once; they share its cores.
pub struct Packer {
    pool: CompressorPool,
    folder: PathBuf,
    compression: Compression,
    stop: Arc<AtomicBool>,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Packer {
    /// Makes a packer that keeps its layers in `folder`, which is there already, until they are dropped.
    pub fn new(folder: impl Into<PathBuf>, compression: Compression) -> Result<Self, LayerError> {
        let pool = CompressorPool::on_all_cores().map_err(LayerError::Uncompressed)?;
        let (folder, stop) = (folder.into(), Arc::default());
        Ok(Self { pool, folder, compression, stop, spare: Mutex::default() })
    }

    /// Returns the switch that ends whatever is under way with [`LayerError::Stopped`].
    #[must_use]
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Reads a layer for its digest only; that is several times faster than compressing it.
    pub fn digest(
        &self,
        entries: impl Iterator<Item = Result<LayerEntry, LayerError>>,
    ) -> Result<ArchiveDigest, LayerError> {
        thread::scope(|scope| {
            let (blocks, to_hash) = sync_channel::<Arc<Vec<u8>>>(2);
            let hasher = scope.spawn(move || hash(to_hash.iter(), |block| self.give_back(block)));
            let size = self.cut(entries, |block| blocks.send(block).map_err(|_| ended_early()))?;
            drop(blocks);
            let diff_id = hasher.join().map_err(|_| ended_early())?;
            Ok(ArchiveDigest { diff_id, size })
        })
    }

    /// Reads a layer once and compresses it. Blocks until it is done; memory does not grow with the layer.
    pub fn pack(&self, entries: impl Iterator<Item = Result<LayerEntry, LayerError>>) -> Result<Layer, LayerError> {
        let file = tempfile::Builder::new().prefix("layer-").tempfile_in(&self.folder);
        let (file, path) = file.map_err(|source| self.unwritable(source))?.into_parts();
        // Enough that no core waits while one block is slow.
        let under_way = 2 * self.pool.threads() + 2;
        let (archive_size, (size, digest), diff_id) = thread::scope(|scope| {
            let (blocks, to_hash) = sync_channel::<Arc<Vec<u8>>>(under_way);
            let hasher = scope.spawn(move || hash(to_hash.iter(), |block| self.give_back(block)));
            let (members, compressed) = sync_channel::<Compressed>(under_way);
            let writer = scope.spawn(move || write(file, compressed.iter()));
            let archive = self.cut(entries, |block| self.hand_on(block, &blocks, &members));
            drop((blocks, members));
            let diff_id = hasher.join().map_err(|_| ended_early())?;
            // Where the writer failed, cutting failed too, but only it knows why.
            let written = writer.join().map_err(|_| ended_early())?;
            let (size, digest) = written.map_err(|error| match error {
                WriteError::Disk(source) => self.unwritable(source),
                WriteError::Compression(source) => LayerError::Uncompressed(source),
            })?;
            Ok::<_, LayerError>((archive?, (size, digest), diff_id))
        })?;
        let mut descriptor = Descriptor::of(self.compression.media_type(), b"");
        (descriptor.digest, descriptor.size) = (digest, size);
        Ok(Layer { diff_id, archive_size, descriptor, blob: Arc::new(path) })
    }

    fn hand_on(
        &self,
        block: Arc<Vec<u8>>,
        blocks: &SyncSender<Arc<Vec<u8>>>,
        members: &SyncSender<Compressed>,
    ) -> Result<(), LayerError> {
        let member = self.pool.compress(Arc::clone(&block), self.compression);
        blocks.send(block).map_err(|_| ended_early())?;
        members.send(member).map_err(|_| ended_early())
    }

    /// Cuts the archive of `entries` into blocks and returns its size.
    fn cut(
        &self,
        entries: impl Iterator<Item = Result<LayerEntry, LayerError>>,
        mut take: impl FnMut(Arc<Vec<u8>>) -> Result<(), LayerError>,
    ) -> Result<u64, LayerError> {
        let mut archive = Archive::new(entries);
        let mut size = 0;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(LayerError::Stopped);
            }
            let mut block = self.block();
            let ended = archive.fill(&mut block)?;
            size += block.len() as u64;
            if !block.is_empty() {
                take(Arc::new(block))?;
            }
            if ended {
                return Ok(size);
            }
        }
    }

    /// Returns an empty block, a used one where there is one: fresh memory costs as much as hashing.
    fn block(&self) -> Vec<u8> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(BLOCK))
    }

    fn give_back(&self, block: Arc<Vec<u8>>) {
        // Where a compressor still has it, it is freed there.
        if let Ok(mut block) = Arc::try_unwrap(block) {
            block.clear();
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < 4 {
                spare.push(block);
            }
        }
    }

    fn unwritable(&self, source: io::Error) -> LayerError {
        LayerError::Unwritable { folder: self.folder.clone(), source }
    }

    /// Returns the folder that holds the layers.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// What is said when a neighbour's failure is the reason; the neighbour's own error is the one that is shown.
fn ended_early() -> LayerError {
    LayerError::Uncompressed(io::Error::other("another part of the work ended early"))
}

fn hash(blocks: impl Iterator<Item = Arc<Vec<u8>>>, mut give_back: impl FnMut(Arc<Vec<u8>>)) -> Digest {
    let mut hasher = Hasher::default();
    for block in blocks {
        hasher.update(&block);
        give_back(block);
    }
    hasher.finish()
}

enum WriteError {
    Disk(io::Error),
    Compression(io::Error),
}

fn write(mut file: File, members: impl Iterator<Item = Compressed>) -> Result<(u64, Digest), WriteError> {
    let mut hasher = Hasher::default();
    let mut size = 0;
    for member in members {
        let member = member.recv().map_err(|error| WriteError::Compression(io::Error::other(error)))?;
        let member = member.map_err(WriteError::Compression)?;
        hasher.update(&member);
        file.write_all(&member).map_err(WriteError::Disk)?;
        size += member.len() as u64;
    }
    file.flush().map_err(WriteError::Disk)?;
    Ok((size, hasher.finish()))
}
