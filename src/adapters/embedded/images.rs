//! Where images lie: in registries, or in folders of OCI's layout.

use std::path::Path;
use std::sync::Arc;

use crate::image::credentials::{CredentialChain, DockerConfig};
use crate::image::{
    CredentialSource, ImageError, ImageReference, ImageSource, Layout, Platform, RegistryClient, RegistryOptions,
    SourceImage, Tag,
};
use crate::lifecycle::export::Origin;
use crate::ports::failure::Failure;

/// How a folder of OCI's layout is told from a name in a registry.
const LAYOUT: &str = "oci:";

/// An image with the place it lies in.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) image: SourceImage,
    pub(super) source: Arc<dyn ImageSource>,
}

impl Found {
    pub(super) fn origin(&self) -> Origin<'_> {
        Origin { image: &self.image, source: self.source.as_ref() }
    }
}

/// A name, and where what it names is looked for.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) reference: ImageReference,
    pub(super) source: Arc<dyn ImageSource>,
}

/// The places of one build.
pub(super) struct Images {
    pub(super) client: RegistryClient,
}

impl Images {
    /// `docker_config` has the logins of this build, which come before others.
    pub(super) fn new(docker_config: Option<&Path>, others: Arc<dyn CredentialSource>) -> Result<Self, Failure> {
        let mut sources = Vec::new();
        if let Some(folder) = docker_config {
            let config = DockerConfig::load(folder);
            let config = config.map_err(|error| Failure::refused("read the logins of this build", error))?;
            sources.push(Arc::new(config) as Arc<dyn CredentialSource>);
        }
        sources.push(others);
        let options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
        let client = RegistryClient::new(options, Arc::new(CredentialChain::new(sources)));
        Ok(Self { client: client.map_err(|error| Failure::refused("make a registry client", error))? })
    }

    /// Reads a name: that of an image in a registry, or `oci:FOLDER`, where a tag may follow.
    pub(super) fn named(&self, name: &str) -> Result<Named, Failure> {
        let wrong = |error| Failure::refused(format!("use `{name}` as the name of an image"), error);
        if let Some(place) = name.strip_prefix(LAYOUT) {
            let (folder, reference) = layout(place);
            return Ok(Named { reference: reference.parse().map_err(wrong)?, source: Arc::new(Layout::at(folder)) });
        }
        Ok(Named { reference: name.parse().map_err(wrong)?, source: Arc::new(self.client.clone()) })
    }

    /// Finds an image for this machine; `None` where there is none.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Found>, Failure> {
        let Named { reference, source } = self.named(name)?;
        let found = source.image(&reference, &Platform::host()).await.and_then(|image| {
            image.as_ref().map_or(Ok(()), SourceImage::check)?;
            Ok(image)
        });
        Ok(found.map_err(|error| failure(error, name))?.map(|image| Found { image, source }))
    }
}

/// Sorts why an image could not be read or written.
pub(super) fn failure(error: ImageError, name: &str) -> Failure {
    match error {
        ImageError::Registry(error) => error.into(),
        error => Failure::refused(format!("read or write the image `{name}`"), error),
    }
}

/// The folder, and a name for what lies in it that no registry has.
fn layout(place: &str) -> (&str, String) {
    let (folder, tag) = match place.rsplit_once(':') {
        Some((folder, tag)) if !tag.contains('/') && tag.parse::<Tag>().is_ok() => (folder, tag),
        _ => (place, "latest"),
    };
    let name = Path::new(folder).file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let plain = plain.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    let plain = if plain.is_empty() { "image" } else { &plain };
    (folder, format!("oci.localhost/{plain}:{tag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_has_a_folder_and_maybe_a_tag() {
        for (place, folder, name) in [
            ("/var/builders/My_Builder", "/var/builders/My_Builder", "oci.localhost/my-builder:latest"),
            ("builder:24", "builder", "oci.localhost/builder:24"),
            ("/a:b/c", "/a:b/c", "oci.localhost/c:latest"),
            ("/", "/", "oci.localhost/image:latest"),
        ] {
            assert_eq!(layout(place), (folder, name.to_owned()));
            assert!(name.parse::<ImageReference>().is_ok(), "{name}");
        }
    }
}
