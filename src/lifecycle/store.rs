//! The buildpacks of a builder, as they lie in its folder.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::buildpack::{Buildpack, DescriptorError};
use super::folders::Folders;
use super::order::{BuildpackId, Element};

/// A buildpack with the folder in which it lies, by the name inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// What it says of itself.
    pub buildpack: Buildpack,
    /// Its folder.
    pub folder: PathBuf,
}

/// Why a buildpack cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The builder does not have it.
    #[error("the builder has no buildpack `{element}`: there is no {}", path.display())]
    Missing {
        /// The buildpack.
        element: String,
        /// Where it would lie.
        path: PathBuf,
    },
    /// Its version would name another folder.
    #[error("`{0}` has a version that is no name of a folder")]
    Version(String),
    /// Its description is there and not readable.
    #[error("could not read the description of buildpack `{element}`")]
    Unreadable {
        /// The buildpack.
        element: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Its description is not valid.
    #[error("buildpack `{element}`")]
    Invalid {
        /// The buildpack.
        element: String,
        /// The reason.
        #[source]
        source: DescriptorError,
    },
}

/// Finds buildpacks, and remembers those it has read.
pub struct Store<'a> {
    folders: &'a Folders,
    read: Mutex<BTreeMap<(BuildpackId, String), Arc<Installed>>>,
}

impl<'a> Store<'a> {
    /// The buildpacks below `/cnb/buildpacks`, and those that were added to them.
    pub fn new(folders: &'a Folders) -> Self {
        Self { folders, read: Mutex::default() }
    }

    /// Returns the buildpack that an order names.
    pub fn find(&self, element: &Element) -> Result<Arc<Installed>, StoreError> {
        self.find_version(&element.id, &element.version)
    }

    /// Returns a buildpack in a version.
    pub fn find_version(&self, id: &BuildpackId, version: &str) -> Result<Arc<Installed>, StoreError> {
        let key = (id.clone(), version.to_owned());
        let known = |read: &BTreeMap<_, Arc<Installed>>| read.get(&key).cloned();
        if let Some(found) = known(&self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner)) {
            return Ok(found);
        }
        let found = Arc::new(self.read_version(id, version)?);
        let mut read = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(read.entry(key).or_insert(found).clone())
    }

    fn read_version(&self, id: &BuildpackId, version: &str) -> Result<Installed, StoreError> {
        let element = format!("{id}@{version}");
        if ["", ".", ".."].contains(&version) || version.contains(['/', '\0']) {
            return Err(StoreError::Version(element));
        }
        let own = self.folders.cnb.inside.join("buildpacks");
        let all = self.folders.added.iter().map(|added| added.inside.clone()).chain([own.clone()]);
        let mut found = None;
        for folder in all.map(|all| all.join(id.folder()).join(version)) {
            match self.folders.read_text(&folder.join("buildpack.toml")) {
                Ok(Some(text)) => {
                    found = Some((folder, text));
                    break;
                }
                Ok(None) => {}
                Err(source) => return Err(StoreError::Unreadable { element, source }),
            }
        }
        let Some((folder, text)) = found else {
            let path = own.join(id.folder()).join(version).join("buildpack.toml");
            return Err(StoreError::Missing { element, path });
        };
        let has_build = self.folders.exists(&folder.join("bin/build"));
        let buildpack = Buildpack::parse(&text, has_build).map_err(|source| StoreError::Invalid { element, source })?;
        Ok(Installed { buildpack, folder })
    }
}
