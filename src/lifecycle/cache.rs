//! Layers kept between builds, in the folder format of the Go lifecycle: either can take over what the other left.
//!
//! `committed/` has one uncompressed archive per layer, named by its digest, and the metadata. A build writes a new set beside it and
//! renames it into place, so that a stopped one leaves the old set.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::go_json;
use super::labels::CacheMetadata;
use crate::image::digest::Hasher;
use crate::image::layer::{Archive, LayerEntry, LayerError};

const METADATA: &str = "io.buildpacks.lifecycle.cache.metadata";

/// A folder with the layers of one app.
#[derive(Debug, Clone)]
pub struct LayerCache {
    folder: PathBuf,
}

/// Why the cache failed. No build fails for it.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file or folder failed.
    #[error("could not {doing}")]
    Files {
        /// What was tried.
        doing: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A layer could not be read to be kept.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// What is there is not what its name promises.
    #[error("layer {wanted} of the cache is damaged: it is {found}")]
    Damaged {
        /// The digest in its name.
        wanted: String,
        /// The digest of what is there.
        found: String,
    },
}

fn files(doing: &str) -> impl FnOnce(io::Error) -> CacheError {
    let doing = doing.to_owned();
    |source| CacheError::Files { doing, source }
}

impl LayerCache {
    /// The cache in this folder, which need not be there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Returns what the cache has; one that is not there or cannot be read has nothing.
    pub fn metadata(&self) -> Option<CacheMetadata> {
        // A build that was stopped between the two renames left its set under this name.
        let (committed, backup) = (self.folder.join("committed"), self.folder.join("committed-backup"));
        if !committed.exists() && backup.exists() {
            let _ = fs::rename(&backup, &committed);
        }
        let text = fs::read(committed.join(METADATA)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Hands a layer's archive to `unpack` and checks it as it passes: what was unpacked counts only where this succeeds.
    pub fn read(&self, sha: &str, unpack: impl FnOnce(&mut dyn Read) -> io::Result<()>) -> Result<(), CacheError> {
        let file = File::open(self.path(sha)?).map_err(files("open a layer of the cache"))?;
        let mut checked = Checked { file, hasher: Hasher::default() };
        unpack(&mut checked).map_err(files("unpack a layer of the cache"))?;
        // What follows the end of the archive belongs to the digest too.
        io::copy(&mut checked, &mut io::sink()).map_err(files("read a layer of the cache"))?;
        let found = checked.hasher.finish();
        if found.as_str() == sha {
            return Ok(());
        }
        Err(CacheError::Damaged { wanted: sha.to_owned(), found: found.to_string() })
    }

    /// Begins a new set.
    pub fn begin(&self) -> Result<NewSet<'_>, CacheError> {
        let staging = self.folder.join("staging");
        remove(&staging).map_err(files("remove what a stopped build left in the cache"))?;
        fs::create_dir_all(&staging).map_err(files("make the cache's folder"))?;
        Ok(NewSet { cache: self, staging })
    }

    fn path(&self, sha: &str) -> Result<PathBuf, CacheError> {
        Ok(self.folder.join("committed").join(file_name(sha)?))
    }
}

/// A name from a file that anybody may have written must not lead elsewhere.
fn file_name(sha: &str) -> Result<String, CacheError> {
    match sha.parse::<crate::image::Digest>() {
        Ok(digest) => Ok(format!("{digest}.tar")),
        Err(error) => Err(files("use a digest in the cache's metadata")(io::Error::other(error))),
    }
}

struct Checked {
    file: File,
    hasher: Hasher,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// A set of layers that is being written; without [`Self::commit`] the old one stays.
pub struct NewSet<'c> {
    cache: &'c LayerCache,
    staging: PathBuf,
}

impl NewSet<'_> {
    /// Takes a layer over from the old set; `false` where that does not have it.
    pub fn reuse(&self, sha: &str) -> Result<bool, CacheError> {
        match fs::hard_link(self.cache.path(sha)?, self.staging.join(file_name(sha)?)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(_) => Ok(false),
        }
    }

    /// Adds a layer and returns its digest. Blocks until it is written.
    pub fn add(&self, entries: impl Iterator<Item = Result<LayerEntry, LayerError>>) -> Result<String, CacheError> {
        let unfinished = self.staging.join("unfinished");
        let mut file = File::create(&unfinished).map_err(files("write a layer into the cache"))?;
        let (mut archive, mut hasher) = (Archive::new(entries), Hasher::default());
        let mut piece = Vec::with_capacity(1024 * 1024);
        loop {
            let ended = archive.fill(&mut piece)?;
            hasher.update(&piece);
            io::Write::write_all(&mut file, &piece).map_err(files("write a layer into the cache"))?;
            piece.clear();
            if ended {
                break;
            }
        }
        let sha = hasher.finish().to_string();
        fs::rename(unfinished, self.staging.join(file_name(&sha)?)).map_err(files("name a layer of the cache"))?;
        Ok(sha)
    }

    /// Puts the new set in the place of the old one.
    pub fn commit(self, metadata: &CacheMetadata) -> Result<(), CacheError> {
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
        let cache = LayerCache::new(folder.path().join("cache"));
        assert_eq!(cache.metadata(), None);
        let set = cache.begin().unwrap();
        let (one, two) = (set.add(file("1").into_iter()).unwrap(), set.add(file("2").into_iter()).unwrap());
        set.commit(&metadata(&one)).unwrap();
        assert_eq!(cache.metadata(), Some(metadata(&one)));

        let set = cache.begin().unwrap();
        assert!(set.reuse(&two).unwrap());
        assert!(!set.reuse(&format!("sha256:{:064}", 0)).unwrap());
        set.commit(&metadata(&two)).unwrap();
        assert!(cache.read(&two, |archive| io::copy(archive, &mut io::sink()).map(|_| ())).is_ok());
        assert!(cache.read(&one, |_| Ok(())).is_err());
    }

    #[test]
    fn damaged_layer_is_not_taken_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let cache = LayerCache::new(folder.path());
        let set = cache.begin().unwrap();
        let sha = set.add(file("1").into_iter()).unwrap();
        set.commit(&metadata(&sha)).unwrap();
        let path = folder.path().join("committed").join(format!("{sha}.tar"));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
        assert!(matches!(cache.read(&sha, |_| Ok(())), Err(CacheError::Damaged { .. })));
    }

    #[test]
    fn stopped_build_leaves_the_old_set() {
        let folder = tempfile::tempdir().unwrap();
        let cache = LayerCache::new(folder.path());
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
        let cache = LayerCache::new(folder.path());
        assert!(cache.read("../../etc/passwd", |_| Ok(())).is_err());
    }
}
