//! A folder for what nobody else may see: for secrets in memory, where there is such a place; gone afterwards.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::sandbox::remove_tree;

const PREFIX: &str = "packhorse-private-";
const LOCK: &str = "lock";
/// Memory that is a folder, on Linux.
const MEMORY: &str = "/dev/shm";

/// A folder that only this user may enter; dropped, it is removed.
///
/// One that a killed process left behind is removed by the next: its lock is free.
pub(in crate::adapters) struct PrivateFolder {
    folder: PathBuf,
    _lock: File,
}

impl PrivateFolder {
    /// Makes one in memory, and removes those of processes that are gone.
    pub(in crate::adapters) fn new() -> io::Result<Self> {
        let memory = Path::new(MEMORY);
        if memory.is_dir()
            && let Ok(folder) = Self::within(memory)
        {
            return Ok(folder);
        }
        Self::within(&std::env::temp_dir())
    }

    /// Makes one below `base`, and removes those of processes that are gone.
    pub(in crate::adapters) fn within(base: &Path) -> io::Result<Self> {
        sweep(base);
        let folder =
            tempfile::Builder::new().prefix(PREFIX).permissions(Permissions::from_mode(0o700)).tempdir_in(base)?;
        // Locked before it bears the name by which others look for it.
        let (new, path) = (folder.path().join("lock.new"), folder.path().join(LOCK));
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(new, path)?;
        Ok(Self { folder: folder.keep(), _lock: lock })
    }

    pub(in crate::adapters) fn path(&self) -> &Path {
        &self.folder
    }

    /// Makes a folder inside.
    pub(in crate::adapters) fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        DirBuilder::new().mode(0o755).create(&path)?;
        Ok(path)
    }

    /// Makes a folder inside with one file per variable, as the lifecycle reads them.
    ///
    /// Everyone may read the files: a container's user has another id. Nobody else gets as far as the folder, whose parent
    /// is private; inside a container the mount stands for itself.
    pub(in crate::adapters) fn variables<'a>(
        &self,
        name: &str,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> io::Result<PathBuf> {
        let folder = self.folder(name)?;
        for (key, value) in variables {
            write(&folder.join(key), value, 0o444)?;
        }
        Ok(folder)
    }

    /// Writes a file that only this user may read.
    pub(in crate::adapters) fn file(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        write(&path, content, 0o600)?;
        Ok(path)
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = remove_tree(&self.folder);
    }
}

fn write(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content.as_bytes())?;
    // Whatever the process's mask took away.
    file.set_permissions(Permissions::from_mode(mode))
}

/// Removes the folders of processes that are gone; what cannot be removed belongs to somebody else.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = remove_tree(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_gets_in_and_nothing_stays() {
        let base = tempfile::tempdir().unwrap();
        let folder = PrivateFolder::within(base.path()).unwrap();
        let variables = folder.variables("env", [("KEY", "one\ntwo")]).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!((mode(&variables), mode(&variables.join("KEY"))), (0o755, 0o444));
        assert_eq!(fs::read_to_string(variables.join("KEY")).unwrap(), "one\ntwo");
        assert_eq!(mode(&folder.file("secret", "x").unwrap()), 0o600);
        drop(folder);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let base = tempfile::tempdir().unwrap();
        let used = PrivateFolder::within(base.path()).unwrap();
        let left = base.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        let begun = base.path().join(format!("{PREFIX}begun"));
        fs::create_dir(&begun).unwrap();
        let other = PrivateFolder::within(base.path()).unwrap();
        assert!(used.path().is_dir() && other.path().is_dir() && begun.is_dir());
        assert!(!left.exists());
    }
}
