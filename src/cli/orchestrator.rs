//! `packhorse orchestrator`: moves builds forward after their CodeBuild part.

use clap::{Args, Subcommand, ValueEnum};

use super::Session;
use crate::context;
use crate::ui::CliError;

/// Move builds forward: release, postdeploy, deploy
///
/// Events are hints: a lost one only costs time, since a sweep asks AWS for the truth.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse orchestrator handle event.json --place docker
  packhorse orchestrator sweep --place docker")]
pub struct OrchestratorArgs {
    #[command(subcommand)]
    command: OrchestratorCommand,
}

#[derive(Debug, Subcommand)]
enum OrchestratorCommand {
    Handle(HandleArgs),
    Sweep(SweepArgs),
}

/// Where release tasks and services run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PlaceChoice {
    /// The Docker daemon of this machine
    Docker,
    /// ECS in the account
    #[default]
    Ecs,
}

/// Handle one event
///
/// Reads an EventBridge event as JSON, brings it into the app's lane and performs what the lane then owes. An event
/// that no longer matters is ignored with its reason and is no error.
#[derive(Debug, Clone, Args)]
#[command(after_help = "EXAMPLES
  packhorse orchestrator handle event.json
  packhorse orchestrator handle - --place docker --follow < event.json")]
pub struct HandleArgs {
    /// The file that holds the event; `-` reads stdin
    #[arg(value_name = "FILE|-")]
    pub event: String,
    /// Where release tasks and services run
    #[arg(long, value_enum, default_value_t, value_name = "PLACE")]
    pub place: PlaceChoice,
    /// Stay until the build has ended
    #[arg(long)]
    pub follow: bool,
}

/// Look at everything that is in flight
///
/// Asks AWS and the place for the truth about every active lane and handles what was missed.
#[derive(Debug, Clone, Args)]
#[command(after_help = "EXAMPLES
  packhorse orchestrator sweep
  packhorse orchestrator sweep --place docker --follow")]
pub struct SweepArgs {
    /// Where release tasks and services run
    #[arg(long, value_enum, default_value_t, value_name = "PLACE")]
    pub place: PlaceChoice,
    /// Repeat until nothing is in flight
    #[arg(long)]
    pub follow: bool,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &OrchestratorArgs) -> Result<(), CliError> {
    match &args.command {
        OrchestratorCommand::Handle(args) => context::handle(session, args).await,
        OrchestratorCommand::Sweep(args) => context::sweep(session, args).await,
    }
}
