//! Entries as the bytes of a tar archive, piece by piece.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use bytes::{Buf as _, Bytes};
use rustix::buffer::spare_capacity;
use rustix::fs::OFlags;

use super::entry::{EntryKind, FileSource, LayerEntry};
use super::error::LayerError;
use super::header;

/// The bytes of an archive, produced as they are asked for. Nothing is held but what was not taken yet of one header.
pub struct Archive<I> {
    entries: I,
    /// Headers, padding and data from memory, before anything of `file`.
    ready: Bytes,
    file: Option<OpenFile>,
    ended: bool,
}

struct OpenFile {
    file: File,
    path: PathBuf,
    size: u64,
    left: u64,
}

impl<I: Iterator<Item = Result<LayerEntry, LayerError>>> Archive<I> {
    /// Begins an archive of `entries`.
    pub fn new(entries: I) -> Self {
        Self { entries, ready: Bytes::new(), file: None, ended: false }
    }

    /// Appends to `piece` until it is as long as its capacity or the archive has ended; returns whether it has.
    ///
    /// After an error the archive is of no use.
    pub fn fill(&mut self, piece: &mut Vec<u8>) -> Result<bool, LayerError> {
        while piece.len() < piece.capacity() {
            let room = piece.capacity() - piece.len();
            if self.ready.has_remaining() {
                let taken = self.ready.split_to(room.min(self.ready.len()));
                piece.extend_from_slice(&taken);
            } else if let Some(mut open) = self.file.take() {
                if open.read(piece)? {
                    self.ready = Bytes::from_static(&ZEROS[..header::padding(open.size)]);
                } else {
                    self.file = Some(open);
                }
            } else if self.ended {
                return Ok(true);
            } else {
                self.next_entry()?;
            }
        }
        Ok(self.ended && self.file.is_none() && self.ready.is_empty())
    }

    fn next_entry(&mut self) -> Result<(), LayerError> {
        let mut head = Vec::with_capacity(header::BLOCK);
        match self.entries.next().transpose()? {
            None => {
                self.ended = true;
                self.ready = Bytes::from_static(&ZEROS);
            }
            Some(entry) => {
                header::append(&mut head, &entry);
                match entry.kind {
                    EntryKind::File { source: FileSource::Path(path), size } => {
                        self.file = Some(OpenFile::open(path, size)?);
                    }
                    EntryKind::File { source: FileSource::Bytes(bytes), size } => {
                        if bytes.len() as u64 != size {
                            let grew = bytes.len() as u64 > size;
                            return Err(LayerError::Changed { path: PathBuf::new(), size, grew });
                        }
                        head.extend_from_slice(&bytes);
                        head.resize(head.len() + header::padding(size), 0);
                    }
                    EntryKind::Directory
                    | EntryKind::Symlink { .. }
                    | EntryKind::CharacterDevice { .. }
                    | EntryKind::BlockDevice { .. }
                    | EntryKind::Fifo => {}
                }
                self.ready = Bytes::from(head);
            }
        }
        Ok(())
    }
}

/// Returns how many bytes the archive of `entries` has, without reading any file.
pub fn archive_size(entries: impl Iterator<Item = Result<LayerEntry, LayerError>>) -> Result<u64, LayerError> {
    let mut head = Vec::with_capacity(header::BLOCK);
    let mut size = ZEROS.len() as u64;
    for entry in entries {
        let entry = entry?;
        head.clear();
        header::append(&mut head, &entry);
        size += head.len() as u64;
        if let EntryKind::File { size: bytes, .. } = entry.kind {
            size += bytes + header::padding(bytes) as u64;
        }
    }
    Ok(size)
}

/// The end of an archive: two blocks.
static ZEROS: [u8; 2 * header::BLOCK] = [0; 2 * header::BLOCK];

impl OpenFile {
    fn open(path: PathBuf, size: u64) -> Result<Self, LayerError> {
        // Should it have become a link or a named pipe since it was listed, neither is followed or waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&path);
        match file {
            Ok(file) => Ok(Self { file, path, size, left: size }),
            Err(source) => Err(LayerError::Unreadable { path, source }),
        }
    }

    /// Reads once into the room that `piece` has; returns whether all is read.
    fn read(&mut self, piece: &mut Vec<u8>) -> Result<bool, LayerError> {
        let room = piece.capacity() - piece.len();
        if self.left == 0 {
            // A last look, so that a file that has grown is not taken for whole.
            let mut more = [0];
            let read = retried(|| rustix::io::read(&self.file, &mut more)).map_err(|source| self.unreadable(source))?;
            return if read == 0 { Ok(true) } else { Err(self.changed(true)) };
        }
        let read = retried(|| rustix::io::read(&self.file, spare_capacity(piece)));
        let read = read.map_err(|source| self.unreadable(source))? as u64;
        if read == 0 {
            return Err(self.changed(false));
        }
        self.left = self.left.checked_sub(read).ok_or_else(|| self.changed(true))?;
        // Fewer bytes than there was room for: that was the end, without asking again.
        Ok(self.left == 0 && read < room as u64)
    }

    fn unreadable(&self, source: io::Error) -> LayerError {
        LayerError::Unreadable { path: self.path.clone(), source }
    }

    fn changed(&self, grew: bool) -> LayerError {
        LayerError::Changed { path: self.path.clone(), size: self.size, grew }
    }
}

fn retried(mut read: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(rustix::io::Errno::INTR) => {}
            read => return Ok(read?),
        }
    }
}
