//! `packhorse build start` and `build cancel`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::build_watch;
use super::whose::Whose;
use crate::context;
use crate::domain::lane::{Phase, PhaseState};
use crate::domain::names::BuildNumber;
use crate::session::Session;
use crate::ui::CliError;

/// Start a build
///
/// In the account, CodeBuild builds the app's branch, another ref, or the pull request of a review app. On this machine, the
/// `packhorse up` that runs in this folder builds the folder as it is now.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse build start --app shop
  packhorse build start --app shop --ref v1.2 --watch
  packhorse build start")]
pub(super) struct StartArgs {
    /// Branch, tag or commit to build (default: that of the project)
    #[arg(long = "ref", value_name = "REF")]
    pub(super) source: Option<String>,
    /// Stay until the build has ended
    #[arg(short, long, visible_alias = "wait")]
    pub(super) watch: bool,
    #[command(flatten)]
    pub(super) whose: Whose,
}

/// Stop a build that is being made or tested
///
/// One that is being released or deployed goes on: a migration that is stopped half way helps nobody.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse build cancel --app shop
  packhorse build cancel 42 --app shop")]
pub(super) struct CancelArgs {
    /// The build (default: the newest)
    #[arg(value_name = "BUILD")]
    number: Option<BuildNumber>,
    #[command(flatten)]
    whose: Whose,
}

/// How long the item of a build may take to appear.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn start(session: &Session, args: &StartArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let number = context::start_build(&app, args.source.as_deref()).await?;
    session.printer.json(&json!({ "build_number": number.0 }));
    session.printer.result(format_args!("Build {number} of {} has begun", app.lane));
    if args.watch {
        build_watch::appears(&app, number, APPEARS_WITHIN).await?;
        return build_watch::watch(session, &app, number).await;
    }
    Ok(())
}

pub(super) async fn cancel(session: &Session, args: &CancelArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let build = app.expect_build(args.number).await?;
    let number = build.build_number;
    let running = |phase: &Phase| build.phases.get(phase).is_some_and(|record| record.state == PhaseState::Started);
    if !running(&Phase::Build) && !running(&Phase::Test) {
        let doing = Phase::ALL.into_iter().find(running);
        let why = doing.map_or_else(|| "it has ended".to_owned(), |phase| format!("it is in its {phase} phase"));
        return Err(CliError::app(format!("build {number} of {} cannot be stopped: {why}", app.lane)));
    }
    let arn = build.phases.get(&Phase::Build).and_then(|record| record.arns.first()).and_then(|arn| arn.parse().ok());
    let arn =
        arn.ok_or_else(|| CliError::remote(format!("the record of build {number} does not name its CodeBuild build")))?;
    context::stop_build(&app, &arn).await?;
    session.printer.json(&json!({ "stopped": number.0 }));
    session.printer.result(format_args!("Build {number} of {} is being stopped", app.lane));
    Ok(())
}
