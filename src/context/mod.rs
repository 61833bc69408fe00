//! The only place that names concrete adapters.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod bare_tests;
mod docker;
mod down;
mod engine;
mod local;
#[cfg(feature = "aws")]
mod no_docker;
#[cfg(feature = "aws")]
mod orchestrators;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use crate::adapters::local::LocalState;
use crate::cli::{BuildFlags, DownArgs, HandleArgs, Session, SweepArgs, UpArgs, Verb};
use crate::domain::lane::LaneKey;
use crate::domain::manifest::Engine;
use crate::image::RegistryClient;
use crate::ports::image_builder::ImageBuilder;
use crate::ports::records::Records;
use crate::ui::CliError;

/// Builds to read, and whose they are.
pub struct RecordsOf {
    /// Where they lie.
    pub records: Arc<dyn Records>,
    /// Whose they are.
    pub lane: LaneKey,
}

/// Opens the builds of an app in the account, or, where none is named, those of the local state.
pub async fn records(session: &Session, app: Option<&LaneKey>, state: Option<&Path>) -> Result<RecordsOf, CliError> {
    match app {
        Some(lane) => Ok(RecordsOf { records: account_records(session).await?, lane: lane.clone() }),
        None => local_records(state),
    }
}

fn local_records(state: Option<&Path>) -> Result<RecordsOf, CliError> {
    let here =
        std::env::current_dir().map_err(|error| CliError::remote("there is no current folder").because(error))?;
    let folder = local::state_folder(&here, state);
    if !folder.join("state.db").exists() {
        return Err(CliError::usage("no app was named, and `packhorse up` has not run in this folder")
            .hint("name an app in the account with `--app NAME`, or go to a folder in which `packhorse up` has run"));
    }
    let lane = local::lane_of(folder.parent().unwrap_or(&here), None)?;
    Ok(RecordsOf { records: Arc::new(LocalState::open(&folder)?), lane })
}

/// Makes the engine that the flags ask for, or else the app (`wish`), or else one that can do it here.
pub async fn image_builder(
    session: &Session,
    flags: &BuildFlags,
    wish: Option<Engine>,
    publish: bool,
) -> Result<Arc<dyn ImageBuilder>, CliError> {
    let asked = flags.engine.map(Engine::from).or(wish);
    let credentials = docker::credentials()?;
    let daemon = docker::connect_with(credentials.clone()).await;
    engine::select(session, asked, daemon, publish, &credentials).await
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
async fn account_records(session: &Session) -> Result<Arc<dyn Records>, CliError> {
    aws::records(session).await
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

/// Looks at everything in flight.
#[cfg(feature = "aws")]
pub async fn sweep(session: &Session, args: &SweepArgs) -> Result<(), CliError> {
    aws::sweep(session, args.place, args.follow).await
}

#[cfg(not(feature = "aws"))]
mod without_aws {
    //! What a program without the feature `aws` says to those who need it.

    use super::{Arc, CliError, HandleArgs, Records, Session, SweepArgs, Verb};

    fn refusal() -> CliError {
        CliError::usage("this program was built without AWS")
            .hint("build it with the feature `aws`, which is on by default")
    }

    pub(super) async fn account_records(_: &Session) -> Result<Arc<dyn Records>, CliError> {
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

    /// Looks at everything in flight.
    pub async fn sweep(_: &Session, _: &SweepArgs) -> Result<(), CliError> {
        Err(refusal())
    }
}

#[cfg(not(feature = "aws"))]
use without_aws::account_records;
#[cfg(not(feature = "aws"))]
pub use without_aws::{codebuild, handle, sweep};
