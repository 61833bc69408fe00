//! Lays one layer of an image over a root filesystem.
//!
//! The rules are those of the OCI image specification's layer format, as Docker applies them: `.wh.NAME` removes what lower
//! layers had, `.wh..wh..opq` all that they had in a folder, what is of another kind is replaced, folders are merged.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::inside::{Inside, Place, from_root, is_folder};
use super::limits::Watched;
use super::remove::{clear, remove};

/// The longest name or set of PAX records that is read into memory.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// The most folders above a file. What is deeper could not be removed again with one handle per level.
const DEEPEST: usize = 200;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// To whom unpacked files belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// To those that the image names. Needs root.
    Kept,
    /// To the user who unpacks. Then folders and files also stay readable for that user, whatever the image says.
    Own,
}

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive cannot be read, or goes beyond a limit.
    #[error("the layer cannot be read")]
    Archive(#[source] io::Error),
    /// A name leads out of the root, or is too long or deep.
    #[error("the layer has an entry with the name `{name}`: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry of a kind that layers do not have.
    #[error("the layer has an entry `{name}` of an unknown kind: {kind}")]
    Kind {
        /// Its name.
        name: String,
        /// Its kind.
        kind: String,
    },
    /// A file could not be written.
    #[error("could not unpack `/{}`", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// What comes before an entry and changes it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Timespec>,
}

/// Lays a layer over what lower layers left.
pub(super) fn layer<R: Read>(
    inside: &Inside,
    archive: Watched<'_, R>,
    owners: Owners,
) -> Result<super::Digest, UnpackError> {
    // The archive holds the watched reader, which counts entries too: so a cell between both.
    let archive = std::cell::RefCell::new(archive);
    let shared = Shared(&archive);
    let mut unpacking = Unpacking { inside, owners, seen: HashSet::new() };
    let mut tar = Archive::new(shared);
    let mut extensions = Extensions::default();
    for entry in tar.entries().map_err(UnpackError::Archive)?.raw(true) {
        let mut entry = entry.map_err(UnpackError::Archive)?;
        archive.borrow_mut().budget().entry().map_err(UnpackError::Archive)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => extensions.path = Some(long_name(&mut entry)?),
            EntryType::GNULongLink => extensions.link = Some(long_name(&mut entry)?),
            EntryType::XHeader => extensions.read(&mut entry)?,
            EntryType::XGlobalHeader => {}
            _ => unpacking.entry(&mut entry, &std::mem::take(&mut extensions))?,
        }
    }
    archive.into_inner().finish().map_err(UnpackError::Archive)
}

struct Shared<'a, R>(&'a std::cell::RefCell<R>);

impl<R: Read> Read for Shared<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

