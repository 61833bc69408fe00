//! What stays on this machine between builds, each in a folder of its own below the user's cache.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::told::Told;
use crate::adapters::sandbox::remove_tree;
use crate::image::{Digest, Layout, Repository, SourceImage};
use crate::lifecycle::cache::Handover;

/// How often to ask for a folder that somebody else uses.
const BETWEEN: Duration = Duration::from_millis(100);
/// The folder with what is handed over.
const HANDED: &str = "handed";
/// Of how many caches layers are handed over; those of more are unpacked.
const MOST_HANDED: usize = 8;

/// The right to use a folder, which one build has at a time; a killed one loses it by itself.
pub(super) struct Kept {
    _lock: File,
}

impl Kept {
    /// Makes the folder and takes it, and waits where another build has it. Its lock lies beside it, below `cache`.
    pub(super) async fn take(cache: &Path, folder: &Path, told: &Told<'_>) -> io::Result<Self> {
        let locks = cache.join("locks");
        for folder in [&locks, folder] {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let lock = locks.join(short(folder.as_os_str().as_bytes()));
        let lock = File::options().create(true).truncate(false).write(true).open(lock)?;
        let mut has_said = false;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {}
                result => return result.map(|()| Self { _lock: lock }).map_err(io::Error::from),
            }
            if !has_said {
                told.say("Another build of this app is under way on this machine: waiting for it");
                has_said = true;
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }
}

/// The folder in which the layers of a cache of this name are kept.
pub(super) fn layers(cache: &Path, name: &str) -> PathBuf {
    cache.join("layers").join(short(name.as_bytes()))
}

/// The folder with the layers of a cache of this name that go from build to build as they are.
pub(super) fn handed(cache: &Path, name: &str) -> PathBuf {
    cache.join(HANDED).join(short(name.as_bytes()))
}

/// Removes the layers that were handed over by all builds but those of the caches that were used last. Whoever uses one that is removed
/// unpacks its layers.
pub(super) fn limit_handed(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache.join(HANDED)) else { return };
    let used = entries.flatten().filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())));
    let mut used: Vec<_> = used.collect();
    used.sort_unstable_by(|one, other| other.cmp(one));
    for (_, folder) in used.into_iter().skip(MOST_HANDED) {
        Handover::below(&folder, remove_tree).keep_only(&BTreeSet::new());
        // Not where somebody has just put something into it.
        let _ = fs::remove_dir(folder);
    }
}

/// The folder of the newest image of a repository that went to the Docker daemon.
pub(super) fn for_docker(cache: &Path, repository: &Repository) -> PathBuf {
    cache.join("docker").join(short(repository.full().as_bytes()))
}

/// The folder of images that went nowhere else.
pub(super) fn images(cache: &Path) -> PathBuf {
    cache.join("images")
}

/// Returns what builds with this cache, and those of this repository for the Docker daemon, keep below `cache`.
pub fn kept_folders(cache: &Path, name: &str, repository: &Repository) -> [PathBuf; 3] {
    [layers(cache, name), handed(cache, name), for_docker(cache, repository)]
}

/// Names a folder after a text of any form.
fn short(text: &[u8]) -> String {
    Digest::of(text).hex()[..16].to_owned()
}

/// Removes all but one image from a layout. A crash leaves what is not needed, for the next time.
pub(super) fn keep_only(layout: &Layout, image: &SourceImage) -> io::Result<()> {
    let mut index = layout.index().map_err(io::Error::other)?.ok_or(io::ErrorKind::NotFound)?;
    index.manifests.retain(|entry| entry.digest == image.digest);
    // Under one name: the newest.
    index.manifests.drain(..index.manifests.len().saturating_sub(1));
    let mut file = tempfile::NamedTempFile::new_in(layout.folder())?;
    file.write_all(&serde_json::to_vec(&index)?)?;
    file.persist(layout.folder().join("index.json"))?;
    let manifest = &image.manifest;
    let needed: Vec<&Digest> =
        manifest.layers.iter().map(|layer| &layer.digest).chain([&manifest.config.digest, &image.digest]).collect();
    let Some(blobs) = layout.blob_path(&image.digest).parent().map(Path::to_owned) else { return Ok(()) };
    for entry in fs::read_dir(blobs)? {
        let entry = entry?;
        if !needed.iter().any(|digest| entry.file_name() == digest.hex()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
