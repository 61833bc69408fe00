//! `packhorse build watch` and `build logs`.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::whose::Whose;
use crate::context::AppAccess;
use crate::domain::lane::{BuildRecord, Ending, Phase, PhaseState};
use crate::domain::names::BuildNumber;
use crate::domain::namespace::{Marker, Namespace};
use crate::session::Session;
use crate::ui::CliError;

/// Watch a build until it ends
///
/// Tells of each phase as it begins and ends. Ends with 1 when the build fails; Ctrl-C ends the watching only.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse build watch --app shop
  packhorse build watch 42 --app shop --json")]
pub(super) struct WatchArgs {
    /// The build (default: the newest)
    #[arg(value_name = "BUILD")]
    pub(super) number: Option<BuildNumber>,
    #[command(flatten)]
    pub(super) whose: Whose,
}

/// Show what was said in a build
///
/// By default what was said in the phase that failed, else in the one that runs, else while the image was made.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse build logs --app shop
  packhorse build logs 42 --phase release --app shop")]
pub(super) struct LogsArgs {
    /// The build (default: the newest)
    #[arg(value_name = "BUILD")]
    number: Option<BuildNumber>,
    /// The phase
    #[arg(long, value_enum, value_name = "PHASE")]
    phase: Option<PhaseChoice>,
    #[command(flatten)]
    whose: Whose,
}

/// A phase that has a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PhaseChoice {
    /// The image is made
    Build,
    /// The tests run
    Test,
    /// The release command runs
    Release,
    /// A review app's initialize command runs
    Postdeploy,
}

/// How often to look.
const BETWEEN: Duration = Duration::from_secs(1);

pub(super) async fn run_watch(session: &Session, args: &WatchArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let build = app.expect_build(args.number).await?;
    watch(session, &app, build.build_number).await
}

/// Waits until the item of a build that was asked for is there.
pub(super) async fn appears(app: &AppAccess, number: BuildNumber, within: Duration) -> Result<(), CliError> {
    let end = Instant::now() + within;
    while app.records.build(&app.lane, number).await?.is_none() {
        if Instant::now() > end {
            return Err(CliError::app(format!("build {number} of {} has begun, and nobody has recorded it", app.lane))
                .hint("look whether the orchestrator runs; the build itself goes on"));
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Ok(())
}

/// Tells of a build until it ends.
pub(super) async fn watch(session: &Session, app: &AppAccess, number: BuildNumber) -> Result<(), CliError> {
    let mut told = std::collections::BTreeMap::new();
    loop {
        // The item of a build that turns out to have nothing to do is removed.
        let Some(build) = app.records.build(&app.lane, number).await? else {
            session.printer.result(format_args!("Build {number} of {} had nothing to do", app.lane));
            return Ok(());
        };
        for (phase, record) in &build.phases {
            if told.insert(*phase, record.state) == Some(record.state) {
                continue;
            }
            let word = record.state.as_str();
            session
                .printer
                .json_line(&json!({ "build_number": number.0, "phase": phase, "state": word, "logs": record.logs }));
            let took = record.end.map(|end| format!(" in {} s", end.since(record.start))).unwrap_or_default();
            session.printer.result(format_args!("{:<10} {word}{took}", phase.as_str()));
        }
        if let Some(end) = ended(&build) {
            return end.map_err(|cause| {
                CliError::app(format!("build {number} of {} failed: {cause}", app.lane))
                    .hint(format!("`packhorse why {number}` tells more"))
            });
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// How a build ended, once it has.
fn ended(build: &BuildRecord) -> Option<Result<(), String>> {
    match &build.ending {
        Some(Ending::Deployed | Ending::Skipped { .. }) => Some(Ok(())),
        Some(Ending::Failed { phase, cause }) => Some(Err(format!("{phase}: {cause}"))),
        Some(Ending::Superseded { by }) => Some(Err(format!("build {by} is newer"))),
        None => {
            let is = |phase, state| build.phases.get(&phase).is_some_and(|record| record.state == state);
            match Phase::ALL.into_iter().find(|phase| is(*phase, PhaseState::Failed)) {
                Some(phase) => Some(Err(phase.to_string())),
                None => is(Phase::Deploy, PhaseState::Succeeded).then_some(Ok(())),
            }
        }
    }
}

pub(super) async fn run_logs(session: &Session, args: &LogsArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let build = app.expect_build(args.number).await?;
    let number = build.build_number;
    let phase = args.phase.map_or_else(|| telling(&build), Phase::from);
    let Some(record) = build.phases.get(&phase) else {
        return Err(CliError::app(format!("build {number} of {} has no {phase} phase", app.lane)));
    };
    // While CodeBuild runs, one stream holds both.
    let location = match (phase, build.phases.get(&Phase::Build)) {
        (Phase::Test, Some(build)) if record.logs.is_empty() => &build.logs,
        _ => &record.logs,
    };
    let lines = if location.is_empty() { None } else { app.logs.read(location).await? };
    let Some(lines) = lines else {
        return Err(CliError::app(format!(
            "the {phase} phase of build {number} of {} has said nothing so far",
            app.lane
        )));
    };
    let lines = section(phase, &lines);
    session.printer.json(&lines);
    for line in lines {
        session.printer.result(line);
    }
    Ok(())
}

/// The phase whose log is wanted first.
fn telling(build: &BuildRecord) -> Phase {
    let is = |wanted| build.phases.iter().find(|(_, record)| record.state == wanted && !record.logs.is_empty());
    is(PhaseState::Failed).or_else(|| is(PhaseState::Started)).map_or(Phase::Build, |(phase, _)| *phase)
}

/// The lines of a phase in a log that holds more; all of them where it is not marked.
fn section(phase: Phase, lines: &[String]) -> &[String] {
    let (start, end) = match phase {
        Phase::Build => (Marker::BuildStart, Marker::BuildEnd),
        Phase::Test => (Marker::TestStart, Marker::TestEnd),
        Phase::Finalize | Phase::Release | Phase::Postdeploy | Phase::Deploy => return lines,
    };
    let namespace = Namespace::default();
    let place = |marker| lines.iter().position(|line| *line == namespace.marker(marker));
    let Some(from) = place(start) else { return lines };
    let to = place(end).filter(|to| *to > from).unwrap_or(lines.len());
    lines.get(from + 1..to).unwrap_or_default()
}

impl From<PhaseChoice> for Phase {
    fn from(choice: PhaseChoice) -> Self {
        match choice {
            PhaseChoice::Build => Self::Build,
            PhaseChoice::Test => Self::Test,
            PhaseChoice::Release => Self::Release,
            PhaseChoice::Postdeploy => Self::Postdeploy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_cut_out_of_the_log_of_the_whole_build() {
        let namespace = Namespace::default();
        let mark = |marker| namespace.marker(marker);
        let log = [
            "before".to_owned(),
            mark(Marker::BuildStart),
            "layers".to_owned(),
            mark(Marker::BuildEnd),
            mark(Marker::TestStart),
            "ok".to_owned(),
        ];
        assert_eq!(section(Phase::Build, &log), ["layers"]);
        assert_eq!(section(Phase::Test, &log), ["ok"]);
        assert_eq!(section(Phase::Build, &log[..1]), ["before"]);
    }
}