fn extension<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, UnpackError> {
    if entry.size() > LONGEST_EXTENSION {
        return Err(UnpackError::Name { name: String::new(), reason: "it is longer than a megabyte" });
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(UnpackError::Archive)?;
    Ok(bytes)
}

fn long_name<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, UnpackError> {
    let mut name = extension(entry)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

impl Extensions {
    fn read<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), UnpackError> {
        let bytes = extension(entry)?;
        for record in PaxExtensions::new(&bytes) {
            let record = record.map_err(UnpackError::Archive)?;
            let text = || record.value().ok();
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"uid" => self.uid = text().and_then(|text| text.parse().ok()),
                b"gid" => self.gid = text().and_then(|text| text.parse().ok()),
                b"mtime" => self.mtime = text().and_then(timestamp),
                // Go writes it from 8 GiB on only. Sparse files could unpack to any size.
                key if key == b"size" || key.starts_with(b"GNU.sparse.") => {
                    let name = String::from_utf8_lossy(key).into_owned();
                    return Err(UnpackError::Kind { name, kind: "sparse, or of 8 GiB and more".to_owned() });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads seconds with an optional fraction.
fn timestamp(text: &str) -> Option<Timespec> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    Some(Timespec { tv_sec: whole.parse().ok()?, tv_nsec: digits.parse().ok()? })
}

struct Unpacking<'a> {
    inside: &'a Inside,
    owners: Owners,
    /// The paths of this layer, which its own whiteouts do not touch.
    seen: HashSet<PathBuf>,
}

impl Unpacking<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, extensions: &Extensions) -> Result<(), UnpackError> {
        let name = extensions.path.clone().unwrap_or_else(|| entry.path_bytes().into_owned());
        let wrong = |reason| UnpackError::Name { name: String::from_utf8_lossy(&name).into_owned(), reason };
        let path = from_root(Path::new(OsStr::from_bytes(&name))).ok_or_else(|| wrong("it leads out of the root"))?;
        if path.components().count() > DEEPEST {
            return Err(wrong("it is too deep"));
        }
        let Some(last) = path.file_name() else { return Ok(()) };
        let written = |source| UnpackError::Write { path: path.clone(), source };
        if let Some(hidden) = last.as_bytes().strip_prefix(WHITEOUT) {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(wrong("it hides no file"));
            }
            return self.whiteout(&path, hidden).map_err(written);
        }
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Regular
            | EntryType::Continuous
            | EntryType::Directory
            | EntryType::Symlink
            | EntryType::Link => {}
            // A sandbox has a `/dev` of its own, and pipes and sockets are made by whoever uses them.
            EntryType::Char | EntryType::Block | EntryType::Fifo => return Ok(()),
            other => {
                let kind = format!("{:?}", char::from(other.as_byte()));
                return Err(UnpackError::Kind { name: path.display().to_string(), kind });
            }
        }
        let link = match (&extensions.link, kind) {
            (Some(link), _) => link.clone(),
            (None, EntryType::Symlink | EntryType::Link) => {
                entry.link_name_bytes().ok_or_else(|| wrong("it links to nothing"))?.into_owned()
            }
            (None, _) => Vec::new(),
        };
        let place = self.inside.place(&path).map_err(written)?;
        make_room(&place, kind == EntryType::Directory).map_err(written)?;
        match kind {
            EntryType::Directory => self.folder(&place, entry, extensions).map_err(written)?,
            EntryType::Symlink => self.symlink(&place, entry, extensions, &link).map_err(written)?,
            EntryType::Link => {
                let target = from_root(Path::new(OsStr::from_bytes(&link)));
                let target = target.ok_or_else(|| wrong("it links to what is outside of the root"))?;
                let source = self.inside.existing_place(&target).map_err(written)?;
                let linked =
                    rustix::fs::linkat(source.folder(), source.name, place.folder(), place.name, AtFlags::empty());
                linked.map_err(|error| written(error.into()))?;
            }
            _ => self.file(&place, entry, extensions).map_err(written)?,
        }
        drop(place);
        self.seen.insert(path);
        Ok(())
    }

    fn whiteout(&self, path: &Path, hidden: &[u8]) -> io::Result<()> {
        let above = path.parent().unwrap_or(Path::new(""));
        let folder = match self.inside.folder(above) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if path.file_name().is_some_and(|name| name.as_bytes() == OPAQUE) {
            return clear(folder.as_fd(), |name| !self.seen.contains(&above.join(name)));
        }
        // Other names of this kind are notes of old storage drivers.
        if hidden.starts_with(WHITEOUT) || self.seen.contains(&above.join(OsStr::from_bytes(hidden))) {
            return Ok(());
        }
        remove(folder.as_fd(), OsStr::from_bytes(hidden))
    }

    fn folder<R: Read>(&self, place: &Place<'_>, entry: &Entry<'_, R>, ahead: &Extensions) -> io::Result<()> {
        if place.stat()?.is_none() {
            rustix::fs::mkdirat(place.folder(), place.name, Mode::RWXU)?;
        }
        self.give(place, entry, ahead)?;
        let own = if self.owners == Owners::Own { 0o700 } else { 0 };
        let mode = Mode::from_raw_mode(entry.header().mode()? & 0o7777 | own);
        Ok(rustix::fs::chmodat(place.folder(), place.name, mode, AtFlags::empty())?)
    }

    fn symlink<R: Read>(
        &self,
        place: &Place<'_>,
        entry: &Entry<'_, R>,
        ahead: &Extensions,
        to: &[u8],
    ) -> io::Result<()> {
        rustix::fs::symlinkat(to, place.folder(), place.name)?;
        self.give(place, entry, ahead)?;
        let times = times(entry, ahead)?;
        Ok(rustix::fs::utimensat(place.folder(), place.name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn file<R: Read>(&self, place: &Place<'_>, entry: &mut Entry<'_, R>, ahead: &Extensions) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file: File = rustix::fs::openat(place.folder(), place.name, flags, Mode::RUSR | Mode::WUSR)?.into();
        io::copy(entry, &mut file)?;
        // Giving a file away takes its set-id bits, so the mode comes after it.
        self.give(place, entry, ahead)?;
        let own = if self.owners == Owners::Own { 0o400 } else { 0 };
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.header().mode()? & 0o7777 | own))?;
        Ok(rustix::fs::futimens(&file, &times(entry, ahead)?)?)
    }

    fn give<R: Read>(&self, place: &Place<'_>, entry: &Entry<'_, R>, ahead: &Extensions) -> io::Result<()> {
        if self.owners == Owners::Own {
            return Ok(());
        }
        let number = |given: Option<u32>, header: io::Result<u64>| match given {
            Some(number) => Ok(number),
            None => u32::try_from(header?).map_err(io::Error::other),
        };
        let uid = number(ahead.uid, entry.header().uid())?;
        let gid = number(ahead.gid, entry.header().gid())?;
        if uid == u32::MAX || gid == u32::MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no user or group with this number"));
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(rustix::fs::chownat(place.folder(), place.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Compiled Python compares the time of its source: so times are kept.
fn times<R: Read>(entry: &Entry<'_, R>, ahead: &Extensions) -> io::Result<Timestamps> {
    let seconds = i64::try_from(entry.header().mtime()?).unwrap_or_default();
    let time = ahead.mtime.unwrap_or(Timespec { tv_sec: seconds, tv_nsec: 0 });
    Ok(Timestamps { last_access: time, last_modification: time })
}

/// Removes what stands in the way: anything but a folder where a folder is to be.
fn make_room(place: &Place<'_>, folder: bool) -> io::Result<()> {
    match place.stat()? {
        Some(stat) if folder && is_folder(&stat) => Ok(()),
        Some(_) => place.remove(),
        None => Ok(()),
    }
}
