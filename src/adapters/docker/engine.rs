//! The connection to a daemon.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error;

use super::connect::{DockerAddress, DockerSettings};
use super::failure::sort;
use crate::image::credentials::CredentialSource;
use crate::ports::container_engine::{
    ApiVersion, ContainerEngine, ContainerFacts, ContainerSpec, ImageFacts, Labels, LineSink, LogRange,
};
use crate::ports::failure::Failure;

/// Seconds within which the daemon must begin to answer.
const ANSWER_TIME: u64 = 120;

/// A Docker daemon.
#[derive(Clone)]
pub struct Docker {
    pub(super) client: bollard::Docker,
    pub(super) credentials: Arc<dyn CredentialSource>,
    address: DockerAddress,
}

impl Docker {
    /// Connects to the daemon that the settings name, and agrees with it on a version of the API.
    ///
    /// Pulls use the logins of `credentials`. [`Failure::Unavailable`] says where nobody answered.
    pub async fn connect(settings: &DockerSettings, credentials: Arc<dyn CredentialSource>) -> Result<Self, Failure> {
        Self::connect_to(settings.address()?, credentials).await
    }

    /// Connects to the daemon at an address.
    pub async fn connect_to(address: DockerAddress, credentials: Arc<dyn CredentialSource>) -> Result<Self, Failure> {
        let doing = || format!("connect to Docker at {address}");
        let text = address.to_string();
        let client = match &address {
            DockerAddress::Unix(_) => bollard::Docker::connect_with_unix(&text, ANSWER_TIME, API_DEFAULT_VERSION),
            DockerAddress::Tcp(_) => bollard::Docker::connect_with_http(&text, ANSWER_TIME, API_DEFAULT_VERSION),
        };
        let connected = async { client?.negotiate_version().await };
        // A socket whose daemon hangs accepts the connection and never answers.
        let answer = tokio::time::timeout(Duration::from_secs(15), connected).await;
        let client = answer
            .map_err(|_| Failure::unavailable(doing(), "it did not answer within 15 s"))?
            .map_err(|error| sort(doing(), "Docker", error))?;
        Ok(Self { client, credentials, address })
    }

    /// Returns where the daemon listens.
    pub fn address(&self) -> &DockerAddress {
        &self.address
    }
}

/// Counts "is not there" as done.
pub(super) fn unless_gone(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        other => other,
    }
}

/// Writes labels as Docker's filters take them.
pub(super) fn filters(labels: &Labels) -> std::collections::HashMap<String, Vec<String>> {
    let labels = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    std::iter::once(("label".to_owned(), labels)).collect()
}

#[async_trait]
impl ContainerEngine for Docker {
    fn api_version(&self) -> ApiVersion {
        let agreed = self.client.client_version();
        let number = |part: usize| u32::try_from(part).unwrap_or(u32::MAX);
        ApiVersion { major: number(agreed.major_version), minor: number(agreed.minor_version) }
    }

    async fn create_network(&self, name: &str, labels: &Labels) -> Result<(), Failure> {
        self.network_create(name, labels).await
    }

    async fn networks(&self, labels: &Labels) -> Result<Vec<String>, Failure> {
        self.network_list(labels).await
    }

    async fn clear_network(&self, name: &str) -> Result<(), Failure> {
        self.network_clear(name).await
    }

    async fn remove_network(&self, name: &str) -> Result<(), Failure> {
        self.network_remove(name).await
    }

    async fn ensure_image(&self, image: &str) -> Result<(), Failure> {
        self.image_ensure(image).await
    }

    async fn image(&self, image: &str) -> Result<ImageFacts, Failure> {
        self.image_inspect(image).await
    }

    async fn tag_image(&self, image: &str, name: &str) -> Result<(), Failure> {
        self.image_tag(image, name).await
    }

    async fn untag_image(&self, name: &str) -> Result<bool, Failure> {
        self.image_untag(name).await
    }

    async fn image_names(&self, repository: &str) -> Result<Vec<String>, Failure> {
        self.image_list_names(repository).await
    }

    async fn remove_volume(&self, name: &str) -> Result<(), Failure> {
        self.volume_remove(name).await
    }

    async fn create(&self, container: &ContainerSpec) -> Result<(), Failure> {
        self.container_create(container).await
    }

    async fn start(&self, name: &str) -> Result<(), Failure> {
        self.container_start(name).await
    }

    async fn container(&self, name: &str) -> Result<Option<ContainerFacts>, Failure> {
        self.container_inspect(name).await
    }

    async fn containers(&self, labels: &Labels) -> Result<Vec<ContainerFacts>, Failure> {
        self.container_list(labels).await
    }

    async fn wait(&self, name: &str) -> Result<i64, Failure> {
        self.container_wait(name).await
    }

    async fn logs(&self, name: &str, range: LogRange, sink: &LineSink<'_>) -> Result<(), Failure> {
        self.container_logs(name, range, sink).await
    }

    async fn exec(&self, name: &str, argv: &[&str]) -> Result<i64, Failure> {
        self.container_exec(name, argv).await
    }

    async fn stop(&self, name: &str, grace: Duration) -> Result<(), Failure> {
        self.container_stop(name, grace).await
    }

    async fn remove(&self, name: &str) -> Result<(), Failure> {
        self.container_remove(name).await
    }

    async fn copy_out(&self, name: &str, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.container_copy_out(name, path).await
    }
}
