//! Root filesystems of builder images: read from where images lie, unpacked once, shared by all builds of a user.

mod error;
mod inside;
mod limits;
mod prepare;
mod remove;
mod unpack;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, flock, futimens};
use rustix::io::Errno;

pub use error::RootfsError;
pub use limits::Limits;
pub use unpack::{Owners, UnpackError};

use self::inside::Inside;
use self::limits::Budget;
use super::work::beside;
use crate::image::{Descriptor, Digest, ImageConfig, ImageReference, ImageSource, Platform, SourceImage};

/// The form of what is stored; another one is another name.
const FORMAT: &str = "1";
/// How many layers are downloaded at the same time.
const AT_ONCE: usize = 3;
/// How often a layer that breaks off is asked for again.
const ATTEMPTS: usize = 3;

const ROOT: &str = "root";
const IMAGE: &str = "image.json";
/// In the making, or about to be removed.
const NEW: &str = ".new-";
/// How many are kept where nobody says. A builder's has a gigabyte or two.
const MOST: usize = 5;
const LOCKS: &str = ".locks";

/// A root filesystem that is ready to be used, for reading only.
#[derive(Debug, Clone)]
pub struct Rootfs {
    /// The folder that is the root.
    pub folder: PathBuf,
    /// The image that it is made of, by digest.
    pub image: ImageReference,
    /// The image's config.
    pub config: ImageConfig,
    /// As long as it is open, nobody removes the folder.
    _in_use: Arc<Lock>,
}

/// Where root filesystems are kept: a folder that only its owner may enter.
///
/// Each is made under another name and gets its own when it is complete. Two processes that want the same one make it once:
/// the second waits. What a killed process left is removed by the next. When one more is made, those that were used longest ago are
/// removed, unless somebody uses them.
#[derive(Debug, Clone)]
pub struct RootStore {
    folder: PathBuf,
    owners: Owners,
    limits: Limits,
    most: usize,
}

impl RootStore {
    /// Keeps them in `folder`, which need not exist.
    pub fn new(folder: impl Into<PathBuf>, owners: Owners) -> Self {
        Self { folder: folder.into(), owners, limits: Limits::default(), most: MOST }
    }

