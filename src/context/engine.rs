//! The engine that makes images.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::adapters::docker::Docker;
use crate::adapters::embedded::{BUILDPACK_REGISTRY, EmbeddedBuilder, EmbeddedSettings};
use crate::adapters::pack::{PackBuilder, PackSettings};
use crate::adapters::process::{Stop, programs};
use crate::domain::engine_choice::{self, ChosenEngine, EngineFacts};
use crate::domain::manifest::Engine;
use crate::env_vars;
use crate::image::layer::Compression;
use crate::image::registry::RegistryOptions;
use crate::image::{CredentialSource, RegistryClient};
use crate::ports::container_engine::ContainerEngine;
use crate::ports::failure::{Failure, chain};
use crate::ports::image_builder::{BuildOutput, BuiltImage, ImageBuild, ImageBuildError, ImageBuilder};
use crate::ports::image_store::ImageStore;
use crate::session::Session;
use crate::ui::CliError;

/// What becomes of an image.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub(super) publish: bool,
    pub(super) compression: Compression,
}

/// Makes the engine that is asked for, or one that can do it on this machine, with what Docker answered.
pub(super) fn select(
    session: &Session,
    asked: Option<Engine>,
    daemon: Result<Docker, Failure>,
    outcome: Outcome,
    credentials: &Arc<dyn CredentialSource>,
) -> Result<Arc<dyn ImageBuilder>, CliError> {
    let ChosenEngine { engine, reason } = match asked {
        Some(Engine::Auto) | None => engine_choice::choose(&facts(session, &daemon, outcome)),
        Some(engine) => ChosenEngine { engine, reason: "as asked for".to_owned() },
    };
    match engine {
        Engine::Pack => {
            let engine = pack(daemon?, Some(registry(credentials.clone())?), session);
            Ok(Arc::new(Chosen { engine, reason }))
        }
        Engine::Embedded | Engine::Auto => {
            Ok(Arc::new(Chosen { engine: embedded(session, daemon.ok(), credentials)?, reason }))
        }
        Engine::Dockerfile => Err(missing("dockerfile")),
    }
}

fn facts(session: &Session, daemon: &Result<Docker, Failure>, outcome: Outcome) -> EngineFacts {
    let program = pack_settings(session).program;
    let docker = daemon.as_ref().map(ContainerEngine::api_version).map_err(|failure| chain(failure));
    EngineFacts {
        docker: docker.map(|version| (version.major, version.minor)),
        // Not asked for its version: that takes longer than all else that has to be found out here.
        pack: programs::find(&program).map(drop).ok_or_else(|| format!("`{}` was not found", program.display())),
        publish: outcome.publish,
        zstd: outcome.compression == Compression::Zstd,
    }
}

/// An engine that says why it is this one.
struct Chosen<E> {
    engine: E,
    reason: String,
}

#[async_trait]
impl<E: ImageBuilder> ImageBuilder for Chosen<E> {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    async fn build(&self, build: &ImageBuild, output: &dyn BuildOutput) -> Result<BuiltImage, ImageBuildError> {
        output.line(&format!("Engine {}: {}", self.engine.name(), self.reason));
        self.engine.build(build, output).await
    }
}

/// The engine that is part of packhorse.
fn embedded(
    session: &Session,
    docker: Option<Docker>,
    credentials: &Arc<dyn CredentialSource>,
) -> Result<EmbeddedBuilder, CliError> {
    let helper = own_program()?;
    let variables = variables();
    let proxies = variables.iter().filter(|(name, value)| PROXIES.contains(&name.as_str()) && !value.is_empty());
    Ok(EmbeddedBuilder::new(EmbeddedSettings {
        helper,
        cache: cache_folder(),
        buildpack_registry: std::env::var(env_vars::PACKHORSE_BUILDPACK_REGISTRY)
            .ok()
            .filter(|address| !address.is_empty())
            .unwrap_or_else(|| BUILDPACK_REGISTRY.to_owned()),
        docker,
        credentials: credentials.clone(),
        proxies: proxies.cloned().collect(),
        variables,
        stop: stop(session),
    }))
}

/// Where this very program lies, which is started again as a helper.
pub(super) fn own_program() -> Result<PathBuf, CliError> {
    std::env::current_exe()
        .map_err(|error| CliError::remote("the program packhorse does not know where it lies").because(error))
}

/// Tries what the engine that is part of packhorse needs.
pub(super) async fn embedded_readiness() -> Result<String, String> {
    let helper = std::env::current_exe().map_err(|error| error.to_string())?;
    EmbeddedBuilder::readiness(&helper, &variables(), &cache_folder()).await
}

pub(super) fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The variables of proxies, in both spellings.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

/// Where what can be made again is kept for this user.
pub(super) fn cache_folder() -> PathBuf {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let of_user = || folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    let own = || of_user().map(|cache| cache.join("packhorse"));
    folder(env_vars::PACKHORSE_CACHE_DIR).or_else(own).unwrap_or_else(|| {
        // Somebody without a home.
        std::env::temp_dir().join(format!("packhorse-{}", rustix::process::getuid().as_raw()))
    })
}

/// The engine `pack` on a daemon; `registry` tells digests of what it publishes.
pub(super) fn pack(docker: Docker, registry: Option<Arc<dyn ImageStore>>, session: &Session) -> PackBuilder {
    PackBuilder::new(pack_settings(session), docker, registry)
}

fn pack_settings(session: &Session) -> PackSettings {
    let mut settings = PackSettings::default();
    if let Some(program) = std::env::var_os(env_vars::PACKHORSE_PACK) {
        settings.program = program;
    }
    settings.lifecycle_image =
        std::env::var(env_vars::PACKHORSE_LIFECYCLE_IMAGE).ok().filter(|image| !image.is_empty());
    settings.stop = stop(session);
    settings
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
