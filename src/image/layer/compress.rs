//! Compression on all cores: a layer is cut into blocks, each compressed by itself.
//!
//! Each block becomes a gzip member (or a zstd frame) of its own; one after the other they are a valid file, which Docker,
//! containerd and every `gzip` read. Blocks are cut at fixed places, so equal archives are equal when compressed too. A
//! gzip member tells its own length in an extra field (RFC 1952, 2.3.1.1), by which [`super::unpack`] reads it at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use crate::image::media_type;

/// How much is compressed at a time. Larger blocks compress hardly better and cost memory on every core.
pub(super) const BLOCK: usize = 1024 * 1024;

/// How layers are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// gzip, which everything reads, at its fastest level.
    #[default]
    Gzip,
    /// zstd: smaller and faster, but only recent engines and registries take it.
    Zstd,
    /// The archive as it is: for a daemon on this machine, which would only undo the work.
    None,
}

impl Compression {
    /// Returns OCI's media type of such a layer.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => media_type::OCI_LAYER_GZIP,
            Self::Zstd => media_type::OCI_LAYER_ZSTD,
            Self::None => media_type::OCI_LAYER,
        }
    }
}

/// How a member of ours begins: gzip, deflate, an extra field; no time, fastest level, no system; one subfield of ours,
/// whose four bytes, the length of the whole member, follow.
pub(super) const MEMBER_START: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 4, 255, 8, 0, b'P', b'H', 4, 0];
/// A member's bytes before what is compressed, and after it: checksum and length of the block.
pub(super) const MEMBER_HEAD: usize = MEMBER_START.len() + 4;
pub(super) const MEMBER_TAIL: usize = 8;

/// The level of both: more costs much time for few bytes.
const LEVEL: i32 = 1;

/// One thread per core that compresses whatever layer has a block ready: the layer that was begun first, so that layers end one after the
/// other, and not all at the end.
pub struct CompressorPool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

/// A block that is being compressed.
pub(super) type Compressed = Receiver<io::Result<Arc<Vec<u8>>>>;

struct Job {
    block: Arc<Vec<u8>>,
    compression: Compression,
    done: SyncSender<io::Result<Arc<Vec<u8>>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    zeros: [OnceLock<Arc<Vec<u8>>>; 3],
}

#[derive(Default)]
struct State {
    /// By the layer's turn, then in the order in which they came.
    jobs: BTreeMap<(u64, u64), Job>,
    taken: u64,
    closed: bool,
}

