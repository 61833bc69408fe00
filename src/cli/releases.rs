//! `packhorse releases` and `packhorse rollback`.

use clap::Args;
use serde_json::{Value, json};

use super::build::time;
use super::whose::Whose;
use crate::context::{self, AppAccess};
use crate::domain::lane::{BuildRecord, Phase, PhaseState};
use crate::domain::names::BuildNumber;
use crate::orchestrator::handle::Handled;
use crate::session::Session;
use crate::ui::CliError;

/// List the releases of an app
///
/// Those builds that were deployed, the newest first; the one that runs is marked.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse releases
  packhorse releases --app shop --json")]
pub struct ReleasesArgs {
    #[command(flatten)]
    whose: Whose,
}

/// Run an older release again
///
/// Deploys that build's image once more with the config variables of now. Databases are not touched, and no release command
/// runs. A build that began before the rollback never undoes it.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse rollback --app shop
  packhorse rollback 41 --app shop")]
pub struct RollbackArgs {
    /// The build to return to (default: the one that was deployed before the one that runs)
    #[arg(value_name = "BUILD")]
    pub to: Option<BuildNumber>,
    #[command(flatten)]
    whose: Whose,
}

/// How many builds are looked at.
const LOOKED_AT: usize = 100;

/// Lists releases.
pub(super) async fn releases(session: &Session, args: &ReleasesArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let (releases, running) = deployed(&app).await?;
    let document = |build: &BuildRecord| {
        json!({
            "build_number": build.build_number.0, "commit": build.commit, "running": Some(build.build_number) == running,
            "deployed_at": deployed_at(build),
        })
    };
    session.printer.json(&releases.iter().map(document).collect::<Vec<Value>>());
    if releases.is_empty() {
        session.printer.note(format_args!("{} has no releases yet", app.lane));
    }
    for build in &releases {
        let mark = if Some(build.build_number) == running { "runs" } else { "" };
        let commit: String = build.commit.chars().take(7).collect();
        let at = deployed_at(build).map(|at| time(crate::domain::names::EpochSeconds(at))).unwrap_or_default();
        session
            .printer
            .result(format_args!("{:>4}  {commit:<7}  {at}  {mark}", build.build_number).to_string().trim_end());
    }
    Ok(())
}

fn deployed_at(build: &BuildRecord) -> Option<u64> {
    build.phases.get(&Phase::Deploy).and_then(|deploy| deploy.end).map(|end| end.0)
}

/// The builds that were deployed, the newest first, and the one that runs.
async fn deployed(app: &AppAccess) -> Result<(Vec<BuildRecord>, Option<BuildNumber>), CliError> {
    let mut builds = app.records.builds(&app.lane, LOOKED_AT).await?;
    builds.retain(|build| build.phases.get(&Phase::Deploy).is_some_and(|deploy| deploy.state == PhaseState::Succeeded));
    // After a failed deploy, the status tells of that; the release before still runs.
    let status = app.records.deploy_status(&app.lane).await?;
    let running = match status {
        Some(status) if !status.failed => Some(status.build_number),
        Some(_) => builds.first().map(|build| build.build_number),
        None => None,
    };
    Ok((builds, running))
}

/// Rolls back.
pub(super) async fn rollback(session: &Session, args: &RollbackArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let (releases, running) = deployed(&app).await?;
    let to = match args.to {
        Some(to) => to,
        None => releases
            .iter()
            .map(|build| build.build_number)
            .find(|build| running.is_some_and(|running| *build < running))
            .ok_or_else(|| {
                CliError::app(format!("{} has no release before the one that runs", app.lane))
                    .hint("`packhorse releases` shows the releases there are")
            })?,
    };
    match context::roll_back(&app, to).await? {
        Handled::Done | Handled::Owing => {
            session.printer.json(&json!({ "rolling_back_to": to.0 }));
            session.printer.result(format_args!("{} returns to build {to}", app.lane));
            Ok(())
        }
        Handled::Ignored(reason) => Err(CliError::app(format!("{} does not return to build {to}: {reason}", app.lane))),
        Handled::NoLane => Err(CliError::app(format!("{} has no lane: another orchestrator looks after it", app.lane))
            .hint(format!("to let packhorse look after it: `packhorse orchestrator adopt {}`", app.lane))),
    }
}
