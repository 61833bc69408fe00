//! Where an app image goes: to its registry, to the Docker daemon, or into a folder where there is no daemon.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::net::unix::pipe;
use tokio_util::io::ReaderStream;

use super::images::{Found, Images, failure};
use super::kept::{self, Kept};
use super::settings::EmbeddedSettings;
use super::told::Told;
use crate::adapters::docker::Docker;
use crate::adapters::sandbox::beside;
use crate::image::layer::Compression;
use crate::image::{
    Digest, ImageReference, ImageSource as _, ImageTarget, Layout, Platform, Registry, RegistryTarget, SourceImage,
    docker_archive,
};
use crate::lifecycle::labels::{LIFECYCLE_METADATA, LayersMetadata};
use crate::ports::container_engine::ContainerEngine as _;
use crate::ports::failure::{Failure, chain};
use crate::ports::image_builder::{BuiltImage, ImageBuild, ImageBuildError};

/// How much of an archive is handed to the daemon at once.
const PIECE: usize = 256 * 1024;
/// For how many layers a registry is asked at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Where an app image goes.
pub(super) enum Destination {
    Registry(RegistryTarget),
    /// A folder that has this image only. The daemon, where there is one, gets it from there: so the next build finds its layers
    /// without asking the daemon, which gives them out only as a whole.
    Folder {
        layout: Layout,
        docker: Option<Docker>,
        _kept: Kept,
    },
}

impl Destination {
    pub(super) async fn of(
        settings: &EmbeddedSettings,
        images: &Images,
        build: &ImageBuild,
        name: &ImageReference,
        told: &Told<'_>,
    ) -> Result<Self, ImageBuildError> {
        if build.publish {
            return Ok(Self::Registry(RegistryTarget::new(images.client.clone(), name.repository().clone())));
        }
        let docker = settings.docker.clone();
        let layout = match &docker {
            Some(_) => Layout::at(kept::for_docker(&settings.cache, name.repository())),
            None => Layout::below(&kept::images(&settings.cache), name),
        };
        let kept = Kept::take(&settings.cache, layout.folder(), told).await;
        let kept = kept.map_err(|error| Failure::refused(format!("use `{}`", layout.folder().display()), error))?;
        Ok(Self::Folder { layout, docker, _kept: kept })
    }

    /// The registry that the image goes to.
    pub(super) fn registry<'n>(&self, name: &'n ImageReference) -> Option<&'n Registry> {
        matches!(self, Self::Registry(_)).then(|| name.registry())
    }

    /// How layers that are made anew are compressed: for a folder as every daemon takes them, for this machine's not at all.
    pub(super) fn compression(&self, build: &ImageBuild) -> Compression {
        match self {
            Self::Registry(_) => build.compression,
            Self::Folder { docker: Some(_), .. } => Compression::None,
            Self::Folder { docker: None, .. } => Compression::Gzip,
        }
    }

    pub(super) fn target(&self) -> &dyn ImageTarget {
        match self {
            Self::Registry(target) => target,
            Self::Folder { layout, .. } => layout,
        }
    }

    /// Finds the image before; one that is damaged is as good as none.
    pub(super) async fn previous(
        &self,
        images: &Images,
        build: &ImageBuild,
        name: &ImageReference,
        told: &Told<'_>,
    ) -> Result<Option<Found>, ImageBuildError> {
        match self {
            Self::Registry(_) => match images.find(build.previous_image.as_deref().unwrap_or(&build.image)).await {
                Err(failure @ Failure::Refused { .. }) => {
                    told.say(&format!("Warning: the image before cannot be used: {}", chain(&failure)));
                    Ok(None)
                }
                result => {
                    let found = result?;
                    let Some(image) = &found else { return Ok(None) };
                    let lost = lost_layers(images, &image.image).await?;
                    if lost > 0 {
                        let name = &image.image.reference;
                        told.say(&format!(
                            "Warning: the image before cannot be used: the registry has lost {lost} of the layers of `{name}`"
                        ));
                        return Ok(None);
                    }
                    Ok(found)
                }
            },
            Self::Folder { layout, .. } => {
                let image = layout.image(name, &Platform::host()).await.ok().flatten();
                let image = image.filter(|image| image.check().is_ok() && is_whole(layout, image));
                Ok(image.map(|image| Found { image, source: Arc::new(layout.clone()) }))
            }
        }
    }

    /// Brings an exported image to where it is used, and tells where that is. A daemon may have its lowest layers of the images that are
    /// `alike`.
    pub(super) async fn deliver(
        &self,
        build: &ImageBuild,
        name: &ImageReference,
        digest: Digest,
        alike: &[&SourceImage],
        told: &Told<'_>,
    ) -> Result<BuiltImage, ImageBuildError> {
        let image_in = |digest: String, layout: Option<PathBuf>| BuiltImage {
            image: build.image.clone(),
            digest,
            layers: told.layers(),
            layout,
        };
        let Self::Folder { layout, docker, .. } = self else { return Ok(image_in(digest.to_string(), None)) };
        let image = layout.image(&name.repository().at(digest.clone()), &Platform::host()).await;
        let image = image.map_err(|error| failure(error, &build.image))?;
        let image =
            image.ok_or_else(|| Failure::NotFound { what: format!("the image `{name}` that was just made") })?;
        kept::keep_only(layout, &image).map_err(|error| Failure::refused("remove what an older image left", error))?;
        let Some(docker) = docker else {
            told.say(&format!("The image lies in the OCI layout `{}`", layout.folder().display()));
            return Ok(image_in(digest.to_string(), Some(layout.folder().to_owned())));
        };
        load(docker, layout, &image, name, alike).await?;
        Ok(image_in(docker.image(&build.image).await?.id, None))
    }
}

