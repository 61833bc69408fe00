//! The folders that the engine and the buildpacks share, by both of their names.

use std::path::{Component, Path, PathBuf};

/// A folder with its name inside the place where buildpacks run, and its name for the engine. In place the two are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The path that buildpacks see, and that is written into layers and labels.
    pub inside: PathBuf,
    /// The path under which the engine reads and writes it.
    pub host: PathBuf,
}

impl Folder {
    /// A folder with two names.
    pub fn new(inside: impl Into<PathBuf>, host: impl Into<PathBuf>) -> Self {
        Self { inside: inside.into(), host: host.into() }
    }

    /// A folder with one name, as when the engine runs where the buildpacks do.
    pub fn in_place(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { inside: path.clone(), host: path }
    }

    /// Returns the folder `name` below this one.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> Self {
        Self { inside: self.inside.join(&name), host: self.host.join(&name) }
    }

    /// Returns the engine's name of a path inside, where that lies in this folder.
    ///
    /// A path with `..` is nowhere: it could lead out.
    pub fn to_host(&self, inside: &Path) -> Option<PathBuf> {
        let below = inside.strip_prefix(&self.inside).ok()?;
        below.components().all(|part| matches!(part, Component::Normal(_))).then(|| self.host.join(below))
    }

    /// Returns the inside name of one of the engine's paths, where that lies in this folder.
    pub fn to_inside(&self, host: &Path) -> Option<PathBuf> {
        Some(self.inside.join(host.strip_prefix(&self.host).ok()?))
    }
}

/// To whom files belong that the engine makes for buildpacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user's number on the host.
    pub uid: u32,
    /// The group's number on the host.
    pub gid: u32,
}

/// The folders of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The root of the build image's filesystem; for reading only.
    pub root: Folder,
    /// The app's source, `/workspace`.
    pub app: Folder,
    /// The layers, `/layers`.
    pub layers: Folder,
    /// What the platform hands to buildpacks, `/platform`, with one file per variable below `env`.
    pub platform: Folder,
    /// The builder's own files, `/cnb`; for reading only.
    pub cnb: Folder,
    /// Buildpacks that the builder does not have, laid out as its own below `/cnb/buildpacks`; they come before those.
    pub added: Option<Folder>,
    /// A folder that both sides can write, for build plans; never part of a layer.
    pub scratch: Folder,
    /// The owner that the engine gives to what it makes in the folders, where that is not itself (root in place, for one).
    pub owner: Option<Owner>,
}

impl Folders {
    /// To whom files on this machine belong that buildpacks make, or that are made for them.
    pub fn owner_on_disk(&self) -> Owner {
        let own = || Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        self.owner.unwrap_or_else(own)
    }

    /// The folders of a builder image in which the engine itself runs, under their usual names.
    pub fn in_place(scratch: impl Into<PathBuf>, owner: Option<Owner>) -> Self {
        Self {
            root: Folder::in_place("/"),
            app: Folder::in_place("/workspace"),
            layers: Folder::in_place("/layers"),
            platform: Folder::in_place("/platform"),
            cnb: Folder::in_place("/cnb"),
            added: None,
            scratch: Folder::in_place(scratch),
            owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_under_both_names() {
        let layers = Folder::new("/layers", "/var/tmp/build/layers");
        assert_eq!(layers.to_host(Path::new("/layers/a/b")), Some(PathBuf::from("/var/tmp/build/layers/a/b")));
        assert_eq!(layers.to_inside(Path::new("/var/tmp/build/layers/a/b")), Some(PathBuf::from("/layers/a/b")));
        assert_eq!(layers.join("a").inside, Path::new("/layers/a"));
    }

    #[test]
    fn path_outside_or_with_a_way_out_is_nowhere() {
        let layers = Folder::new("/layers", "/var/tmp/build/layers");
        for path in ["/workspace", "/layersx", "/layers/../etc/passwd", "layers"] {
            assert_eq!(layers.to_host(Path::new(path)), None, "{path}");
        }
    }
}
