//! The folder format of the Go lifecycle: either can take over what the other left.
//!
//! `committed/` has one uncompressed archive per layer, named by its digest, and the metadata. A build writes a new set beside it and
//! renames it into place, so that a stopped one leaves the old set.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{CacheError, METADATA, files};
use crate::image::Digest;
use crate::image::digest::Hasher;
use crate::image::layer::{Archive, LayerEntry, LayerError};
use crate::lifecycle::go_json;
use crate::lifecycle::labels::CacheMetadata;

/// A folder with the layers of one app.
#[derive(Debug, Clone)]
pub(super) struct FolderCache {
    folder: PathBuf,
}

impl FolderCache {
    /// The cache in this folder, which need not be there.
    pub(super) fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Returns what the cache has; one that is not there or cannot be read has nothing.
    pub(super) fn metadata(&self) -> Option<CacheMetadata> {
        // A build that was stopped between the two renames left its set under this name.
        let (committed, backup) = (self.folder.join("committed"), self.folder.join("committed-backup"));
        if !committed.exists() && backup.exists() {
            let _ = fs::rename(&backup, &committed);
        }
        let text = fs::read(committed.join(METADATA)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Opens a layer's archive.
    pub(super) fn archive(&self, sha: &str) -> Result<impl Read + Send + use<>, CacheError> {
        File::open(self.path(sha)?).map_err(files("open a layer of the cache"))
    }

    /// Begins a new set.
    pub(super) fn begin(&self) -> Result<NewSet, CacheError> {
        let staging = self.folder.join("staging");
        remove(&staging).map_err(files("remove what a stopped build left in the cache"))?;
        fs::create_dir_all(&staging).map_err(files("make the cache's folder"))?;
        Ok(NewSet { cache: self.clone(), staging })
    }

    fn path(&self, sha: &str) -> Result<PathBuf, CacheError> {
        Ok(self.folder.join("committed").join(file_name(sha)?))
    }
}

/// A name from a file that anybody may have written must not lead elsewhere.
fn file_name(sha: &str) -> Result<String, CacheError> {
    match sha.parse::<Digest>() {
        Ok(digest) => Ok(format!("{digest}.tar")),
        Err(error) => Err(files("use a digest in the cache's metadata")(io::Error::other(error))),
    }
}

/// A set of layers that is being written; without [`Self::commit`] the old one stays.
#[derive(Debug)]
pub(super) struct NewSet {
    cache: FolderCache,
    staging: PathBuf,
}

impl NewSet {
    /// Takes a layer over from the old set; `false` where that does not have it, and the new one not yet.
    pub(super) fn reuse(&self, sha: &str) -> Result<bool, CacheError> {
        let place = self.staging.join(file_name(sha)?);
        Ok(place.exists() || fs::hard_link(self.cache.path(sha)?, place).is_ok())
    }

    /// Tells whether the old set has a layer.
    pub(super) fn had(&self, sha: &str) -> bool {
        self.cache.path(sha).is_ok_and(|path| path.exists())
    }

    /// Makes a file for an archive that somebody else writes; see [`Self::adopt`].
    pub(super) fn begin_archive(&self) -> Result<NamedTempFile, CacheError> {
        NamedTempFile::new_in(&self.staging).map_err(files("write a layer into the cache"))
    }

    /// Adds an archive whose digest was computed while it was written.
    pub(super) fn adopt(&self, archive: NamedTempFile, sha: &str) -> Result<(), CacheError> {
        let named = archive.persist(self.staging.join(file_name(sha)?));
        named.map(drop).map_err(|error| files("name a layer of the cache")(error.error))
    }

    /// Adds a layer and returns its digest. Blocks until it is written.
    pub(super) fn add(
        &self,
        entries: impl Iterator<Item = Result<LayerEntry, LayerError>>,
    ) -> Result<String, CacheError> {
        let mut unfinished = self.begin_archive()?;
        let (mut archive, mut hasher) = (Archive::new(entries), Hasher::default());
        let mut piece = Vec::with_capacity(1024 * 1024);
        loop {
            let ended = archive.fill(&mut piece)?;
            hasher.update(&piece);
            io::Write::write_all(&mut unfinished, &piece).map_err(files("write a layer into the cache"))?;
            piece.clear();
            if ended {
                break;
            }
        }
        let sha = hasher.finish().to_string();
        self.adopt(unfinished, &sha)?;
        Ok(sha)
    }

    /// Puts the new set in the place of the old one.
    pub(super) fn commit(&self, metadata: &CacheMetadata) -> Result<(), CacheError> {
        let (committed, backup) = (self.cache.folder.join("committed"), self.cache.folder.join("committed-backup"));
        let text = go_json::to_string(metadata);
        fs::write(self.staging.join(METADATA), text).map_err(files("write the cache's metadata"))?;
        remove(&backup).map_err(files("remove an old cache"))?;
        match fs::rename(&committed, &backup) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(files("put the old cache aside")(error));
            }
            _ => {}
        }
        fs::rename(&self.staging, &committed).map_err(files("put the new cache in its place"))?;
        remove(&backup).map_err(files("remove an old cache"))
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::labels::Sha;

    fn file(content: &'static str) -> Vec<Result<LayerEntry, LayerError>> {
        vec![Ok(LayerEntry::file("/layers/a", 0o644, content))]
    }

    fn metadata(sha: &str) -> CacheMetadata {
        CacheMetadata { sbom: Sha { sha: sha.to_owned() }, buildpacks: vec![] }
    }

    #[test]
    fn set_replaces_the_one_before_and_can_take_layers_over() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FolderCache::new(folder.path().join("cache"));
        assert_eq!(cache.metadata(), None);
        let set = cache.begin().unwrap();
        let (one, two) = (set.add(file("1").into_iter()).unwrap(), set.add(file("2").into_iter()).unwrap());
        set.commit(&metadata(&one)).unwrap();
        assert_eq!(cache.metadata(), Some(metadata(&one)));

        let set = cache.begin().unwrap();
        assert!(set.reuse(&two).unwrap());
        assert!(!set.reuse(&format!("sha256:{:064}", 0)).unwrap());
        set.commit(&metadata(&two)).unwrap();
        assert!(cache.archive(&two).is_ok());
        assert!(cache.archive(&one).is_err());
    }

    #[test]
    fn stopped_build_leaves_the_old_set() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FolderCache::new(folder.path());
        let set = cache.begin().unwrap();
        let sha = set.add(file("1").into_iter()).unwrap();
        set.commit(&metadata(&sha)).unwrap();
        cache.begin().unwrap().add(file("2").into_iter()).unwrap();
        assert_eq!(cache.metadata(), Some(metadata(&sha)));
        // Between the two renames.
        fs::rename(folder.path().join("committed"), folder.path().join("committed-backup")).unwrap();
        assert_eq!(cache.metadata(), Some(metadata(&sha)));
    }

    #[test]
    fn digest_that_is_none_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FolderCache::new(folder.path());
        assert!(cache.archive("../../etc/passwd").is_err());
    }
}
