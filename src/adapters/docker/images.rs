//! Images in the daemon.

use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions,
    RemoveVolumeOptions, TagImageOptionsBuilder,
};
use futures_util::TryStreamExt;
use secrecy::ExposeSecret;

use super::engine::{Docker, unless_gone};
use super::failure::sort;
use crate::image::credentials::Credential;
use crate::image::{ImageConfig, ImageReference};
use crate::ports::container_engine::ImageFacts;
use crate::ports::failure::Failure;

impl Docker {
    pub(super) async fn image_ensure(&self, image: &str) -> Result<(), Failure> {
        match self.image_inspect(image).await {
            Ok(_) => return Ok(()),
            Err(Failure::NotFound { .. }) => {}
            Err(failure) => return Err(failure),
        }
        let sorted = |error| sort(format!("pull the image `{image}`"), &format!("the image `{image}`"), error);
        let credentials = self.login(image).await?;
        let options = CreateImageOptionsBuilder::default().from_image(&with_tag(image)).build();
        let mut pull = std::pin::pin!(self.client.create_image(Some(options), None, credentials));
        while pull.try_next().await.map_err(sorted)?.is_some() {}
        Ok(())
    }

    /// Takes the images of an archive that comes piece by piece, as `docker load` does.
    pub async fn load_images(
        &self,
        archive: impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static,
    ) -> Result<(), Failure> {
        let options = ImportImageOptionsBuilder::default().build();
        let mut load = std::pin::pin!(self.client.import_image_stream(options, archive, None));
        let sorted = |error| sort("load an image".to_owned(), "the image", error);
        while load.try_next().await.map_err(sorted)?.is_some() {}
        Ok(())
    }

    /// Tells whether the daemon keeps layers by themselves: one that it has may be left out of an archive that it loads.
    ///
    /// So does the store of Docker's own driver `overlay2`; containerd's looks for the bytes of every layer.
    pub async fn knows_layers(&self) -> Result<bool, Failure> {
        let about = self.client.info().await;
        let about = about.map_err(|error| sort("ask Docker how it keeps images".to_owned(), "Docker", error))?;
        Ok(about.driver.as_deref() == Some("overlay2"))
    }

    async fn login(&self, image: &str) -> Result<Option<DockerCredentials>, Failure> {
        let Ok(reference) = image.parse::<ImageReference>() else { return Ok(None) };
        let registry = reference.registry();
        let credential = self.credentials.credential(registry).await;
        let credential =
            credential.map_err(|error| Failure::refused(format!("find the login for {registry}"), error))?;
        let server = Some(registry.as_str().to_owned());
        Ok(credential.map(|credential| match credential {
            Credential::Password { username, password } => DockerCredentials {
                username: Some(username),
                password: Some(password.expose_secret().to_owned()),
                serveraddress: server,
                ..DockerCredentials::default()
            },
            Credential::IdentityToken(token) => DockerCredentials {
                identitytoken: Some(token.expose_secret().to_owned()),
                serveraddress: server,
                ..DockerCredentials::default()
            },
        }))
    }

    pub(super) async fn image_inspect(&self, image: &str) -> Result<ImageFacts, Failure> {
        let what = format!("the image `{image}`");
        let doing = || format!("inspect the image `{image}`");
        let found = self.client.inspect_image(image).await;
        let found = found.map_err(|error| match error {
            Error::DockerResponseServerError { status_code: 404, .. } => Failure::NotFound { what: what.clone() },
            error => sort(doing(), &what, error),
        })?;
        let config = serde_json::json!({
            "architecture": found.architecture,
            "os": found.os,
            "config": found.config,
            "rootfs": { "diff_ids": found.root_fs.and_then(|root| root.layers).unwrap_or_default() },
        });
        let config: ImageConfig = serde_json::from_value(config).map_err(|error| Failure::refused(doing(), error))?;
        Ok(ImageFacts {
            id: found.id.unwrap_or_default(),
            repo_digests: found.repo_digests.unwrap_or_default(),
            repo_tags: found.repo_tags.unwrap_or_default(),
            config,
        })
    }

    pub(super) async fn image_tag(&self, image: &str, name: &str) -> Result<(), Failure> {
        let doing = || format!("tag `{image}` as `{name}`");
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (name, "latest"),
        };
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        let tagged = self.client.tag_image(image, Some(options)).await;
        tagged.map_err(|error| sort(doing(), &format!("the image `{image}`"), error))
    }

    pub(super) async fn image_list_names(&self, repository: &str) -> Result<Vec<String>, Failure> {
        let filters = std::collections::HashMap::from([("reference".to_owned(), vec![repository.to_owned()])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let found = self.client.list_images(Some(options)).await;
        let found = found.map_err(|error| sort(format!("list the images of `{repository}`"), "Docker", error))?;
        let mut names: Vec<String> = found.into_iter().flat_map(|image| image.repo_tags).collect();
        // An image may have names elsewhere too.
        names.retain(|name| name.rsplit_once(':').is_some_and(|(found, _)| found == repository));
        names.sort();
        Ok(names)
    }

    pub(super) async fn volume_remove(&self, name: &str) -> Result<(), Failure> {
        let removed = unless_gone(self.client.remove_volume(name, None::<RemoveVolumeOptions>).await);
        removed.map_err(|error| sort(format!("remove the volume `{name}`"), &format!("the volume `{name}`"), error))
    }

    pub(super) async fn image_untag(&self, name: &str) -> Result<bool, Failure> {
        match self.client.remove_image(name, None::<RemoveImageOptions>, None).await {
            Ok(_) => Ok(true),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(sort(format!("remove the tag `{name}`"), &format!("the image `{name}`"), error)),
        }
    }
}

/// A pull without a tag would fetch every tag of the repository.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::with_tag;

    #[test]
    fn a_pull_names_one_tag() {
        assert_eq!(with_tag("postgres"), "postgres:latest");
        assert_eq!(with_tag("127.0.0.1:5000/app"), "127.0.0.1:5000/app:latest");
        assert_eq!(with_tag("redis:7"), "redis:7");
        assert_eq!(with_tag("app@sha256:00"), "app@sha256:00");
    }
}
