//! How the layers lie there once all buildpacks have ended: what nobody touched need not be read again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;

use super::export::{self, CnbUser};
use super::layer_dir::BuildpackLayers;
use super::metadata::Member;
use super::restore::Restored;
use super::site::Site;
use crate::image::Digest;
use crate::image::layer::{LayerFolder, StatManifest};

/// What is known of layers without reading them, by their paths inside.
#[derive(Debug, Default)]
pub struct Looked {
    layers: BTreeMap<PathBuf, Look>,
}

#[derive(Debug)]
struct Look {
    /// Its digest, where nobody has touched it since it was restored.
    untouched: Option<Digest>,
    manifest: StatManifest,
}

impl Looked {
    /// Looks at the layers that were restored, and where `also_others`, at all others that are to be cached. Nothing writes into them
    /// any more.
    pub async fn at(
        site: &Site<'_>,
        group: &[Member],
        user: CnbUser,
        mut restored: Restored,
        also_others: bool,
    ) -> Self {
        let mut wanted: Vec<PathBuf> = restored.layers.keys().cloned().collect();
        if also_others {
            // What cannot be read is told by whoever needs it.
            let layers = group.iter().filter_map(|member| BuildpackLayers::read(site.folders, &member.id).ok());
            let cached = layers
                .flat_map(|found| found.layers)
                .filter(|layer| layer.has_contents && layer.file.as_ref().is_ok_and(|file| file.cache));
            wanted.extend(cached.map(|layer| layer.path).filter(|path| !restored.layers.contains_key(path)));
        }
        let looks = wanted.into_iter().map(|path| {
            let layer = export::folder(site.folders, user, path.clone());
            let before = restored.layers.remove(&path);
            async move { Some((path, tokio::task::spawn_blocking(move || look(&layer, before)).await.ok()??)) }
        });
        let looks: Vec<_> = looks.collect();
        Self { layers: join_all(looks).await.into_iter().flatten().collect() }
    }

    /// Returns the digest of a layer that is as it was restored. `None` wherever there is a doubt.
    pub fn untouched(&self, path: &Path) -> Option<&Digest> {
        self.layers.get(path)?.untouched.as_ref()
    }

    /// Returns how a layer lies there.
    pub fn manifest(&self, path: &Path) -> Option<&StatManifest> {
        Some(&self.layers.get(path)?.manifest)
    }
}

fn look(layer: &LayerFolder, before: Option<(Digest, StatManifest)>) -> Option<Look> {
    if let Some((digest, manifest)) = before
        && manifest.fits(layer)
    {
        return Some(Look { untouched: Some(digest), manifest });
    }
    let manifest = StatManifest::take(layer).ok().flatten()?;
    Some(Look { untouched: None, manifest })
}
