//! From a folder on this machine to the entries of its layer, in the Go lifecycle's order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::entry::{EntryKind, FileSource, LayerEntry};
use super::error::LayerError;

/// Where the paths of an image lie on this machine: in a sandbox `/layers` is some folder below the user's cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Root {
    folders: BTreeMap<PathBuf, PathBuf>,
}

impl Root {
    /// Every path lies where it says, as when the lifecycle runs inside the build image.
    #[must_use]
    pub fn in_place() -> Self {
        Self::default()
    }

    /// The folder `inside` lies in `host`; the most specific one that fits a path counts.
    #[must_use]
    pub fn with(mut self, inside: impl Into<PathBuf>, host: impl Into<PathBuf>) -> Self {
        self.folders.insert(inside.into(), host.into());
        self
    }

    /// Returns where `inside` lies.
    #[must_use]
    pub fn host(&self, inside: &Path) -> PathBuf {
        for ancestor in inside.ancestors() {
            if let (Some(host), Ok(rest)) = (self.folders.get(ancestor), inside.strip_prefix(ancestor)) {
                // An empty rest would add a slash at the end.
                return if rest.as_os_str().is_empty() { host.clone() } else { host.join(rest) };
            }
        }
        inside.to_owned()
    }
}

/// To whom entries belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// To the owners on disk.
    OnDisk,
    /// To this one, whatever the disk says.
    Fixed {
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// To those that the owners on disk stand for; others stay as they are.
    Mapped {
        /// From owners on disk to owners in the image.
        uids: BTreeMap<u32, u32>,
        /// The same for groups.
        gids: BTreeMap<u32, u32>,
    },
}

impl Ownership {
    fn of(&self, metadata: &Metadata) -> (u32, u32) {
        let (uid, gid) = (metadata.uid(), metadata.gid());
        match self {
            Self::OnDisk => (uid, gid),
            Self::Fixed { uid, gid } => (*uid, *gid),
            Self::Mapped { uids, gids } => {
                (uids.get(&uid).copied().unwrap_or(uid), gids.get(&gid).copied().unwrap_or(gid))
            }
        }
    }
}

/// In which order a folder's entries stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Each folder before its children, children by the bytes of their names: layers of buildpacks, config, SBOM.
    DepthFirst,
    /// All paths sorted by their bytes, so that `a-b` and `a.txt` stand between `a` and `a/c`: the app.
    Flat,
}

/// A folder that becomes a layer.
#[derive(Debug, Clone)]
pub struct LayerFolder {
    /// Where image paths lie here.
    pub root: Root,
    /// The folder's absolute path in the image.
    pub path: PathBuf,
    /// Owners of the folders above it.
    pub parents: Ownership,
    /// Owners of itself and everything below.
    pub contents: Ownership,
    /// The order.
    pub order: Order,
}

impl LayerFolder {
    /// Begins to walk: the folders above it, then itself and everything below but sockets.
    ///
    /// Reads as it goes: what it holds grows with the largest folder, not with the tree.
    pub fn entries(&self) -> impl Iterator<Item = Result<LayerEntry, LayerError>> + Send + use<> {
        let contents = self.contents.clone();
        self.parents().chain(self.found().filter_map(move |found| match found {
            Ok(found) => found.entry(&contents).transpose(),
            Err(error) => Some(Err(error)),
        }))
    }

    /// Returns the entries of these paths of the image, in their order; sockets are left out.
    pub fn entries_of(
        &self,
        paths: Vec<PathBuf>,
    ) -> impl Iterator<Item = Result<LayerEntry, LayerError>> + Send + 'static {
        let (root, contents) = (self.root.clone(), self.contents.clone());
        paths.into_iter().filter_map(move |path| {
            let host = root.host(&path);
            let metadata = fs::symlink_metadata(&host).map_err(|source| unreadable(&host, source));
            let found = |metadata| Found { path: path.into_os_string().into_vec(), host, metadata };
            metadata.and_then(|metadata| found(metadata).entry(&contents)).transpose()
        })
    }

    /// Returns the paths of itself and everything below, in the image.
    pub fn paths(&self) -> impl Iterator<Item = Result<PathBuf, LayerError>> + Send + 'static {
        self.found().map(|found| Ok(PathBuf::from(OsString::from_vec(found?.path))))
    }

    /// Returns the folders above it, the highest first; `/` is never one of them.
    pub fn parents(&self) -> impl Iterator<Item = Result<LayerEntry, LayerError>> + Send + use<> {
        let mut above: Vec<PathBuf> = self.path.ancestors().skip(1).map(Path::to_owned).collect();
        // The last one is `/`.
        above.pop();
        above.reverse();
        let (root, owners) = (self.root.clone(), self.parents.clone());
        above.into_iter().map(move |path| {
            let host = root.host(&path);
            // Through a symbolic link, as the lifecycle does: `/layers` may be one.
            let metadata = fs::metadata(&host).map_err(|source| unreadable(&host, source))?;
            let (uid, gid) = owners.of(&metadata);
            let path = path.into_os_string().into_vec();
            Ok(LayerEntry { path, kind: EntryKind::Directory, mode: metadata.mode() & 0o7777, uid, gid })
        })
    }

    /// Walks itself and everything below, sockets too.
    pub(super) fn found(&self) -> Tree {
        let host = self.root.host(&self.path);
        let path = self.path.clone().into_os_string().into_vec();
        let mut pending = Vec::new();
        if self.order == Order::Flat && host.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            pending.push(Pending::Contents { path: path.clone(), host: host.clone() });
        }
        pending.push(Pending::Entry { path, host });
        Tree { pending, order: self.order }
    }
}

