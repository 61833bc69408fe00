//! A layer in one pass: read, hash, compress on all cores, hash again, write.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tempfile::TempPath;
use tokio::sync::watch;

use super::archive::Archive;
use super::compress::{BLOCK, Compressed, Compression, CompressorPool};
use super::entry::LayerEntry;
use super::error::LayerError;
use super::growing::{Progress, Spool};
use super::memory::LayerMemory;
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

/// A layer that was read for its digest, and its bytes where they are few.
#[derive(Debug)]
pub struct ReadLayer {
    /// Its digest.
    pub digest: ArchiveDigest,
    kept: Option<Kept>,
}

/// How many bytes of read layers are kept in memory, all layers together: an app is seldom larger, and then it is read once.
const ROOM: usize = 64 * 1024 * 1024;

/// Makes layers. Several threads may use one at once; they share its cores.
pub struct Packer {
    pool: CompressorPool,
    folder: PathBuf,
    compression: Compression,
    stop: Arc<AtomicBool>,
    /// How many layers were begun.
    begun: AtomicU64,
    spare: Mutex<Vec<Vec<u8>>>,
    /// How many more bytes may be kept.
    room: Arc<AtomicUsize>,
    memory: Option<LayerMemory>,
}

impl Packer {
    /// Makes a packer that keeps its layers in `folder`, which is there already, until they are dropped.
    pub fn new(folder: impl Into<PathBuf>, compression: Compression) -> Result<Self, LayerError> {
        let pool = CompressorPool::on_all_cores().map_err(LayerError::Uncompressed)?;
        let (folder, stop, room) = (folder.into(), Arc::default(), Arc::new(AtomicUsize::new(ROOM)));
        let (begun, spare) = (AtomicU64::default(), Mutex::default());
        Ok(Self { pool, folder, compression, stop, begun, spare, room, memory: None })
    }

    /// Remembers in a file what layers became, for later builds; one file for each kind of compression.
    #[must_use]
    pub fn with_memory(self, file: impl Into<PathBuf>) -> Self {
        Self { memory: Some(LayerMemory::open(file)), ..self }
    }

    /// Returns what earlier builds left.
    #[must_use]
    pub fn memory(&self) -> Option<&LayerMemory> {
        self.memory.as_ref()
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
        Ok(self.read_with(entries, None)?.digest)
    }

    /// The same, and keeps the bytes for [`Self::pack_to`] where there is room for them.
    pub fn read(&self, entries: impl Iterator<Item = Result<LayerEntry, LayerError>>) -> Result<ReadLayer, LayerError> {
        self.read_with(entries, Some(Kept { blocks: VecDeque::new(), room: Arc::clone(&self.room) }))
    }

    fn read_with(
        &self,
        entries: impl Iterator<Item = Result<LayerEntry, LayerError>>,
        mut kept: Option<Kept>,
    ) -> Result<ReadLayer, LayerError> {
        thread::scope(|scope| {
            let (blocks, to_hash) = sync_channel::<Arc<Vec<u8>>>(2);
            let hasher = scope.spawn(move || hash(to_hash.iter(), |block| self.give_back(block)));
            let size = self.cut(entries, |block| {
                kept = kept.take().and_then(|kept| kept.with(&block));
                blocks.send(block).map_err(|_| ended_early())
            })?;
            drop(blocks);
            let diff_id = hasher.join().map_err(|_| ended_early())?;
            Ok(ReadLayer { digest: ArchiveDigest { diff_id, size }, kept })
        })
    }

    /// Reads a layer once and compresses it. Blocks until it is done; memory does not grow with the layer.
    pub fn pack(&self, entries: impl Iterator<Item = Result<LayerEntry, LayerError>>) -> Result<Layer, LayerError> {
        self.pack_to(self.spool()?, None, entries)
    }

    /// Makes the file that a layer will be written to.
    pub fn spool(&self) -> Result<Spool, LayerError> {
        let file = tempfile::Builder::new().prefix("layer-").tempfile_in(&self.folder);
        let (file, path) = file.map_err(|source| self.unwritable(source))?.into_parts();
        Ok(Spool::new(file, path))
    }

