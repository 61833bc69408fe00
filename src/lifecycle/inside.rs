//! Reads and writes files by the names that buildpacks know them by.
//!
//! Buildpacks make whatever they like in their folders, links included. A link is followed as it would be inside, so that it never leads
//! to a file of the engine's own machine, and only to what the CNB user could read.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::environment::EnvFile;
use super::folders::{Folder, Folders};

/// How many links one path may have, as in Linux.
const MOST_LINKS: usize = 40;

/// The most bytes that a file of a buildpack's own description may have; real ones have a few kilobytes.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: OsString,
    /// Whether it is a folder itself; a link to one is not.
    pub is_folder: bool,
    /// Whether it is a link.
    pub is_link: bool,
}

impl Folders {
    /// Returns where the engine finds a path, all links followed as they are inside.
    pub fn resolve(&self, inside: &Path) -> io::Result<PathBuf> {
        let mut pending: VecDeque<OsString> = names(inside);
        let mut current = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                current.pop();
                continue;
            }
            let next = current.join(&name);
            if self.is_above_or_at_a_folder(&next) {
                current = next;
                continue;
            }
            let host = self.host(&next);
            let metadata = fs::symlink_metadata(&host)?;
            if metadata.is_symlink() {
                links += 1;
                if links > MOST_LINKS {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many links"));
                }
                let target = fs::read_link(&host)?;
                if target.is_absolute() {
                    current = PathBuf::from("/");
                }
                for part in names(&target).into_iter().rev() {
                    pending.push_front(part);
                }
                continue;
            }
            if !pending.is_empty() {
                self.permit(&metadata, 0o1)?;
            }
            current = next;
        }
        Ok(self.host(&current))
    }

    /// Returns what a file holds, `None` where there is none.
    pub fn read(&self, inside: &Path) -> io::Result<Option<Vec<u8>>> {
        let Some(host) = found(self.resolve(inside))? else { return Ok(None) };
        let metadata = fs::metadata(&host)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if metadata.len() > LARGEST_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        self.permit(&metadata, 0o4)?;
        fs::read(&host).map(Some)
    }

    /// Returns the text of a file, `None` where there is none.
    pub fn read_text(&self, inside: &Path) -> io::Result<Option<String>> {
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8");
        self.read(inside)?.map(|bytes| String::from_utf8(bytes).map_err(invalid)).transpose()
    }

    /// Lists a folder in the byte order of the names; one that is not there has nothing.
    pub fn list(&self, inside: &Path) -> io::Result<Vec<Listed>> {
        let Some(host) = found(self.resolve(inside))? else { return Ok(Vec::new()) };
        self.permit(&fs::metadata(&host)?, 0o5)?;
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            let kind = entry.file_type()?;
            Ok(Listed { name: entry.file_name(), is_folder: kind.is_dir(), is_link: kind.is_symlink() })
        };
        let mut entries = fs::read_dir(host)?.map(entry).collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        Ok(entries)
    }

    /// Reads the files of an env folder. Folders in it are left out, links are followed.
    pub fn env_files(&self, inside: &Path) -> io::Result<Vec<EnvFile>> {
        let mut files = Vec::new();
        for Listed { name, is_folder, is_link } in self.list(inside)? {
            let path = inside.join(&name);
            if is_folder || is_link && fs::metadata(self.resolve(&path)?)?.is_dir() {
                continue;
            }
            if let Some(content) = self.read(&path)? {
                files.push((name, content));
            }
        }
        Ok(files)
    }

    /// Tells whether there is a folder of this name, a link to one included.
    pub fn is_folder(&self, inside: &Path) -> bool {
        self.resolve(inside).and_then(fs::metadata).is_ok_and(|metadata| metadata.is_dir())
    }

    /// Tells whether there is anything of this name.
    pub fn exists(&self, inside: &Path) -> bool {
        self.resolve(inside).is_ok()
    }

    /// Makes a folder, and those above it, for the CNB user; returns where it is. One that is there is left as it is.
    pub fn create_folder(&self, inside: &Path) -> io::Result<PathBuf> {
        if let Some(host) = found(self.resolve(inside))? {
            return if host.is_dir() { Ok(host) } else { Err(io::Error::from(io::ErrorKind::NotADirectory)) };
        }
        let above = inside.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let name = inside.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let host = self.create_folder(above)?.join(name);
        fs::create_dir(&host)?;
        self.own(&host, 0o755)?;
        Ok(host)
    }

    /// Writes a file for the CNB user, the folders above it included; returns where it is.
    ///
    /// What is there under the name is replaced, and not written through, should it be a link.
    pub fn write(&self, inside: &Path, content: &[u8]) -> io::Result<PathBuf> {
        self.write_with_mode(inside, content, 0o644)
    }

    /// Writes a file with these permissions.
    pub fn write_with_mode(&self, inside: &Path, content: &[u8], mode: u32) -> io::Result<PathBuf> {
        let above = inside.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let host = self.create_folder(above)?.join(inside.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        match fs::remove_file(&host) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&host)
            .and_then(|mut file| io::Write::write_all(&mut file, content))?;
        self.own(&host, mode)?;
        Ok(host)
    }

    /// Copies a file into a folder of the engine's making; a link is copied as a link. Other things are left out.
    pub fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (above, name) = from.parent().zip(from.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
        let source = self.resolve(above)?.join(name);
        let metadata = fs::symlink_metadata(&source)?;
        let target = self.write(to, b"")?;
        if metadata.is_symlink() {
            fs::remove_file(&target)?;
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
            return self
                .owner
                .map_or(Ok(()), |owner| std::os::unix::fs::lchown(&target, Some(owner.uid), Some(owner.gid)));
        }
        if metadata.is_file() {
            self.permit(&metadata, 0o4)?;
            io::copy(&mut fs::File::open(&source)?, &mut fs::File::create(&target)?)?;
        }
        Ok(())
    }

    /// Removes a file or a folder with all that is in it; links are removed, not followed.
    pub fn remove(&self, inside: &Path) -> io::Result<()> {
        let (Some(above), Some(name)) = (inside.parent(), inside.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let Some(host) = found(self.resolve(above))?.map(|above| above.join(name)) else { return Ok(()) };
        let removed = match fs::symlink_metadata(&host) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&host),
            Ok(_) => fs::remove_file(&host),
            Err(error) => Err(error),
        };
        found(removed).map(|_| ())
    }

    /// Gives a file or folder of the engine's making its mode and owner.
    pub fn own(&self, host: &Path, mode: u32) -> io::Result<()> {
        if let Some(owner) = self.owner {
            std::os::unix::fs::lchown(host, Some(owner.uid), Some(owner.gid))?;
        }
        // After the owner, whose change takes some bits away.
        fs::set_permissions(host, fs::Permissions::from_mode(mode))
    }

    fn all(&self) -> impl Iterator<Item = &Folder> {
        let always = [&self.app, &self.layers, &self.platform, &self.cnb, &self.scratch, &self.root];
        always.into_iter().chain(&self.added)
    }

    /// The host's name of a path without links: that of the folder which lies deepest around it.
    fn host(&self, inside: &Path) -> PathBuf {
        let around = self.all().filter(|folder| inside.starts_with(&folder.inside));
        let deepest = around.max_by_key(|folder| folder.inside.as_os_str().len()).unwrap_or(&self.root);
        deepest.to_host(inside).unwrap_or_else(|| deepest.host.clone())
    }

    fn is_above_or_at_a_folder(&self, inside: &Path) -> bool {
        self.all().any(|folder| folder.inside.starts_with(inside))
    }

    /// An engine that runs as root must not read for a buildpack what that could not read itself.
    fn permit(&self, metadata: &Metadata, bits: u32) -> io::Result<()> {
        let Some(owner) = self.owner else { return Ok(()) };
        let shift = if metadata.uid() == owner.uid {
            6
        } else if metadata.gid() == owner.gid {
            3
        } else {
            0
        };
        let allowed = metadata.mode() >> shift & bits == bits;
        if allowed { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

/// The names of a path's parts, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Joins a path and a suffix to its last name, as in `layer` and `layer.toml`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec([path.as_os_str().as_bytes(), suffix.as_bytes()].concat()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::lifecycle::folders::Owner;

    fn folders(host: &Path) -> Folders {
        let folder = |name: &str| {
            let path = host.join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        Folders {
            root: Folder::new("/", folder("root")),
            app: Folder::new("/workspace", folder("app")),
            layers: Folder::new("/layers", folder("layers")),
            platform: Folder::new("/platform", folder("platform")),
            cnb: Folder::new("/cnb", folder("root/cnb")),
            added: None,
            scratch: Folder::new("/tmp/scratch", folder("scratch")),
            owner: None,
        }
    }

    #[test]
    fn links_lead_where_they_lead_inside() {
        let host = tempfile::tempdir().unwrap();
        let folders = folders(host.path());
        fs::create_dir(host.path().join("root/etc")).unwrap();
        fs::write(host.path().join("root/etc/hostname"), "inside").unwrap();
        fs::write(host.path().join("app/file"), "app").unwrap();
        let layers = host.path().join("layers");
        for (name, target, expected) in [
            ("absolute", "/etc/hostname", "inside"),
            ("upwards", "../../../../../etc/hostname", "inside"),
            ("across", "../workspace/file", "app"),
            ("twice", "across", "app"),
        ] {
            symlink(target, layers.join(name)).unwrap();
            assert_eq!(
                folders.read_text(&Path::new("/layers").join(name)).unwrap().as_deref(),
                Some(expected),
                "{name}"
            );
        }
        symlink("loop", layers.join("loop")).unwrap();
        assert!(folders.read(Path::new("/layers/loop")).is_err());
        symlink("/nowhere", layers.join("dangling")).unwrap();
        assert_eq!(folders.read(Path::new("/layers/dangling")).unwrap(), None);
    }

    #[test]
    fn what_is_written_does_not_pass_through_a_link() {
        let host = tempfile::tempdir().unwrap();
        let folders = folders(host.path());
        fs::write(host.path().join("app/file"), "app").unwrap();
        symlink("/workspace/file", host.path().join("layers/plan")).unwrap();
        folders.write(Path::new("/layers/plan"), b"plan").unwrap();
        assert_eq!(fs::read_to_string(host.path().join("app/file")).unwrap(), "app");
        assert_eq!(fs::read_to_string(host.path().join("layers/plan")).unwrap(), "plan");
        folders.write(Path::new("/layers/a/b/c"), b"x").unwrap();
        folders.remove(Path::new("/layers/a")).unwrap();
        folders.remove(Path::new("/layers/a")).unwrap();
        assert!(!folders.exists(Path::new("/layers/a")));
    }

    #[test]
    fn removing_takes_a_link_and_leaves_what_it_points_to() {
        let host = tempfile::tempdir().unwrap();
        let folders = folders(host.path());
        fs::create_dir(host.path().join("app/data")).unwrap();
        fs::write(host.path().join("app/data/file"), "app").unwrap();
        for target in [Path::new("/workspace/data"), &host.path().join("app/data")] {
            symlink(target, host.path().join("layers/linked")).unwrap();
            folders.remove(Path::new("/layers/linked")).unwrap();
            assert!(fs::symlink_metadata(host.path().join("layers/linked")).is_err());
            assert_eq!(fs::read_to_string(host.path().join("app/data/file")).unwrap(), "app");
        }
    }

    #[test]
    fn engine_with_an_owner_reads_only_what_that_may_read() {
        let host = tempfile::tempdir().unwrap();
        let mut folders = folders(host.path());
        let file = host.path().join("app/secret");
        fs::write(&file, "secret").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(folders.read(Path::new("/workspace/secret")).unwrap().is_some());
        let metadata = fs::metadata(&file).unwrap();
        folders.owner = Some(Owner { uid: metadata.uid() + 1, gid: metadata.gid() + 1 });
        assert_eq!(folders.read(Path::new("/workspace/secret")).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn env_folder_leaves_folders_out_and_a_pipe_is_an_error() {
        let host = tempfile::tempdir().unwrap();
        let folders = folders(host.path());
        let env = host.path().join("layers/env");
        fs::create_dir_all(env.join("web")).unwrap();
        fs::write(env.join("B"), "2\n").unwrap();
        fs::write(env.join("A"), [0xff]).unwrap();
        symlink("web", env.join("link")).unwrap();
        symlink("B", env.join("C")).unwrap();
        let read = |folders: &Folders| folders.env_files(Path::new("/layers/env"));
        let expected = [("A", vec![0xff]), ("B", b"2\n".to_vec()), ("C", b"2\n".to_vec())];
        assert_eq!(read(&folders).unwrap(), expected.map(|(name, content)| (OsString::from(name), content)));
        assert_eq!(folders.env_files(Path::new("/layers/none")).unwrap(), []);
        rustix::fs::mknodat(rustix::fs::CWD, env.join("P"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
        assert!(read(&folders).is_err());
    }
}
