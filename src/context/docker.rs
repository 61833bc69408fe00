//! Docker as the user has set it up.

use std::path::PathBuf;
use std::sync::Arc;

use crate::adapters::docker::{Docker, DockerSettings};
use crate::image::CredentialSource;
use crate::image::credentials::DockerConfig;
use crate::ports::failure::Failure;
use crate::ui::CliError;

/// The folder of Docker's own configuration.
fn config_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    DockerConfig::folder(variable("DOCKER_CONFIG").as_deref(), variable("HOME").as_deref())
}

/// The user's logins to registries.
pub(super) fn credentials() -> Result<Arc<dyn CredentialSource>, CliError> {
    let folder = config_folder().unwrap_or_else(|| PathBuf::from("/"));
    let config = DockerConfig::load(&folder)
        .map_err(|error| CliError::remote("Docker's logins cannot be read").because(error))?;
    Ok(Arc::new(config))
}

/// Connects to the daemon that Docker's own client would use, with the user's logins.
pub(super) async fn connect() -> Result<Docker, CliError> {
    Ok(connect_with(credentials()?).await?)
}

/// Connects to the daemon that Docker's own client would use.
pub(super) async fn connect_with(credentials: Arc<dyn CredentialSource>) -> Result<Docker, Failure> {
    let settings = DockerSettings {
        host: std::env::var("DOCKER_HOST").ok(),
        context: std::env::var("DOCKER_CONTEXT").ok(),
        config_folder: config_folder(),
        tls: std::env::var_os("DOCKER_TLS_VERIFY").is_some(),
    };
    Docker::connect(&settings, credentials).await
}
