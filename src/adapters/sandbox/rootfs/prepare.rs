//! Makes the places at which a sandbox mounts what is its own: the root itself is for reading only.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use super::Owners;
use super::inside::Inside;
use crate::adapters::sandbox::account::Account;
use crate::image::ImageConfig;

/// Folders that a sandbox has of its own.
pub(crate) const FOLDERS: [&str; 9] =
    ["proc", "sys", "dev", "tmp", "run", "var/tmp", "platform", "layers", "workspace"];
/// Files of the machine that a sandbox sees.
pub(crate) const FILES: [&str; 2] = ["etc/resolv.conf", "etc/hosts"];

pub(super) fn prepare(root: &Path, config: &ImageConfig, owners: Owners) -> io::Result<()> {
    let inside = Inside::new(root)?;
    for folder in FOLDERS {
        inside.make_folder(Path::new(folder))?;
    }
    for file in FILES {
        let place = inside.place(Path::new(file))?;
        // A link would lead to a file that the image does not have.
        if place.stat()?.is_none_or(|stat| !is_file(&stat)) {
            place.remove()?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(place.folder(), place.name, flags, Mode::from_raw_mode(0o644))?;
        }
    }
    // An image that names no user is refused later, with better words.
    let Ok(account) = Account::of_image(config, root) else { return Ok(()) };
    let home = account.home.as_os_str().as_bytes();
    let home = Path::new(std::ffi::OsStr::from_bytes(home.strip_prefix(b"/").unwrap_or(home)));
    if !home.as_os_str().is_empty() && inside.folder(home).is_err() {
        let place = inside.place(home)?;
        rustix::fs::mkdirat(place.folder(), place.name, Mode::from_raw_mode(0o755))?;
        if owners == Owners::Kept {
            let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
            rustix::fs::chownat(place.folder(), place.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

fn is_file(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
}
