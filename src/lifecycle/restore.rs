//! Gives buildpacks what earlier builds left: what they remember of their layers, and the layers that were cached.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::cache::LayerCache;
use super::go_json;
use super::labels::{BuildpackMetadata, CacheMetadata, LayerMetadata, LayersMetadata};
use super::layer_dir::{LayerFile, layers_folder};
use super::metadata::Member;
use super::site::Site;
use super::toml_writer::{Table, Value};
use super::untar::unpack;

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing}")]
pub struct RestoreError {
    doing: String,
    #[source]
    source: io::Error,
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> RestoreError {
    let doing = doing.into();
    |source| RestoreError { doing, source }
}

/// What earlier builds left.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    /// The label of the image before; empty where there is none.
    pub app: &'a LayersMetadata,
    /// The cache.
    pub cache: Option<&'a LayerCache>,
    /// Whether nothing but the buildpacks' stores is to be restored.
    pub skip_layers: bool,
}

/// Writes metadata of layers, then the data of those that are cached. A damaged cache costs time and does not fail the build.
///
/// Blocks while it reads the cache.
pub fn restore(site: &Site<'_>, group: &[Member], left: Left<'_>) -> Result<(), RestoreError> {
    for member in group {
        restore_store(site, member, left.app)?;
    }
    if left.skip_layers {
        site.log.info(format_args!("Skipping buildpack layer analysis"));
        return Ok(());
    }
    let cached = match left.cache {
        Some(cache) => cache.metadata().unwrap_or_else(|| {
            site.log.info(format_args!("Layer cache not found"));
            CacheMetadata::default()
        }),
        None => CacheMetadata::default(),
    };
    for member in group {
        let (app, cached) = (left.app.buildpack(&member.id), cached.buildpack(&member.id));
        let written = restore_metadata(site, member, layers(app), layers(cached))?;
        let Some(cache) = left.cache else { continue };
        restore_data(site, member, cache, layers(cached), &written)?;
    }
    restore_sboms(site, group, left.cache, &cached.sbom.sha)
}

fn layers(metadata: Option<&BuildpackMetadata>) -> &BTreeMap<String, LayerMetadata> {
    static NONE: BTreeMap<String, LayerMetadata> = BTreeMap::new();
    metadata.map_or(&NONE, |metadata| &metadata.layers)
}

fn restore_store(site: &Site<'_>, member: &Member, app: &LayersMetadata) -> Result<(), RestoreError> {
    let Some(store) = app.buildpack(&member.id).and_then(|buildpack| buildpack.store.as_ref()) else { return Ok(()) };
    let metadata = go_json::to_toml(&store.metadata);
    let table = Table::default().with_some("metadata", metadata.as_ref().map(Value::from));
    let path = layers_folder(site.folders, &member.id).join("store.toml");
    site.folders.write(&path, table.to_toml().as_bytes()).map(|_| ()).map_err(failed("restore `store.toml`"))
}

/// Writes the files of layers that the buildpack may use again, and returns the digests that they stand for.
fn restore_metadata<'m>(
    site: &Site<'_>,
    member: &Member,
    app: &'m BTreeMap<String, LayerMetadata>,
    cached: &'m BTreeMap<String, LayerMetadata>,
) -> Result<BTreeMap<&'m str, &'m str>, RestoreError> {
    let is_cached = |name: &str| cached.get(name).is_some_and(|layer| layer.cache);
    let from_app = app.iter().filter(|(name, layer)| {
        // A layer that later buildpacks need and that is not cached will be made anew anyway.
        layer.launch && if layer.cache { is_cached(name) } else { !layer.build }
    });
    let from_cache = cached.iter().filter(|(name, layer)| layer.cache && !(layer.launch && app.contains_key(*name)));
    let mut written = BTreeMap::new();
    let both = from_app.map(|found| (found, "app image")).chain(from_cache.map(|found| (found, "cache")));
    for ((name, layer), origin) in both {
        if !is_plain(name) {
            site.log.warn(format_args!("Skipping restore for layer {}:{name}: not a name", member.id));
            continue;
        }
        site.log.info(format_args!("Restoring metadata for \"{}:{name}\" from {origin}", member.id));
        let path = layers_folder(site.folders, &member.id).join(name);
        LayerFile::write(site.folders, &path, go_json::to_toml(&layer.data).as_ref())
            .map_err(failed(format!("restore the metadata of layer {name}")))?;
        written.insert(name.as_str(), layer.sha.as_str());
    }
    Ok(written)
}

