//! The analyze phase: what the image before has, and what the new one is built upon.

use std::io::{self, Write};
use std::path::Path;

use futures_util::TryStreamExt;
use serde::Deserialize;

use super::export::Origin;
use super::folders::Folders;
use super::labels::{LIFECYCLE_METADATA, LayersMetadata, RunImageNames};
use super::log::Log;
use super::site::Site;
use super::target::{Distro, RunTarget};
use super::untar::unpack;
use crate::image::layer::unpack::archive;
use crate::image::{ImageConfig, ImageError, ImageReference};

/// The most that a layer of SBOMs may have, compressed.
const MOST_SBOM: u64 = 512 * 1024 * 1024;

/// Why the phase failed.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// The run image does not say for which system it is.
    #[error("failed to find OS in run image config")]
    NoSystem,
    /// An image could not be read.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// A file failed.
    #[error("could not {doing}")]
    Files {
        /// What was tried.
        doing: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

impl From<ImageError> for AnalyzeError {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

/// Returns what the image before knows of its layers; one without a label that can be read knows nothing.
pub fn previous_layers(previous: Option<Origin<'_>>) -> LayersMetadata {
    let label = previous.and_then(|origin| origin.image.config.label(LIFECYCLE_METADATA));
    label.and_then(LayersMetadata::parse).unwrap_or_default()
}

/// Returns the platform of a run image; its distribution, where it does not say, is the build image's.
pub fn target(config: &ImageConfig, folders: &Folders, log: &dyn Log) -> Result<RunTarget, AnalyzeError> {
    if config.os.is_empty() {
        return Err(AnalyzeError::NoSystem);
    }
    let label = |name: &str| config.label(&format!("io.buildpacks.base.{name}")).map(ToOwned::to_owned);
    let distro = match (label("distro.name"), label("distro.version")) {
        (None, None) => {
            log.info(format_args!("target distro name/version labels not found, reading /etc/os-release file"));
            let text = folders.read_text(Path::new("/etc/os-release")).ok().flatten();
            text.and_then(|text| Distro::from_os_release(&text))
        }
        (name, version) => Some(Distro { name: name.unwrap_or_default(), version: version.unwrap_or_default() }),
    };
    let variant = config.other.get("variant").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let (os, arch) = (config.os.clone(), config.architecture.clone());
    Ok(RunTarget { id: label("id").unwrap_or_default(), os, arch, variant, distro })
}

#[derive(Deserialize, Default)]
struct RunFile {
    #[serde(default)]
    images: Vec<RunImageNames>,
}

/// Returns the run images of the builder's `run.toml`, each with its mirrors.
pub fn run_images(folders: &Folders) -> io::Result<Vec<RunImageNames>> {
    let text = folders.read_text(&folders.cnb.inside.join("run.toml"))?.unwrap_or_default();
    let file: RunFile = toml::from_str(&text).map_err(io::Error::other)?;
    Ok(file.images)
}

/// Returns the names of a run image in the builder's `run.toml`: the entry that has it, else the name that was chosen, else the
/// first entry.
pub fn run_image_names(
    folders: &Folders,
    run_image: &ImageReference,
    chosen: Option<&str>,
) -> io::Result<RunImageNames> {
    let images = run_images(folders)?;
    let same = |name: &String| {
        name.parse::<ImageReference>().is_ok_and(|name| {
            name.repository() == run_image.repository() && (name.tag() == run_image.tag() || run_image.tag().is_none())
        })
    };
    let named = |entry: &&RunImageNames| same(&entry.image) || entry.mirrors.iter().any(same);
    let chosen = chosen.map(|name| RunImageNames { image: name.to_owned(), mirrors: Vec::new() });
    Ok(images.iter().find(named).cloned().or(chosen).or(images.first().cloned()).unwrap_or_default())
}

/// Returns a reference as Go writes it: with Docker Hub's older name.
pub fn go_name(reference: &ImageReference) -> String {
    let full = reference.full();
    match full.strip_prefix("docker.io/") {
        Some(rest) => format!("index.docker.io/{rest}"),
        None => full,
    }
}

/// Unpacks the SBOMs of the image before into the layers folder.
pub async fn restore_sboms(site: &Site<'_>, previous: Origin<'_>, layers: &LayersMetadata) -> Result<(), AnalyzeError> {
    let Origin { image, source } = previous;
    let sha = layers.sbom.as_ref().and_then(|layer| layer.sha.parse().ok());
    let Some(layer) = sha.and_then(|sha| image.layer(&sha)) else { return Ok(()) };
    site.log.info(format_args!("Restoring data for SBOM from previous image"));
    let files = |doing| move |source| AnalyzeError::Files { doing, source };
    let mut blob = tempfile::tempfile().map_err(files("keep the SBOMs of the previous image"))?;
    let mut stream = source.blob(image, layer).await?;
    let mut received = 0;
    while let Some(piece) = stream.try_next().await? {
        received += piece.len() as u64;
        if received > MOST_SBOM {
            return Err(files("keep the SBOMs of the previous image")(io::ErrorKind::FileTooLarge.into()));
        }
        blob.write_all(&piece).map_err(files("keep the SBOMs of the previous image"))?;
    }
    io::Seek::rewind(&mut blob).map_err(files("read the SBOMs of the previous image"))?;
    let archive = archive(blob).map_err(files("read the SBOMs of the previous image"))?;
    unpack(site.folders, archive).map(drop).map_err(files("unpack the SBOMs of the previous image"))
}
