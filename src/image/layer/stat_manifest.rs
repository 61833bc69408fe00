//! Recognising a layer that nobody has touched, without reading it.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
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
/// layers. Root can set the machine's clock back; where that happened, nothing fits. A page that a process had mapped and written
/// before may be written again unseen: nobody may have a file of the folder open when the manifest is taken.
///
/// The folder itself may be moved to another place of its filesystem meanwhile, under the same path in the image. Valid until the machine
/// is started anew: what a lost disk cache left of files is then not told from what was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatManifest {
    looks: Looks,
    taken: Clocks,
    /// The run of the machine in which it was taken; empty where nobody knows.
    machine: String,
}

/// What the disk says, as a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Looks {
    digest: Digest,
    entries: u64,
    /// The one owner and group of all, where unpacking an archive could have made all: folders, files with one name each, and links.
    plain_of: Option<(u32, u32)>,
}

/// Two clocks at one moment: the one that files get their times from, and one that never goes back while the machine runs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Clocks {
    wall: Changed,
    steady: Duration,
}

impl Clocks {
    /// Tells whether the wall clock went back in between. Being slowed down, as time servers do, is not going back.
    fn went_back(self, later: Self) -> bool {
        let nanoseconds =
            |(seconds, nanoseconds): Changed| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let wall = nanoseconds(later.wall) - nanoseconds(self.wall);
        let steady = later.steady.saturating_sub(self.steady);
        // Both ends of the steady time are rounded down to hundredths of a second.
        let slowed = Duration::from_millis(20) + steady / 500;
        wall < i128::try_from(steady.saturating_sub(slowed).as_nanos()).unwrap_or(i128::MAX)
    }
}

/// How long the filesystem's clock is waited for; a second is the coarsest in use.
const LONGEST_WAIT: Duration = Duration::from_millis(2500);

impl StatManifest {
    /// Looks at `folder` and waits until any later change will have a later time: a few milliseconds, where something in it
    /// has just been written.
    ///
    /// `None` where the filesystem's clock does not move on; such a layer is read again.
    pub fn take(folder: &LayerFolder) -> Result<Option<Self>, LayerError> {
        let (looks, newest) = look(folder)?;
        let mut waited = Duration::ZERO;
        let pause = Duration::from_millis(2);
        while waited <= LONGEST_WAIT {
            if let Ok(taken) = clocks(folder)
                && taken.wall > newest
            {
                return Ok(Some(Self { looks, taken, machine: run_of_the_machine() }));
            }
            thread::sleep(pause);
            waited += pause;
        }
        Ok(None)
    }

    /// Tells whether `folder` is as it was. Anything in doubt is a change, a folder that cannot be read too.
    #[must_use]
    pub fn fits(&self, folder: &LayerFolder) -> bool {
        let same = look(folder).is_ok_and(|(looks, _)| looks == self.looks);
        same && self.machine == run_of_the_machine() && clocks(folder).is_ok_and(|now| !self.taken.went_back(now))
    }
}

impl StatManifest {
    /// Tells whether the folder holds only what unpacking its layer for this owner and group makes too, and another process may
    /// rely on it: folders, files with one name each, and links.
    #[must_use]
    pub fn is_as_unpacked_for(&self, owner: (u32, u32)) -> bool {
        self.looks.plain_of == Some(owner) && !self.machine.is_empty()
    }
}

/// Returns what tells one run of the machine from all others.
fn run_of_the_machine() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Seconds and nanoseconds of the last change of an inode.
type Changed = (i64, i64);

fn look(folder: &LayerFolder) -> Result<(Looks, Changed), LayerError> {
    let mut hasher = Hasher::default();
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
    let (mut owner, mut is_plain) = (None, true);
    for found in folder.found() {
        let found = found?;
        let metadata = &found.metadata;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        newest = newest.max(changed);
        entries += 1;
        is_plain &= metadata.is_dir() || metadata.is_symlink() || metadata.is_file() && metadata.nlink() == 1;
        is_plain &= *owner.get_or_insert((metadata.uid(), metadata.gid())) == (metadata.uid(), metadata.gid());
        add(&mut hasher, &found.path);
        // A folder that is moved counts as changed then; all that a layer has of it is its mode and what lies in it.
        let is_top = found.path == folder.path.as_os_str().as_bytes();
        add(&mut hasher, line(metadata, if is_top { (0, 0) } else { changed }).as_bytes());
        if found.metadata.is_symlink() {
            let target = fs::read_link(&found.host)
                .map_err(|source| LayerError::Unreadable { path: found.host.clone(), source })?;
            add(&mut hasher, target.as_os_str().as_bytes());
        }
    }
    Ok((Looks { digest: hasher.finish(), entries, plain_of: owner.filter(|_| is_plain) }, newest))
}

fn line(metadata: &Metadata, changed: Changed) -> String {
    let m = metadata;
    format!(
        "{:o} {} {} {} {}.{:09} {}.{:09} {} {} {} {}",
        m.mode(),
        m.uid(),
        m.gid(),
        m.size(),
        m.mtime(),
        m.mtime_nsec(),
        changed.0,
        changed.1,
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

/// Asks the filesystem of a layer for its time, by making a file beside it.
fn clocks(layer: &LayerFolder) -> std::io::Result<Clocks> {
    let host = layer.root.host(&layer.path);
    let beside = host.parent().unwrap_or(&host);
    let probe = tempfile::Builder::new().prefix(".packhorse-clock-").tempfile_in(beside)?;
    let metadata = probe.as_file().metadata()?;
    Ok(Clocks { wall: (metadata.ctime(), metadata.ctime_nsec()), steady: steady() })
}

/// The time since the machine was started, in hundredths of a second; nothing where the machine does not tell.
fn steady() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: Option<f64> = text.split(' ').next().and_then(|seconds| seconds.parse().ok());
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
}

#[cfg(test)]
#[path = "stat_manifest_tests.rs"]
mod tests;
