//! Removing folders with all that is below, whatever modes folders have, with several threads where there is much.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// Removes `name` from a folder, with all that is below, whatever modes folders have. What somebody else removes meanwhile is no error.
pub(super) fn remove(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match try_to_remove(folder, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn try_to_remove(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        // POSIX says EPERM of a folder, Linux says EISDIR.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(folder, name, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(folder, name, flags, Mode::empty())?
        }
        result => result?,
    };
    if let Err(error) = clear(inner.as_fd(), |_| true) {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        rustix::fs::fchmod(&inner, Mode::RWXU)?;
        clear(inner.as_fd(), |_| true)?;
    }
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Removes those entries of a folder that `unwanted` names.
pub(super) fn clear(folder: BorrowedFd<'_>, unwanted: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." && unwanted(name) {
            names.push(name.to_owned());
        }
    }
    let next = AtomicUsize::new(0);
    let remove_next = || {
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            remove(folder, name)?;
        }
        Ok(())
    };
    // The kernel gives a file's blocks back outside of the folder's lock, so that helps within one folder too.
    thread::scope(|scope| {
        let helpers: Vec<_> = (0..HELPERS.min(names.len() / WORTH_HELP)).map_while(|_| Helper::free()).collect();
        let helped: Vec<_> = helpers.iter().map(|_| scope.spawn(remove_next)).collect();
        let ended_early = |_| Err(io::Error::other("a thread that removed files ended early"));
        helped.into_iter().map(|thread| thread.join().unwrap_or_else(ended_early)).fold(remove_next(), Result::and)
    })
}

/// How many entries of a folder are worth one thread more.
const WORTH_HELP: usize = 64;
/// How many threads more there are. They wait for the disk most of the time, for instance where it is told at once of blocks that
/// are free (`discard`).
const HELPERS: usize = 3;

/// The right to remove with one thread more.
struct Helper;

impl Helper {
    fn under_way() -> &'static AtomicUsize {
        static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
        &UNDER_WAY
    }

    fn free() -> Option<Self> {
        let one_more = |under_way: usize| (under_way < HELPERS).then_some(under_way + 1);
        Self::under_way().fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Self)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        Self::under_way().fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::*;

    #[test]
    fn folders_that_nobody_may_enter_are_removed_too() {
        let top = tempfile::tempdir().unwrap();
        let closed = top.path().join("a/closed");
        fs::create_dir_all(closed.join("in")).unwrap();
        fs::write(closed.join("in/file"), "").unwrap();
        symlink("/etc", closed.join("link")).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
        let folder = File::open(top.path()).unwrap();
        remove(folder.as_fd(), OsStr::new("a")).unwrap();
        remove(folder.as_fd(), OsStr::new("never")).unwrap();
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
        assert!(Path::new("/etc").is_dir());
    }

    #[test]
    fn large_folders_are_removed_whole_whoever_helps() {
        let top = tempfile::tempdir().unwrap();
        for number in 0..3 * WORTH_HELP {
            let folder = top.path().join(format!("a/{number}"));
            fs::create_dir_all(&folder).unwrap();
            for file in 0..if number % 50 == 0 { 2 * WORTH_HELP } else { 1 } {
                fs::write(folder.join(file.to_string()), "").unwrap();
            }
        }
        let folder = File::open(top.path()).unwrap();
        thread::scope(|scope| {
            // Two that remove the same do not mind each other.
            scope.spawn(|| remove(folder.as_fd(), OsStr::new("a")));
            scope.spawn(|| remove(folder.as_fd(), OsStr::new("a")));
        });
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
    }
}
