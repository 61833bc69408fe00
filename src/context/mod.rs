//! The only place that names concrete adapters.

#[cfg(feature = "aws")]
mod adopt;
pub(crate) mod app_folder;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod bare_tests;
mod client;
mod docker;
mod down;
mod engine;
#[cfg(feature = "aws")]
mod entrances;
mod env_files;
mod local;
#[cfg(feature = "aws")]
mod no_docker;
#[cfg(feature = "aws")]
mod orchestrators;

use std::io::Read as _;
use std::sync::Arc;

pub use client::{AppAccess, app, roll_back, start_build, stop_build};
pub(crate) use env_files::read_env_files;

use crate::adapters::webhook::Webhook;
use crate::domain::lane::LaneKey;
use crate::domain::manifest::Engine;
use crate::env_vars;
use crate::flags::{AdoptArgs, BuildFlags, DownArgs, HandleArgs, PollArgs, SweepArgs, UpArgs, Verb};
use crate::image::RegistryClient;
use crate::image::layer::Compression;
use crate::ports::image_builder::ImageBuilder;
use crate::ports::notifier::{NoNotifier, Notifier};
use crate::session::Session;
use crate::ui::CliError;

/// Makes the engine that the flags ask for, or else the app (`wish`), or else one that can do it here; `published` is how layers are
/// compressed where the image goes to a registry.
pub async fn image_builder(
    session: &Session,
    flags: &BuildFlags,
    wish: Option<Engine>,
    published: Option<Compression>,
) -> Result<Arc<dyn ImageBuilder>, CliError> {
    let asked = flags.engine.map(Engine::from).or(wish);
    let credentials = docker::credentials()?;
    let daemon = docker::connect_with(credentials.clone()).await;
    let outcome = engine::Outcome { publish: published.is_some(), compression: published.unwrap_or_default() };
    engine::select(session, asked, daemon, outcome, &credentials)
}

/// Tells how the engine `embedded` can build on this machine, or in words why it cannot.
pub async fn embedded_engine() -> Result<String, String> {
    engine::embedded_readiness().await
}

/// Makes a client for registries with the user's logins.
pub fn registry_client() -> Result<RegistryClient, CliError> {
    engine::client(docker::credentials()?)
}

/// Runs the pipeline on this machine.
pub async fn up(session: &Session, args: &UpArgs) -> Result<(), CliError> {
    // Large, as all of a pipeline is in it.
    Box::pin(local::up(session, args)).await
}

/// Stops what [`up`] started, and removes what it left.
pub async fn down(session: &Session, args: &DownArgs) -> Result<(), CliError> {
    down::down(session, args).await
}

/// Who is told at once of deploys and failures.
fn notifier() -> Result<Arc<dyn Notifier>, CliError> {
    match std::env::var(env_vars::PACKHORSE_WEBHOOK).ok().filter(|address| !address.is_empty()) {
        Some(address) => Ok(Arc::new(Webhook::new(address.into())?)),
        None => Ok(Arc::new(NoNotifier)),
    }
}

/// Reads the event that a command was given, from a file or stdin.
fn event_text(source: &str) -> Result<String, CliError> {
    let unreadable = |error| CliError::usage(format!("the event `{source}` cannot be read")).because(error);
    if source != "-" {
        return std::fs::read_to_string(source).map_err(unreadable);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

#[cfg(feature = "aws")]
async fn account_app(session: &Session, lane: &LaneKey) -> Result<AppAccess, CliError> {
    aws::app(session, lane).await
}

/// Runs a step of the build runner.
#[cfg(feature = "aws")]
pub async fn codebuild(session: &Session, verb: Verb) -> Result<(), CliError> {
    aws::codebuild(session, verb).await
}

/// Handles one event.
#[cfg(feature = "aws")]
pub async fn handle(session: &Session, args: &HandleArgs) -> Result<(), CliError> {
    aws::handle(session, args, &event_text(&args.event)?).await
}

/// Takes events from a queue until told to stop.
#[cfg(feature = "aws")]
pub async fn poll(session: &Session, args: &PollArgs) -> Result<(), CliError> {
    entrances::poll(session, args).await
}

/// Takes over an app that another orchestrator ran.
#[cfg(feature = "aws")]
pub async fn adopt(session: &Session, args: &AdoptArgs) -> Result<(), CliError> {
    adopt::adopt(session, args).await
}

/// Takes what Lambda hands in until Lambda ends the program.
#[cfg(feature = "aws")]
pub async fn lambda(session: &Session) -> Result<(), CliError> {
    entrances::lambda(session).await
}

/// Looks at everything in flight.
#[cfg(feature = "aws")]
pub async fn sweep(session: &Session, args: &SweepArgs) -> Result<(), CliError> {
    entrances::sweep(session, args).await
}

#[cfg(not(feature = "aws"))]
mod without_aws {
    //! What a program without the feature `aws` says to those who need it.

    use super::{AdoptArgs, AppAccess, CliError, HandleArgs, LaneKey, PollArgs, Session, SweepArgs, Verb};

    fn refusal() -> CliError {
        CliError::usage("this program was built without AWS")
            .hint("build it with the feature `aws`, which is on by default")
    }

    pub(super) async fn account_app(_: &Session, _: &LaneKey) -> Result<AppAccess, CliError> {
        Err(refusal())
    }

    /// Runs a step of the build runner.
    pub async fn codebuild(_: &Session, _: Verb) -> Result<(), CliError> {
        Err(refusal())
    }

    /// Handles one event.
    pub async fn handle(_: &Session, args: &HandleArgs) -> Result<(), CliError> {
        super::event_text(&args.event)?;
        Err(refusal())
    }

    /// Takes events from a queue until told to stop.
    pub async fn poll(_: &Session, _: &PollArgs) -> Result<(), CliError> {
        Err(refusal())
    }

    /// Takes over an app that another orchestrator ran.
    pub async fn adopt(_: &Session, _: &AdoptArgs) -> Result<(), CliError> {
        Err(refusal())
    }

    /// Takes what Lambda hands in until Lambda ends the program.
    pub async fn lambda(_: &Session) -> Result<(), CliError> {
        Err(refusal())
    }

    /// Looks at everything in flight.
    pub async fn sweep(_: &Session, _: &SweepArgs) -> Result<(), CliError> {
        Err(refusal())
    }
}

#[cfg(not(feature = "aws"))]
use without_aws::account_app;
#[cfg(not(feature = "aws"))]
pub use without_aws::{adopt, codebuild, handle, lambda, poll, sweep};
