//! Keeps layers for the next build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};

use super::layers::folder;
use super::{CnbUser, Exported, Origin};
use crate::image::layer::Packer;
use crate::image::{Digest, ImageSource, SourceImage};
use crate::lifecycle::cache::{AsItIs, CacheError, Found, Handover, Kept, LayerCache, NewLayers};
use crate::lifecycle::go_json;
use crate::lifecycle::labels::{BuildpackMetadata, CacheMetadata, LayerMetadata, Sha};
use crate::lifecycle::layer_dir::{BuildpackLayers, FoundLayer, LayerFile};
use crate::lifecycle::looked::Looked;
use crate::lifecycle::metadata::Member;
use crate::lifecycle::site::Site;

/// How many layers are kept at the same time.
const AT_ONCE: usize = 4;

/// What is to be kept, and what is known of it.
pub struct Cached<'a> {
    /// The build.
    pub site: &'a Site<'a>,
    /// The buildpacks.
    pub group: &'a [Member],
    /// To whom layers belong.
    pub user: CnbUser,
    /// The cache.
    pub cache: &'a LayerCache,
    /// What was in it.
    pub found: Option<&'a Found>,
    /// The new set.
    pub set: NewLayers<'a>,
    /// What is known of layers without reading them.
    pub looked: &'a Looked,
    /// The image before.
    pub previous: Option<Origin<'a>>,
    /// The image that was just made: its layers need not be read again.
    pub exported: &'a Exported,
    /// Makes layers.
    pub packer: &'a Arc<Packer>,
}

/// A layer that is to be kept.
struct Wanted {
    /// The buildpack's place in the group.
    member: usize,
    name: String,
    path: PathBuf,
    file: LayerFile,
    id: String,
}

/// Writes the layers that are to be cached as a new set. Their folders are then handed over to the next build, where that can be:
/// they are not there any more.
pub async fn store(cached: Cached<'_>) -> Result<(), CacheError> {
    let Cached { site, group, ref set, .. } = cached;
    let mut metadata = CacheMetadata { sbom: Sha::default(), buildpacks: group.iter().map(of_member).collect() };
    let wanted = wanted(site, group);
    let (mut kept, mut folders) = (Vec::new(), Vec::new());
    let mut under_way = stream::iter(wanted).map(|wanted| keep(&cached, set, wanted)).buffered(AT_ONCE);
    while let Some((Wanted { member, name, path, file, id }, one)) = under_way.next().await {
        match one {
            Ok((one, verb)) => {
                site.log.info(format_args!("{verb} cache layer '{id}'"));
                metadata.buildpacks[member].layers.insert(name, of_file(one.sha.clone(), &file));
                folders.push((path, one.sha.clone()));
                kept.push(one);
            }
            Err(error) => site.log.warn(format_args!("Failed to cache layer '{id}': {error}")),
        }
    }
    drop(under_way);
    let sboms = site.folders.layers.inside.join("sbom/cache");
    if site.folders.is_folder(&sboms) {
        site.log.info(format_args!("Adding cache layer 'buildpacksio/lifecycle:cache.sbom'"));
        let one = set.add(cached.packer, folder(site.folders, cached.user, sboms)).await?;
        metadata.sbom = Sha { sha: one.sha.clone() };
        kept.push(one);
    }
    let Cached { user, cache, looked, packer, set, .. } = cached;
    set.commit(packer, &metadata, &kept).await?;
    if let Some(handover) = cache.handover() {
        hand_over(handover.clone(), site, user, looked, folders).await?;
    }
    Ok(())
}

/// Moves the folders of the new set to where the next build finds them, and removes those of older ones.
async fn hand_over(
    handover: Handover,
    site: &Site<'_>,
    user: CnbUser,
    looked: &Looked,
    folders: Vec<(PathBuf, String)>,
) -> Result<(), CacheError> {
    let owner = site.folders.owner_on_disk();
    let known = folders.into_iter().filter_map(|(path, sha)| {
        let manifest = looked.manifest(&path)?.clone();
        Some((sha.parse::<Digest>().ok()?, folder(site.folders, user, path), manifest))
    });
    let known: Vec<_> = known.collect();
    let moving = tokio::task::spawn_blocking(move || {
        let kept = known.into_iter().filter(|(digest, layer, manifest)| handover.keep(digest, layer, manifest, owner));
        let kept: BTreeSet<Digest> = kept.map(|(digest, ..)| digest).collect();
        handover.keep_only(&kept);
    });
    moving.await.map_err(|_| CacheError::Worker)
}

fn wanted(site: &Site<'_>, group: &[Member]) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (place, member) in group.iter().enumerate() {
        let found = BuildpackLayers::read(site.folders, &member.id).map(|found| found.layers).unwrap_or_default();
        for FoundLayer { name, path, has_contents, file } in found {
            let Some(file) = file.ok().filter(|file| file.cache) else { continue };
            let id = format!("{}:{name}", member.id);
            if has_contents {
                wanted.push(Wanted { member: place, name, path, file, id });
            } else {
                site.log.warn(format_args!("Failed to cache layer '{id}' because it has no contents"));
            }
        }
    }
    wanted
}

/// Keeps a layer as it is where its digest is known, else reads it.
async fn keep(
    cached: &Cached<'_>,
    set: &NewLayers<'_>,
    wanted: Wanted,
) -> (Wanted, Result<(Kept, &'static str), CacheError>) {
    let layer = folder(cached.site.folders, cached.user, wanted.path.clone());
    let member = &cached.group[wanted.member];
    let exported = cached.exported.layers.buildpack(&member.id);
    let exported = exported.and_then(|buildpack| buildpack.layers.get(&wanted.name)?.sha.parse::<Digest>().ok());
    let digest = exported.or_else(|| cached.looked.untouched(&layer.path).cloned());
    let kept = async {
        if let Some(digest) = digest {
            for known in origins(cached, &digest) {
                if let Some(kept) = set.keep(known).await? {
                    return Ok((kept, "Reusing"));
                }
            }
        }
        Ok((set.add(cached.packer, layer).await?, "Adding"))
    };
    let kept = kept.await;
    (wanted, kept)
}

/// Where a layer of this digest may be had: the cache as it was, then the image that was just made.
fn origins<'a>(cached: &'a Cached<'_>, digest: &'a Digest) -> Vec<AsItIs<'a>> {
    let of_cache = cached.found.and_then(|found| cached.cache.blob(found, digest));
    let at_hand = &cached.exported.at_hand;
    let of_image = at_hand.image.layer(digest).map(|blob| {
        let of_previous = cached.previous.filter(|previous| previous.image.layer(digest) == Some(blob));
        // One that was not made here is read from where it came from, should that be needed.
        let (image, source): (&SourceImage, &dyn ImageSource) = match of_previous {
            Some(Origin { image, source }) => (image, source),
            None => (&at_hand.image, at_hand),
        };
        AsItIs { diff_id: digest, blob: Some((blob, image, source)) }
    });
    let in_a_folder = AsItIs { diff_id: digest, blob: None };
    of_cache.into_iter().chain(of_image).chain([in_a_folder]).collect()
}

fn of_member(member: &Member) -> BuildpackMetadata {
    let Member { id, version, .. } = member;
    BuildpackMetadata { key: id.to_string(), version: version.clone(), layers: BTreeMap::new(), store: None }
}

fn of_file(sha: String, file: &LayerFile) -> LayerMetadata {
    let LayerFile { build, launch, cache, metadata } = file;
    let data = metadata.as_ref().map(go_json::from_toml).unwrap_or_default();
    LayerMetadata { sha, data, build: *build, launch: *launch, cache: *cache }
}
