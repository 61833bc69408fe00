//! The layers of the image, and what they do to the environment.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::environment::{EnvFile, LAUNCH_PATHS, Unsuffixed, Variables};
use crate::failure::{Cause, Context, Result};
use crate::metadata::Buildpack;
use crate::path::{self, join};

/// The folders of the layers, buildpack by buildpack.
pub struct Layers(Vec<Vec<PathBuf>>);

impl Layers {
    /// Finds the layers of these buildpacks. A link to a folder is no layer.
    pub fn find(folder: PathBuf, buildpacks: &[Buildpack]) -> Result<Self> {
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let mut all = Vec::new();
        for Buildpack { id, .. } in buildpacks {
            let own = join(&folder, id.replace('/', "_"));
            if !path::exists(&own).context("find buildpack directory")? {
                continue;
            }
            let entries = list(&own).context("add layer root")?;
            let layers = entries.into_iter().filter(|(_, kind)| kind.is_dir()).map(|(name, _)| join(&own, name));
            all.push(layers.collect());
        }
        Ok(Self(all))
    }

    /// Changes the variables: for each buildpack first by the folders of its layers, then by their env files.
    pub fn apply(&self, kind: &OsStr, variables: &mut Variables) -> Result<()> {
        for layers in &self.0 {
            for (layer, (name, paths)) in layers.iter().flat_map(|layer| LAUNCH_PATHS.map(|folder| (layer, folder))) {
                let folder = join(layer, name);
                if path::exists(&folder).context("add layer root")? {
                    variables.prepend_folder(folder.as_os_str(), paths);
                }
            }
            for layer in layers {
                let folders = [join(layer, "env")].into_iter().chain(of_type(&join(layer, "env.launch"), kind));
                for folder in folders {
                    let files = env_files(&folder)
                        .context(format_args!("apply env files from dir '{}'", folder.display()))
                        .context("add layer env")?;
                    variables.apply_folder(&files, Unsuffixed::Overrides);
                }
            }
        }
        Ok(())
    }

    /// Returns the files of a folder of each layer, and of the folder below it that is named after the process type.
    pub fn files(&self, folder: &str, kind: &OsStr) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for folder in self.0.iter().flatten().flat_map(|layer| of_type(&join(layer, folder), kind)) {
            let entries = list(&folder)?.into_iter().filter(|(_, kind)| !kind.is_dir());
            files.extend(entries.map(|(name, _)| join(&folder, name)));
        }
        Ok(files)
    }
}

/// A folder, and that of a process type in it; there is none for a process without a type.
fn of_type(folder: &Path, kind: &OsStr) -> impl Iterator<Item = PathBuf> + use<> {
    let below = (!kind.is_empty()).then(|| join(folder, kind));
    std::iter::once(folder.to_owned()).chain(below)
}

fn list(folder: &Path) -> Result<Vec<(std::ffi::OsString, fs::FileType)>> {
    path::list(folder).context(format_args!("failed to list files in dir '{}'", folder.display()))
}

/// Reads an env folder. Folders in it are left out, links are followed.
fn env_files(folder: &Path) -> Result<Vec<EnvFile>> {
    let mut files = Vec::new();
    for (name, kind) in path::list(folder)? {
        let file = join(folder, &name);
        let metadata = |error| Cause::of_path("stat", &file, &error);
        if kind.is_dir() || kind.is_symlink() && fs::metadata(&file).map_err(metadata)?.is_dir() {
            continue;
        }
        files.push((name, path::read(&file)?));
    }
    Ok(files)
}
