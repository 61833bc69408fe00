//! `packhorse build`: starts, shows, follows and stops builds.

use anstyle::{AnsiColor, Style};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::whose::Whose;
use super::{build_json, build_start, build_watch};
use crate::domain::lane::{BuildRecord, Ending, Phase, PhaseState};
use crate::domain::names::{BuildNumber, EpochSeconds};
use crate::session::Session;
use crate::ui::CliError;

/// How many builds a list shows.
const SHOWN: usize = 15;

/// Start, show, follow and stop builds
///
/// Reads the app named by `--app` from the AWS account. Without `--app`, in a folder in which `packhorse up` has run,
/// reads what lies there.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse build start --app shop --watch
  packhorse build list --app shop
  packhorse build status
  packhorse build status 42 --app storefront:7 --json")]
pub struct BuildArgs {
    #[command(subcommand)]
    command: BuildCommand,
}

#[derive(Debug, Subcommand)]
enum BuildCommand {
    Start(build_start::StartArgs),
    List(ListArgs),
    Status(StatusArgs),
    Watch(build_watch::WatchArgs),
    Logs(build_watch::LogsArgs),
    Cancel(build_start::CancelArgs),
}

/// List the newest builds
///
/// Shows the 15 newest, the newest first, each with its phases.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse build list
  packhorse build list --app shop --json")]
struct ListArgs {
    #[command(flatten)]
    whose: Whose,
}

/// Show one build
///
/// Shows every phase with its times and where its log is, and how the build ended.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse build status
  packhorse build status 42 --app shop")]
struct StatusArgs {
    /// The build (default: the newest)
    number: Option<BuildNumber>,
    #[command(flatten)]
    whose: Whose,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &BuildArgs) -> Result<(), CliError> {
    match &args.command {
        BuildCommand::Start(args) => build_start::start(session, args).await,
        BuildCommand::Watch(args) => build_watch::run_watch(session, args).await,
        BuildCommand::Logs(args) => build_watch::run_logs(session, args).await,
        BuildCommand::Cancel(args) => build_start::cancel(session, args).await,
        BuildCommand::List(args) => list(session, args).await,
        BuildCommand::Status(args) => status(session, args).await,
    }
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), CliError> {
    let source = args.whose.open(session).await?;
    let builds = source.records.builds(&source.lane, SHOWN).await?;
    session.printer.json(&builds.iter().map(build_json::document).collect::<Vec<Value>>());
    if builds.is_empty() {
        session.printer.note(format_args!("{} has no builds yet", source.lane));
    }
    for build in &builds {
        session.printer.result(summary(build));
    }
    Ok(())
}

async fn status(session: &Session, args: &StatusArgs) -> Result<(), CliError> {
    let source = args.whose.open(session).await?;
    let build = source.expect_build(args.number).await?;
    session.printer.json(&build_json::document(&build));
    session.printer.result(summary(&build));
    for phase in Phase::ALL {
        let Some(record) = build.phases.get(&phase) else { continue };
        let took = record.end.map(|end| format!(" in {} s", end.since(record.start))).unwrap_or_default();
        let logs = if record.logs.is_empty() { String::new() } else { format!("  {}", record.logs) };
        let (_, word) = icon(record.state);
        session.printer.result(format_args!("  {:<10} {word}{took}{logs}", phase.as_str()));
    }
    if let Some(line) = build.ending.as_ref().and_then(ending) {
        session.printer.result(format_args!("  {line}"));
    }
    Ok(())
}

/// One line: number, where it stands, commit, phases, and when.
fn summary(build: &BuildRecord) -> String {
    let phases: Vec<String> = build
        .phases
        .iter()
        .map(|(phase, record)| {
            let (style, word) = icon(record.state);
            format!("{phase} {style}{word}{style:#}")
        })
        .collect();
    let commit: String = build.commit.chars().take(7).collect();
    let when = build.phases.values().map(|record| record.end.unwrap_or(record.start)).max();
    format!(
        "{:>4}  {:<11}  {:<7}  {}  {}",
        build.build_number.0,
        standing(build),
        if commit.is_empty() { "-" } else { &commit },
        phases.join(", "),
        when.map(time).unwrap_or_default(),
    )
    .trim_end()
    .to_owned()
}

fn standing(build: &BuildRecord) -> &'static str {
    match &build.ending {
        Some(Ending::Deployed) => "deployed",
        Some(Ending::Failed { .. }) => "failed",
        Some(Ending::Superseded { .. }) => "superseded",
        Some(Ending::Skipped { .. }) => "skipped",
        // An item that somebody else wrote has no ending of ours.
        None => {
            let is = |state| build.phases.values().any(|record| record.state == state);
            let deployed = build.phases.get(&Phase::Deploy).is_some_and(|record| record.state == PhaseState::Succeeded);
            if is(PhaseState::Failed) {
                "failed"
            } else if deployed {
                "deployed"
            } else {
                "in progress"
            }
        }
    }
}

fn ending(ending: &Ending) -> Option<String> {
    match ending {
        Ending::Deployed => None,
        Ending::Failed { phase, cause } => Some(format!("failed in {phase}: {cause}")),
        Ending::Superseded { by } => Some(format!("superseded by build {by}")),
        Ending::Skipped { reason } => Some(format!("skipped: {reason}")),
    }
}

fn icon(state: PhaseState) -> (Style, &'static str) {
    match state {
        PhaseState::Started => (AnsiColor::Cyan.on_default(), "running"),
        PhaseState::Succeeded => (AnsiColor::Green.on_default(), "ok"),
        PhaseState::Failed => (AnsiColor::Red.on_default(), "failed"),
    }
}

pub(super) fn time(at: EpochSeconds) -> String {
    let at = i64::try_from(at.0).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(time(EpochSeconds(1_767_225_600)), "2026-01-01 00:00:00 UTC");
    }
}