    /// Compresses a layer into `spool`: what is left of reading it before, else what is read now from `entries`.
    pub fn pack_to(
        &self,
        spool: Spool,
        before: Option<ReadLayer>,
        entries: impl Iterator<Item = Result<LayerEntry, LayerError>>,
    ) -> Result<Layer, LayerError> {
        let Spool { file, path, progress, archive: copy } = spool;
        let turn = self.begun.fetch_add(1, Ordering::Relaxed);
        // Enough that no core waits while one block is slow.
        let under_way = 2 * self.pool.threads() + 2;
        let (archive, (size, digest)) = thread::scope(|scope| {
            let (members, compressed) = sync_channel::<Compressed>(under_way);
            let told = progress.as_ref();
            // What is not compressed has the digest of the archive.
            let hasher = (self.compression != Compression::None).then(Hasher::default);
            let writer = scope.spawn(move || write(file, told, compressed.iter(), hasher));
            let archive = if let Some(ReadLayer { digest, kept: Some(mut kept) }) = before {
                let compress = |block: Arc<Vec<u8>>| {
                    if let Some(copy) = &copy {
                        copy.add(&block);
                    }
                    members.send(self.pool.compress(turn, block, self.compression))
                };
                kept.try_for_each(compress).map_err(|_| ended_early()).map(|()| digest)
            } else {
                let (blocks, to_hash) = sync_channel::<Arc<Vec<u8>>>(under_way);
                let copy = copy.as_ref();
                let hasher = scope.spawn(move || {
                    hash(to_hash.iter(), |block| {
                        if let Some(copy) = copy {
                            copy.add(&block);
                        }
                        self.give_back(block);
                    })
                });
                let size = self.cut(entries, |block| self.hand_on(turn, block, &blocks, &members));
                drop(blocks);
                let diff_id = hasher.join().map_err(|_| ended_early())?;
                size.map(|size| ArchiveDigest { diff_id, size })
            };
            drop(members);
            // Where the writer failed, cutting failed too, but only it knows why.
            let written = writer.join().map_err(|_| ended_early())?;
            let written = written.map_err(|error| match error {
                WriteError::Disk(source) => self.unwritable(source),
                WriteError::Compression(source) => LayerError::Uncompressed(source),
                WriteError::Unwanted => LayerError::Stopped,
            })?;
            Ok::<_, LayerError>((archive?, written))
        })?;
        let ArchiveDigest { diff_id, size: archive_size } = archive;
        let mut descriptor = Descriptor::of(self.compression.media_type(), b"");
        (descriptor.digest, descriptor.size) = (digest.unwrap_or_else(|| diff_id.clone()), size);
        if let Some(memory) = &self.memory {
            memory.remember(&diff_id, archive_size, &descriptor);
        }
        let layer = Layer { diff_id, archive_size, descriptor, blob: path };
        if let Some(progress) = progress {
            progress.send_replace(Progress::Ended(Box::new(layer.clone())));
        }
        Ok(layer)
    }

