//! Bills of materials that buildpacks write beside their layers.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::Broken;
use crate::lifecycle::buildpack::Buildpack;
use crate::lifecycle::folders::Folders;
use crate::lifecycle::layer_dir::{LayerFile, LayerFileError};

/// File endings, with the media types that a buildpack must declare to write them.
pub(crate) const FORMATS: [(&str, &str); 3] = [
    ("sbom.cdx.json", "application/vnd.cyclonedx+json"),
    ("sbom.spdx.json", "application/spdx+json"),
    ("sbom.syft.json", "application/vnd.syft+json"),
];

/// A file to be copied to where the platform finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SbomFile {
    from: PathBuf,
    /// Below the layers folder.
    to: PathBuf,
}

impl SbomFile {
    pub(super) fn copy(&self, folders: &Folders) -> io::Result<()> {
        folders.copy(&self.from, &folders.layers.inside.join(&self.to))
    }
}

/// Finds the files of a buildpack, and refuses formats that it did not declare.
pub(super) fn find(
    folders: &Folders,
    layers: &Path,
    buildpack: &Buildpack,
    found: &BTreeMap<PathBuf, LayerFile>,
) -> Result<Vec<SbomFile>, Broken> {
    let listed =
        folders.list(layers).map_err(|source| LayerFileError::Unreadable { path: layers.to_owned(), source })?;
    let mut files = Vec::new();
    for name in listed.iter().filter_map(|entry| entry.name.to_str()).filter(|name| is_sbom(name)) {
        let layer = name.split('.').next().unwrap_or_default();
        let kinds = match (layer, found.get(&layers.join(layer))) {
            ("launch" | "build", _) => vec![(layer, "")],
            (_, Some(file)) => {
                let mut kinds = vec![(if file.launch { "launch" } else { "build" }, layer)];
                kinds.extend(file.cache.then_some(("cache", layer)));
                kinds
            }
            // The layer is not there; its file is nobody's.
            (_, None) => continue,
        };
        let format = declared_format(name, buildpack)?;
        files.extend(kinds.into_iter().map(|(kind, layer)| {
            let folder = Path::new("sbom").join(kind).join(buildpack.id.folder()).join(layer);
            SbomFile { from: layers.join(name), to: folder.join(format) }
        }));
    }
    Ok(files)
}

/// The pattern `*.sbom.*.json`.
fn is_sbom(name: &str) -> bool {
    name.strip_suffix(".json").is_some_and(|rest| rest.find(".sbom.").is_some())
}

fn declared_format(name: &str, buildpack: &Buildpack) -> Result<&'static str, Broken> {
    let known = FORMATS.iter().find(|(ending, _)| name.strip_suffix(ending).is_some_and(|rest| rest.ends_with('.')));
    let Some((ending, media_type)) = known else {
        return Err(Broken::Rule(format!("unsupported SBOM file format: '{name}'")));
    };
    let declares =
        |declared: &String| declared.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type);
    if buildpack.sbom_formats.iter().any(declares) {
        return Ok(ending);
    }
    Err(Broken::Rule(format!("validating SBOM file '{name}': undeclared SBOM media type: '{media_type}'")))
}
