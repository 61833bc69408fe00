//! The only place that names concrete adapters.

mod docker;
mod engine;
mod local;

use std::path::Path;
use std::sync::Arc;

use crate::cli::{BuildFlags, HandleArgs, Session, SweepArgs, UpArgs, Verb};
use crate::domain::lane::LaneKey;
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
#[expect(clippy::unused_async, reason = "opening AWS needs it")]
pub async fn records(_session: &Session, app: Option<&LaneKey>, _state: Option<&Path>) -> Result<RecordsOf, CliError> {
    match app {
        Some(_) => Err(not_in_this_build("reading builds from AWS")),
        None => Err(not_in_this_build("reading local builds")),
    }
}

/// Makes the engine that the flags ask for.
pub async fn image_builder(session: &Session, flags: &BuildFlags) -> Result<Arc<dyn ImageBuilder>, CliError> {
    engine::of_flags(session, flags).await
}

/// Runs a step of the build runner.
#[expect(clippy::unused_async, reason = "the runner needs it")]
pub async fn codebuild(_session: &Session, _verb: Verb) -> Result<(), CliError> {
    Err(not_in_this_build("the build runner"))
}

/// Handles one event.
#[expect(clippy::unused_async, reason = "the orchestrator needs it")]
pub async fn handle(_session: &Session, _args: &HandleArgs) -> Result<(), CliError> {
    Err(not_in_this_build("`orchestrator handle`"))
}

/// Looks at everything in flight.
#[expect(clippy::unused_async, reason = "the orchestrator needs it")]
pub async fn sweep(_session: &Session, _args: &SweepArgs) -> Result<(), CliError> {
    Err(not_in_this_build("`orchestrator sweep`"))
}

/// Runs the pipeline on this machine.
pub async fn up(session: &Session, args: &UpArgs) -> Result<(), CliError> {
    local::up(session, args).await
}

fn not_in_this_build(what: &str) -> CliError {
    CliError::internal(format!("{what} is not in this build yet"))
}
