//! The layers that a buildpack made: folders, and files that say what each is for.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::folders::Folders;
use super::inside::with_suffix;
use super::order::BuildpackId;
use super::toml_writer::Table;

/// What a layer is for, and what its buildpack wants to remember of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerFile {
    /// Later buildpacks see it.
    pub build: bool,
    /// It is part of the app image.
    pub launch: bool,
    /// It is kept for the next build.
    pub cache: bool,
    /// Anything.
    pub metadata: Option<toml::Value>,
}

/// Why a layer's file is refused.
#[derive(Debug, thiserror::Error)]
pub enum LayerFileError {
    /// It could not be read.
    #[error("could not read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is not TOML, or has a value of the wrong kind.
    #[error("{} is not valid", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// It says what the layer is for where older versions of the API had it.
    #[error("the launch, cache and build flags should be in the types table of {}", .0.display())]
    OldPlace(PathBuf),
}

#[derive(Deserialize, Default)]
struct Raw {
    metadata: Option<toml::Value>,
    #[serde(default)]
    types: Types,
    launch: Option<toml::Value>,
    build: Option<toml::Value>,
    cache: Option<toml::Value>,
}

#[derive(Deserialize, Default)]
struct Types {
    #[serde(default)]
    launch: bool,
    #[serde(default)]
    build: bool,
    #[serde(default)]
    cache: bool,
}

impl LayerFile {
    /// Reads `<layer>.toml`; one that is not there says that the layer is for nothing.
    pub fn read(folders: &Folders, layer: &Path) -> Result<Self, LayerFileError> {
        let path = with_suffix(layer, ".toml");
        let Raw { metadata, types: Types { launch, build, cache }, .. } = read_toml(folders, &path, |raw: &Raw| {
            let old = raw.launch.is_some() || raw.build.is_some() || raw.cache.is_some();
            if old { Err(LayerFileError::OldPlace(path.clone())) } else { Ok(()) }
        })?;
        Ok(Self { build, launch, cache, metadata })
    }

    /// Writes `<layer>.toml` for the next build: what the buildpack remembers, and not what the layer is for.
    pub fn write(folders: &Folders, layer: &Path, metadata: Option<&toml::Value>) -> io::Result<()> {
        let table = Table::default().with_some("metadata", metadata);
        folders.write(&with_suffix(layer, ".toml"), table.to_toml().as_bytes()).map(|_| ())
    }
}

/// Reads a TOML file of a buildpack; one that is not there is empty.
pub fn read_toml<T: Default + serde::de::DeserializeOwned>(
    folders: &Folders,
    path: &Path,
    check: impl FnOnce(&T) -> Result<(), LayerFileError>,
) -> Result<T, LayerFileError> {
    let text =
        folders.read_text(path).map_err(|source| LayerFileError::Unreadable { path: path.to_owned(), source })?;
    let Some(text) = text else { return Ok(T::default()) };
    let value = toml::from_str(&text)
        .map_err(|source| LayerFileError::Malformed { path: path.to_owned(), source: Box::new(source) })?;
    check(&value)?;
    Ok(value)
}

/// A layer as it was found.
#[derive(Debug)]
pub struct FoundLayer {
    /// Its name.
    pub name: String,
    /// Its folder, inside.
    pub path: PathBuf,
    /// Whether the folder is there; without it the layer of the image before is meant.
    pub has_contents: bool,
    /// What its file says.
    pub file: Result<LayerFile, LayerFileError>,
}

/// All that a buildpack left in its folder of layers.
#[derive(Debug)]
pub struct BuildpackLayers {
    /// The layers, by name.
    pub layers: Vec<FoundLayer>,
    /// What it wants to remember beyond any layer.
    pub store: Option<toml::Table>,
}

#[derive(Deserialize, Default)]
struct StoreFile {
    #[serde(default)]
    metadata: toml::Table,
}

/// Returns a buildpack's folder of layers, inside.
pub fn layers_folder(folders: &Folders, id: &BuildpackId) -> PathBuf {
    folders.layers.inside.join(id.folder())
}

impl BuildpackLayers {
    /// Reads the folder of a buildpack; one that is not there has nothing.
    pub fn read(folders: &Folders, id: &BuildpackId) -> Result<Self, LayerFileError> {
        let folder = layers_folder(folders, id);
        let listed =
            folders.list(&folder).map_err(|source| LayerFileError::Unreadable { path: folder.clone(), source })?;
        let mut names: Vec<(String, bool)> = Vec::new();
        let mut store = None;
        // A name that is no text could not be written into a label.
        let text_names = listed.iter().filter_map(|entry| Some((entry.name.to_str()?, entry)));
        for (name, entry) in text_names {
            if entry.is_folder {
                names.push((name.to_owned(), true));
            } else if name == "store.toml" {
                store = Some(read_toml(folders, &folder.join(name), |_: &StoreFile| Ok(()))?.metadata);
            } else if let Some(layer) = name.strip_suffix(".toml").filter(|layer| !["launch", "build"].contains(layer))
            {
                names.push((layer.to_owned(), false));
            }
        }
        names.sort_by(|(one, one_is_folder), (other, other_is_folder)| {
            one.cmp(other).then(other_is_folder.cmp(one_is_folder))
        });
        names.dedup_by(|(next, _), (kept, _)| next == kept);
        let found = |(name, has_contents): (String, bool)| {
            let path = folder.join(&name);
            let file = LayerFile::read(folders, &path);
            FoundLayer { has_contents: has_contents || folders.is_folder(&path), name, path, file }
        };
        Ok(Self { layers: names.into_iter().map(found).collect(), store })
    }
}
