//! The engine that makes images.

use std::sync::Arc;

use super::docker;
use crate::adapters::docker::Docker;
use crate::adapters::pack::{PackBuilder, PackSettings};
use crate::adapters::process::Stop;
use crate::cli::{BuildFlags, EngineChoice, Session};
use crate::env_vars;
use crate::image::RegistryClient;
use crate::image::registry::RegistryOptions;
use crate::ports::image_builder::ImageBuilder;
use crate::ports::image_store::ImageStore;
use crate::ui::CliError;

/// Makes the engine that the flags ask for.
pub(super) async fn of_flags(session: &Session, flags: &BuildFlags) -> Result<Arc<dyn ImageBuilder>, CliError> {
    match flags.engine {
        EngineChoice::Auto | EngineChoice::Pack => {}
        EngineChoice::Dockerfile => return Err(missing("dockerfile")),
        EngineChoice::Embedded => return Err(missing("embedded")),
    }
    session.printer.detail("engine pack: the only one in this build");
    Ok(Arc::new(pack(docker::connect().await?, Some(registry(docker::credentials()?)?), session)))
}

/// The engine `pack` on a daemon; `registry` tells digests of what it publishes.
pub(super) fn pack(docker: Docker, registry: Option<Arc<dyn ImageStore>>, session: &Session) -> PackBuilder {
    let mut settings = PackSettings::default();
    if let Some(program) = std::env::var_os(env_vars::PACKHORSE_PACK) {
        settings.program = program;
    }
    settings.lifecycle_image =
        std::env::var(env_vars::PACKHORSE_LIFECYCLE_IMAGE).ok().filter(|image| !image.is_empty());
    settings.stop = stop(session);
    PackBuilder::new(settings, docker, registry)
}

/// How the user's signals reach what runs.
pub(super) fn stop(session: &Session) -> Stop {
    Stop { gently: session.interrupt.gently.clone(), at_once: session.interrupt.at_once.clone() }
}

/// A client for registries, as the place of images.
pub(super) fn registry(credentials: Arc<dyn crate::image::CredentialSource>) -> Result<Arc<dyn ImageStore>, CliError> {
    Ok(Arc::new(client(credentials)?))
}

/// A client for registries.
pub(super) fn client(credentials: Arc<dyn crate::image::CredentialSource>) -> Result<RegistryClient, CliError> {
    let options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
    RegistryClient::new(options, credentials)
        .map_err(|error| CliError::internal("no registry client can be made").because(error))
}

fn missing(engine: &str) -> CliError {
    CliError::usage(format!("the engine `{engine}` is not in this build yet")).hint("use `--engine pack`")
}