/// One file, folder or other thing on disk.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path in the image.
    pub(super) path: Vec<u8>,
    /// Where it lies here.
    pub(super) host: PathBuf,
    /// What the disk says of it.
    pub(super) metadata: Metadata,
}

impl Found {
    /// Returns its entry; `None` for a socket, which no archive can hold.
    pub(super) fn entry(self, owners: &Ownership) -> Result<Option<LayerEntry>, LayerError> {
        let Self { path, host, metadata } = self;
        let kind = metadata.file_type();
        let (uid, gid) = owners.of(&metadata);
        let mode = metadata.mode() & 0o7777;
        let kind = if kind.is_dir() {
            EntryKind::Directory
        } else if kind.is_symlink() {
            let target = fs::read_link(&host).map_err(|source| unreadable(&host, source))?;
            EntryKind::Symlink { target: target.into_os_string().into_vec() }
        } else if kind.is_char_device() {
            let device = metadata.rdev();
            EntryKind::CharacterDevice { major: rustix::fs::major(device), minor: rustix::fs::minor(device) }
        } else if kind.is_block_device() {
            let device = metadata.rdev();
            EntryKind::BlockDevice { major: rustix::fs::major(device), minor: rustix::fs::minor(device) }
        } else if kind.is_fifo() {
            EntryKind::Fifo
        } else if kind.is_socket() {
            return Ok(None);
        } else {
            EntryKind::File { source: FileSource::Path(host), size: metadata.len() }
        };
        Ok(Some(LayerEntry { path, kind, mode, uid, gid }))
    }
}

/// A walk under way.
pub(super) struct Tree {
    /// What comes next is last.
    pending: Vec<Pending>,
    order: Order,
}

enum Pending {
    Entry {
        path: Vec<u8>,
        host: PathBuf,
    },
    /// What is in a folder; in flat order that may stand after the folder's neighbours.
    Contents {
        path: Vec<u8>,
        host: PathBuf,
    },
}

impl Tree {
    /// Lists a folder, so that its first child is next.
    fn open(&mut self, path: &[u8], host: &Path) -> Result<(), LayerError> {
        let failed = |source| unreadable(host, source);
        let mut names: Vec<(OsString, bool)> = Vec::new();
        for entry in fs::read_dir(host).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_folder = self.order == Order::Flat && entry.file_type().map_err(failed)?.is_dir();
            names.push((entry.file_name(), is_folder));
        }
        // In flat order a folder's contents sort as its name with a slash.
        let mut items: Vec<(Vec<u8>, bool)> = Vec::with_capacity(names.len());
        for (name, is_folder) in names {
            let name = name.into_vec();
            if is_folder {
                items.push(([&name, b"/".as_slice()].concat(), true));
            }
            items.push((name, false));
        }
        items.sort_unstable_by(|left, right| right.cmp(left));
        self.pending.reserve(items.len());
        for (mut name, is_contents) in items {
            if is_contents {
                name.pop();
            }
            let host = host.join(std::ffi::OsStr::from_bytes(&name));
            let path = [path, b"/", &name].concat();
            self.pending.push(if is_contents {
                Pending::Contents { path, host }
            } else {
                Pending::Entry { path, host }
            });
        }
        Ok(())
    }

    fn step(&mut self, pending: Pending) -> Result<Option<Found>, LayerError> {
        match pending {
            Pending::Contents { path, host } => {
                self.open(&path, &host)?;
                Ok(None)
            }
            Pending::Entry { path, host } => {
                let metadata = fs::symlink_metadata(&host).map_err(|source| unreadable(&host, source))?;
                if metadata.is_dir() && self.order == Order::DepthFirst {
                    self.open(&path, &host)?;
                }
                Ok(Some(Found { path, host, metadata }))
            }
        }
    }
}

impl Iterator for Tree {
    type Item = Result<Found, LayerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let pending = self.pending.pop()?;
            match self.step(pending) {
                Ok(None) => {}
                Ok(Some(found)) => return Some(Ok(found)),
                Err(error) => {
                    self.pending.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> LayerError {
    LayerError::Unreadable { path: path.to_owned(), source }
}