    fn hand_on(
        &self,
        turn: u64,
        block: Arc<Vec<u8>>,
        blocks: &SyncSender<Arc<Vec<u8>>>,
        members: &SyncSender<Compressed>,
    ) -> Result<(), LayerError> {
        let member = self.pool.compress(turn, Arc::clone(&block), self.compression);
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

/// Blocks of a layer that was read, which count against the packer's room until they are dropped.
#[derive(Debug)]
struct Kept {
    blocks: VecDeque<Arc<Vec<u8>>>,
    room: Arc<AtomicUsize>,
}

impl Kept {
    /// Keeps one block more; `None`, and nothing is kept, where there is no room for it.
    fn with(mut self, block: &Arc<Vec<u8>>) -> Option<Self> {
        let less = |room: usize| room.checked_sub(BLOCK);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        self.blocks.push_back(Arc::clone(block));
        Some(self)
    }
}

/// Hands the blocks out, and their room back.
impl Iterator for Kept {
    type Item = Arc<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.blocks.pop_front()?;
        self.room.fetch_add(BLOCK, Ordering::Relaxed);
        Some(block)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.room.fetch_add(self.blocks.len() * BLOCK, Ordering::Relaxed);
    }
}

enum WriteError {
    Disk(io::Error),
    Compression(io::Error),
    /// Whoever read along has lost interest.
    Unwanted,
}

fn write(
    mut file: File,
    told: Option<&watch::Sender<Progress>>,
    members: impl Iterator<Item = Compressed>,
    mut hasher: Option<Hasher>,
) -> Result<(u64, Option<Digest>), WriteError> {
    let mut size = 0;
    for member in members {
        let member = member.recv().map_err(|error| WriteError::Compression(io::Error::other(error)))?;
        let member = member.map_err(WriteError::Compression)?;
        if let Some(hasher) = &mut hasher {
            hasher.update(&member);
        }
        file.write_all(&member).map_err(WriteError::Disk)?;
        size += member.len() as u64;
        if let Some(told) = told
            && told.send(Progress::Bytes(size)).is_err()
        {
            return Err(WriteError::Unwanted);
        }
    }
    file.flush().map_err(WriteError::Disk)?;
    Ok((size, hasher.map(Hasher::finish)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(sizes: &[usize]) -> impl Iterator<Item = Result<LayerEntry, LayerError>> {
        let file = |(number, size): (usize, &usize)| {
            let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(*size).collect();
            Ok(LayerEntry::file(format!("/file-{number}"), 0o644, content))
        };
        sizes.iter().enumerate().map(file).collect::<Vec<_>>().into_iter()
    }

    fn nothing() -> impl Iterator<Item = Result<LayerEntry, LayerError>> {
        std::iter::once_with(|| panic!("it was read a second time"))
    }

    #[test]
    fn small_layer_is_compressed_from_what_was_read_and_gives_its_room_back() {
        let folder = tempfile::tempdir().unwrap();
        let packer = Packer::new(folder.path(), Compression::Gzip).unwrap();
        let read = packer.read(entries(&[3, BLOCK, 2 * BLOCK])).unwrap();
        let digest = read.digest.clone();
        assert!(packer.room.load(Ordering::Relaxed) < ROOM);
        let layer = packer.pack_to(packer.spool().unwrap(), Some(read), nothing()).unwrap();
        assert_eq!((layer.diff_id, layer.archive_size), (digest.diff_id, digest.size));
        assert_eq!(layer.descriptor.digest, Digest::of(&std::fs::read(&*layer.blob).unwrap()));
        assert_eq!(packer.room.load(Ordering::Relaxed), ROOM);
    }

    #[test]
    fn layer_that_is_not_compressed_is_its_archive() {
        let folder = tempfile::tempdir().unwrap();
        let packer = Packer::new(folder.path(), Compression::None).unwrap();
        let layer = packer.pack(entries(&[3, 2 * BLOCK])).unwrap();
        let bytes = std::fs::read(&*layer.blob).unwrap();
        assert_eq!((&layer.descriptor.digest, layer.descriptor.size), (&layer.diff_id, layer.archive_size));
        assert_eq!(Descriptor::of(&layer.descriptor.media_type, &bytes), layer.descriptor);
    }

    #[test]
    fn large_layer_is_not_kept_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let packer = Packer::new(folder.path(), Compression::Gzip).unwrap();
        packer.room.store(2 * BLOCK, Ordering::Relaxed);
        let read = packer.read(entries(&[3 * BLOCK])).unwrap();
        assert!(read.kept.is_none());
        assert_eq!(packer.room.load(Ordering::Relaxed), 2 * BLOCK);
        // So it is read again, and what is there by then counts.
        let layer = packer.pack_to(packer.spool().unwrap(), Some(read), entries(&[7])).unwrap();
        assert_eq!(layer.archive_size, 4 * 512);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn growing_layer_is_read_along_and_given_up_with_its_reader() {
        let folder = tempfile::tempdir().unwrap();
        let packer = Arc::new(Packer::new(folder.path(), Compression::Gzip).unwrap());
        let mut spool = packer.spool().unwrap();
        let mut growing = spool.growing();
        let worker = Arc::clone(&packer);
        let made = tokio::task::spawn_blocking(move || worker.pack_to(spool, None, entries(&[5 * BLOCK])));
        let super::super::Grown::To(there) = growing.grown(1).await else { panic!("it ended at once") };
        assert!(there > 0 && growing.path().metadata().unwrap().len() >= there);
        let whole = growing.whole().await.unwrap();
        assert_eq!(whole.descriptor, made.await.unwrap().unwrap().descriptor);

        let mut spool = packer.spool().unwrap();
        drop(spool.growing());
        let given_up = packer.pack_to(spool, None, entries(&[5 * BLOCK]));
        assert!(matches!(given_up, Err(LayerError::Stopped)));
        let mut spool = packer.spool().unwrap();
        let mut growing = spool.growing();
        assert!(packer.pack_to(spool, None, std::iter::once(Err(LayerError::Stopped))).is_err());
        assert!(growing.whole().await.is_none());
    }

    #[test]
    fn what_a_layer_became_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let packer =
            || Packer::new(folder.path(), Compression::Gzip).unwrap().with_memory(folder.path().join("memory"));
        let layer = packer().pack(entries(&[9])).unwrap();
        assert_eq!(packer().memory().unwrap().blob(&layer.diff_id), Some(layer.descriptor));
    }
}