    /// Sets how much an image may unpack to.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets how many are kept.
    #[must_use]
    pub fn keeping(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Returns the root filesystem of `image` for this machine, unpacked if it is not there yet. `say` hears about waits.
    pub async fn get(
        &self,
        source: &dyn ImageSource,
        image: &ImageReference,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<Rootfs, RootfsError> {
        let platform = Platform::host();
        let found = source.image(image, &platform).await?;
        let found = found.ok_or_else(|| RootfsError::NotFound { image: image.clone(), platform })?;
        found.check()?;
        let owners = if self.owners == Owners::Kept { "kept" } else { "own" };
        let name = format!("{}-{owners}-{FORMAT}", found.digest.hex());
        let folder = self.folder.join(&name);
        let store = |source| RootfsError::Store { folder: self.folder.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.folder.join(LOCKS)).map_err(store)?;
        loop {
            let lock = Lock::take(&self.folder, &name, Right::Use).await.map_err(store)?;
            if folder.is_dir() {
                lock.note_use();
                let (folder, image, config) = (folder.join(ROOT), found.pinned(), found.config.clone());
                return Ok(Rootfs { folder, image, config, _in_use: Arc::new(lock) });
            }
            drop(lock);
            let lock = Lock::take(&self.folder, &name, Right::Change).await.map_err(store)?;
            if folder.is_dir() {
                continue;
            }
            sweep(&self.folder);
            say(&format!("Unpacking {} ({} layers)", found.pinned(), found.manifest.layers.len()));
            let new = New::make(&self.folder, &name).map_err(store)?;
            self.fill(source, &found, &new.folder).await?;
            fs::write(new.folder.join(IMAGE), found.pinned().to_string()).map_err(store)?;
            fs::rename(&new.folder, &folder).map_err(store)?;
            lock.note_use();
            drop(lock);
            let (store_folder, most) = (self.folder.clone(), self.most);
            beside(move |_| remove_unused(&store_folder, most)).await.map_err(store)?;
        }
    }

    async fn fill(&self, source: &dyn ImageSource, image: &SourceImage, new: &Path) -> Result<(), RootfsError> {
        let store = |source| RootfsError::Store { folder: self.folder.clone(), source };
        let root = new.join(ROOT);
        fs::DirBuilder::new().mode(0o755).create(&root).map_err(store)?;
        let over = Over { root: &root, spool: new, owners: self.owners, limits: self.limits };
        over.lay(source, image, |_| true).await?;
        let config = image.config.clone();
        prepare::prepare(&root, &config, self.owners).map_err(store)
    }
}

/// A root filesystem that layers are laid over.
pub(in crate::adapters) struct Over<'a> {
    /// Its folder.
    pub(in crate::adapters) root: &'a Path,
    /// Where layers lie until they are unpacked.
    pub(in crate::adapters) spool: &'a Path,
    /// To whom the files belong.
    pub(in crate::adapters) owners: Owners,
    /// How much may come of them.
    pub(in crate::adapters) limits: Limits,
}

impl Over<'_> {
    /// Lays the layers of an image that are `wanted` by their digests over the root, the lowest first, each checked by its digest.
    pub(in crate::adapters) async fn lay(
        &self,
        source: &dyn ImageSource,
        image: &SourceImage,
        wanted: impl Fn(&Digest) -> bool,
    ) -> Result<(), RootfsError> {
        let store = |source| RootfsError::Store { folder: self.root.to_owned(), source };
        // Owned, or the compiler cannot tell that the whole may move between threads.
        let mut layers = Vec::new();
        for (number, (diff_id, layer)) in image.layers().enumerate() {
            if wanted(diff_id) {
                layers.push((number, diff_id.clone(), layer.clone()));
            }
        }
        let downloads = layers.into_iter().map(|(number, diff_id, layer)| async move {
            let file = download(source, image, &layer, self.spool).await?;
            Ok::<_, RootfsError>((number, diff_id, file))
        });
        let mut downloads = futures_util::stream::iter(downloads).buffered(AT_ONCE);
        let mut budget = Budget::new(self.limits);
        while let Some((number, diff_id, file)) = downloads.try_next().await? {
            let (root, owners) = (self.root.to_owned(), self.owners);
            let of = |source| RootfsError::Unpack { image: image.pinned(), number: number + 1, source };
            let unpacked = beside(move |stop| {
                budget.stop_with(stop);
                let result = unpack_file(&root, file, owners, &mut budget);
                (budget, result)
            });
            let (left, result) = unpacked.await.map_err(store)?;
            budget = left;
            let found = result.map_err(of)?;
            if found != diff_id {
                return Err(RootfsError::Lied { image: image.pinned(), number: number + 1, found, wanted: diff_id });
            }
        }
        Ok(())
    }
}

/// Unpacks a compressed layer and returns the digest of its archive.
fn unpack_file(root: &Path, mut file: File, owners: Owners, budget: &mut Budget) -> Result<Digest, UnpackError> {
    let inside = Inside::new(root).map_err(UnpackError::Archive)?;
    let compressed = file.seek(SeekFrom::End(0)).and_then(|size| file.rewind().map(|()| size));
    let compressed = compressed.map_err(UnpackError::Archive)?;
    let mut start = [0; 4];
    let count = file.read(&mut start).and_then(|count| file.rewind().map(|()| count)).map_err(UnpackError::Archive)?;
    let file = BufReader::with_capacity(256 * 1024, file);
    // By what it is and not by its media type, about which registries have been wrong.
    let archive: Box<dyn Read> = match &start[..count] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            Box::new(zstd::stream::read::Decoder::with_buffer(file).map_err(UnpackError::Archive)?)
        }
        _ => Box::new(file),
    };
    unpack::layer(&inside, budget.watch(archive, compressed), owners)
}