impl CompressorPool {
    /// Starts `threads` threads, at least one.
    pub fn new(threads: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let mut pool = Self { queue, threads: Vec::new() };
        for _ in 0..threads.max(1) {
            let queue = Arc::clone(&pool.queue);
            let thread = thread::Builder::new().name("compress".to_owned()).spawn(move || queue.work())?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Starts a thread per core.
    pub fn on_all_cores() -> io::Result<Self> {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
    }

    /// Returns how many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Has `block` compressed, after those of layers whose `turn` is lower. Callers bound how many they have under way.
    pub(super) fn compress(&self, turn: u64, block: Arc<Vec<u8>>, compression: Compression) -> Compressed {
        let (done, compressed) = sync_channel(1);
        if compression == Compression::None {
            let _ = done.send(Ok(block));
            return compressed;
        }
        let mut state = self.queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (turn, state.taken);
        state.taken += 1;
        state.jobs.insert(key, Job { block, compression, done });
        drop(state);
        self.queue.filled.notify_one();
        compressed
    }
}

impl Drop for CompressorPool {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.queue.filled.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has dropped its sender; whoever waited has heard of it.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn work(&self) {
        let mut compressors = Compressors::default();
        while let Some(Job { block, compression, done }) = self.next() {
            let compressed = if *block == ZEROS {
                // Holes of sparse files come in thousands.
                let kept = &self.zeros[compression as usize];
                match kept.get() {
                    Some(kept) => Ok(Arc::clone(kept)),
                    None => compressors
                        .compress(&block, compression)
                        .map(|bytes| Arc::clone(kept.get_or_init(|| Arc::new(bytes)))),
                }
            } else {
                compressors.compress(&block, compression).map(Arc::new)
            };
            drop(block);
            // Nobody waits for it where the layer was given up.
            let _ = done.send(compressed);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.closed {
                return None;
            }
            if let Some((_, job)) = state.jobs.pop_first() {
                return Some(job);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A thread's own compressors; they hold large tables.
#[derive(Default)]
struct Compressors {
    gzip: Option<libdeflater::Compressor>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Compressors {
    fn compress(&mut self, block: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
        match compression {
            Compression::Gzip => {
                let gzip = if let Some(gzip) = &mut self.gzip {
                    gzip
                } else {
                    let level = libdeflater::CompressionLvl::new(LEVEL);
                    let level = level.map_err(|_| io::Error::other("gzip has no such level"))?;
                    self.gzip.insert(libdeflater::Compressor::new(level))
                };
                let mut out = vec![0; MEMBER_HEAD + gzip.deflate_compress_bound(block.len()) + MEMBER_TAIL];
                let length = gzip.deflate_compress(block, &mut out[MEMBER_HEAD..]).map_err(io::Error::other)?;
                out.truncate(MEMBER_HEAD + length);
                out.extend_from_slice(&libdeflater::crc32(block).to_le_bytes());
                let size = u32::try_from(block.len()).map_err(io::Error::other)?;
                out.extend_from_slice(&size.to_le_bytes());
                let whole = u32::try_from(out.len()).map_err(io::Error::other)?;
                out[..MEMBER_START.len()].copy_from_slice(&MEMBER_START);
                out[MEMBER_START.len()..MEMBER_HEAD].copy_from_slice(&whole.to_le_bytes());
                // What waits to be written should not hold the bound's room.
                out.shrink_to_fit();
                Ok(out)
            }
            Compression::Zstd => {
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    None => self.zstd.insert(zstd::bulk::Compressor::new(LEVEL)?),
                };
                zstd.compress(block)
            }
            Compression::None => Ok(block.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn members(compression: Compression, blocks: &[Vec<u8>]) -> Vec<u8> {
        let pool = CompressorPool::new(3).unwrap();
        let under_way: Vec<_> =
            blocks.iter().map(|block| pool.compress(0, Arc::new(block.clone()), compression)).collect();
        under_way.into_iter().flat_map(|block| block.recv().unwrap().unwrap().to_vec()).collect()
    }

    #[test]
    fn blocks_one_after_the_other_are_one_file() {
        let noise: Vec<u8> = (0..BLOCK).map(|_| fastrand::u8(..)).collect();
        let blocks = [noise, vec![0; BLOCK], vec![b'x'; 7], vec![0; BLOCK]];
        let mut read = Vec::new();
        let gzip = members(Compression::Gzip, &blocks);
        flate2::read::MultiGzDecoder::new(gzip.as_slice()).read_to_end(&mut read).unwrap();
        assert!(read == blocks.concat());
        assert!(members(Compression::Gzip, &blocks) == gzip, "the same bytes each time");
        let read = zstd::stream::decode_all(members(Compression::Zstd, &blocks).as_slice()).unwrap();
        assert!(read == blocks.concat());
        assert!(members(Compression::None, &blocks) == blocks.concat());
    }

    #[test]
    fn layer_that_was_begun_first_comes_first_and_its_blocks_in_order() {
        let pool = CompressorPool { queue: Arc::default(), threads: Vec::new() };
        let blocks = [(1, b'c'), (0, b'a'), (1, b'd'), (0, b'b')];
        let compress = |(turn, byte)| pool.compress(turn, Arc::new(vec![byte]), Compression::Gzip);
        let _under_way: Vec<_> = blocks.into_iter().map(compress).collect();
        let taken: Vec<u8> = blocks.iter().map(|_| pool.queue.next().unwrap().block[0]).collect();
        assert_eq!(taken, b"abcd");
    }

    #[test]
    fn a_pool_that_ends_leaves_nobody_waiting() {
        let pool = CompressorPool::new(1).unwrap();
        let under_way: Vec<_> =
            (0..50).map(|turn| pool.compress(turn, Arc::new(vec![1; BLOCK]), Compression::Gzip)).collect();
        drop(pool);
        for block in under_way {
            let _ = block.recv();
        }
    }
}
