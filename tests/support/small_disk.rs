//! A disk that is small enough to be full.
#![allow(dead_code, reason = "each build of the tests uses its own part")]

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;

/// A file system of its own in memory; gone with its drop.
pub(crate) struct SmallDisk(tempfile::TempDir);

const BALLAST: &str = "ballast";

impl SmallDisk {
    /// Makes one. Only root may.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "small"]).arg(folder.path()).status();
        assert!(mount.unwrap().success(), "no disk could be mounted: only root may");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no room for another byte.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.path().join(BALLAST)).unwrap();
        let full = std::iter::repeat_with(|| ballast.write_all(&[0; 4096])).find_map(Result::err).unwrap();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }

    /// Makes room again.
    pub(crate) fn free(&self) {
        fs::remove_file(self.path().join(BALLAST)).unwrap();
    }

    /// Returns the names of the files whose name has this in it.
    pub(crate) fn files(&self, part: &str) -> String {
        let found = Command::new("find").arg(self.path()).args(["-name", &format!("*{part}*")]).output().unwrap();
        String::from_utf8(found.stdout).unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
