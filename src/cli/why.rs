//! `packhorse why`: the cause of a failed or waiting build.

use clap::Args;
use serde_json::{Value, json};

use super::whose::Whose;
use crate::context::AppAccess;
use crate::domain::diagnosis::{Facts, diagnose};
use crate::domain::lane::{BuildRecord, PhaseState};
use crate::domain::names::BuildNumber;
use crate::ports::failure::chain;
use crate::session::Session;
use crate::ui::CliError;

/// Tell why a build failed or what it waits for
///
/// One sentence names the cause, and a second one the next step. Reads the build's record, its lane where the caller may, its
/// `build.json` and the end of its log.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse why
  packhorse why 42 --app shop
  packhorse why --app storefront:7 --json")]
pub struct WhyArgs {
    /// The build (default: the newest)
    #[arg(value_name = "BUILD")]
    number: Option<BuildNumber>,
    #[command(flatten)]
    whose: Whose,
}

/// Lines of a log that are looked at.
const TAIL: usize = 200;
/// Lines of a log that are shown.
const SHOWN: usize = 10;

/// Runs the command.
pub(super) async fn run(session: &Session, args: &WhyArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let Some(record) = app.build(args.number).await? else {
        let missing = args.number.map_or_else(|| "no builds yet".to_owned(), |number| format!("no build {number}"));
        let error = CliError::app(format!("{} has {missing}", app.lane));
        return Err(match args.number {
            Some(_) => error.hint("`packhorse build list` shows the builds there are"),
            None => error.hint("push to the repository, or start one with `packhorse build start`"),
        });
    };
    // Whoever may not read the lane gets the answer that the record alone gives.
    let lane = app.lanes.load(&app.lane).await.unwrap_or_else(|failure| {
        session.printer.detail(format_args!("The lane cannot be read: {}", chain(&failure)));
        None
    });
    let log = tail(session, &app, &record).await;
    let text = log.as_ref().map(|lines| lines.join("\n"));
    let metadata = metadata(&app, &record).await;
    let told = diagnose(&Facts {
        record: &record,
        lane: lane.as_ref().map(|found| &found.lane),
        metadata: metadata.as_ref(),
        log: text.as_deref(),
        now: app.clock.now(),
    });
    session.printer.json(&json!({
        "build_number": told.build.0, "cause": told.cause, "sentence": told.sentence, "next": told.next,
        "log": log.as_deref().map(last),
    }));
    session.printer.result(&told.sentence);
    session.printer.result(format_args!("Next: {}", told.next));
    for line in log.as_deref().map(last).unwrap_or_default() {
        session.printer.result(format_args!("    {line}"));
    }
    Ok(())
}

fn last(lines: &[String]) -> &[String] {
    lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default()
}

/// The end of the log of the phase that failed.
async fn tail(session: &Session, app: &AppAccess, record: &BuildRecord) -> Option<Vec<String>> {
    let (_, failed) = record.phases.iter().find(|(_, phase)| phase.state == PhaseState::Failed)?;
    if failed.logs.is_empty() {
        return None;
    }
    match app.logs.read(&failed.logs).await {
        Ok(lines) => lines.map(|lines| lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().to_vec()),
        Err(failure) => {
            session.printer.detail(format_args!("The log cannot be read: {}", chain(&failure)));
            None
        }
    }
}

/// `build.json`, which lies beside the logs.
async fn metadata(app: &AppAccess, record: &BuildRecord) -> Option<Value> {
    let stored = record
        .phases
        .values()
        .map(|phase| phase.logs.as_str())
        .find(|logs| !logs.starts_with("cloudwatch:") && !logs.is_empty())?;
    let (folder, _) = stored.rsplit_once('/')?;
    let lines = app.logs.read(&format!("{folder}/build.json")).await.ok()??;
    serde_json::from_str(&lines.join("\n")).ok()
}
