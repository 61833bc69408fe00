//! Recognising a layer that nobody has touched, without reading it.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::LayerError;
use super::walk::{LayerFolder, Order};
use crate::image::digest::{Digest, Hasher};

/// What the disk says of a folder and everything in it, as one digest: names, types, modes, owners, sizes, times of change,
/// inodes and targets of links.
///
/// The time of the last change of an inode cannot be set back, by a buildpack or by `touch`; so equal manifests mean equal
/// layers. Valid on one machine and one filesystem only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatManifest {
    digest: Digest,
    entries: u64,
}

/// The format, so that a manifest of an older program is never taken for one of this.
const FORMAT: &str = "stat manifest 1";
/// How long the filesystem's clock is waited for; a second is the coarsest in use.
const LONGEST_WAIT: Duration = Duration::from_millis(2500);

impl StatManifest {
    /// Looks at `folder` and waits until any later change will have a later time: a few milliseconds, where something in it
    /// has just been written.
    ///
    /// `None` where the filesystem's clock does not move on; such a layer is read again.
    pub fn take(folder: &LayerFolder) -> Result<Option<Self>, LayerError> {
        let (manifest, newest) = look(folder)?;
        let host = folder.root.host(&folder.path);
        let beside = host.parent().unwrap_or(&host);
        let mut waited = Duration::ZERO;
        let pause = Duration::from_millis(2);
        while waited <= LONGEST_WAIT {
            if clock(beside).is_ok_and(|now| now > newest) {
                return Ok(Some(manifest));
            }
            thread::sleep(pause);
            waited += pause;
        }
        Ok(None)
    }

    /// Tells whether `folder` is as it was. Anything in doubt is a change, a folder that cannot be read too.
    #[must_use]
    pub fn fits(&self, folder: &LayerFolder) -> bool {
        look(folder).is_ok_and(|(manifest, _)| manifest == *self)
    }
}

/// Seconds and nanoseconds of the last change of an inode.
type Changed = (i64, i64);

fn look(folder: &LayerFolder) -> Result<(StatManifest, Changed), LayerError> {
    let mut hasher = Hasher::default();
    add(&mut hasher, FORMAT.as_bytes());
    add(&mut hasher, folder.path.as_os_str().as_bytes());
    let LayerFolder { root: _, path: _, parents: _, contents, order } = folder;
    add(&mut hasher, if *order == Order::Flat { b"flat" } else { b"depth first" });
    add(&mut hasher, format!("{contents:?}").as_bytes());
    for parent in folder.parents() {
        let parent = parent?;
        add(&mut hasher, &parent.path);
        add(&mut hasher, format!("{:o} {} {}", parent.mode, parent.uid, parent.gid).as_bytes());
    }
    let (mut entries, mut newest) = (0, (i64::MIN, 0));
    for found in folder.found() {
        let found = found?;
        newest = newest.max((found.metadata.ctime(), found.metadata.ctime_nsec()));
        entries += 1;
        add(&mut hasher, &found.path);
        add(&mut hasher, line(&found.metadata).as_bytes());
        if found.metadata.is_symlink() {
            let target = fs::read_link(&found.host)
                .map_err(|source| LayerError::Unreadable { path: found.host.clone(), source })?;
            add(&mut hasher, target.as_os_str().as_bytes());
        }
    }
    Ok((StatManifest { digest: hasher.finish(), entries }, newest))
}

fn line(metadata: &Metadata) -> String {
    let m = metadata;
    format!(
        "{:o} {} {} {} {}.{:09} {}.{:09} {} {} {} {}",
        m.mode(),
        m.uid(),
        m.gid(),
        m.size(),
        m.mtime(),
        m.mtime_nsec(),
        m.ctime(),
        m.ctime_nsec(),
        m.ino(),
        m.dev(),
        m.rdev(),
        m.nlink(),
    )
}

/// Adds a text with its length, so that no two lists of texts are alike.
fn add(hasher: &mut Hasher, text: &[u8]) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text);
}

/// Asks the filesystem of `folder` for its time by making a file there.
fn clock(folder: &Path) -> std::io::Result<Changed> {
    let probe = tempfile::Builder::new().prefix(".packhorse-clock-").tempfile_in(folder)?;
    let metadata = probe.as_file().metadata()?;
    Ok((metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::fs::{FileTimes, OpenOptions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::{Ownership, Root};
    use super::*;

    fn folder(path: &Path) -> LayerFolder {
        let contents = Ownership::Fixed { uid: 1000, gid: 1000 };
        let root = Root::in_place().with("/layers/bp/venv", path);
        let root = root.with("/", path.parent().unwrap());
        let parents = Ownership::OnDisk;
        LayerFolder {
            root: root.with("/layers", "/").with("/layers/bp", "/"),
            path: "/layers/bp/venv".into(),
            parents,
            contents,
            order: Order::DepthFirst,
        }
    }

    #[test]
    fn every_change_is_seen_and_none_is_made_up() {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().join("venv");
        fs::create_dir_all(top.join("lib")).unwrap();
        fs::write(top.join("lib/a"), "one").unwrap();
        symlink("a", top.join("lib/link")).unwrap();
        let same_size = |path: &Path| {
            // A change that hides: the same size, and the time of writing set back.
            let before = path.metadata().unwrap().modified().unwrap();
            fs::write(path, "two").unwrap();
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_times(FileTimes::new().set_modified(before)).unwrap();
        };
        let changes: [&dyn Fn(); 6] = [
            &|| same_size(&top.join("lib/a")),
            &|| fs::set_permissions(top.join("lib/a"), fs::Permissions::from_mode(0o600)).unwrap(),
            &|| fs::write(top.join("lib/b"), "").unwrap(),
            &|| fs::rename(top.join("lib/b"), top.join("lib/c")).unwrap(),
            &|| {
                fs::remove_file(top.join("lib/link")).unwrap();
                symlink("c", top.join("lib/link")).unwrap();
            },
            &|| fs::remove_file(top.join("lib/c")).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let before = StatManifest::take(&folder(&top)).unwrap().unwrap();
            assert!(before.fits(&folder(&top)), "{number}");
            change();
            assert!(!before.fits(&folder(&top)), "{number}");
        }
        let before = StatManifest::take(&folder(&top)).unwrap().unwrap();
        let other = LayerFolder { contents: Ownership::Fixed { uid: 1001, gid: 1000 }, ..folder(&top) };
        assert!(!before.fits(&other));
        fs::remove_dir_all(&top).unwrap();
        assert!(!before.fits(&folder(&top)));
    }
}
