//! Gives buildpacks what earlier builds left: what they remember of their layers, and the layers that were cached.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::cache::{CacheError, Found, LayerCache};
use super::export::{self, CnbUser};
use super::go_json;
use super::labels::{BuildpackMetadata, CacheMetadata, LayerMetadata, LayersMetadata, Sha};
use super::layer_dir::{LayerFile, layers_folder};
use super::metadata::Member;
use super::site::Site;
use super::toml_writer::{Table, Value};
use super::untar::{Above, unpack};
use crate::image::Digest;
use crate::image::layer::{LayerFolder, StatManifest};

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
    /// The cache, and what is in it.
    pub cache: Option<(&'a LayerCache, Option<&'a Found>)>,
    /// Whether nothing but the buildpacks' stores is to be restored.
    pub skip_layers: bool,
}

/// Layers that were restored from the cache, by their paths inside, as they were when nobody had touched them yet.
#[derive(Debug, Default)]
pub struct Restored {
    pub(super) layers: BTreeMap<PathBuf, (Digest, StatManifest)>,
}

static NOTHING: CacheMetadata = CacheMetadata { sbom: Sha { sha: String::new() }, buildpacks: Vec::new() };

/// How many layers are unpacked at the same time.
const AT_ONCE: usize = 4;

/// Writes metadata of layers, then the data of those that are cached. A damaged cache costs time and does not fail the build.
pub async fn restore(
    site: &Site<'_>,
    group: &[Member],
    user: CnbUser,
    left: Left<'_>,
) -> Result<Restored, RestoreError> {
    for member in group {
        restore_store(site, member, left.app)?;
    }
    if left.skip_layers {
        site.log.info(format_args!("Skipping buildpack layer analysis"));
        return Ok(Restored::default());
    }
    let (cache, cached) = match left.cache {
        Some((cache, Some(found))) => (Some((cache, found)), &found.metadata),
        Some((_, None)) => {
            site.log.info(format_args!("Layer cache not found"));
            (None, &NOTHING)
        }
        None => (None, &NOTHING),
    };
    let mut wanted = Vec::new();
    for member in group {
        let (app, cached) = (left.app.buildpack(&member.id), cached.buildpack(&member.id));
        let written = restore_metadata(site, member, layers(app), layers(cached))?;
        if cache.is_some() {
            wanted.extend(wanted_data(site, member, layers(cached), &written)?);
        }
    }
    let Some((cache, found)) = cache else {
        restore_sboms(site, group)?;
        return Ok(Restored::default());
    };
    let mut restored = Restored::default();
    let mut under_way =
        stream::iter(wanted).map(|wanted| restore_data(site, user, cache, found, wanted)).buffer_unordered(AT_ONCE);
    while let Some(one) = under_way.try_next().await? {
        restored.layers.extend(one);
    }
    unpack_sboms(site, cache, found).await?;
    restore_sboms(site, group)?;
    Ok(restored)
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

/// A layer whose data is to be restored.
struct Wanted {
    id: String,
    path: PathBuf,
    sha: String,
}

/// Returns the cached layers that fit the metadata; those of another digest are removed.
fn wanted_data(
    site: &Site<'_>,
    member: &Member,
    cached: &BTreeMap<String, LayerMetadata>,
    written: &BTreeMap<&str, &str>,
) -> Result<Vec<Wanted>, RestoreError> {
    let folder = layers_folder(site.folders, &member.id);
    let mut wanted = Vec::new();
    for (name, layer) in cached.iter().filter(|(_, layer)| layer.cache) {
        let Some(sha) = written.get(name.as_str()) else { continue };
        let (id, path) = (format!("{}:{name}", member.id), folder.join(name));
        if *sha == layer.sha {
            wanted.push(Wanted { id, path, sha: layer.sha.clone() });
            continue;
        }
        site.log.info(format_args!("Removing \"{id}\", wrong sha"));
        let remove = |suffix| site.folders.remove(&super::inside::with_suffix(&path, suffix));
        remove("").and_then(|()| remove(".toml")).map_err(failed(format!("remove layer {id}")))?;
    }
    Ok(wanted)
}

async fn restore_data(
    site: &Site<'_>,
    user: CnbUser,
    cache: &LayerCache,
    found: &Found,
    Wanted { id, path, sha }: Wanted,
) -> Result<Option<(PathBuf, (Digest, StatManifest))>, RestoreError> {
    site.log.info(format_args!("Restoring data for \"{id}\" from cache"));
    let layer = export::folder(site.folders, user, path.clone());
    if let Some((digest, manifest)) = take_folder(site, cache, &layer, &sha).await {
        site.log.debug(format_args!("\"{id}\" is the folder that an earlier build left"));
        return Ok(Some((path, (digest, manifest))));
    }
    match unpack_layer(site, cache, found, &sha, Some(layer)).await {
        Ok(manifest) => {
            let digest: Option<Digest> = sha.parse().ok();
            Ok(digest.zip(manifest).map(|known| (path, known)))
        }
        Err(error) => {
            site.log.warn(format_args!("Skipping restore for layer {id}: {}", with_causes(&error)));
            site.folders.remove(&path).map_err(failed(format!("remove layer {id}")))?;
            Ok(None)
        }
    }
}

/// Takes a layer's folder as an earlier build left it, where it is still that.
async fn take_folder(
    site: &Site<'_>,
    cache: &LayerCache,
    layer: &LayerFolder,
    sha: &str,
) -> Option<(Digest, StatManifest)> {
    let (handover, digest) = (cache.handover()?.clone(), sha.parse::<Digest>().ok()?);
    let (layer, owner) = (layer.clone(), site.folders.owner_on_disk());
    let taken = tokio::task::spawn_blocking(move || {
        let manifest = handover.take(&digest, &layer, owner)?;
        Some((digest, manifest))
    });
    taken.await.ok().flatten()
}

/// Unpacks a layer and checks it; then looks how it lies there, where it is one that would be the same archive again.
async fn unpack_layer(
    site: &Site<'_>,
    cache: &LayerCache,
    found: &Found,
    sha: &str,
    layer: Option<LayerFolder>,
) -> Result<Option<StatManifest>, CacheError> {
    let mut archive = cache.archive(found, sha).await?;
    let folders = site.folders.clone();
    let unpacked = tokio::task::spawn_blocking(move || {
        let above = unpack(&folders, &mut archive)?;
        // What follows the end of the archive belongs to the digest too.
        io::copy(&mut archive, &mut io::sink())?;
        let same = layer.filter(|layer| has_same_parents(layer, &above));
        Ok(same.and_then(|layer| StatManifest::take(&layer).ok().flatten()))
    });
    let unpacked: io::Result<_> = unpacked.await.map_err(|_| CacheError::Worker)?;
    unpacked.map_err(|source| CacheError::Files { doing: "unpack a layer of the cache".to_owned(), source })
}

/// Tells whether the folders above a layer are as its archive has them, since they are part of it.
fn has_same_parents(layer: &LayerFolder, above: &BTreeMap<PathBuf, Above>) -> bool {
    layer.parents().all(|parent| {
        parent.is_ok_and(|parent| {
            let now = Above { mode: parent.mode, owner: (parent.uid.into(), parent.gid.into()) };
            above.get(Path::new(OsStr::from_bytes(&parent.path))) == Some(&now)
        })
    })
}

pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_causes(source)),
        None => error.to_string(),
    }
}

/// Unpacks the SBOMs of cached layers beside those of the image before.
async fn unpack_sboms(site: &Site<'_>, cache: &LayerCache, found: &Found) -> Result<(), RestoreError> {
    let sha = &found.metadata.sbom.sha;
    if sha.is_empty() {
        return Ok(());
    }
    site.log.info(format_args!("Restoring data for SBOM from cache"));
    if let Err(error) = unpack_layer(site, cache, found, sha, None).await {
        site.log.warn(format_args!("Skipping restore of SBOMs: {}", with_causes(&error)));
        let cached = site.folders.layers.inside.join("sbom/cache");
        site.folders.remove(&cached).map_err(failed("remove damaged SBOMs"))?;
    }
    Ok(())
}

/// Gives each SBOM to the buildpack of its layer.
fn restore_sboms(site: &Site<'_>, group: &[Member]) -> Result<(), RestoreError> {
    let top = site.folders.layers.inside.join("sbom");
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