/// Labels may come from anybody: a name must not lead elsewhere.
fn is_plain(name: &str) -> bool {
    !["", ".", ".."].contains(&name) && !name.contains(['/', '\0'])
}

fn restore_data(
    site: &Site<'_>,
    member: &Member,
    cache: &LayerCache,
    cached: &BTreeMap<String, LayerMetadata>,
    written: &BTreeMap<&str, &str>,
) -> Result<(), RestoreError> {
    let folder = layers_folder(site.folders, &member.id);
    for (name, layer) in cached.iter().filter(|(_, layer)| layer.cache) {
        let Some(sha) = written.get(name.as_str()) else { continue };
        let (id, path) = (format!("{}:{name}", member.id), folder.join(name));
        if *sha != layer.sha {
            site.log.info(format_args!("Removing \"{id}\", wrong sha"));
            let remove = |suffix| site.folders.remove(&super::inside::with_suffix(&path, suffix));
            remove("").and_then(|()| remove(".toml")).map_err(failed(format!("remove layer {id}")))?;
            continue;
        }
        site.log.info(format_args!("Restoring data for \"{id}\" from cache"));
        if let Err(error) = cache.read(&layer.sha, |archive| unpack(site.folders, archive)) {
            site.log.warn(format_args!("Skipping restore for layer {id}: {}", with_causes(&error)));
            site.folders.remove(&path).map_err(failed(format!("remove layer {id}")))?;
        }
    }
    Ok(())
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_causes(source)),
        None => error.to_string(),
    }
}

/// Unpacks the SBOMs of cached layers beside those of the image before, and gives each to the buildpack of its layer.
fn restore_sboms(site: &Site<'_>, group: &[Member], cache: Option<&LayerCache>, sha: &str) -> Result<(), RestoreError> {
    let top = site.folders.layers.inside.join("sbom");
    if let Some(cache) = cache.filter(|_| !sha.is_empty()) {
        site.log.info(format_args!("Restoring data for SBOM from cache"));
        if let Err(error) = cache.read(sha, |archive| unpack(site.folders, archive)) {
            site.log.warn(format_args!("Skipping restore of SBOMs: {}", with_causes(&error)));
            site.folders.remove(&top.join("cache")).map_err(failed("remove damaged SBOMs"))?;
        }
    }
    for kind in ["cache", "launch"] {
        for member in group {
            let from = top.join(kind).join(member.id.folder());
            let to = layers_folder(site.folders, &member.id);
            if site.folders.is_folder(&to) {
                give_sboms(site, &from, &to).map_err(failed("restore the SBOMs of layers"))?;
            }
        }
    }
    site.folders.remove(&top).map_err(failed("remove restored SBOMs"))
}

/// From `<layer>/sbom.cdx.json` to `<layer>.sbom.cdx.json`.
fn give_sboms(site: &Site<'_>, from: &Path, to: &Path) -> io::Result<()> {
    for layer in site.folders.list(from)?.into_iter().filter(|entry| entry.is_folder) {
        let folder = from.join(&layer.name);
        for file in site.folders.list(&folder)? {
            let (Some(layer), Some(name)) = (layer.name.to_str(), file.name.to_str()) else { continue };
            let is_file = fs::symlink_metadata(site.folders.resolve(&folder)?.join(name))?.is_file();
            if is_file && name.starts_with("sbom") && name.ends_with("json") {
                site.folders.copy(&folder.join(name), &to.join(format!("{layer}.{name}")))?;
            }
        }
    }
    Ok(())
}
