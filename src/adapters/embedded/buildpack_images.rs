//! Buildpacks that come as images.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::failure::of_rootfs;
use super::images::Images;
use super::settings::EmbeddedSettings;
use super::told::Told;
use crate::adapters::sandbox::rootfs::{Owners, RootStore, Rootfs};
use crate::image::ImageConfig;
use crate::lifecycle::order::{BuildpackId, Element};
use crate::ports::failure::Failure;
use crate::ports::image_builder::ImageBuildError;

/// The label by which an image says which buildpack it is.
const METADATA: &str = "io.buildpacks.buildpackage.metadata";
/// Of how many the files are kept on this machine.
const KEPT: usize = 50;

/// The images of buildpacks of one build, each by the way in which it was written.
#[derive(Default)]
pub(super) struct BuildpackImages(BTreeMap<String, BuildpackImage>);

/// A buildpack whose files, with those of all that it is composed of, lie on this machine.
pub(super) struct BuildpackImage {
    pub(super) element: Element,
    pub(super) folders: Vec<PathBuf>,
    /// Keeps the folders.
    _files: Rootfs,
}

impl BuildpackImages {
    /// Fetches one that is not there yet.
    pub(super) async fn fetch(
        &mut self,
        written: &str,
        image: &str,
        settings: &EmbeddedSettings,
        images: &Images,
        told: &Told<'_>,
    ) -> Result<(), ImageBuildError> {
        if self.0.contains_key(written) {
            return Ok(());
        }
        let named = images.named(image)?;
        let store = RootStore::new(settings.buildpacks(), Owners::Own).keeping(KEPT);
        let files = match store.get(named.source.as_ref(), &named.reference, &|text| told.say(text)).await {
            Ok(files) => files,
            Err(error) => return Err(of_rootfs(error, images, "buildpack", image).await),
        };
        told.say(&format!("Buildpack {written} is {}", files.image));
        let unusable = |reason: String| Failure::refused(format!("use the image `{image}` as a buildpack"), reason);
        let element = element(&files.config).map_err(unusable)?;
        let folders = folders(&files.folder);
        self.0.insert(written.to_owned(), BuildpackImage { element, folders, _files: files });
        Ok(())
    }

    pub(super) fn get(&self, written: &str) -> Option<&BuildpackImage> {
        self.0.get(written)
    }
}

fn element(config: &ImageConfig) -> Result<Element, String> {
    #[derive(Deserialize)]
    struct Metadata {
        id: BuildpackId,
        version: String,
    }
    let label = config.label(METADATA).ok_or_else(|| format!("it has no label `{METADATA}`"))?;
    let read: Result<Metadata, _> = serde_json::from_str(label);
    let Metadata { id, version } = read.map_err(|error| format!("its label `{METADATA}`: {error}"))?;
    Ok(Element { id, version, optional: false })
}

/// Finds `/cnb/buildpacks/ID/VERSION` of each. Links are not followed: an image must not lead to files of this machine.
fn folders(root: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        let is_folder = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        let entries = if is_folder(&folder.to_owned()) { fs::read_dir(folder).ok() } else { None };
        let mut found: Vec<_> =
            entries.into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_folder).collect();
        found.sort_unstable();
        found
    };
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let cnb = below(root).into_iter().filter(|folder| folder.ends_with("cnb"));
    let all = cnb.flat_map(|cnb| below(&cnb)).filter(|folder| folder.ends_with("buildpacks"));
    let versions = all.flat_map(|all| below(&all)).flat_map(|id| below(&id));
    versions.filter(|version| is_file(&version.join("buildpack.toml"))).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_image_says_which_buildpack_it_is() {
        let mut config = ImageConfig::default();
        assert!(element(&config).unwrap_err().contains("has no label"));
        let mut labelled = |text: &str| {
            config.config.labels.insert(METADATA.to_owned(), text.to_owned());
            element(&config).map(|element| element.to_string())
        };
        assert_eq!(labelled(r#"{"id":"shop/apt","version":"1.2","stacks":null}"#).unwrap(), "shop/apt@1.2");
        assert!(labelled("{}").is_err() && labelled(r#"{"id":"app","version":"1"}"#).is_err());
    }

    #[test]
    fn links_in_an_image_lead_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let path = |text: &str| root.path().join(text);
        for folder in ["cnb/buildpacks/a/1/bin", "cnb/buildpacks/b/2", "outside/3"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        fs::write(path("cnb/buildpacks/a/1/buildpack.toml"), "").unwrap();
        fs::write(path("outside/3/buildpack.toml"), "").unwrap();
        symlink(path("outside"), path("cnb/buildpacks/c")).unwrap();
        symlink(path("outside/3"), path("cnb/buildpacks/a/3")).unwrap();
        symlink(path("outside/3/buildpack.toml"), path("cnb/buildpacks/b/2/buildpack.toml")).unwrap();
        assert_eq!(folders(root.path()), [path("cnb/buildpacks/a/1")]);
        let linked = tempfile::tempdir().unwrap();
        symlink(path("cnb"), linked.path().join("cnb")).unwrap();
        assert!(folders(linked.path()).is_empty() && folders(&path("none")).is_empty());
    }
}
