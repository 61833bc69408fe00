//! Brings the files of an app to where it is built.

use std::fs::{self, DirEntry, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::domain::file_patterns::FilePatterns;
use crate::lifecycle::Owner;

/// What is never part of an app: with it, one commit would have another image at every build.
const GIT: &str = ".git";

/// Which files belong to an app.
#[derive(Debug, Clone)]
pub(super) enum AppFiles {
    /// Those that the patterns name.
    Only(FilePatterns),
    /// All but those that the patterns name.
    AllBut(FilePatterns),
}

impl AppFiles {
    /// From the lists of `project.toml`, of which one is empty, and what the caller keeps out.
    pub(super) fn new(include: &[String], exclude: &[String], apart: &[String]) -> Self {
        let apart = || std::iter::once(GIT).chain(apart.iter().map(String::as_str));
        if include.is_empty() {
            return Self::AllBut(FilePatterns::new(exclude.iter().map(String::as_str).chain(apart())));
        }
        let negated: Vec<String> = apart().map(|pattern| format!("!{pattern}")).collect();
        Self::Only(FilePatterns::new(include.iter().chain(&negated).map(String::as_str)))
    }

    fn has(&self, path: &[u8]) -> bool {
        match self {
            Self::Only(patterns) => patterns.matches(path),
            Self::AllBut(patterns) => !patterns.matches(path),
        }
    }

    /// Tells whether something below a folder that does not belong to the app may belong to it.
    fn may_have_below(&self) -> bool {
        match self {
            Self::Only(_) => true,
            Self::AllBut(patterns) => !patterns.name_whole_folders(),
        }
    }
}

/// A file of the app could not be brought over.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be copied", path.display())]
pub(super) struct CopyError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A copy under way.
pub(super) struct Copy {
    pub(super) from: PathBuf,
    /// The folder, which is there and empty.
    pub(super) to: PathBuf,
    pub(super) files: AppFiles,
    pub(super) owner: Option<Owner>,
}

impl Copy {
    /// Copies files, folders and links with modes and times, as `pack` does; pipes, sockets and devices are no part of an app.
    /// Ends early when `stop` turns true.
    pub(super) fn run(&self, stop: &AtomicBool) -> Result<(), CopyError> {
        self.folder(Path::new(""), stop)
    }

    fn folder(&self, below: &Path, stop: &AtomicBool) -> Result<(), CopyError> {
        let at = |path: PathBuf| move |source| CopyError { path, source };
        for entry in fs::read_dir(self.from.join(below)).map_err(at(self.from.join(below)))? {
            if stop.load(Ordering::Relaxed) {
                return Err(at(self.from.clone())(io::ErrorKind::Interrupted.into()));
            }
            let entry = entry.map_err(at(self.from.join(below)))?;
            let path = below.join(entry.file_name());
            self.entry(&entry, &path, stop)?;
        }
        Ok(())
    }

    fn entry(&self, entry: &DirEntry, path: &Path, stop: &AtomicBool) -> Result<(), CopyError> {
        let at = |source| CopyError { path: entry.path(), source };
        let is_of_app = self.files.has(path.as_os_str().as_bytes());
        let metadata = entry.metadata().map_err(at)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            if !is_of_app {
                return if self.files.may_have_below() { self.folder(path, stop) } else { Ok(()) };
            }
            let to = self.make_folder(path).map_err(at)?;
            self.folder(path, stop)?;
            return self.finish(&to, &metadata).map_err(at);
        }
        if !is_of_app || kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
            return Ok(());
        }
        self.leaf(&entry.path(), path, &metadata).map_err(at)
    }

    fn leaf(&self, from: &Path, path: &Path, metadata: &Metadata) -> io::Result<()> {
        let to = self.make_folder(path.parent().unwrap_or(Path::new("")))?.join(path.file_name().unwrap_or_default());
        if metadata.is_symlink() {
            symlink(fs::read_link(from)?, &to)?;
        } else {
            fs::copy(from, &to)?;
        }
        self.finish(&to, metadata)
    }

    /// Makes a folder that may be there, and those above it.
    fn make_folder(&self, path: &Path) -> io::Result<PathBuf> {
        let to = self.to.join(path);
        if path.as_os_str().is_empty() || to.is_dir() {
            return Ok(to);
        }
        self.make_folder(path.parent().unwrap_or(Path::new("")))?;
        fs::create_dir(&to)?;
        fs::set_permissions(&to, Permissions::from_mode(0o755))?;
        self.own(&to)?;
        Ok(to)
    }

    fn own(&self, path: &Path) -> io::Result<()> {
        self.owner.map_or(Ok(()), |Owner { uid, gid }| lchown(path, Some(uid), Some(gid)))
    }

    /// Gives a copy the owner, the mode and the time of what it is a copy of.
    fn finish(&self, path: &Path, of: &Metadata) -> io::Result<()> {
        self.own(path)?;
        if !of.is_symlink() {
            // After the owner, whose change takes some bits away.
            fs::set_permissions(path, Permissions::from_mode(of.mode() & 0o7777))?;
        }
        let time = Timespec { tv_sec: of.mtime(), tv_nsec: of.mtime_nsec() };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn copied(files: AppFiles) -> (tempfile::TempDir, Vec<String>) {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for path in [".git/config", "src/a.py", "src/deep/b.pyc", "docs/c.md", "logs/keep", "logs/other"] {
            let path = from.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        symlink("a.py", from.path().join("src/link")).unwrap();
        fs::set_permissions(from.path().join("src/a.py"), Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(from.path().join("src"), Permissions::from_mode(0o555)).unwrap();
        Copy { from: from.path().into(), to: to.path().into(), files, owner: None }
            .run(&AtomicBool::new(false))
            .unwrap();
        let mut found = Vec::new();
        list(to.path(), to.path(), &mut found);
        found.sort();
        for folder in [from.path().join("src"), to.path().join("src")] {
            let _ = fs::set_permissions(folder, Permissions::from_mode(0o755));
        }
        (to, found)
    }

    fn list(top: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(top).unwrap().display().to_string());
            if path.is_dir() {
                list(top, &path, found);
            }
        }
    }

    #[test]
    fn what_is_kept_apart_is_not_copied_and_all_else_is_as_it_was() {
        let exclude = texts(&["*.pyc", "logs/*", "!logs/keep"]);
        let (to, found) = copied(AppFiles::new(&[], &exclude, &texts(&["/docs"])));
        assert_eq!(found, ["logs", "logs/keep", "src", "src/a.py", "src/deep", "src/link"]);
        let mode = |path: &str| fs::symlink_metadata(to.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!(mode("src/a.py"), 0o4751);
        assert_eq!(fs::read_link(to.path().join("src/link")).unwrap(), Path::new("a.py"));
    }

    #[test]
    fn only_what_is_named_is_copied_where_a_list_names_it() {
        let (_to, found) = copied(AppFiles::new(&texts(&["*.md", "src"]), &[], &texts(&["*.pyc"])));
        assert_eq!(found, ["docs", "docs/c.md", "src", "src/a.py", "src/deep", "src/link"]);
    }
}
