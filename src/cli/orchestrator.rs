//! `packhorse orchestrator`: moves builds forward after their CodeBuild part.

use clap::{Args, Subcommand};

use crate::context;
use crate::flags::{AdoptArgs, HandleArgs, PollArgs, SweepArgs};
use crate::session::Session;
use crate::ui::CliError;

/// Move builds forward: release, postdeploy, deploy
///
/// Events are hints: a lost one only costs time, since a sweep asks AWS for the truth.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse orchestrator handle event.json
  packhorse orchestrator poll --queue https://sqs.us-east-1.amazonaws.com/111122223333/packhorse-events
  packhorse orchestrator sweep --place docker

As a Lambda function the program is started under the name `bootstrap` and needs no command.")]
pub struct OrchestratorArgs {
    #[command(subcommand)]
    command: OrchestratorCommand,
}

#[derive(Debug, Subcommand)]
enum OrchestratorCommand {
    Handle(HandleArgs),
    Poll(PollArgs),
    Sweep(SweepArgs),
    Adopt(AdoptArgs),
    #[command(skip)]
    Lambda,
}

impl OrchestratorArgs {
    /// What Lambda asks for when it starts the program.
    pub(super) fn lambda() -> Self {
        Self { command: OrchestratorCommand::Lambda }
    }
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &OrchestratorArgs) -> Result<(), CliError> {
    match &args.command {
        OrchestratorCommand::Handle(args) => context::handle(session, args).await,
        OrchestratorCommand::Poll(args) => context::poll(session, args).await,
        OrchestratorCommand::Adopt(args) => context::adopt(session, args).await,
        OrchestratorCommand::Lambda => context::lambda(session).await,
        OrchestratorCommand::Sweep(args) => context::sweep(session, args).await,
    }
}
