//! Unpacks layers that earlier builds kept, into the folders of this build.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt as _, fchown, symlink};
use std::path::{Component, Path, PathBuf};

use super::folders::{Folder, Folders};

/// A folder above a layer, as an archive has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Above {
    /// Its mode.
    pub(super) mode: u32,
    /// Its owner and group.
    pub(super) owner: (u64, u64),
}

/// Unpacks an archive whose paths lie in the layers folder. Returns how it has the folders that were there already, by their paths.
///
/// Folders, files and links only. Nothing is written through a link, and nothing outside. Files belong to the CNB user; times are
/// not restored. Folders get their permissions at the end, those that are there keep theirs.
pub(super) fn unpack(folders: &Folders, archive: impl Read) -> io::Result<BTreeMap<PathBuf, Above>> {
    let mut unpacker = Unpacker {
        folders,
        layers: &folders.layers,
        sound: HashSet::new(),
        modes: Vec::new(),
        above: BTreeMap::new(),
        buffer: vec![0; 128 * 1024],
    };
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        unpacker.entry(&mut entry?)?;
    }
    for (folder, mode) in unpacker.modes.into_iter().rev() {
        folders.own(&folder, mode)?;
    }
    Ok(unpacker.above)
}

struct Unpacker<'a> {
    folders: &'a Folders,
    layers: &'a Folder,
    /// Folders that were seen to be folders, and no links.
    sound: HashSet<PathBuf>,
    modes: Vec<(PathBuf, u32)>,
    above: BTreeMap<PathBuf, Above>,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
        let path = entry.path()?.into_owned();
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode()? & 0o7777);
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        // A header without owners is nobody's.
        let above = Above { mode, owner: (header.uid().unwrap_or(u64::MAX), header.gid().unwrap_or(u64::MAX)) };
        let Some(below) = self.below(&path)? else {
            self.above.insert(Path::new("/").join(path), above);
            return Ok(());
        };
        let host = self.layers.host.join(below);
        self.sound_parent(&host)?;
        match kind {
            tar::EntryType::Directory => {
                if !self.folder(&host, mode)? {
                    self.above.insert(Path::new("/").join(path), above);
                }
                Ok(())
            }
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                    .open(&host)?;
                self.copy(entry, &mut file)?;
                // The mode comes last: another owner takes some of its bits away.
                if let Some(owner) = self.folders.owner {
                    fchown(&file, Some(owner.uid), Some(owner.gid))?;
                }
                file.set_permissions(fs::Permissions::from_mode(mode))
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name()?.ok_or_else(|| bad(&path, "is a link without a target"))?;
                symlink(target, &host)?;
                match self.folders.owner {
                    Some(owner) => std::os::unix::fs::lchown(&host, Some(owner.uid), Some(owner.gid)),
                    None => Ok(()),
                }
            }
            _ => Err(bad(&path, "is neither a folder, a file nor a link")),
        }
    }

    fn copy(&mut self, from: &mut impl Read, to: &mut fs::File) -> io::Result<()> {
        loop {
            match from.read(&mut self.buffer)? {
                0 => return Ok(()),
                read => to.write_all(&self.buffer[..read])?,
            }
        }
    }

    /// Returns the path below the layers folder; `None` for a folder above it.
    fn below(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let absolute = Path::new("/").join(path);
        if absolute.components().any(|part| part == Component::ParentDir) {
            return Err(bad(path, "leads out of its folder"));
        }
        if self.layers.inside.starts_with(&absolute) {
            return Ok(None);
        }
        let below =
            absolute.strip_prefix(&self.layers.inside).map_err(|_| bad(path, "lies outside of the layers folder"))?;
        Ok(Some(below.to_owned()))
    }

    fn sound_parent(&mut self, host: &Path) -> io::Result<()> {
        let Some(parent) = host.parent().filter(|parent| *parent != self.layers.host) else { return Ok(()) };
        if self.sound.contains(parent) {
            return Ok(());
        }
        self.sound_parent(parent)?;
        match fs::symlink_metadata(parent) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(bad(parent, "is no folder, and something was to be unpacked into it")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match fs::create_dir(parent) {
                    // Another layer is unpacked beside this one.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return self.sound_parent(host),
                    made => made?,
                }
                self.folders.own(parent, 0o755)?;
            }
            Err(error) => return Err(error),
        }
        self.sound.insert(parent.to_owned());
        Ok(())
    }

    /// Makes a folder; `false` where it is there.
    fn folder(&mut self, host: &Path, mode: u32) -> io::Result<bool> {
        match fs::symlink_metadata(host) {
            Ok(metadata) if metadata.is_dir() => Ok(false),
            Ok(_) => Err(bad(host, "is in the way of a folder")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(host)?;
                self.modes.push((host.to_owned(), mode));
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

fn bad(path: &Path, problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{}` {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Layers {
        folder: tempfile::TempDir,
        folders: Folders,
    }

    fn layers() -> Layers {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("layers")).unwrap();
        let mut folders = Folders::in_place("/nowhere", None);
        folders.layers = Folder::new("/layers", folder.path().join("layers"));
        Layers { folder, folders }
    }

    /// Folders end with `/`, links have `->`, all else is a file that holds its own name.
    fn archive(entries: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for entry in entries {
            let mut header = tar::Header::new_ustar();
            let (name, kind, target) = match entry.split_once("->") {
                Some((name, target)) => (name, tar::EntryType::Symlink, target),
                None if entry.starts_with('|') => (&entry[1..], tar::EntryType::Fifo, ""),
                None if entry.ends_with('/') => (entry.trim_end_matches('/'), tar::EntryType::Directory, ""),
                None => (*entry, tar::EntryType::Regular, ""),
            };
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(if kind.is_dir() { 0o550 } else { 0o4755 });
            let data = if kind.is_file() { name.as_bytes() } else { b"" };
            header.set_size(data.len() as u64);
            if !target.is_empty() {
                header.set_link_name(target).unwrap();
            }
            header.set_cksum();
            builder.append(&header, data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn layer_comes_back_with_its_modes_and_links() {
        let Layers { folder, folders } = layers();
        let bytes = archive(&[
            "/layers/",
            "/layers/bp/",
            "/layers/bp/dep/",
            "/layers/bp/dep/file",
            "/layers/bp/dep/link->/etc/passwd",
        ]);
        unpack(&folders, &bytes[..]).unwrap();
        let dep = folder.path().join("layers/bp/dep");
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(fs::read_to_string(dep.join("file")).unwrap(), "/layers/bp/dep/file");
        assert_eq!((mode(&dep), mode(&dep.join("file"))), (0o550, 0o4755));
        assert_eq!(fs::read_link(dep.join("link")).unwrap(), Path::new("/etc/passwd"));
        fs::set_permissions(&dep, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn nothing_is_written_outside() {
        for entries in [
            &["/etc/passwd"][..],
            &["/layers/../etc/passwd"],
            &["../escape"],
            &["/layers/bp/", "/layers/bp/out->../..", "/layers/bp/out/escape"],
            &["/layers/bp/", "/layers/bp/file->../../escape", "/layers/bp/file"],
            &["/layers/bp/", "/layers/bp/out->../..", "/layers/bp/out/"],
            &["|/layers/bp/fifo"],
            &["/layersx"],
        ] {
            let Layers { folder, folders } = layers();
            assert!(unpack(&folders, &archive(entries)[..]).is_err(), "{entries:?}");
            assert!(!folder.path().join("escape").exists(), "{entries:?}");
        }
    }
}
