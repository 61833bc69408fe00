//! Keeps layers for the next build.

use std::collections::BTreeMap;

use super::CnbUser;
use super::layers::folder;
use crate::lifecycle::cache::{CacheError, LayerCache, NewSet};
use crate::lifecycle::go_json;
use crate::lifecycle::labels::{BuildpackMetadata, CacheMetadata, LayerMetadata, LayersMetadata, Sha};
use crate::lifecycle::layer_dir::{BuildpackLayers, FoundLayer, LayerFile};
use crate::lifecycle::metadata::Member;
use crate::lifecycle::site::Site;

/// Writes the layers that are to be cached as a new set. Blocks until it is done.
///
/// `exported` has the digests of layers that were just read for the image, which need not be read again where the cache has them.
pub fn store(
    site: &Site<'_>,
    group: &[Member],
    user: CnbUser,
    cache: &LayerCache,
    exported: &LayersMetadata,
) -> Result<(), CacheError> {
    let set = cache.begin()?;
    let mut metadata = CacheMetadata::default();
    for member in group {
        let mut layers = BTreeMap::new();
        let found = BuildpackLayers::read(site.folders, &member.id).map(|found| found.layers).unwrap_or_default();
        for layer in found {
            let Ok(file) = &layer.file else { continue };
            if !file.cache {
                continue;
            }
            let id = format!("{}:{}", member.id, layer.name);
            if !layer.has_contents {
                site.log.warn(format_args!("Failed to cache layer '{id}' because it has no contents"));
                continue;
            }
            let known = exported.buildpack(&member.id).and_then(|buildpack| buildpack.layers.get(&layer.name));
            match add(site, user, &set, &layer, &id, known.map(|layer| layer.sha.as_str())) {
                Ok(sha) => {
                    layers.insert(layer.name.clone(), of_file(sha, file));
                }
                Err(error) => site.log.warn(format_args!("Failed to cache layer '{id}': {error}")),
            }
        }
        metadata.buildpacks.push(BuildpackMetadata {
            key: member.id.to_string(),
            version: member.version.clone(),
            layers,
            store: None,
        });
    }
    let sboms = site.folders.layers.inside.join("sbom/cache");
    if site.folders.is_folder(&sboms) {
        site.log.info(format_args!("Adding cache layer 'buildpacksio/lifecycle:cache.sbom'"));
        metadata.sbom = Sha { sha: set.add(folder(site.folders, user, sboms).entries())? };
    }
    set.commit(&metadata)
}

fn add(
    site: &Site<'_>,
    user: CnbUser,
    set: &NewSet<'_>,
    layer: &FoundLayer,
    id: &str,
    known: Option<&str>,
) -> Result<String, CacheError> {
    if let Some(known) = known.filter(|sha| !sha.is_empty())
        && set.reuse(known)?
    {
        site.log.info(format_args!("Reusing cache layer '{id}'"));
        return Ok(known.to_owned());
    }
    site.log.info(format_args!("Adding cache layer '{id}'"));
    set.add(folder(site.folders, user, layer.path.clone()).entries())
}

fn of_file(sha: String, file: &LayerFile) -> LayerMetadata {
    let LayerFile { build, launch, cache, metadata } = file;
    let data = metadata.as_ref().map(go_json::from_toml).unwrap_or_default();
    LayerMetadata { sha, data, build: *build, launch: *launch, cache: *cache }
}
