//! One entry of a layer archive, as it will be written: no more and no less than counts for the digest.

use std::path::PathBuf;

use bytes::Bytes;

/// One entry of a layer archive.
///
/// Time, names of owners, extended attributes and hard links do not appear: the lifecycle sets the first and drops the
/// others, so that equal content has equal digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry {
    /// Absolute path in the image, as raw bytes, without a `/` at its end.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky; nothing else.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder.
    Directory,
    /// A file of exactly `size` bytes.
    File {
        /// Where its bytes are.
        source: FileSource,
        /// How many they are.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Its target, as raw bytes.
        target: Vec<u8>,
    },
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Where the bytes of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// In a file on this machine. A symbolic link there is an error, not followed.
    Path(PathBuf),
    /// In memory.
    Bytes(Bytes),
}

impl LayerEntry {
    /// Returns a folder of root's.
    pub fn directory(path: impl Into<Vec<u8>>, mode: u32) -> Self {
        Self { path: path.into(), kind: EntryKind::Directory, mode, uid: 0, gid: 0 }
    }

    /// Returns a file of root's with these bytes.
    pub fn file(path: impl Into<Vec<u8>>, mode: u32, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        let kind = EntryKind::File { source: FileSource::Bytes(bytes), size };
        Self { path: path.into(), kind, mode, uid: 0, gid: 0 }
    }

    /// Returns a symbolic link of root's.
    pub fn symlink(path: impl Into<Vec<u8>>, mode: u32, target: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), kind: EntryKind::Symlink { target: target.into() }, mode, uid: 0, gid: 0 }
    }

    /// Returns the entry with another owner and group.
    #[must_use]
    pub fn owned_by(self, uid: u32, gid: u32) -> Self {
        Self { uid, gid, ..self }
    }

    /// Returns the size of its data in the archive, without padding.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size, .. } => size,
            EntryKind::Directory
            | EntryKind::Symlink { .. }
            | EntryKind::CharacterDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo => 0,
        }
    }

    /// Returns the path for people to read.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}