/// Downloads a layer into a file without a name, which goes when nobody holds it.
async fn download(
    source: &dyn ImageSource,
    image: &SourceImage,
    layer: &Descriptor,
    folder: &Path,
) -> Result<File, RootfsError> {
    let mut attempt = 1;
    loop {
        match download_once(source, image, layer, folder).await {
            Err(error) if attempt < ATTEMPTS && error.may_pass() => attempt += 1,
            result => return result,
        }
    }
}

async fn download_once(
    source: &dyn ImageSource,
    image: &SourceImage,
    layer: &Descriptor,
    folder: &Path,
) -> Result<File, RootfsError> {
    let written = |source| RootfsError::Store { folder: folder.to_owned(), source };
    let mut file = tempfile::tempfile_in(folder).map_err(written)?;
    let mut stream = source.blob(image, layer).await?;
    while let Some(bytes) = stream.try_next().await? {
        file.write_all(&bytes).map_err(written)?;
    }
    Ok(file)
}

/// What one may do with a root filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// Many at a time.
    Use,
    /// Make or remove it, alone.
    Change,
}

/// A right to one root filesystem; a killed process loses it by itself. Its file's time is that of the last use.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    fn open(store: &Path, name: &str) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(store.join(LOCKS).join(name))
    }

    async fn take(store: &Path, name: &str, right: Right) -> io::Result<Self> {
        let file = Self::open(store, name)?;
        let operation = match right {
            Right::Use => FlockOperation::NonBlockingLockShared,
            Right::Change => FlockOperation::NonBlockingLockExclusive,
        };
        if flock(&file, operation).is_ok() {
            return Ok(Self(file));
        }
        beside(move |stop| {
            // Asked again and again, as a wait in the kernel cannot be ended.
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                match flock(&file, operation) {
                    Err(Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(20)),
                    result => return result.map(|()| Self(file)).map_err(io::Error::from),
                }
            }
            Err(io::ErrorKind::Interrupted.into())
        })
        .await?
    }

    /// Notes that it is used now. Without that it is only removed earlier.
    fn note_use(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = futimens(&self.0, &Timestamps { last_access: now, last_modification: now });
    }
}

/// A root filesystem in the making, removed unless it was renamed.
struct New {
    folder: PathBuf,
}

impl New {
    fn make(store: &Path, name: &str) -> io::Result<Self> {
        let folder = store.join(format!("{NEW}{name}"));
        super::remove_tree(&folder)?;
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }
}

impl Drop for New {
    fn drop(&mut self) {
        let _ = super::remove_tree(&self.folder);
    }
}

/// Removes a folder by its path, with all that is below.
pub(super) fn remove_path(path: &Path) -> io::Result<()> {
    use std::os::fd::AsFd as _;
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    remove::remove(File::open(above)?.as_fd(), name)
}

/// Removes what killed processes left: what is in the making while nobody holds its lock.
fn sweep(store: &Path) {
    let Ok(entries) = fs::read_dir(store) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix(NEW)) else { continue };
        let Ok(lock) = Lock::open(store, name) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = super::remove_tree(&entry.path());
        }
    }
}

/// Removes all but the `most` that were used last, and those that somebody uses.
fn remove_unused(store: &Path, most: usize) {
    let Ok(entries) = fs::read_dir(store) else { return };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let used = names.filter(|name| !name.starts_with('.')).filter_map(|name| {
        let used = fs::metadata(store.join(LOCKS).join(&name)).and_then(|lock| lock.modified());
        Some((used.ok()?, name))
    });
    let mut used: Vec<_> = used.collect();
    used.sort_unstable_by(|one, other| other.cmp(one));
    for (_, name) in used.into_iter().skip(most) {
        let Ok(lock) = Lock::open(store, &name) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let doomed = store.join(format!("{NEW}{name}"));
        // Should this process be killed now, the next one removes it.
        if super::remove_tree(&doomed).is_ok() && fs::rename(store.join(&name), &doomed).is_ok() {
            let _ = super::remove_tree(&doomed);
        }
    }
}
