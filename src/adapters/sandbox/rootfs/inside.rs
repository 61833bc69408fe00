//! Files below a folder that is to become a root: whatever links lie in it, nothing is reached outside of it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::remove::remove;

/// How often a path is looked up again when something else moved meanwhile.
const LOOKUPS: usize = 100;

/// A folder seen as a root: links in paths lead to where they would lead a process whose root it is.
pub(super) struct Inside {
    root: OwnedFd,
}

/// A file by its folder and its name there; the name itself is never followed.
pub(super) struct Place<'a> {
    folder: OwnedFd,
    pub(super) name: &'a OsStr,
}

impl Place<'_> {
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Returns what is there, links not followed.
    pub(super) fn stat(&self) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what is there, with all that is below.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(self.folder.as_fd(), self.name)
    }
}

impl Inside {
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::openat(CWD, root, flags, Mode::empty())? })
    }

    /// Opens a folder by its path from the root.
    pub(super) fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..LOOKUPS {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => {
                    return Err(io::Error::new(io::ErrorKind::Unsupported, "Linux 5.6 or newer is needed"));
                }
                result => return Ok(result?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Opens a folder, and makes it and those above it where they are missing.
    pub(super) fn make_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let above = self.make_folder(above)?;
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => rustix::fs::chmodat(&above, name, Mode::from_raw_mode(0o755), AtFlags::empty())?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.folder(path)
    }

    /// Finds the place of a path, with the folders above it made where they are missing.
    pub(super) fn place<'a>(&self, path: &'a Path) -> io::Result<Place<'a>> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Place { folder: self.make_folder(path.parent().unwrap_or(Path::new("")))?, name })
    }

    /// Finds the place of a path whose folder is there.
    pub(super) fn existing_place<'a>(&self, path: &'a Path) -> io::Result<Place<'a>> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Place { folder: self.folder(path.parent().unwrap_or(Path::new("")))?, name })
    }
}

/// Takes a path from an archive as one from the root: without a leading `/` or `./`. One with `..` is `None`.
pub(super) fn from_root(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// Tells whether this is a folder.
pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_to_where_they_would_lead_with_this_root() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        fs::create_dir(outside.path().join("etc")).unwrap();
        symlink("/usr/lib", root.join("lib")).unwrap();
        symlink("../../../../usr", root.join("up")).unwrap();
        symlink(outside.path().join("etc"), root.join("etc")).unwrap();
        let inside = Inside::new(&root).unwrap();
        for path in ["lib/a", "up/lib/b"] {
            let place = inside.place(Path::new(path)).unwrap();
            rustix::fs::mkdirat(place.folder(), place.name, Mode::RWXU).unwrap();
        }
        assert!(root.join("usr/lib/a").is_dir() && root.join("usr/lib/b").is_dir());
        assert!(inside.place(Path::new("etc/passwd")).is_err());
        assert_eq!(fs::read_dir(outside.path().join("etc")).unwrap().count(), 0);
    }

    #[test]
    fn paths_with_a_way_out_are_none() {
        assert_eq!(from_root(Path::new("/a/./b")), Some(PathBuf::from("a/b")));
        assert_eq!(from_root(Path::new("./")), Some(PathBuf::new()));
        assert_eq!(from_root(Path::new("a/../../b")), None);
    }
}
