//! Folders of cached layers, handed from one build to the next: moved, and so neither unpacked nor deleted.
//!
//! A layer's archive says all that is in it; so the digest of the archive is the name under which its folder is kept, beside a record of how
//! it lay there. A folder is believed only after it was moved to where the next build has it, and was found to be what its record says.
//! A rename is all or nothing: of several builds one gets the folder, and none gets half of it. The others unpack the archive.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::image::Digest;
use crate::image::layer::{LayerFolder, StatManifest};
use crate::lifecycle::folders::Owner;

/// The ending of a record's name.
const RECORD: &str = "json";
/// What the name of a folder begins with that is to be removed.
const DOOMED: &str = ".old-";

/// The folders of one app's cached layers. It lies on the filesystem on which builds have their layers, or is of no use.
///
/// Whatever goes wrong, or is left by a killed build, costs the time to unpack a layer. Several builds may use one at the same time.
#[derive(Debug, Clone)]
pub struct Handover {
    folder: PathBuf,
    remove: fn(&Path) -> io::Result<()>,
}

impl Handover {
    /// Folders below `folder`, which need not be there; `remove` removes a folder with all that is below.
    pub fn below(folder: impl Into<PathBuf>, remove: fn(&Path) -> io::Result<()>) -> Self {
        Self { folder: folder.into(), remove }
    }

    /// Moves the folder of this digest to where `layer` lies, which is not there yet, and returns how it lies there. `None` where it is
    /// not there, or not as it was left by a build for the same `owner`: then nothing is there afterwards. Blocks.
    pub fn take(&self, digest: &Digest, layer: &LayerFolder, owner: Owner) -> Option<StatManifest> {
        let (from, record) = self.paths(digest);
        let text = fs::read(record).ok()?;
        let manifest: StatManifest = serde_json::from_slice(&text).ok()?;
        let to = layer.root.host(&layer.path);
        if to.symlink_metadata().is_ok() || !manifest.is_as_unpacked_for((owner.uid, owner.gid)) {
            return None;
        }
        fs::rename(&from, &to).ok()?;
        if manifest.fits(layer) {
            return Some(manifest);
        }
        let _ = (self.remove)(&to);
        None
    }

    /// Moves the folder of a layer here, whose archive has this digest. `manifest` was taken before the archive was made. Whoever kept it
    /// must have no more use of the folder. Returns whether it was moved. Blocks.
    pub fn keep(&self, digest: &Digest, layer: &LayerFolder, manifest: &StatManifest, owner: Owner) -> bool {
        manifest.is_as_unpacked_for((owner.uid, owner.gid)) && self.try_to_keep(digest, layer, manifest).is_ok()
    }

    fn try_to_keep(&self, digest: &Digest, layer: &LayerFolder, manifest: &StatManifest) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let (to, record) = self.paths(digest);
        self.put_away(&to)?;
        // A record with another folder beside it, or with none, is one that does not fit.
        fs::write(record, serde_json::to_vec(manifest)?)?;
        fs::rename(layer.root.host(&layer.path), to)
    }

    /// Removes all but these. Blocks.
    pub fn keep_only(&self, digests: &BTreeSet<Digest>) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let wanted: BTreeSet<&str> = digests.iter().map(Digest::hex).collect();
        for path in entries.flatten().map(|entry| entry.path()) {
            let digest = path.file_stem().and_then(|name| name.to_str());
            if digest.is_some_and(|digest| wanted.contains(digest)) {
                continue;
            }
            if path.extension().is_some_and(|ending| ending == RECORD) {
                let _ = fs::remove_file(path);
            } else if digest.is_some_and(|name| name.starts_with(DOOMED)) {
                let _ = (self.remove)(&path);
            } else {
                let _ = self.put_away(&path);
            }
        }
    }

    /// Removes a folder, which nobody can take any more from the first moment on. One that is not there is no error.
    fn put_away(&self, folder: &Path) -> io::Result<()> {
        let doomed = tempfile::Builder::new().prefix(DOOMED).tempdir_in(&self.folder)?.keep();
        let moved = match fs::rename(folder, doomed.join("layer")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        moved.and((self.remove)(&doomed))
    }

    fn paths(&self, digest: &Digest) -> (PathBuf, PathBuf) {
        let folder = self.folder.join(digest.hex());
        let record = folder.with_extension(RECORD);
        (folder, record)
    }
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
