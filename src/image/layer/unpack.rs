//! The archive inside a compressed layer: of our own making, or anybody's.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use super::compress::{BLOCK, MEMBER_HEAD, MEMBER_START, MEMBER_TAIL};
use crate::image::digest::{Digest, Hasher};

/// How many blocks are decompressed ahead of whoever reads them.
const AHEAD: usize = 4;
/// The longest member of ours: what cannot be compressed grows by a few bytes.
const LONGEST_MEMBER: usize = BLOCK + BLOCK / 8;

/// An archive that is read somewhere.
pub type Archived = Box<dyn Read + Send>;

/// Returns the archive inside `blob`: gzip, zstd or an archive as it is, told by how it begins.
///
/// A thread of its own decompresses a few blocks ahead; it ends with the blob or with whoever reads. A damaged blob is an error
/// at the place of the damage, or an archive of another digest.
pub fn archive(mut blob: impl Read + Send + 'static) -> io::Result<Archived> {
    let mut start = Vec::with_capacity(MEMBER_START.len());
    blob.by_ref().take(MEMBER_START.len() as u64).read_to_end(&mut start)?;
    let is = |magic: &[u8]| start.starts_with(magic);
    if is(&MEMBER_START) {
        return Ok(Box::new(Ahead::of(Members::new(io::Cursor::new(start).chain(blob)))));
    }
    let (gzip, zstd) = (is(&[0x1f, 0x8b]), is(&[0x28, 0xb5, 0x2f, 0xfd]));
    let whole = io::BufReader::with_capacity(256 * 1024, io::Cursor::new(start).chain(blob));
    Ok(if gzip {
        Box::new(Ahead::of(flate2::bufread::MultiGzDecoder::new(whole)))
    } else if zstd {
        Box::new(Ahead::of(zstd::Decoder::with_buffer(whole)?))
    } else {
        Box::new(whole)
    })
}

/// Members of our own making, each decompressed at once: several times faster than as a stream.
struct Members<R> {
    blob: R,
    decompressor: libdeflater::Decompressor,
    member: Vec<u8>,
    block: Vec<u8>,
    /// What of `block` was read.
    taken: usize,
}

impl<R: Read> Members<R> {
    fn new(blob: R) -> Self {
        let decompressor = libdeflater::Decompressor::new();
        Self { blob, decompressor, member: Vec::new(), block: Vec::new(), taken: 0 }
    }

    /// Decompresses the next member; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        self.member.clear();
        self.blob.by_ref().take(MEMBER_HEAD as u64).read_to_end(&mut self.member)?;
        if self.member.is_empty() {
            return Ok(false);
        }
        let length = match self.member.split_at_checked(MEMBER_START.len()) {
            Some((start, length)) if start == MEMBER_START => length.try_into().map(u32::from_le_bytes).ok(),
            _ => None,
        };
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| (MEMBER_HEAD + MEMBER_TAIL..=LONGEST_MEMBER).contains(length));
        let length = length.ok_or_else(|| damaged("a block of it has no length that could be"))?;
        self.blob.by_ref().take((length - MEMBER_HEAD) as u64).read_to_end(&mut self.member)?;
        if self.member.len() != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block.resize(BLOCK, 0);
        let size = self.decompressor.gzip_decompress(&self.member, &mut self.block);
        let size = size.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.block.truncate(size);
        self.taken = 0;
        Ok(true)
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let read = (&self.block[self.taken..]).read(buffer)?;
        self.taken += read;
        Ok(read)
    }
}

fn damaged(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, how)
}

/// Reads on a thread of its own, a few blocks ahead.
pub fn ahead(source: impl Read + Send + 'static) -> impl Read + Send + 'static {
    Ahead::of(source)
}

/// Fails at the end where what was read is not what `wanted` promises.
pub fn verified(source: impl Read + Send + 'static, wanted: Digest) -> impl Read + Send + 'static {
    Verified { source, hasher: Hasher::default(), wanted }
}

struct Verified<R> {
    source: R,
    hasher: Hasher,
    wanted: Digest,
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        if read == 0 && !buffer.is_empty() {
            let found = self.hasher.clone().finish();
            if found != self.wanted {
                return Err(damaged(&format!("it is damaged: it is {found} and not {}", self.wanted)));
            }
        }
        Ok(read)
    }
}

struct Ahead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Ahead {
    fn of(mut source: impl Read + Send + 'static) -> Self {
        let (sender, blocks) = sync_channel(AHEAD);
        thread::spawn(move || {
            loop {
                let mut block = Vec::with_capacity(BLOCK / 4);
                let read = source.by_ref().take(BLOCK as u64 / 4).read_to_end(&mut block);
                let ended = !matches!(read, Ok(1..));
                // An error comes after what was read before it.
                let gone = !block.is_empty() && sender.send(Ok(block)).is_err();
                if let Err(error) = read {
                    let _ = sender.send(Err(error));
                }
                if ended || gone {
                    return;
                }
            }
        });
        Self { blocks, block: Vec::new(), taken: 0, ended: false }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() && !self.ended {
            match self.blocks.recv() {
                Ok(block) => (self.block, self.taken) = (block?, 0),
                Err(_) => self.ended = true,
            }
        }
        let read = (&self.block[self.taken..]).read(buffer)?;
        self.taken += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::{Compression, LayerEntry, Packer};
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        // Text that can be compressed a little.
        std::iter::repeat_with(|| fastrand::u8(b'a'..=b'z')).take(length).collect()
    }

    fn packed(compression: Compression, content: &[u8]) -> (Digest, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let entry = LayerEntry::file("/file", 0o644, content.to_vec());
        let layer = Packer::new(folder.path(), compression).unwrap().pack([Ok(entry)].into_iter()).unwrap();
        (layer.diff_id, std::fs::read(&*layer.blob).unwrap())
    }

    fn unpacked(blob: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        archive(io::Cursor::new(blob))?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn every_kind_of_layer_comes_out_as_it_went_in() {
        let content = noise(2 * BLOCK + 7);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let (diff_id, blob) = packed(compression, &content);
            assert_eq!(Digest::of(&unpacked(blob).unwrap()), diff_id, "{compression:?}");
        }
        let mut foreign = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        foreign.write_all(&content).unwrap();
        assert!(unpacked(foreign.finish().unwrap()).unwrap() == content);
        assert!(unpacked(content.clone()).unwrap() == content);
        assert!(unpacked(Vec::new()).unwrap().is_empty());
    }

    #[test]
    fn members_of_ours_are_gzip_to_everybody() {
        let content = noise(BLOCK + 1);
        let (diff_id, blob) = packed(Compression::Gzip, &content);
        let mut read = Vec::new();
        flate2::read::MultiGzDecoder::new(blob.as_slice()).read_to_end(&mut read).unwrap();
        assert_eq!(Digest::of(&read), diff_id);
    }

    #[test]
    fn damage_anywhere_is_an_error_or_another_digest_and_never_a_panic() {
        let (diff_id, blob) = packed(Compression::Gzip, &noise(BLOCK + 5000));
        for _ in 0..200 {
            let mut harmed = blob.clone();
            let place = fastrand::usize(..harmed.len());
            if fastrand::bool() {
                harmed[place] ^= 1 << fastrand::u8(..8);
            } else {
                harmed.truncate(place);
            }
            if let Ok(bytes) = unpacked(harmed) {
                assert!(Digest::of(&bytes) != diff_id || bytes.is_empty(), "at {place}");
            }
        }
    }
}