/// Counts the layers of buildpacks that a registry has no more, though its image has them. A buildpack could count on one of these.
async fn lost_layers(images: &Images, image: &SourceImage) -> Result<usize, Failure> {
    let label = image.config.label(LIFECYCLE_METADATA).and_then(LayersMetadata::parse).unwrap_or_default();
    let layers = label.buildpacks.iter().flat_map(|buildpack| buildpack.layers.values()).filter(|layer| layer.launch);
    let blobs = layers.filter_map(|layer| image.layer(&layer.sha.parse().ok()?)).map(|blob| blob.digest.clone());
    // Owned, or the compiler cannot tell that the whole may move between threads.
    let blobs: Vec<Digest> = blobs.collect();
    let repository = image.reference.repository();
    let asked = stream::iter(blobs).map(|blob| async move { images.client.has_blob(repository, &blob).await });
    let are_there: Vec<bool> = asked.buffer_unordered(ASKED_AT_ONCE).try_collect().await?;
    Ok(are_there.into_iter().filter(|is_there| !is_there).count())
}

fn is_whole(layout: &Layout, image: &SourceImage) -> bool {
    image
        .manifest
        .layers
        .iter()
        .all(|layer| fs::metadata(layout.blob_path(&layer.digest)).is_ok_and(|blob| blob.len() == layer.size))
}

/// Hands an image to the daemon, without the layers that it has: those of an app's base are most of it.
async fn load(
    docker: &Docker,
    layout: &Layout,
    image: &SourceImage,
    name: &ImageReference,
    alike: &[&SourceImage],
) -> Result<(), Failure> {
    let there = layers_there(docker, image, alike).await;
    if there > 0 {
        match load_all_but(docker, layout, image, name, there).await {
            // They can have gone meanwhile, with the image that had them.
            Err(Failure::Refused { .. }) => {}
            result => return result,
        }
    }
    load_all_but(docker, layout, image, name, 0).await
}

/// Counts the lowest layers of an image that the daemon has for sure, since it has another image with them.
async fn layers_there(docker: &Docker, image: &SourceImage, alike: &[&SourceImage]) -> usize {
    let mut there = 0;
    for other in alike {
        let common = image.common_layers(other);
        // An image's id is the digest of its config, where layers are kept by themselves.
        if common > there && docker.image(other.manifest.config.digest.as_str()).await.is_ok() {
            there = common;
        }
    }
    if there > 0 && docker.knows_layers().await.unwrap_or(false) { there } else { 0 }
}

/// Hands an image to the daemon without its lowest layers, piece by piece: nothing is written in between.
async fn load_all_but(
    docker: &Docker,
    layout: &Layout,
    image: &SourceImage,
    name: &ImageReference,
    left_out: usize,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::refused("hand the image to Docker", error);
    let (from_us, to_docker) = io::pipe().map_err(failed)?;
    let archive = pipe::Receiver::from_owned_fd(OwnedFd::from(from_us)).map_err(failed)?;
    let (layout, image, name) = (layout.clone(), image.clone(), name.clone());
    // Ends with its reader, which goes when nobody waits for the daemon any more.
    let writing = beside(move |_| {
        let out = io::BufWriter::with_capacity(PIECE, to_docker);
        docker_archive::write_image(out, &layout, &image, std::slice::from_ref(&name), left_out)
    });
    let loading = docker.load_images(ReaderStream::with_capacity(archive, PIECE));
    let (written, loaded) = tokio::join!(writing, loading);
    // Where the daemon refused, the writer failed too, and only the daemon knows why.
    loaded?;
    written.map_err(failed)?.map_err(failed)
}
